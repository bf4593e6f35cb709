"""The networks of the recipe, in the architecture of Stable Diffusion 1.x."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from server.starter import config, linear_encoder
from server.starter.code import PatchCode

#: The control images that have a ControlNet, in the order of their training.
CONTROLS = ("depth", "normal", "pose")

#: What keeps the mean square of a signal through a layer and the SiLU before it: a weak one is halved.
_SILU_GAIN = 2.0
#: How strongly an untrained ControlNet speaks: enough to be learned from at once, not enough to disturb the UNet.
_CONTROL_GAIN = 0.1

#: Trained and sampled with the same betas. The signal-to-noise ratio ends at zero (Lin et al. 2023), or nothing
#: could be painted that is darker or brighter than the middle; this needs v-prediction and trailing spacing.
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
    "steps_offset": 1,
}


def build_unet(options: config.Config) -> UNet2DConditionModel:
    """The denoiser: attention to the words on all levels but the first, and their sum beside the time step."""
    levels = len(options.unet.channels)
    network = UNet2DConditionModel(
        sample_size=32,
        in_channels=options.code.channels,
        out_channels=options.code.channels,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
        block_out_channels=tuple(options.unet.channels),
        layers_per_block=options.unet.layers,
        attention_head_dim=options.unet.heads,
        cross_attention_dim=options.text.width,
        norm_num_groups=options.unet.groups,
        # Attention reaches the deeper levels alone; so the words are added to the time step too, which all hear.
        addition_embed_type="text",
        addition_embed_type_num_heads=options.text.heads,
    )
    torch.nn.init.constant_(network.add_embedding.norm2.weight, 0.3)
    return network


def build_controlnet(options: config.Config) -> ControlNetModel:
    """A light ControlNet: the UNet's encoder without attention; words are the UNet's business."""
    network = ControlNetModel(
        in_channels=options.code.channels,
        down_block_types=("DownBlock2D",) * len(options.unet.channels),
        mid_block_type="UNetMidBlock2D",
        block_out_channels=tuple(options.unet.channels),
        layers_per_block=options.unet.layers,
        attention_head_dim=options.unet.heads,
        cross_attention_dim=options.text.width,
        norm_num_groups=options.unet.groups,
        conditioning_embedding_out_channels=tuple(options.controlnet.embedding),
    )
    # Zero convolutions protect a finished UNet; here both learn together, and a start from zero only costs steps.
    for convolution in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.xavier_uniform_(convolution.weight, gain=_CONTROL_GAIN)
    # Torch's own start divides the signal by three in each of the eight layers, and its biases drown what is left.
    embedding = network.controlnet_cond_embedding
    for convolution in (embedding.conv_in, *embedding.blocks, embedding.conv_out):
        torch.nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
        torch.nn.init.zeros_(convolution.bias)
        with torch.no_grad():
            convolution.weight.mul_(1.0 if convolution is embedding.conv_in else _SILU_GAIN)
    return network


def build_autoencoder(options: config.Config, code: PatchCode) -> AutoencoderKL:
    """The first stage: its encoder computes the code exactly, by construction; its decoder is yet to be trained."""
    channels = options.autoencoder.channels
    network = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=tuple(channels),
        layers_per_block=1,
        latent_channels=options.code.channels,
        norm_num_groups=8,
        sample_size=256,
        scaling_factor=code.factor,
        mid_block_add_attention=False,
        force_upcast=False,
    )
    linear_encoder.construct(network, code)
    return network


def noised(clean: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor]:
    """The noised code and the v that the denoiser is to say (Salimans and Ho 2022).

    clean, noise: (b, c, h, w). timesteps: (b,). alphas: (1000,), the schedule's cumulative products.
    """
    signal = alphas[timesteps].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alphas[timesteps]).sqrt().view(-1, 1, 1, 1)
    return signal * clean + sigma * noise, signal * noise - sigma * clean


def schedule_alphas() -> Tensor:
    """(1000,) cumulative products of 1 - beta; the last is zero."""
    return DDIMScheduler(**SCHEDULE).alphas_cumprod
