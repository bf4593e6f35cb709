"""The numbers of a network's configuration that the shapes of its tensors tell, for the parts of single files.

What shapes do not tell (activations, the sizes of heads, scales) is in `configs/`, as published with each family. So
one configuration serves all sizes of a family, and what people made of them by leaving blocks out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isqrt
from typing import Any

from server.engine.families import Family
from server.engine.parts import PartKind, Shapes


def told(family: Family, kind: PartKind, shapes: Shapes) -> dict[str, Any]:
    """Settings of the part in transformers' or diffusers' names.

    shapes: of its tensors, by their names without the part's prefix. Raises KeyError for one without a tensor that
    every network of its kind has.
    """
    if kind == "transformer":
        return _TRANSFORMERS[family](shapes)
    return _OTHERS[kind](shapes)


def _any(shapes: Shapes, *names: str) -> tuple[int, ...]:
    """The shape of the first of these tensors that is there; KeyError if none is."""
    for name in names:
        if name in shapes:
            return shapes[name]
    raise KeyError(names[0])


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbers stand in the place of the pattern's group."""
    compiled = re.compile(pattern)
    return len({match[1] for key in shapes if (match := compiled.match(key))})


def _sd3(shapes: Shapes) -> dict[str, Any]:
    latents = _any(shapes, "x_embedder.proj.weight", "pos_embed.proj.weight")
    taken = shapes["context_embedder.weight"]
    blocks = r"(?:joint_blocks|transformer_blocks)\.(\d+)\."
    second = re.compile(blocks + r"(?:x_block\.attn2\.qkv|attn2\.to_q)\.weight")
    return {
        "num_layers": _count(shapes, blocks), "in_channels": latents[1], "num_attention_heads": latents[0] // 64,
        "out_channels": _any(shapes, "final_layer.linear.weight", "proj_out.weight")[0] // 4,
        "joint_attention_dim": taken[1], "caption_projection_dim": taken[0],
        "pooled_projection_dim": _any(
            shapes, "y_embedder.mlp.0.weight", "time_text_embed.text_embedder.linear_1.weight"
        )[1],
        "pos_embed_max_size": isqrt(_any(shapes, "pos_embed", "pos_embed.pos_embed")[1]),
        "dual_attention_layers": sorted(int(match[1]) for key in shapes if (match := second.fullmatch(key))),
        "qk_norm": "rms_norm" if any(".ln_q." in key or ".norm_q." in key for key in shapes) else None,
    }  # fmt: skip


def _flux(shapes: Shapes) -> dict[str, Any]:
    width, channels = _any(shapes, "img_in.weight", "x_embedder.weight")
    return {
        "num_layers": _count(shapes, r"(?:double_blocks|transformer_blocks)\.(\d+)\."),
        "num_single_layers": _count(shapes, r"(?:single_blocks|single_transformer_blocks)\.(\d+)\."),
        "in_channels": channels, "num_attention_heads": width // 128,
        "joint_attention_dim": _any(shapes, "txt_in.weight", "context_embedder.weight")[1],
        "pooled_projection_dim": _any(
            shapes, "vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight"
        )[1],
        "guidance_embeds": any(
            key in shapes
            for key in ("guidance_in.in_layer.weight", "time_text_embed.guidance_embedder.linear_1.weight")
        ),
    }  # fmt: skip


def _qwen_image(shapes: Shapes) -> dict[str, Any]:
    width, channels = shapes["img_in.weight"]
    return {
        "num_layers": _count(shapes, r"transformer_blocks\.(\d+)\."), "in_channels": channels,
        "out_channels": shapes["proj_out.weight"][0] // 4, "num_attention_heads": width // 128,
        "joint_attention_dim": shapes["txt_in.weight"][1],
    }  # fmt: skip


def _z_image(shapes: Shapes) -> dict[str, Any]:
    width, channels = _any(shapes, "x_embedder.weight", "all_x_embedder.2-1.weight")
    return {
        "n_layers": _count(shapes, r"layers\.(\d+)\."), "n_refiner_layers": _count(shapes, r"noise_refiner\.(\d+)\."),
        "in_channels": channels // 4, "dim": width, "n_heads": width // 128, "n_kv_heads": width // 128,
        "cap_feat_dim": shapes["cap_embedder.1.weight"][1],
    }  # fmt: skip


def _clip(shapes: Shapes) -> dict[str, Any]:
    words, width = shapes["text_model.embeddings.token_embedding.weight"]
    projection = shapes.get("text_projection.weight", (width,))
    return {
        "hidden_size": width, "vocab_size": words, "num_attention_heads": width // 64, "projection_dim": projection[0],
        "num_hidden_layers": _count(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
    }  # fmt: skip


def _t5(shapes: Shapes) -> dict[str, Any]:
    words, width = shapes["shared.weight"]
    return {
        "d_model": width, "vocab_size": words, "num_layers": _count(shapes, r"encoder\.block\.(\d+)\."),
        "d_ff": shapes["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0],
        "num_heads": shapes["encoder.block.0.layer.0.SelfAttention.q.weight"][0] // 64,
    }  # fmt: skip


def _language(shapes: Shapes) -> dict[str, Any]:
    words, width = shapes["embed_tokens.weight"]
    return {
        "hidden_size": width, "vocab_size": words, "num_hidden_layers": _count(shapes, r"layers\.(\d+)\."),
        "intermediate_size": shapes["layers.0.mlp.gate_proj.weight"][0],
        "num_attention_heads": shapes["layers.0.self_attn.q_proj.weight"][0] // 128,
        "num_key_value_heads": shapes["layers.0.self_attn.k_proj.weight"][0] // 128,
    }  # fmt: skip


def _vae(shapes: Shapes) -> dict[str, Any]:
    widths = []
    while (first := _first_of_level(shapes, len(widths))) is not None:
        widths.append(first[0])
    return {
        "block_out_channels": widths, "latent_channels": shapes["decoder.conv_in.weight"][1],
        "down_block_types": ["DownEncoderBlock2D"] * len(widths), "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": _count(shapes, r"encoder\.(?:down\.0\.block|down_blocks\.0\.resnets)\.(\d+)\."),
        "use_quant_conv": "quant_conv.weight" in shapes, "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }  # fmt: skip


def _first_of_level(shapes: Shapes, level: int) -> tuple[int, ...] | None:
    original = shapes.get(f"encoder.down.{level}.block.0.conv1.weight")
    return original or shapes.get(f"encoder.down_blocks.{level}.resnets.0.conv1.weight")


def _video_vae(shapes: Shapes) -> dict[str, Any]:
    return {"base_dim": _any(shapes, "encoder.conv1.weight", "encoder.conv_in.weight")[0]}


_TRANSFORMERS: dict[Family, Callable[[Shapes], dict[str, Any]]] = {
    "sd3": _sd3, "flux": _flux, "qwen-image": _qwen_image, "z-image": _z_image
}  # fmt: skip
_OTHERS: dict[PartKind, Callable[[Shapes], dict[str, Any]]] = {
    "clip": _clip, "t5": _t5, "qwen3": _language, "qwen2.5-vl": lambda shapes: {"text_config": _language(shapes)},
    "vae": _vae, "video-vae": _video_vae,
}  # fmt: skip
