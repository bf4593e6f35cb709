"""The trained networks as folders that the plain diffusers pipelines load."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer

from server.starter.code import PatchCode
from server.starter.networks import CONTROLS, SCHEDULE

#: What ships with the project.
WEIGHTS = Path(__file__).with_name("weights")
#: Control → folder of its ControlNet beside the pipeline's own parts.
FOLDERS = {"depth": "controlnet-depth", "normal": "controlnet-normal", "pose": "controlnet-openpose"}
PREVIEW = "preview.json"
#: Read by the engine and the evaluation: how strongly this model wants to be guided.
HINTS = "brushwire.json"
GUIDANCE = 2.0
LICENSE = """\
These weights were trained from scratch on pictures that this project's own code made; no photograph,
drawing or text of anybody else went into them. To the extent possible under law, all rights in them are waived:
CC0 1.0 Universal, https://creativecommons.org/publicdomain/zero/1.0/

SPDX-License-Identifier: CC0-1.0
"""


def pipeline(networks: nn.ModuleDict, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    """The trained networks in the plain pipeline, with the scheduler that ships."""
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=networks["text"],
        tokenizer=tokenizer,
        unet=networks["unet"],
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(
    networks: nn.ModuleDict, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer, code: PatchCode, folder: Path
) -> int:
    """Write everything as fp16 safetensors in the layout of Stable Diffusion 1.x.

    folder/ is what `StableDiffusionPipeline.from_pretrained` takes, folder/controlnet-* what
    `ControlNetModel.from_pretrained` takes. `preview.json` holds `latent_rgb_factors` (c, 3) and
    `latent_rgb_bias` (3,): scaled latents @ factors + bias is a picture an eighth as large, in [-1, 1].
    `brushwire.json` names the guidance scale that suits the model.

    Gives the size of all files in bytes.
    """
    painter = pipeline(networks, autoencoder, tokenizer).to(torch.float16)
    painter.save_pretrained(folder, safe_serialization=True)
    for name in CONTROLS:
        networks[name].to(torch.float16).save_pretrained(folder / FOLDERS[name], safe_serialization=True)
    factors, bias = code.rgb_factors()
    preview = {"latent_rgb_factors": [[round(x, 5) for x in row] for row in factors.tolist()],
               "latent_rgb_bias": [round(x, 5) for x in bias.tolist()]}  # fmt: skip
    (folder / PREVIEW).write_text(json.dumps(preview, indent=1) + "\n")
    (folder / HINTS).write_text(json.dumps({"guidance_scale": GUIDANCE}) + "\n")
    (folder / "LICENSE").write_text(LICENSE)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
