"""What lies in the pixels, in real Blender: meshes painted in a grid and painted over, and ranges of frames."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from depth3d.camera import Camera
from tests.hosts.hosts import changed_paths

HERE = Path(__file__).parent
#: Of each picture; six of them make a sheet of 3×2.
SIDE = 96


@pytest.fixture(scope="module")
def modes(blender):
    out = blender.folder / "modes"
    out.mkdir()
    blender("--python-exit-code", "9", "-P", HERE / "blender_modes.py", "--", out)
    return {**json.loads((out / "report.json").read_text()), "out": out}


def read(folder, name):
    data = np.load(folder / f"{name}.npz")
    cameras = [Camera.from_dict(one) for one in json.loads(str(data["cameras"]))]
    return SimpleNamespace(**{key: data[key] for key in data.files if key != "cameras"}, cameras=cameras)


def sheet(place):
    """What the painter's ramps hold in one place of the grid, (SIDE, SIDE, 3)."""
    row, column = divmod(place, 3)
    red = np.linspace(0, 255, 3 * SIDE)[column * SIDE :][:SIDE]
    green = np.linspace(0, 255, 2 * SIDE)[row * SIDE :][:SIDE]
    return np.stack(np.broadcast_arrays(red[None], green[:, None], 60.0), axis=-1)


def placed(cube):
    """For places all over the cube: their colours in the texture, and those where their own camera sees them."""
    found, expected = [], []
    for corners, uvs in zip(cube.corners, cube.uvs, strict=True):
        middle = corners.mean(axis=0)
        outward = middle - cube.corners.mean(axis=(0, 1))
        facing = [outward @ (camera.position - middle) for camera in cube.cameras]
        index = int(np.argmax(facing))
        camera = cube.cameras[index]
        for a, b in ((0.5, 0.5), (0.2, 0.3), (0.8, 0.25), (0.3, 0.8), (0.75, 0.7)):
            point = corners[0] + a * (corners[1] - corners[0]) + b * (corners[3] - corners[0])
            u, v = uvs[0] + a * (uvs[1] - uvs[0]) + b * (uvs[3] - uvs[0])
            height, width = cube.texture.shape[:2]
            found.append(cube.texture[int((1 - v) * height), int(u * width)])
            (x, y), _ = camera.project(point)
            expected.append(sheet(index)[int(y), int(x)])
    return np.array(found, float), np.array(expected)


def assert_is_a_grid(cube):
    assert len(cube.pictures) == 6
    for place, picture in enumerate(cube.pictures):
        assert np.abs(picture[..., :3] - sheet(place)).max() <= 1
    found, expected = placed(cube)
    assert (found[:, 3] == 255).all()
    assert np.abs(found[:, :3] - expected).max() < 5


def assert_is_inverted(after, before):
    covered = (after.texture[..., 3] == 255) & (before.texture[..., 3] == 255)
    assert covered.mean() > 0.3
    off = np.abs(after.texture.astype(float) + before.texture - 255)[covered][:, :3].max(axis=1)
    # All of it; but for the rims of its faces, where the picture of the old texture ends.
    assert np.percentile(off, 90) < 6
    found, expected = placed(after)
    assert np.abs(255 - found[:, :3] - expected).max() < 8


def test_all_at_once_each_view_is_its_place_in_one_picture_and_lies_where_its_camera_saw_it(modes):
    assert modes["grid"]["ended"] == ["FINISHED"]
    grid = read(modes["out"], "grid")
    assert_is_a_grid(grid)
    assert "meshes[Cube].uv_layers" in changed_paths(modes["grid"])
    again = read(modes["out"], "rebaked")
    assert modes["rebake"]["ended"] == ["FINISHED"]
    assert np.abs(again.texture.astype(int) - grid.texture).max() <= 1


def test_painting_over_takes_the_present_texture_and_puts_what_became_of_it_in_its_place(modes):
    assert modes["refine"]["ended"] == ["FINISHED"]
    before, after = read(modes["out"], "rebaked"), read(modes["out"], "refined")
    assert after.texture.shape == before.texture.shape
    assert (after.uvs == before.uvs).all()
    assert_is_inverted(after, before)


