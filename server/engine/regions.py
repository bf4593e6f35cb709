"""Parts of a picture with words of their own: the denoiser's answers to each, put together by the masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from server.engine.plan import Plan

#: What the picture's own words weigh beside a region's, where its mask is full.
OWN_WEIGHT = 0.25


@contextmanager
def composing(
    denoiser: nn.Module, plan: Plan, words: Sequence[Tensor], pack: Callable[[Tensor], Tensor] | None = None
) -> Iterator[None]:
    """After each call of the denoiser, ask it again with each region's words and mix the answers by the masks.

    words: for each region of the plan (b, n, width). Each step costs one more call for each region, without the
    negative words. ControlNets see the picture's own words. pack: brings (n, 4, h / 8, w / 8) into the layout in which
    the denoiser answers, if that is not this one.
    """
    masks = torch.stack([torch.from_numpy(mask) for mask in plan.regions])[:, None]
    weights = torch.tensor([region.weight for region in plan.request.regions])[:, None, None, None]
    shares = F.avg_pool2d(masks, 8) * weights  # (regions, 1, h / 8, w / 8)
    own = 1 - F.avg_pool2d(masks, 8).amax(dim=0, keepdim=True) * (1 - OWN_WEIGHT)
    if pack is not None:  # one value for each patch
        shares, own = (pack(one.expand(-1, 4, -1, -1)).mean(dim=-1, keepdim=True) for one in (shares, own))

    def mix(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        sample = output[0] if isinstance(output, tuple) else output.sample
        batch = words[0].shape[0]
        conditioned = sample[-batch:]
        total = own.to(conditioned)
        mixed = conditioned * total
        for share, embeds in zip(shares.to(conditioned), words, strict=True):
            inputs = {**_last(kwargs, len(sample), batch), "encoder_hidden_states": embeds, "return_dict": False}
            answer = module.forward(*_last(args, len(sample), batch), **inputs)[0]
            mixed = mixed + answer * share
            total = total + share
        composed = torch.cat([sample[:-batch], mixed / total])
        return (composed, *output[1:]) if isinstance(output, tuple) else type(output)(sample=composed)

    handle = denoiser.register_forward_hook(mix, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _last(value: Any, count: int, batch: int) -> Any:
    """The last `batch` of `count` rows of every tensor: those are conditioned on the positive words."""
    if isinstance(value, Tensor):
        return value[-batch:] if value.ndim and len(value) == count else value
    if isinstance(value, dict):
        return {key: _last(one, count, batch) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_last(one, count, batch) for one in value)
    return value
