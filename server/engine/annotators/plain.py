"""Control maps that need no weights: edges, lines, colours, and a picture shaken up.

Each takes a (h, w, 3) uint8 sRGB picture and gives a (h, w, 3) uint8 control image, white on black where it is lines,
as the ControlNets of its kind were trained on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from server.engine.compositing import resize

Picture = NDArray[np.uint8]
Plane = NDArray[np.float32]

#: What the ControlNets for canny were trained with, as most tools offer it.
LOW, HIGH = 100, 200
#: A circle of cells whose colours stand for the picture's.
_CELL = 64
#: The tangent of 22.5°, half way between two of the four directions.
_TAN = 0.4142


def canny(picture: Picture, low: int = LOW, high: int = HIGH, sigma: float = 1.0) -> Picture:
    """Thin edges (Canny 1986): gradients above `high`, and those above `low` that hang together with them.

    The gradient is Sobel's of the grey picture in 8 bits, its magnitude |x| + |y|: OpenCV's scale of the thresholds.
    """
    grey = _grey(picture)
    smooth = ndimage.gaussian_filter(grey, sigma, mode="nearest") if sigma else grey
    across, down = ndimage.sobel(smooth, 1, mode="nearest"), ndimage.sobel(smooth, 0, mode="nearest")
    strength = np.abs(across) + np.abs(down)
    ridge = strength >= _beside(strength, across, down)
    edges = ridge & (strength > low)
    labels, count = ndimage.label(edges, np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[np.unique(labels[edges & (strength > high)])] = True
    strong[0] = False
    return _white(strong[labels].astype(np.float32))


def _beside(strength: Plane, across: Plane, down: Plane) -> Plane:
    """The larger of the two neighbours along the gradient, in one of four directions; ties go to one side alone."""
    padded = np.pad(strength, 1)
    rows, columns = strength.shape
    flat = np.abs(down) < _TAN * np.abs(across)
    steep = np.abs(across) < _TAN * np.abs(down)
    falling = across * down > 0

    def neighbour(sign: int) -> Plane:
        right, below, diagonal, other = (
            padded[1 + sign * dy : 1 + sign * dy + rows, 1 + sign * dx : 1 + sign * dx + columns]
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1))
        )
        return np.select([flat, steep, falling], [right, below, diagonal], other)

    return np.maximum(neighbour(-1), np.nextafter(neighbour(1), np.float32(np.inf)))


def lineart(picture: Picture, sigma: float = 6.0, least: int = 8) -> Picture:
    """Drawn lines: what is darker than its surroundings, as strong as it is darker ("lineart standard")."""
    values = picture.astype(np.float32)
    around = ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="nearest")
    lines = np.clip((around - values).min(axis=-1), 0, 255)
    typical = max(16.0, float(np.median(lines[lines > least])) if (lines > least).any() else 16.0)
    return _white(np.clip(lines / typical * 127 / 255, 0, 1))


def scribble(picture: Picture, threshold: int = 32) -> Picture:
    """Thick lines as drawn by hand: the difference of two blurs, cut at a threshold (XDoG, Winnemöller 2011)."""
    values = picture.astype(np.float32)
    fine, wide = (ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="nearest") for sigma in (0.5, 5.0))
    difference = 255 - np.min(np.clip(255 - (wide - fine), 0, 255), axis=-1)
    return _white((2 * difference > threshold).astype(np.float32))


def softedge(picture: Picture, sigma: float = 1.5) -> Picture:
    """Soft edges: the strength of the gradient in any channel, without a network (Scharr's is rounder than Sobel's)."""
    values = ndimage.gaussian_filter(picture.astype(np.float32), (sigma, sigma, 0), mode="nearest")
    kernel = np.array([3, 10, 3], np.float32) / 32
    slopes = [ndimage.correlate1d(values, [-1, 0, 1], axis, mode="nearest") for axis in (1, 0)]
    across, down = (
        ndimage.convolve1d(slope, kernel, 1 - axis, mode="nearest") for slope, axis in zip(slopes, (1, 0), strict=True)
    )
    strength = np.hypot(across, down).max(-1)
    return _white(np.clip(strength / max(float(np.percentile(strength, 99)), 8.0), 0, 1))


def color(picture: Picture, cell: int = _CELL) -> Picture:
    """The colours alone: the mean of each cell of so many pixels."""
    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize((max(1, width // cell), max(1, height // cell)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def tile(picture: Picture, factor: int = 4) -> Picture:
    """The picture without its details, which a tile ControlNet paints anew: made so many times smaller, and back."""
    height, width = picture.shape[:2]
    small = Image.fromarray(picture).resize((max(1, width // factor), max(1, height // factor)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def shuffle(picture: Picture, seed: int = 0, coarseness: int = 256) -> Picture:
    """The picture moved about by smooth noise, so that its colours and textures stay and its shapes do not."""
    height, width = picture.shape[:2]
    rng = np.random.default_rng(seed)
    rows, columns = (_noise(height, width, coarseness, rng) for _ in range(2))
    places = [rows * (height - 1), columns * (width - 1)]
    planes = [ndimage.map_coordinates(picture[..., channel], places, order=1, mode="nearest") for channel in range(3)]
    return np.stack(planes, -1).astype(np.uint8)


def _noise(height: int, width: int, coarseness: int, rng: np.random.Generator) -> Plane:
    """Smooth noise that fills 0 to 1."""
    cells = rng.random((height // coarseness + 4, width // coarseness + 4)).astype(np.float32)
    smooth = resize(cells, cells.shape[1] * coarseness, cells.shape[0] * coarseness, Image.Resampling.BICUBIC)
    y, x = ((long - short) // 2 for long, short in zip(smooth.shape, (height, width), strict=True))
    part = smooth[y : y + height, x : x + width]
    return (part - part.min()) / max(float(np.ptp(part)), 1e-6)


def _grey(picture: Picture) -> Plane:
    return picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _white(strength: Plane) -> Picture:
    """Strengths in [0, 1] as white on black."""
    return np.repeat(np.rint(strength * 255).astype(np.uint8)[..., None], 3, -1)
