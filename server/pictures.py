"""Picture files, for the command line and the gallery: between a client and the server pixels are never encoded."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from bridge_protocol.records import InvalidValue
from server import provenance

#: The chunk of a PNG that says what it was painted from.
JOB = "brushwire"
#: What may be decoded; Pillow knows many more formats, and each is a parser that a file could attack.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
MAX_PIXELS = 1 << 26


def read_picture(path: Path, field: str) -> NDArray[np.uint8]:
    """A picture file as (h, w, 3) or, if it has transparency, (h, w, 4) uint8 sRGB. Raises InvalidValue."""
    with _open(path, field) as image:
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def read_mask(path: Path, field: str) -> NDArray[np.uint8]:
    """A picture file as a mask, (h, w) uint8: white paints, black keeps. Raises InvalidValue."""
    with _open(path, field) as image:
        return np.asarray(image.convert("L"))


def read_array(path: Path, field: str) -> NDArray[Any]:
    """An array from an .npy file, in a dtype that can travel. Raises InvalidValue."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InvalidValue(field, str(path), "an .npy file that can be read", f"Look at the file: {error}.") from None
    if mapped.ndim < 2 or mapped.shape[0] * mapped.shape[1] > MAX_PIXELS:
        raise InvalidValue(field, f"shape {mapped.shape}", f"(h, w) or (h, w, c) of at most {MAX_PIXELS} pixels")
    array = np.ascontiguousarray(mapped, np.float32 if mapped.dtype == np.float64 else mapped.dtype)
    if array.dtype not in (np.uint8, np.uint16, np.float16, np.float32):
        raise InvalidValue(field, f"dtype {array.dtype}", "uint8, uint16, float16 or float32")
    return array


def fits_png(array: NDArray[Any]) -> bool:
    """Whether a PNG holds every bit of an array: uint8 of any channels, or uint16 (h, w)."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype == np.uint16:
        return array.ndim == 2
    return array.dtype == np.uint8 and array.ndim in (2, 3) and channels in (1, 3, 4)


def png(array: NDArray[Any], told: Mapping[str, Any] | None = None) -> bytes:
    """A PNG of an array that `fits_png`, which carries what it was painted from.

    told: what `provenance.of_picture` says. It stands in an iTXt chunk called "brushwire" as JSON, and as the common
    tools' "parameters".
    """
    texts = PngInfo()
    if told is not None:
        texts.add_itxt(JOB, json.dumps(told, ensure_ascii=False))
        texts.add_itxt("parameters", provenance.parameters(told, (array.shape[1], array.shape[0])))
    file = io.BytesIO()
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    Image.fromarray(flat).save(file, "PNG", pnginfo=texts)
    return file.getvalue()


def job_text(path: Path) -> tuple[dict[str, Any] | None, str]:
    """What a picture file was painted from, and its "parameters", which other tools write too. Raises InvalidValue."""
    with _open(path, "picture") as image:
        image.load()  # a PNG's texts may stand behind its pixels
        texts = {key: str(value) for key, value in image.info.items() if isinstance(key, str)}
    told = provenance.parsed(texts[JOB]) if JOB in texts else None
    return told, texts.get("parameters", "")


def write(array: NDArray[Any], folder: Path, name: str, told: Mapping[str, Any] | None = None) -> Path:
    """Write an array as a new file and return its path; a number is added where a file of that name is there.

    What `fits_png` becomes a PNG that carries `told` (see `png`); anything else an .npy file.
    """
    if fits_png(array):
        content = png(array, told)
        return _new(folder, name, ".png", lambda file: file.write(content))
    return _new(folder, name, ".npy", lambda file: np.save(file, array))


def write_file(content: NDArray[np.uint8], folder: Path, name: str, suffix: str) -> Path:
    """Write the bytes of a whole file, (n,) uint8, as a new file with that suffix (".glb", say); returns its path."""
    if not re.fullmatch(r"\.[a-z0-9]{1,8}", suffix):  # it came over the wire, and is to become part of a path
        raise InvalidValue("suffix", suffix, "a dot and at most 8 small letters or digits")
    return _new(folder, name, suffix, lambda file: file.write(content.tobytes()))


def _new(folder: Path, name: str, suffix: str, write: Callable[[BinaryIO], object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1_000_000):
        path = folder / (f"{name}{suffix}" if number == 1 else f"{name}-{number}{suffix}")
        try:
            with path.open("xb") as file:
                write(file)
            return path
        except FileExistsError:
            continue
    raise FileExistsError(f"{folder} holds too many files called {name}")


def write_over(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture (h, w, 3 or 4) as a PNG file under exactly this name."""
    Image.fromarray(picture).save(path, "PNG")


def _open(path: Path, field: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            image = Image.open(path, formats=FORMATS)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        formats = ", ".join(FORMATS)
        raise InvalidValue(field, str(path), f"a picture file ({formats})", "Give the path of such a file.") from None
    if image.width * image.height > MAX_PIXELS:  # known from the header, before anything is decoded
        image.close()
        raise InvalidValue(field, f"{image.width}×{image.height} pixels", f"at most {MAX_PIXELS} pixels")
    return image
