"""Seamless pictures: convolutions that wrap around, on the axes that are asked for, while one picture is painted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from diffusers.models.downsampling import Downsample2D
from torch import Tensor, nn


@contextmanager
def wrapping(modules: Sequence[nn.Module], x: bool, y: bool) -> Iterator[None]:
    """Let every 2D convolution of the modules wrap around horizontally (x) and vertically (y).

    A UNet, a ControlNet or a VAE whose convolutions wrap cannot know where a picture's edge is: what it paints tiles.
    At the end each convolution is what it was, whatever happened between.
    """
    if not (x or y):
        yield
        return
    changed: list[nn.Conv2d] = []
    try:
        for conv, padded_before in _convolutions(modules):
            own: Any = conv  # its method is replaced, as torch's padding modes know no single axis
            own._conv_forward = _Wrapped(conv, x, y, padded_before)
            changed.append(conv)
        yield
    finally:
        for conv in changed:
            del conv._conv_forward  # the class's own shows again


def _convolutions(modules: Sequence[nn.Module]) -> Iterator[tuple[nn.Conv2d, bool]]:
    """Each convolution that sees an edge, and whether its input arrives with one pixel of padding already."""
    for module in modules:
        padded = {id(part.conv) for part in module.modules() if isinstance(part, Downsample2D) and part.padding == 0}
        for part in module.modules():
            if isinstance(part, nn.Conv2d) and (id(part) in padded or any(_sides(part))):
                yield part, id(part) in padded


class _Wrapped:
    """In place of `Conv2d._conv_forward`."""

    def __init__(self, conv: nn.Conv2d, x: bool, y: bool, padded_before: bool) -> None:
        self.conv, self.x, self.y, self.padded_before = conv, x, y, padded_before

    def __call__(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = self.conv
        if self.padded_before:
            # The VAE's downsampling pads zeros on the right and below by itself; these are to be the other side.
            inputs = inputs.clone()
            if self.x:
                inputs[..., -1] = inputs[..., 0]
            if self.y:
                inputs[..., -1, :] = inputs[..., 0, :]
            return F.conv2d(inputs, weight, bias, conv.stride, 0, conv.dilation, conv.groups)
        down, right = _sides(conv)
        wrapped = F.pad(inputs, (right if self.x else 0, right if self.x else 0, 0, 0), mode="circular")
        wrapped = F.pad(wrapped, (0, 0, down if self.y else 0, down if self.y else 0), mode="circular")
        rest = (0 if self.y else down, 0 if self.x else right)
        return F.conv2d(wrapped, weight, bias, conv.stride, rest, conv.dilation, conv.groups)


def _sides(conv: nn.Conv2d) -> tuple[int, int]:
    """Rows and columns of zeros around the input."""
    if isinstance(conv.padding, str):  # "same" or "valid"
        if conv.padding == "valid":
            return 0, 0
        down, right = (d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        return down, right
    return int(conv.padding[0]), int(conv.padding[1])


def multiple(unet: nn.Module) -> int:
    """Pixels that the sides must be a multiple of, so that every level of the UNet has a whole period."""
    return 8 * 2 ** (len(unet.config.block_out_channels) - 1)


def wrap_margin(latents: Tensor, x: bool, y: bool, margin: int) -> Tensor:
    """Latents with a margin of their other side on the axes that tile, for decoding in tiles."""
    if not (x or y):
        return latents  # padding by nothing would copy them into another layout, whose last bits differ
    across, down = margin if x else 0, margin if y else 0
    return F.pad(latents, (across, across, down, down), mode="circular")
