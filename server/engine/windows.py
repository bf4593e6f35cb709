"""Pictures larger than a model was trained for: the denoiser sees overlapping windows, whose predictions are averaged.

This is MultiDiffusion (Bar-Tal et al. 2023, https://arxiv.org/abs/2302.08113), with windows that may lie across the
picture's edges: on an axis that tiles, the windows stand on a ring and the picture has no edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Tiling:
    """side: of a window, overlap: with its neighbours, both in latents. wraps: the axes (x, y) that have no edge."""

    side: int
    overlap: int
    wraps: tuple[bool, bool] = (False, False)

    def windows(self, height: int, width: int) -> list[tuple[Tensor, Tensor]]:
        """The rows and the columns of each window, as indices into latents of this size."""
        rows = _along(height, self.side, self.overlap, self.wraps[1])
        columns = _along(width, self.side, self.overlap, self.wraps[0])
        return [(y, x) for y in rows for x in columns]


@contextmanager
def windowed(denoiser: nn.Module, nets: Sequence[nn.Module], tiling: Tiling | None) -> Iterator[None]:
    """Let a UNet and its ControlNets see one window after the other for a while; None changes nothing.

    A ControlNet's residuals are handed on window by window, stacked along the batch, because those of two windows
    differ where they overlap.
    """
    if tiling is None:
        yield
        return
    modules = [denoiser, *nets]
    own = [module.__dict__.get("forward") for module in modules]  # accelerate's hooks put one there
    try:
        for module in nets:
            module.forward = _ControlNet(module.forward, tiling)
        denoiser.forward = _Denoiser(denoiser.forward, tiling)
        yield
    finally:
        for module, forward in zip(modules, own, strict=True):
            if forward is None:
                del module.forward
            else:
                module.forward = forward


@dataclass(frozen=True)
class _Denoiser:
    """In place of a UNet's `forward`."""

    forward: Any
    tiling: Tiling

    def __call__(
        self,
        sample: Tensor,
        *args: Any,
        down_block_additional_residuals: Sequence[Tensor] | None = None,
        mid_block_additional_residual: Tensor | None = None,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> Any:
        height, width = sample.shape[2:]
        windows = self.tiling.windows(height, width)
        total: Tensor | None = None
        weights = torch.zeros(height, width, device=sample.device)
        for index, (rows, columns) in enumerate(windows):
            batch = slice(index * len(sample), (index + 1) * len(sample))
            residuals: dict[str, Any] = {}
            if down_block_additional_residuals is not None and mid_block_additional_residual is not None:
                residuals["down_block_additional_residuals"] = [r[batch] for r in down_block_additional_residuals]
                residuals["mid_block_additional_residual"] = mid_block_additional_residual[batch]
            part = _cut(sample, rows, columns)
            predicted = self.forward(part, *args, **residuals, return_dict=False, **kwargs)[0].float()
            if total is None:
                total = predicted.new_zeros(*predicted.shape[:2], height, width)
            weight = _weight(len(rows), len(columns)).to(sample.device)
            there = rows[:, None], columns[None, :]
            total[:, :, there[0], there[1]] += predicted * weight
            weights[there] += weight
        assert total is not None
        mean = (total / weights).to(sample.dtype)
        if not return_dict:
            return (mean,)
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        return UNet2DConditionOutput(sample=mean)


@dataclass(frozen=True)
class _ControlNet:
    """In place of a ControlNet's `forward`."""

    forward: Any
    tiling: Tiling

    def __call__(
        self,
        sample: Tensor,
        timestep: Any,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor | list[Tensor],
        *args: Any,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> tuple[list[Tensor], Tensor]:
        several = isinstance(controlnet_cond, list)  # what a ControlNet-Union is given
        pictures = controlnet_cond if isinstance(controlnet_cond, list) else [controlnet_cond]
        factor = pictures[0].shape[2] // sample.shape[2]
        downs: list[list[Tensor]] = []
        mids: list[Tensor] = []
        for rows, columns in self.tiling.windows(*sample.shape[2:]):
            cut = [_cut(picture, _finer(rows, factor), _finer(columns, factor)) for picture in pictures]
            down, mid = self.forward(
                _cut(sample, rows, columns), timestep, encoder_hidden_states, cut if several else cut[0], *args,
                return_dict=False, **kwargs,
            )  # fmt: skip
            downs.append(list(down))
            mids.append(mid)
        return [torch.cat(level) for level in zip(*downs, strict=True)], torch.cat(mids)


def _along(length: int, side: int, overlap: int, wraps: bool) -> list[Tensor]:
    """The indices of each window along one axis."""
    side = min(side, length)
    step = side - min(overlap, side // 2)
    if wraps:
        count = ceil(length / step) if length > side else 1
        starts = [round(index * length / count) for index in range(count)]
        # A single window still has to meet itself beyond the edge: a second one lies across it.
        starts = starts if count > 1 else [0, length // 2]
        return [(start + torch.arange(side)) % length for start in starts]
    count = ceil((length - side) / step) + 1
    starts = [round(index * (length - side) / max(1, count - 1)) for index in range(count)]
    return [start + torch.arange(side) for start in starts]


def _weight(height: int, width: int) -> Tensor:
    """How much each latent of a window counts: all in the middle, next to nothing at its edge, so no edge shows."""
    across, down = (torch.hann_window(n + 2, periodic=False)[1:-1] for n in (width, height))
    return down[:, None] * across[None, :]


def _cut(tensor: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return tensor[:, :, rows.to(tensor.device)[:, None], columns.to(tensor.device)[None, :]]


def _finer(indices: Tensor, factor: int) -> Tensor:
    """Indices of latents as those of their pixels."""
    return (indices[:, None] * factor + torch.arange(factor)).flatten()
