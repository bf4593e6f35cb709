import numpy as np
import pytest
import scene

from depth3d.camera import Camera
from depth3d.corner import corner_mesh
from depth3d.layers import background, layered_mesh
from depth3d.render import rasterise, render

SIZE = 384


@pytest.fixture(scope="module")
def view():
    camera = scene.source_camera(SIZE)
    depth, _ = scene.cast(camera)
    return camera, depth.astype(np.float32), scene.picture(camera, 2)


@pytest.fixture(scope="module")
def mesh(view):
    return layered_mesh(view[1], view[0], view[2])


def beside(camera: Camera, x: float) -> Camera:
    return camera.looking_at((x, 0, 0), (x, 0, 1), up=(0, -1, 0))


def test_from_the_side_there_are_no_holes_and_hardly_a_wrong_depth(view, mesh):
    seen = scene.coverage(mesh, beside(view[0], 0.15))
    torn = scene.coverage(corner_mesh(view[1], view[0]), beside(view[0], 0.15))
    assert torn["hole_percent"] > 2
    assert seen["hole_percent"] <= 0.2
    assert seen["wrong_percent"] <= 0.6


def test_the_source_view_is_unchanged(view, mesh):
    plain = scene.coverage(corner_mesh(view[1], view[0]), view[0])
    layered = scene.coverage(mesh, view[0])
    assert layered["hole_percent"] == 0
    assert layered["wrong_percent"] <= plain["wrong_percent"] + 0.01


def test_a_stereo_partner_looks_like_the_true_one(view, mesh):
    camera, depth, _ = view
    right = beside(camera, 0.1)
    drawn = render(mesh.vertices, mesh.faces, right, uvs=mesh.uvs, texture=mesh.texture)[..., :3]
    true = scene.picture(right, 2)
    z, _ = scene.cast(right)
    pixels, far = camera.project(right.unproject(z))
    known = scene.in_source_frame(right, z)
    column, row = np.clip(pixels, 0, SIZE - 1).astype(int).transpose(2, 0, 1)
    uncovered = known & (far > depth[row, column] * 1.02)
    assert scene.psnr(drawn, true, known) >= 34
    assert scene.psnr(drawn, true, uncovered) >= 19


def test_a_wall_behind_a_ball_is_continued_exactly(view):
    camera = scene.source_camera(200)
    depth = np.full((200, 200), 8.0, np.float32)
    rows, columns = np.mgrid[:200, :200]
    depth[(rows - 100) ** 2 + (columns - 100) ** 2 < 40**2] = 3.0
    behind = background(depth, camera)
    assert (behind.hidden == (depth == 3)).all()
    assert np.allclose(behind.depth[behind.hidden], 8, rtol=1e-5)


def test_the_band_ends_where_it_is_told_to(view):
    camera = scene.source_camera(100)
    depth = np.full((100, 100), 8.0, np.float32)
    depth[:, :50] = 2.0
    behind = background(depth, camera, band=10)
    assert np.flatnonzero(behind.hidden[50]).tolist() == list(range(40, 50))


def test_a_map_without_edges_has_no_second_sheet():
    camera = scene.source_camera(32)
    depth = np.full((32, 32), 2.0, np.float32)
    picture = np.zeros((32, 32, 3), np.uint8)
    assert not background(depth, camera).hidden.any()
    assert layered_mesh(depth, camera, picture).texture.shape == picture.shape


def test_hidden_colours_come_from_inpainting_where_it_is_given(view):
    camera, depth, picture = view
    seen = {}

    def paint(image, mask):
        seen["mask"] = mask
        return np.where(mask[..., None], np.uint8(255), image)

    painted = layered_mesh(depth, camera, picture, inpaint=paint).texture
    assert (painted[:SIZE] == picture).all()
    assert (painted[-SIZE:][seen["mask"]] == 255).all()
    with pytest.raises(ValueError, match="keep the picture"):
        layered_mesh(depth, camera, picture, inpaint=lambda image, mask: image[:5])


def test_holes_and_orthographic_cameras_have_layers_too():
    camera = Camera.orthographic(60, 60, scale=2)
    depth = np.full((60, 60), 5.0, np.float32)
    depth[20:40, 20:40] = 3.0
    depth[:5] = np.inf
    behind = background(depth, camera)
    assert behind.hidden.sum() == 400
    assert np.allclose(behind.depth[behind.hidden], 5)
    assert len(layered_mesh(depth, camera).faces) > 2 * 55 * 60


def test_panoramas_are_refused():
    with pytest.raises(ValueError, match="panorama"):
        layered_mesh(np.ones((8, 16)), Camera.equirectangular(16, 8))


def test_amid_clutter_the_background_is_one_smooth_sheet_without_shards():
    """Bars of unlike depth before a rough wall: what each edge's own plane says contradicts the next one's."""
    rng = np.random.default_rng(4)
    size = 200
    wall = 6 + rng.normal(0, 0.25, (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
    depth = wall.astype(np.float32)
    for _ in range(60):
        top, left = rng.integers(0, size - 30, 2)
        depth[top : top + rng.integers(3, 30), left : left + rng.integers(3, 30)] = rng.uniform(2, 3.5)
    camera = scene.source_camera(size)
    mesh = layered_mesh(depth, camera)
    seen = rasterise(mesh.vertices, mesh.faces, beside(camera, 0.9))
    torn = corner_mesh(depth, camera)
    open_before = ~rasterise(torn.vertices, torn.faces, beside(camera, 0.9)).covered
    inner = np.s_[20:-20, 60:-60]
    assert open_before[inner].mean() > 0.1
    assert (~seen.covered)[inner].mean() < 0.25 * open_before[inner].mean()
    behind = background(depth, camera)
    assert (behind.depth[behind.spanned] > depth[behind.spanned]).all()
    q = np.where(behind.spanned, 1 / behind.depth, np.nan)
    steps = np.abs(np.diff(q, axis=1)) / np.fmin(q[:, 1:], q[:, :-1])
    assert np.nanpercentile(steps, 95) < 0.05
