"""Depth maps that become meshes: the whole way over a real socket, and from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeError
from bridge_protocol.jobs import Camera, Mesh
from bridge_protocol.records import InvalidValue
from depth3d.glb import read_glb
from depth3d.load import load_mesh
from depth3d.read import read_values
from depth3d.write import write_depth
from server.settings import Settings
from server.verbs import mesh as verb
from tests.server import command
from tests.server.conftest import RunningServer

ROOT = Path(__file__).parents[2]
SIZE = 48


def step_map():
    """A wall at 4, a square at 2 before it."""
    depth = np.full((SIZE, SIZE), 4, np.float32)
    depth[16:32, 16:32] = 2
    return depth


def colours():
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[..., 2] = 200
    picture[16:32, 16:32] = (220, 30, 30)
    return picture


CAMERA = Camera(SIZE, SIZE, 60.0, 60.0, SIZE / 2, SIZE / 2)


class NoPainter:
    """A painter that has no models."""


def made(**fields):
    """What the verb makes of a job, with what it was told on the way."""
    blobs = {name: Blob.of(value) for name, value in fields.items() if isinstance(value, np.ndarray)}
    arrays = {blob.ref.digest: fields[name] for name, blob in blobs.items()}
    painter, cancelled = fields.pop("painter", NoPainter()), fields.pop("cancelled", lambda: False)
    phases = []
    job = Mesh(**{**fields, **blobs})
    made = verb.run(job, arrays, painter, lambda progress: phases.append(progress.phase), cancelled)
    return {one.name: one for one in made.outputs}, made.info, phases


def loaded(outputs, tmp_path):
    path = tmp_path / outputs["mesh"].info["filename"]
    path.write_bytes(outputs["mesh"].array.tobytes())
    return load_mesh(path)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A client of a server that has the real engine and the model that ships with it."""
    folder = tmp_path_factory.mktemp("server")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    (folder / "run").mkdir(mode=0o700)
    server = RunningServer(Settings(models=(folder / "models",), data=folder / "data", runtime=folder / "run"))
    with server.client() as client:
        client.settings = server.settings
        yield client
    server.stop()


# -- over the socket


def test_a_depth_map_becomes_a_textured_glb_with_the_camera_at_its_origin(real, tmp_path):
    job = Mesh(depth=Blob.of(step_map()), image=Blob.of(colours(), color="srgb"), camera=CAMERA)
    result = real.run(job, timeout=200)
    outputs = dict(zip((output.name for output in result.outputs), result.blobs, strict=True))
    (tmp_path / "mesh.glb").write_bytes(outputs["mesh"].data)
    mesh, pictures = read_glb(tmp_path / "mesh.glb")
    assert sorted(np.unique(mesh.vertices[:, 2].round(5))) == [-4, -2]
    # Half a pixel either way would show here: the frame's left border is at −24 / 60 of the depth.
    far = mesh.vertices[:, 2] < -3
    assert mesh.vertices[far, 0].min() == pytest.approx(-4 * 24 / 60, abs=1e-5)
    assert mesh.vertices[far, 1].max() == pytest.approx(4 * 24 / 60, abs=1e-5)
    assert pictures["base_colour"][:4] == b"\x89PNG"
    assert result.info["triangles"] == len(mesh.faces) == 2 * SIZE * SIZE
    assert result.outputs[0].info["format"] == "glb"
    preview = np.frombuffer(outputs["preview"].data, np.uint8).reshape(outputs["preview"].ref.shape)
    assert preview.shape == (512, 512, 3)
    assert ((preview == (220, 30, 30)).all(-1)).mean() > 0.05


def test_the_model_paints_the_hidden_background_and_keeps_what_is_seen(real):
    job = Mesh(
        depth=Blob.of(step_map()), image=Blob.of(colours(), color="srgb"), camera=CAMERA, inpaint=True,
        prompt="a brick wall", seed=3,
    )  # fmt: skip
    phases = []
    result = real.run(job, timeout=200, on_event=lambda event: phases.append(getattr(event, "phase", "")))
    assert "sampling" in phases
    plain = real.run(Mesh(depth=job.depth, image=job.image, camera=CAMERA, layers=True), timeout=200)
    assert result.info["triangles"] == plain.info["triangles"] > 2 * SIZE * SIZE
    assert bytes(result.blobs[0].data) != bytes(plain.blobs[0].data)


def test_a_picture_alone_without_a_depth_model_is_refused_with_what_to_download(real):
    with pytest.raises(BridgeError) as error:
        real.run(Mesh(image=Blob.of(colours(), color="srgb")), timeout=200)
    assert error.value.code == "unknown_model"
    assert "Download" in error.value.remedy


# -- what the fields mean


