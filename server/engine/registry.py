"""Which pipeline of diffusers paints what: family → class for each task, with ControlNets and without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import diffusers
from diffusers import DiffusionPipeline

from server.engine.probe import Family, Task


@dataclass(frozen=True)
class FamilyPipelines:
    """plain, controlled: task → name of the class in diffusers, without and with ControlNets.

    parts: what a pipeline needs beside scheduler and ControlNets. absent: what it must be told that there is none of.
    encoders: the text encoders among the parts, each with its tokenizer. guidance_scale: what suits most checkpoints.
    """

    plain: dict[Task, str]
    controlled: dict[Task, str]
    parts: tuple[str, ...]
    encoders: tuple[tuple[str, str], ...]
    absent: dict[str, Any]
    guidance_scale: float


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
}


def pipeline_class(family: Family, task: Task, controlled: bool = False) -> type[DiffusionPipeline]:
    """The class that paints this task for this family."""
    pipelines = FAMILIES[family]
    return getattr(diffusers, (pipelines.controlled if controlled else pipelines.plain)[task])
