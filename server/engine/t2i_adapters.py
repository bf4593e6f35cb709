"""T2I-Adapters (Mou et al. 2023, https://arxiv.org/abs/2302.08453): what they see is added to the UNet's levels.

diffusers has pipelines with them for text alone; here they are added where the UNet is called, so that they go with
pictures, masks and ControlNets too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from server.engine.compositing import Float
from server.engine.painting import ControlInput
from server.engine.plan import Plan
from server.engine.sampling import words_alone


@contextmanager
def adding(pipeline: Any, unet: nn.Module, adapters: Sequence[nn.Module], plan: Plan) -> Iterator[None]:
    """Let a UNet be told, while a pipeline samples, what the adapters see of their controls; none changes nothing.

    adapters: one for each control of the plan that one follows.
    """
    if not adapters:
        yield
        return
    numbers = plan.followed("t2i_adapter")
    followed = [(plan.request.controls[number], plan.controls[number]) for number in numbers]
    own = unet.__dict__.get("forward")  # accelerate's hooks put one there
    unet.forward = _Adapted(unet.forward, pipeline, list(adapters), followed, plan.request.favor_controls)
    try:
        yield
    finally:
        if own is None:
            del unet.forward
        else:
            unet.forward = own


@dataclass(eq=False)
class _Adapted:
    """In place of a UNet's `forward`."""

    forward: Any
    pipeline: Any
    adapters: list[Any]
    followed: list[tuple[ControlInput, Float]]
    favored: bool
    _seen: list[list[Tensor]] = field(default_factory=list)

    def __call__(self, sample: Tensor, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._seen:
            for adapter, (_, picture) in zip(self.adapters, self.followed, strict=True):
                self._seen.append(adapter(_for(adapter, picture, sample)))
        acting = [
            [level * control.weight for level in levels]
            for (control, _), levels in zip(self.followed, self._seen, strict=True)
            if self._acts(control, timestep)
        ]
        if acting:
            added = [
                torch.cat([sum(levels[1:], start=levels[0])] * len(sample)) for levels in zip(*acting, strict=True)
            ]
            if self.favored:
                added = [words_alone(self.pipeline, level) for level in added]
            kwargs["down_intrablock_additional_residuals"] = added
        return self.forward(sample, timestep, *args, **kwargs)

    def _acts(self, control: ControlInput, timestep: Any) -> bool:
        """Whether this step lies in the control's part of the sampling, counted as ControlNets' pipelines do."""
        count = self.pipeline.num_timesteps
        taken = self.pipeline.scheduler.timesteps[-count:]
        step = int((taken == timestep).nonzero()[0])
        return step / count >= control.start and (step + 1) / count <= control.end


def _for(adapter: Any, picture: Float, like: Tensor) -> Tensor:
    """(1, channels, h, w): a control's picture as an adapter takes it, its sides brought to whole cells."""
    # Not made contiguous: the layout in memory decides a convolution's last bit, and this is diffusers' own.
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    if adapter.config.in_channels == 1:
        pixels = pixels.mean(dim=1, keepdim=True)
    height, width = pixels.shape[2:]
    cell = adapter.downscale_factor
    if width % cell or height % cell:
        pixels = F.pad(pixels, (0, -width % cell, 0, -height % cell), mode="replicate")
    return pixels.to(like)
