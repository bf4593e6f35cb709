"""One row for each thing that is measured: two times taken in turns in one run, and their ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A measurement: what, our figure and the other one (with their names), the bound on ours over theirs."""

    what: str
    ours: float
    theirs: float
    against: str
    bound: str = ""
    holds: bool | None = None
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        """Ours over theirs; infinite where theirs is none at all, and 1 where both are."""
        if self.theirs == 0:
            return 1.0 if self.ours == 0 else float("inf")
        return self.ours / self.theirs


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 9, warm_up: int = 2
) -> tuple[float, float]:
    """Median times in ms of two functions called in turns, so that a drift of the machine meets both."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for index in range(warm_up + rounds):
        # A B, B A, A B …: what one leaves behind (caches, clocks, threads that still spin) meets both alike.
        for which in (0, 1) if index % 2 == 0 else (1, 0):
            start = time.perf_counter()
            (ours, theirs)[which]()
            if index >= warm_up:
                times[which].append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


def at_most(what: str, ours: float, theirs: float, against: str, bound: float, unit: str = "ms") -> Row:
    """A row whose ratio must not exceed `bound`."""
    return Row(what, ours, theirs, against, f"≤ {bound:g}", ours / theirs <= bound, unit)
