"""A job is data: what its schema says is what is checked, drawn and documented."""

from __future__ import annotations

import dataclasses
import math

import pytest

from bridge_protocol import jobs
from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.jobs import Control, Generate, Lora, job_from_plain, job_to_plain
from bridge_protocol.records import InvalidValue, blob_refs

IMAGE = BlobRef(bytes(32), (64, 64, 3), "uint8", "srgb")

FULL = Generate(
    prompt="ein Schloß", negative_prompt="fog", image=IMAGE, mask=BlobRef(bytes(32), (64, 64)), mask_grow=-3,
    mask_feather=4, mask_padding=32, controls=[Control("depth", IMAGE, 0.5, 0.1, 0.9, "c1"), Control("pose", IMAGE)],
    width=512, height=768, seed=2**53 - 1, steps=4, guidance_scale=7.5, sampler="DPM++ 2M Karras",
    denoising_strength=0.5, batch=2, seamless="both", loras=[Lora("l1", -0.5)], model="m1", preview_every=0,
    preview_size=64,
)  # fmt: skip


def test_a_job_comes_back_as_it_was():
    assert job_from_plain(*job_to_plain(FULL)) == FULL
    assert job_to_plain(Generate()) == ("Generate", {})


def test_a_whole_picture_travels_by_reference():
    blob = Blob.of(bytes(64 * 64), shape=(64, 64))
    kind, plain = job_to_plain(Generate(image=blob))
    assert job_from_plain(kind, plain).image == blob.ref


@pytest.mark.parametrize("kind", ["generate", "", "Control", "__class__"])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(InvalidValue, match="one of Generate"):
        job_from_plain(kind, {})


def test_what_is_no_job_is_refused():
    with pytest.raises(InvalidValue, match="job is 'Control'"):
        job_to_plain(Control("depth", IMAGE))


