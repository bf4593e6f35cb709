"""From a request to what a pipeline is given: which models, which part of the picture, which arrays. No torch."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.engine import compositing, prompts
from server.engine.catalog import Catalog, ModelInfo
from server.engine.compositing import Float, Region
from server.engine.controls import control_image
from server.engine.descriptions import Task
from server.engine.errors import IncompatibleModels, InvalidRequest
from server.engine.painting import PaintRequest, Pixels, RegionInput


@dataclass(frozen=True, eq=False)
class Models:
    """The models of one request. controlnets: for each control, a ControlNet or a T2I-Adapter."""

    checkpoint: ModelInfo
    controlnets: tuple[ModelInfo, ...]
    loras: tuple[tuple[ModelInfo, float], ...]
    vae: ModelInfo | None = None
    image_adapters: tuple[ModelInfo, ...] = ()
    image_encoder: ModelInfo | None = None
    embeddings: tuple[ModelInfo, ...] = ()

    def ids(self) -> tuple[str, ...]:
        """Ids of those that the loader keeps."""
        others = (info.id for info in (self.vae, self.image_encoder) if info is not None)
        return (self.checkpoint.id, *(net.id for net in self.controlnets), *others)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is painted where.

    width, height: of the result. region: the part that is painted. cover: (height, width) float32, how much of each
    pixel is replaced; None replaces everything. image: (paint_height, paint_width, 3) float32 in [0, 1], the part of
    the input picture. paint_cover: the part of cover. controls: one picture like image for each control.
    seeds, prompts, negative_prompts: one for each picture of the batch; the prompts' lots are drawn. variation_seeds:
    the same, or None. steps: what the pipeline is asked for; taken_steps: how many of them it takes. regions: the part
    of each region's mask, (paint_height, paint_width) float32 in [0, 1].
    """

    request: PaintRequest
    models: Models
    task: Task
    width: int
    height: int
    region: Region
    seeds: list[int]
    prompts: list[str]
    negative_prompts: list[str]
    variation_seeds: list[int] | None
    steps: int
    taken_steps: int
    cover: Float | None = None
    image: Float | None = None
    paint_cover: Float | None = None
    controls: tuple[Float, ...] = ()
    regions: tuple[Float, ...] = ()

    def followed(self, kind: str) -> list[int]:
        """The numbers of the controls that are followed by a model of that kind: controlnet or t2i_adapter."""
        return [number for number, info in enumerate(self.models.controlnets) if info.kind == kind]

    @property
    def blends(self) -> bool:
        """Whether the mask is kept by mixing latents, and not by a checkpoint that was trained for it."""
        return self.cover is not None and self.task != "inpaint"

    def finish(self, painted: Float) -> Pixels:
        """The result's pixels from what was painted, (paint_height, paint_width, 3) float32 in [0, 1]."""
        pixels = self.region.restore(painted)
        original = self.request.image
        if original is None:
            return compositing.from_float(pixels, np.dtype(np.uint8))
        if self.cover is None:
            result = original.copy()
            result[..., :3] = compositing.from_float(pixels, original.dtype)
            return result
        region = self.region
        there = np.s_[region.y : region.y + region.height, region.x : region.x + region.width]
        result = original.copy()
        result[there] = compositing.paste(original[there], pixels, self.cover[there])
        return result


def choose(catalog: Catalog, request: PaintRequest) -> Models:
    """The models that the request names, or that fit what it asks for; they are known to belong together."""
    checkpoint = catalog.get(request.model, "checkpoint") if request.model else catalog.default()
    nets = tuple(
        catalog.follower(control.model, control.kind) if control.model else catalog.controlnet(control.kind, checkpoint)
        for control in request.controls
    )
    loras = tuple((catalog.get(model, "lora"), weight) for model, weight in request.loras)
    vae = catalog.get(request.vae, "vae") if request.vae else None
    adapters = tuple(
        catalog.get(prompt.model, "image_adapter") if prompt.model else catalog.image_adapter(checkpoint)
        for prompt in request.image_prompts
    )
    encoders = [catalog.image_encoder(adapter) for adapter in adapters]
    if len({encoder.id for encoder in encoders}) > 1:
        raise IncompatibleModels(
            "The image prompts' adapters look through different image encoders.", "Take adapters of one kind."
        )
    for other in (*nets, *(info for info, _ in loras), *([vae] if vae else []), *adapters):
        if not other.fits(checkpoint):
            raise IncompatibleModels(
                f"{other.name} ({other.kind}, {other.family}) does not fit {checkpoint.name} ({checkpoint.family}).",
                f"Take a {other.kind} that was made for {checkpoint.name}'s family, or another checkpoint.",
            )
    encoder = encoders[0] if encoders else None
    return Models(checkpoint, nets, loras, vae, adapters, encoder, catalog.embeddings(checkpoint))