def test_all_kinds_of_one_view_give_one_mesh(tmp_path):
    depth = step_map()
    rays = (np.indices(depth.shape)[::-1] + 0.5 - SIZE / 2) / 60
    ray = np.sqrt(1 + (rays**2).sum(0)).astype(np.float32)
    expected = loaded(made(depth=depth, camera=CAMERA)[0], tmp_path)
    millimetres = (depth * 1000).astype(np.uint16)
    disparity = 60 * 0.1 / depth - 0.5
    relative = (1 / depth).astype(np.float32)
    for fields in (
        {"depth": millimetres, "unit": 0.001},
        {"depth": depth * ray, "kind": "radius"},
        {"depth": disparity, "kind": "disparity", "baseline": 0.1, "doffs": 0.5},
        {"depth": relative * 7 + 3, "kind": "relative", "near": 2.0, "far": 4.0},
    ):
        mesh = loaded(made(camera=CAMERA, **fields)[0], tmp_path)
        assert np.allclose(mesh.vertices, expected.vertices, atol=1e-3), fields


def test_a_camera_of_another_size_is_scaled_to_the_map_and_one_of_another_aspect_refused(tmp_path):
    double = Camera(2 * SIZE, 2 * SIZE, 120.0, 120.0, SIZE, SIZE)
    mesh = loaded(made(depth=step_map(), camera=double)[0], tmp_path)
    assert np.allclose(mesh.vertices, loaded(made(depth=step_map(), camera=CAMERA)[0], tmp_path).vertices)
    with pytest.raises(InvalidValue, match="aspect"):
        made(depth=step_map(), camera=Camera(SIZE, 2 * SIZE, 60.0, 60.0, 24.0, 48.0))


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "usdz"])
def test_every_format_comes_as_files_of_the_name_that_was_asked_for(suffix, tmp_path):
    if suffix == "usdz":
        pytest.importorskip("pxr", reason="usd-core is not installed")
    outputs, info, phases = made(depth=step_map(), image=colours(), camera=CAMERA, format=suffix, name="my thing")
    assert outputs["mesh"].info["filename"] == f"my thing.{suffix}"
    assert {"meshing", "writing", "rendering"} <= set(phases)
    if suffix == "obj":
        assert b"mtllib my thing.mtl" in outputs["mesh"].array.tobytes()
        assert outputs["material"].info["filename"] == "my thing.mtl"
    if suffix != "usdz":
        assert len(loaded(outputs, tmp_path).faces) == info["triangles"]


def test_points_have_normals_and_colours(tmp_path):
    outputs, _, _ = made(depth=step_map(), image=colours(), camera=CAMERA, shape="points", format="ply")
    cloud = loaded(outputs, tmp_path)
    assert len(cloud.vertices) == SIZE * SIZE
    assert cloud.vertices[:, 2].max() == -2
    assert (cloud.normals[:, 2] > 0.5).all()
    assert {tuple(colour) for colour in cloud.colours} == {(220, 30, 30), (0, 0, 200)}


def test_a_relief_is_closed_and_as_wide_and_high_as_asked(tmp_path):
    from depth3d.relief import is_watertight

    fields = {"depth": step_map(), "camera": CAMERA, "shape": "relief", "format": "stl", "relief_height": 0.1}
    mesh = loaded(made(**fields, base=0.02)[0], tmp_path)
    assert is_watertight(mesh)
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([100, 100, 12])


def test_a_height_field_becomes_a_terrain_with_its_picture_on_it(tmp_path):
    heights = np.zeros((SIZE, SIZE), np.float32)
    heights[5, 7] = 100
    outputs, _, _ = made(depth=heights, image=colours(), kind="height", shape="terrain", width=47.0, relief_height=0.1)
    mesh = loaded(outputs, tmp_path)
    peak = mesh.vertices[mesh.vertices[:, 1].argmax()]
    assert peak == pytest.approx([7, 4.7, 5], abs=1e-4)
    assert mesh.uvs[mesh.vertices[:, 1].argmax()] == pytest.approx([7.5 / SIZE, 5.5 / SIZE])


def test_a_simplified_mesh_gets_the_details_as_a_normal_map(tmp_path):
    rows, columns = np.indices((96, 96))
    depth = (4 + 0.05 * np.sin(rows / 3) * np.sin(columns / 3)).astype(np.float32)
    camera = Camera(96, 96, 100.0, 100.0, 48.0, 48.0)
    outputs, info, _ = made(depth=depth, camera=camera, triangles=800, normal_map=True)
    (tmp_path / "m.glb").write_bytes(outputs["mesh"].array.tobytes())
    mesh, pictures = read_glb(tmp_path / "m.glb")
    assert len(mesh.faces) == info["triangles"] < 2000
    (tmp_path / "n.png").write_bytes(pictures["normal"])
    normals = np.asarray(Image.open(tmp_path / "n.png"))
    assert normals.shape == (96, 96, 3)
    assert normals[..., 0].std() > 5


