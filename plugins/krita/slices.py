"""Long work in Krita's main thread, cut into slices so that the brush never waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import Any

from .qt import QtCore

log = logging.getLogger("brushwire.krita")

#: How long one slice of work goes on before Krita has its turn.
BUDGET = 0.005

#: What work yields that waits for something of Krita's: nothing more is done in this turn of the event loop.
TURN = object()

Work = Generator[object, None, Any]


class Slices:
    """Runs generators step by step from Qt's event loop; what one of them raises goes to its own `failed`."""

    def __init__(self) -> None:
        self._timer = QtCore.QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._advance)
        self._running: list[tuple[Work, Callable[[Exception], object]]] = []
        #: How long each slice took, in seconds, the newest last: what the benchmark reads.
        self.durations: list[float] = []

    def start(self, work: Work, failed: Callable[[Exception], object]) -> None:
        """Begin; the first slice comes with the next turn of the event loop."""
        self._running.append((work, failed))
        self._timer.start()

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self._running

    def stop(self) -> None:
        """Give up everything."""
        self._timer.stop()
        while self._running:
            self._running.pop()[0].close()

    def _advance(self) -> None:
        begin = time.perf_counter()
        while self._running and time.perf_counter() - begin < BUDGET:
            work, failed = self._running[0]
            try:
                if next(work) is TURN:
                    break
            except StopIteration:
                self._running.pop(0)
            except Exception as error:  # told to whoever asked; the other work goes on
                log.debug("work in slices failed", exc_info=True)
                self._running.pop(0)
                failed(error)
        self.durations.append(time.perf_counter() - begin)
        del self.durations[:-1000]
        if not self._running:
            self._timer.stop()
