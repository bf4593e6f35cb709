"""Frames and grids: what is painted at each place, and what comes out of it."""

from __future__ import annotations

import numpy as np
import pytest

from bridge_protocol.blobs import Blob
from bridge_protocol.jobs import Axis, Control, Frames, Generate, Grid, Keyframe
from bridge_protocol.records import InvalidValue
from server.engine.detectors import Annotation
from server.engine.painting import Painting, Progress
from server.verbs import frames, grid, verb

PICTURES = [np.full((16, 24, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)]
BLOBS = [Blob.of(picture) for picture in PICTURES]
ARRAYS = {blob.ref.digest: picture for blob, picture in zip(BLOBS, PICTURES, strict=True)}


class Notes:
    """A painter that keeps what it was asked for, and paints a colour that its steps and seed decide."""

    def __init__(self):
        self.requests = []

    def paint(self, request, on_progress=None, cancelled=None):
        self.requests.append(request)
        on_progress(Progress("sampling", 1, 2))
        image = np.zeros((request.height or 64, request.width or 64, 3), np.uint8)
        image[:] = [request.steps, request.seed % 256, 200]
        return Painting([image], [request.seed], 64, 64, "m", [], {"sampling": 1.0}, ["note"])


def test_words_and_seeds_hold_from_their_keyframe_and_strengths_change_between_them():
    keys = [
        Keyframe(3, denoising_strength=0.8, seed=9),
        Keyframe(1, prompt="b", denoising_strength=0.4),
    ]
    job = Frames("a", frames=BLOBS, keyframes=keys, seed=5, denoising_strength=0.1)
    painted = frames.paintings(job)
    assert [one.prompt for one in painted] == ["a", "b", "b", "b", "b"]
    assert [one.seed for one in painted] == [5, 5, 5, 9, 9]
    assert [round(one.denoising_strength, 6) for one in painted] == [0.4, 0.4, 0.6, 0.8, 0.8]
    assert [one.image for one in painted] == BLOBS


def test_frames_come_in_order_with_one_seed_and_progress_over_all():
    painter, told = Notes(), []
    made = verb("Frames")(Frames("a", frames=BLOBS), ARRAYS, painter, told.append, lambda: False)
    assert [out.info["frame"] for out in made.outputs] == [0, 1, 2, 3, 4]
    assert len({request.seed for request in painter.requests}) == 1
    assert [request.image[0, 0, 0] for request in painter.requests] == [10, 20, 30, 40, 50]
    assert [(one.step, one.total) for one in told] == [(1 + 2 * n, 10) for n in range(5)]
    assert made.info["timings"] == {"sampling": 5.0}
    assert made.info["fallbacks"] == ["note"]


class Reading(Notes):
    """The same, that reads white from every picture."""

    def __init__(self):
        super().__init__()
        self.read = []

    def annotate(self, request, on_progress=None, cancelled=None):
        self.read.append(request)
        return Annotation(np.full((*request.image.shape[:2], 3), 255, np.uint8), "canny")


def test_a_detector_reads_the_control_of_all_frames_once():
    painter = Reading()
    job = Frames("a", frames=BLOBS, controls=[Control("canny", BLOBS[0], detector="canny")])
    made = verb("Frames")(job, ARRAYS, painter, lambda progress: None, lambda: False)
    assert [request.detector for request in painter.read] == ["canny"]
    assert all((request.controls[0].array == 255).all() for request in painter.requests)
    assert made.info["job"]["job"]["controls"][0]["detector"] == "canny"


def test_a_detector_reads_the_control_of_each_cell_of_a_grid():
    painter = Reading()
    one = Generate("a", controls=[Control("canny", BLOBS[0], detector="canny")])
    verb("Grid")(Grid(job=one, x=Axis("steps", ["2", "3"])), ARRAYS, painter, lambda progress: None, lambda: False)
    assert [(request.controls[0].array == 255).all() for request in painter.requests] == [True, True]


def test_a_mask_belongs_to_every_frame():
    mask = Blob.of(np.full((16, 24), 255, np.uint8))
    painter = Notes()
    arrays = {**ARRAYS, mask.ref.digest: np.full((16, 24), 255, np.uint8)}
    frames.run(Frames("a", frames=BLOBS[:2], mask=mask), arrays, painter, lambda _: None, lambda: False)
    assert all(request.mask is not None for request in painter.requests)


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (Frames("a", frames=BLOBS, keyframes=[Keyframe(5)]), "keyframes[0].frame"),
        (Frames("a", frames=BLOBS, batch=2), "batch"),
    ],
)
def test_frames_that_cannot_be_are_refused(job, field):
    with pytest.raises(InvalidValue) as error:
        frames.run(job, ARRAYS, Notes(), None, None)
    assert error.value.field == field