def test_painting_over_a_mesh_for_the_first_time_begins_with_what_its_materials_show(modes):
    assert modes["first_time"]["ended"] == ["FINISHED"]
    cube = read(modes["out"], "first_time")
    height, width = cube.texture.shape[:2]
    for face, (uvs, own) in enumerate(zip(cube.uvs, cube.own_uvs, strict=True)):
        for a, b in ((0.5, 0.5), (0.25, 0.3), (0.75, 0.25), (0.3, 0.75), (0.7, 0.7)):
            u, v = uvs[0] + a * (uvs[1] - uvs[0]) + b * (uvs[3] - uvs[0])
            own_u, own_v = own[0] + a * (own[1] - own[0]) + b * (own[3] - own[0])
            worn = (255, 0, 0) if face == 2 else (255 * (own_u / 2 + 0.25), 255 * (own_v / 2 + 0.125), 60)
            found = cube.texture[int((1 - v) * height), int(u * width)]
            assert found[3] == 255
            assert np.abs(255 - found[:3].astype(float) - worn).max() < 8, face  # the painter inverts


def test_the_command_line_paints_all_at_once_and_over_what_is_there(modes, blender, brushwire):
    out = modes["out"]
    small = ("--set", f"rig_size=[{SIDE}, {SIDE}]", "--set", "steps=2", "--set", "follow_depth=0")
    for name, source, options in (
        ("line_grid", "plain", ("--prompt", "ramps", "--set", "mode=grid", "--set", "rig=CUBE")),
        ("line_refined", "line_grid", ("--prompt", "rust", "--set", "mode=refine", "--set", "rig=CUBE")),
    ):
        file = out / f"{name}.blend"
        done = brushwire(
            "paint_mesh", out / f"{source}.blend", "--object", "Cube", *small, *options, "--set", "width=128", "--set",
            "height=128", "--out", file,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        blender(file, "--python-exit-code", "9", "-P", HERE / "blender_modes.py", "--", out, name)
    assert_is_a_grid(read(out, "line_grid"))
    assert_is_inverted(read(out, "line_refined"), read(out, "line_grid"))


def frame(folder, number):
    return np.asarray(Image.open(folder / f"frame_{number:04}.png").convert("RGB")).astype(int)


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (128, 160, 3), np.uint8).astype(int)


def test_seed_strength_and_words_change_over_a_range_of_frames(modes):
    assert modes["keyframes"]["ended"] == ["FINISHED"]
    folder = modes["out"] / "animated"
    for number, seed in ((1, 10), (2, 25), (3, 7)):
        assert (frame(folder, number) == noise(seed)).all()
    for number, strength in ((4, 0.2), (5, 0.8)):  # from the marker on the painter paints the strength
        assert (frame(folder, number) == round(255 * strength)).all()
    assert changed_paths(modes["keyframes"]) == {"images", "node_groups"}
    assert modes["seed_after"] == 25


def test_a_range_that_broke_off_goes_on_with_what_is_missing(modes):
    assert modes["broken"]["ended"] == ["ERROR"]
    assert "Frame 3" in modes["broken"]["said"]
    assert modes["broken"]["changed"] == []
    assert "frame_0003.png" not in modes["broken_files"]
    assert {"frame_0001.png", "frame_0002.png"} <= set(modes["broken_files"]) <= set(modes["resumed_files"])
    assert modes["resumed"]["ended"] == ["FINISHED"]
    assert modes["resumed_files"] == [f"frame_{number:04}.png" for number in range(1, 6)]
    assert modes["kept"]
    assert modes["asked_again"] == 5 - len(modes["broken_files"])
    assert modes["nothing_to_do"]["ended"] == ["FINISHED"]
    assert modes["asked_at_last"] == modes["asked_again"]
    assert modes["sequences"] == ["Scene painted"]
    assert modes["groups"] == ["Scene painted"]


def test_painted_frames_are_a_node_of_the_compositor_which_renders_them(modes):
    assert modes["composited"]["ended"] == ["FINISHED"]
    assert not modes["linked_before"]
    assert modes["group_nodes"] == 1
    for number in (1, 3):
        rendered = np.asarray(Image.open(modes["out"] / f"rendered_{number}.png").convert("RGB")).astype(int)
        assert np.abs(rendered - noise(5 * number)).max() <= 1
