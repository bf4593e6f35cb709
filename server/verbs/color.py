"""Linear light and sRGB (IEC 61966-2-1), for pictures that come in linear."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.engine import compositing


def to_srgb(linear: NDArray[Any]) -> NDArray[np.float32]:
    """(h, w, 3|4) float32 sRGB of linear light: integers over their whole range, or floats, whose light beyond [0, 1]
    is kept beyond it. Alpha is no light and stays.
    """
    pixels = _as_float(linear)
    light = np.abs(pixels[..., :3])
    with np.errstate(over="ignore", invalid="ignore"):
        curved = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    pixels[..., :3] = np.copysign(curved, pixels[..., :3])
    return pixels


def to_linear(encoded: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(h, w, 3|4) linear light of float32 sRGB, in that dtype; integers over their whole range."""
    pixels = _as_float(encoded)
    value = np.abs(pixels[..., :3])
    with np.errstate(over="ignore", invalid="ignore"):
        straight = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    pixels[..., :3] = np.copysign(straight, pixels[..., :3])
    if np.issubdtype(dtype, np.integer):
        return compositing.from_float(np.clip(np.nan_to_num(pixels, nan=0.0), 0, 1), dtype)
    return pixels.astype(dtype)


def _as_float(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if np.issubdtype(pixels.dtype, np.integer):
        return compositing.to_float(pixels)
    return pixels.astype(np.float32)
