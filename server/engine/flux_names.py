"""FLUX.1's tensors from its authors' names to those of diffusers, for transformers of any width.

The conversion that diffusers has takes all of them to be as wide as the published ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

_OUTER = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
}
_DOUBLE = {
    "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear",
    "img_attn.norm.query_norm": "attn.norm_q", "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q", "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_attn.proj": "attn.to_out.0", "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
}  # fmt: skip
_SINGLE = {
    "modulation.lin": "norm.linear", "linear2": "proj_out", "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}  # fmt: skip
#: One tensor of the authors that is several of diffusers, above one another.
_SPLIT = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}


def to_diffusers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors by diffusers' names; KeyError for one that no transformer of FLUX.1 has."""
    made: dict[str, Tensor] = {}
    width = state["img_in.weight"].shape[0]
    for name, tensor in state.items():
        stem, _, end = name.rpartition(".")
        ending = "weight" if end == "scale" else end
        kind, _, rest = stem.partition(".")
        if kind in ("double_blocks", "single_blocks"):
            number, _, layer = rest.partition(".")
            double = kind == "double_blocks"
            block = f"{'' if double else 'single_'}transformer_blocks.{number}."
            if layer in _SPLIT:
                sizes = [width] * 3 + ([tensor.shape[0] - 3 * width] if layer == "linear1" else [])
                for part, piece in zip(_SPLIT[layer], tensor.split(sizes), strict=True):
                    made[f"{block}{part}.{ending}"] = piece.contiguous()
            else:
                made[f"{block}{(_DOUBLE if double else _SINGLE)[layer]}.{ending}"] = tensor
        elif stem == "final_layer.adaLN_modulation.1":
            shift, scale = tensor.chunk(2)  # diffusers has them the other way round
            made[f"norm_out.linear.{ending}"] = torch.cat([scale, shift])
        else:
            made[f"{_OUTER[stem]}.{ending}"] = tensor
    return made
