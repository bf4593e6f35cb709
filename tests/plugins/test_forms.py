"""Forms that are drawn from the server's schema."""

from __future__ import annotations

import numpy as np
import pytest

from bridge_protocol import jobs
from bridge_protocol.blobs import Blob
from bridge_protocol.records import InvalidValue
from plugins.common.forms import Form
from plugins.common.lists import lists_of


@pytest.fixture
def form():
    return Form("Generate", jobs.schema()["Generate"])


@pytest.mark.parametrize("kind", list(jobs.KINDS))
def test_every_kind_of_job_has_a_form_whose_defaults_are_the_jobs_own(kind):
    schema = jobs.schema()[kind]
    form = Form(kind, schema)
    assert {field.name for field in (*form.fields, *form.hosted)} == {field["name"] for field in schema["fields"]}
    assert not any(field.holds_arrays for field in form.fields)
    for field in form.fields:
        if not field.required:
            form[field.name] = field.default
    assert form.values == {}


def test_the_essential_fields_come_first_and_the_others_are_advanced(form):
    assert {"prompt", "model", "steps", "denoising_strength"} <= {field.name for field in form.essential}
    assert {"clip_skip", "variation_seed", "mask_feather"} <= {field.name for field in form.advanced}
    assert {field.name for field in form.hosted} == {"image", "mask", "controls", "image_prompts", "regions"}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("steps", 0, "a whole number from 1 to 150"),
        ("steps", 2.5, "a whole number from 1 to 150"),
        ("steps", True, "a whole number"),
        ("width", 100, "in steps of 8"),
        ("guidance_scale", float("nan"), "a finite number from 0 to 30"),
        ("sampler", "magic", "one of auto, Euler"),
        ("prompt", "x" * 10_001, "at most 10000 characters"),
        ("loras", [{"model": "a", "weight": 9}], "from -4 to 4"),
        ("loras", [{"weight": 1}], "given"),
        ("loras", "a", "a list"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_and_range_as_the_server_would(form, name, value, words):
    with pytest.raises(InvalidValue) as caught:
        form[name] = value
    with pytest.raises(InvalidValue):
        jobs.job_from_plain("Generate", {name: value})
    assert words in str(caught.value)
    assert caught.value.field.startswith(name)
    assert form.values == {}


def test_the_form_makes_the_job_that_the_dataclass_makes(form):
    image = Blob.of(np.zeros((64, 64, 3), np.uint8), color="srgb")
    for name, value in {"prompt": "a boat", "steps": 30.0, "seed": 7, "loras": [{"model": "a", "weight": 0.5}]}.items():
        form[name] = value
    plain = form.job({"image": image, "denoising_strength": 0.5})
    job = jobs.Generate("a boat", steps=30, seed=7, loras=[jobs.Lora("a", 0.5)], image=image, denoising_strength=0.5)
    assert jobs.job_to_plain(plain) == jobs.job_to_plain(job)
    assert plain.fields["image"] is image


def test_a_field_that_only_a_newer_server_knows_is_a_field_of_the_form():
    schema = jobs.schema()["Generate"]
    new = {"name": "glow", "type": "number", "doc": "How much.", "default": 0.0, "minimum": 0, "maximum": 1,
           "shape_of_things": "to come"}  # fmt: skip
    schema["fields"].append(new)
    form = Form("Generate", schema)
    form["glow"] = 0.5
    assert form.job().fields == {"glow": 0.5}


def test_choices_come_from_the_servers_lists_and_change_with_them():
    lists = {}
    form = Form("Generate", jobs.schema()["Generate"], lists)
    model, lora = form.field("model"), form.field("loras").items.fields[0]
    assert [choice.label for choice in form.choices(model)] == ["Automatic"]
    lists.update(
        lists_of(
            [
                {"kind": "checkpoint", "id": "m1", "name": "Oils", "family": "sd15"},
                {"kind": "lora", "id": "l1", "name": "Ink"},
                {"kind": "refused", "name": "broken"},
                {"kind": "of a newer server", "id": "x"},
            ]
        )
    )
    assert [(choice.value, choice.label) for choice in form.choices(model)] == [("", "Automatic"), ("m1", "Oils")]
    assert [choice.label for choice in form.choices(lora)] == ["Ink"]
    assert form.choices(model)[1].info["family"] == "sd15"
    form["model"] = "gone"
    assert form.choices(model)[-1].info == {"missing": True}
    assert [choice.value for choice in form.choices(form.field("seamless"))] == ["none", "x", "y", "both"]


def test_values_of_an_older_time_are_taken_as_far_as_this_server_knows_them(form):
    form["negative_prompt"] = "fog"
    dropped = form.load({"prompt": "a boat", "steps": 500, "halo": 1, "seed": None})
    assert form.values == {"prompt": "a boat"}
    assert len(dropped) == 2
    assert any("steps is 500" in sentence for sentence in dropped)
    assert any("halo" in sentence for sentence in dropped)


def test_a_job_without_its_required_field_is_not_made():
    form = Form("Annotate", jobs.schema()["Annotate"])
    with pytest.raises(InvalidValue, match="detector"):
        form.job({"image": Blob.of(np.zeros((64, 64, 3), np.uint8))})


def test_labels_read_as_words(form):
    assert form.field("denoising_strength").label == "Denoising strength"
    assert form.field("loras").label == "LoRAs"
