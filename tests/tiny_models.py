"""Models of the true architectures with random weights and a few thousand parameters: what they paint is noise.

`build(folder)` writes them as a user's model folder would hold them; takes a second or two.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    T2IAdapter,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import server.engine
from server.engine.loader import align

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


def sd(
    folder: Path,
    *,
    seed: int,
    latent_channels: int = 4,
    input_channels: int | None = None,
    attention_first: bool = False,
) -> None:
    """Stable Diffusion 1's architecture; with 16 latent channels the schedule that the starter model has.

    attention_first: whether attention lies on the first level as in the real one, and not on the second.
    """
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=input_channels or latent_channels, out_channels=latent_channels,
        block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4, cross_attention_dim=24,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D")[:: -1 if attention_first else 1],
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D")[:: -1 if attention_first else 1],
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
        vae=vae(latent_channels, 0.18215), text_encoder=CLIPTextModel(text_config(24)), tokenizer=tokenizer(),
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
        vae=vae(4, 0.13025), unet=unet, scheduler=EulerDiscreteScheduler(**SD_BETAS, steps_offset=1),
        text_encoder=CLIPTextModel(text_config(24)), text_encoder_2=CLIPTextModelWithProjection(text_config(16)),
        tokenizer=tokenizer(), tokenizer_2=tokenizer(), add_watermarker=False,
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


def union(checkpoint: Path, folder: Path, *, types: int, seed: int) -> None:
    """A ControlNet-Union for the UNet of an `xl` checkpoint, that tells so many types of controls apart."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    plain = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 16))
    width = unet.config.block_out_channels[0]
    known = {name: value for name, value in plain.config.items() if not name.startswith("_")}
    net = ControlNetUnionModel.from_config(
        known, num_control_type=types, num_trans_channel=width, num_trans_head=2, num_proj_channel=width
    )
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():  # zero layers that are not zero, so that it acts
                parameter.normal_(std=0.3)
    net.save_pretrained(folder)


def t2i_adapter(folder: Path, *, adapter_type: str, seed: int, in_channels: int = 3, blocks: int = 1) -> None:
    """A T2I-Adapter for the levels of `xl`, or of `sd` with its attention first, strong enough to be seen."""
    torch.manual_seed(seed)
    light = adapter_type == "light_adapter"  # its last level has no width of its own
    widths = [16] if light else [16, 32]
    net = T2IAdapter(in_channels, widths, blocks, 16 if adapter_type == "full_adapter_xl" else 8, adapter_type)
    with torch.no_grad():
        (net.adapter.body[0].in_conv if light else net.adapter.conv_in).weight.mul_(3)
    net.save_pretrained(folder)


def original_t2i(folder: Path, file: Path) -> None:
    """A T2I-Adapter of two blocks a level as one file with the names that its authors gave the tensors."""
    (stored,) = folder.glob("*.safetensors")
    state = {}
    for name, tensor in load_file(stored).items():
        parts = name.removeprefix("adapter.").split(".")
        light = "adapter.conv_in.weight" not in load_file(stored)
        if parts[0] == "body" and "resnets" in parts:
            level, block, rest = int(parts[1]), int(parts[3]), parts[4:]
            parts = (
                ["body", str(level), "body", str(block), *rest] if light else ["body", str(2 * level + block), *rest]
            )
        elif parts[0] == "body" and not light:
            parts[1] = str(2 * int(parts[1]))
        state[".".join(parts)] = tensor.contiguous()
    save_file(state, file)


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


def original(folder: Path, file: Path) -> None:
    """A checkpoint of `sd` as one file with the names that its authors gave the tensors, as people share them."""
    state: dict[str, torch.Tensor] = {}
    for part, prefix, names in (
        ("unet", "model.diffusion_model.", _original_unet_name),
        ("vae", "first_stage_model.", original_vae_name),
        ("text_encoder", "cond_stage_model.transformer.text_model.", lambda name: name.removeprefix("text_model.")),
    ):
        (stored,) = (folder / part).glob("*.safetensors")
        for name, tensor in load_file(stored).items():
            attention = "mid.attn_1" in names(name) and tensor.ndim == 2
            state[prefix + names(name)] = (tensor[..., None, None] if attention else tensor).contiguous()
    save_file(state, file)


def aligned(pipeline: Any) -> Any:
    """A pipeline that diffusers loaded, its tensors laid out as our loader lays them: the last bits hang on it."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            align(part)
    return pipeline


def configurations(folder: Path, to: Path) -> None:
    """The configuration files of a diffusers folder without its weights."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"))


def copy(folder: Path, to: Path) -> Path:
    """A model under another name."""
    shutil.copytree(folder, to)
    return to


def _original_unet_name(name: str) -> str:
    """For two levels of one layer each, the second of them with attention."""
    for new, old in (
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("conv_in.", "input_blocks.0.0."), ("conv_norm_out.", "out.0."), ("conv_out.", "out.2."),
        ("down_blocks.0.resnets.0", "input_blocks.1.0"), ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0", "input_blocks.3.0"), ("down_blocks.1.attentions.0", "input_blocks.3.1"),
        ("mid_block.resnets.0", "middle_block.0"), ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"), ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.2.conv"),
        ("up_blocks.0.resnets.0", "output_blocks.0.0"), ("up_blocks.0.attentions.0", "output_blocks.0.1"),
        ("up_blocks.0.resnets.1", "output_blocks.1.0"), ("up_blocks.0.attentions.1", "output_blocks.1.1"),
        ("up_blocks.1.resnets.0", "output_blocks.2.0"), ("up_blocks.1.resnets.1", "output_blocks.3.0"),
    ):  # fmt: skip
        if name.startswith(new):
            name = old + name.removeprefix(new)
            break
    if re.match(r"(input|output)_blocks\.\d+\.0|middle_block\.[02]", name):
        for new, old in (
            ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"),
            ("norm2", "out_layers.0"), ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection"),
        ):  # fmt: skip
            name = name.replace(new, old)
    return name


def original_vae_name(name: str) -> str:
    """The name that the authors of latent diffusion gave a tensor of the autoencoder."""
    name = re.sub(r"up_blocks\.(\d)", lambda level: f"up.{3 - int(level[1])}", name)
    for new, old in (
        ("down_blocks", "down"), ("resnets", "block"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"),
        ("mid_block.block.0", "mid.block_1"), ("mid_block.block.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"), ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
        ("to_out.0", "proj_out"), ("conv_shortcut", "nin_shortcut"), ("conv_norm_out", "norm_out"),
    ):  # fmt: skip
        name = name.replace(new, old)
    return name


def vae(latent_channels: int, scaling_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=latent_channels, scaling_factor=scaling_factor, sample_size=64,
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def text_config(width: int) -> CLIPTextConfig:
    """CLIP's text encoder, two layers of that width."""
    return CLIPTextConfig(
        hidden_size=width, projection_dim=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=49408, max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407, pad_token_id=1,
    )  # fmt: skip


def tokenizer() -> CLIPTokenizer:
    """CLIP's own."""
    return CLIPTokenizer.from_pretrained(CLIP, model_max_length=77, local_files_only=True)
