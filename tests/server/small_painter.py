"""A painter with the engine's interface whose pictures cost nothing, for tests of everything around it.

A prompt says what it does: ``steps`` steps of a millisecond each, or one of the words below. ``dot`` makes a small
picture whatever the image is, ``ramps`` one whose red grows to the right and whose green grows downward, ``strength``
one that is as bright as its denoising strength.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from server.engine.errors import Cancelled, OutOfMemory
from server.engine.painting import Painting, Progress


class Unreadable:
    """Leaves its process well, and does not arrive in any other."""

    def __reduce__(self):
        return int, ("not a number",)


class SmallPainter:
    device = "small"

    def paint(self, request, on_progress=None, cancelled=None):
        word, _, rest = request.prompt.partition(" ")
        on_progress(Progress("loading"))
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "die-once" and not Path(rest).exists():
            Path(rest).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "break-once" and not Path(rest).exists():
            Path(rest).touch()
            raise ZeroDivisionError("a bug that shows once")
        if word == "unreadable":
            on_progress(Progress(Unreadable()))
        if word == "break":
            raise ZeroDivisionError("a bug, with /a/secret/path in its text")
        if word == "memory":
            raise OutOfMemory("It does not fit.", "Take 512×512.")
        if word == "wait-for":  # until the test lets it go on
            while not Path(rest).exists():
                self._look(cancelled)
                time.sleep(0.002)
        for step in range(request.steps):
            self._look(cancelled)
            time.sleep(0.001)
            preview = np.full((8, 8, 3), step, np.uint8) if request.preview_every else None
            on_progress(Progress("sampling", step + 1, request.steps, preview))
        seeds = [(request.seed or 0) + i for i in range(request.batch)]
        return Painting([self._picture(request, seed) for seed in seeds], seeds, 64, 64, "small", [], {"sampling": 0.1})

    def _look(self, cancelled):
        if cancelled():
            raise Cancelled

    def _picture(self, request, seed):
        if request.prompt == "dot":
            return np.zeros((64, 64, 3), np.uint8)
        height, width = request.height or 64, request.width or 64
        if request.prompt == "ramps":
            red, green = np.linspace(0, 255, width)[None], np.linspace(0, 255, height)[:, None]
            ramps = np.broadcast_arrays(red, green, 60.0)
            return np.rint(np.stack(ramps, axis=-1)).astype(np.uint8)
        if request.prompt == "strength":
            return np.full((height, width, 3), round(255 * request.denoising_strength), np.uint8)
        if request.image is not None:
            dtype = request.image.dtype
            turned = np.issubdtype(dtype, np.integer)
            return np.iinfo(dtype).max - request.image if turned else request.image * dtype.type(0.5)
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (height, width, 3), np.uint8)


def make(setup):
    return SmallPainter()


def make_broken(setup):
    raise RuntimeError("this painter never starts")
