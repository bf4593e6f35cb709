"""Upscale: a picture made larger, and on request its details painted anew in windows."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from bridge_protocol.jobs import Generate, Upscale
from bridge_protocol.painting import Painting as PaintingFields
from bridge_protocol.records import InvalidValue
from server.engine import torus
from server.engine.compositing import from_float, to_float
from server.engine.painting import IsCancelled, OnProgress
from server.engine.upscalers import UpscaleRequest
from server.verbs import Arrays, Made, Painter, Yield, picture_of
from server.verbs.generate import request_of
from server.verbs.reading import controls_read

#: The longest side that a result may have, as any array on the wire.
LONGEST = 32768
#: Latents are so many pixels wide; a ring must have whole ones.
LATENT = 8


def run(job: Upscale, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Enlarge a picture. Raises InvalidValue, or an EngineError of the painter."""
    image = picture_of("image", job.image, arrays)
    longest = round(max(image.shape[:2]) * job.scale)
    if longest > LONGEST:
        remedy = f"Take {LONGEST / max(image.shape[:2]):.2g} at most."
        raise InvalidValue("scale", job.scale, f"small enough for a side of {LONGEST} pixels", remedy)
    wraps = job.seamless in ("x", "both"), job.seamless in ("y", "both")
    asked = UpscaleRequest(image, job.scale, job.upscaler or None, job.tile, job.overlap, wraps)
    enlarged = painter.upscale(asked, on_progress, cancelled)
    info: dict[str, Any] = {"upscaler": enlarged.upscaler, "model": "", "fallbacks": list(enlarged.fallbacks)}
    result = enlarged.image
    if job.denoising_strength > 0:
        job, arrays = controls_read(job, arrays, painter, on_progress, cancelled)
        common = {field.name: getattr(job, field.name) for field in fields(PaintingFields)}
        request = request_of(Generate(**common, seamless=job.seamless), arrays)
        request = replace(
            request, image=_whole_latents(result, wraps, info), denoising_strength=job.denoising_strength,
            tile=job.tile, tile_overlap=job.overlap,
        )  # fmt: skip
        painting = painter.paint(request, on_progress, cancelled)
        result = painting.images[0]
        info |= {
            "model": painting.model,
            "seed": painting.seeds[0],
            "timings": {phase: float(seconds) for phase, seconds in painting.timings.items()},
            "fallbacks": info["fallbacks"] + list(painting.fallbacks),
        }
    if any(wraps):
        info["seam_ratios"] = [round(ratio, 4) for ratio in torus.seam_ratio(result)]
    return Yield([Made("image", np.ascontiguousarray(result), "srgb")], info)


def _whole_latents(image: Any, wraps: torus.Wraps, info: dict[str, Any]) -> Any:
    """The picture at a size that can be painted as a ring."""
    height, width = image.shape[:2]
    wide, high = (
        max(64, round(side / LATENT) * LATENT) if wrap else side
        for side, wrap in zip((width, height), wraps, strict=True)
    )
    if (wide, high) == (width, height):
        return image
    said = f"The picture is {wide} × {high} and not {width} × {height}, so that it can be painted seamless."
    info["fallbacks"].append(said)
    return from_float(np.clip(torus.scaled(to_float(image), wide, high, wraps), 0, 1), image.dtype)
