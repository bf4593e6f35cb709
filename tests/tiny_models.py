"""Models of the true architectures with random weights and a few thousand parameters: what they paint is noise.

`build(folder)` writes them as a user's model folder would hold them; takes a second or two.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import server.engine

CLIP = Path(server.engine.__file__).parent / "configs" / "clip"

SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def build(folder: Path) -> Path:
    """One of each: `sd`, `sd16` (16 latent channels, zero-SNR v-prediction), `xl`, `inpaint` (9 input channels), and
    `depth`, `normal` and `openpose` ControlNets for the first three families (`sd-controlnet-depth`, …)."""
    sd(folder / "sd", seed=0)
    sd(folder / "sd16", seed=1, latent_channels=16)
    sd(folder / "inpaint", seed=2, input_channels=9)
    xl(folder / "xl", seed=3)
    for number, control in enumerate(("depth", "normal", "openpose")):
        for family in ("sd", "sd16", "xl"):
            controlnet(folder / family, folder / f"{family}-controlnet-{control}", seed=10 + number)
    return folder


def sd(folder: Path, *, seed: int, latent_channels: int = 4, input_channels: int | None = None) -> None:
    """Stable Diffusion 1's architecture; with 16 latent channels the schedule that the starter model has."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=input_channels or latent_channels, out_channels=latent_channels,
        block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4, cross_attention_dim=24,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = (
        PNDMScheduler(**SD_BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
        if latent_channels == 4
        else DDIMScheduler(
            **SD_BETAS, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
            clip_sample=False, steps_offset=1,
        )
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=_vae(latent_channels, 0.18215), text_encoder=CLIPTextModel(_text_config(24)), tokenizer=_tokenizer(),
        unet=unet, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)


def xl(folder: Path, *, seed: int) -> None:
    """SDXL's architecture: two text encoders, a pooled embedding, and the picture's sizes as conditions."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        norm_num_groups=4, cross_attention_dim=40, attention_head_dim=(2, 4), transformer_layers_per_block=(1, 2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )  # fmt: skip
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(4, 0.13025), unet=unet, scheduler=EulerDiscreteScheduler(**SD_BETAS, steps_offset=1),
        text_encoder=CLIPTextModel(_text_config(24)), text_encoder_2=CLIPTextModelWithProjection(_text_config(16)),
        tokenizer=_tokenizer(), tokenizer_2=_tokenizer(), add_watermarker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)


def controlnet(checkpoint: Path, folder: Path, *, seed: int) -> None:
    """A ControlNet for the UNet of a checkpoint, with zero convolutions that are not zero, so that it acts."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 16))
    with torch.no_grad():
        for block in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
            block.weight.normal_(std=0.3)
    net.save_pretrained(folder)


def lora(checkpoint: Path, file: Path, *, seed: int) -> None:
    """A LoRA of rank 2 on the attention of a checkpoint's UNet, strong enough to be seen."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(
        file.parent,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet)),
        weight_name=file.name,
    )


def copy(folder: Path, to: Path) -> Path:
    """A model under another name."""
    shutil.copytree(folder, to)
    return to


def _vae(latent_channels: int, scaling_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=latent_channels, scaling_factor=scaling_factor, sample_size=64,
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def _text_config(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width, projection_dim=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=49408, max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407, pad_token_id=1,
    )  # fmt: skip


def _tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(CLIP, model_max_length=77, local_files_only=True)
