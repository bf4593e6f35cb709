"""Depth maps to files: EXR, NPY and PFM as they are, PNG in 16-bit steps; `read` gives the same numbers back."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

#: Steps of a metre in 16-bit files: millimetres, as most depth cameras write them.
STEPS = 1000.0


def write_depth(depth: ArrayLike, path: Path | str, *, steps: float = STEPS) -> tuple[str, ...]:
    """Writes a (h, w) map of z (or of anything else) in the format of the path's suffix; returns warnings.

    .exr: one float32 channel Z. .npy, .pfm: float32. .png: 16-bit, `steps` of them for one scene unit, 0 where nothing
    is; what 65,535 steps do not reach is written as 0, and told. Raises ValueError for another suffix.
    """
    path = Path(path)
    values = np.asarray(depth)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise ValueError(f"depth has shape {values.shape} and dtype {values.dtype}; it must be real numbers, (h, w)")
    if not (math.isfinite(steps) and steps > 0):
        raise ValueError(f"steps is {steps}; it must be a positive number")
    suffix = path.suffix.lower()
    if suffix == ".png":
        return _write_png(values, path, steps)
    if suffix not in _WRITERS:
        raise ValueError(f"{path.name} ends in {suffix or 'nothing'}; depth is written as .png, {', '.join(_WRITERS)}")
    _WRITERS[suffix](values.astype(np.float32), path)
    return ()


def _write_png(values: NDArray[np.generic], path: Path, steps: float) -> tuple[str, ...]:
    scaled = values.astype(np.float64) * steps
    known = np.isfinite(scaled) & (scaled > 0)
    beyond = known & (np.rint(scaled) > 65535)
    stored = np.where(known & ~beyond, np.rint(np.where(known, scaled, 0)), 0).astype(np.uint16)
    Image.fromarray(stored).save(path)
    if not beyond.any():
        return ()
    return (
        f"{int(beyond.sum())} pixels lie beyond {65535 / steps:g} and have no depth in the file; "
        "take fewer steps, or write .exr",
    )


def _write_npy(values: NDArray[np.float32], path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, values)


def _write_pfm(values: NDArray[np.float32], path: Path) -> None:
    with path.open("wb") as file:
        # A negative scale means little-endian; rows run from the bottom.
        file.write(f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode())
        file.write(np.ascontiguousarray(values[::-1], "<f4").data)


def _write_exr(values: NDArray[np.float32], path: Path) -> None:
    try:
        import OpenEXR
    except ImportError:
        raise ImportError("EXR files need the package OpenEXR: pip install OpenEXR") from None
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Z": np.ascontiguousarray(values)}).write(str(path))


_WRITERS: dict[str, Callable[[NDArray[np.float32], Path], None]] = {
    ".exr": _write_exr,
    ".npy": _write_npy,
    ".pfm": _write_pfm,
}
