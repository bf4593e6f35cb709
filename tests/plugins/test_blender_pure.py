"""The parts of the Blender extension that need no Blender."""

from __future__ import annotations

import numpy as np
import pytest

from depth3d.camera import Camera
from plugins.blender.lines import mesh_lines
from plugins.blender.looks import Coat, texture_of
from plugins.blender.maps import Triangles, albedo, depth_range, edges, maps_of, mist, segmentation
from plugins.blender.palettes import ADE20K, ade20k, ade20k_class, distinct
from plugins.blender.skeletons import SKELETONS, Bone, joints_of, recognise

CAMERA = Camera.from_fov(64, 48, fov_x=60)


def bones_of(skeleton, prefix=""):
    names = [bone for side in (0, 1) for bone in skeleton.bones(side).values()]
    names += [skeleton.neck, skeleton.head, *([skeleton.crown] if skeleton.crown else [])]
    names += [bone for side in (0, 1) for finger in skeleton.finger_bones(side) for bone in finger]
    return [prefix + name for name in names]


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda one: one.name)
def test_a_rig_is_recognised_by_its_names_among_others(skeleton):
    found = recognise([*bones_of(skeleton), "cape", "sword.L", "root"])
    assert found is not None
    assert found[0].name == skeleton.name


def test_prefixes_and_deform_bones_are_understood():
    rigify, mixamo = SKELETONS[0], SKELETONS[1]
    assert recognise(bones_of(mixamo, "mixamorig:"))[0].name == "Mixamo"
    names = recognise([*bones_of(rigify, "ORG-"), *bones_of(rigify, "DEF-")])[1]
    assert names["forearm.L"] == "DEF-forearm.L"
    assert recognise(["spine", "spine.001", "leg.front.L"]) is None


def test_the_face_looks_where_the_person_does_and_turns_with_the_head():
    def bone(head, tail, turn=None):
        along = np.subtract(tail, head).astype(float)
        length = np.linalg.norm(along)
        y = along / length
        x = np.cross(y, (0, 1, 0) if abs(y[1]) < 0.9 else (1, 0, 0))
        x /= np.linalg.norm(x)
        rest = np.eye(4)
        rest[:3, :3] = np.stack([x, y, np.cross(x, y)], 1)
        rest[:3, 3] = head
        posed = rest if turn is None else turn @ rest
        return Bone(rest, posed, length)

    names = SKELETONS[-1]
    bones = {name: bone((0.1, 0, 1), (0.1, 0, 0.9)) for name in bones_of(names)}
    for side, x in ((0, 1), (1, -1)):
        bones[names.bones(side)["shoulder"]] = bone((0.2 * x, 0, 1.4), (0.4 * x, 0, 1.4))
    bones["head"] = bone((0, 0, 1.5), (0, 0, 1.75))
    joints = joints_of(bones)
    nose, left_eye, right_eye = joints.body[0], joints.body[15], joints.body[14]
    assert nose[1] < -0.05  # a person at rest looks along −y, their left is +x
    assert left_eye[0] > 0 > right_eye[0]
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]  # a quarter to their left
    bones["head"] = bone((0, 0, 1.5), (0, 0, 1.75), turn)
    assert joints_of(bones).body[0][0] > 0.05


@pytest.mark.parametrize(
    ("name", "known"),
    [("Oak_Tree.003", "tree"), ("GardenWalls", "wall"), ("street lamp", "lamp"), ("Couch", "sofa"), ("Cube.001", None)],
)
def test_segments_are_known_by_their_names(name, known):
    assert ade20k_class(name) == known


def test_colours_of_segments_differ_and_the_unknown_is_black():
    assert ade20k(["a wall", "xyz"]) == [ADE20K["wall"], (0, 0, 0)]
    palette = distinct(24)
    assert len(set(palette)) == 24
    assert min(max(colour) for colour in palette) > 150
    numbers = np.array([[-1, 0], [1, 0]], np.int32)
    assert segmentation(numbers, palette).tolist()[0] == [[0, 0, 0], list(palette[0])]


