"""The networks that lie in single files, told by the names and shapes of their tensors. No torch in here.

SD 3, FLUX.1, Qwen-Image and Z-Image are shared as one file with everything, or as a transformer alone beside text
encoders and an autoencoder in files of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from server.engine.families import Family

Shapes = Mapping[str, tuple[int, ...]]
PartKind = Literal["transformer", "clip", "t5", "qwen2.5-vl", "qwen3", "vae", "video-vae"]
ENCODERS: tuple[PartKind, ...] = ("clip", "t5", "qwen2.5-vl", "qwen3")


@dataclass(frozen=True)
class Part:
    """One network in a safetensors file.

    prefix: what the names of its tensors begin with there. width: numbers that a text encoder makes of each token, or
    that a transformer takes of one; latent channels of an autoencoder. pooled: numbers that a transformer takes of a
    whole text, 0 if it takes none.
    """

    kind: PartKind
    prefix: str
    width: int
    pooled: int = 0


@dataclass(frozen=True)
class Source:
    """Where a part of a pipeline comes from. slot: its name in the pipeline. path: a file, or a folder of diffusers or
    transformers. prefix: of its tensors' names in the file.
    """

    slot: str
    path: Path
    prefix: str = ""


@dataclass(frozen=True)
class Found:
    """A part and where it lies. suits: the family of an autoencoder that was told by more than its shapes."""

    part: Part
    path: Path
    suits: Family | None = None


@dataclass(frozen=True)
class Slot:
    """What a pipeline needs. published: what people know it by, and the files that it is shared as."""

    name: str
    kind: PartKind
    published: str
    optional: bool = False


_CLIP_L = "the text encoder CLIP-L (clip_l.safetensors)"
_T5 = "the text encoder T5-XXL (t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors)"
_FLUX_VAE = "FLUX.1's autoencoder (ae.safetensors)"
SLOTS: dict[Family, tuple[Slot, ...]] = {
    "sd3": (
        Slot("text_encoder", "clip", _CLIP_L),
        Slot("text_encoder_2", "clip", "the text encoder CLIP-G (clip_g.safetensors)"),
        Slot("text_encoder_3", "t5", _T5, optional=True),
        Slot("vae", "vae", "SD 3's autoencoder (a file with sd3 in its name, such as sd3_vae.safetensors)"),
    ),
    "flux": (
        Slot("text_encoder", "clip", _CLIP_L), Slot("text_encoder_2", "t5", _T5), Slot("vae", "vae", _FLUX_VAE)
    ),
    "qwen-image": (
        Slot("text_encoder", "qwen2.5-vl", "the text encoder Qwen2.5-VL 7B (qwen_2.5_vl_7b.safetensors)"),
        Slot("vae", "video-vae", "Qwen-Image's autoencoder (qwen_image_vae.safetensors)"),
    ),
    "z-image": (
        Slot("text_encoder", "qwen3", "the text encoder Qwen3 4B (qwen_3_4b.safetensors)"),
        Slot("vae", "vae", _FLUX_VAE),
    ),
}  # fmt: skip

#: Ends of tensors' names that a network alone has, in the order in which they are looked for.
_MARKS: tuple[tuple[PartKind, str], ...] = (
    ("clip", "text_model.embeddings.token_embedding.weight"),
    ("t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    ("qwen3", "layers.0.self_attn.q_norm.weight"),
    ("qwen2.5-vl", "layers.0.self_attn.q_proj.bias"),
    ("vae", "decoder.conv_in.weight"),
    ("video-vae", "decoder.conv1.weight"),
)
#: The tensor whose last side (for an autoencoder its second) is the part's width.
_WIDTHS: dict[PartKind, str] = {
    "clip": "text_model.embeddings.token_embedding.weight", "t5": "shared.weight",
    "qwen3": "layers.0.self_attn.q_proj.weight", "qwen2.5-vl": "layers.0.self_attn.q_proj.weight",
    "vae": "decoder.conv_in.weight", "video-vae": "decoder.conv1.weight",
}  # fmt: skip
#: What a transformer takes of a token and of a whole text, by its authors' and by diffusers' names.
_TAKEN = ("context_embedder.weight", "txt_in.weight", "cap_embedder.1.weight")
_TAKEN_WHOLE = (
    "y_embedder.mlp.0.weight", "vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight"
)  # fmt: skip


def transformer_part(shapes: Shapes, mark: str) -> Part:
    """The transformer of a file, in which one tensor's name ends with this mark of its family."""
    prefix = next(key for key in shapes if key.endswith(mark)).removesuffix(mark)
    width, pooled = (
        next((shapes[prefix + name][1] for name in names if len(shapes.get(prefix + name, ())) == 2), 0)
        for names in (_TAKEN, _TAKEN_WHOLE)
    )
    return Part("transformer", prefix, width, pooled)