def test_layers_with_a_normal_map_keep_the_two_pictures_of_one_size(tmp_path):
    outputs, _, _ = made(depth=step_map(), image=colours(), camera=CAMERA, layers=True, normal_map=True)
    (tmp_path / "m.glb").write_bytes(outputs["mesh"].array.tobytes())
    _, pictures = read_glb(tmp_path / "m.glb")
    sizes = []
    for data in pictures.values():
        (tmp_path / "p.png").write_bytes(data)
        sizes.append(Image.open(tmp_path / "p.png").size)
    assert sizes[0] == sizes[1]


def test_a_picture_alone_is_read_by_the_painters_depth_model_and_the_depth_comes_along(tmp_path):
    class Reader(NoPainter):
        def estimate_depth(self, picture, detector):
            assert detector == "this-one"
            return picture[..., 0].astype(np.float32) / 255, "relative"

    outputs, info, phases = made(
        image=colours(), camera=CAMERA, painter=Reader(), detector="this-one", near=2.0, far=4.0
    )
    assert sorted(np.unique(loaded(outputs, tmp_path).vertices[:, 2].round(4))) == [-4, -2]
    assert outputs["depth"].info["kind"] == "relative"
    assert np.array_equal(outputs["depth"].array, colours()[..., 0].astype(np.float32) / 255)
    assert "reading" in phases
    assert any("read from the picture" in note for note in info["fallbacks"])


def test_eight_bits_are_used_and_told():
    grey = np.where(step_map() == 2, 255, 40).astype(np.uint8)
    _, info, _ = made(depth=grey, kind="relative")
    assert any("8 bits" in note for note in info["fallbacks"])


def test_a_panorama_closes_around_its_camera(tmp_path):
    around = Camera(64, 32, 64 / (2 * np.pi), 32 / np.pi, 32.0, 16.0, "equirectangular")
    mesh = loaded(made(depth=np.full((32, 64), 3, np.float32), camera=around)[0], tmp_path)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(3, abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"depth": np.full((4, 4), np.nan, np.float32)}, "empty"),
        ({"depth": np.full((4, 4), np.inf, np.float32)}, "empty"),
        ({"depth": np.zeros((4, 4), np.float32)}, "empty"),
        ({"depth": np.ones((4, 4, 3), np.float32)}, "uint8, uint16, float16 or float32"),
        ({"depth": np.ones((4, 4), np.float32), "image": np.zeros((4, 9, 3), np.uint8)}, "aspects"),
        ({"depth": np.ones((1, 4), np.float32), "shape": "relief"}, "2×2"),
    ],
)
def test_what_cannot_become_a_mesh_is_refused_in_a_sentence(fields, said):
    with pytest.raises(Exception, match=said) as error:
        made(**fields)
    assert error.value.remedy


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "depth"),
        ({"kind": "disparity"}, "baseline"),
        ({"kind": "height"}, "shape"),
        ({"near": 3.0, "far": 2.0}, "near"),
        ({"shape": "points"}, "format"),
        ({"inpaint": True}, "inpaint"),
        ({"name": "../../etc/passwd"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"up": "+z"}, "up"),
        ({"unit": 0.0}, "unit"),
    ],
)
def test_fields_that_do_not_go_together_are_named(fields, field):
    with pytest.raises(InvalidValue) as error:
        Mesh(**({"depth": Blob.of(step_map())} if fields else {}), **fields)
    assert error.value.field == field


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (6, 5), (2, 30_000)])
@pytest.mark.parametrize("kind", ["metric", "relative", "radius"])
def test_constant_maps_single_pixels_and_strips_become_flat_meshes(shape, kind, tmp_path):
    fov = 1.0 if kind == "radius" else 50.0  # narrow, or a constant radius would be a ball
    outputs, info, _ = made(depth=np.full(shape, 3, np.float32), kind=kind, near=3.0, fov=fov, preview_size=16)
    mesh = loaded(outputs, tmp_path)
    assert len(mesh.faces) == info["triangles"] == 2 * shape[0] * shape[1]
    assert mesh.vertices[:, 2] == pytest.approx(-3, rel=5e-3)


def test_holes_are_open_unless_they_are_to_be_filled():
    depth = step_map()
    depth[0, :3] = (np.nan, 0, -np.inf)
    depth[40:44, 10:14] = np.nan
    _, left_open, _ = made(depth=depth, camera=CAMERA)
    assert (left_open["holes"], left_open["triangles"]) == (19, 2 * (SIZE * SIZE - 19))
    _, filled, _ = made(depth=depth, camera=CAMERA, fill_holes=True)
    assert filled["triangles"] == 2 * SIZE * SIZE
    assert filled["farthest"] == pytest.approx(4)


