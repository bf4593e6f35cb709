"""The families of models, and how the names of classes and tensors tell them apart. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

#: sd15 is the architecture of Stable Diffusion 1 and 2 (a UNet and one text encoder).
Family = Literal["sd15", "sdxl", "sd3", "flux", "qwen-image", "z-image"]
FAMILIES: tuple[Family, ...] = get_args(Family)

#: How the classes of diffusers begin that belong to a family which paints with a transformer.
_CLASSES: tuple[tuple[str, Family], ...] = (
    ("StableDiffusion3", "sd3"), ("SD3", "sd3"), ("Flux", "flux"), ("QwenImage", "qwen-image"), ("ZImage", "z-image"),
)  # fmt: skip
#: Pipelines of other models whose names begin alike, or that take other inputs than words.
_OTHERS = ("Flux2", "FluxFill", "FluxKontext", "FluxPriorRedux", "QwenImageEdit", "QwenImageLayered", "ZImageOmni")

#: Parts of tensors' names in a family's transformer, as its authors or as diffusers name them.
_TENSORS: tuple[tuple[Family, tuple[str, ...]], ...] = (
    ("z-image", ("cap_pad_token",)),
    ("qwen-image", ("transformer_blocks.0.img_mod.1.weight", "transformer_blocks.0.txt_mlp.net.0.proj.weight")),
    ("flux", ("double_blocks.0.img_attn.qkv.weight", "single_transformer_blocks.0.norm.linear.weight")),
    ("sd3", ("joint_blocks.0.context_block.attn.qkv.weight", "transformer_blocks.0.norm1_context.linear.weight")),
)
#: What takes the pooled text in FLUX.1, and what makes the latents in each family.
_WHOLE_TEXT = ("vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight")
_MADE = ("final_layer.linear.weight", "proj_out.weight", "all_final_layer.2-1.linear.weight")
#: The same in LoRAs, which hold some of the layers alone.
_ADAPTED: tuple[tuple[Family, tuple[str, ...]], ...] = (
    ("flux", ("single_transformer_blocks", "single_blocks.", "double_blocks.", "_single_blocks_", "_double_blocks_")),
    ("sd3", ("joint_blocks", "norm1_context")),
    ("qwen-image", ("img_mlp", "txt_mlp", "img_mod", "txt_mod", "txt_in")),
    ("z-image", ("noise_refiner", "context_refiner", "layers.0.attention", "layers_0_attention")),
)


def family_of(class_name: str) -> Family | None:
    """The family of a pipeline or a ControlNet of diffusers that paints with a transformer; None for any other."""
    if class_name.startswith(_OTHERS):
        return None
    return next((family for beginning, family in _CLASSES if class_name.startswith(beginning)), None)


def layout(family: Family, config: Mapping[str, Any]) -> tuple[int, ...]:
    """Latent channels and width of a transformer, or of a ControlNet for it, from its configuration."""
    if family == "z-image":  # a ControlNet's own channels hold more than latents
        return int(config.get("in_channels", 16)), int(config["dim"])
    channels = int(config["in_channels"]) // (1 if family == "sd3" else 4)  # the others take patches of 2 × 2
    return channels, int(config["num_attention_heads"]) * int(config["attention_head_dim"])


def transformer(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Family, str] | None:
    """The family of a single file by its tensors' names, and the end of the name that tells it.

    None if it is none of those with a transformer. A ControlNet has its base's names too: look for it before.
    """
    for family, marks in _TENSORS:
        for mark in marks:
            if any(key.endswith(mark) for key in shapes):
                return family, mark
    return None


def adapter_family(shapes: Mapping[str, tuple[int, ...]]) -> Family | None:
    """The family of a LoRA by its tensors' names; None if it belongs to none of those with a transformer."""
    for family, parts in _ADAPTED:
        if any(part in key for key in shapes for part in parts):
            return family
    joint = [shape for key, shape in shapes.items() if "attn.add_q_proj" in key or "attn_add_q_proj" in key]
    if joint:  # SD3 and Qwen-Image name these alike; their widths differ
        return "qwen-image" if any(3072 in shape for shape in joint) else "sd3"
    return None


def tensor_layout(family: Family, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The same as `layout`, from the layer that takes the latents, by its authors' or by diffusers' name."""
    names = ("img_in.weight", "x_embedder.proj.weight", "pos_embed.proj.weight", "x_embedder.2-1.weight",
             "x_embedder.weight")  # fmt: skip
    for key, shape in shapes.items():
        if key.endswith(names) and len(shape) in (2, 4):
            return (shape[1] if len(shape) == 4 else shape[1] // 4), shape[0]
    return ()


def stranger(family: Family, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> str:
    """What a transformer is that has a family's names and is none of its models for words; empty for all others.

    prefix: of the names of its tensors in the file.
    """
    if family == "flux" and not any(f"{prefix}{name}" in shapes for name in _WHOLE_TEXT):
        return "its transformer takes no pooled text, as Chroma's or FLUX.2's"
    if family == "z-image" and any(key.startswith(f"{prefix}siglip") for key in shapes):
        return "its transformer takes pictures beside the words"
    made = next((shapes[prefix + name] for name in _MADE if f"{prefix}{name}" in shapes), ())
    taken = tensor_layout(family, shapes)
    if made and taken and made[0] != 4 * taken[0]:
        return f"its transformer takes {taken[0]} channels and makes {made[0] // 4}, as those that fill or follow edges"
    return ""


def few_steps(name: str) -> bool:
    """Whether a model was distilled to paint in a few steps without guidance, which its name alone tells."""
    return any(word in name.lower() for word in ("turbo", "lightning", "lcm", "hyper", "schnell"))


def small(name: str) -> bool:
    """Whether an SD 2.x checkpoint is one for 512² that predicts noise, which its name alone tells."""
    return any(word in name.lower() for word in ("base", "512"))
