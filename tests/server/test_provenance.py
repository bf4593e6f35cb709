"""What a picture says of itself is enough to paint it again, and nothing in it is believed unchecked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bridge_protocol import jobs
from bridge_protocol.blobs import Blob
from bridge_protocol.records import InvalidValue
from server import pictures, provenance

RESULT = {"model": "abc", "seed": 4, "controlnets": []}


def test_a_job_comes_back_whole_with_its_arrays_by_digest():
    blob = Blob.of(np.zeros((4, 5, 3), np.uint8), color="srgb")
    job = jobs.Generate("ein Stück Küste", controls=[jobs.Control("canny", blob, weight=0.5)], steps=7)
    told = provenance.of_picture({**RESULT, "job": provenance.plain(job)}, {"index": 0, "seed": 4})
    again = jobs.job_from_plain("Generate", provenance.fields_of(json.loads(json.dumps(told))))
    assert (again.prompt, again.steps, again.seed, again.model) == (job.prompt, 7, 4, "abc")
    assert again.controls[0].image == blob.ref


def test_drawn_words_take_the_place_of_lots_in_a_single_picture_and_not_in_a_batch():
    single = provenance.plain(jobs.Generate("{a|b}"))
    told = provenance.of_picture({**RESULT, "job": single}, {"index": 0, "seed": 4, "prompt": "b"})
    assert told["job"]["prompt"] == "b"
    batch = provenance.plain(jobs.Generate("{a|b}", batch=2))
    told = provenance.of_picture({**RESULT, "job": batch}, {"index": 1, "seed": 5, "prompt": "b"})
    assert (told["job"]["prompt"], told["picture"]["prompt"], told["job"]["seed"]) == ("{a|b}", "b", 4)


def test_a_result_that_does_not_tell_its_job_gives_nothing():
    assert provenance.of_picture({"model": "abc"}, {}) is None


def test_other_tools_read_the_parameters(tmp_path):
    job = jobs.Generate(
        "a boat — ★", negative_prompt="fog", steps=7, sampler="Euler a", guidance_scale=6.5, clip_skip=1
    )
    told = provenance.of_picture({**RESULT, "job": provenance.plain(job)}, {"index": 0, "seed": 4})
    (tmp_path / "a.png").write_bytes(pictures.png(np.zeros((16, 24, 3), np.uint8), told))
    lines = Image.open(tmp_path / "a.png").info["parameters"].splitlines()
    assert lines[:2] == ["a boat — ★", "Negative prompt: fog"]
    for part in ("Steps: 7", "Sampler: Euler a", "CFG scale: 6.5", "Seed: 4", "Size: 24x16", "Clip skip: 2"):
        assert part in lines[2].split(", ")
    assert pictures.job_text(tmp_path / "a.png")[0] == told


@pytest.mark.parametrize("text", ["no json", "[]", "null", "{}", '{"kind": 1, "job": {}}', '{"kind": "G", "job": []}',
    '{"kind": "Generate", "job": {"image": {"digest": "zz", "shape": [1]}}}',
    '{"kind": "Generate", "job": {"image": {"digest": 5, "shape": [1]}}}', "[" * 100_000])  # fmt: skip
def test_a_lying_chunk_is_refused(tmp_path, text):
    texts = PngInfo()
    texts.add_itxt("brushwire", text)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=texts)
    with pytest.raises(InvalidValue, match="brushwire"):
        pictures.job_text(tmp_path / "a.png")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5), np.uint8),
        np.ones((4, 5, 1), np.uint8),
        np.ones((4, 5, 4), np.uint8),
        np.full((4, 5), 40_000, np.uint16),
    ],
)
def test_every_bit_survives_a_png(tmp_path, array):
    assert pictures.fits_png(array)
    (tmp_path / "a.png").write_bytes(pictures.png(array))
    read = np.asarray(Image.open(tmp_path / "a.png")).astype(array.dtype)
    np.testing.assert_array_equal(read.reshape(array.shape), array)
