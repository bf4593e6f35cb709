"""The real engine, and beside it words that give back what was sent, so that tests see what a host sends.

``echo image`` paints the image as it came, ``echo mask`` the mask, ``echo control`` the first control's array;
``echo slowly`` takes a second for each step, and ``echo small`` paints next to nothing.
"""

from __future__ import annotations

import time

import numpy as np

from server.engine.errors import Cancelled
from server.engine.painting import Painting, Progress
from server.worker import engine_painter


class EchoPainter:
    def __init__(self, engine):
        self._engine = engine
        self.device = engine.device

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def paint(self, request, on_progress=None, cancelled=None):
        word, _, what = request.prompt.partition(" ")
        if word != "echo":
            return self._engine.paint(request, on_progress, cancelled)
        on_progress(Progress("sampling", 0, request.steps))
        if what == "slowly":
            for step in range(request.steps):
                for _ in range(100):
                    if cancelled():
                        raise Cancelled
                    time.sleep(0.01)
                on_progress(Progress("sampling", step + 1, request.steps))
        pictures = [self._picture(what, request)] * request.batch
        seeds = [(request.seed or 0) + index for index in range(request.batch)]
        height, width = pictures[0].shape[:2]
        return Painting(pictures, seeds, width, height, "echo", [], {"sampling": 0.0})

    def _picture(self, what, request):
        if what == "small":
            return np.full((64, 64, 3), 200, np.uint8)
        if what == "mask":
            return np.repeat(request.mask[:, :, None], 3, axis=2)
        if what == "control":
            array = request.controls[0].array
            return array if array.ndim == 3 else np.repeat(array[:, :, None], 3, axis=2)
        if request.image is not None:
            return request.image
        return np.full((request.height or 64, request.width or 64, 3), 200, np.uint8)


def make(setup):
    return EchoPainter(engine_painter(setup))