def plan(request: PaintRequest, models: Models, wildcards: Mapping[str, Sequence[str]]) -> Plan:
    """Everything that can be decided before a model is loaded. wildcards: the choices of each, by its name."""
    info = models.checkpoint
    task = _task(request, info)
    if request.favor_controls and request.controls and info.family not in ("sd15", "sdxl"):
        raise InvalidRequest(
            f"favor_controls is on, and models of the family {info.family} do not tell words and controls apart.",
            "Turn it off, or raise the controls' weights.",
        )
    if request.image is not None:
        height, width = request.image.shape[:2]
    else:
        width, height = request.width or info.native_size, request.height or info.native_size
    cover, region = None, compositing.whole(width, height, info.cell)
    if request.mask is not None:
        cover = compositing.coverage(request.mask, request.mask_grow, request.mask_feather)
        if not cover.any():
            raise InvalidRequest("mask is empty: nothing would be painted.", "Select what is to be painted.")
        if request.mask_padding is not None:
            region = compositing.around(cover, request.mask_padding, info.native_size, info.cell)
    image = None if request.image is None else region.cut(compositing.to_float(request.image[..., :3]))
    paint_cover = None if cover is None else region.cut(cover)
    if image is not None and paint_cover is not None and request.denoising_strength == 1:
        image = _without(image, paint_cover > 0)
    controls = tuple(
        control_image(control, f"controls[{number}]", width, height, region)
        for number, control in enumerate(request.controls)
    )
    seeds, variation_seeds = _seeds(request)
    # Variations share a seed, and their lots are to differ all the same.
    lots = seeds if variation_seeds is None else variation_seeds
    steps = _steps(request)
    return Plan(
        request, models, task, width, height, region, seeds,
        [prompts.draw(request.prompt, seed, wildcards) for seed in lots],
        [prompts.draw(request.negative_prompt, seed, wildcards) for seed in lots],
        variation_seeds, steps, max(1, int(steps * request.denoising_strength)) if image is not None else steps, cover,
        None if image is None else np.clip(image, 0, 1), paint_cover, controls,
        tuple(_region_mask(number, one, width, height, region) for number, one in enumerate(request.regions)),
    )  # fmt: skip


def _seeds(request: PaintRequest) -> tuple[list[int], list[int] | None]:
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    if request.variation_strength == 0:
        return [seed + i for i in range(request.batch)], None
    other = secrets.randbelow(2**32) if request.variation_seed is None else request.variation_seed
    return [seed] * request.batch, [other + i for i in range(request.batch)]


def _region_mask(number: int, asked: RegionInput, width: int, height: int, region: Region) -> Float:
    if asked.mask.shape != (height, width):
        raise InvalidRequest(
            f"regions[{number}].mask is {asked.mask.shape[1]} × {asked.mask.shape[0]} and the picture is {width} × "
            f"{height}.", "Give the mask at the picture's size.",
        )  # fmt: skip
    return region.cut(compositing.to_float(asked.mask), Image.Resampling.BILINEAR)


def _without(image: Float, masked: NDArray[np.bool_]) -> Float:
    """The image with the mean of its outside under the mask: what is to be forgotten must not reach the encoder,
    whose attention would carry it into the latents of the outside.
    """
    outside = image[~masked]
    result = image.copy()
    result[masked] = outside.mean(axis=0) if outside.size else 0.5
    return result


def _task(request: PaintRequest, info: ModelInfo) -> Task:
    if "text-to-image" not in info.tasks:
        if request.mask is None:
            raise InvalidRequest(
                f"model {info.name} was trained to inpaint and can do nothing else, and mask is not given.",
                "Give a mask, or take another model.",
            )
        return "inpaint"
    return "text-to-image" if request.image is None else "image-to-image"


def _steps(request: PaintRequest) -> int:
    """Steps to ask the pipeline for: image-to-image skips the first ones, and must be left at least one."""
    steps = request.steps
    while request.image is not None and request.denoising_strength > 0 and int(steps * request.denoising_strength) < 1:
        steps += 1
    return steps
