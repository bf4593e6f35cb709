"""High-resolution fix: paint small, where a model composes well, enlarge, and paint the details anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol.jobs import Generate
from bridge_protocol.records import InvalidValue
from server.engine import compositing
from server.engine.painting import IsCancelled, OnProgress, Painting, PaintRequest
from server.engine.upscalers import UpscaleRequest
from server.verbs import Painter


def check(job: Generate) -> None:
    """Raise InvalidValue for what cannot be enlarged."""
    if job.hires_scale > 1 and job.mask is not None:
        raise InvalidValue(
            "hires_scale", job.hires_scale, "1 where a mask is given",
            "The picture around the mask keeps its size. Upscale the whole picture first, and then paint into it.",
        )  # fmt: skip


def enlarge(
    job: Generate,
    request: PaintRequest,
    small: Painting,
    painter: Painter,
    on_progress: OnProgress,
    cancelled: IsCancelled,
) -> Painting:
    """A painting `hires_scale` times larger than the small one that the request has made, picture by picture."""
    images, timings, fallbacks = [], dict(small.timings), list(small.fallbacks)
    for index, image in enumerate(small.images):
        large, said = _enlarged(job, image, painter, on_progress, cancelled)
        fallbacks += [sentence for sentence in said if sentence not in fallbacks]
        height, width = large.shape[:2]
        regions = tuple(replace(one, mask=_resized(one.mask, width, height)) for one in request.regions)
        again = replace(
            request,
            prompt=small.prompts[index] if small.prompts else request.prompt,
            negative_prompt=small.negative_prompts[index] if small.negative_prompts else request.negative_prompt,
            image=large,
            width=None,
            height=None,
            regions=regions,
            seed=small.seeds[index],
            variation_seed=small.variation_seeds[index] if small.variation_seeds else None,
            batch=1,
            denoising_strength=job.hires_strength,
        )
        painted = painter.paint(again, on_progress, cancelled)
        images += painted.images
        fallbacks += [sentence for sentence in painted.fallbacks if sentence not in fallbacks]
        for phase, seconds in painted.timings.items():
            timings[phase] = timings.get(phase, 0.0) + seconds
    return replace(
        small, images=images, width=images[0].shape[1], height=images[0].shape[0], timings=timings, fallbacks=fallbacks
    )


def _enlarged(
    job: Generate, image: NDArray[Any], painter: Painter, on_progress: OnProgress, cancelled: IsCancelled
) -> tuple[NDArray[Any], list[str]]:
    width, height = (round(side * job.hires_scale / 8) * 8 for side in (image.shape[1], image.shape[0]))
    if not job.hires_upscaler:
        return _resized(image, width, height), []
    wraps = job.seamless in ("x", "both"), job.seamless in ("y", "both")
    asked = UpscaleRequest(image, job.hires_scale, job.hires_upscaler, wraps=wraps)
    enlarged = painter.upscale(asked, on_progress, cancelled)
    return _resized(enlarged.image, width, height), enlarged.fallbacks


def _resized(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    large = np.clip(compositing.resize(compositing.to_float(pixels), width, height), 0, 1)
    return compositing.from_float(large, pixels.dtype)
