"""Picture files, for the command line alone: between a client and the server pixels are never encoded."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bridge_protocol.records import InvalidValue

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


def write(array: NDArray[Any], folder: Path, name: str) -> Path:
    """Write an array as a new file and return its path; a number is added where a file of that name is there.

    uint8 becomes a PNG, and so does uint16 (h, w); anything else an .npy file, since PNG would take bits away.
    """
    if array.dtype == np.uint8 and array.ndim in (2, 3):
        return _new(folder, name, ".png", lambda file: Image.fromarray(array).save(file, "PNG"))
    if array.dtype == np.uint16 and array.ndim == 2:
        return _new(folder, name, ".png", lambda file: Image.fromarray(array).save(file, "PNG"))
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
