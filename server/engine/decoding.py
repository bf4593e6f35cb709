"""Between pixels and latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from server.engine import seamless
from server.engine.compositing import Float
from server.engine.remembering import replaced

#: Latents of the other side around tiling latents that are decoded in tiles.
_MARGIN = 8


def decode(pipeline: Any, latents: Tensor, wraps: tuple[bool, bool] = (False, False)) -> Float:
    """Pictures of latents, (b, h, w, 3) float32 in [0, 1], bit for bit what the pipeline itself would have made.

    latents: (b, c, h / 8, w / 8). wraps: the axes on which to let tiles see the other side; convolutions that wrap do
    it for untiled decoding.
    """
    picture = pictures(pipeline.vae, seamless.wrap_margin(latents, *wraps, _MARGIN))
    x, y = (_MARGIN * 8 if wrap else 0 for wrap in wraps)
    picture = picture[:, :, y : picture.shape[2] - y, x : picture.shape[3] - x]
    return pipeline.image_processor.postprocess(picture, output_type="np")


def pictures(vae: Any, latents: Tensor) -> Tensor:
    """What an autoencoder makes of latents as a denoiser sees them: (b, 3, h, w) about [-1, 1]."""
    config = vae.config
    mean, std = _spread(vae, latents)
    if mean is not None and std is not None:
        latents = latents * std / config.get("scaling_factor", 1.0)
        latents = latents + mean
    else:
        latents = latents / config.scaling_factor
        if config.get("shift_factor"):
            latents = latents + config.shift_factor
    upcast = vae.dtype == torch.float16 and config.get("force_upcast", False)  # SDXL's overflows in half precision
    if upcast:
        vae.to(torch.float32)
    try:
        latents = latents.to(vae.dtype)
        if is_video(vae):
            return vae.decode(latents[:, :, None], return_dict=False)[0][:, :, 0]
        return vae.decode(latents, return_dict=False)[0]
    finally:
        if upcast:
            vae.to(torch.float16)


def encode(vae: Any, picture: Tensor) -> Tensor:
    """The latents of a picture, (b, 3, h, w) in [-1, 1], as a denoiser sees them: the mean of what they may be."""
    picture = picture.to(vae.dtype)
    if is_video(vae):
        latents = vae.encode(picture[:, :, None]).latent_dist.mode()[:, :, 0]
    else:
        latents = vae.encode(picture).latent_dist.mode()
    mean, std = _spread(vae, latents)
    if mean is not None and std is not None:
        return (latents - mean) / std * vae.config.get("scaling_factor", 1.0)
    return (latents - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor


@contextmanager
def certain(vae: Any) -> Iterator[None]:
    """For a while, let an autoencoder encode to the mean of what latents may be, whoever asks for a draw.

    SD3's pipelines draw a control image's latents by nobody's seed.
    """
    encode = vae.encode

    def mean(*args: Any, **kwargs: Any) -> AutoencoderKLOutput:
        found = encode(*args, **kwargs).latent_dist
        return AutoencoderKLOutput(DiagonalGaussianDistribution(found.parameters, deterministic=True))

    with replaced(vae, "encode", mean):
        yield


def _spread(vae: Any, latents: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Mean and standard deviation of each channel, where an autoencoder tells them."""
    mean, std = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is None or std is None:
        return None, None
    shape = (1, -1, 1, 1)
    return torch.tensor(mean).view(shape).to(latents), torch.tensor(std).view(shape).to(latents)


def is_video(vae: Any) -> bool:
    """Whether it takes pictures as films of one frame (Qwen-Image's does)."""
    return "z_dim" in vae.config
