"""Lines of meshes: those that real Freestyle renders, without its render."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tests.hosts import hosts

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def drawn(shared_folder):
    reason = hosts.missing("blender")
    if reason:
        pytest.skip(reason)
    command = ["blender", "-b", "--factory-startup", "--python-exit-code", "9", "-P", HERE / "blender_lines.py"]
    ran = hosts.run(*command, "--", shared_folder, env=hosts.environment(shared_folder), timeout=200)
    assert ran.returncode == 0, ran.stdout[-6000:]
    data = np.load(shared_folder / "lines.npz")
    theirs = np.asarray(Image.open(shared_folder / "freestyle.png").convert("L"))
    maps = {name: data[name][..., 0] > 0 for name in data.files}
    return {**json.loads((shared_folder / "lines.json").read_text()), **maps, "freestyle": theirs}


def near(lines, others):
    """The share of lines' pixels that lie at most a pixel and a half from others'."""
    away = ndimage.distance_transform_edt(~others)
    return (away[lines] <= 1.5).mean()


def test_the_lines_of_meshes_are_where_freestyle_draws_them(drawn):
    theirs = drawn["freestyle"] > 100
    assert 0.01 < theirs.mean() < 0.15
    assert near(drawn["ours"], theirs) > 0.97
    assert near(theirs, drawn["ours"]) > 0.97


def test_a_marked_edge_is_a_line_where_nothing_bends(drawn):
    assert drawn["marked"] == 8
    only_marked = drawn["ours"] & ~drawn["unmarked"]
    assert only_marked.sum() > 40
    assert near(only_marked, drawn["freestyle"] > 100) > 0.95
    assert near(only_marked, drawn["picture"]) < 0.5  # the picture shows nothing there


def test_the_crease_angle_is_freestyles_and_its_settings_and_all_else_stay(drawn):
    assert drawn["crease"] == pytest.approx(180 - 134.43, abs=0.01)
    assert drawn["changed"] == []
