"""SD 3, FLUX.1, Qwen-Image and Z-Image as artists have them: single files with the names that their authors gave.

`pipeline(family)` is one in its true architecture, with heads as large as the published ones have, few of them, and
random weights. `original(family, slot, state)` brings a part's tensors from diffusers' names to its authors' own; on
meta tensors it gives the key list of a published file.
"""

from __future__ import annotations

import re
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from server.engine import vocabularies

State = dict[str, Tensor]
#: What ComfyUI's files with everything put before the names of each part.
PREFIXES = {
    "sd3": {
        "transformer": "model.diffusion_model.", "vae": "first_stage_model.",
        "text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.clip_g.transformer.",
        "text_encoder_3": "text_encoders.t5xxl.transformer.",
    },
    "flux": {
        "transformer": "model.diffusion_model.", "vae": "vae.",
        "text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.t5xxl.transformer.",
    },
    "qwen-image": {
        "transformer": "model.diffusion_model.", "vae": "vae.", "text_encoder": "text_encoders.qwen25_7b.transformer."
    },
    "z-image": {
        "transformer": "model.diffusion_model.", "vae": "vae.", "text_encoder": "text_encoders.qwen3_4b.transformer."
    },
}  # fmt: skip
#: The files that people have beside a transformer. Their names are not looked at, but for SD 3's autoencoder.
FILES = {
    "sd3": {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl", "vae": "sd3_vae"},
    "flux": {"text_encoder": "clip_l", "text_encoder_2": "t5xxl", "vae": "ae"},
    "qwen-image": {"text_encoder": "qwen_2.5_vl_7b", "vae": "qwen_image_vae"},
    "z-image": {"text_encoder": "qwen_3_4b", "vae": "ae"},
}


def pipeline(family: str) -> Any:
    """A pipeline for text of 1 to 30 million parameters, most of them words."""
    torch.manual_seed(len(family))
    made = {"sd3": _sd3, "flux": _flux, "qwen-image": _qwen, "z-image": _z}[family]()
    with torch.no_grad():
        for part in made.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
                for parameter in part.parameters():
                    if not parameter.any():  # zero layers that are not zero, so that they act
                        parameter.normal_(std=0.2)
    return made


def _sd3() -> Any:
    first = CLIPTextModelWithProjection(_clip(192, "quick_gelu"))
    with torch.no_grad():
        first.text_projection.weight.copy_(torch.eye(192))  # as in the published folder; its files have none
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            num_layers=2, num_attention_heads=2, joint_attention_dim=512, caption_projection_dim=128,
            pooled_projection_dim=512, pos_embed_max_size=32, dual_attention_layers=(0,), qk_norm="rms_norm",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_vae(1.5305, 0.0609),
        text_encoder=first, tokenizer=vocabularies.clip_tokenizer(False),
        text_encoder_2=CLIPTextModelWithProjection(_clip(320, "gelu")),
        tokenizer_2=vocabularies.clip_tokenizer(True),
        text_encoder_3=_t5(512), tokenizer_3=vocabularies.t5_tokenizer(),
    )  # fmt: skip


def _flux() -> Any:
    return diffusers.FluxPipeline(
        transformer=diffusers.FluxTransformer2DModel(
            num_layers=2, num_single_layers=2, num_attention_heads=1, joint_attention_dim=64, pooled_projection_dim=64,
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), vae=_vae(0.3611, 0.1159),
        text_encoder=CLIPTextModel(_clip(64, "quick_gelu")), tokenizer=vocabularies.clip_tokenizer(False),
        text_encoder_2=_t5(64), tokenizer_2=vocabularies.t5_tokenizer(),
    )  # fmt: skip


def _qwen() -> Any:
    text = {
        "hidden_size": 128, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1,
        "num_key_value_heads": 1, "vocab_size": 151936, "max_position_embeddings": 128000, "rms_norm_eps": 1e-6,
        "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"}, "rope_theta": 1e6,
        "tie_word_embeddings": True,
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 128}
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=1.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192,
        shift_terminal=0.02,
    )  # fmt: skip
    return diffusers.QwenImagePipeline(
        transformer=diffusers.QwenImageTransformer2DModel(
            num_layers=2, num_attention_heads=1, joint_attention_dim=128
        ),
        scheduler=scheduler, vae=AutoencoderKLQwenImage(base_dim=8), tokenizer=vocabularies.qwen_tokenizer(False),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)
        ),
    )  # fmt: skip


