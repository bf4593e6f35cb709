"""The steps of one painting: what its pipeline is given, and what happens between its steps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from server.engine import conditioning, families, flow, image_prompts, previews
from server.engine.compositing import latent_cover
from server.engine.descriptions import UNION_TYPES
from server.engine.loader import Checkpoint
from server.engine.painting import Progress
from server.engine.plan import Plan
from server.engine.regions import composing
from server.engine.sampling import (
    CleanLatents,
    KeepOutside,
    VariedNoise,
    before_each_call,
    changing_words,
    raise_if,
    silent_without_words,
)
from server.engine.work import Work


def sample(
    work: Work,
    pipeline: Any,
    checkpoint: Checkpoint,
    nets: Sequence[Any],
    colors: previews.LatentColors | None,
    image_encoder: Any = None,
) -> Tensor:
    """The finished latents of a plan, (b, c, h / 8, w / 8).

    nets: the pipeline's ControlNets. colors: for previews, if there are to be any. image_encoder: for image prompts.
    """
    plan, request = work.plan, work.plan.request
    scheduler, family = pipeline.scheduler, checkpoint.family
    started = flow.Start(plan, pipeline, checkpoint) if family.flow else _Noised(plan, pipeline, checkpoint)
    clean = CleanLatents(scheduler) if colors is not None else None
    denoiser = checkpoint.denoiser
    done = 0

    def after_step(pipe: Any, index: int, _: Any, state: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        count = pipe.num_timesteps
        state["latents"] = started.after_step(state["latents"], index)
        order = scheduler.order
        done, total = -(-(index + 1) // order), -(-count // order)
        preview = None
        if clean is not None and colors is not None and done % request.preview_every == 0 and done < total:
            latents = state["latents"] if clean.latest is None else clean.latest
            preview = colors.picture(started.layout.unpack(latents[:1])[0], request.preview_size)
        work.on_progress(Progress("sampling", done, total, preview))
        return state

    def before_call() -> None:
        raise_if(work.cancelled)
        work.enter("sampling")

    with work.phase("encoding"), ExitStack() as stack:
        words = conditioning.encode(work, pipeline, checkpoint)
        guidance_scale = _guidance_scale(plan, checkpoint)
        if request.image_prompts:
            seen = [prompt.image for prompt in request.image_prompts]
            words.arguments["ip_adapter_image_embeds"] = image_prompts.embeddings(
                pipeline, image_encoder, seen, len(plan.seeds), guidance_scale > 1
            )
        stack.enter_context(before_each_call([denoiser, *nets], before_call))
        if request.favor_controls:
            stack.enter_context(silent_without_words(pipeline, nets))
        if words.steps is not None:
            stack.enter_context(changing_words([denoiser, *nets], words.steps, lambda: done))
        if words.regions:
            pack = started.layout.pack if family.packed else None
            stack.enter_context(composing(denoiser, plan, words.regions, pack))
        latents = pipeline(
            **words.arguments,
            **{family.guidance: guidance_scale},
            num_inference_steps=plan.steps,
            generator=_generators(plan.seeds),
            output_type="latent",
            callback_on_step_end=after_step,
            **_task_arguments(plan, checkpoint),
            **started.arguments(),
        ).images
        if latents.device.type == "cuda":
            torch.cuda.synchronize(latents.device)  # for the timings' sake
        return started.layout.unpack(latents)


class _Noised:
    """The start of a family that predicts noise: its pipelines do it all by themselves, unless seeds are varied."""

    def __init__(self, plan: Plan, pipeline: Any, checkpoint: Checkpoint) -> None:
        request = plan.request
        self.layout = flow.Layout(plan, pipeline, checkpoint)
        self.pipeline, self.scheduler = pipeline, pipeline.scheduler
        self.keep: KeepOutside | None = None
        if plan.blends:
            assert plan.paint_cover is not None
            cover = torch.from_numpy(latent_cover(plan.paint_cover))[None, None]
            self.keep = KeepOutside(self.scheduler, cover, forget=request.denoising_strength == 1)
        self.latents: Tensor | None = None
        if plan.variation_seeds is not None:
            noise = VariedNoise(plan.seeds, plan.variation_seeds, request.variation_strength)
            if plan.task == "text-to-image" or (plan.task == "inpaint" and request.denoising_strength == 1):
                self.latents = noise.draw(self.layout.shape, pipeline.unet.dtype)
            else:
                noise.replace(self.scheduler)

    def arguments(self) -> dict[str, Any]:
        return {} if self.latents is None else {"latents": self.latents}

    def after_step(self, latents: Tensor, index: int) -> Tensor:
        if self.keep is None:
            return latents
        count = self.pipeline.num_timesteps
        following = self.scheduler.timesteps[-count + index + 1] if index + 1 < count else None
        return self.keep.after_step(latents, following)


def _guidance_scale(plan: Plan, checkpoint: Checkpoint) -> float:
    asked = plan.request.guidance_scale
    if asked is not None:
        return float(asked)
    usual = 1.0 if families.few_steps(checkpoint.info.name) else checkpoint.family.guidance_scale
    return float(checkpoint.hints.get("guidance_scale", usual))


def _task_arguments(plan: Plan, checkpoint: Checkpoint) -> dict[str, Any]:
    """What only some of the pipelines take.

    Pictures go in as (1, h, w, 3) arrays, because the layout in memory decides a convolution's last bit, and from an
    array a pipeline makes the same layout as from a picture.
    """
    request = plan.request
    arguments: dict[str, Any] = {}
    size = {"width": plan.region.paint_width, "height": plan.region.paint_height}
    if checkpoint.family.flow:
        given = {**size, **_control_arguments(plan, "control_image")}
        # What stands for Z-Image's nets knows by itself when each of them acts.
        left = ("control_guidance_start", "control_guidance_end") if checkpoint.info.family == "z-image" else ()
        if left and plan.controls:
            given["control_image"] = plan.controls[0][None]
        return {key: value for key, value in given.items() if key not in left}
    if plan.image is not None:
        arguments |= {"image": plan.image[None], "strength": float(request.denoising_strength)}
    if plan.task == "inpaint":
        assert plan.paint_cover is not None
        arguments |= {"mask_image": (torch.from_numpy(plan.paint_cover) > 0).float()[None, None], **size}
    elif plan.task == "text-to-image":
        arguments |= size
    return arguments | _control_arguments(plan, "image" if plan.task == "text-to-image" else "control_image")


def _control_arguments(plan: Plan, name: str) -> dict[str, Any]:
    """What the ControlNets are given. name: the pipeline's for their pictures."""
    numbers = plan.followed("controlnet")
    if not numbers:
        return {}
    controls = [plan.request.controls[number] for number in numbers]
    images = [plan.controls[number][None] for number in numbers]
    nets = [plan.models.controlnets[number] for number in numbers]
    flux = nets[0].family == "flux"  # its Unions see one control at a time, and are told its number
    one = len(images) == 1 and (flux or not nets[0].control_types)
    weights = [float(control.weight) for control in controls]
    modes = (
        [
            UNION_TYPES["flux"][control.kind] if net.control_types else None
            for net, control in zip(nets, controls, strict=True)
        ]
        if flux
        else []
    )
    told = {"control_mode": modes[0] if one else modes} if any(mode is not None for mode in modes) else {}
    return {
        **told,
        name: images[0] if one else images,
        "controlnet_conditioning_scale": weights[0] if one else weights,
        "control_guidance_start": [float(control.start) for control in controls],
        "control_guidance_end": [float(control.end) for control in controls],
    }


def _generators(seeds: list[int]) -> torch.Generator | list[torch.Generator]:
    # On the CPU on every device, so that a seed paints the same picture everywhere.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return generators[0] if len(generators) == 1 else generators
