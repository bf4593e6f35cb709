"""One painting on its way: what is told about it, and what must survive when it is begun anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from server.engine import windows
from server.engine.compositing import LATENT
from server.engine.painting import IsCancelled, OnProgress, Painting, Phase, Progress
from server.engine.plan import Plan


@dataclass(eq=False)
class Work:
    """plan: what is painted. latents: once they are there, memory may run out without losing them.

    fallbacks: sentences about what was done otherwise than asked. timings: seconds for each phase.
    """

    plan: Plan
    on_progress: OnProgress
    cancelled: IsCancelled
    latents: Tensor | None = None
    fallbacks: list[str] = field(default_factory=list)
    timings: dict[Phase, float] = field(default_factory=dict)
    _current: Phase | None = None
    _since: float = 0.0

    def __post_init__(self) -> None:
        request = self.plan.request
        if request.mask_padding is not None and (request.seamless_x or request.seamless_y):
            self.report("The picture was not made seamless: only a part of it was painted (mask_padding).")
        side, checkpoint = self._window_side, self.plan.models.checkpoint
        if checkpoint.cell != LATENT and side is not None and self._longest > side:
            self.report(f"The picture was painted in one piece (tile): {checkpoint.name} is a transformer.")

    @property
    def wraps(self) -> tuple[bool, bool]:
        """The axes that tile, x and y."""
        request = self.plan.request
        if request.mask_padding is not None:
            return False, False
        return request.seamless_x, request.seamless_y

    @property
    def tiling(self) -> windows.Tiling | None:
        """The windows in which the denoiser sees the picture, or None for all of it."""
        request, side = self.plan.request, self._window_side
        if self.plan.models.checkpoint.cell != LATENT:  # a transformer, which has no windows
            return None
        if side is None or self._longest <= side:
            return None
        overlap = side // 2 if request.tile_overlap is None else request.tile_overlap
        coarsest = 8 * LATENT  # a window's side, so that every level of the UNet has whole cells
        return windows.Tiling(max(side // coarsest * coarsest, coarsest) // LATENT, overlap // LATENT, self.wraps)

    @property
    def _window_side(self) -> int | None:
        tile = self.plan.request.tile
        return self.plan.models.checkpoint.native_size if tile == "native" else tile

    @property
    def _longest(self) -> int:
        return max(self.plan.region.paint_width, self.plan.region.paint_height)

    def report(self, sentence: str | None) -> None:
        """Tell with the result what was done otherwise than asked; once each."""
        if sentence is not None and sentence not in self.fallbacks:
            self.fallbacks.append(sentence)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Spend the time in here on a phase."""
        self.enter(phase)
        try:
            yield
        finally:
            self._leave()

    def enter(self, phase: Phase) -> None:
        """The phase that begins now; it is told."""
        if phase != self._current:
            self._leave()
            self._current, self._since = phase, time.perf_counter()
            self.on_progress(Progress(phase))

    def _leave(self) -> None:
        if self._current is not None:
            spent = time.perf_counter() - self._since
            self.timings[self._current] = self.timings.get(self._current, 0.0) + spent
            self._current = None

    def painting(self, images: list[Any]) -> Painting:
        """The result."""
        plan = self.plan
        return Painting(
            images, plan.seeds, plan.width, plan.height, plan.models.checkpoint.id,
            [info.id for info in plan.models.controlnets], self.timings, self.fallbacks, plan.prompts,
            plan.negative_prompts, plan.variation_seeds,
        )  # fmt: skip