@pytest.mark.parametrize(
    ("plain", "field"),
    [
        ({"width": 65}, "width"), ({"width": 8200}, "width"), ({"height": 56}, "height"), ({"steps": 0}, "steps"),
        ({"steps": 151}, "steps"), ({"seed": -1}, "seed"), ({"seed": 2**53}, "seed"), ({"batch": 17}, "batch"),
        ({"denoising_strength": 1.5}, "denoising_strength"), ({"guidance_scale": math.nan}, "guidance_scale"),
        ({"sampler": "euler"}, "sampler"), ({"seamless": "z"}, "seamless"), ({"prompt": "x" * 10_001}, "prompt"),
        ({"controls": [{"kind": "depth"}]}, "controls[0].image"), ({"controls": [{}] * 9}, "controls"),
        ({"loras": [{"model": "a", "weight": 5}]}, "loras[0].weight"), ({"mask_padding": -1}, "mask_padding"),
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_job_is_named(plain, field):
    with pytest.raises(InvalidValue) as caught:
        job_from_plain("Generate", plain)
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_control_that_ends_before_it_starts_is_named_with_its_place():
    control = {"kind": "depth", "image": {"digest": bytes(32), "shape": [8, 8]}, "start": 0.6, "end": 0.5}
    with pytest.raises(InvalidValue) as caught:
        job_from_plain("Generate", {"controls": [{**control, "start": 0.4}, {**control, "start": 0.5}]})
    assert caught.value.field == "controls[1].start"


def test_a_mask_without_its_picture_is_refused_with_a_remedy():
    with pytest.raises(InvalidValue) as caught:
        Generate(mask=IMAGE)
    assert (caught.value.field, caught.value.remedy) == ("mask", "Send the picture that the mask belongs to.")


def test_every_field_of_every_kind_stands_in_the_schema():
    schema = jobs.schema()
    assert list(schema) == list(jobs.KINDS)
    for kind, cls in jobs.KINDS.items():
        described = {field["name"]: field for field in schema[kind]["fields"]}
        assert list(described) == [field.name for field in dataclasses.fields(cls)]
        for field in dataclasses.fields(cls):
            assert described[field.name]["doc"], f"{kind}.{field.name} says nothing about itself"
            for key, value in field.metadata.items():
                assert described[field.name][key] == value


def test_the_schema_says_what_a_form_must_know():
    fields = {field["name"]: field for field in jobs.schema()["Generate"]["fields"]}
    assert fields["width"] == {
        "name": "width", "type": "integer", "optional": True, "default": None, "unit": "px", "minimum": 64,
        "maximum": 8192, "step": 8, "doc": "Width; none: the image's, or the model's own.", "essential": True,
    }  # fmt: skip
    assert fields["sampler"]["type"] == "choice"
    assert "Euler a" in fields["sampler"]["choices"]
    assert fields["image"] == {
        "name": "image", "type": "array", "optional": True, "default": None, "doc": fields["image"]["doc"],
    }  # fmt: skip
    control = {field["name"]: field for field in fields["controls"]["items"]["fields"]}
    assert control["kind"]["required"] is True
    assert control["weight"]["default"] == 1.0
    assert fields["model"]["choices_from"] == "models"


def test_every_default_is_itself_allowed():
    triangles, view = BlobRef(bytes(32), (4, 3), "uint32"), jobs.View(jobs.Camera(8, 8, 4.0, 4.0, 4.0, 4.0))
    required = {
        jobs.Upscale: {"image": IMAGE},
        jobs.Annotate: {"image": IMAGE, "detector": "canny"},
        jobs.Frames: {"frames": [IMAGE]},
        jobs.Grid: {"job": Generate(), "x": jobs.Axis("steps", ["4", "8"])},
        jobs.Views: {"vertices": IMAGE, "triangles": triangles, "uvs": IMAGE, "views": [view]},
        jobs.Mesh: {"depth": IMAGE},
    }
    for cls in jobs.KINDS.values():
        job = cls(**required.get(cls, {}))
        given = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
        assert job_from_plain(cls.__name__, given) == job
        assert job_from_plain(*job_to_plain(job)) == job


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: jobs.Mesh(), "depth"),
        (lambda: jobs.Mesh(depth=IMAGE, kind="disparity"), "baseline"),
        (lambda: jobs.Mesh(depth=IMAGE, near=2.0, far=1.0), "near"),
        (lambda: jobs.Texture(maps=[]), "maps"),
        (lambda: jobs.Upscale(image=IMAGE, tile=64, overlap=40), "overlap"),
        (lambda: jobs.Frames(frames=[]), "frames"),
        (lambda: jobs.Frames(frames=[IMAGE], image=IMAGE), "image"),
        (lambda: jobs.Camera(8, 8, 0.0, 4.0, 4.0, 4.0), "fx"),
        (lambda: jobs.Camera(8, 8, 4.0, 4.0, 4.0, 4.0, world_to_camera=[1.0]), "world_to_camera"),
        (lambda: jobs.Views(vertices=IMAGE, triangles=IMAGE, uvs=IMAGE, views=[]), "views"),
        (lambda: Control("depth", IMAGE, near=2.0, far=1.0), "near"),
        (lambda: Control("pose", IMAGE, points=19), "points"),
    ],
)
def test_what_no_field_alone_can_tell_is_refused_by_the_job(make, field):
    with pytest.raises(InvalidValue) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_plain_job_carries_what_this_version_does_not_know_with_its_arrays_by_reference():
    image = Blob.of(bytes(12), shape=(2, 2, 3))
    job = jobs.PlainJob("Generate", {"image": image, "controls": [{"kind": "depth", "image": image}], "glow": 0.5})
    kind, plain = jobs.job_to_plain(job)
    assert (kind, plain["glow"], plain["image"]["digest"]) == ("Generate", 0.5, image.ref.digest)
    assert plain["controls"][0]["image"] == plain["image"]
    assert blob_refs(job) == [image, image]
