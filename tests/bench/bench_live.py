"""Live painting without a host: a stroke of 64 pixels on a canvas, to the server and back, with nothing painted."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bridge_protocol.blobs import Blob, Canvas
from bridge_protocol.client import BridgeClient
from bridge_protocol.jobs import Generate
from server.settings import Settings
from tests.bench.table import Row, at_most
from tests.server.process import ServerProcess

SIDES = (512, 4096)
STROKES = 21


@dataclass
class _Painted:
    """A canvas that is painted on, and its pixels as a blob after each stroke."""

    pixels: np.ndarray
    canvas: Canvas
    strokes: int = 0

    @classmethod
    def of(cls, side: int) -> _Painted:
        return cls(np.random.default_rng(side).integers(0, 256, (side, side, 4), np.uint8), Canvas())

    def stroke(self) -> Blob:
        self.strokes += 1
        at = 100 + 7 * self.strokes
        self.pixels[at : at + 64, at : at + 64] = self.strokes
        return self.canvas.update(self.pixels)


def rows() -> Iterator[Row]:
    """A large canvas against a small one, in turns: only what was touched should cost."""
    with tempfile.TemporaryDirectory(prefix="brushwire-bench-") as name:
        folder = Path(name)
        (folder / "run").mkdir(mode=0o700)
        painter = "tests.server.small_painter:make"
        settings = Settings(data=folder / "data", runtime=folder / "run", painter=painter, store_bytes=1 << 30)
        server = ServerProcess(settings, folder).start()
        try:
            with BridgeClient("bench", runtime=settings.runtime) as client:
                times = _loops(client)
        finally:
            server.stop()
    small, large = (statistics.median(times[side]) for side in SIDES)
    yield at_most(f"live: a stroke on {SIDES[1]}²", large, small, f"the same on {SIDES[0]}²", 3)
    yield Row(f"live: a stroke on {SIDES[1]}²", large, 30, "the bound", "≤ 30 ms", large <= 30)


def _loops(client: BridgeClient) -> dict[int, list[float]]:
    times: dict[int, list[float]] = {side: [] for side in SIDES}
    painted = {side: _Painted.of(side) for side in SIDES}
    for index in range(STROKES + 1):
        for side in SIDES:
            blob = painted[side].stroke()
            start = time.perf_counter()
            client.run(
                Generate("dot", image=blob, steps=1, preview_every=0),
                priority="live",
                slot=f"canvas {side}",
                on_disconnect="cancel",
            )
            took = (time.perf_counter() - start) * 1e3
            if index:  # the first one uploads the whole canvas
                times[side].append(took)
    return times
