"""Generate: a picture from words, from a picture, or into a part of one."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol.blobs import Blob, BlobRef, ColorSpace
from bridge_protocol.jobs import Control, Generate, Region
from bridge_protocol.jobs import Painting as Painted
from bridge_protocol.records import InvalidValue
from server import provenance
from server.engine.painting import (
    ControlInput,
    ImagePromptInput,
    IsCancelled,
    OnProgress,
    Painting,
    PaintRequest,
    RegionInput,
)
from server.verbs import Arrays, Made, Painter, Yield, color, hires, picture_of
from server.verbs.reading import controls_read


def run(job: Generate, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Paint a Generate job. Raises InvalidValue, or an EngineError of the painter."""
    job, arrays = controls_read(job, arrays, painter, on_progress, cancelled)
    request = request_of(job, arrays)
    small = painter.paint(request, on_progress, cancelled)
    painting = small if job.hires_scale == 1 else hires.enlarge(job, request, small, painter, on_progress, cancelled)
    outputs = []
    for index, image in enumerate(painting.images):
        pixels: NDArray[Any] = image
        space: ColorSpace = "srgb"
        if job.image is not None and _ref(job.image).color == "linear":
            pixels, space = _linear(arrays[_ref(job.image).digest], request, image), "linear"
        outputs.append(Made("image", np.ascontiguousarray(pixels), space, picture_info(painting, index)))
    return Yield(outputs, painting_info(job, painting))


def drawn_seed() -> int:
    """A seed for a job that leaves it open."""
    return secrets.randbelow(2**32)


def picture_info(painting: Painting, index: int) -> dict[str, Any]:
    """What belongs to one picture of a painting."""
    info: dict[str, Any] = {"index": index, "seed": painting.seeds[index]}
    if painting.variation_seeds is not None:
        info["variation_seed"] = painting.variation_seeds[index]
    for name, texts in (("prompt", painting.prompts), ("negative_prompt", painting.negative_prompts)):
        if texts and texts[index]:
            info[name] = texts[index]  # the words that were used, their lots drawn
    return info


def painting_info(job: Painted, painting: Painting) -> dict[str, Any]:
    """What belongs to a painting as a whole. "job": what was asked, its arrays as digests, in plain JSON; "model",
    "seed" and "variation_seed" say what it left open.
    """
    varied = {} if painting.variation_seeds is None else {"variation_seed": painting.variation_seeds[0]}
    return {
        "model": painting.model,
        "seed": painting.seeds[0],
        **varied,
        "controlnets": list(painting.controlnets),
        "timings": {phase: float(seconds) for phase, seconds in painting.timings.items()},
        "fallbacks": list(painting.fallbacks),
        "job": provenance.plain(job),
    }


def request_of(job: Generate, arrays: Arrays) -> PaintRequest:
    """The job in the engine's terms. Raises InvalidValue."""
    hires.check(job)
    image = None if job.image is None else picture_of("image", job.image, arrays)
    mask = None if job.mask is None else _mask(arrays[_ref(job.mask).digest], image)
    for name, asked in (("width", job.width), ("height", job.height)):
        side = None if image is None else image.shape[1 if name == "width" else 0]
        if side is not None and asked is not None and asked != side:
            remedy = f"Leave {name} out, or scale the image."
            raise InvalidValue(name, asked, f"the image's own ({side}), or left out", remedy)
    return PaintRequest(
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        image=image,
        mask=mask,
        mask_grow=job.mask_grow,
        mask_feather=job.mask_feather,
        mask_padding=job.mask_padding,
        controls=tuple(_control(index, control, arrays) for index, control in enumerate(job.controls)),
        width=job.width,
        height=job.height,
        seed=job.seed,
        steps=job.steps,
        guidance_scale=job.guidance_scale,
        favor_controls=job.favor_controls,
        sampler=None if job.sampler == "auto" else job.sampler,
        denoising_strength=job.denoising_strength,
        batch=job.batch,
        seamless_x=job.seamless in ("x", "both"),
        seamless_y=job.seamless in ("y", "both"),
        loras=tuple((lora.model, lora.weight) for lora in job.loras),
        model=job.model or None,
        preview_every=job.preview_every,
        preview_size=job.preview_size,
        vae=job.vae or None,
        clip_skip=job.clip_skip,
        variation_seed=job.variation_seed,
        variation_strength=job.variation_strength,
        regions=tuple(
            RegionInput(region.prompt, _region_mask(index, region, arrays), region.weight)
            for index, region in enumerate(job.regions)
        ),
        image_prompts=tuple(
            ImagePromptInput(
                picture_of(f"image_prompts[{index}].image", prompt.image, arrays), prompt.weight, prompt.model or None
            )
            for index, prompt in enumerate(job.image_prompts)
        ),
    )


def _control(index: int, control: Control, arrays: Arrays) -> ControlInput:
    array = arrays[_ref(control.image).digest]
    field = f"controls[{index}].image"
    if array.ndim < 2 or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InvalidValue(field, f"shape {array.shape}", "(h, w), (h, w, 3) or (h, w, 4)")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    measured = _is_measured(control, array)
    if measured and control.kind == "pose":
        array = array.reshape(-1, control.points, 3)
    return ControlInput(
        kind=control.kind,
        array=array,
        metric=measured,
        weight=control.weight,
        start=control.start,
        end=control.end,
        model=control.model or None,
        near=control.near,
        far=control.far,
    )


def _is_measured(control: Control, array: NDArray[Any]) -> bool:
    """Whether an array holds scene units, unit vectors or keypoints, instead of a control image drawn already."""
    if array.dtype != np.float32:
        return False
    if control.kind == "pose":
        return array.ndim == 2 and array.shape[1] == 3 and array.shape[0] % control.points == 0
    return (control.kind == "depth" and array.ndim == 2) or (control.kind == "normal" and array.shape[2:] == (3,))


def _region_mask(index: int, region: Region, arrays: Arrays) -> NDArray[Any]:
    array = arrays[_ref(region.mask).digest]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2:
        raise InvalidValue(f"regions[{index}].mask", f"shape {array.shape}", "(h, w), as the picture")
    return array


def _linear(original: NDArray[Any], request: PaintRequest, painted: NDArray[Any]) -> NDArray[Any]:
    """What was painted as linear light in the original's dtype; what was not painted keeps every bit of it."""
    linear = color.to_linear(painted, original.dtype)
    if request.image is None or painted.shape != request.image.shape:
        return linear
    untouched = (painted == request.image) | (np.isnan(painted) & np.isnan(request.image))
    linear[untouched] = original[untouched]
    return linear


def _mask(array: NDArray[Any], image: NDArray[Any] | None) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if image is None or array.shape != image.shape[:2]:
        size = "the image's" if image is None else f"{image.shape[:2]}, as the image"
        raise InvalidValue("mask", f"shape {array.shape}", size, "Send a mask of the image's height and width.")
    return array


def _ref(array: Blob | BlobRef) -> BlobRef:
    return array.ref if isinstance(array, Blob) else array
