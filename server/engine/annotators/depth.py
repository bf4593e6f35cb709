"""Depth by the models of transformers: Depth Anything, DPT, ZoeDepth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForDepthEstimation

from server.engine.annotators import pretrained

#: Models whose values are distances in metres; those of the others are inverse depth, up to scale and shift.
_METRIC = ("zoedepth", "glpn")


class DepthModel:
    """One model on one device. folder: with config.json, preprocessor_config.json and .safetensors weights."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._processor, self._model = pretrained.load(folder, AutoModelForDepthEstimation, device)
        config = self._model.config
        metric = config.model_type in _METRIC or getattr(config, "depth_estimation_type", "relative") == "metric"
        self.kind = "metric" if metric else "relative"
        self._device = device

    @torch.no_grad()
    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w) float32 of a (h, w, 3) picture: metres if `kind` is metric, else inverse depth, near is large."""
        inputs = self._processor(images=picture, return_tensors="pt").to(self._device)
        outputs = self._model(**inputs)
        depth = outputs.predicted_depth
        depth = depth[:, None] if depth.ndim == 3 else depth
        resized = torch.nn.functional.interpolate(depth.float(), picture.shape[:2], mode="bicubic", align_corners=False)
        return resized[0, 0].cpu().numpy()
