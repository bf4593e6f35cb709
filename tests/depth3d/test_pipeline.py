import numpy as np
import pytest
import scene

from depth3d.camera import Camera
from depth3d.corner import corner_mesh
from depth3d.depth import DepthMap
from depth3d.pipeline import mesh_from_depth, orbited, preview
from depth3d.render import rasterise
from depth3d.simplify import simplified

SIZE = 192


@pytest.fixture(scope="module")
def view():
    camera = scene.source_camera(SIZE)
    depth, _ = scene.cast(camera)
    return camera, depth.astype(np.float32), scene.picture(camera)


def test_metric_disparity_and_radius_of_one_view_give_one_mesh(view):
    camera, depth, picture = view
    rays = camera.rays()
    kinds = [
        DepthMap(depth),
        DepthMap((1 / depth - 0.02) / 0.3, "disparity", 0.3, 0.02),
        DepthMap(depth * np.linalg.norm(rays, axis=-1), "radius"),
    ]
    meshes = [mesh_from_depth(kind, camera, picture).mesh for kind in kinds]
    for mesh in meshes[1:]:
        assert np.allclose(mesh.vertices, meshes[0].vertices, rtol=2e-4)
    assert meshes[0].texture is not None


def test_soft_edges_are_sharpened_and_crisp_ones_left(view):
    camera, depth, _ = view
    assert not mesh_from_depth(depth, camera).sharpened
    soft = mesh_from_depth(scene.soften(depth.astype(float), 1).astype(np.float32), camera)
    assert soft.sharpened
    assert not mesh_from_depth(depth, camera, sharpening="never").sharpened


def test_holes_stay_open_and_are_counted(view):
    camera, depth, _ = view
    broken = depth.copy()
    broken[10:20, 10:20] = np.nan
    broken[30, 30] = 0
    broken[40, 40] = -1
    broken[50:52, 50] = np.inf
    report = mesh_from_depth(broken, camera)
    assert report.holes == 102
    assert "102 of" in report.warnings[0]
    open_pixels = ~rasterise(report.mesh.vertices, report.mesh.faces, camera).covered
    assert open_pixels.sum() == 104
    assert np.isfinite(report.mesh.vertices).all()


def test_one_pixel_and_strips_work():
    for width, height in ((1, 1), (64, 1), (1, 64)):
        camera = Camera.from_fov(width, height, fov_x=50)
        mesh = mesh_from_depth(np.full((height, width), 2.0, np.float32), camera, layers=True).mesh
        assert len(mesh.faces) == 2 * width * height


def test_a_long_strip_of_thirty_thousand_pixels_works():
    camera = Camera.from_fov(30_000, 2, fov_x=90)
    assert len(mesh_from_depth(np.full((2, 30_000), 2.0, np.float32), camera).mesh.faces) == 120_000


def test_the_picture_may_be_larger_but_not_of_another_shape(view):
    camera, depth, _ = view
    large = scene.picture(camera.resized(2 * SIZE, 2 * SIZE))
    mesh = mesh_from_depth(depth, camera, large).mesh
    assert mesh.texture is large
    with pytest.raises(ValueError, match="aspects"):
        mesh_from_depth(depth, camera, large[: SIZE + 20])
    layered = mesh_from_depth(depth, camera, large, layers=True)
    assert "resized" in layered.warnings[0]


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.full((4, 4), np.inf), "empty"),
        (np.full((4, 4), np.nan), "empty"),
        (np.zeros((4, 4)), "empty"),
        (np.ones((4, 5)), "camera's pictures"),
        (np.ones(4), "height, width"),
    ],
)
def test_what_cannot_become_a_mesh_is_refused_with_a_reason(depth, message):
    with pytest.raises(ValueError, match=message):
        mesh_from_depth(depth, Camera.from_fov(4, 4, fov_x=50))


