"""Pictures that continue at their opposite edge: filters that know it, and a measure of whether it is so.

`wraps` is (x, y) everywhere: whether the picture continues from its right edge to its left one, and from its bottom to
its top. On an axis that does not wrap, filters mirror the picture instead, so that its edge adds no gradient.
Arrays are (h, w) or (h, w, c), rows from the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.engine.compositing import Float, resize

Wraps = tuple[bool, bool]

#: Lanczos looks three pixels of the coarser raster around; more does no harm.
_MARGIN = 8
#: How many times more than beside it a picture changes at least where it was cut.
_CUT = 1.3


def blur(pixels: Float, sigma: float, wraps: Wraps) -> Float:
    """A Gaussian of that standard deviation in pixels."""
    x, y = ("wrap" if wrap else "reflect" for wrap in wraps)
    modes, sigmas = [y, x, "reflect"], [sigma, sigma, 0]
    return ndimage.gaussian_filter(pixels, sigmas[: pixels.ndim], mode=modes[: pixels.ndim])


def gradient(height: Float, wraps: Wraps) -> tuple[Float, Float]:
    """Central differences along x (to the right) and y (down), each (h, w), per pixel."""
    padded = pad(height, 1, wraps)
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    return across, down


def pad(pixels: NDArray[Any], margin: int, wraps: Wraps) -> NDArray[Any]:
    """The picture with a margin of what continues it."""
    for axis, wrap in ((1, wraps[0]), (0, wraps[1])):
        widths = [(margin, margin) if one == axis else (0, 0) for one in range(pixels.ndim)]
        pixels = np.pad(pixels, widths, mode="wrap" if wrap else "symmetric")
    return pixels


def scaled(pixels: Float, width: int, height: int, wraps: Wraps) -> Float:
    """The picture at another size, by Lanczos; on an axis that wraps it goes on across the edge."""
    if pixels.shape[:2] == (height, width):
        return pixels
    rows, columns = pixels.shape[:2]
    # A margin of whole pixels on both rasters, so that no pixel is moved by a part of one.
    x, y = _margin(columns, width), _margin(rows, height)
    padded = pad(pixels, max(x[0], y[0]), wraps)
    edge = max(x[0], y[0])
    cut = padded[edge - y[0] : edge + rows + y[0], edge - x[0] : edge + columns + x[0]]
    large = resize(cut, width + 2 * x[1], height + 2 * y[1])
    return np.ascontiguousarray(large[y[1] : y[1] + height, x[1] : x[1] + width])


def _margin(before: int, after: int) -> tuple[int, int]:
    """Pixels before and after that are the same part of the picture: the whole of it if there is nothing smaller."""
    common = int(np.gcd(before, after))
    times = -(-_MARGIN * common // min(before, after))
    return times * before // common, times * after // common


def integrated(across: Float, down: Float, wraps: Wraps) -> Float:
    """The height whose central differences come nearest to a field of slopes, (h, w) with mean 0.

    Frankot and Chellappa (1988) with the central difference's own transfer function: the integration of slopes that
    are central differences of a height gives that height, but for its mean and what alternates from pixel to pixel.
    An axis that does not wrap is mirrored.
    """
    height, width = across.shape
    p, q = across, down
    if not wraps[0]:  # the slope along a mirrored axis turns around
        p, q = np.concatenate([p, -p[:, ::-1]], 1), np.concatenate([q, q[:, ::-1]], 1)
    if not wraps[1]:
        p, q = np.concatenate([p, p[::-1]], 0), np.concatenate([q, -q[::-1]], 0)
    u = 1j * np.sin(2 * np.pi * np.fft.rfftfreq(p.shape[1]))[None, :]
    v = 1j * np.sin(2 * np.pi * np.fft.fftfreq(p.shape[0]))[:, None]
    norm = np.abs(u) ** 2 + np.abs(v) ** 2
    # Where the difference does not see a wave, nothing is known of it.
    blind = norm < 1e-6
    spectrum = -(u * np.fft.rfft2(p) + v * np.fft.rfft2(q)) / np.where(blind, 1, norm)
    spectrum[blind] = 0
    return np.fft.irfft2(spectrum, s=p.shape)[:height, :width].astype(np.float32)


def calm_origin(maps: Sequence[Float], axes: Wraps) -> tuple[int, int]:
    """The column and the row (x, y) that had better be the first of maps that continue: across the edge before it even
    the map that changes most there changes little, so that whoever filters without wrapping sees the least of it.

    0 on an axis that is not among `axes`.
    """
    origin = []
    for axis, free in ((1, axes[0]), (0, axes[1])):
        worst = np.zeros(maps[0].shape[axis])
        for pixels in maps:
            along = _changes(pixels, axis)
            worst = np.maximum(worst, along / max(float(along.mean()), 1e-9))
        origin.append(int(worst.argmin()) if free else 0)
    return origin[0], origin[1]


def _changes(pixels: Float, axis: int) -> Float:
    """For each line across an axis, the mean absolute change from the line before it; the first follows the last."""
    change = np.abs(pixels - np.roll(pixels, 1, axis))
    return change.mean(tuple(one for one in range(pixels.ndim) if one != axis))


def continues(pixels: Float) -> tuple[bool, bool]:
    """For x and y: whether the picture continues at its opposite edge, told by the lines beside it.

    Across the edge it may change somewhat more than from line to line beside it, not much: a cut does.
    """
    found = []
    for axis in (1, 0):
        along = _changes(pixels, axis)
        beside = float(np.concatenate([along[1:5], along[-4:]]).mean())
        found.append(bool(along[0] <= _CUT * beside + 1e-6))
    return found[0], found[1]


def seam_ratio(pixels: NDArray[Any]) -> tuple[float, float]:
    """For x and y: the mean absolute gradient across the wrap-around over the mean one inside; 1 where neither is any.

    A picture that continues has a ratio around 1: at its edge it changes as it does everywhere. Integers are taken
    over their whole range.
    """
    scale = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
    values = pixels.astype(np.float32) / np.float32(scale)
    ratios = []
    for axis in (1, 0):
        inside = float(np.abs(np.diff(values, axis=axis)).mean())
        edge = float(np.abs(np.take(values, 0, axis) - np.take(values, -1, axis)).mean())
        ratios.append(edge / inside if inside > 0 else 1.0 if edge == 0 else np.inf)
    return ratios[0], ratios[1]
