from dataclasses import replace

import numpy as np
import pytest
import scene

from depth3d.bake import Blending, Canvas, View, bake
from depth3d.camera import Camera
from depth3d.corner import corner_mesh
from depth3d.normals import normals_from_depth, opengl_to_normals
from depth3d.relief import solid
from depth3d.render import rasterise
from depth3d.texels import dilated, texels
from depth3d.texture import detail_maps, unwrapped

#: A wall of 4 × 3 metres seen steeply from the side, so that an affine projection would be far off.
WALL = np.array([[-2, -1.5, 0], [2, -1.5, 0], [2, 1.5, 0], [-2, 1.5, 0.0]])
FACES = np.array([[0, 2, 1], [0, 3, 2]])
UVS = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])


def pattern(points: np.ndarray) -> np.ndarray:
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return 128 + 100 * np.stack([np.sin(3 * x + z), np.cos(4 * y), np.sin(2 * x - 3 * y + z)], -1)


def painted(camera: Camera, vertices, faces) -> View:
    """What a perfect painter would paint: the pattern at each pixel's place on the mesh."""
    raster = rasterise(vertices, faces, camera)
    place = raster.interpolate(faces, vertices)
    return View(camera, np.where(raster.covered[..., None], np.rint(pattern(place)), 0).astype(np.uint8), raster.depth)


def camera_at(*eye: float) -> Camera:
    return Camera.from_fov(400, 300, fov_x=60).looking_at(eye, (0, 0, 0), up=(0, -1, 0))


def test_a_steep_wall_gets_its_own_pattern_back():
    view = painted(camera_at(3.2, 0.3, -2.0), WALL, FACES)
    baked = bake(WALL, FACES, UVS, [view], width=160, height=120, dilation=0)
    places = texels(WALL, FACES, UVS, 160, 120)
    truth = pattern(places.points).reshape(120, 160, 3)
    error = np.abs(baked.texture[..., :3] - truth)[baked.seen]
    assert baked.seen.mean() > 0.7
    assert error.mean() < 2


def test_the_projection_divides_by_depth():
    # One texel in the middle of the wall: its place, projected, is not the middle of the projected corners.
    camera = camera_at(3.2, 0.3, -2.0)
    corners, _ = camera.project(WALL)
    middle, _ = camera.project(texels(WALL, FACES, UVS, 1, 1).points)
    assert np.linalg.norm(middle[0] - corners.mean(0)) > 30
    assert np.linalg.norm(middle[0] - camera.project([0, 0, 0])[0]) < 1e-6


def tilted(camera: Camera, degrees: float) -> Camera:
    """The camera turned about the wall's upright axis."""
    turn = np.radians(degrees)
    eye = 3.5 * np.array([np.sin(turn), 0, -np.cos(turn)])
    return camera.looking_at(eye, (0, 0, 0), up=(0, -1, 0))


