"""A painter for screenshots: calm landscapes, so that they show pictures; otherwise as tests/server/small_painter.py.

A negative prompt ``wait-for FILE`` lets it stop halfway until that file is there.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image

from server.engine.painting import Progress
from tests.server.small_painter import SmallPainter


def landscape(seed: int, width: int = 192, height: int = 192) -> np.ndarray:
    """(height, width, 3) uint8: a sky, a sun, hills."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 2 * height, 0 : 2 * width] / (2 * max(width, height))
    hue = rng.uniform(0, 1)
    sky = np.array([0.55 + 0.35 * hue, 0.66 + 0.1 * hue, 0.86 - 0.2 * hue])
    picture = sky * (1 - 0.35 * y[..., None]) + np.array([1, 0.86, 0.7]) * 0.35 * y[..., None]
    sun = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.15, 0.4)) < rng.uniform(0.05, 0.1)
    picture[sun] = (1, 0.95, 0.8)
    ground = np.array([rng.uniform(0.25, 0.5), rng.uniform(0.42, 0.55), rng.uniform(0.36, 0.5)])
    for layer in range(4):
        hill = 0.45 + 0.12 * layer + 0.06 * np.sin(x * rng.uniform(4, 12) + rng.uniform(0, 6))
        picture[y > hill] = ground * (1 - 0.2 * layer)
    return np.asarray(Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8)).resize((width, height)))


def inverted_within(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The colours inverted as far as the mask says; where it is zero, and in the alpha, everything as it was."""
    full = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1.0
    part = np.asarray(mask, np.float64) / (np.iinfo(mask.dtype).max if mask.dtype.kind == "u" else 1.0)
    colours = image[..., :3].astype(np.float64)
    blended = colours + (full - 2 * colours) * part[..., None]
    out = image.copy()
    out[..., :3] = np.where(part[..., None] > 0, blended.round() if full > 1 else blended, colours)
    return out


class Landscapes(SmallPainter):
    def paint(self, request, on_progress=None, cancelled=None):
        word, _, door = request.negative_prompt.partition(" ")
        if word == "wait-for":
            preview = np.asarray(
                Image.fromarray(landscape(request.seed or 0, 96, 96)).resize((12, 12)).resize((96, 96))
            )
            on_progress(Progress("sampling", request.steps // 2, request.steps, preview))
            while not Path(door).exists():
                self._look(cancelled)
                time.sleep(0.002)
        return super().paint(request, on_progress, cancelled)

    def _picture(self, request, seed):
        if request.mask is not None:
            return inverted_within(request.image, request.mask)
        if request.image is not None:
            return super()._picture(request, seed)
        return landscape(seed, request.width or 64, request.height or 64)


def make(setup):
    return Landscapes()
