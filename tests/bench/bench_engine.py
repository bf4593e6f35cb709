"""The painter against plain diffusers with its defaults: the same model, steps and seed, both warm, in turns."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from server.engine.catalog import STARTER, Catalog
from server.engine.diffusion import Painter
from server.engine.painting import PaintRequest
from server.engine.speed import Speed
from tests.bench.table import Row

STEPS, SIDE, ROUNDS = 10, 256, 8
WORDS, UNWANTED = "a red brick wall", "blurry"


def rows() -> Iterator[Row]:
    """The starter model at 256², 10 steps, with negative words."""
    usual, bare = ours_at(Speed.from_environment(torch.device("cpu"))), ours_at(Speed())
    yield _row("a picture, warm, as the server paints", usual, plain(STARTER), "StableDiffusionPipeline", "≤ 1", 1.0)
    yield _row("the same with channels last", ours_at(Speed(channels_last=True)), bare, "all switches off")
    if shutil.which("c++") is None:
        print("No C++ compiler is there: `compile` was not measured.", file=sys.stderr)
        return
    yield _row("the same compiled", ours_at(Speed(compiled=True)), bare, "all switches off")


def ours_at(speed: Speed) -> Callable[[], object]:
    """Paints with a painter of its own."""
    painter = Painter(Catalog([]), "cpu", speed=speed)
    request = PaintRequest(WORDS, UNWANTED, width=SIDE, height=SIDE, seed=1, steps=STEPS, guidance_scale=3.0)
    return lambda: painter.paint(request)


def plain(folder: Path) -> Callable[[], object]:
    """Paints with diffusers' own pipeline."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(
        WORDS, negative_prompt=UNWANTED, width=SIDE, height=SIDE, num_inference_steps=STEPS, guidance_scale=3.0,
        generator=torch.Generator().manual_seed(1), output_type="np",
    )  # fmt: skip


def _row(
    what: str, ours: Callable[[], object], theirs: Callable[[], object], against: str, shown: str = "",
    bound: float | None = None,
) -> Row:  # fmt: skip
    times: tuple[list[float], list[float]] = ([], [])
    ours(), theirs()
    for _ in range(ROUNDS):
        for work, taken in zip((ours, theirs), times, strict=True):
            began = time.perf_counter()
            work()
            taken.append(1e3 * (time.perf_counter() - began))
    mine, other = (min(taken) for taken in times)  # whatever else runs can only add to them
    return Row(what, mine, other, against, shown, None if bound is None else mine <= bound * other)