def wall(z, normal=(0, 0, -1)):
    """A square of 2 units across the view at a depth; its back is turned where its winding says so."""
    vertices = np.array([[-1, -1, z], [1, -1, z], [1, 1, z], [-1, 1, z]], float)
    faces = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    normals = np.tile(np.float32(normal), (2, 3, 1))
    zero = np.zeros(2, np.int32)
    return Triangles(vertices, faces, normals, zero, zero, np.float32([[0.2, 0.4, 0.6]]), ["Wall"], ["Paint"])


def test_maps_of_a_wall_are_exact_and_its_back_faces_the_viewer_too():
    seen = maps_of(wall(3.0), CAMERA, near=0.1)
    inside = np.isfinite(seen.depth)
    assert inside.any()
    assert np.allclose(seen.depth[inside], 3)
    assert np.allclose(seen.normal[inside], (0, 0, 1), atol=1e-6)
    assert (seen.object[~inside] == -1).all()
    turned = wall(3.0, (0, 0, 1))
    turned = Triangles(
        turned.vertices, turned.faces[:, ::-1], turned.normals, *(getattr(turned, n) for n in (
            "object", "material", "colours", "objects", "materials")),
    )  # fmt: skip
    assert np.allclose(maps_of(turned, CAMERA, near=0.1).normal[inside], (0, 0, 1), atol=1e-6)
    assert np.allclose(albedo(wall(3.0), seen)[inside], (0.2, 0.4, 0.6, 1))


def test_clipping_haze_and_one_range_over_a_rig():
    assert not np.isfinite(maps_of(wall(3.0), CAMERA, near=0.1, far=2.9).depth).any()
    assert not np.isfinite(maps_of(wall(3.0), CAMERA, near=3.1).depth).any()
    near, far = maps_of(wall(2.0), CAMERA, near=0.1), maps_of(wall(5.0), CAMERA, near=0.1)
    assert depth_range([near, far]) == pytest.approx((2, 5))
    assert depth_range([maps_of(wall(3.0), CAMERA, near=9)]) is None
    haze = mist(far.depth, 1.0, 8.0)
    assert haze[np.isfinite(far.depth)].max() == pytest.approx(0.25)
    assert haze[0, 0] == 1


def test_lines_are_one_pixel_wide_and_lie_on_the_nearer_surface():
    seen = maps_of(wall(3.0), CAMERA, near=0.1)
    line = edges(seen)[..., 0] > 0
    inside = np.isfinite(seen.depth)
    assert (line <= inside).all()
    rows, columns = np.nonzero(inside)
    frame = inside.copy()
    frame[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()] = False
    assert (line == frame).all()


