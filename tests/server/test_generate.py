"""What a Generate means for the engine."""

from __future__ import annotations

import numpy as np
import pytest

from bridge_protocol.blobs import Blob
from bridge_protocol.jobs import Control, Generate, ImagePrompt, Lora, Region
from bridge_protocol.records import InvalidValue
from server.engine.detectors import Annotation
from server.engine.painting import Painting
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
            loras=[Lora("l", 0.5)], model="m", preview_every=7, preview_size=64, vae="v", clip_skip=1,
            favor_controls=True, variation_seed=8, variation_strength=0.25, regions=[Region("r", mask, 2.0)],
            image_prompts=[ImagePrompt(image, 0.3, "a")],
        ),
        IMAGE,
        np.zeros((64, 72), np.uint8),
    )  # fmt: skip
    got = {
        name: value for name, value in vars(made).items() if name not in ("image", "mask", "regions", "image_prompts")
    }
    assert got == {
        "prompt": "p", "negative_prompt": "n", "mask_grow": 1, "mask_feather": 2, "mask_padding": 3, "controls": (),
        "width": None, "height": None, "seed": 4, "steps": 5, "guidance_scale": 6.0, "sampler": "Heun",
        "denoising_strength": 0.5, "batch": 2, "seamless_x": True, "seamless_y": False, "loras": (("l", 0.5),),
        "model": "m", "preview_every": 7, "preview_size": 64, "vae": "v", "clip_skip": 1, "variation_seed": 8,
        "favor_controls": True, "variation_strength": 0.25, "tile": None, "tile_overlap": None,
    }  # fmt: skip
    (prompt,) = made.image_prompts
    assert (prompt.image.shape, prompt.weight, prompt.model) == ((64, 72, 4), 0.3, "a")
    (region,) = made.regions
    assert (region.prompt, region.mask.shape, region.weight) == ("r", (64, 72), 2.0)
    assert made.image is not None
    assert made.mask.shape == (64, 72)


