"""What a Blender scene holds, gathered into arrays on the main thread: triangles, joints, one object's mesh.

Nothing is rendered and nothing is set: the evaluated scene is read as the viewport shows it, with modifiers, instances
and child collections, and without what is hidden in the viewport or in renders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from depth3d.camera import Camera
from depth3d.pose import Pose

from .coats import colour_of
from .maps import Maps, Triangles, maps_of
from .skeletons import Bone, Joints, joints_of

#: Kinds of objects that have a surface.
SURFACES = {"MESH", "CURVE", "SURFACE", "FONT", "META"}
#: Where an armature keeps a mapping of one's own: keypoint to bone.
MAPPING = "brushwire_joints"


@dataclass(frozen=True, eq=False)
class _Local:
    """One mesh in its object's space. normals: (m, 3, 3). slots: (m,) which material slot. marked: (k, 2) vertices."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    slots: NDArray[np.int32]
    marked: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Surface:
    """One mesh in world space. vertices: (n, 3), triangles: (m, 3), slots: (m,) which material slot.

    uvs: of each UV layer (3·m, 2), for each corner, u to the right and v up.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.uint32]
    uvs: dict[str, NDArray[np.float32]]
    slots: NDArray[np.int32]


def gather(depsgraph: bpy.types.Depsgraph, *, marks: bool = False) -> Triangles:
    """Everything that the evaluated scene shows, as triangles in world space. marks: with the marked edges, too."""
    vertices, faces, normals, objects, materials, marked = [], [], [], [], [], []
    object_numbers: dict[str, int] = {}
    material_numbers: dict[str, int] = {}
    colours: list[tuple[float, float, float]] = []
    notes: list[str] = []
    meshes: dict[int, _Local] = {}
    offset = 0
    for instance in depsgraph.object_instances:
        obj = instance.object
        if obj.type not in SURFACES or not instance.show_self:
            continue
        source = instance.parent if instance.is_instance else obj
        if source.original.hide_render or obj.original.hide_render:
            continue
        key = obj.data.as_pointer() if obj.data is not None else obj.as_pointer()
        if key not in meshes:
            meshes[key] = _local(obj, marks)
        mesh = meshes[key]
        if not len(mesh.faces):
            continue
        matrix = np.array(instance.matrix_world, dtype=np.float64)
        vertices.append(mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3])
        triangles, corner_normals = mesh.faces, mesh.normals
        if np.linalg.det(matrix[:3, :3]) < 0:
            # A mirrored object shows its triangles wound the other way round.
            triangles, corner_normals = triangles[:, ::-1], corner_normals[:, ::-1]
        faces.append(triangles + np.int32(offset))
        marked.append(mesh.marked + np.int32(offset))
        offset += len(mesh.vertices)
        normals.append(_turned(corner_normals, matrix))
        number = object_numbers.setdefault(obj.name, len(object_numbers))
        objects.append(np.full(len(triangles), number, np.int32))
        table = []
        for slot in obj.material_slots or [None]:
            material = slot.material if slot is not None else None
            name = material.name if material is not None else ""
            if name not in material_numbers:
                material_numbers[name] = len(material_numbers)
                colours.append(colour_of(material, notes))
            table.append(material_numbers[name])
        materials.append(np.array(table, np.int32)[np.clip(mesh.slots, 0, len(table) - 1)])
    if not faces:
        empty = np.zeros((0, 3))
        return Triangles(
            empty, empty.astype(np.int32), np.zeros((0, 3, 3), np.float32), *[np.zeros(0, np.int32)] * 2,
            np.zeros((0, 3), np.float32), [], [], notes,
        )  # fmt: skip
    return Triangles(
        np.concatenate(vertices),
        np.concatenate(faces),
        np.concatenate(normals),
        np.concatenate(objects),
        np.concatenate(materials),
        np.array(colours, np.float32),
        list(object_numbers),
        list(material_numbers),
        notes,
        np.concatenate(marked),
    )


def maps(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, camera: bpy.types.Object, shot: Camera) -> Maps:
    """What a camera object sees through `shot`, within its clipping range."""
    return maps_of(gather(depsgraph), shot, near=camera.data.clip_start, far=camera.data.clip_end)


def crease_of(layer: bpy.types.ViewLayer) -> float:
    """By how many degrees an edge's faces turn at least, to be a crease: as Freestyle is set up in a view layer."""
    return 180.0 - math.degrees(layer.freestyle_settings.crease_angle)


