"""Depth written to files and read again."""

import json

import numpy as np
import pytest

from depth3d.calibration import read_calibration
from depth3d.read import read_depth, read_values
from depth3d.write import write_depth


@pytest.fixture
def depth():
    values = np.random.default_rng(2).uniform(0.5, 9, (12, 17)).astype(np.float32)
    values[3, 4] = np.inf
    return values


@pytest.mark.parametrize("suffix", [".npy", ".pfm", ".exr"])
def test_float_formats_give_back_every_bit(tmp_path, depth, suffix):
    if suffix == ".exr":
        pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    assert write_depth(depth, tmp_path / f"d{suffix}") == ()
    assert np.array_equal(read_values(tmp_path / f"d{suffix}"), depth)


def test_a_16_bit_png_holds_millimetres_and_says_what_it_could_not_hold(tmp_path, depth):
    depth[0, 0] = 70
    (warning,) = write_depth(depth, tmp_path / "d.png")
    assert "1 pixels lie beyond 65.535" in warning
    again = read_depth(tmp_path / "d.png", unit=0.001).depth.metric()
    assert np.isinf(again[3, 4])
    assert np.isinf(again[0, 0])
    known = np.isfinite(again)
    assert known.sum() == depth.size - 2
    assert np.abs(again[known] - depth[known]).max() <= 0.00051
    assert write_depth(depth, tmp_path / "d.png", steps=256) == ()


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        (np.ones((2, 2, 3)), "d.npy", "shape"),
        (np.ones((2, 2), complex), "d.npy", "real numbers"),
        (np.ones((2, 2)), "d.jpg", r"\.exr"),
    ],
)
def test_what_is_no_depth_and_unknown_suffixes_are_refused(tmp_path, values, name, message):
    with pytest.raises(ValueError, match=message):
        write_depth(values, tmp_path / name)
    assert not (tmp_path / name).exists()


KITTI = """P0: 700 0 600 0 0 700 170 0 0 0 1 0
P2: 7.0e+02 0 6.0e+02 4.2e+01 0 7.0e+02 1.7e+02 0 0 0 1 0
P3: 7.0e+02 0 6.0e+02 -3.36e+02 0 7.0e+02 1.7e+02 0 0 0 1 0
"""
RAW = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.242e+03 3.75e+02
P_rect_02: 7e2 0 6e2 4.2e1 0 7e2 1.7e2 0 0 0 1 0
P_rect_03: 7e2 0 6e2 -3.36e2 0 7e2 1.7e2 0 0 0 1 0
"""
ORB = "%YAML:1.0\nCamera.fx: 517.3\nCamera.fy: 516.5\nCamera.cx: 318.6\nCamera.cy: 255.3\nDepthMapFactor: 5000.0\n"
ROS = (
    "image_width: 640\nimage_height: 480\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
    "  data: [500.0, 0, 319.5, 0, 501.0, 239.5, 0, 0, 1]\n"
)
OPEN3D = {"width": 640, "height": 480, "intrinsic_matrix": [500, 0, 0, 0, 501, 0, 319.5, 239.5, 1]}
PLAIN = {"fx": 500, "cx": 319.5, "cy": 239.5, "baseline": 0.2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (KITTI, (700, 700, 600, 170, 0.54, None, None)),
        (RAW, (700, 700, 600, 170, 0.54, 1242, None)),
        (ORB, (517.3, 516.5, 318.6, 255.3, None, None, 1 / 5000)),
        (ROS, (500, 501, 319.5, 239.5, None, 640, None)),
        (json.dumps(OPEN3D), (500, 501, 319.5, 239.5, None, 640, None)),
        (json.dumps(PLAIN), (500, 500, 319.5, 239.5, 0.2, None, None)),
        ("481.2 480 319.5 239.5\n640 480\n", (481.2, 480, 319.5, 239.5, None, None, None)),
    ],
)
def test_calibrations_are_known_by_what_stands_in_them(tmp_path, text, expected):
    (tmp_path / "c").write_text(text)
    c = read_calibration(tmp_path / "c")
    assert (c.fx, c.fy, c.cx, c.cy, c.baseline, c.width, c.unit) == pytest.approx(expected)
    camera = c.camera(c.width or 640, c.height or 480)
    assert (camera.cx, camera.cy) == (c.cx + 0.5, c.cy + 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing of the kind", "Middlebury"),
        ("cam0=[1 0 2; 0 1 2]", "6 numbers"),
        ("P2: 1 2 three", "three"),
        ("Camera.fx: 500\n", "Camera.fy"),
        ('{"fx": 500', "cannot|can be read"),
        ('{"fx": "wide", "cx": 1, "cy": 1}', "wide"),
        ('{"fx": 500, "cx": 1}', "cy"),
    ],
)
def test_a_calibration_that_is_broken_says_where(tmp_path, text, message):
    (tmp_path / "c").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_calibration(tmp_path / "c")
