"""The history: settings, thumbnails and results as files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob
from bridge_protocol.handle import JobResult
from plugins.common.history import Entry, History
from plugins.common.thumbnails import Picture, png, thumbnail


def result(job_id, array, color="srgb"):
    blob = Blob.of(np.ascontiguousarray(array), color=color)
    return JobResult(job_id, [m.Output("image", blob.ref, {"seed": 7})], [blob], {"model": "small"})


def half_red_half_blue(height, width, channels=3):
    array = np.zeros((height, width, channels), np.uint8)
    array[:, : width // 2, 0] = 255
    array[:, width // 2 :, 2] = 255
    array[..., 3:] = 255
    return array


def test_what_was_asked_and_made_is_there_after_a_restart(tmp_path):
    history = History(tmp_path)
    entry = history.add(Entry("job-1", "Generate", "a boat", {"prompt": "a boat", "steps": 30}, {"document": "d1"}))
    picture = half_red_half_blue(300, 400)
    history.finish(entry, result("job-1", picture))
    again = History(tmp_path)
    entry = again.get("job-1")
    assert (entry.state, entry.values, entry.place) == (
        "finished",
        {"prompt": "a boat", "steps": 30},
        {"document": "d1"},
    )
    assert (entry.info, entry.outputs[0]["info"], entry.placed) == ({"model": "small"}, {"seed": 7}, False)
    [blob] = again.blobs(entry)
    assert np.array_equal(np.frombuffer(blob.data, np.uint8).reshape(blob.ref.shape), picture)
    small = np.asarray(Image.open(again.thumbnail("job-1")))
    assert small.shape == (120, 160, 3)
    assert (small[:, :79] == (255, 0, 0)).all()
    assert (small[:, 81:] == (0, 0, 255)).all()


def test_the_newest_comes_first_and_every_word_is_searched(tmp_path):
    history = History(tmp_path)
    for index, prompt in enumerate(["a red boat", "a blue boat", "a house"]):
        history.add(Entry(f"job-{index}", "Generate", prompt, {"prompt": prompt}, asked=index + 1.0))
    assert [entry.title for entry in history.search("BOAT a")] == ["a blue boat", "a red boat"]
    assert history.search("boat", kind="Texture") == []


def test_the_oldest_are_forgotten_but_none_that_waits_for_its_place(tmp_path):
    history = History(tmp_path, max_entries=3)
    for index in range(6):
        entry = history.add(Entry(f"job-{index}", "Generate", asked=index + 1.0, placed=index != 1))
        history.finish(entry, result(entry.id, np.zeros((8, 8, 3), np.uint8)))
    assert [entry.id for entry in history.entries] == ["job-5", "job-4", "job-1"]
    assert {path.name for path in tmp_path.iterdir()} == {"job-5", "job-4", "job-1"}


def test_pixels_are_bounded_in_bytes(tmp_path):
    history = History(tmp_path, max_bytes=300_000)
    for index in range(4):
        entry = history.add(Entry(f"job-{index}", "Generate", asked=index + 1.0, placed=True))
        history.finish(entry, result(entry.id, np.zeros((200, 200, 3), np.uint8)))
    assert [entry.id for entry in history.entries] == ["job-3", "job-2"]


def test_what_cannot_be_read_is_left_out_and_lost_pixels_are_told(tmp_path):
    history = History(tmp_path)
    entry = history.add(Entry("job-1", "Generate"))
    entry = history.finish(entry, result("job-1", np.zeros((8, 8, 3), np.uint8)))
    (tmp_path / "job-1" / "0.raw").write_bytes(b"cut")
    assert history.blobs(entry) is None
    (tmp_path / "job-2").mkdir()
    (tmp_path / "job-2" / "entry.json").write_text("{")
    assert [entry.id for entry in History(tmp_path).entries] == ["job-1"]


def test_a_job_id_never_leaves_the_folder(tmp_path):
    History(tmp_path / "history").add(Entry("../../evil", "Generate"))
    assert {path.name for path in tmp_path.iterdir()} == {"history"}


def test_an_entry_travels_in_a_document():
    entry = Entry("job-1", "Generate", "a boat", {"steps": 3})
    assert Entry.from_plain({**entry.to_plain(), "of a newer version": 1}) == entry


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((700, 500), 200, np.uint8), 200),
        (np.full((64, 64, 1), 200, np.uint8), 200),
        (np.full((500, 700, 4), 200 * 257, np.uint16), 200),
        (np.full((40, 30, 3), 0.5, np.float32), 128),
        (np.full((40, 30, 3), 7.0, np.float16), 255),
        (np.full((40, 30, 3), np.nan, np.float32), 0),
    ],
)
def test_a_thumbnail_is_made_of_every_kind_of_picture(array, expected):
    small = thumbnail(Blob.of(array))
    pixels = np.frombuffer(small.pixels, np.uint8).reshape(small.height, small.width, small.channels)
    assert max(small.width, small.height) == min(160, max(array.shape[:2]))
    assert (pixels == expected).all()


def test_what_is_no_picture_has_no_thumbnail():
    assert thumbnail(Blob.of(b"glTF" * 100)) is None
    assert thumbnail(Blob.of(np.zeros((8, 8, 2), np.uint8))) is None


def test_a_png_is_read_back_bit_for_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (17, 23, 4), np.uint8)
    data = png(Picture(23, 17, 4, pixels.tobytes()))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
