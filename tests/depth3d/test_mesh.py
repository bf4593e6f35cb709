import numpy as np
import pytest
import scene

from depth3d.camera import Camera
from depth3d.corner import corner_mesh, grid_mesh
from depth3d.edges import links, sharpen, softness
from depth3d.mesh import Mesh, merged, vertex_normals
from depth3d.render import rasterise

SIZE = 256


@pytest.fixture(scope="module")
def view():
    camera = scene.source_camera(SIZE)
    depth, which = scene.cast(camera)
    return camera, depth.astype(np.float32), which


@pytest.fixture(scope="module")
def mesh(view):
    camera, depth, _ = view
    return corner_mesh(depth, camera)


def edges_of(mesh: Mesh) -> np.ndarray:
    """How many faces share each edge of the mesh, edges taken by their ends' positions."""
    _, place = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = place.reshape(-1)[mesh.faces]
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0, return_counts=True)[1]


def test_the_corner_mesh_leaves_no_hole_in_its_own_view(view, mesh):
    camera, _, _ = view
    seen = scene.coverage(mesh, camera)
    assert seen["hole_percent"] == 0
    assert seen["ring_percent"] < 1
    between = scene.subpixel_coverage(mesh, SIZE)
    # Slanted edges of two surfaces meet to within a float's last bits, between which a ray may pass.
    assert between["hole_percent"] <= 0.01
    assert between["ring_percent"] < 16


def test_a_slanted_edge_is_straight_and_an_upright_one_stays_where_it_is():
    camera = Camera.from_fov(40, 40, fov_x=60)
    rows, columns = np.mgrid[:40, :40]
    for near, distance in ((rows + columns < 40, rows + columns - 39), (columns < 17, columns - 16.5)):
        mesh = corner_mesh(np.where(near, 2, 6).astype(np.float32), camera)
        pixels, z = camera.project(mesh.vertices)
        border = (z < 3) & (np.abs(pixels - 20) < 18).all(1)
        x, y = (pixels[border] - 0.5).T
        away = (x + y - 39.5) / np.sqrt(2) if distance[0, 0] == -39 else x - 16.5
        edge = away[away > -0.4]
        assert len(edge) > 30
        assert np.abs(edge - edge.mean()).max() < 0.02
        assert np.abs(edge.mean()) < 0.01


def test_surfaces_lie_where_they_are_and_nothing_is_stretched_between_them(mesh):
    found = scene.accuracy(mesh, SIZE, samples=50_000)
    assert found["rub_percent"] <= 0.05
    assert found["acc_p95_mm"] < 0.5


def test_an_uncut_grid_is_two_thirds_rubber(view):
    camera, depth, _ = view
    assert scene.accuracy(grid_mesh(depth, camera, cut_ratio=None), SIZE, samples=20_000)["rub_percent"] > 30


def test_planes_are_exact_to_a_hundredth_of_a_millimetre():
    camera = scene.source_camera(128)
    depth = np.where(camera.rays()[..., 1] > 0.25, 1.2 / np.maximum(camera.rays()[..., 1], 1e-3), 4.8)
    flat = corner_mesh(depth.astype(np.float32), camera).vertices.astype(float)
    error = np.minimum(np.abs(flat[:, 1] - 1.2), np.abs(flat[:, 2] - 4.8))
    assert np.percentile(error, 99) < 1e-5


def test_every_pixel_centre_has_its_own_depth_back(view, mesh):
    camera, depth, _ = view
    seen = rasterise(mesh.vertices, mesh.faces, camera).depth
    error = np.abs(seen - depth) / depth
    assert np.percentile(error, 99.5) < 2e-3


def test_crisp_edges_are_found_without_false_cuts():
    camera = scene.source_camera(1024)
    depth, _ = scene.cast(camera)
    right, down = links((1 / depth).astype(np.float32))
    found = scene.f1((~right, ~down), scene.true_cuts(1024))
    assert found["f1"] >= 0.995
    assert found["false"] == 0


@pytest.mark.parametrize(("sigma", "target"), [(1, 0.88), (2, 0.67)])
def test_soft_edges_are_found_after_sharpening(sigma, target):
    camera = scene.source_camera(1024)
    depth, _ = scene.cast(camera)
    truth = scene.true_cuts(1024)
    soft = (1 / scene.soften(depth, sigma)).astype(np.float32)
    assert softness(soft) > 0.4
    right, down = links(soft)
    assert scene.f1((~right, ~down), truth)["f1"] < 0.4
    right, down = links(sharpen(soft))
    assert scene.f1((~right, ~down), truth)["f1"] >= target


def test_crisp_maps_do_not_count_as_soft(view):
    assert softness(1 / view[1]) < 0.1


def test_sharpening_leaves_steep_planes_alone():
    rows, columns = np.mgrid[:40, :50]
    q = (0.02 + 0.01 * rows + 0.004 * columns).astype(np.float32)
    assert np.allclose(sharpen(q)[3:-3, 3:-3], q[3:-3, 3:-3], rtol=1e-5)


def test_a_steep_plane_is_not_cut():
    q = np.linspace(0.05, 1, 40, dtype=np.float32)[:, None].repeat(5, 1)
    assert links(q)[1].all()
    q[20:] += 0.3
    assert np.flatnonzero(~links(q)[1][:, 0]).tolist() == [19]


