"""Masks, regions and pasting, in numpy: what lies outside of a mask keeps every bit."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float = NDArray[np.float32]

#: Latents are eight times smaller than the picture in every family, and a UNet wants some of them.
LATENT = 8
SMALLEST = 64


def to_float(pixels: NDArray[Any]) -> Float:
    """Integers over their whole range, or floats, as float32 in [0, 1]; NaN becomes 0."""
    if np.issubdtype(pixels.dtype, np.integer):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return np.clip(np.nan_to_num(pixels.astype(np.float32), nan=0.0), 0.0, 1.0)


def from_float(pixels: Float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """float32 in [0, 1] as integers over their whole range, rounded, or as floats."""
    if np.issubdtype(dtype, np.integer):
        # float32 holds every uint16; the product is rounded half to even, as diffusers does for 8 bits.
        return (pixels * np.iinfo(dtype).max).round().astype(dtype)
    return pixels.astype(dtype)


def coverage(mask: NDArray[Any], grow: int = 0, feather: int = 0) -> Float:
    """How much of each pixel is painted: (h, w) float32 in [0, 1].

    mask: (h, w). grow: pixels by which it is widened, by Euclidean distance; negative shrinks it. feather: width of
    the ramp from 1 to 0 outside of the grown mask. Without both, a soft mask is taken as it is.
    """
    soft = to_float(mask)
    if grow == 0 and feather == 0:
        return soft
    inside = soft >= 0.5
    if grow < 0:
        inside &= _distance(~inside, -grow) > -grow
        soft = np.zeros_like(soft)  # the soft rim lies in what was shrunk away
    reach = max(grow, 0)
    distance = _distance(inside, reach + feather)
    ramp = np.clip((reach + feather + 1 - distance) / (feather + 1), 0.0, 1.0)
    return np.maximum(soft, ramp).astype(np.float32)


def paste(original: NDArray[Any], painted: Float, cover: Float) -> NDArray[Any]:
    """The painted pixels over the original, (h, w, 3|4) of the original's dtype; its alpha is kept.

    painted: (h, w, 3) float32 in [0, 1]. cover: (h, w) float32; where it is 0, every bit of the original stays.
    """
    result = original.copy()
    touched = cover > 0
    alpha = cover[touched][:, None]
    old = to_float(original[..., :3][touched])
    mixed = np.where(alpha >= 1, painted[touched], old + (painted[touched] - old) * alpha)
    result[..., :3][touched] = from_float(mixed, original.dtype)
    return result


@dataclass(frozen=True)
class Region:
    """The part of a picture that is painted, and the size that it is painted at.

    x, y, width, height: pixels of the picture. paint_width, paint_height: multiples of 8; the part is resized to them
    if `resized`, else its edge is repeated to fill them.
    """

    x: int
    y: int
    width: int
    height: int
    paint_width: int
    paint_height: int
    resized: bool = False

    def cut(self, pixels: Float, resample: Image.Resampling = Image.Resampling.LANCZOS) -> Float:
        """This part of a picture of any number of channels, at the size that is painted."""
        part = pixels[self.y : self.y + self.height, self.x : self.x + self.width]
        if self.resized:
            return resize(part, self.paint_width, self.paint_height, resample)
        right, bottom = self.paint_width - self.width, self.paint_height - self.height
        return np.pad(part, [(0, bottom), (0, right), *[(0, 0)] * (pixels.ndim - 2)], mode="edge")

    def restore(self, painted: Float) -> Float:
        """What was painted, at this part's own size."""
        if self.resized:
            return np.clip(resize(painted, self.width, self.height), 0.0, 1.0)
        return painted[: self.height, : self.width]


def whole(width: int, height: int, cell: int = LATENT) -> Region:
    """The whole picture, filled up to a size that can be painted. cell: pixels that its sides are a multiple of."""
    return Region(0, 0, width, height, _paintable(width, cell), _paintable(height, cell))


def around(cover: Float, padding: int, native_size: int, cell: int = LATENT) -> Region:
    """The mask's bounding box with its context, at the model's native size if it is smaller than that.

    cover: (h, w), not empty. padding: pixels of context on each side. native_size: pixels of the model's side. cell:
    pixels that the painted sides are a multiple of.
    """
    height, width = cover.shape
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    top, bottom = max(0, int(rows[0]) - padding), min(height, int(rows[-1]) + 1 + padding)
    left, right = max(0, int(columns[0]) - padding), min(width, int(columns[-1]) + 1 + padding)
    wide, high = right - left, bottom - top
    scale = native_size / sqrt(wide * high)
    if scale <= 1:  # painting smaller and blowing up again would lose what the picture has
        return Region(left, top, wide, high, _paintable(wide, cell), _paintable(high, cell))
    return Region(
        left, top, wide, high, _paintable(round(wide * scale), cell), _paintable(round(high * scale), cell), True
    )


def resize(
    pixels: Float, width: int, height: int, resample: Image.Resampling = Image.Resampling.LANCZOS
) -> NDArray[np.float32]:
    """(h, w) or (h, w, c) float32 at another size, each channel by itself and without rounding to 8 bits."""
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = pixels.reshape(*pixels.shape[:2], -1)
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., i])).resize((width, height), resample))
        for i in range(planes.shape[2])
    ]
    return np.stack(resized, axis=-1).reshape(height, width, *pixels.shape[2:])


def latent_cover(cover: Float) -> NDArray[np.float32]:
    """(h / 8, w / 8) float32: 1 for each latent that holds a painted pixel, 0 elsewhere; h, w: multiples of 8."""
    height, width = cover.shape
    blocks = cover.reshape(height // LATENT, LATENT, width // LATENT, LATENT)
    return (blocks.max(axis=(1, 3)) > 0).astype(np.float32)


def _paintable(side: int, cell: int) -> int:
    return max(SMALLEST, ceil(side / cell) * cell)


def _distance(inside: NDArray[np.bool_], reach: int) -> Float:
    """Euclidean distance to the nearest inside pixel, exact up to reach, +inf beyond.

    Separable: the distance along the columns first, then over the offsets along the rows. That is 4 · reach passes
    over the picture, which for the few dozen pixels of a mask's rim beats a general transform in plain numpy.
    """
    column = np.where(inside, np.float32(0), np.float32(np.inf))
    for _ in range(reach):
        column[1:] = np.minimum(column[1:], column[:-1] + 1)
        column[:-1] = np.minimum(column[:-1], column[1:] + 1)
    column[column > reach] = np.inf
    squared = column**2
    nearest = squared.copy()
    for step in range(1, min(reach, inside.shape[1] - 1) + 1):
        nearest[:, step:] = np.minimum(nearest[:, step:], squared[:, :-step] + step * step)
        nearest[:, :-step] = np.minimum(nearest[:, :-step], squared[:, step:] + step * step)
    distance = np.sqrt(nearest)
    distance[distance > reach] = np.inf
    return distance
