"""The parts of the Blender extension that need no Blender."""

from __future__ import annotations

import numpy as np
import pytest

from depth3d.camera import Camera
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
