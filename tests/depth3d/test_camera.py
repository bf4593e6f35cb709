import numpy as np
import pytest

from depth3d.camera import OPENGL_FLIP, Camera

CAMERAS = [
    Camera(64, 48, 70.0, 75.0, 30.5, 22.0),
    Camera.from_focal_length(64, 48, focal_length=50, shift_x=0.1, shift_y=-0.2, pixel_aspect=1.5),
    Camera.orthographic(64, 48, scale=3),
    Camera.equirectangular(64, 32),
]


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.projection)
def test_unprojecting_a_depth_map_and_projecting_it_gives_the_pixel_centres(camera):
    moved = camera.looking_at((3, 1, -2), (0, 0, 4))
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (camera.height, camera.width))
    pixels, z = moved.project(moved.unproject(depth))
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    assert np.abs(pixels - np.stack([x, y], -1)).max() < 1e-6
    assert z == pytest.approx(depth)


def test_the_field_of_view_reaches_the_pictures_border_and_not_the_last_centre():
    camera = Camera.from_fov(100, 50, fov_x=90)
    assert camera.project([1, 0, 1])[0] == pytest.approx([100, 25])
    assert camera.project([-1, 0, 1])[0] == pytest.approx([0, 25])
    assert Camera.from_fov(100, 50, fov_y=90).project([0, 1, 1])[0] == pytest.approx([50, 50])


def test_a_fifty_millimetre_lens_on_full_frame_sees_forty_degrees():
    camera = Camera.from_focal_length(3600, 2400, focal_length=50)
    assert camera.fx == pytest.approx(5000)
    portrait = Camera.from_focal_length(2400, 3600, focal_length=50)
    assert portrait.fx == pytest.approx(5000)
    vertical = Camera.from_focal_length(3600, 2400, focal_length=50, sensor_fit="vertical")
    assert vertical.fx == pytest.approx(5000)


def test_shifting_up_moves_the_picture_down():
    camera = Camera.from_focal_length(100, 100, focal_length=50, shift_y=0.1)
    assert camera.project([0, 0, 1])[0] == pytest.approx([50, 60])


def test_opengl_matrices_come_and_go():
    camera = CAMERAS[0].looking_at((1, 2, 3), (0, 0, 0))
    again = Camera.from_opengl(CAMERAS[0], camera.to_opengl())
    assert again.world_to_camera == pytest.approx(camera.world_to_camera)
    # Its −z axis is where it looks.
    assert -camera.to_opengl()[:3, 2] == pytest.approx(-np.array([1, 2, 3]) / np.sqrt(14))


@pytest.mark.parametrize("camera", CAMERAS[:3], ids=["shifted", "lens", "orthographic"])
def test_the_opengl_projection_puts_points_where_the_camera_does(camera):
    rng = np.random.default_rng(1)
    points = rng.uniform((-1, -1, 2), (1, 1, 8), (50, 3))
    matrix = camera.opengl_projection(0.5, 20) @ OPENGL_FLIP
    clip = np.column_stack([points, np.ones(50)]) @ matrix.T
    device = clip[:, :3] / clip[:, 3:]
    pixels = (device[:, :2] * (1, -1) + 1) / 2 * (camera.width, camera.height)
    assert pixels == pytest.approx(camera.project(points)[0])
    assert (np.argsort(device[:, 2]) == np.argsort(points[:, 2])).all()
    ends = np.array([[0, 0, 0.5, 1], [0, 0, 20, 1]]) @ matrix.T
    assert ends[:, 2] / ends[:, 3] == pytest.approx([-1, 1])


def test_resizing_keeps_the_view():
    point = np.array([0.3, -0.2, 2.0])
    pixel, _ = CAMERAS[0].project(point)
    assert CAMERAS[0].resized(128, 24).project(point)[0] == pytest.approx(pixel * (2, 0.5))


def test_a_panorama_has_straight_ahead_in_its_middle_and_the_zenith_on_top():
    camera = CAMERAS[3]
    assert camera.project([0, 0, 5])[0] == pytest.approx([32, 16])
    assert camera.project([1, 0, 0])[0] == pytest.approx([48, 16])
    assert camera.project([0, -2, 0])[0][1] == pytest.approx(0)
    with pytest.raises(ValueError, match="projection matrix"):
        camera.opengl_projection(1, 2)


def test_plain_numbers_carry_the_whole_camera():
    camera = CAMERAS[1].looking_at((1, 2, 3), (0, 0, 0))
    again = Camera.from_dict(camera.to_dict())
    assert again.to_dict() == camera.to_dict()
    with pytest.raises(ValueError, match="fx"):
        Camera.from_dict({"width": 3, "height": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Camera(0, 5, 1, 1, 0, 0), "0×5"),
        (lambda: Camera(5, 5, -1, 1, 0, 0), "fx"),
        (lambda: Camera(5, 5, 1, 1, np.nan, 0), "cx"),
        (lambda: Camera(5, 5, 1, 1, 0, 0, "fisheye"), "fisheye"),
        (lambda: Camera(5, 5, 1, 1, 0, 0, world_to_camera=np.eye(3)), "4×4"),
        (lambda: Camera.from_fov(5, 5, fov_x=180), "180"),
        (lambda: Camera.from_fov(5, 5), "fov_x or fov_y"),
        (lambda: Camera.from_fov(5, 5, fov_x=50).looking_at((0, 0, 0), (0, 1, 0)), "up vector"),
    ],
)
def test_a_wrong_camera_names_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
