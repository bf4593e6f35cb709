"""Sculpting alphas: a picture's depth as a brush that raises a surface, 16-bit grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from .depth import check_depth


def brush_alpha(
    depth: ArrayLike, *, size: int = 512, falloff: float = 0.25, detrend: bool = True
) -> NDArray[np.uint16]:
    """A square brush (size, size) uint16 from the middle of a depth map: white is near, black leaves the clay alone.

    depth: (h, w) positive z, +inf where nothing is. falloff: the outer share of the radius over which the brush fades
    to nothing; at the border it is exactly 0, so that strokes leave no square rim. detrend: take out the mean slope,
    so that a slanted surface's detail counts and not its slant.
    """
    z = check_depth(depth)
    if size < 2:
        raise ValueError(f"size is {size}; a brush has at least 2×2 pixels")
    if not 0 <= falloff <= 1:
        raise ValueError(f"falloff is {falloff}; it is a share of the radius, 0 to 1")
    side = min(z.shape)
    top, left = (z.shape[0] - side) // 2, (z.shape[1] - side) // 2
    q = 1 / z[top : top + side, left : left + side].astype(np.float64)
    known = q > 0
    grid = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(grid, grid)
    if detrend and known.sum() > 3:
        terms = np.stack([x[known], y[known], np.ones(int(known.sum()))], axis=1)
        slope = np.linalg.lstsq(terms, q[known], rcond=None)[0]
        q = q - slope[0] * x - slope[1] * y
    heights = np.where(known, q, q[known].min() if known.any() else 0.0)
    low, high = float(heights.min()), float(heights.max())
    heights = (heights - low) / (high - low) if high > low else np.ones_like(heights)
    picture = Image.fromarray(heights.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    resized = np.clip(np.asarray(picture, dtype=np.float64), 0, 1)
    grid = np.linspace(-1, 1, size)
    radius = np.hypot(*np.meshgrid(grid, grid))
    ramp = np.clip((1 - radius) / max(falloff, 1e-9), 0, 1)
    return np.asarray(np.rint(resized * ramp * ramp * (3 - 2 * ramp) * 65535), dtype=np.uint16)


def write_brush(alpha: NDArray[np.uint16], path: Path | str) -> None:
    """Writes a brush as a 16-bit grey .png, which Blender, ZBrush, Krita and Substance read."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path.name} ends in {path.suffix or 'nothing'}; brushes are written as 16-bit .png")
    Image.fromarray(alpha).save(path)
