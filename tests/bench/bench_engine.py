"""The painter against plain diffusers with its defaults: the same model, steps and seed, both warm, in turns."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from server.engine.catalog import STARTER, Catalog
from server.engine.diffusion import Painter
from server.engine.painting import ControlInput, PaintRequest
from server.engine.speed import Speed
from tests.bench.table import Row

STEPS, SIDE, ROUNDS = 10, 256, 8
WORDS, UNWANTED = "a red brick wall", "blurry"
DEPTH = np.repeat(np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1))[..., None], 3, -1)


def rows() -> Iterator[Row]:
    """The starter model at 256², 10 steps, with negative words."""
    usual, bare = ours_at(Speed.from_environment(torch.device("cpu"))), ours_at(Speed())
    yield _row("a picture, warm, as the server paints", usual, plain(STARTER), "StableDiffusionPipeline", "≤ 1", 1.0)
    what = "a picture that follows depth, warm, all switches off"
    yield _row(what, ours_at(Speed(), DEPTH), plain(STARTER, DEPTH), "StableDiffusionControlNetPipeline", "≤ 1", 1.0)
    yield _row(
        "the same without depth and with channels last", ours_at(Speed(channels_last=True)), bare, "all switches off"
    )
    if shutil.which("c++") is None:
        print("No C++ compiler is there: `compile` was not measured.", file=sys.stderr)
        return
    yield _row("the same compiled", ours_at(Speed(compiled=True)), bare, "all switches off")


def ours_at(speed: Speed, depth: NDArray[np.uint8] | None = None) -> Callable[[], object]:
    """Paints with a painter of its own."""
    painter = Painter(Catalog([]), "cpu", speed=speed)
    controls = () if depth is None else (ControlInput("depth", depth),)
    request = PaintRequest(
        WORDS, UNWANTED, width=SIDE, height=SIDE, seed=1, steps=STEPS, guidance_scale=3.0, controls=controls
    )
    return lambda: painter.paint(request)


def plain(folder: Path, depth: NDArray[np.uint8] | None = None) -> Callable[[], object]:
    """Paints with diffusers' own pipeline."""
    pipeline: Any
    if depth is None:
        pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
    else:
        net = ControlNetModel.from_pretrained(folder / "controlnet-depth")
        pipeline = StableDiffusionControlNetPipeline.from_pretrained(
            folder, dtype=torch.float32, safety_checker=None, controlnet=net
        )
    pipeline.set_progress_bar_config(disable=True)
    seen = {} if depth is None else {"image": Image.fromarray(depth)}
    return lambda: pipeline(
        WORDS, **seen, negative_prompt=UNWANTED, width=SIDE, height=SIDE, num_inference_steps=STEPS, guidance_scale=3.0,
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
