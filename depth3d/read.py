"""Depth maps from files, with what their makers mean by the numbers: Middlebury, KITTI, TUM, and plain ones.

Formats: .npy, .pfm, .png (8 and 16 bit), .exr (through the OpenEXR package, optional).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .calibration import Calibration, read_calibration
from .camera import Camera
from .depth import DepthMap, Kind

#: Whose meaning a file's numbers have. Middlebury: disparity in pixels, +inf unknown. KITTI: 16-bit PNG, 256 steps a
#: metre (or a pixel of disparity), 0 unknown. TUM: 16-bit PNG, 5000 steps a metre, 0 unknown.
Convention = Literal["middlebury", "kitti-depth", "kitti-disparity", "tum"]

#: More pixels than this do not become one mesh: at 100 bytes each it would take more memory than most machines have.
MAX_PIXELS = 1 << 26

#: Each convention's kind, and its steps for one metre or one pixel of disparity.
CONVENTIONS: dict[str, tuple[Kind, float]] = {
    "middlebury": ("disparity", 1.0),
    "kitti-depth": ("metric", 256.0),
    "kitti-disparity": ("disparity", 256.0),
    "tum": ("metric", 5000.0),
}


@dataclass(frozen=True, eq=False)
class DepthFile:
    """A depth map as it was read, its camera where a calibration was there, and what the reader should be told."""

    depth: DepthMap
    camera: Camera | None
    warnings: tuple[str, ...] = ()


def read_depth(
    path: Path | str,
    *,
    kind: Kind = "metric",
    unit: float = 1.0,
    convention: Convention | None = None,
    calibration: Calibration | Path | str | None = None,
) -> DepthFile:
    """Reads a depth map from a file.

    kind: what the numbers are where no convention says it. Disparity in pixels becomes depth through the
    calibration's fx, baseline and doffs; without one it is 1 / z up to scale (8- and 16-bit files: over their range).
    unit: scene units for one step of the file's numbers (0.001 for 16-bit millimetres). calibration: or the path of a
    file of one (see `calibration.read_calibration`).

    Raises FileNotFoundError; ValueError for files that are cut off, of another format, have more than one channel, or
    are too large for one mesh.
    """
    path = Path(path)
    if convention is not None and convention not in get_args(Convention):
        raise ValueError(f"convention is {convention!r}; use one of {get_args(Convention)}")
    if not (math.isfinite(unit) and unit > 0):
        raise ValueError(f"unit is {unit}; it must be a positive number of scene units")
    stored = read_values(path)
    warnings = []
    if stored.dtype == np.uint8:
        warnings.append(eight_bit_warning(stored, kind))
    if isinstance(calibration, str | Path):
        calibration = read_calibration(calibration)
    height, width = stored.shape
    camera = calibration.camera(width, height) if calibration else None
    values = stored.astype(np.float32)
    if convention is not None:
        kind, steps = CONVENTIONS[convention]
        unit = 1 / steps
        if convention != "middlebury":
            values[stored == 0] = np.nan
    values *= np.float32(unit)
    if kind != "disparity":
        return DepthFile(DepthMap(values, kind), camera, tuple(warnings))
    if calibration is not None and calibration.baseline is not None:
        assert camera is not None
        # fx is the one of this size.
        depth = DepthMap.from_stereo(
            values, fx=camera.fx, baseline=calibration.baseline, doffs=calibration.doffs_at(width)
        )
        return DepthFile(depth, camera, tuple(warnings))
    if stored.dtype.kind == "u":
        warnings.append("the file has no units: its disparity is taken as 1 / z from 0.1 (black) to 1 (white)")
        return DepthFile(DepthMap.from_relative(stored), camera, tuple(warnings))
    return DepthFile(DepthMap(values, "disparity"), camera, tuple(warnings))


def read_values(path: Path | str) -> NDArray[Any]:
    """A file's numbers as they are stored, (h, w), rows from the top: uint8, uint16 or float32."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise ValueError(f"{path.name} ends in {suffix or 'nothing'}; depth is read from {', '.join(_READERS)}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    values = _READERS[suffix](path)
    if values.ndim == 3 and values.shape[2] in (3, 4) and (values[..., :1] == values[..., 1:3]).all():
        values = values[..., 0]  # A grey picture saved in colour.
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{path.name} has shape {values.shape}; a depth map has one channel (is this a colour map?)")
    if values.size > MAX_PIXELS:
        raise ValueError(
            f"{path.name} is {values.shape[1]}×{values.shape[0]}, {values.size / 1e6:.0f} million pixels; "
            f"one mesh is made of at most {MAX_PIXELS / 1e6:.0f} million. Resize it by nearest, or make terrain tiles"
        )
    return values


def eight_bit_warning(stored: NDArray[np.uint8], kind: Kind) -> str:
    """What a user of an (h, w) map of 8 bits should be told, with the error that it costs."""
    levels = np.unique(stored[stored > 0]).astype(float)
    if kind == "disparity":
        # Half a step of d, over d: the relative error of z at the median.
        cost = 50 / max(float(np.median(levels)) if levels.size else 1, 1)
    else:
        cost = 50 / max(float(np.median(stored)), 1)
    return (
        f"the depth has 8 bits, {levels.size} steps: its surfaces are terraces with errors of about {cost:.2g} % of "
        "the distance; use 16 bits or floats"
    )


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path.name} is cut off or not an .npy file of numbers: {error}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"{path.name} holds no array of real numbers")
    return values if values.dtype in (np.uint8, np.uint16) else values.astype(np.float32)


def _read_pfm(path: Path) -> NDArray[Any]:
    data = path.read_bytes()
    header = re.match(rb"(P[fF])\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s", data)
    if not header:
        raise ValueError(f"{path.name} is not a PFM file")
    channels = 3 if header[1] == b"PF" else 1
    width, height, scale = int(header[2]), int(header[3]), float(header[4])
    need = 4 * channels * width * height
    if len(data) - header.end() < need:
        raise ValueError(f"{path.name} is cut off: {need} bytes of pixels announced, {len(data) - header.end()} there")
    # A negative scale means little-endian; rows run from the bottom.
    values = np.frombuffer(data, "<f4" if scale < 0 else ">f4", channels * width * height, header.end())
    values = values.reshape((height, width, 3) if channels == 3 else (height, width))[::-1]
    return values.astype(np.float32)


def _read_png(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode == "P":
                raise ValueError(f"{path.name} has a palette: it is a coloured view of depth, not depth")
            values = np.asarray(image)
    except Image.DecompressionBombError:
        raise ValueError(f"{path.name} is too large a picture for one mesh; resize it or make terrain tiles") from None
    except OSError as error:
        raise ValueError(f"{path.name} is cut off or not a picture: {error}") from None
    return values.astype(np.uint16) if values.dtype == np.int32 else values


def _read_exr(path: Path) -> NDArray[Any]:
    try:
        import OpenEXR
    except ImportError:
        raise ImportError("EXR files need the package OpenEXR: pip install OpenEXR") from None
    try:
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
    except RuntimeError as error:
        raise ValueError(f"{path.name} is cut off or not an EXR file: {error}") from None
    for name in ("Z", "V", "Y", "depth.Z", "R"):
        if name in channels:
            return np.asarray(channels[name].pixels, dtype=np.float32)
    raise ValueError(f"{path.name} has the channels {', '.join(channels)}; depth is read from Z, V, Y or R")


_READERS: dict[str, Callable[[Path], NDArray[Any]]] = {
    ".npy": _read_npy,
    ".pfm": _read_pfm,
    ".png": _read_png,
    ".exr": _read_exr,
}
