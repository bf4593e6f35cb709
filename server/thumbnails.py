"""Small encoded pictures of what was painted, for lists."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: The longer side at most, in pixels.
SIDE = 256


def encode(array: NDArray[Any], color: str) -> bytes | None:
    """A JPEG (a PNG where there is transparency) of an (h, w) or (h, w, 1 to 4) array; None where it is no picture.

    color: as in `bridge_protocol.blobs`. Data of floats, such as depth, is shown from its least to its largest value.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 4):
        return None
    # Fewer pixels first: a large picture need not be converted whole.
    stride = max(1, min(array.shape[:2]) // (2 * SIDE))
    levels = _levels(array[::stride, ::stride], color)
    if levels.ndim == 3 and levels.shape[2] in (1, 2):
        levels = levels[:, :, 0]
    image = Image.fromarray(np.ascontiguousarray(levels))
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    out = io.BytesIO()
    if image.mode == "RGBA" and np.asarray(image.getchannel("A")).min() < 255:
        image.save(out, "PNG")
    else:
        image.convert("L" if image.mode == "L" else "RGB").save(out, "JPEG", quality=85)
    return out.getvalue()


def _levels(array: NDArray[Any], color: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    values = array.astype(np.float32)
    finite = values[np.isfinite(values)]
    if color == "data" and finite.size:
        low, high = float(finite.min()), float(finite.max())
        values = (values - low) / ((high - low) or 1.0)
    elif color == "linear":
        values = np.where(values <= 0.0031308, values * 12.92, 1.055 * np.maximum(values, 0) ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = (np.nan_to_num(values.clip(0, 1)) * 255 + 0.5).astype(np.uint8)
    return levels
