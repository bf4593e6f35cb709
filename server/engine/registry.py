"""Which pipeline of diffusers paints what: family → class for each task, with ControlNets and without."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import diffusers
from diffusers import DiffusionPipeline

from server.engine.descriptions import Task
from server.engine.families import Family


@dataclass(frozen=True)
class FamilyPipelines:
    """How a family is painted with.

    plain, controlled: task → name of the class in diffusers, without and with ControlNets. A family that is sampled
    along a flow needs the class for text alone: `flow` starts it from a noised picture, and keeps the outside of a
    mask, for all of them.
    parts: what a pipeline needs beside scheduler and ControlNets. absent: what it must be told that there is none of.
    encoders: the text encoders among the parts, each with its tokenizer. guidance_scale: what suits most checkpoints.
    denoiser: the part that is called at every step. flow: whether it predicts a flow (Liu et al. 2022) instead of
    noise. packed: whether its latents travel as a sequence of patches. cell: pixels that a side must be a multiple of.
    guidance: the pipeline's own name for the guidance scale, and whether it compares with negative words.
    """

    plain: dict[Task, str]
    controlled: dict[Task, str]
    parts: tuple[str, ...]
    encoders: tuple[tuple[str, str], ...]
    absent: dict[str, Any]
    guidance_scale: float
    denoiser: str = "unet"
    flow: bool = False
    packed: bool = False
    cell: int = 8
    guidance: str = "guidance_scale"
    negative: bool = True
    optional: tuple[str, ...] = field(default=())


def _flow(name: str, **about: Any) -> FamilyPipelines:
    return FamilyPipelines(
        plain={"text-to-image": f"{name}Pipeline"},
        controlled={"text-to-image": f"{name}ControlNetPipeline"},
        denoiser="transformer",
        flow=True,
        cell=16,
        **about,
    )


FAMILIES: dict[Family, FamilyPipelines] = {
    "sd15": FamilyPipelines(
        plain={
            "text-to-image": "StableDiffusionPipeline",
            "image-to-image": "StableDiffusionImg2ImgPipeline",
            "inpaint": "StableDiffusionInpaintPipeline",
        },
        controlled={
            "text-to-image": "StableDiffusionControlNetPipeline",
            "image-to-image": "StableDiffusionControlNetImg2ImgPipeline",
            "inpaint": "StableDiffusionControlNetInpaintPipeline",
        },
        parts=("unet", "vae", "text_encoder", "tokenizer"),
        encoders=(("text_encoder", "tokenizer"),),
        absent={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
        guidance_scale=7.5,
    ),
    "sdxl": FamilyPipelines(
        plain={
            "text-to-image": "StableDiffusionXLPipeline",
            "image-to-image": "StableDiffusionXLImg2ImgPipeline",
            "inpaint": "StableDiffusionXLInpaintPipeline",
        },
        controlled={
            "text-to-image": "StableDiffusionXLControlNetPipeline",
            "image-to-image": "StableDiffusionXLControlNetImg2ImgPipeline",
            "inpaint": "StableDiffusionXLControlNetInpaintPipeline",
        },
        parts=("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
        encoders=(("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")),
        absent={"add_watermarker": False},
        guidance_scale=5.0,
    ),
    "sd3": _flow(
        "StableDiffusion3",
        parts=(
            "transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2",
            "tokenizer_3",
        ),
        encoders=(
            ("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"), ("text_encoder_3", "tokenizer_3")
        ),
        absent={"image_encoder": None, "feature_extractor": None},
        guidance_scale=7.0,
        optional=("text_encoder_3", "tokenizer_3"),
    ),
    "flux": _flow(
        "Flux",
        parts=("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
        encoders=(("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")),
        absent={"image_encoder": None, "feature_extractor": None},
        guidance_scale=3.5,
        packed=True,
        negative=False,
    ),
    "qwen-image": _flow(
        "QwenImage",
        parts=("transformer", "vae", "text_encoder", "tokenizer"),
        encoders=(("text_encoder", "tokenizer"),),
        absent={},
        guidance_scale=4.0,
        packed=True,
        guidance="true_cfg_scale",
    ),
    "z-image": _flow(
        "ZImage",
        parts=("transformer", "vae", "text_encoder", "tokenizer"),
        encoders=(("text_encoder", "tokenizer"),),
        absent={},
        guidance_scale=5.0,
    ),
}  # fmt: skip


def pipeline_class(family: Family, task: Task, controlled: bool = False) -> type[DiffusionPipeline]:
    """The class that paints this task for this family."""
    pipelines = FAMILIES[family]
    classes = pipelines.controlled if controlled else pipelines.plain
    return getattr(diffusers, classes["text-to-image" if pipelines.flow else task])