def people(depsgraph: bpy.types.Depsgraph) -> list[Joints]:
    """The joints of every visible armature that is a person's, in world space."""
    out = []
    for instance in depsgraph.object_instances:
        obj = instance.object
        if obj.type != "ARMATURE" or not instance.show_self:
            continue
        bones = {
            bone.name: Bone(
                np.array(bone.bone.matrix_local, dtype=np.float64),
                np.array(bone.matrix, dtype=np.float64),
                float(bone.bone.length),
            )
            for bone in obj.pose.bones
        }
        own = obj.original.get(MAPPING)
        joints = joints_of(bones, dict(own) if isinstance(own, Mapping) or hasattr(own, "items") else None)
        if joints is not None:
            out.append(_moved(joints, np.array(instance.matrix_world, dtype=np.float64)))
    return out


def poses(
    everyone: list[Joints], camera: Camera, depth: NDArray[np.float32] | None = None, thickness: float = 0.0
) -> tuple[NDArray[np.float32], int]:
    """Keypoints for a pose control: (n·people, 3) float32 of x, y in pixels and visibility; and n, 18, 60 or 130.

    depth: hides joints that lie more than `thickness` behind what the camera sees there; None: nothing is occluded.
    """
    found = [
        Pose.from_scene(
            camera,
            joints.body,
            left_hand=joints.left_hand,
            right_hand=joints.right_hand,
            face=joints.face,
            depth=depth,
            thickness=thickness,
        )
        for joints in everyone
    ]
    points = 18
    if any(pose.left_hand is not None or pose.right_hand is not None for pose in found):
        points = 60
    if any(pose.face is not None for pose in found):
        points = 130
    scale = np.array([camera.width, camera.height, 1.0])
    rows = []
    for pose in found:
        parts: list[Any] = [pose.body]
        if points >= 60:
            parts += [hand if hand is not None else np.zeros((21, 3)) for hand in (pose.left_hand, pose.right_hand)]
        if points == 130:
            parts.append(pose.face if pose.face is not None else np.zeros((70, 3)))
        rows.append(np.concatenate(parts) * scale)
    flat = np.concatenate(rows) if rows else np.zeros((0, 3))
    return flat.astype(np.float32), points


