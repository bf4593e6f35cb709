"""Marigold (Ke et al. 2024, https://arxiv.org/abs/2312.02145): depth, normals and intrinsics by diffusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from server.engine import seamless
from server.engine.compositing import Float
from server.engine.errors import UnreadableModel
from server.engine.painting import IsCancelled
from server.engine.probe import check_weights
from server.engine.sampling import before_each_call, raise_if
from server.engine.torus import Wraps


class Marigold:
    """One of its pipelines on one device. folder: a diffusers folder."""

    def __init__(self, folder: Path, name: str, device: torch.device) -> None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        for part in ("unet", "vae", "text_encoder"):
            check_weights(folder / part)
        try:
            cls = getattr(diffusers, name)
            self._pipeline: Any = cls.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype
            ).to(device)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0][:300]
            raise UnreadableModel(
                f"{folder.name} could not be loaded: {reason}", "Download all its files again."
            ) from error
        self._pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def __call__(
        self, picture: Float, cancelled: IsCancelled, wraps: Wraps = (False, False), resolution: int = 0, seed: int = 0
    ) -> NDArray[np.float32]:
        """(targets, h, w, channels) of a (h, w, 3) picture in [0, 1], as the pipeline gives it.

        Depth: one channel, 0 near to 1 far, affine-invariant. Normals: unit, x right, y up, z to the viewer.
        resolution: of the longer side that the model sees; 0 is its own choice. On the axes of `wraps` the picture
        continues.
        """
        pipeline = self._pipeline
        with (
            seamless.wrapping([pipeline.unet, pipeline.vae], *wraps),
            before_each_call([pipeline.unet], lambda: raise_if(cancelled)),
        ):
            made = pipeline(
                picture[None],
                processing_resolution=resolution or None,
                generator=torch.Generator().manual_seed(seed),
                output_type="np",
            )
        return np.asarray(made.prediction, np.float32)

    def intrinsics(self, picture: Float, cancelled: IsCancelled, wraps: Wraps, resolution: int = 0) -> dict[str, Float]:
        """What an intrinsics pipeline tells, by the names of its targets: albedo in sRGB, the others linear."""
        properties = self._pipeline.config.target_properties
        found: dict[str, Float] = {}
        for name, values in zip(properties["target_names"], self(picture, cancelled, wraps, resolution), strict=True):
            space = properties[name].get("prediction_space", "srgb")
            if space == "stack":
                for channel, part in enumerate(properties[name]["sub_target_names"]):
                    if part:
                        found[part] = values[..., channel]
            else:
                found[name] = np.clip(values, 0, 1) ** (1 / 2.2) if space == "linear" else values
        return found
