import numpy as np
import pytest

from depth3d.camera import Camera
from depth3d.render import rasterise, render, sample

CAMERA = Camera.from_fov(40, 30, fov_x=70)


def test_a_triangle_covers_the_pixel_centres_inside_it_and_no_others():
    rng = np.random.default_rng(4)
    for _ in range(20):
        triangle = rng.uniform((-2, -2, 2), (2, 2, 6), (3, 3))
        pixels, _ = CAMERA.project(triangle)
        found = rasterise(triangle, [[0, 1, 2]], CAMERA).covered
        x, y = np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5)
        sides = [
            (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])
            for a, b in zip(pixels, np.roll(pixels, -1, 0), strict=True)
        ]
        inside = (np.stack(sides) > 0).all(0) | (np.stack(sides) < 0).all(0)
        assert (found == inside).all()


def test_depth_and_weights_are_perspective_correct():
    quad = np.array([[-3, -2, 2], [3, -2, 9], [3, 2, 9], [-3, 2, 2.0]])
    faces = [[0, 1, 2], [0, 2, 3]]
    raster = rasterise(quad, faces, CAMERA)
    points = raster.interpolate(faces, quad)[raster.covered]
    pixels, z = CAMERA.project(points)
    x, y = np.meshgrid(np.arange(40) + 0.5, np.arange(30) + 0.5)
    assert np.abs(pixels - np.stack([x, y], -1)[raster.covered]).max() < 1e-3
    assert z == pytest.approx(raster.depth[raster.covered], rel=1e-5)


def test_the_nearer_of_two_wins_whatever_their_order():
    quad = np.array([[-9, -9, 1], [9, -9, 1], [9, 9, 1], [-9, 9, 1.0]])
    near, far = quad * (1, 1, 2), quad * (1, 1, 3)
    for first, second, winner in ((near, far, (0, 1)), (far, near, (2, 3))):
        faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
        raster = rasterise(np.concatenate([first, second]), faces, CAMERA)
        assert set(np.unique(raster.face)) == set(winner)
        assert np.allclose(raster.depth, 2)


def test_what_reaches_behind_the_camera_is_cut_at_the_near_plane():
    floor = np.array([[-50, 1, -50], [50, 1, -50], [50, 1, 50], [-50, 1, 50.0]])
    raster = rasterise(floor, [[0, 1, 2], [0, 2, 3]], CAMERA)
    rays = CAMERA.rays()[..., 1]
    below = rays > 1 / 49
    assert raster.covered[below].all()
    assert not raster.covered[rays <= 0].any()
    assert np.allclose(raster.depth[below], 1 / rays[below], rtol=1e-4)


def test_two_triangles_leave_no_gap_along_their_common_edge():
    rng = np.random.default_rng(5)
    for _ in range(30):
        middle = rng.uniform(-1, 1, 2)
        fan = np.concatenate([[[*middle, 1]], [[-9, -9, 1], [9, -9, 1], [9, 9, 1], [-9, 9, 1]]])
        assert rasterise(fan, [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]], CAMERA).covered.all()


def test_orthographic_cameras_see_parallel():
    camera = Camera.orthographic(20, 20, scale=4)
    quad = np.array([[-1, -1, 5], [1, -1, 5], [1, 1, 7], [-1, 1, 7.0]])
    raster = rasterise(quad, [[0, 1, 2], [0, 2, 3]], camera)
    assert raster.covered.sum() == 100
    assert np.allclose(raster.depth[5:15, 10], np.linspace(5.1, 6.9, 10), atol=1e-5)


def test_culling_leaves_out_the_backs():
    quad = np.array([[-9, -9, 2], [9, -9, 2], [9, 9, 2], [-9, 9, 2.0]])
    front, back = [[0, 3, 2], [0, 2, 1]], [[0, 1, 2], [0, 2, 3]]
    assert rasterise(quad, front, CAMERA, cull=True).covered.all()
    assert not rasterise(quad, back, CAMERA, cull=True).covered.any()


def test_nothing_gives_an_empty_picture():
    raster = rasterise(np.zeros((0, 3)), np.zeros((0, 3), int), CAMERA)
    assert not raster.covered.any()
    assert np.isinf(raster.depth).all()


def test_a_panorama_is_refused():
    with pytest.raises(ValueError, match="equirectangular"):
        rasterise(np.zeros((3, 3)), [[0, 1, 2]], Camera.equirectangular(8, 4))


def test_textures_come_out_as_they_went_in():
    rng = np.random.default_rng(6)
    texture = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    corners = np.array([[0, 0], [40, 0], [40, 30], [0, 30.0]])
    quad = np.column_stack([(corners - (CAMERA.cx, CAMERA.cy)) / (CAMERA.fx, CAMERA.fy), np.ones(4)])
    picture = render(quad, [[0, 1, 2], [0, 2, 3]], CAMERA, uvs=corners / (40, 30), texture=texture)
    assert np.abs(picture[..., :3].astype(int) - texture).max() <= 1
    assert (picture[..., 3] == 255).all()


def test_sampling_is_bilinear_between_texel_centres():
    texture = np.array([[[0], [100]]], np.uint8)
    assert sample(texture, [[0.25, 0.5], [0.5, 0.5], [0.75, 0.2], [0, 0], [1, 1]])[:, 0].tolist() == [
        0,
        50,
        100,
        0,
        100,
    ]