def surface(obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> Surface:
    """One object's evaluated mesh in world space, with all its UV layers."""
    evaluated = obj.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    try:
        local = _read(mesh)
        corners = corners_of(mesh)
        uvs = {}
        for layer in mesh.uv_layers:
            flat = np.empty(2 * len(mesh.loops), np.float32)
            layer.uv.foreach_get("vector", flat)
            uvs[layer.name] = flat.reshape(-1, 2)
    finally:
        evaluated.to_mesh_clear()
    matrix = np.array(evaluated.matrix_world, dtype=np.float64)
    world = local.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    faces = local.faces
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces, corners = faces[:, ::-1], corners[:, ::-1]
    return Surface(
        np.ascontiguousarray(world, np.float32),
        np.ascontiguousarray(faces, np.uint32),
        {name: flat[corners.ravel()] for name, flat in uvs.items()},
        local.slots,
    )


def _local(obj: bpy.types.Object, marks: bool) -> _Local:
    if obj.type == "MESH":
        return _read(obj.data, marks)
    mesh = obj.to_mesh()
    if mesh is None:
        none = np.zeros((0, 3), np.int32)
        return _Local(none.astype(np.float32), none, none.astype(np.float32), none[:, 0], none[:, :2])
    try:
        return _read(mesh, marks)
    finally:
        obj.to_mesh_clear()


def _read(mesh: bpy.types.Mesh, marks: bool = False) -> _Local:
    loops = corners_of(mesh)
    # By way of the loops and the faces, which lie in Blender as arrays: what a triangle is asked for by itself (its
    # vertices, its material) comes one by one, and takes a hundred times as long.
    of_loops = np.empty(len(mesh.loops), np.int32)
    mesh.attributes[".corner_vert"].data.foreach_get("value", of_loops)
    slots = np.zeros(len(loops), np.int32)
    by_face = mesh.attributes.get("material_index")
    if by_face is not None:
        of_faces, face = np.empty(len(mesh.polygons), np.int32), np.empty(len(loops), np.int32)
        by_face.data.foreach_get("value", of_faces)
        mesh.loop_triangle_polygons.foreach_get("value", face)
        slots = of_faces[face]
    # Corner normals hold everything: flat and smooth faces, sharp edges, and normals of the artist's own.
    normals = _vectors(mesh.corner_normals, "vector", len(mesh.loops))
    vertices = _vectors(mesh.vertices, "co", len(mesh.vertices))
    marked = _marked(mesh) if marks else np.zeros((0, 2), np.int32)
    return _Local(vertices, of_loops[loops], normals[loops], slots, marked)


def _vectors(owner: Any, name: str, count: int) -> NDArray[np.float32]:
    flat = np.empty(3 * count, np.float32)
    owner.foreach_get(name, flat)
    return flat.reshape(-1, 3)


def _marked(mesh: bpy.types.Mesh) -> NDArray[np.int32]:
    """The edges that are marked for Freestyle, as their vertices, (k, 2)."""
    marks = np.zeros(len(mesh.edges), bool)
    by_edge = mesh.attributes.get("freestyle_edge")
    if by_edge is not None:
        by_edge.data.foreach_get("value", marks)
    elif "use_freestyle_mark" in bpy.types.MeshEdge.bl_rna.properties:  # before Blender 5
        mesh.edges.foreach_get("use_freestyle_mark", marks)
    ends = np.empty(2 * len(mesh.edges), np.int32)
    mesh.edges.foreach_get("vertices", ends)
    return ends.reshape(-1, 2)[marks]


def corners_of(mesh: bpy.types.Mesh) -> NDArray[np.int32]:
    """The loops of each of a mesh's triangles, (m, 3)."""
    mesh.calc_loop_triangles()
    count = len(mesh.loop_triangles)
    if count == len(mesh.polygons) and 3 * count == len(mesh.loops):
        return np.arange(3 * count, dtype=np.int32).reshape(-1, 3)  # they are its faces
    loops = np.empty(3 * count, np.int32)
    mesh.loop_triangles.foreach_get("loops", loops)
    return loops.reshape(-1, 3)


def _turned(normals: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Normals (m, 3, 3) by the inverse transpose of an object's matrix, of unit length."""
    linear = matrix[:3, :3]
    # The cofactors are the inverse transpose but for its scale, and stand where an object is flattened too.
    cofactors = np.stack(
        [np.cross(linear[1], linear[2]), np.cross(linear[2], linear[0]), np.cross(linear[0], linear[1])]
    )
    if np.linalg.det(linear) < 0:
        cofactors = -cofactors
    out = normals @ cofactors.T.astype(np.float32)
    length = np.linalg.norm(out, axis=-1, keepdims=True)
    return np.asarray(np.divide(out, length, out=np.zeros_like(out), where=length > 0), np.float32)


def _moved(joints: Joints, matrix: NDArray[np.float64]) -> Joints:
    def world(points: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if points is None else points @ matrix[:3, :3].T + matrix[:3, 3]

    body = world(joints.body)
    assert body is not None
    return Joints(joints.rig, body, world(joints.left_hand), world(joints.right_hand), world(joints.face))
