import numpy as np
import pytest

from depth3d.holes import fill_holes
from depth3d.membrane import membrane


def test_a_membrane_continues_planes_as_planes_and_keeps_what_is_known():
    rows, columns = np.mgrid[:60, :80].astype(np.float32)
    plane = 3 + 0.02 * rows - 0.01 * columns
    known = np.ones((60, 80), bool)
    known[20:41, 25:52] = False
    filled = membrane(np.where(known, plane, 0), known)
    assert np.abs(filled - plane).max() < 0.01
    assert (filled[known] == plane[known]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (33, 50)])
def test_a_membrane_of_any_size_spreads_the_one_value_that_is_known(shape):
    known = np.zeros(shape, bool)
    known[0, 0] = True
    assert np.allclose(membrane(np.full(shape, 5, np.float32), known), 5)
    assert (membrane(np.ones(shape, np.float32), np.zeros(shape, bool)) == 0).all()


def test_a_shadow_beside_a_thing_goes_to_what_is_behind_the_thing():
    depth = np.full((40, 60), 6, np.float32)
    depth[10:30, 20:40] = 2
    holes = np.zeros(depth.shape, bool)
    holes[8:32, 12:20] = True  # what the right camera could not see, at the thing's left
    filled = fill_holes(np.where(holes, np.inf, depth), holes)
    assert np.allclose(filled[holes], 6, rtol=1e-3)
    assert (filled[~holes] == depth[~holes]).all()


def test_a_gap_in_a_slanted_floor_is_bridged_as_the_plane_that_it_is():
    rows = np.arange(1, 61, dtype=np.float32)[:, None]
    floor = np.broadcast_to(120 / (20 + rows), (60, 50))
    holes = np.zeros(floor.shape, bool)
    holes[20:30, 10:40] = True
    assert np.allclose(fill_holes(np.where(holes, np.inf, floor), holes), floor, rtol=1e-2)


def test_nothing_is_made_of_nothing_and_sizes_must_match():
    nothing = np.full((3, 4), np.inf, np.float32)
    assert np.isinf(fill_holes(nothing, np.ones((3, 4), bool))).all()
    whole = np.ones((3, 4), np.float32)
    assert (fill_holes(whole, np.zeros((3, 4), bool)) == whole).all()
    with pytest.raises(ValueError, match="one"):
        fill_holes(whole, np.zeros((4, 3), bool))