def _z() -> Any:
    config = Qwen3Config(
        hidden_size=64, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=128, vocab_size=151936, rms_norm_eps=1e-6, rope_theta=1e6,
    )  # fmt: skip
    return diffusers.ZImagePipeline(
        transformer=diffusers.ZImageTransformer2DModel(
            dim=256, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=64
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_vae(0.3611, 0.1159), text_encoder=Qwen3Model(config),
        tokenizer=vocabularies.qwen_tokenizer(True),
    )  # fmt: skip


def _clip(width: int, act: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width, projection_dim=width, intermediate_size=64, num_hidden_layers=2, hidden_act=act,
        num_attention_heads=width // 64, vocab_size=49408, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip


def _t5(width: int) -> T5EncoderModel:
    config = T5Config(
        vocab_size=32128, d_model=width, d_kv=64, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config)


def _vae(scaling_factor: float, shift_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        latent_channels=16, scaling_factor=scaling_factor, shift_factor=shift_factor, sample_size=1024,
        block_out_channels=(32, 32, 64, 64), layers_per_block=1, use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def original(family: str, slot: str, state: State) -> State:
    """The part's tensors by its authors' names."""
    if slot == "transformer":
        return {"sd3": _sd3_names, "flux": _flux_names, "qwen-image": dict, "z-image": _z_names}[family](state)
    if slot == "vae":
        return _film_names(state) if family == "qwen-image" else _vae_names(state)
    if family == "qwen-image":  # as they were named before the language model had a place of its own
        old = {key.replace("model.language_model.", "model."): tensor for key, tensor in state.items()}
        return {key.replace("model.visual.", "visual."): tensor for key, tensor in old.items()}
    if family == "z-image":
        return {f"model.{key}": tensor for key, tensor in state.items()}
    if family == "sd3" and slot == "text_encoder":
        state = {key: tensor for key, tensor in state.items() if not key.startswith("text_projection")}
    if "text_encoder" in slot and any("embeddings.token_embedding" in key for key in state):
        bare = {key: key.removeprefix("text_model.") for key in state}
        return {
            key if key.startswith("text_projection") else f"text_model.{bare[key]}": tensor
            for key, tensor in state.items()
        }
    return {key: tensor for key, tensor in state.items() if key != "encoder.embed_tokens.weight"}


def _renamed(state: State, table: tuple[tuple[str, str], ...], fused: tuple[tuple[tuple[str, ...], str], ...]) -> State:
    """Names by the first pattern that fits; what stands in `fused` is laid above one another."""
    made: State = {}
    for key, tensor in state.items():
        group = next(((names, new) for names, new in fused if any(f".{name}." in key for name in names)), None)
        if group is not None:
            names, new = group
            first, ending = (
                key.rpartition(".")[0].removesuffix(next(n for n in names if f".{n}." in key)),
                key.rpartition(".")[2],
            )
            made.setdefault(
                _by(first + new, table) + f".{ending}", torch.cat([state[f"{first}{name}.{ending}"] for name in names])
            )
        else:
            made[_by(key, table)] = tensor
    return made


def _by(key: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in table:
        key, count = re.subn(pattern, new, key)
        if count:
            break
    return key


def _swapped(state: State, *keys: str) -> State:
    for key in keys:
        scale, shift = state[key].chunk(2)
        state[key] = torch.cat([shift, scale])
    return state


def _sd3_names(state: State) -> State:
    block = r"^transformer_blocks\.(\d+)\."
    table = (
        (r"^pos_embed\.pos_embed$", "pos_embed"), (r"^pos_embed\.proj\.", "x_embedder.proj."),
        (r"^time_text_embed\.timestep_embedder\.linear_1", "t_embedder.mlp.0"),
        (r"^time_text_embed\.timestep_embedder\.linear_2", "t_embedder.mlp.2"),
        (r"^time_text_embed\.text_embedder\.linear_1", "y_embedder.mlp.0"),
        (r"^time_text_embed\.text_embedder\.linear_2", "y_embedder.mlp.2"),
        (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"), (r"^proj_out", "final_layer.linear"),
        (block + r"attn\.QKV", r"joint_blocks.\1.x_block.attn.qkv"),
        (block + r"attn\.ADDED", r"joint_blocks.\1.context_block.attn.qkv"),
        (block + r"attn2\.QKV", r"joint_blocks.\1.x_block.attn2.qkv"),
        (block + r"(attn2?)\.norm_([qk])\.", r"joint_blocks.\1.x_block.\2.ln_\3."),
        (block + r"attn\.norm_added_([qk])\.", r"joint_blocks.\1.context_block.attn.ln_\2."),
        (block + r"(attn2?)\.to_out\.0", r"joint_blocks.\1.x_block.\2.proj"),
        (block + r"attn\.to_add_out", r"joint_blocks.\1.context_block.attn.proj"),
        (block + r"norm1\.linear", r"joint_blocks.\1.x_block.adaLN_modulation.1"),
        (block + r"norm1_context\.linear", r"joint_blocks.\1.context_block.adaLN_modulation.1"),
        (block + r"ff\.net\.0\.proj", r"joint_blocks.\1.x_block.mlp.fc1"),
        (block + r"ff\.net\.2", r"joint_blocks.\1.x_block.mlp.fc2"),
        (block + r"ff_context\.net\.0\.proj", r"joint_blocks.\1.context_block.mlp.fc1"),
        (block + r"ff_context\.net\.2", r"joint_blocks.\1.context_block.mlp.fc2"),
    )  # fmt: skip
    fused = ((("to_q", "to_k", "to_v"), "QKV"), (("add_q_proj", "add_k_proj", "add_v_proj"), "ADDED"))
    made = _renamed(state, table, fused)
    last = max(int(key.split(".")[1]) for key in made if key.startswith("joint_blocks."))
    modulations = ("final_layer.adaLN_modulation.1", f"joint_blocks.{last}.context_block.adaLN_modulation.1")
    return _swapped(made, *(f"{one}.{end}" for one in modulations for end in ("weight", "bias")))


def _flux_names(state: State) -> State:
    double, single = r"^transformer_blocks\.(\d+)\.", r"^single_transformer_blocks\.(\d+)\."
    table = (
        (r"^time_text_embed\.timestep_embedder\.linear_1", "time_in.in_layer"),
        (r"^time_text_embed\.timestep_embedder\.linear_2", "time_in.out_layer"),
        (r"^time_text_embed\.text_embedder\.linear_1", "vector_in.in_layer"),
        (r"^time_text_embed\.text_embedder\.linear_2", "vector_in.out_layer"),
        (r"^time_text_embed\.guidance_embedder\.linear_1", "guidance_in.in_layer"),
        (r"^time_text_embed\.guidance_embedder\.linear_2", "guidance_in.out_layer"),
        (r"^context_embedder", "txt_in"), (r"^x_embedder", "img_in"),
        (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"), (r"^proj_out", "final_layer.linear"),
        (double + r"attn\.QKV", r"double_blocks.\1.img_attn.qkv"),
        (double + r"attn\.ADDED", r"double_blocks.\1.txt_attn.qkv"),
        (double + r"attn\.norm_q\.weight", r"double_blocks.\1.img_attn.norm.query_norm.scale"),
        (double + r"attn\.norm_k\.weight", r"double_blocks.\1.img_attn.norm.key_norm.scale"),
        (double + r"attn\.norm_added_q\.weight", r"double_blocks.\1.txt_attn.norm.query_norm.scale"),
        (double + r"attn\.norm_added_k\.weight", r"double_blocks.\1.txt_attn.norm.key_norm.scale"),
        (double + r"attn\.to_out\.0", r"double_blocks.\1.img_attn.proj"),
        (double + r"attn\.to_add_out", r"double_blocks.\1.txt_attn.proj"),
        (double + r"norm1\.linear", r"double_blocks.\1.img_mod.lin"),
        (double + r"norm1_context\.linear", r"double_blocks.\1.txt_mod.lin"),
        (double + r"ff\.net\.0\.proj", r"double_blocks.\1.img_mlp.0"),
        (double + r"ff\.net\.2", r"double_blocks.\1.img_mlp.2"),
        (double + r"ff_context\.net\.0\.proj", r"double_blocks.\1.txt_mlp.0"),
        (double + r"ff_context\.net\.2", r"double_blocks.\1.txt_mlp.2"),
        (single + r"LINEAR1", r"single_blocks.\1.linear1"), (single + r"proj_out", r"single_blocks.\1.linear2"),
        (single + r"norm\.linear", r"single_blocks.\1.modulation.lin"),
        (single + r"attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
        (single + r"attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
    )  # fmt: skip
    fused = ((("to_q", "to_k", "to_v"), "QKV"), (("add_q_proj", "add_k_proj", "add_v_proj"), "ADDED"))
    made = _renamed({key: tensor for key, tensor in state.items() if not key.startswith("single_")}, table, fused)
    lone = {key.replace("attn.to_", "to_"): t for key, t in state.items() if key.startswith("single_")}
    made |= _renamed(lone, table, ((("to_q", "to_k", "to_v", "proj_mlp"), "LINEAR1"),))
    return _swapped(made, *(f"final_layer.adaLN_modulation.1.{end}" for end in ("weight", "bias")))


def _z_names(state: State) -> State:
    table = (
        (r"attention\.QKV", "attention.qkv"), (r"attention\.to_out\.0", "attention.out"),
        (r"attention\.norm_([qk])", r"attention.\1_norm"), (r"all_x_embedder\.2-1", "x_embedder"),
        (r"all_final_layer\.2-1", "final_layer"),
    )  # fmt: skip
    return _renamed(state, table, ((("to_q", "to_k", "to_v"), "QKV"),))


def _vae_names(state: State) -> State:
    from tests.tiny_models import original_vae_name

    names = {key: original_vae_name(key) for key in state}
    return {
        name: state[key][..., None, None] if "mid.attn_1" in name and state[key].ndim == 2 else state[key]
        for key, name in names.items()
    }


def _film_names(state: State) -> State:
    """Of the autoencoder that Wan 2.1 and Qwen-Image share, whose blocks are numbered through."""
    table = (
        (r"^quant_conv\.", "conv1."), (r"^post_quant_conv\.", "conv2."),
        (r"^(encoder|decoder)\.conv_in\.", r"\1.conv1."), (r"^(encoder|decoder)\.conv_out\.", r"\1.head.2."),
        (r"^(encoder|decoder)\.norm_out\.", r"\1.head.0."),
        (r"^(encoder|decoder)\.mid_block\.attentions\.0\.", r"\1.middle.1."),
    )  # fmt: skip
    inner = (
        (r"\.norm1\.", ".residual.0."), (r"\.conv1\.", ".residual.2."), (r"\.norm2\.", ".residual.3."),
        (r"\.conv2\.", ".residual.6."), (r"\.conv_shortcut\.", ".shortcut."),
    )  # fmt: skip
    made = {}
    for key, tensor in state.items():
        name = key
        if match := re.match(r"^(encoder|decoder)\.mid_block\.resnets\.(\d)(\..*)", key):
            name = f"{match[1]}.middle.{2 * int(match[2])}{_by(match[3], inner)}"
        elif match := re.match(r"^encoder\.down_blocks\.(\d+)(\..*)", key):
            name = f"encoder.downsamples.{match[1]}{_by(match[2], inner)}"
        elif match := re.match(r"^decoder\.up_blocks\.(\d)\.(resnets|upsamplers)\.(\d)(\..*)", key):
            number = 4 * int(match[1]) + (int(match[3]) if match[2] == "resnets" else 3)
            name = f"decoder.upsamples.{number}{_by(match[4], inner)}"
        else:
            name = _by(key, table)
        made[name] = tensor
    return made