def test_triangles_face_the_camera(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(float) for i in range(3))
    facing = (np.cross(b - a, c - a) * a).sum(1)
    assert (facing <= 0).all()


def test_uvs_are_the_projection_of_the_vertices(view, mesh):
    camera, _, _ = view
    pixels, _ = camera.project(mesh.vertices)
    assert np.abs(pixels / (camera.width, camera.height) - mesh.uvs).max() * SIZE < 1e-3


def test_nothing_has_no_triangles():
    camera = Camera.from_fov(8, 8, fov_x=60)
    depth = np.full((8, 8), 2.0, np.float32)
    depth[2:4, 3:6] = np.inf
    mesh = corner_mesh(depth, camera)
    assert len(mesh.faces) == 2 * (64 - 6)
    assert np.isfinite(mesh.vertices).all()
    seen = rasterise(mesh.vertices, mesh.faces, camera).covered
    assert (seen == np.isfinite(depth)).all()
    empty = corner_mesh(np.full((4, 4), np.inf, np.float32), Camera.from_fov(4, 4, fov_x=60))
    assert len(empty.faces) == len(empty.vertices) == 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (2, 3)])
def test_single_pixels_and_strips_become_meshes(height, width):
    camera = Camera.from_fov(width, height, fov_x=40)
    mesh = corner_mesh(np.full((height, width), 3.0, np.float32), camera)
    assert len(mesh.faces) == 2 * height * width
    assert np.allclose(mesh.vertices[:, 2], 3)
    assert rasterise(mesh.vertices, mesh.faces, camera).covered.all()


def test_a_constant_map_is_one_flat_sheet():
    camera = Camera.from_fov(16, 9, fov_x=40)
    mesh = corner_mesh(np.full((9, 16), 2.0, np.float32), camera)
    assert len(mesh.vertices) == 17 * 10
    assert np.allclose(mesh.vertices[:, 2], 2)
    assert (edges_of(mesh) <= 2).all()


def test_a_wrong_size_and_nan_are_refused(view):
    with pytest.raises(ValueError, match="camera's pictures"):
        corner_mesh(np.ones((3, 4)), view[0])
    with pytest.raises(ValueError, match="NaN"):
        corner_mesh(np.full((SIZE, SIZE), np.nan), view[0])


def test_a_moved_camera_gives_the_same_mesh_elsewhere(view):
    _, depth, _ = view
    camera = scene.source_camera(SIZE).looking_at((3, 1, -2), (0, 0, 4))
    mesh = corner_mesh(depth, camera)
    pixels, z = camera.project(mesh.vertices)
    assert np.abs(pixels / SIZE - mesh.uvs).max() < 1e-4
    assert (z > 0).all()


def test_the_panorama_closes_at_its_seam_and_poles():
    camera = Camera.equirectangular(64, 32)
    mesh = corner_mesh(np.full((32, 64), 2.0, np.float32), camera)
    assert (edges_of(mesh) == 2).all()
    assert np.allclose(np.linalg.norm(mesh.vertices, axis=1), 2, rtol=1e-5)
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(float) for i in range(3))
    assert ((np.cross(b - a, c - a) * a).sum(1) < 0).all()


def test_an_object_across_the_seam_is_cut_out_whole():
    camera = Camera.equirectangular(64, 32)
    radius = np.full((32, 64), 4.0, np.float32)
    radius[12:20, :5] = radius[12:20, -5:] = 1.0
    mesh = corner_mesh(radius, camera)
    _, place = np.unique(mesh.vertices, axis=0, return_inverse=True)
    near = np.linalg.norm(mesh.vertices, axis=1) < 2
    assert len(np.unique(place.reshape(-1)[near])) == 11 * 9
    counts = edges_of(mesh)
    assert (counts == 1).sum() == 2 * 2 * (10 + 8)


def test_an_orthographic_map_stays_a_box():
    camera = Camera.orthographic(10, 10, scale=2)
    depth = np.full((10, 10), 3.0, np.float32)
    depth[4:6, 4:6] = 2.0
    mesh = corner_mesh(depth, camera)
    assert set(np.unique(mesh.vertices[:, 2])) == {2.0, 3.0}
    assert rasterise(mesh.vertices, mesh.faces, camera).depth == pytest.approx(depth)


def test_turning_keeps_the_shape_and_its_outside(mesh):
    upright = mesh.turned("+y")
    assert np.allclose(upright.vertices, mesh.vertices * (1, -1, -1))
    blender = mesh.turned("+z")
    assert np.allclose(blender.vertices, mesh.vertices[:, [0, 2, 1]] * (1, 1, -1))
    assert np.allclose(blender.turned("-y").vertices, mesh.vertices)


def test_merging_keeps_every_face_where_it_was(mesh):
    both = merged([mesh, mesh.turned("+y")])
    assert len(both.faces) == 2 * len(mesh.faces)
    assert np.allclose(both.vertices[both.faces[-1]], mesh.vertices[mesh.faces[-1]])


def test_vertex_normals_of_a_sheet_point_at_the_camera():
    camera = Camera.from_fov(5, 5, fov_x=40)
    mesh = corner_mesh(np.full((5, 5), 2.0, np.float32), camera)
    assert np.allclose(vertex_normals(mesh), (0, 0, -1))
