import numpy as np
import pytest

from depth3d.depth import DepthMap, depth_range, depth_to_controlnet, depth_to_controlnet_zoe, depth_to_disparity


def test_near_is_white_and_far_is_black():
    image = depth_to_controlnet(np.array([[1.0, 2.0, 4.0]]))
    assert image.shape == (1, 3, 3)
    assert image.dtype == np.uint8
    assert image[0, :, 0].tolist() == [255, 85, 0]  # 1/z = 1, .5, .25


def test_the_picture_is_affine_in_one_over_z():
    z = np.linspace(2, 9, 64, dtype=np.float32).reshape(8, 8)
    grey = depth_to_controlnet(z)[..., 0].astype(float)
    expected = (1 / z - 1 / 9) / (1 / 2 - 1 / 9) * 255
    assert np.abs(grey - expected).max() <= 0.5 + 1e-3


def test_nothing_is_black_and_does_not_stretch_the_range():
    image = depth_to_controlnet(np.array([[1.0, 2.0, np.inf]]))
    assert image[0, :, 0].tolist() == [255, 0, 0]


def test_one_point_has_one_grey_in_every_view_that_shares_a_range():
    a, b = np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]])
    assert depth_to_controlnet(a, 1, 4)[0, 1, 0] == depth_to_controlnet(b, 1, 4)[0, 0, 0] == 85
    assert depth_to_controlnet(a, 1, np.inf)[0, :, 0].tolist() == [255, 128]


def test_beyond_the_given_range_is_clipped():
    assert depth_to_controlnet(np.array([[0.5, 9.0]]), 1, 4)[0, :, 0].tolist() == [255, 0]


def test_constant_maps_are_white_and_empty_maps_black():
    assert (depth_to_controlnet(np.full((2, 3), 5.0)) == 255).all()
    assert (depth_to_controlnet(np.full((2, 3), np.inf)) == 0).all()
    assert (depth_to_controlnet(np.array([[5.0]])) == 255).all()
    assert (depth_to_controlnet_zoe(np.full((2, 3), 5.0)) == 255).all()
    assert (depth_to_controlnet_zoe(np.full((2, 3), np.inf)) == 0).all()


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        ([[1.0, np.nan]], "1 NaN of 2"),
        ([[1.0, 0.0]], "must be positive"),
        ([[1.0, -2.0]], "must be positive"),
        ([1.0, 2.0], "height, width"),
        (np.zeros((0, 4)), "at least one pixel"),
        ([["a"]], "real numbers"),
    ],
)
def test_what_is_no_depth_is_refused_with_a_reason(depth, message):
    with pytest.raises(ValueError, match=message):
        depth_to_controlnet(np.array(depth))


@pytest.mark.parametrize(("near", "far"), [(0, 1), (2, 1), (-1, 3), (np.nan, 2), (np.inf, np.inf)])
def test_a_range_that_is_none_is_refused(near, far):
    with pytest.raises(ValueError, match="near"):
        depth_to_controlnet(np.ones((2, 2)), near, far)


def test_zoe_is_affine_in_z_between_its_percentiles():
    z = np.linspace(1, 2, 101, dtype=np.float32)[None]
    grey = depth_to_controlnet_zoe(z)[0, :, 0].astype(int)
    assert grey[0] == 255
    assert grey[-1] == 0
    steps = np.diff(grey[3:84])
    assert set(np.unique(steps)) <= {-3, -4}


def test_depth_range_and_disparity_know_infinity():
    z = np.array([[2.0, 8.0, np.inf]])
    assert depth_range(z) == (2.0, 8.0)
    assert depth_range(np.array([[np.inf]])) is None
    assert depth_to_disparity(z).tolist() == [[0.5, 0.125, 0.0]]


def test_stereo_disparity_follows_middlebury():
    d = np.array([[10.0, 0.0, np.inf, np.nan]])
    depth = DepthMap.from_stereo(d, fx=1000, baseline=0.2, doffs=30).metric()
    assert depth[0, 0] == pytest.approx(1000 * 0.2 / 40)
    assert depth[0, 1] == pytest.approx(1000 * 0.2 / 30)
    assert np.isinf(depth[0, 2:]).all()


def test_holes_are_what_was_not_measured():
    assert DepthMap(np.array([[1.0, 0.0, -1.0, np.nan, np.inf]])).holes().tolist() == [[False, True, True, True, False]]
    assert DepthMap(np.array([[1.0, 0.0]]), "disparity", 1.0, -0.5).metric().tolist() == [[2.0, np.inf]]


def test_radius_needs_rays_and_becomes_z():
    rays = np.array([[[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]]])
    radius = DepthMap(np.array([[2.0, 2.0]]), "radius")
    with pytest.raises(ValueError, match="rays"):
        radius.metric()
    assert radius.metric(rays)[0] == pytest.approx([2, np.sqrt(2)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": np.zeros(3)}, "height, width"),
        ({"values": np.ones((2, 2)), "kind": "inverse"}, "kind"),
        ({"values": np.ones((2, 2)), "kind": "disparity", "scale": 0.0}, "scale"),
        ({"values": np.ones((2, 2)), "kind": "disparity", "shift": np.inf}, "shift"),
    ],
)
def test_a_map_with_a_wrong_field_names_it(arguments, message):
    with pytest.raises(ValueError, match=message):
        DepthMap(**arguments)
