"""Generate: a picture from words, from a picture, or into a part of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol.blobs import ColorSpace
from bridge_protocol.jobs import Control, Generate
from bridge_protocol.records import InvalidValue
from server.engine.painting import ControlInput, IsCancelled, OnProgress, PaintRequest
from server.verbs import Arrays, Made, Painter, Yield

#: A float32 array of these kinds and this many channels is measured data, not a control image that is drawn already.
MEASURED = {"depth": 1, "normal": 3, "pose": 3}
#: COCO-18.
KEYPOINTS = 18
#: The same as in the engine's request, where a job leaves it to the model.
GUIDANCE_SCALE = PaintRequest.guidance_scale


def run(job: Generate, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Paint a Generate job. Raises InvalidValue, or an EngineError of the painter."""
    request, color = request_of(job, arrays)
    painting = painter.paint(request, on_progress, cancelled)
    outputs = [
        Made("image", np.ascontiguousarray(image), color, {"seed": seed})
        for image, seed in zip(painting.images, painting.seeds, strict=True)
    ]
    info: dict[str, Any] = {
        "model": painting.model,
        "controlnets": list(painting.controlnets),
        "timings": {phase: float(seconds) for phase, seconds in painting.timings.items()},
        "fallbacks": list(painting.fallbacks),
    }
    return Yield(outputs, info)


def request_of(job: Generate, arrays: Arrays) -> tuple[PaintRequest, ColorSpace]:
    """The job in the engine's terms, and the colour space of what it will paint. Raises InvalidValue."""
    image = None if job.image is None else _picture("image", arrays[_digest(job.image)])
    mask = None if job.mask is None else _mask(arrays[_digest(job.mask)], image)
    for name, asked in (("width", job.width), ("height", job.height)):
        side = None if image is None else image.shape[1 if name == "width" else 0]
        if side is not None and asked is not None and asked != side:
            raise InvalidValue(name, asked, f"the image's own ({side}), or left out", f"Leave {name} out, or scale the image.")
    request = PaintRequest(
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
        guidance_scale=GUIDANCE_SCALE if job.guidance_scale is None else job.guidance_scale,
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
    color: ColorSpace = "srgb" if job.image is None else job.image.ref.color if hasattr(job.image, "ref") else job.image.color
    return request, color


def _control(index: int, control: Control, arrays: Arrays) -> ControlInput:
    array = arrays[_digest(control.image)]
    field = f"controls[{index}].image"
    channels = array.shape[2] if array.ndim == 3 else 1
    measured = array.dtype == np.float32 and MEASURED.get(control.kind) == channels
    if measured and control.kind == "pose":
        if array.ndim != 2 or array.shape[0] % KEYPOINTS:
            raise InvalidValue(field, f"shape {array.shape}", f"float32 ({KEYPOINTS}·people, 3): x, y, visibility")
        array = array.reshape(-1, KEYPOINTS, 3)
    elif array.ndim < 2 or channels not in (1, 3, 4):
        raise InvalidValue(field, f"shape {array.shape}", "(h, w), (h, w, 3) or (h, w, 4)")
    return ControlInput(
        kind=control.kind,
        array=array,
        metric=measured,
        weight=control.weight,
        start=control.start,
        end=control.end,
        model=control.model or None,
    )


def _picture(field: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise InvalidValue(field, f"shape {array.shape}", "(h, w, 3) or (h, w, 4)")
    return array


def _mask(array: NDArray[Any], image: NDArray[Any] | None) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if image is None or array.shape != image.shape[:2]:
        size = "the image's" if image is None else f"{image.shape[:2]}, as the image"
        raise InvalidValue("mask", f"shape {array.shape}", size, "Send a mask of the image's height and width.")
    return array


def _digest(array: Any) -> bytes:
    """Of a Blob or a BlobRef."""
    return array.ref.digest if hasattr(array, "ref") else array.digest
