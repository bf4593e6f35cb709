"""The families that paint with a transformer, in their true architectures, with random weights and a few kilobytes.

`build(folder, family)` writes a checkpoint as a diffusers folder, and two ControlNets and a LoRA beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from tests.tiny_models import copy, text_config, tokenizer

__all__ = ["FAMILIES", "build", "copy"]

FAMILIES = ("sd3", "flux", "qwen-image", "z-image")
#: What a LoRA adapts in each.
_ADAPTED = {
    "sd3": ["to_q", "to_k", "add_q_proj"], "flux": ["to_q", "to_k", "proj_mlp"],
    "qwen-image": ["to_q", "to_k", "img_mlp.net.2"], "z-image": ["to_q", "to_k"],
}  # fmt: skip


def build(folder: Path, family: str) -> Path:
    """`model`, `model-controlnet-depth`, `model-controlnet-canny` and `model-lora.safetensors`."""
    torch.manual_seed(len(family))
    pipeline = _PIPELINES[family]()
    pipeline.save_pretrained(folder / "model")
    (folder / "model" / "brushwire.json").write_text('{"native_size": 64}')
    for number, control in enumerate(("depth", "canny")):
        torch.manual_seed(number)
        net = _controlnet(family, pipeline.transformer)
        with torch.no_grad():
            for parameter in net.parameters():
                if not parameter.any():  # zero layers that are not zero, so that it acts
                    parameter.normal_(std=0.2)
        net.save_pretrained(folder / f"model-controlnet-{control}")
    _lora(folder, family, pipeline)
    return folder


def flux_union(checkpoint: Path, to: Path, *, modes: int, seed: int) -> None:
    """A ControlNet-Union for a Flux checkpoint, that tells so many kinds of controls apart."""
    torch.manual_seed(seed)
    transformer = diffusers.FluxTransformer2DModel.from_pretrained(checkpoint / "transformer")
    known = {name: value for name, value in transformer.config.items() if not name.startswith("_")}
    net = diffusers.FluxControlNetModel.from_config(known, num_mode=modes)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():  # zero layers that are not zero, so that it acts
                parameter.normal_(std=0.2)
    net.save_pretrained(to)


def _sd3() -> Any:
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=16, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
            joint_attention_dim=40, caption_projection_dim=32, pooled_projection_dim=40, pos_embed_max_size=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_vae(),
        text_encoder=CLIPTextModelWithProjection(text_config(24)), tokenizer=tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(text_config(16)), tokenizer_2=tokenizer(),
        text_encoder_3=_t5(40), tokenizer_3=_words(),
    )  # fmt: skip


def _flux() -> Any:
    return diffusers.FluxPipeline(
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=40, pooled_projection_dim=24, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), vae=_vae(),
        text_encoder=CLIPTextModel(text_config(24)), tokenizer=tokenizer(), text_encoder_2=_t5(40),
        tokenizer_2=_words(),
    )  # fmt: skip


def _qwen() -> Any:
    text = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 2048,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"}, "rope_theta": 1e6,
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    return diffusers.QwenImagePipeline(
        transformer=diffusers.QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(
            base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
            latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[1.5, 1.0, 2.0, 0.7],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=_words(),
    )  # fmt: skip


def _z() -> Any:
    config = Qwen3Config(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        head_dim=8, vocab_size=512,
    )  # fmt: skip
    return diffusers.ZImagePipeline(
        transformer=diffusers.ZImageTransformer2DModel(
            in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
            axes_dims=[8, 4, 4], axes_lens=[1024, 32, 32],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_vae(16), text_encoder=Qwen3Model(config),
        tokenizer=_words(),
    )  # fmt: skip


_PIPELINES: dict[str, Callable[[], Any]] = {"sd3": _sd3, "flux": _flux, "qwen-image": _qwen, "z-image": _z}


def _controlnet(family: str, transformer: Any) -> Any:
    if family == "sd3":
        return diffusers.SD3ControlNetModel.from_transformer(
            transformer, num_layers=1, num_extra_conditioning_channels=0, load_weights_from_transformer=False
        )
    if family == "flux":
        return diffusers.FluxControlNetModel.from_transformer(
            transformer, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            load_weights_from_transformer=False,
        )  # fmt: skip
    if family == "qwen-image":
        return diffusers.QwenImageControlNetModel.from_transformer(
            transformer, num_layers=1, attention_head_dim=16, num_attention_heads=2, load_weights_from_transformer=False
        )
    return diffusers.ZImageControlNetModel(
        control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=33, dim=32, n_refiner_layers=1,
        n_heads=2, n_kv_heads=2, add_control_noise_refiner="control_noise_refiner",
    )  # fmt: skip


def _lora(folder: Path, family: str, pipeline: Any) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(3)
    pipeline.transformer.add_adapter(LoraConfig(r=2, target_modules=_ADAPTED[family], init_lora_weights=False))
    type(pipeline).save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer),
        weight_name="model-lora.safetensors",
    )


def _vae(channels: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        latent_channels=channels, scaling_factor=0.3611, shift_factor=0.1159, sample_size=64,
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4,
        use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def _t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=512, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2))


def _words() -> PreTrainedTokenizerFast:
    """Every byte is a word: the real vocabularies are of no use to random weights."""
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<pad>", "</s>"]
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", model_max_length=512,
        chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
    )  # fmt: skip
