"""ControlNets for the families whose pipelines take one alone: what several of them add is added up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetUnionModel, MultiControlNetModel, QwenImageMultiControlNetModel, ZImageControlNetModel
from torch import Tensor, nn

from server.engine import decoding
from server.engine.descriptions import UNION_TYPES
from server.engine.families import Family
from server.engine.plan import Plan


@contextmanager
def joined(family: Family, nets: Sequence[nn.Module], plan: Plan, denoiser: nn.Module, vae: Any) -> Iterator[Any]:
    """What a family's pipeline takes as its `controlnet`: one net, a list of them, or one that stands for several."""
    if family == "z-image" and nets:
        try:
            for net in nets:
                ZImageControlNetModel.from_transformer(net, denoiser)
            yield ZImageControlNets(nets, plan, vae)
        finally:
            for net in nets:  # a net that holds on to the transformer's parts keeps it from being forgotten
                for part in _BORROWED:
                    setattr(net, part, None)
    elif any(isinstance(net, ControlNetUnionModel) for net in nets):
        kinds = [plan.request.controls[number].kind for number in plan.followed("controlnet")]
        yield UnionControlNets(nets, [UNION_TYPES["sdxl"].get(kind, -1) for kind in kinds])
    elif family == "qwen-image" and len(nets) > 1:
        yield QwenImageControlNets(nets)
    else:
        yield nets[0] if len(nets) == 1 else list(nets)


#: What a ControlNet of Z-Image borrows from the transformer.
_BORROWED = (
    "t_scale", "t_embedder", "all_x_embedder", "cap_embedder", "rope_embedder", "noise_refiner", "context_refiner",
    "x_pad_token", "cap_pad_token",
)  # fmt: skip


class UnionControlNets(MultiControlNetModel):
    """ControlNet-Unions of SDXL among plain ControlNets, for the pipelines of plain ones.

    nets: one for each control. types: the number of each control's type, for those that a Union follows. The controls
    of one Union are seen together, as it was trained to; one whose part of the steps is over is not seen any more.
    """

    def __init__(self, nets: Sequence[nn.Module], types: Sequence[int]) -> None:
        super().__init__(nets)
        self.types = list(types)

    def forward(
        self,
        sample: Tensor,
        timestep: Any,
        encoder_hidden_states: Tensor,
        controlnet_cond: Sequence[Tensor],
        conditioning_scale: Sequence[float],
        *,
        return_dict: bool = True,
        **shared: Any,
    ) -> tuple[list[Tensor], Tensor]:
        """The sum of what the nets add to each block: (downs, mid), whatever return_dict says."""
        answers = []
        for net in dict.fromkeys(self.nets):
            own = [number for number, one in enumerate(self.nets) if one is net]
            if isinstance(net, ControlNetUnionModel):
                acting = [number for number in own if conditioning_scale[number]] or own[:1]
                types = [self.types[number] for number in acting]
                given = torch.zeros(len(sample), net.config.num_control_type, device=sample.device, dtype=sample.dtype)
                given[:, types] = 1
                calls = [(
                    [controlnet_cond[number] for number in acting],
                    [float(conditioning_scale[number]) for number in acting],
                    {"control_type": given, "control_type_idx": types},
                )]  # fmt: skip
            else:
                calls = [(controlnet_cond[number], conditioning_scale[number], {}) for number in own]
            for picture, scale, about in calls:
                answers.append(net(
                    sample=sample, timestep=timestep, encoder_hidden_states=encoder_hidden_states,
                    controlnet_cond=picture, conditioning_scale=scale, return_dict=False, **about, **shared,
                ))  # fmt: skip
        downs = [_sum(blocks) for blocks in zip(*(down for down, _ in answers), strict=True)]
        return downs, _sum([mid for _, mid in answers])


class QwenImageControlNets(QwenImageMultiControlNetModel):
    """Qwen-Image's pipeline prepares a picture for each net; diffusers' own class of this kind takes a single net."""

    def forward(
        self, *, controlnet_cond: Sequence[Tensor], conditioning_scale: Sequence[float], **shared: Any
    ) -> list[Tensor]:
        """The sum of what each net adds to each block."""
        answers = [
            net(controlnet_cond=picture, conditioning_scale=scale, **shared)
            for net, picture, scale in zip(self.nets, controlnet_cond, conditioning_scale, strict=True)
        ]
        return [_sum(blocks) for blocks in zip(*answers, strict=True)]


class ZImageControlNets(nn.Module):
    """Z-Image's pipeline prepares one picture for one net, and lets it act from the first step to the last.

    This one prepares its nets' pictures by itself, and lets each act in its part of the steps.
    """

    def __init__(self, nets: Sequence[nn.Module], plan: Plan, vae: Any) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.plan, self._vae = plan, [vae]  # in a list, so that it is no part of this module
        self._contexts: list[Tensor] = []
        self._steps = 0

    @property
    def config(self) -> Any:
        """Of the first net: the pipeline asks for the channels of its picture."""
        return self.nets[0].config

    @property
    def device(self) -> torch.device:
        """Where its nets are: the pipeline asks each of its parts."""
        return next(self.nets.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of its nets' weights."""
        return next(self.nets.parameters()).dtype

    def forward(
        self, latents: list[Tensor], timestep: Tensor, words: list[Tensor], _: Tensor, conditioning_scale: Any
    ) -> dict[int, Tensor]:
        """What the nets add to the transformer's layers, by the layers' numbers."""
        part, self._steps = self._steps, self._steps + 1
        count = self.plan.taken_steps
        found: dict[int, list[Tensor]] = {}
        for number, (net, control) in enumerate(zip(self.nets, self.plan.request.controls, strict=True)):
            acts = part / count >= control.start and (part + 1) / count <= control.end
            context = self._context(number, net, latents[0])
            context = context.expand(len(latents), *context.shape[1:])
            answer = net(latents, timestep, words, context, conditioning_scale=control.weight if acts else 0.0)
            for layer, added in answer.items():
                found.setdefault(layer, []).append(added)
        return {layer: _sum(added) for layer, added in found.items()}

    def _context(self, number: int, net: nn.Module, like: Tensor) -> Tensor:
        while len(self._contexts) <= number:
            picture = self.plan.controls[len(self._contexts)]
            pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None] * 2 - 1
            latents = decoding.encode(self._vae[0], pixels.to(like.device))[:, :, None].to(like)
            missing = net.config.control_in_dim - latents.shape[1]  # newer nets take a mask and a picture too
            empty = latents.new_zeros(1, missing, *latents.shape[2:])
            self._contexts.append(torch.cat([latents, empty], dim=1))
        return self._contexts[number]


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