def test_too_large_a_map_is_refused_before_it_is_read():
    huge = np.broadcast_to(np.float32(1), (30_000, 30_000))
    typed = DepthMap(np.ones((1, 1)))
    object.__setattr__(typed, "values", huge)
    with pytest.raises(ValueError, match="at most"):
        mesh_from_depth(typed, Camera.from_fov(30_000, 30_000, fov_x=50))


def test_a_tenth_of_the_triangles_keeps_borders_and_shape(view):
    camera, depth, picture = view
    full = corner_mesh(depth, camera)
    report = mesh_from_depth(depth, camera, picture, faces=len(full.faces) // 5)
    mesh = report.mesh
    assert len(mesh.faces) <= 1.02 * len(full.faces) // 5
    a, b = (rasterise(m.vertices, m.faces, camera) for m in (full, mesh))
    assert b.covered.all()
    error = np.abs(a.depth - b.depth) / a.depth
    assert np.percentile(error, 95) < 1e-4
    pixels, _ = camera.project(mesh.vertices)
    assert np.abs(pixels / SIZE - mesh.uvs).max() * SIZE < 1e-3


def test_layers_are_simplified_too(view):
    camera, depth, picture = view
    full = mesh_from_depth(depth, camera, picture, layers=True).mesh
    mesh = mesh_from_depth(depth, camera, picture, layers=True, faces=2 * SIZE * SIZE // 4).mesh
    assert len(mesh.faces) < 0.4 * len(full.faces)
    assert mesh.texture.shape[0] > 2 * SIZE
    assert mesh.uvs.max() <= 1 + 1e-6  # projected in single precision
    side = camera.looking_at((0.1, 0, 0), (0.1, 0, 1), up=(0, -1, 0))
    assert scene.coverage(mesh, side)["hole_percent"] < 0.3


def test_fewer_than_one_triangle_is_refused(view):
    with pytest.raises(ValueError, match="at least one"):
        simplified(corner_mesh(view[1], view[0]), 0)


def test_the_preview_looks_from_the_side(view):
    camera, depth, picture = view
    mesh = mesh_from_depth(depth, camera, picture, layers=True).mesh
    front, side = preview(mesh, camera, turn=0, size=96), preview(mesh, camera, turn=15, size=96)
    assert front.shape == side.shape == (96, 96, 3)
    small = picture.reshape(96, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(front - small).mean() < 4
    assert np.abs(side.astype(int) - front).mean() > 8


def test_orbiting_keeps_the_pivot_in_the_middle(view):
    camera, depth, _ = view
    mesh = corner_mesh(depth, camera)
    pivot = (0, 0, np.median(mesh.vertices[:, 2]))
    for turn, tilt in ((20, 0), (-30, 10)):
        pixel, z = orbited(camera, mesh, turn, tilt).project(pivot)
        assert pixel == pytest.approx([SIZE / 2, SIZE / 2])
        assert z == pytest.approx(pivot[2])
    assert orbited(camera, mesh, 20).position[0] > 0
    assert orbited(camera, mesh, 0, 20).position[1] < 0


def test_simplifying_does_not_depend_on_the_scenes_units(view):
    camera, depth, _ = view
    metres, millimetres = corner_mesh(depth, camera), corner_mesh(depth * 1000, camera)
    a, b = (simplified(mesh, len(mesh.faces) // 5, camera=camera) for mesh in (metres, millimetres))
    assert len(a.faces) == pytest.approx(len(b.faces), rel=0.01)
    seen = [rasterise(mesh.vertices, mesh.faces, camera).depth for mesh in (a, b)]
    assert np.percentile(np.abs(seen[1] / 1000 - seen[0]) / depth, 95) < 1e-4


def test_a_surface_that_is_curved_everywhere_is_simplified_as_far_as_asked():
    rows, columns = np.indices((96, 96))
    depth = (4 + 0.05 * np.sin(rows / 3) * np.sin(columns / 3)).astype(np.float32)
    mesh = corner_mesh(depth, Camera(96, 96, 100, 100, 48, 48))
    assert len(simplified(mesh, 800).faces) <= 816
