"""What a Generate means for the engine."""

from __future__ import annotations

import numpy as np
import pytest

from bridge_protocol.blobs import Blob
from bridge_protocol.jobs import Control, Generate, Lora
from bridge_protocol.records import InvalidValue
from server.verbs import generate


def request(job, *arrays):
    blobs = [Blob.of(array) for array in arrays]
    return generate.request_of(job(*blobs), {blob.ref.digest: array for blob, array in zip(blobs, arrays, strict=True)})


IMAGE = np.zeros((64, 72, 4), np.uint8)


def test_every_field_reaches_the_engine():
    made = request(
        lambda image, mask: Generate(
            prompt="p", negative_prompt="n", image=image, mask=mask, mask_grow=1, mask_feather=2, mask_padding=3,
            seed=4, steps=5, guidance_scale=6.0, sampler="Heun", denoising_strength=0.5, batch=2, seamless="x",
            loras=[Lora("l", 0.5)], model="m", preview_every=7, preview_size=64,
        ),
        IMAGE,
        np.zeros((64, 72), np.uint8),
    )  # fmt: skip
    got = {name: value for name, value in vars(made).items() if name not in ("image", "mask")}
    assert got == {
        "prompt": "p", "negative_prompt": "n", "mask_grow": 1, "mask_feather": 2, "mask_padding": 3, "controls": (),
        "width": None, "height": None, "seed": 4, "steps": 5, "guidance_scale": 6.0, "sampler": "Heun",
        "denoising_strength": 0.5, "batch": 2, "seamless_x": True, "seamless_y": False, "loras": (("l", 0.5),),
        "model": "m", "preview_every": 7, "preview_size": 64, "tile": None, "tile_overlap": None,
    }  # fmt: skip
    assert made.image is not None
    assert made.mask.shape == (64, 72)


def test_a_new_field_of_the_job_cannot_be_forgotten():
    known = {
        "prompt", "negative_prompt", "image", "mask", "mask_grow", "mask_feather", "mask_padding", "controls", "width",
        "height", "seed", "steps", "guidance_scale", "sampler", "denoising_strength", "batch", "seamless", "loras",
        "model", "preview_every", "preview_size", "hires_strength", "hires_upscaler", *generate.TO_COME,
    }  # fmt: skip
    assert set(Generate.__dataclass_fields__) == known, "hand the field to the engine, then name it here"


@pytest.mark.parametrize(
    ("kind", "array", "measured", "shape"),
    [
        ("depth", np.ones((8, 9), np.float32), True, (8, 9)),
        ("depth", np.ones((8, 9, 1), np.float32), True, (8, 9)),
        ("depth", np.ones((8, 9, 3), np.uint8), False, (8, 9, 3)),
        ("normal", np.ones((8, 9, 3), np.float32), True, (8, 9, 3)),
        ("normal", np.ones((8, 9, 3), np.uint8), False, (8, 9, 3)),
        ("pose", np.ones((36, 3), np.float32), True, (2, 18, 3)),
        ("pose", np.ones((36, 3, 3), np.uint8), False, (36, 3, 3)),
        ("canny", np.ones((8, 9), np.float32), False, (8, 9)),
    ],
)
def test_measured_arrays_are_told_from_control_images_that_are_drawn_already(kind, array, measured, shape):
    made = request(lambda image: Generate(controls=[Control(kind, image, 0.5, 0.1, 0.9, "c")]), array)
    (control,) = made.controls
    assert (control.metric, control.array.shape) == (measured, shape)
    assert (control.kind, control.weight, control.start, control.end, control.model) == (kind, 0.5, 0.1, 0.9, "c")


@pytest.mark.parametrize(
    ("job", "arrays", "field"),
    [
        (lambda image: Generate(image=image, width=80), [IMAGE], "width"),
        (lambda image: Generate(image=image, height=80), [IMAGE], "height"),
        (lambda image: Generate(image=image), [IMAGE[:, :, 0].copy()], "image"),
        (lambda image, mask: Generate(image=image, mask=mask), [IMAGE, np.zeros((8, 9), np.uint8)], "mask"),
        (lambda image: Generate(controls=[Control("canny", image)]), [np.zeros(9, np.uint8)], "controls[0].image"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_their_field(job, arrays, field):
    with pytest.raises(InvalidValue) as error:
        request(job, *arrays)
    assert error.value.field == field
    assert error.value.remedy


def test_a_linear_picture_is_refused_instead_of_painted_in_wrong_colours():
    blob = Blob.of(IMAGE.astype(np.float32), color="linear")
    with pytest.raises(InvalidValue, match="sRGB"):
        generate.request_of(Generate(image=blob), {blob.ref.digest: IMAGE})
