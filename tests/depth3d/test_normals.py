import numpy as np
import pytest

from depth3d.camera import Camera
from depth3d.normals import (
    controlnet_to_normals,
    directx_to_normals,
    normals_from_depth,
    normals_to_camera,
    normals_to_controlnet,
    normals_to_directx,
    normals_to_opengl,
    opengl_to_normals,
)

CAMERA = Camera(96, 64, 80.0, 90.0, 45.0, 33.5)


def plane_depth(camera: Camera, normal, distance: float) -> np.ndarray:
    """Depth of the plane normal · X = −distance, normal in the map's axes (x right, y up, z to the viewer)."""
    n = np.array(normal, float) * (1, -1, -1)
    rays = camera.rays()
    if camera.projection == "orthographic":
        return -(distance + rays[..., 0] * n[0] + rays[..., 1] * n[1]) / n[2]
    return -distance / (rays @ n)


def angles(a, b):
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.6, 0, 0.8), (-0.5, 0.5, 0.7071), (0, 0.9, 0.4359), (0, -0.6, 0.8)])
@pytest.mark.parametrize("radius", [1, 2])
def test_planes_have_their_own_normal_at_every_pixel_up_to_the_border(normal, radius):
    depth = plane_depth(CAMERA, normal, 3.0)
    keep = (depth > 0.2) & (depth < 30)
    found = normals_from_depth(np.where(keep, depth, np.inf), CAMERA, radius=radius)
    truth = np.array(normal) / np.linalg.norm(normal)
    # Where a pixel is more than the cut ratio deeper than the next, the plane and an edge look the same.
    inside = keep & (np.abs(np.gradient(depth)[0]) + np.abs(np.gradient(depth)[1]) < 0.018 * depth)
    assert inside.any()
    assert angles(found[inside], truth).max() < 0.1
    assert not found[~keep].any()


def test_orthographic_planes_are_exact_too():
    camera = Camera.orthographic(64, 64, scale=4)
    normal = np.array([0.3, -0.4, 0.866])
    normal /= np.linalg.norm(normal)
    found = normals_from_depth(plane_depth(camera, normal, 6.0), camera)
    assert angles(found, normal).max() < 0.1


def test_inside_a_sphere_the_panorama_faces_its_middle():
    camera = Camera.equirectangular(128, 64)
    found = normals_from_depth(np.full((64, 128), 2.0), camera)
    toward_middle = -camera.rays() * (1, -1, -1)
    assert angles(found, toward_middle).max() < 0.1


def test_a_wall_around_a_panorama_is_flat():
    camera = Camera.equirectangular(512, 256)
    rays = camera.rays()
    with np.errstate(divide="ignore"):
        radius = np.where(rays[..., 2] > 0.5, 3 / rays[..., 2], np.inf)
    found = normals_from_depth(radius, camera)
    inside = rays[..., 2] > 0.55
    assert angles(found[inside], np.array([0, 0, 1.0])).max() < 0.2


def test_an_edge_between_two_walls_bends_neither():
    depth = np.full((64, 96), 5.0)
    depth[:, 40:] = 3.0
    assert angles(normals_from_depth(depth, CAMERA), np.array([0, 0, 1.0])).max() < 0.05


def test_a_lone_pixel_and_a_strip_face_the_camera():
    for width, height in ((1, 1), (1, 9), (9, 1)):
        camera = Camera.from_fov(width, height, fov_x=40)
        assert np.allclose(normals_from_depth(np.full((height, width), 2.0), camera), (0, 0, 1))


def test_sixteen_bit_disparity_costs_less_than_a_fifth_of_a_degree():
    depth = np.minimum(plane_depth(CAMERA, (0.1, 0.2, 0.97), 3.0), plane_depth(CAMERA, (-0.4, 0.1, 0.9), 3.0))
    q = 1 / depth
    steps = np.rint((q - q.min()) / (q.max() - q.min()) * 65535) / 65535
    rounded = 1 / (steps * (q.max() - q.min()) + q.min())
    error = angles(normals_from_depth(rounded, CAMERA), normals_from_depth(depth, CAMERA))
    assert error.mean() < 0.2


def test_a_wrong_size_is_refused():
    with pytest.raises(ValueError, match="camera's pictures"):
        normals_from_depth(np.ones((3, 3)), CAMERA)


def test_controlnet_colours_are_blue_to_the_viewer_red_to_the_left_green_up():
    n = np.array([[[0, 0, 1], [-1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]], np.float32)
    assert normals_to_controlnet(n)[0].tolist() == [
        [128, 128, 255],
        [255, 128, 128],
        [0, 128, 128],
        [128, 255, 128],
        [128, 128, 255],
    ]


def test_tangent_space_conventions_differ_in_green_alone():
    n = np.array([[[0.6, 0.0, 0.8], [0.0, 0.6, 0.8]]], np.float32)
    gl, dx = normals_to_opengl(n), normals_to_directx(n)
    assert gl[0, 0].tolist() == [204, 128, 230]
    assert gl[0, 1].tolist() == [128, 204, 230]
    assert dx[0, 1].tolist() == [128, 51, 230]


@pytest.mark.parametrize(
    ("encode", "decode"),
    [
        (normals_to_controlnet, controlnet_to_normals),
        (normals_to_opengl, opengl_to_normals),
        (normals_to_directx, directx_to_normals),
    ],
)
def test_decoding_gives_the_normals_back_within_eight_bits(encode, decode):
    rng = np.random.default_rng(1)
    n = rng.normal(size=(20, 20, 3)).astype(np.float32)
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    assert angles(decode(encode(n)), n).max() < 0.6


def test_nan_normals_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        normals_to_controlnet(np.full((2, 2, 3), np.nan))


def test_world_normals_turn_with_the_camera():
    camera = Camera.from_fov(8, 8, fov_x=50).looking_at((5, 0, 0), (0, 0, 0))
    seen = normals_to_camera(np.array([[[2.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]]), camera)
    assert np.allclose(seen[0], [[0, 0, 1], [0, 1, 0], [0, 0, 0], [-1, 0, 0]], atol=1e-6)
