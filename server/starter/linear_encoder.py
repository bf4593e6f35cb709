"""An AutoencoderKL's encoder that computes a `PatchCode`, by construction instead of by training.

A linear code of 8×8 patches is three strided convolutions, each gathering 2×2 cells; the residual blocks between them
are made to pass their input. What is left is the last group norm and its SiLU, which are not linear. Both become so:
channels of a large constant fix each group's deviation, and a bias moves the numbers to where SiLU is straight.
"""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from server.starter.code import PATCH, PatchCode

#: The deviation that the constants give each group: far above any number of a code, and exact in half precision.
_SPREAD = 1024.0
#: SiLU(x) = x to within half precision from about x = 12; codes reach to about ±8.
_STRAIGHT = 24.0


@torch.no_grad()
def construct(network: AutoencoderKL, code: PatchCode) -> None:
    """Set the weights of the encoder and of `quant_conv`; the latents' variance becomes almost nothing.

    Raises ValueError where the encoder has too few channels: it needs four levels, on the third as many channels as
    the code, on the fourth more than on the third and at least three for each group of the norm.
    """
    encoder, latents = network.encoder, code.channels
    widths = list(network.config.block_out_channels)
    groups = network.config.norm_num_groups
    # In each group: two constants or more, the rest for the code.
    size = widths[-1] // groups
    signals = -(-latents // groups)
    if len(widths) != 4 or widths[2] < latents or widths[3] <= widths[2] or size < signals + 2:
        raise ValueError(
            f"autoencoder channels are {widths} in {groups} groups for a code of {latents}; give four levels, "
            f"the third at least {latents}, the fourth larger and at least {groups * (signals + 2)}"
        )
    for block in [*encoder.down_blocks, encoder.mid_block]:
        for resnet in block.resnets:
            nn.init.zeros_(resnet.conv2.weight)
            nn.init.zeros_(resnet.conv2.bias)
            if resnet.conv_shortcut is not None:
                _pass_through(resnet.conv_shortcut)
    _pass_through(encoder.conv_in, at=1)
    for block, gather in zip(encoder.down_blocks, _gathers(code, widths), strict=False):
        _set_gather(block.downsamplers[0].conv, gather)
    offset = -(code.mean @ code.analysis)
    shortcut = encoder.down_blocks[3].resnets[0].conv_shortcut
    shortcut.weight.zero_()
    shortcut.bias.zero_()
    encoder.conv_norm_out.weight.zero_()
    encoder.conv_norm_out.bias.zero_()
    encoder.conv_out.weight.zero_()
    encoder.conv_out.bias.zero_()
    pairs = (size - signals) // 2
    share = math.sqrt(2 * pairs / size)
    constant = round(_SPREAD / share)
    # The group's mean is taken off the constant as off the code: the constant's channel brings it back.
    lowered = round(_STRAIGHT - _SPREAD / share)
    gain = constant * share / _SPREAD
    for number in range(latents):
        group, place = number % groups, number // groups
        channel, first = group * size + place, group * size + signals
        shortcut.weight[channel, number] = 1
        shortcut.bias[channel] = offset[number]
        shortcut.bias[first : first + 2 * pairs : 2] = constant
        shortcut.bias[first + 1 : first + 2 * pairs : 2] = -constant
        encoder.conv_norm_out.weight[[channel, first]] = _SPREAD
        encoder.conv_norm_out.bias[channel] = _STRAIGHT
        encoder.conv_norm_out.bias[first] = lowered
        encoder.conv_out.weight[number, channel, 1, 1] = gain
        encoder.conv_out.weight[number, first, 1, 1] = -gain
        encoder.conv_out.bias[number] = gain * (_SPREAD / share + lowered - _STRAIGHT)
    quant = network.quant_conv
    quant.weight.zero_()
    quant.bias.zero_()
    quant.weight[:latents, :latents, 0, 0] = torch.eye(latents)
    quant.bias[latents:] = -30


def _gathers(code: PatchCode, widths: list[int]) -> list[Tensor]:
    """The three steps of the code, each (out, 4 * in): from 2×2 cells, in the order (channel, row, column)."""
    functionals = code.analysis.T.reshape(-1, 3, PATCH, PATCH).double()
    # On each level, all that the code ever asks of a cell of 2×2, then of 4×4 pixels; of it the strongest directions.
    gathers: list[Tensor] = []
    for level, side in enumerate((2, 4)):
        asked = _blocks(functionals, side)
        projected = _in_basis(asked, gathers)
        directions = torch.linalg.svd(projected, full_matrices=False).Vh
        gathers.append(directions[: min(widths[level], len(directions))])
    gathers.append(_in_basis(functionals, gathers))
    return gathers


def _blocks(functionals: Tensor, side: int) -> Tensor:
    """(n, 3, 8, 8) cut into (n * (8 / side)², 3, side, side)."""
    parts = functionals.unfold(2, side, side).unfold(3, side, side)
    return parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, side, side)


def _in_basis(functionals: Tensor, gathers: list[Tensor]) -> Tensor:
    """Functionals over pixels (n, 3, s, s) as functionals over the 2×2 cells that the gathers leave, (n, 4 * c)."""
    for gather in gathers:
        functionals = torch.einsum("nkab,ok->noab", _cells(functionals), gather)
    return _cells(functionals).flatten(1)


def _cells(maps: Tensor) -> Tensor:
    """(n, c, s, s) to (n, 4 * c, s / 2, s / 2), in the order (channel, row, column)."""
    return nn.functional.pixel_unshuffle(maps, 2)


def _pass_through(convolution: nn.Conv2d, at: int = 0) -> None:
    convolution.weight.zero_()
    convolution.bias.zero_()
    for channel in range(min(convolution.weight.shape[:2])):
        convolution.weight[channel, channel, at, at] = 1


def _set_gather(convolution: nn.Conv2d, gather: Tensor) -> None:
    """The downsampler pads on the right and below alone, so its first 2×2 taps are one cell."""
    convolution.weight.zero_()
    convolution.bias.zero_()
    taps = gather.view(len(gather), -1, 2, 2)
    convolution.weight[: taps.shape[0], : taps.shape[1], :2, :2] = taps.to(convolution.weight)
