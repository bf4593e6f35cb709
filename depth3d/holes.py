"""Holes in measured depth, filled: what a stereo pair or a depth camera could not see is mostly background."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .membrane import membrane

#: The two ends of a gap count as one surface if the farther is at most so many times as far: for each pixel of the gap,
#: as steep surfaces are, and at most.
_STEEP, _SAME = 1.03, 1.35


def fill_holes(depth: ArrayLike, holes: ArrayLike) -> NDArray[np.float32]:
    """A (h, w) map of z with the pixels of `holes` (h, w) filled, float32; the others stay as they are.

    A smooth membrane in 1 / z, in which planes are affine, is spanned over them. It is held by what surrounds each
    hole but for the nearer things there: of the two ends of a hole's row, or column, the nearer one does not count if
    the other is much farther. So what only the other camera saw beside a thing goes to what is behind the thing.
    Nothing is filled where nothing is known.
    """
    z, gaps = np.asarray(depth, dtype=np.float32), np.asarray(holes, dtype=bool)
    if z.shape != gaps.shape or z.ndim != 2:
        raise ValueError(f"depth has shape {z.shape} and holes {gaps.shape}; they must be one (h, w)")
    if not gaps.any() or gaps.all():
        return z.copy()
    ends, nearer = _ends(z, gaps)
    for found, into in zip(_ends(z.T, gaps.T), (ends, nearer), strict=True):
        into |= found.T
    held = ends & ~nearer if (ends & ~nearer).any() else ends
    with np.errstate(divide="ignore"):
        q = membrane(np.where(held, 1 / z, 0).astype(np.float32), held)
        return np.where(gaps, 1 / q, z).astype(np.float32)


def _ends(z: NDArray[np.float32], gaps: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels at the ends of each row's gaps, and those of them that are much nearer than the other end."""
    width = z.shape[1]
    columns = np.broadcast_to(np.arange(width), z.shape)
    left = np.maximum.accumulate(np.where(gaps, -1, columns), axis=1)
    right = np.minimum.accumulate(np.where(gaps, width, columns)[:, ::-1], axis=1)[:, ::-1]
    # Each gap once: at its first pixel.
    first = gaps & ~np.pad(gaps, ((0, 0), (1, 0)))[:, :-1]
    rows, at = np.nonzero(first)
    a, b = left[rows, at], right[rows, at]
    ends, nearer = np.zeros_like(gaps), np.zeros_like(gaps)
    has_a, has_b = a >= 0, b < width
    ends[rows[has_a], a[has_a]] = True
    ends[rows[has_b], b[has_b]] = True
    both = has_a & has_b
    rows, a, b = rows[both], a[both], b[both]
    za, zb = z[rows, a], z[rows, b]
    ratio = np.minimum(_STEEP ** (b - a), _SAME)
    nearer[rows[za * ratio < zb], a[za * ratio < zb]] = True
    nearer[rows[zb * ratio < za], b[zb * ratio < za]] = True
    return ends, nearer
