"""Families that are sampled along a flow (SD3, Flux, Qwen-Image, Z-Image): noise is mixed in, and not added.

Their pipelines paint from text alone. A picture to start from is mixed with noise as far as the first step asks for,
x = (1 − σ) · picture + σ · noise (Liu et al. 2022, Esser et al. 2024), and the outside of a mask is kept by mixing it
anew after each step. So every family can do all tasks, with its ControlNets.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import SchedulerMixin
from torch import Tensor

from server.engine import decoding
from server.engine.loader import Checkpoint
from server.engine.plan import Plan
from server.engine.sampling import VariedNoise


class Start:
    """The latents that a flow starts from.

    latents: for the pipeline, in its own layout. Those of a picture are mixed when the scheduler is told its noise
    levels, of which the first ones are passed over: only then is it known how noisy they are to be.
    """

    def __init__(self, plan: Plan, pipeline: Any, checkpoint: Checkpoint) -> None:
        self.layout = Layout(plan, pipeline, checkpoint)
        # Z-Image's pipeline counts in single precision whatever its weights are.
        dtype = torch.float32 if checkpoint.info.family == "z-image" else pipeline.transformer.dtype
        device = pipeline._execution_device
        others = plan.seeds if plan.variation_seeds is None else plan.variation_seeds
        strength = plan.request.variation_strength if plan.variation_seeds is not None else 0.0
        noise = VariedNoise(plan.seeds, others, strength).draw(self.layout.shape, dtype)
        self.noise = self.layout.pack(noise).to(device)
        self.latents = self.noise.clone()
        self.clean: Tensor | None = None
        self.skipped = plan.steps - plan.taken_steps
        if plan.image is not None:
            picture = torch.from_numpy(np.ascontiguousarray(plan.image.transpose(2, 0, 1)))[None] * 2 - 1
            encoded = decoding.encode(pipeline.vae, picture.to(device)).to(dtype)
            self.clean = self.layout.pack(encoded.expand(len(plan.seeds), -1, -1, -1))
            self._fill_on(pipeline.scheduler, self.clean)
        self.cover: Tensor | None = None
        if plan.blends:
            assert plan.paint_cover is not None
            cover = F.max_pool2d((torch.from_numpy(plan.paint_cover) > 0).float()[None, None], 8)
            cells = self.layout.pack(cover.expand(1, self.layout.shape[0], -1, -1))
            self.cover = cells.amax(dim=-1, keepdim=True) if self.layout.packed else cells[:, :1]
        self.scheduler = pipeline.scheduler

    def arguments(self) -> dict[str, Any]:
        """For the pipeline: where it starts."""
        return {"latents": self.latents}

    def after_step(self, latents: Tensor, index: int) -> Tensor:
        """The latents after the step of that number, with the outside of the mask as the picture has it."""
        if self.cover is None or self.clean is None:
            return latents
        sigma = self.scheduler.sigmas[index + 1].to(latents)
        outside = (1 - sigma) * self.clean + sigma * self.noise
        return torch.where(self.cover.to(latents.device) > 0, latents, outside.to(latents.dtype))

    def _fill_on(self, scheduler: SchedulerMixin, clean: Tensor) -> None:
        set_timesteps = scheduler.set_timesteps

        @functools.wraps(set_timesteps)  # pipelines look at the signature to know what to pass
        def setting(*arguments: Any, **named: Any) -> None:
            set_timesteps(*arguments, **named)
            scheduler.timesteps = scheduler.timesteps[self.skipped :]
            scheduler.sigmas = scheduler.sigmas[self.skipped :]
            sigma = scheduler.sigmas[0].to(clean)
            self.latents.copy_((1 - sigma) * clean + sigma * self.noise)

        scheduler.set_timesteps = setting


class Layout:
    """How a pipeline wants its latents: as a picture, or as a sequence of 2 × 2 patches.

    shape: (c, h / 8, w / 8) of one picture's latents.
    """

    def __init__(self, plan: Plan, pipeline: Any, checkpoint: Checkpoint) -> None:
        region = plan.region
        self.shape = (checkpoint.info.latent_channels, region.paint_height // 8, region.paint_width // 8)
        self.packed = checkpoint.family.packed

    def pack(self, latents: Tensor) -> Tensor:
        """(b, c, h, w) in the pipeline's layout: the same, or (b, h · w / 4, 4 · c)."""
        if not self.packed:
            return latents.contiguous()
        b, c, h, w = latents.shape
        patches = latents.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
        return patches.reshape(b, h * w // 4, c * 4)

    def unpack(self, latents: Tensor) -> Tensor:
        """The way back."""
        if not self.packed:
            return latents
        c, h, w = self.shape
        patches = latents.reshape(-1, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return patches.reshape(-1, c, h, w)
