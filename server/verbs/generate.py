"""Generate: a picture from words, from a picture, or into a part of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.jobs import Control, Generate
from bridge_protocol.records import InvalidValue
from server.engine.painting import ControlInput, IsCancelled, OnProgress, PaintRequest
from server.verbs import Arrays, Made, Painter, Yield, picture_of

#: COCO-18.
KEYPOINTS = 18
#: What the engine does not know yet: asking for it is refused, not passed over.
TO_COME = (
    "vae", "clip_skip", "variation_seed", "variation_strength", "image_prompts", "regions", "hires_scale",
)  # fmt: skip


def run(job: Generate, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Paint a Generate job. Raises InvalidValue, or an EngineError of the painter."""
    request = request_of(job, arrays)
    painting = painter.paint(request, on_progress, cancelled)
    outputs = [
        Made("image", np.ascontiguousarray(image), "srgb", {"seed": seed})
        for image, seed in zip(painting.images, painting.seeds, strict=True)
    ]
    info: dict[str, Any] = {
        "model": painting.model,
        "controlnets": list(painting.controlnets),
        "timings": {phase: float(seconds) for phase, seconds in painting.timings.items()},
        "fallbacks": list(painting.fallbacks),
    }
    return Yield(outputs, info)


def request_of(job: Generate, arrays: Arrays) -> PaintRequest:
    """The job in the engine's terms. Raises InvalidValue."""
    for name in TO_COME:
        if getattr(job, name) != getattr(Generate(), name):
            raise InvalidValue(name, getattr(job, name), "left out", "This server does not know it yet.")
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
        sampler=None if job.sampler == "auto" else job.sampler,
        denoising_strength=job.denoising_strength,
        batch=job.batch,
        seamless_x=job.seamless in ("x", "both"),
        seamless_y=job.seamless in ("y", "both"),
        loras=tuple((lora.model, lora.weight) for lora in job.loras),
        model=job.model or None,
        preview_every=job.preview_every,
        preview_size=job.preview_size,
    )


def _control(index: int, control: Control, arrays: Arrays) -> ControlInput:
    array = arrays[_ref(control.image).digest]
    field = f"controls[{index}].image"
    if array.ndim < 2 or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InvalidValue(field, f"shape {array.shape}", "(h, w), (h, w, 3) or (h, w, 4)")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    measured = _is_measured(control.kind, array)
    if measured and control.kind == "pose":
        array = array.reshape(-1, KEYPOINTS, 3)
    return ControlInput(
        kind=control.kind,
        array=array,
        metric=measured,
        weight=control.weight,
        start=control.start,
        end=control.end,
        model=control.model or None,
    )


def _is_measured(kind: str, array: NDArray[Any]) -> bool:
    """Whether an array holds scene units, unit vectors or keypoints, instead of a control image drawn already."""
    if array.dtype != np.float32:
        return False
    if kind == "pose":
        return array.ndim == 2 and array.shape[1] == 3 and array.shape[0] % KEYPOINTS == 0
    return (kind == "depth" and array.ndim == 2) or (kind == "normal" and array.shape[2:] == (3,))


def _mask(array: NDArray[Any], image: NDArray[Any] | None) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if image is None or array.shape != image.shape[:2]:
        size = "the image's" if image is None else f"{image.shape[:2]}, as the image"
        raise InvalidValue("mask", f"shape {array.shape}", size, "Send a mask of the image's height and width.")
    return array


def _ref(array: Blob | BlobRef) -> BlobRef:
    return array.ref if isinstance(array, Blob) else array
