"""Segment Anything (Kirillov et al. 2023, https://arxiv.org/abs/2304.02643) by transformers: everything in a picture.

The model is asked what lies at each point of a grid. Of its answers those are kept that it is sure of, whose edge
hardly moves with the threshold, and that are not the same as a surer one.
"""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import SamModel

from server.engine.annotators import pretrained
from server.engine.painting import IsCancelled
from server.engine.sampling import raise_if

#: Points on each side of the grid, and how many are asked at once.
GRID, AT_ONCE = 32, 64
#: The authors' own: what the model must expect of a mask's overlap with the truth; the overlap of the masks at
#: thresholds that much above and below; and the overlap of boxes from which on two masks are one.
LEAST_SURE, LEAST_STABLE, OFFSET, ALIKE = 0.88, 0.95, 1.0, 0.7

Masks = NDArray[np.bool_]


class Segments:
    """The model on one device. folder: with config.json, preprocessor_config.json and .safetensors weights."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._processor, self._model = pretrained.load(folder, SamModel, device)
        self._device = device

    @torch.no_grad()
    def __call__(
        self,
        picture: NDArray[np.uint8],
        cancelled: IsCancelled,
        least_sure: float = LEAST_SURE,
        least_stable: float = LEAST_STABLE,
    ) -> NDArray[np.float32]:
        """(h, w) float32 of a (h, w, 3) picture: 0 where nothing was found, else the segment's number.

        Numbers go from the largest segment to the smallest, which lie above the larger ones.
        """
        inputs = self._processor(images=picture, return_tensors="pt").to(self._device)
        size, inner = tuple(picture.shape[:2]), tuple(int(side) for side in inputs["reshaped_input_sizes"][0])
        seen = self._model.get_image_embeddings(inputs["pixel_values"])
        masks: list[Tensor] = []
        sure: list[Tensor] = []
        for points in _grid(inner).split(AT_ONCE):
            raise_if(cancelled)
            asked = points[None, :, None].to(self._device)
            answer = self._model(input_points=asked, image_embeddings=seen, multimask_output=True)
            scores, logits = answer.iou_scores[0].flatten(), answer.pred_masks[0].flatten(0, 1)
            kept = scores >= least_sure
            for score, one in zip(scores[kept], logits[kept], strict=True):
                whole = _enlarged(one, inputs["pixel_values"].shape[-1], inner, size)
                if _stability(whole) >= least_stable and (whole > 0).any():
                    masks.append((whole > 0).cpu())
                    sure.append(score.cpu())
        if not masks:
            return np.zeros(size, np.float32)
        found = torch.stack(masks).numpy()
        return laid(found[distinct(found, torch.stack(sure).numpy())])


def distinct(masks: Masks, sure: NDArray[np.floating], alike: float = ALIKE) -> list[int]:
    """The numbers of the (n, h, w) masks whose boxes overlap none of a surer one's by more than `alike`."""
    boxes = np.array([_box(mask) for mask in masks], float)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for number in np.argsort(-sure, kind="stable"):
        shared = np.prod(
            np.clip(
                np.minimum(boxes[number, 2:], boxes[kept, 2:]) - np.maximum(boxes[number, :2], boxes[kept, :2]), 0, None
            ),
            axis=-1,
        )
        if not (shared / (areas[number] + areas[kept] - shared) > alike).any():
            kept.append(int(number))
    return kept


def laid(masks: Masks) -> NDArray[np.float32]:
    """Masks, (n, h, w), as (h, w) numbers from 1 on: the smaller ones above the larger ones, 0 where there is none."""
    numbers = np.zeros(masks.shape[1:], np.float32)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -int(mask.sum())), start=1):
        numbers[mask] = number
    return numbers


def coloured(numbers: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each segment in a colour of its own, black where there is none: (h, w, 3).

    The hues go around by the golden angle, so that neighbours in number differ most.
    """
    count = int(numbers.max())
    colours = [(0.0, 0.0, 0.0)] + [
        colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.55 + 0.4 * (number % 2), 0.95 - 0.25 * (number % 3 == 0))
        for number in range(count)
    ]
    return np.rint(np.array(colours) * 255).astype(np.uint8)[numbers.astype(int)]


def _grid(size: tuple[int, ...]) -> Tensor:
    """(GRID², 2) points, x and y in pixels, in the middles of cells that cover (h, w)."""
    middles = (torch.arange(GRID) + 0.5) / GRID
    y, x = torch.meshgrid(middles * size[0], middles * size[1], indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)


def _enlarged(logits: Tensor, side: int, inner: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """A mask's logits at the picture's size: the model saw it within a square of that side."""
    square = torch.nn.functional.interpolate(logits[None, None], (side, side), mode="bilinear", align_corners=False)
    within = square[..., : inner[0], : inner[1]]
    return torch.nn.functional.interpolate(within, size, mode="bilinear", align_corners=False)[0, 0]


def _stability(logits: Tensor) -> float:
    return float((logits > OFFSET).sum() / (logits > -OFFSET).sum().clamp(min=1))


def _box(mask: Masks) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
