"""Rigs of cameras around an object or along a path: as this project's cameras, and as objects of the scene."""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np

from depth3d import rigs
from depth3d.camera import Camera
from depth3d.coverage import covering, sampled, seen_by

from . import cameras, capture
from .surfaces import SurfaceError

KINDS = (
    ("ORBIT", "Orbit", "A full circle around the object, at the height of the scene's camera"),
    ("TURNTABLE", "Turntable", "A full circle around the object, level with its middle"),
    ("FAN", "Fan", "A part of a circle, with the scene's camera in its middle"),
    ("HEMISPHERE", "Hemisphere", "Evenly over the upper half of a sphere"),
    ("CUBE", "Cube", "Six cameras: before, behind, beside, above and below"),
    ("PATH", "Path", "Along the selected curve, looking at the object"),
    ("COVERAGE", "Coverage", "The fewest cameras that see the wanted share of the surface"),
)
UP = (0.0, 0.0, 1.0)
#: How many places on a sphere are tried for the kind COVERAGE.
_CANDIDATES = 60


def around(
    context: bpy.types.Context,
    target: bpy.types.Object,
    kind: str,
    *,
    count: int = 6,
    degrees: float = 90.0,
    share: float = 0.95,
    focal_length: float = 50.0,
    size: tuple[int, int] = (512, 512),
    elevation: float = 20.0,
) -> tuple[list[Camera], float | None]:
    """Cameras that look at an object, and, for the kind COVERAGE, the share of its surface that they see.

    focal_length: in millimetres, on a sensor 36 mm wide. size: of each picture. elevation: in degrees, how high an
    orbit stands where the scene has no camera. Raises SurfaceError, CameraError.
    """
    scene = context.scene
    depsgraph = context.evaluated_depsgraph_get()
    low, high = _bounds(target, depsgraph)
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    lens = Camera.from_focal_length(*size, focal_length=focal_length)
    distance = rigs.distance_to_frame(lens, max(radius, 1e-6))
    toward = _toward_camera(scene, centre, elevation)
    first = lens.looking_at(centre + distance * toward, centre, UP)
    if kind == "ORBIT":
        return rigs.orbit(first, centre, count, up=UP), None
    if kind == "TURNTABLE":
        flat = np.array([toward[0], toward[1], 0.0])
        flat /= np.linalg.norm(flat)
        level = lens.looking_at(centre + distance * flat, centre, UP)
        return rigs.orbit(level, centre, count, up=UP), None
    if kind == "FAN":
        return rigs.orbit(first, centre, count, degrees=min(degrees, 359.0), up=UP), None
    if kind == "HEMISPHERE":
        return rigs.hemisphere(lens, centre, count, radius=distance, up=UP), None
    if kind == "CUBE":
        return rigs.sides(lens, centre, radius=distance, up=UP, forward=(0.0, -1.0, 0.0)), None
    if kind == "PATH":
        return rigs.along(lens, _path(context, depsgraph), count, target=centre, up=UP), None
    everything = capture.gather(depsgraph)
    mine = everything.object == everything.objects.index(target.name)
    samples = sampled(everything.vertices, everything.faces[mine], 8000)
    candidates = [first, *rigs.sphere(lens, centre, _CANDIDATES, radius=distance, up=UP)]
    seen = [seen_by(camera, samples, everything.vertices, everything.faces) for camera in candidates]
    chosen, reached = covering(seen, share, count if count > 0 else 64)
    return [candidates[index] for index in chosen], reached


def add(
    context: bpy.types.Context, made: list[Camera], name: str, focal_length: float | None = None
) -> bpy.types.Collection:
    """Put cameras into the scene, in a collection of their own, each with the size of its picture."""
    collection = bpy.data.collections.new(name)
    context.scene.collection.children.link(collection)
    for number, camera in enumerate(made, 1):
        data = bpy.data.cameras.new(f"{name} {number:02}")
        obj = bpy.data.objects.new(data.name, data)
        collection.objects.link(obj)
        cameras.place(camera, context.scene, obj)
        data.clip_end = max(data.clip_end, 1000.0)
    return collection


def keyframed(context: bpy.types.Context, made: list[Camera], name: str) -> bpy.types.Object:
    """One camera that is at the next of the rig's places at each frame, from the scene's first frame on."""
    data = bpy.data.cameras.new(name)
    obj = bpy.data.objects.new(name, data)
    context.scene.collection.objects.link(obj)
    obj.rotation_mode = "QUATERNION"
    for frame, camera in enumerate(made, context.scene.frame_start):
        cameras.place(camera, context.scene, obj)
        obj.keyframe_insert("location", frame=frame)
        obj.keyframe_insert("rotation_quaternion", frame=frame)
    return obj


def _bounds(target: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> tuple[Any, Any]:
    if target.type not in capture.SURFACES:
        raise SurfaceError(f"{target.name} has no surface.", "Select the object that the cameras shall see.")
    evaluated = target.evaluated_get(depsgraph)
    matrix = np.array(evaluated.matrix_world, dtype=np.float64)
    corners = np.array(evaluated.bound_box, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return corners.min(axis=0), corners.max(axis=0)


def _toward_camera(scene: bpy.types.Scene, centre: Any, elevation: float) -> Any:
    """The unit direction from the target to the scene's camera; from the front where there is none."""
    if scene.camera is not None:
        arm = np.array(scene.camera.matrix_world.translation, dtype=np.float64) - centre
        length = float(np.linalg.norm(arm))
        if length > 1e-6 and abs(arm[2]) < 0.95 * length:
            return arm / length
    angle = math.radians(elevation)
    return np.array([0.0, -math.cos(angle), math.sin(angle)])


def _path(context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> Any:
    curve = next((obj for obj in context.selected_objects if obj.type == "CURVE"), None)
    if curve is None:
        raise SurfaceError("No curve is selected.", "Select the curve along which the cameras shall stand, too.")
    evaluated = curve.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    try:
        flat = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", flat)
    finally:
        evaluated.to_mesh_clear()
    matrix = np.array(evaluated.matrix_world, dtype=np.float64)
    points = flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
    if len(points) < 2:
        raise SurfaceError(f"{curve.name} has no points along it.", "Select another curve.")
    return points
