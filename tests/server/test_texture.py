"""Texture jobs, with a painter whose pictures are noise: what comes back, of which size, and in which files."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridge_protocol.blobs import Blob
from bridge_protocol.client import JobResult
from bridge_protocol.jobs import Texture
from bridge_protocol.messages import Output
from bridge_protocol.records import InvalidValue
from depth3d.glb import read_glb
from server import material_folder
from server.engine import relief, torus
from server.engine.errors import Cancelled
from server.engine.materials import Estimates
from server.engine.painting import Painting
from server.verbs import texture
from tests.engine.test_materials import noise
from tests.engine.test_stitching import pebbles

VALIDATE = Path(__file__).parents[1] / "depth3d" / "validate_glb.mjs"
NODE_MODULES = os.environ.get("GLTF_VALIDATOR", "node_modules")


class Reader:
    """Has no model that reads materials."""

    def estimate_material(self, picture, wraps, estimator="", cancelled=None):
        return Estimates()


class NoisePainter(Reader):
    """Paints seamless noise of the size asked for, or darkens the picture given; keeps what it was asked."""

    def paint(self, request, on_progress=None, cancelled=None):
        self.request = request
        if cancelled():
            raise Cancelled
        side = request.width or 64
        # As a model's own pictures lie in memory: one plane of colour after the other.
        planes = np.ascontiguousarray((noise(side) * 255).astype(np.uint8).transpose(2, 0, 1))
        image = planes.transpose(1, 2, 0) if request.image is None else request.image * 0.9
        return Painting([image], [request.seed], side, side, "noise", [], {"sampling": 0.1}, ["told"])


def make(job, painter=None, cancelled=lambda: False):
    arrays = {} if job.image is None else {job.image.ref.digest: pixels(job.image)}
    made = texture.run(job, arrays, painter or NoisePainter(), lambda progress: None, cancelled)
    return {one.name: one for one in made.outputs}, made.info


def pixels(blob):
    return np.frombuffer(blob.data, blob.ref.dtype).reshape(blob.ref.shape)


@pytest.fixture(scope="module")
def photograph():
    return Blob.of((pebbles(160, 200) * 255).astype(np.uint8), color="srgb")


def test_words_become_a_material_whose_every_map_tiles():
    made, info = make(Texture("rusty iron", width=256, height=256, seed=5))
    dtypes = {name: one.array.dtype.name for name, one in made.items()}
    assert dtypes == {
        "albedo": "uint8", "normal": "uint8", "height": "uint16", "roughness": "uint8", "metallic": "uint8",
        "ambient_occlusion": "uint8", "material": "uint8",
    }  # fmt: skip
    for name, one in made.items():
        if name != "material":
            assert one.array.shape[:2] == (256, 256)
            assert max(torus.seam_ratio(one.array)) <= 1.15, name
            assert one.array.flags.c_contiguous, name  # or it could not travel
            assert info["seam_ratios"][name] == [round(ratio, 4) for ratio in torus.seam_ratio(one.array)]
    assert made["albedo"].color == "srgb"
    assert made["normal"].color == "data"
    assert (info["model"], info["seed"], info["fallbacks"]) == ("noise", 5, ["told"])
    assert set(info["sources"]) == set(dtypes) - {"material"}


def test_the_painter_is_asked_for_a_ring_in_windows_of_its_native_size():
    painter = NoisePainter()
    make(Texture("moss", width=256, height=256, steps=7, seamless="x"), painter)
    request = painter.request
    assert (request.seamless_x, request.seamless_y, request.tile, request.steps) == (True, False, "native", 7)


def test_a_photograph_is_made_to_continue_without_a_painter(photograph):
    made, info = make(Texture(image=photograph, maps=["albedo", "height"]), painter=Reader())
    assert list(made) == ["albedo", "height", "material"]
    assert made["albedo"].array.shape == (160, 200, 3)
    assert info["model"] == ""
    assert all(100 < side < 200 for side in info["repeats"])
    assert max(torus.seam_ratio(made["albedo"].array)) <= 1.15


def test_a_photograph_that_is_painted_over_has_a_size_that_can_be_painted(photograph):
    painter = NoisePainter()
    made, info = make(Texture(image=photograph, denoising_strength=0.3), painter)
    assert painter.request.image.shape == (128, 192, 3)
    assert painter.request.denoising_strength == 0.3
    assert any("192 × 128" in said for said in info["fallbacks"])
    assert made["albedo"].array.shape == (128, 192, 3)


def test_one_side_that_is_asked_for_gives_the_other_in_proportion(photograph):
    made, _ = make(Texture(image=photograph, width=400, maps=["albedo"], gltf=False))
    assert list(made) == ["albedo"]
    assert made["albedo"].array.shape == (320, 400, 3)


def test_directx_normals_are_opengl_ones_with_green_turned_around(photograph):
    opengl = make(Texture(image=photograph, maps=["normal"]))[0]["normal"].array
    directx = make(Texture(image=photograph, maps=["normal"], normals="directx"))[0]["normal"].array
    np.testing.assert_array_equal(opengl[..., [0, 2]], directx[..., [0, 2]])
    np.testing.assert_array_equal(opengl[..., 1], 255 - directx[..., 1])


def test_a_picture_too_small_to_be_a_material_is_refused():
    tiny = Blob.of(np.zeros((16, 64, 3), np.uint8), color="srgb")
    with pytest.raises(InvalidValue, match="height 16"):
        make(Texture(image=tiny))


def test_a_cancelled_material_is_not_made(photograph):
    with pytest.raises(Cancelled):
        make(Texture(image=photograph), cancelled=lambda: True)


def test_the_gltf_holds_the_maps_and_khronos_validator_finds_nothing_wrong(photograph, tmp_path):
    made, _ = make(Texture("polished steel", image=photograph, normals="directx"))
    path = tmp_path / "material.glb"
    path.write_bytes(made["material"].array.tobytes())
    mesh, pictures = read_glb(path)
    assert mesh.faces.shape == (2, 3)
    normal = np.asarray(Image.open(io.BytesIO(pictures["normal"])))
    turned = made["normal"].array.copy()
    turned[..., 1] = 255 - turned[..., 1]
    np.testing.assert_array_equal(normal, turned)  # glTF's normals are OpenGL's, whatever was asked for
    rough = np.asarray(Image.open(io.BytesIO(pictures["metallic_roughness"])))
    np.testing.assert_array_equal(rough[..., 1], made["roughness"].array)
    np.testing.assert_array_equal(rough[..., 2], made["metallic"].array)
    if not shutil.which("node") or not (Path(NODE_MODULES) / "gltf-validator").exists():
        pytest.skip("gltf-validator is not installed: npm install gltf-validator, or set GLTF_VALIDATOR")
    found = subprocess.run(["node", VALIDATE, path, NODE_MODULES], capture_output=True, text=True, check=True)
    wrong = [m for m in json.loads(found.stdout)["messages"] if m["severity"] < 2 and "TANGENT_SPACE" not in m["code"]]
    assert wrong == []


def test_the_folder_has_names_that_other_programs_tell_maps_by_and_both_kinds_of_normals(photograph, tmp_path):
    made, info = make(Texture("Old bricks / red!", image=photograph))
    blobs = [Blob.of(one.array, color=one.color) for one in made.values()]
    outputs = [Output(one.name, blob.ref, one.info) for one, blob in zip(made.values(), blobs, strict=True)]
    for expected in ("old-bricks-red", "old-bricks-red-2"):
        paths = material_folder.save(JobResult("id", outputs, blobs, info), tmp_path)
        assert {path.parent for path in paths} == {tmp_path / expected}
    names = {path.name.removeprefix("old-bricks-red") for path in paths}
    assert names == {
        "_basecolor.png", "_normal_opengl.png", "_normal_directx.png", "_height.png", "_roughness.png",
        "_metallic.png", "_ao.png", ".glb",
    }  # fmt: skip
    height = np.asarray(Image.open(tmp_path / "old-bricks-red" / "old-bricks-red_height.png"))
    np.testing.assert_array_equal(height, made["height"].array)
    seen = relief.decoded(np.asarray(Image.open(tmp_path / "old-bricks-red" / "old-bricks-red_normal_opengl.png")))
    assert np.abs(np.linalg.norm(seen, axis=-1) - 1).max() <= 1e-2
