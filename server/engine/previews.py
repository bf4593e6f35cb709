"""Previews while sampling: a linear map from latents to colours, for the price of one small matrix."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from server.engine import decoding
from server.engine.loader import Checkpoint


@dataclass(frozen=True, eq=False)
class LatentColors:
    """factors: (channels, 3), bias: (3,), both float32: latents @ factors + bias is sRGB in [-1, 1]."""

    factors: Tensor
    bias: Tensor

    def picture(self, latents: Tensor, longest: int) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 of the latents (channels, h / 8, w / 8), its longest side at most `longest` pixels."""
        colors = latents.float().cpu().permute(1, 2, 0) @ self.factors + self.bias
        small = ((colors / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        height, width = small.shape[0] * 8, small.shape[1] * 8
        scale = min(1.0, longest / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BILINEAR))


#: Found by the community for the VAEs that every checkpoint of these families shares: v1.5 by torridgristle after
#: erucipe and keturn (https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204/7),
#: SDXL by StAlKeR7779 (InvokeAI, Apache-2.0). Keyed by the VAE's scaling factor.
_KNOWN: dict[tuple[int, float], list[list[float]]] = {
    (4, 0.18215): [
        [0.3444, 0.1385, 0.0670], [0.1247, 0.4027, 0.1494], [-0.3192, 0.2513, 0.2103], [-0.1307, -0.1874, -0.7445],
    ],
    (4, 0.13025): [
        [0.3816, 0.4930, 0.5320], [-0.3753, 0.1631, 0.1739], [0.1770, 0.3588, -0.2048], [-0.4350, -0.2644, -0.4289],
    ],
}  # fmt: skip


def latent_colors(checkpoint: Checkpoint) -> LatentColors:
    """The map for a checkpoint: the one in its folder's `preview.json`, or a known one, or a fitted one.

    `preview.json` holds "latent_rgb_factors" (channels, 3) and "latent_rgb_bias" (3,).
    """
    vae = checkpoint.parts["vae"]
    own = checkpoint.info.path / "preview.json"
    if own.is_file():
        stored = json.loads(own.read_text(encoding="utf-8"))
        return LatentColors(torch.tensor(stored["latent_rgb_factors"]), torch.tensor(stored["latent_rgb_bias"]))
    known = None
    if not decoding.is_video(vae):
        known = _KNOWN.get((vae.config.latent_channels, round(vae.config.scaling_factor, 5)))
    return LatentColors(torch.tensor(known), torch.zeros(3)) if known else fit(vae)


@torch.no_grad()
def fit(vae: Any, side: int = 16) -> LatentColors:
    """Least squares between random latents and what the VAE makes of them, each block of 8×8 pixels averaged.

    The latents come in smooth patches, because single random ones decode to mush that no picture has.
    """
    generator = torch.Generator().manual_seed(0)
    channels = vae.config.z_dim if decoding.is_video(vae) else vae.config.latent_channels
    patches = torch.randn(4, channels, side // 2, side // 2, generator=generator)
    latents = torch.nn.functional.interpolate(patches, scale_factor=2)
    pictures = decoding.pictures(vae, latents.to(vae.device, vae.dtype)).float().cpu()
    colors = torch.nn.functional.avg_pool2d(pictures, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    inputs = latents.permute(0, 2, 3, 1).reshape(-1, channels)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, colors).solution
    return LatentColors(solution[:-1], solution[-1])
