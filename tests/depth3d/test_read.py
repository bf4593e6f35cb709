import numpy as np
import pytest
from PIL import Image

from depth3d import read
from depth3d.calibration import Calibration, read_calibration
from depth3d.fit import fit_disparity
from depth3d.read import read_depth, read_values

CALIB = """cam0=[3979.911 0 1244.772; 0 3979.911 1019.507; 0 0 1]
cam1=[3979.911 0 1369.115; 0 3979.911 1019.507; 0 0 1]
doffs=124.343
baseline=193.001
width=2964
height=2000
ndisp=270
"""


def write_pfm(path, values, endian="<", channels=b"Pf"):
    header = channels + b"\n%d %d\n%s\n" % (values.shape[1], values.shape[0], b"-1.0" if endian == "<" else b"1.0")
    path.write_bytes(header + values[::-1].astype(f"{endian}f4").tobytes())


@pytest.fixture
def values():
    return np.random.default_rng(0).uniform(1, 200, (6, 9)).astype(np.float32)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_pfm_rows_run_from_the_bottom_in_either_byte_order(tmp_path, values, endian):
    write_pfm(tmp_path / "d.pfm", values, endian)
    assert np.array_equal(read_values(tmp_path / "d.pfm"), values)


def test_npy_and_sixteen_bit_png_come_back_to_the_last_bit(tmp_path, values):
    np.save(tmp_path / "d.npy", values.astype(np.float64))
    assert np.array_equal(read_values(tmp_path / "d.npy"), values)
    steps = (values * 300).astype(np.uint16)
    Image.fromarray(steps).save(tmp_path / "d.png")
    found = read_values(tmp_path / "d.png")
    assert found.dtype == np.uint16
    assert np.array_equal(found, steps)


def test_middlebury_disparity_becomes_metres_by_its_calibration(tmp_path):
    disparity = np.full((2000, 2964), 100.0, np.float32)
    disparity[0, 0] = np.inf
    write_pfm(tmp_path / "disp0.pfm", disparity)
    (tmp_path / "calib.txt").write_text(CALIB)
    found = read_depth(tmp_path / "disp0.pfm", convention="middlebury", calibration=tmp_path / "calib.txt")
    z = found.depth.metric()
    assert z[5, 5] == pytest.approx(0.193001 * 3979.911 / (100 + 124.343), rel=1e-5)
    assert np.isinf(z[0, 0])
    assert found.camera.cx == pytest.approx(1245.272)
    assert found.warnings == ()


def test_a_smaller_map_than_the_calibrations_has_the_same_depth():
    full = Calibration(1000, 1000, 499.5, 399.5, 0.1, 20, 1000, 800)
    assert full.camera(500, 400).fx == 500
    assert full.camera(500, 400).cx == 250


def test_disparity_of_a_resized_map_keeps_its_metres(tmp_path):
    np.save(tmp_path / "half.npy", np.full((400, 500), 40.0, np.float32))
    calibration = Calibration(1000, 1000, 500, 400, 0.1, 20, 1000, 800)
    z = read_depth(tmp_path / "half.npy", kind="disparity", calibration=calibration).depth.metric()
    assert z[0, 0] == pytest.approx(1000 * 0.1 / (80 + 20))


def test_kitti_and_tum_steps_become_metres_and_zero_a_hole(tmp_path):
    Image.fromarray(np.array([[0, 256, 5120]], np.uint16)).save(tmp_path / "d.png")
    kitti = read_depth(tmp_path / "d.png", convention="kitti-depth").depth
    assert kitti.metric().tolist() == [[np.inf, 1.0, 20.0]]
    assert kitti.holes().tolist() == [[True, False, False]]
    assert read_depth(tmp_path / "d.png", convention="tum").depth.metric()[0, 2] == pytest.approx(1.024)


def test_millimetres_in_a_png_become_metres_by_their_unit(tmp_path):
    Image.fromarray(np.array([[1500, 3000]], np.uint16)).save(tmp_path / "d.png")
    assert read_depth(tmp_path / "d.png", unit=0.001).depth.metric()[0].tolist() == pytest.approx([1.5, 3])


def test_eight_bits_are_read_with_a_warning_of_what_they_cost(tmp_path):
    Image.fromarray(np.arange(1, 255, dtype=np.uint8).reshape(2, 127)).save(tmp_path / "d.png")
    found = read_depth(tmp_path / "d.png", kind="disparity")
    assert "8 bits" in found.warnings[0]
    assert "% of the distance" in found.warnings[0]
    assert np.isfinite(found.depth.metric()).all()


def test_a_grey_picture_saved_in_colour_is_depth_and_a_colour_map_is_not(tmp_path):
    grey = np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4, 1), 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert read_values(tmp_path / "grey.png").shape == (3, 4)
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (3, 4, 3), np.uint8)).save(tmp_path / "map.png")
    with pytest.raises(ValueError, match="colour map"):
        read_values(tmp_path / "map.png")


@pytest.mark.parametrize("suffix", [".npy", ".pfm", ".png"])
def test_a_file_that_is_cut_off_says_so(tmp_path, values, suffix):
    path = tmp_path / f"d{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".pfm":
        write_pfm(path, values)
    else:
        noise = np.random.default_rng(0).integers(0, 60000, (60, 90), np.uint16)
        Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut off|not a"):
            read_depth(path)


def test_missing_files_unknown_suffixes_and_conventions_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npy"):
        read_depth(tmp_path / "nothing.npy")
    with pytest.raises(ValueError, match=r"\.tiff"):
        read_depth(tmp_path / "d.tiff")
    with pytest.raises(ValueError, match="convention"):
        read_depth(tmp_path / "d.png", convention="sintel")
    with pytest.raises(ValueError, match="unit"):
        read_depth(tmp_path / "d.png", unit=0)


def test_maps_too_large_for_one_mesh_are_refused_before_memory_is(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "MAX_PIXELS", 30_000)
    np.save(tmp_path / "strip.npy", np.ones((1, 30_000), np.float32))
    assert read_values(tmp_path / "strip.npy").shape == (1, 30_000)
    np.save(tmp_path / "big.npy", np.ones((2, 30_000), np.float32))
    with pytest.raises(ValueError, match="terrain tiles"):
        read_values(tmp_path / "big.npy")


def test_a_calibration_without_its_matrix_says_what_lacks(tmp_path):
    (tmp_path / "calib.txt").write_text("doffs=1\n")
    with pytest.raises(ValueError, match="cam0"):
        read_calibration(tmp_path / "calib.txt")


def test_predicted_disparity_is_aligned_to_known_points_despite_outliers():
    rng = np.random.default_rng(3)
    z = rng.uniform(1, 9, 400)
    values = (1 / z - 0.05) / 0.7 + rng.normal(0, 1e-3, 400)
    values[:40] += 3
    scale, shift = fit_disparity(values, z)
    assert scale == pytest.approx(0.7, rel=0.02)
    assert shift == pytest.approx(0.05, abs=0.01)
    with pytest.raises(ValueError, match="determine"):
        fit_disparity(np.ones(5), np.ones(5))
    with pytest.raises(ValueError, match="no disparity"):
        fit_disparity(z, z)


def test_exr_depth_is_read_from_its_z_channel(tmp_path, values):
    exr = pytest.importorskip("OpenEXR", reason="OpenEXR is not installed")
    exr.File({"type": exr.scanlineimage}, {"Z": values}).write(str(tmp_path / "d.exr"))
    assert np.array_equal(read_values(tmp_path / "d.exr"), values)
