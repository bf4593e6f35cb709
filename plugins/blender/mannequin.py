"""The mannequin: a person to be posed for a pose control, with fingers; its face's marks come with its head."""

from __future__ import annotations

import math
from typing import Any

import bpy
import mathutils

#: Half the thickness of its thickest part: joints lie so deep under its surface.
THICKNESS = 0.14

Place = tuple[float, float, float]

#: Bones as name, parent, head, tail in metres, of the left half and the middle; z up, it looks along −y. The arms hang
#: at 45°, so that they bend both ways.
_BONES: list[tuple[str, str, Place, Place, float]] = [
    ("hips", "", (0, 0, 0.95), (0, 0, 1.1), 0.13),
    ("chest", "hips", (0, 0, 1.1), (0, 0, 1.42), 0.14),
    ("neck", "chest", (0, 0, 1.44), (0, 0, 1.54), 0.05),
    ("head", "neck", (0, 0, 1.54), (0, 0, 1.78), 0.1),
    ("thigh.L", "hips", (0.1, 0, 0.93), (0.11, 0, 0.5), 0.075),
    ("shin.L", "thigh.L", (0.11, 0, 0.5), (0.12, 0, 0.09), 0.05),
    ("foot.L", "shin.L", (0.12, 0, 0.09), (0.12, -0.17, 0.03), 0.04),
    ("upper_arm.L", "chest", (0.18, 0, 1.42), (0.39, 0, 1.22), 0.045),
    ("forearm.L", "upper_arm.L", (0.39, 0, 1.22), (0.57, 0, 1.04), 0.038),
    ("hand.L", "forearm.L", (0.57, 0, 1.04), (0.63, 0, 0.98), 0.03),
]
#: Each finger as how far it lies across the palm, how far it begins along it, and the length of its bones.
_FINGERS = {
    "thumb": (-0.035, 0.01, 0.032),
    "index": (-0.024, 0.09, 0.026),
    "middle": (-0.006, 0.092, 0.028),
    "ring": (0.012, 0.088, 0.026),
    "little": (0.028, 0.08, 0.021),
}


def _bones() -> list[tuple[str, str, Place, Place, float]]:
    out = list(_BONES)
    wrist, along = mathutils.Vector((0.57, 0, 1.04)), mathutils.Vector((1, 0, -1)).normalized()
    for finger, (across, start, length) in _FINGERS.items():
        direction = (along + mathutils.Vector((0, -0.8, 0))).normalized() if finger == "thumb" else along
        begin = wrist + along * start + mathutils.Vector((0, across, 0))
        for joint in (1, 2, 3):
            parent = "hand.L" if joint == 1 else f"{finger}.0{joint - 1}.L"
            end = begin + direction * length
            out.append((f"{finger}.0{joint}.L", parent, tuple(begin), tuple(end), 0.009))
            begin = end
    mirrored = []
    for name, parent, head, tail, radius in out:
        if name.endswith(".L"):
            other = parent[:-1] + "R" if parent.endswith(".L") else parent
            mirrored.append((name[:-1] + "R", other, (-head[0], *head[1:]), (-tail[0], *tail[1:]), radius))
    return out + mirrored


def add(context: bpy.types.Context, location: Place = (0.0, 0.0, 0.0)) -> bpy.types.Object:
    """Add the mannequin at a place: an armature that is to be posed, and its body, which follows."""
    bones = _bones()
    data = bpy.data.armatures.new("Mannequin")
    rig = bpy.data.objects.new("Mannequin", data)
    context.scene.collection.objects.link(rig)
    active = context.view_layer.objects.active
    context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, parent, head, tail, _ in bones:
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = head, tail
        if parent:
            bone.parent = data.edit_bones[parent]
            bone.use_connect = (bone.head - bone.parent.tail).length < 1e-6
    bpy.ops.object.mode_set(mode="OBJECT")
    context.view_layer.objects.active = active
    body = _body(bones)
    context.scene.collection.objects.link(body)
    body.parent = rig
    body.modifiers.new("Mannequin", "ARMATURE").object = rig
    rig.location = location
    rig.show_in_front = True
    context.view_layer.update()
    return rig


def _body(bones: list[tuple[str, str, Place, Place, float]]) -> bpy.types.Object:
    """A capsule around each bone, which it follows alone."""
    vertices: list[Any] = []
    faces: list[tuple[int, ...]] = []
    groups: list[tuple[str, range]] = []
    for name, _, head, tail, radius in bones:
        begin, end = mathutils.Vector(head), mathutils.Vector(tail)
        first = len(vertices)
        rings = _capsule(begin, end, radius)
        count = len(rings[0])
        for ring in rings:
            vertices += ring
        for row in range(len(rings) - 1):
            for i in range(count):
                a, b = first + row * count + i, first + row * count + (i + 1) % count
                faces.append((a, b, b + count, a + count))
        faces.append(tuple(range(first + count - 1, first - 1, -1)))
        last = first + (len(rings) - 1) * count
        faces.append(tuple(range(last, last + count)))
        groups.append((name, range(first, len(vertices))))
    mesh = bpy.data.meshes.new("Mannequin body")
    mesh.from_pydata([tuple(v) for v in vertices], [], faces)
    mesh.polygons.foreach_set("use_smooth", [len(face) == 4 for face in faces])
    mesh.update()
    body = bpy.data.objects.new("Mannequin body", mesh)
    for name, members in groups:
        body.vertex_groups.new(name=name).add(list(members), 1.0, "REPLACE")
    return body


def _capsule(begin: mathutils.Vector, end: mathutils.Vector, radius: float, count: int = 12) -> list[list[Any]]:
    """Rings around an axis, from one round end to the other."""
    axis = (end - begin).normalized()
    side = axis.orthogonal().normalized()
    other = axis.cross(side)
    steps = [math.radians(angle) for angle in (-80, -50, -20)]
    rings = [(begin + axis * radius * math.sin(a) * 0.6, radius * math.cos(a)) for a in steps]
    rings += [(end - axis * radius * math.sin(a) * 0.6, radius * math.cos(a)) for a in reversed(steps)]
    turns = [2 * math.pi * i / count for i in range(count)]
    return [[centre + (side * math.cos(t) + other * math.sin(t)) * r for t in turns] for centre, r in rings]
