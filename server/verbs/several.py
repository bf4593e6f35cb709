"""Several paintings as one job: their progress and what is told about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from server.engine.painting import OnProgress, Progress


def part_of_all(on_progress: OnProgress, number: int, count: int) -> OnProgress:
    """Progress of the painting with that number as progress of all `count` of them."""

    def told(progress: Progress) -> None:
        step, total = number * progress.total + progress.step, count * progress.total
        on_progress(replace(progress, step=step, total=total))

    return told


def merged(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The info of several paintings as one: seconds added up, each fallback once, all else as in the first."""
    timings: dict[str, float] = {}
    fallbacks: list[str] = []
    for info in infos:
        for phase, seconds in info["timings"].items():
            timings[phase] = timings.get(phase, 0.0) + seconds
        fallbacks += [sentence for sentence in info["fallbacks"] if sentence not in fallbacks]
    return {**infos[0], "timings": timings, "fallbacks": fallbacks}