def test_a_new_field_of_the_job_cannot_be_forgotten():
    known = {
        "prompt", "negative_prompt", "image", "mask", "mask_grow", "mask_feather", "mask_padding", "controls", "width",
        "height", "seed", "steps", "guidance_scale", "sampler", "denoising_strength", "batch", "seamless", "loras",
        "model", "preview_every", "preview_size", "vae", "clip_skip", "variation_seed", "variation_strength",
        "favor_controls", "regions", "hires_scale", "hires_strength", "hires_upscaler", "image_prompts",
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


def test_the_range_of_a_depth_and_the_points_of_a_pose_reach_the_engine():
    depth = request(
        lambda array: Generate(controls=[Control("depth", array, near=1.0, far=9.0)]), np.ones((8, 9), np.float32)
    )
    assert (depth.controls[0].near, depth.controls[0].far) == (1.0, 9.0)
    pose = request(lambda array: Generate(controls=[Control("pose", array, points=60)]), np.ones((120, 3), np.float32))
    assert pose.controls[0].array.shape == (2, 60, 3)


class Notes:
    """A painter that keeps what it was asked for, and paints flat grey at the size that was asked."""

    def __init__(self):
        self.requests = []

    def paint(self, request, on_progress=None, cancelled=None):
        self.requests.append(request)
        shape = (request.height, request.width, 3) if request.image is None else request.image.shape
        images = [np.full(shape, 100 + i, np.uint8) for i in range(request.batch)]
        seeds = [5 + i for i in range(request.batch)] if request.seed is None else [request.seed]
        words = [f"word {seed}" for seed in seeds]
        return Painting(images, seeds, shape[1], shape[0], "m", [], {"sampling": 1.0}, ["note"], words, words)


def test_a_high_resolution_fix_paints_each_small_picture_again_larger():
    painter = Notes()
    region = Blob.of(np.full((64, 96), 255, np.uint8))
    job = Generate(
        "{a|b}", width=96, height=64, batch=2, hires_scale=2.25, hires_strength=0.3, regions=[Region("r", region)]
    )
    made = generate.run(job, {region.ref.digest: np.full((64, 96), 255, np.uint8)}, painter, None, None)
    small, *large = painter.requests
    assert (small.width, small.height, small.batch) == (96, 64, 2)
    for number, request in enumerate(large):
        assert request.image.shape == (144, 216, 3)
        assert (request.image == 100 + number).all()
        assert (request.seed, request.prompt, request.batch) == (5 + number, f"word {5 + number}", 1)
        assert (request.denoising_strength, request.width, request.height) == (0.3, None, None)
        assert request.regions[0].mask.shape == (144, 216)
    assert [out.array.shape for out in made.outputs] == [(144, 216, 3)] * 2
    assert [out.info["seed"] for out in made.outputs] == [5, 6]
    assert made.info["timings"] == {"sampling": 3.0}
    assert made.info["fallbacks"] == ["note"]


def test_a_high_resolution_fix_into_a_mask_is_refused():
    arrays = [IMAGE, np.zeros((64, 72), np.uint8)]
    with pytest.raises(InvalidValue, match="hires_scale"):
        request(lambda image, mask: Generate(image=image, mask=mask, hires_scale=2.0), *arrays)


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


class Half:
    """A painter that paints the left half of a picture grey."""

    def paint(self, request, on_progress=None, cancelled=None):
        self.seen = request.image
        image = request.image.copy()
        image[:, : image.shape[1] // 2, :3] = 0.5
        return Painting([image], [1], image.shape[1], image.shape[0], "m")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_a_linear_picture_is_painted_in_srgb_and_what_is_not_painted_keeps_every_bit(dtype):
    light = np.random.default_rng(0).random((16, 20, 4))
    picture = light.astype(dtype) if np.issubdtype(dtype, np.floating) else (light * np.iinfo(dtype).max).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        picture[3, 15] = [7.5, -0.25, 0.5, 1.0]
        picture[4, 15, 0] = np.nan
    blob, painter = Blob.of(picture, color="linear"), Half()
    made = generate.run(Generate(image=blob), {blob.ref.digest: picture}, painter, None, None).outputs[0]
    assert (made.color, made.array.dtype) == ("linear", dtype)
    assert made.array[:, 10:].tobytes() == picture[:, 10:].tobytes()
    top = 1 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    np.testing.assert_allclose(made.array[:, :10, :3] / top, 0.2140, atol=0.003)  # half of sRGB is a fifth of the light
    np.testing.assert_allclose(painter.seen[0, 0, 0], np.interp(picture[0, 0, 0] / top, *_CURVE), atol=0.01)


_CURVE = ([0, 0.0331, 0.0732, 0.2140, 0.5225, 1], [0, 0.2, 0.3, 0.5, 0.75, 1])


class ReadingPainter:
    """Reads every picture as white, and keeps what it was asked to read and to paint."""

    def annotate(self, request, on_progress=None, cancelled=None):
        self.read = request
        return Annotation(np.full((*request.image.shape[:2], 3), 255, np.uint8), "canny")

    def paint(self, request, on_progress=None, cancelled=None):
        self.painted = request
        return Painting([np.zeros((8, 8, 3), np.uint8)], [1], 8, 8, "small")


def controlled(kind, detector):
    picture = np.zeros((8, 9, 3), np.uint8)
    blob = Blob.of(picture, color="srgb")
    painter = ReadingPainter()
    job = Generate("p", controls=[Control(kind, blob, detector=detector)])
    generate.run(job, {blob.ref.digest: picture}, painter, lambda progress: None, lambda: False)
    return painter


def test_a_detector_reads_the_control_image_from_the_picture():
    painter = controlled("canny", "canny")
    assert painter.read.detector == "canny"
    assert (painter.painted.controls[0].array == 255).all()
    assert not hasattr(controlled("canny", ""), "read")


def test_a_detector_of_another_kind_is_refused():
    with pytest.raises(InvalidValue, match=r"controls\[0\].detector is 'pose'"):
        controlled("canny", "pose")