def test_a_cancelled_mesh_is_not_made():
    from server.engine.errors import Cancelled

    with pytest.raises(Cancelled):
        made(depth=step_map(), cancelled=lambda: True)


# -- the command line


@pytest.fixture
def brushwire(real, tmp_path):
    """Runs `brushwire mesh`."""
    return partial(command.brushwire, tmp_path, real.settings.runtime, "mesh")


def test_a_disparity_map_with_its_numbers_becomes_metres(brushwire, tmp_path):
    np.save(tmp_path / "disp.npy", 60 * 0.1 / step_map() - 0.5)
    Image.fromarray(colours()).save(tmp_path / "left.png")
    done = brushwire(
        "disp.npy", "--kind", "disparity", "--image", "left.png", "--fx", 60, "--fy", 60, "--cx", 23.5, "--cy", 23.5,
        "--pixel-centre", 0, "--baseline", 0.1, "--doffs", 0.5, "-o", "out/thing.glb",
    )  # fmt: skip
    assert done.stdout.split() == ["out/thing.glb", "out/thing-preview.png"]
    mesh, pictures = read_glb(tmp_path / "out" / "thing.glb")
    far = mesh.vertices[:, 2] < -3
    assert mesh.vertices[~far, 2] == pytest.approx(-2, abs=1e-4)
    assert mesh.vertices[far, 0].min() == pytest.approx(-4 * 24 / 60, abs=1e-4)
    assert "base_colour" in pictures
    assert Image.open(tmp_path / "out" / "thing-preview.png").size == (512, 512)


def test_a_calibration_file_stands_for_all_the_numbers(brushwire, tmp_path):
    write_depth(60 * 0.1 / step_map() - 0.5, tmp_path / "disp.pfm")
    (tmp_path / "calib.txt").write_text(
        "cam0=[120 0 47.5; 0 120 47.5; 0 0 1]\ndoffs=1\nbaseline=100\nwidth=96\nheight=96\n"
    )
    done = brushwire("disp.pfm", "--calibration", "calib.txt")
    assert "disparity" in done.stderr
    assert read_glb(tmp_path / "disp.glb")[0].vertices[:, 2].max() == pytest.approx(-2, abs=1e-4)


@pytest.mark.parametrize(
    ("convention", "steps", "calibration"),
    [("tum", 5000, "60 60 23.5 23.5\n"), ("kitti-depth", 256, "P2: 60 0 23.5 0 0 60 23.5 0 0 0 1 0\n")],
)
def test_the_conventions_of_data_sets_are_known(brushwire, tmp_path, convention, steps, calibration):
    depth = step_map()
    depth[0, 0] = 0
    write_depth(depth, tmp_path / "d.png", steps=steps)
    assert read_values(tmp_path / "d.png").dtype == np.uint16
    (tmp_path / "c.txt").write_text(calibration)
    done = brushwire("d.png", "--convention", convention, "--calibration", "c.txt", "-o", "d.ply")
    assert "1 of 2304 pixels have no depth" in done.stderr
    mesh = load_mesh(tmp_path / "d.ply")
    assert sorted(np.unique(mesh.vertices[:, 2].round(4))) == [-4, -2]
    assert mesh.vertices[:, 1].min() == pytest.approx(-4 * 24 / 60, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing.npy",), ["source is 'nothing.npy'", "no file"]),
        (("cut.npy",), ["cut off"]),
        (("grey.png",), ["--kind relative"]),
        (("d.npy", "-o", "out.xyz"), ["format is 'xyz'", "'glb'"]),
        (("d.npy", "--convention", "sintel"), ["convention is 'sintel'", "kitti-depth"]),
        (("d.npy", "--kind", "disparity"), ["baseline is None"]),
        (("d.npy", "--calibration", "d.npy"), ["calibration is 'd.npy'", "Middlebury"]),
        (("d.npy", "--cx", "3"), ["fx is None"]),
        (("d.npy", "--layers", "perhaps"), ["layers is 'perhaps'"]),
        (("d.xyz",), ["source is 'd.xyz'", ".exr"]),
    ],
)
def test_a_wrong_argument_exits_with_2_and_says_what_to_do(brushwire, tmp_path, arguments, said):
    np.save(tmp_path / "d.npy", step_map())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "d.npy").read_bytes()[:5000])
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "grey.png")
    done = brushwire(*arguments, code=2)
    for words in said:
        assert words in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("*.glb"))


def test_the_servers_and_the_commands_own_process_never_import_torch():
    script = (
        "import sys; import server.cli, server.verbs.mesh;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'open3d', 'pxr')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
