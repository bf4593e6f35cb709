"""The steps of one painting: what its pipeline is given, and what happens between its steps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from server.engine import conditioning, previews, registry
from server.engine.compositing import latent_cover
from server.engine.loader import Checkpoint
from server.engine.painting import Progress
from server.engine.plan import Plan
from server.engine.regions import composing
from server.engine.sampling import CleanLatents, KeepOutside, VariedNoise, before_each_call, changing_words, raise_if
from server.engine.work import Work


def sample(
    work: Work, pipeline: Any, checkpoint: Checkpoint, nets: Sequence[Any], colors: previews.LatentColors | None
) -> Tensor:
    """The finished latents of a plan, (b, c, h / 8, w / 8).

    nets: the pipeline's ControlNets. colors: for previews, if there are to be any.
    """
    plan, request = work.plan, work.plan.request
    scheduler = pipeline.scheduler
    guidance_scale = request.guidance_scale
    if guidance_scale is None:
        family = registry.FAMILIES[checkpoint.info.family]
        guidance_scale = float(checkpoint.hints.get("guidance_scale", family.guidance_scale))
    keep = None
    if plan.blends:
        assert plan.paint_cover is not None
        cover = torch.from_numpy(latent_cover(plan.paint_cover))[None, None]
        keep = KeepOutside(scheduler, cover, forget=request.denoising_strength == 1)
    started: dict[str, Any] = {}
    if plan.variation_seeds is not None:
        noise = VariedNoise(plan.seeds, plan.variation_seeds, request.variation_strength)
        if plan.task == "text-to-image" or (plan.task == "inpaint" and request.denoising_strength == 1):
            shape = (checkpoint.info.latent_channels, plan.region.paint_height // 8, plan.region.paint_width // 8)
            started["latents"] = noise.draw(shape, pipeline.unet.dtype)
        else:
            noise.replace(scheduler)
    clean = CleanLatents(scheduler) if colors is not None else None
    done = 0

    def after_step(pipe: Any, index: int, _: Any, state: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        count = pipe.num_timesteps
        if keep is not None:
            following = scheduler.timesteps[-count + index + 1] if index + 1 < count else None
            state["latents"] = keep.after_step(state["latents"], following)
        order = scheduler.order
        done, total = -(-(index + 1) // order), -(-count // order)
        preview = None
        if clean is not None and colors is not None and done % request.preview_every == 0 and done < total:
            latents = state["latents"] if clean.latest is None else clean.latest
            preview = colors.picture(latents[0], request.preview_size)
        work.on_progress(Progress("sampling", done, total, preview))
        return state

    def before_call() -> None:
        raise_if(work.cancelled)
        work.enter("sampling")

    with work.phase("encoding"), ExitStack() as stack:
        words = conditioning.encode(work, pipeline, checkpoint)
        stack.enter_context(before_each_call([pipeline.unet, *nets], before_call))
        if words.steps is not None:
            stack.enter_context(changing_words([pipeline.unet, *nets], words.steps, lambda: done))
        if words.regions:
            stack.enter_context(composing(pipeline.unet, plan, words.regions))
        latents = pipeline(
            **words.arguments,
            num_inference_steps=plan.steps,
            guidance_scale=guidance_scale,
            generator=_generators(plan.seeds),
            output_type="latent",
            callback_on_step_end=after_step,
            **started,
            **_task_arguments(plan),
        ).images
        if latents.device.type == "cuda":
            torch.cuda.synchronize(latents.device)  # for the timings' sake
        return latents


def _task_arguments(plan: Plan) -> dict[str, Any]:
    """What only some of the pipelines take.

    Pictures go in as (1, h, w, 3) arrays, because the layout in memory decides a convolution's last bit, and from an
    array a pipeline makes the same layout as from a picture.
    """
    request = plan.request
    arguments: dict[str, Any] = {}
    size = {"width": plan.region.paint_width, "height": plan.region.paint_height}
    if plan.image is not None:
        arguments |= {"image": plan.image[None], "strength": float(request.denoising_strength)}
    if plan.task == "inpaint":
        assert plan.paint_cover is not None
        arguments |= {"mask_image": (torch.from_numpy(plan.paint_cover) > 0).float()[None, None], **size}
    elif plan.task == "text-to-image":
        arguments |= size
    if request.controls:
        images = [image[None] for image in plan.controls]
        one = len(images) == 1
        weights = [float(control.weight) for control in request.controls]
        arguments |= {
            "image" if plan.task == "text-to-image" else "control_image": images[0] if one else images,
            "controlnet_conditioning_scale": weights[0] if one else weights,
            "control_guidance_start": [float(control.start) for control in request.controls],
            "control_guidance_end": [float(control.end) for control in request.controls],
        }
    return arguments


def _generators(seeds: list[int]) -> torch.Generator | list[torch.Generator]:
    # On the CPU on every device, so that a seed paints the same picture everywhere.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return generators[0] if len(generators) == 1 else generators
