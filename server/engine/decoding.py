"""From latents to pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from server.engine import seamless
from server.engine.compositing import Float

#: Latents of the other side around tiling latents that are decoded in tiles.
_MARGIN = 8


def decode(pipeline: Any, latents: Tensor, wraps: tuple[bool, bool] = (False, False)) -> Float:
    """Pictures of latents, (b, h, w, 3) float32 in [0, 1], bit for bit what the pipeline itself would have made.

    wraps: the axes on which to let tiles see the other side; convolutions that wrap do it for untiled decoding.
    """
    vae = pipeline.vae
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        shape = (1, -1, 1, 1)
        latents = latents * torch.tensor(std).view(shape).to(latents) / config.scaling_factor
        latents = latents + torch.tensor(mean).view(shape).to(latents)
    else:
        latents = latents / config.scaling_factor
    upcast = vae.dtype == torch.float16 and config.force_upcast  # SDXL's VAE overflows in half precision
    if upcast:
        vae.to(torch.float32)
    try:
        picture = vae.decode(seamless.wrap_margin(latents.to(vae.dtype), *wraps, _MARGIN), return_dict=False)[0]
    finally:
        if upcast:
            vae.to(torch.float16)
    x, y = (_MARGIN * 8 if wrap else 0 for wrap in wraps)
    picture = picture[:, :, y : picture.shape[2] - y, x : picture.shape[3] - x]
    return pipeline.image_processor.postprocess(picture, output_type="np")