def test_a_grid_paints_every_pair_and_tells_where_each_stands():
    painter = Notes()
    job = Grid(Generate("a", width=64, height=72), Axis("steps", ["10", "20", "30"]), Axis("seed", ["1", "2"]))
    made = verb("Grid")(job, {}, painter, lambda _: None, lambda: False)
    assert [(r.steps, r.seed) for r in painter.requests] == [(10, 1), (20, 1), (30, 1), (10, 2), (20, 2), (30, 2)]
    page, *cells = made.outputs
    assert [(out.info["x"], out.info["y"]) for out in cells] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    assert (page.info["columns"], page.info["rows"]) == (
        ["steps: 10", "steps: 20", "steps: 30"], ["seed: 1", "seed: 2"]
    )  # fmt: skip
    for out in cells:
        match = (page.array == out.array[0, 0]).all(axis=-1)
        assert match.sum() == 64 * 72
    assert (page.array < 64).all(axis=-1).sum() > 50, "labels are written in black"


def test_without_a_seed_all_cells_share_one():
    painter = Notes()
    grid.run(Grid(Generate(), Axis("steps", ["1", "2"])), {}, painter, lambda _: None, lambda: False)
    assert len({request.seed for request in painter.requests}) == 1


def test_a_prompt_with_options_becomes_a_matrix():
    assert grid.matrix("a wall|red|{x|y} moss") == [
        "a wall", "a wall, red", "a wall, {x|y} moss", "a wall, red, {x|y} moss"
    ]  # fmt: skip
    columns, _, cells = grid.cells(Grid(Generate(), Axis("prompt", ["a|b", "c"])))
    assert columns == ["a", "a, b", "c"]
    assert [cell.job.prompt for cell in cells] == columns


def test_a_field_within_a_list_can_change():
    control = Control("canny", BLOBS[0])
    _, _, cells = grid.cells(Grid(Generate(controls=[control]), Axis("controls[0].weight", ["0.5", "1.5"])))
    assert [cell.job.controls[0].weight for cell in cells] == [0.5, 1.5]
    assert cells[0].job.controls[0].image == BLOBS[0].ref


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (Grid(Generate(), Axis("stepz", ["1"])), "x.field"),
        (Grid(Generate(), Axis("controls[0].weight", ["1"])), "x.field"),
        (Grid(Generate(), Axis("image", ["a.png"])), "x.field"),
        (Grid(Generate(), Axis("steps", [])), "x.values"),
        (Grid(Generate(), Axis("steps", ["many"])), "steps"),
        (Grid(Generate(), Axis("steps", ["9000"])), "steps"),
        (Grid(Generate(), Axis("prompt", ["a|b|c|d|e|f|g|h"])), "x.values[0]"),
        (Grid(Generate(), Axis("steps", ["1"] * 32), Axis("seed", ["1"] * 32)), "x"),
        (Grid(Generate(batch=2), Axis("steps", ["1"])), "job.batch"),
    ],
)
def test_grids_that_cannot_be_are_refused_by_their_field(job, field):
    with pytest.raises(InvalidValue) as error:
        grid.run(job, {}, Notes(), lambda _: None, lambda: False)
    assert error.value.field == field


def test_a_very_large_grid_is_shown_smaller():
    pictures = [np.zeros((2048, 2048, 3), np.uint8)] * 6
    page = grid.sheet(pictures, ["a"] * 6, [])
    assert max(page.shape) < grid.SHEET * 1.05