def find(shapes: Shapes) -> list[Part]:
    """The text encoders and the autoencoder of a file."""
    found: dict[str, Part] = {}
    for kind, mark in _MARKS:
        for key in shapes:
            prefix = key.removesuffix(mark)
            if prefix == key or prefix in found or (prefix and not prefix.endswith(".")):
                continue
            measured = shapes.get(prefix + _WIDTHS[kind], ())
            if len(measured) == {"vae": 4, "video-vae": 5}.get(kind, 2) and _belongs(kind, prefix, shapes):
                found[prefix] = Part(kind, prefix, measured[1])
    return list(found.values())


def _belongs(kind: PartKind, prefix: str, shapes: Shapes) -> bool:
    """Whether what has the mark is the whole network that painting needs, and not another one that looks alike."""
    if kind == "t5":  # UMT5 has a bias in each block; one with a decoder is a whole translator
        return f"{prefix}encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight" not in shapes
    if kind in ("qwen3", "qwen2.5-vl"):  # CLIP names its layers alike
        return f"{prefix}embed_tokens.weight" in shapes
    if kind == "vae":
        return f"{prefix}encoder.conv_in.weight" in shapes
    if kind == "video-vae":
        return f"{prefix}encoder.conv1.weight" in shapes
    return True


def quantised(shapes: Shapes) -> str:
    """By what a file's weights were packed in a way that nothing here unpacks; empty for all others."""
    for ends, name in (
        ((".absmax", ".quant_map"), "bitsandbytes"), ((".qweight", ".wscales"), "SVDQuant, GPTQ or AWQ"),
        ((".weight_scale_2",), "NVFP4"),
    ):  # fmt: skip
        if any(key.endswith(ends) for key in shapes):
            return name
    return ""


def choose(
    family: Family, transformer: Part, latents: int, own: Iterable[Found], beside: Sequence[Found]
) -> tuple[list[Source], list[Slot]]:
    """What fills the slots of a transformer's pipeline, and which ones nothing fits.

    own: what lies in the transformer's file, which comes first. beside: what lies in other files, the best one first.
    latents: channels of the latents that it paints.
    """
    within = list(own)
    chosen: list[Source] = []
    missing: list[Slot] = []
    for slot in SLOTS[family]:
        fitting = [
            *(one for one in within if _fits(family, transformer, latents, slot, one.part)),
            *(one for one in beside if _fits(family, transformer, latents, slot, one.part) and _suits(family, one)),
        ]
        if fitting:
            chosen.append(Source(slot.name, fitting[0].path, fitting[0].part.prefix))
        elif not slot.optional:
            missing.append(slot)
    return chosen, missing


def _fits(family: Family, transformer: Part, latents: int, slot: Slot, part: Part) -> bool:
    if part.kind != slot.kind:
        return False
    if part.kind in ("vae", "video-vae"):
        return part.width == latents
    if part.kind != "clip":
        return part.width == transformer.width
    if family == "flux":
        return part.width == transformer.pooled
    # SD 3 takes both of its CLIPs side by side: 768 of the smaller and 1280 of the larger one.
    smaller = part.width * 8 == transformer.pooled * 3
    larger = part.width * 8 == transformer.pooled * 5
    return smaller if slot.name == "text_encoder" else larger


def _suits(family: Family, one: Found) -> bool:
    """SD 3's and FLUX.1's autoencoders have one architecture and other latents; Z-Image's is FLUX.1's."""
    return one.part.kind != "vae" or (one.suits == "sd3") == (family == "sd3")