def cube_of(turn, **more):
    """A cube of side 2 five units before the camera, turned about its upright axis by so many degrees."""
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([part for a, b, c, d in quads for part in ((a, b, c), (a, c, d))], np.int32)
    angle = np.radians(turn)
    about = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    none = np.zeros(len(faces), np.int32)
    normals = np.zeros((len(faces), 3, 3), np.float32)
    return Triangles(
        corners @ about.T + (0, 0, 5), faces, normals, none, none, np.ones((1, 3), np.float32), ["a"], [""], **more
    )


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_a_mesh_has_lines_at_its_edges_and_none_at_its_diagonals_nor_behind(projection):
    camera = Camera.from_fov(200, 160, fov_x=50)
    if projection == "orthographic":
        camera = Camera(200, 160, 40, 40, 100, 80, "orthographic")
    scene = cube_of(30)
    seen = maps_of(scene, camera, near=0.1)
    drawn = mesh_lines(scene, seen, crease=45, near=0.1)[..., 0] > 0
    edges_of_it = {(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1}
    expected = np.zeros(drawn.shape, bool)
    for a, b in edges_of_it:
        for share in np.linspace(0, 1, 400):
            place = scene.vertices[a] + share * (scene.vertices[b] - scene.vertices[a])
            (x, y), z = camera.project(place)
            around = seen.depth[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2]
            expected[int(y), int(x)] |= bool(z <= around.max() * 1.002)
    assert (drawn == expected).mean() > 0.999
    assert drawn.sum() > 200
    # Its front's diagonal bends nothing.
    middle = scene.vertices[[0, 1, 3, 2]].mean(axis=0)
    (x, y), _ = camera.project(middle)
    assert not drawn[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any()


def test_a_crease_below_the_angle_is_no_line_unless_it_is_marked():
    camera = Camera.from_fov(200, 160, fov_x=50)
    marked = np.array([(0, 3)], np.int32)  # a diagonal of the side that faces the camera most
    for scene, more in ((cube_of(-100), 0), (cube_of(-100, marked=marked), 1)):
        seen = maps_of(scene, camera, near=0.1)
        few = mesh_lines(scene, seen, crease=100, near=0.1)[..., 0] > 0
        many = mesh_lines(scene, seen, crease=45, near=0.1)[..., 0] > 0
        assert few.sum() < many.sum()
        assert (few & ~many).sum() == 0
        (x, y), _ = camera.project(scene.vertices[[0, 3]].mean(axis=0))
        assert few[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].any() == bool(more)


def test_lines_that_leave_the_picture_or_begin_behind_the_camera_are_cut():
    floor = np.array([(-500, 1, -500), (500, 1, -500), (500, 1, 500), (-500, 1, 500), (0, 1, -500), (0, 1, 500)], float)
    faces = np.array([(0, 5, 4), (0, 3, 5), (4, 2, 1), (4, 5, 2)], np.int32)
    none = np.zeros(4, np.int32)
    scene = Triangles(
        floor, faces, np.zeros((4, 3, 3), np.float32), none, np.array([0, 0, 1, 1], np.int32),
        np.ones((2, 3), np.float32), ["a"], ["", "b"],
    )  # fmt: skip
    camera = Camera.from_fov(64, 48, fov_x=60)
    drawn = mesh_lines(scene, maps_of(scene, camera, near=0.1), crease=45, near=0.1)[..., 0] > 0
    assert drawn[26:, 31:33].any(axis=1).all()  # where two materials meet, right below the camera
    assert not drawn[30:, :30].any()


def test_a_scene_without_a_surface_has_no_lines():
    none = np.zeros((0, 3))
    scene = Triangles(
        none, none.astype(np.int32), np.zeros((0, 3, 3), np.float32), *[np.zeros(0, np.int32)] * 2,
        np.zeros((0, 3), np.float32), [], [],
    )  # fmt: skip
    assert not mesh_lines(scene, maps_of(scene, CAMERA, near=0.1), crease=45, near=0.1).any()


def test_a_look_is_laid_into_another_layout():
    # One square on all of the new layout: one of its triangles wears a picture, turned by a quarter, the other green.
    layout = np.array([[0, 0], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], np.float32)
    ramp = np.zeros((32, 32, 3), np.uint8)
    ramp[..., 0] = np.arange(32)[None] * 8
    turned = layout[:, ::-1]
    coats = [Coat(ramp, turned), Coat(np.array([0, 255, 0], np.uint8))]
    look = texture_of(layout, np.array([0, 1]), coats, 64, 64)
    assert (look[..., 3] == 255).all()
    for row, column in ((60, 10), (50, 40), (20, 60), (40, 50)):
        v = 1 - (row + 0.5) / 64
        assert abs(int(look[row, column, 0]) - (v * 32 - 0.5) * 8) <= 4
        assert look[row, column, 1] == 0
    assert (look[5:20, 2:10, :3] == (0, 255, 0)).all()


def test_a_look_repeats_a_picture_or_goes_on_with_its_border():
    layout = np.array([[0, 0], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], np.float32)
    picture = np.zeros((16, 16, 4), np.uint8)
    picture[:, 8:] = 255
    tiled = texture_of(layout, np.zeros(2, int), [Coat(picture, layout * 2)], 64, 64)
    assert (tiled[32, [4, 20, 36, 52], 0] == (0, 255, 0, 255)).all()
    single = texture_of(layout, np.zeros(2, int), [Coat(picture, layout * 2 - 1, repeats=False)], 64, 64)
    assert (single[32, [4, 20, 36, 60], 0] == (0, 0, 0, 255)).all()


def test_a_look_leaves_the_ground_empty_and_fills_the_seams_around_its_islands():
    layout = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75]], np.float32)
    look = texture_of(layout, np.zeros(1, int), [Coat(np.array([9, 8, 7], np.uint8))], 64, 64)
    assert (look[40, 49:55] == (9, 8, 7, 255)).all()
    assert look[5, 5, 3] == 0