PARENT = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, -20], [0, 0, 1, 300], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("degrees", [30, 60, 75])
@pytest.mark.parametrize("kind", ["perspective", "shifted", "orthographic", "parented", "small picture"])
def test_each_texel_gets_what_lies_at_its_place_to_within_one_texel(kind, degrees):
    camera = tilted(Camera.from_fov(1024, 768, fov_x=60), degrees)
    wall = WALL
    if kind == "shifted":
        camera = replace(camera, cx=camera.cx + 90, cy=camera.cy - 60)
    elif kind == "orthographic":
        camera = tilted(Camera.orthographic(1024, 768, scale=4.5), degrees)
    elif kind == "parented":
        wall = WALL @ PARENT[:3, :3].T + PARENT[:3, 3]
        camera = replace(camera, world_to_camera=camera.world_to_camera @ np.linalg.inv(PARENT))
    raster = rasterise(wall, FACES, camera)
    place = raster.interpolate(FACES, UVS)
    picture = np.zeros((768, 1024, 3), np.uint8)
    picture[..., :2] = np.rint(place * 255)
    if kind == "small picture":
        picture = picture.reshape(384, 2, 512, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    baked = bake(wall, FACES, UVS, [View(camera, picture, raster.depth)], width=160, height=120, dilation=0)
    row, column = np.nonzero(baked.seen)
    found = baked.texture[row, column, :2] / 255.0 * (160, 120)
    off = np.linalg.norm(found - np.stack([column + 0.5, row + 0.5], 1), axis=1)
    # Half the step of 8 bits over 160 texels is 0.31 of one.
    inner = (column > 2) & (column < 157) & (row > 2) & (row < 117)
    assert inner.sum() > 5000
    assert off[inner].max() <= 1


def test_what_a_view_cannot_see_is_not_painted_by_it():
    screen = np.array([[-0.7, -0.7, -1], [0.7, -0.7, -1], [0.7, 0.7, -1], [-0.7, 0.7, -1.0]])
    vertices, faces = np.concatenate([WALL, screen]), np.concatenate([FACES, FACES + 4])
    uvs = np.concatenate([UVS * (0.5, 1), UVS * (0.5, 1) + (0.5, 0)])
    view = painted(camera_at(0, 0, -4), vertices, faces)
    baked = bake(vertices, faces, uvs, [view], width=200, height=150, dilation=0)
    places = texels(vertices, faces, uvs, 200, 150)
    wall = places.index % 200 < 100
    x, y, _ = places.points.T
    # From 4 m the screen at 3 m hides the wall within 4/3 of its own size.
    hidden = wall & (np.abs(x) < 0.9) & (np.abs(y) < 0.9)
    open_wall = wall & ((np.abs(x) > 0.97) | (np.abs(y) > 0.97)) & (np.abs(x) < 1.9) & (np.abs(y) < 1.4)
    seen = baked.seen.ravel()[places.index]
    assert not seen[hidden].any()
    assert seen[open_wall].all()
    assert seen[~wall].all()


def test_backs_are_not_painted():
    view = painted(camera_at(0, 0, 4), WALL, FACES)
    assert not bake(WALL, FACES, UVS, [view], width=40, height=30).seen.any()


def test_two_views_meet_without_a_seam_and_the_squarer_one_wins():
    left, right = (painted(camera_at(x, 0, -3), WALL, FACES) for x in (-2.5, 2.5))
    red = View(left.camera, np.full((300, 400, 3), (255, 0, 0), np.uint8), left.depth)
    blue = View(right.camera, np.full((300, 400, 3), (0, 0, 255), np.uint8), right.depth)
    baked = bake(WALL, FACES, UVS, [red, blue], width=160, height=120, dilation=0)
    row = baked.texture[60].astype(int)
    assert row[20, 0] > 200
    assert row[140, 2] > 200
    assert np.abs(np.diff(row[10:150, 0])).max() < 40


def test_the_nearer_view_wins_where_both_look_squarely():
    near, far = (painted(camera_at(0, 0, -z), WALL, FACES) for z in (3, 12))
    red = View(near.camera, np.full((300, 400, 3), (255, 0, 0), np.uint8), near.depth)
    blue = View(far.camera, np.full((300, 400, 3), (0, 0, 255), np.uint8), far.depth)
    baked = bake(WALL, FACES, UVS, [blue, red], width=640, height=480, dilation=0)
    assert baked.texture[240, 320, 0] > 230


def test_a_silhouette_lends_no_colour_to_what_lies_behind_it():
    screen = np.array([[-0.7, -0.7, -1], [0.7, -0.7, -1], [0.7, 0.7, -1], [-0.7, 0.7, -1.0]])
    vertices, faces = np.concatenate([WALL, screen]), np.concatenate([FACES, FACES + 4])
    uvs = np.concatenate([UVS * (0.5, 1), UVS * (0.5, 1) + (0.5, 0)])
    camera = camera_at(0.3, 0.2, -4)
    raster = rasterise(vertices, faces, camera)
    picture = np.where((raster.face >= 2)[..., None], (255, 0, 0), (0, 255, 0)).astype(np.uint8)
    baked = bake(
        vertices, faces, uvs, [View(camera, picture, raster.depth)], width=400, height=300, dilation=0,
        blending=Blending(edge=0),
    )  # fmt: skip
    wall, front = baked.texture[:, :200], baked.texture[:, 200:]
    assert (wall[wall[..., 3] > 0][:, :3] == (0, 255, 0)).all()
    assert (front[front[..., 3] > 0][:, :3] == (255, 0, 0)).all()
    assert (front[..., 3] > 0).mean() > 0.95


def test_beside_a_seam_every_texel_is_covered_and_beside_what_is_unseen_none_is():
    # Two walls back to back, each with an island of its own; the camera sees one.
    uvs = np.concatenate([UVS * (0.4, 0.8) + (0.05, 0.1), UVS * (0.4, 0.8) + (0.55, 0.1)])
    faces = np.concatenate([FACES, FACES[:, ::-1] + 4])
    vertices = np.concatenate([WALL, WALL + np.array([0, 0, 0.1])])
    view = painted(camera_at(0, 0, -4.5), vertices, faces)
    baked = bake(vertices, faces, uvs, [view], width=200, height=100, dilation=4)
    front = baked.texture[:, :100, 3] > 0
    assert front[6:94, 6:94].all()
    assert not front[:5].any()
    assert not (baked.texture[:, 110:, 3] > 0).any()
    assert not baked.seen[:, 100:].any()
    assert baked.coverage == pytest.approx(0.5, abs=1e-3)


def test_a_view_laid_over_replaces_what_is_there_and_leaves_the_rest():
    view = painted(camera_at(0, 0, -3.5), WALL, FACES)
    canvas = Canvas(WALL, FACES, UVS, 160, 120)
    canvas.add(View(view.camera, np.full((300, 400, 3), (255, 0, 0), np.uint8), view.depth))
    half = np.zeros((300, 400), np.float32)
    half[:, 200:] = 1
    blue = View(view.camera, np.full((300, 400, 3), (0, 0, 255), np.uint8), view.depth, half)
    canvas.add(blue, over=True)
    row = canvas.baked().texture[60]
    assert (row[20:75, :3] == (255, 0, 0)).all()
    assert (row[85:140, :3] == (0, 0, 255)).all()
    colours, confidence, weight = canvas.render(canvas.baked(), view.camera)
    assert (colours[150, 100, :3] == (255, 0, 0)).all()
    assert confidence[150, 200] > 0
    assert weight[150, 200] > weight[150, 30]


def test_masks_and_weights_decide_what_counts():
    view = painted(camera_at(0, 0, -3), WALL, FACES)
    half = np.zeros((300, 400), np.float32)
    half[:, 200:] = 1
    baked = bake(WALL, FACES, UVS, [View(view.camera, view.image, view.depth, half)], width=80, height=60, dilation=0)
    assert not baked.seen[30, :38].any()
    assert baked.seen[30, 42:70].all()
    with pytest.raises(ValueError, match="no view"):
        bake(WALL, FACES, UVS, [], width=8, height=8)
    with pytest.raises(ValueError, match="depth has shape"):
        bake(WALL, FACES, UVS, [View(view.camera, view.image, view.depth[:5])], width=8, height=8)


def test_dilation_fills_around_islands_and_nothing_inside():
    picture = np.zeros((9, 9, 4), np.uint8)
    picture[4, 4] = (200, 100, 50, 255)
    grown = dilated(picture, 2)
    assert (grown[2:7, 2:7] == (200, 100, 50, 255)).all()
    assert grown[..., 3].sum() == 25 * 255
    assert (dilated(picture, 0) == picture).all()


@pytest.mark.parametrize("moved", [False, True])
def test_detail_maps_bring_the_full_normals_and_heights_back(moved):
    camera = scene.source_camera(256)
    if moved:
        camera = camera.looking_at((3, 1, -2), (0, 0, 4))
    rows, columns = np.mgrid[:256, :256]
    depth = (4 + 0.02 * np.sin(columns / 5) * np.sin(rows / 7)).astype(np.float32)
    flat = corner_mesh(np.full((256, 256), 4, np.float32), camera)
    maps = detail_maps(flat, depth, camera)
    # The flat sheet faces the camera, so that its tangent space is camera space.
    full = normals_from_depth(depth, camera)
    angle = np.degrees(np.arccos(np.clip((opengl_to_normals(maps.normal) * full).sum(-1), -1, 1)))
    assert np.degrees(np.arccos(full[..., 2])).mean() > 3
    assert angle.mean() < 0.5
    # Along each pixel's own ray, seen along the sheet's normal.
    assert np.abs(maps.height - (4 - depth)).max() < 1e-4


def test_detail_of_an_unsimplified_mesh_is_flat():
    camera = scene.source_camera(64)
    depth = np.full((64, 64), 3.0, np.float32)
    maps = detail_maps(corner_mesh(depth, camera), depth, camera)
    assert (maps.normal == (128, 128, 255)).all()
    assert np.abs(maps.height).max() < 1e-5


def test_a_closed_mesh_is_unwrapped_without_overlap():
    pytest.importorskip("xatlas", reason="xatlas is not installed")
    rng = np.random.default_rng(0)
    box = solid(5 + rng.random((6, 8)), width=10)
    flat = unwrapped(box)
    assert len(flat.faces) == len(box.faces)
    assert flat.uvs.min() >= 0
    assert flat.uvs.max() <= 1
    corners = flat.uvs[flat.faces].astype(float)
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]).sum() / 2
    covered = len(texels(flat.vertices, flat.faces, flat.uvs, 512, 512).index) / 512**2
    assert covered == pytest.approx(area, rel=0.05)
