"""A depth map that nobody here made, from files to a mesh that looks right from the front and from both sides.

The Middlebury 2014 pair "Motorcycle" (Scharstein et al., High-resolution stereo datasets, GCPR 2014), as scikit-image
ships it: a quarter of its size, disparity by structured light, with the calibration that its documentation gives.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scene
from PIL import Image

from depth3d.export import export_mesh
from depth3d.load import load_mesh
from depth3d.pipeline import mesh_from_depth, orbited
from depth3d.read import read_depth
from depth3d.render import rasterise, render
from depth3d.rigs import shifted

skimage = pytest.importorskip("skimage", reason="scikit-image, which ships the pair, is not installed")

CALIBRATION = (
    "cam0=[994.978 0 311.193; 0 994.978 254.877; 0 0 1]\ndoffs=31.086\nbaseline=193.001\nwidth=741\nheight=500\n"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motorcycle")
    data = Path(skimage.__file__).parent / "data"
    with np.load(data / "motorcycle_disp.npz") as archive:
        np.save(folder / "disp.npy", archive["arr_0"])
    (folder / "calib.txt").write_text(CALIBRATION)
    return folder / "disp.npy", folder / "calib.txt", data / "motorcycle_left.png", folder


@pytest.fixture(scope="module")
def view(files):
    disparity, calibration, left, folder = files
    read = read_depth(disparity, kind="disparity", calibration=calibration)
    report = mesh_from_depth(read.depth, read.camera, np.asarray(Image.open(left)), fill=True, layers=True)
    export_mesh(report.mesh, folder / "motorcycle.glb")
    return read, report, load_mesh(folder / "motorcycle.glb").turned("-y")


def seen(mesh, camera):
    picture = render(mesh.vertices, mesh.faces, camera, uvs=mesh.uvs, texture=mesh.texture)
    return picture[..., :3], picture[..., 3] > 0


def test_depths_are_those_of_the_calibration(files, view):
    read, report, _ = view
    disparity = np.load(files[0])
    known = np.isfinite(disparity)
    depth = read.depth.metric()
    assert np.allclose(depth[known], 994.978 * 0.193001 / (disparity[known] + 31.086), rtol=1e-5)
    # The makers' own bounds on it: from the front wheel at 2 m to the shed's wall at 5 m.
    assert depth[known].min() == pytest.approx(2.11, abs=0.05)
    assert depth[known].max() == pytest.approx(5.02, abs=0.05)
    assert "7.3 %" in report.warnings[0]


def test_from_the_front_it_is_the_picture(files, view):
    read, _, mesh = view
    drawn, covered = seen(mesh, read.camera)
    assert covered.mean() > 0.999
    assert scene.psnr(drawn, np.asarray(Image.open(files[2])), covered) > 24


@pytest.mark.parametrize("turn", [-15, 15])
def test_from_the_side_the_motorcycle_stands_whole_before_a_closed_background(view, turn):
    read, _, mesh = view
    camera = orbited(read.camera, mesh, turn)
    _, covered = seen(mesh, camera)
    # Without what the frame's own border cuts off. What is left open are slits between leaning sheets, 1.6 % at most.
    assert covered[100:400, 150:600].mean() > 0.98
    depth = rasterise(mesh.vertices, mesh.faces, camera).depth[100:400, 150:600]
    assert np.percentile(depth[np.isfinite(depth)], 1) > 1.8


def test_the_right_eye_sees_what_the_right_camera_saw(files, view):
    read, _, mesh = view
    # The rig's right camera: its principal point lies doffs further right.
    right = replace(shifted(read.camera, 0.193001), cx=read.camera.cx + 31.086)
    drawn, covered = seen(mesh, right)
    true = np.asarray(Image.open(files[2].with_name("motorcycle_right.png")))
    inner = covered.copy()
    inner[:, :60] = inner[:, -60:] = False
    assert scene.psnr(drawn, true, inner) > 18
