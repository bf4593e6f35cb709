"""Rigs: several cameras placed together, for stereo, for moving pictures and for painting an object all around.

All of them are copies of one camera, moved; `up` is the scene's upward direction (Blender: 0, 0, 1; an unmoved camera's
own scene: 0, −1, 0).

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from .camera import Camera, Float


def shifted(camera: Camera, x: float, y: float = 0.0, z: float = 0.0) -> Camera:
    """The camera moved along its own axes by scene units: x to the right, y down, z forward. It does not turn."""
    matrix = np.eye(4)
    matrix[:3, 3] = (-x, -y, -z)
    return replace(camera, world_to_camera=matrix @ camera.world_to_camera)


def stereo(camera: Camera, baseline: float, *, convergence: float | None = None) -> tuple[Camera, Camera]:
    """A left and a right eye, half the baseline to each side, with parallel axes.

    convergence: the depth that appears on the screen's plane. It shifts the pictures' principal points (an off-axis
    rig), and does not turn the eyes inward, which would tilt the pictures against each other.
    """
    eyes = []
    for side in (-1, 1):
        eye = shifted(camera, side * baseline / 2)
        if convergence is not None:
            eye = replace(eye, cx=camera.cx + side * camera.fx * baseline / 2 / convergence)
        eyes.append(eye)
    return eyes[0], eyes[1]


def orbit(
    camera: Camera, target: ArrayLike, count: int, *, degrees: float = 360.0, up: ArrayLike = (0.0, -1.0, 0.0)
) -> list[Camera]:
    """`count` cameras on a circle about the target's upright axis, at this camera's height and distance.

    A full circle starts at the camera; a part of one (a fan) has the camera in its middle. All look at the target.
    """
    if count < 1:
        raise ValueError(f"count is {count}; a rig has at least one camera")
    axis = _unit(up)
    centre = np.asarray(target, dtype=np.float64)
    arm = camera.position - centre
    if degrees >= 360:
        angles = np.arange(count) * 360 / count
    else:
        angles = np.linspace(-degrees / 2, degrees / 2, count) if count > 1 else np.zeros(1)
    return [camera.looking_at(centre + _turned(arm, axis, math.radians(a)), centre, axis) for a in angles]


def hemisphere(
    camera: Camera, target: ArrayLike, count: int, *, radius: float, up: ArrayLike = (0.0, -1.0, 0.0)
) -> list[Camera]:
    """`count` cameras spread evenly over the upper half of a sphere about the target (a Fibonacci lattice)."""
    return _at_heights(camera, target, (np.arange(count) + 0.5) / max(count, 1), radius, up)


def sphere(
    camera: Camera, target: ArrayLike, count: int, *, radius: float, up: ArrayLike = (0.0, -1.0, 0.0)
) -> list[Camera]:
    """`count` cameras spread evenly over a whole sphere about the target (a Fibonacci lattice)."""
    return _at_heights(camera, target, 1 - 2 * (np.arange(count) + 0.5) / max(count, 1), radius, up)


def sides(
    camera: Camera, target: ArrayLike, *, radius: float, up: ArrayLike = (0.0, -1.0, 0.0), forward: ArrayLike
) -> list[Camera]:
    """Six cameras around the target, as on the faces of a cube: before it, to its right, behind it, to its left, above
    and below. forward: (3,), the direction into which the target looks.
    """
    axis = _unit(up)
    ahead = np.asarray(forward, dtype=np.float64)
    ahead = _unit(ahead - axis * (axis @ ahead))
    right = np.cross(ahead, axis)
    centre = np.asarray(target, dtype=np.float64)
    looks = [(ahead, axis), (right, axis), (-ahead, axis), (-right, axis), (axis, -ahead), (-axis, ahead)]
    return [camera.looking_at(centre + radius * direction, centre, upward) for direction, upward in looks]


def along(
    camera: Camera, path: ArrayLike, count: int, *, target: ArrayLike | None = None, up: ArrayLike = (0.0, -1.0, 0.0)
) -> list[Camera]:
    """`count` cameras at even distances along a path (n, 3), looking at the target, or along the path without one."""
    points = np.asarray(path, dtype=np.float64)
    if count < 1 or points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
        raise ValueError("a path has at least 2 points (n, 3), and a rig at least one camera")
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    if not way[-1] > 0:
        raise ValueError("the path has no length")

    def at(distance: Float) -> Float:
        return np.stack([np.interp(distance, way, points[:, axis]) for axis in range(3)], axis=-1)

    places = np.linspace(0, way[-1], count) if count > 1 else way[-1:] / 2
    eyes = at(places)
    if target is not None:
        looks = np.broadcast_to(np.asarray(target, dtype=np.float64), eyes.shape)
    else:
        step = way[-1] * 1e-3
        looks = eyes + at(np.minimum(places + step, way[-1])) - at(np.maximum(places - step, 0))
    return [camera.looking_at(eye, look, _unit(up)) for eye, look in zip(eyes, looks, strict=True)]


def distance_to_frame(camera: Camera, radius: float, margin: float = 1.1) -> float:
    """How far this camera must stand to have a whole sphere of that radius in its picture, with some margin."""
    if camera.projection == "orthographic":
        return radius * 2 * margin
    half = min(camera.width / 2 / camera.fx, camera.height / 2 / camera.fy)
    return margin * radius / math.sin(math.atan(half))


def sway(camera: Camera, target: ArrayLike, count: int, *, amplitude: float) -> list[Camera]:
    """`count` cameras on a small flat ellipse around the camera, looking at the target: a closed parallax loop.

    amplitude: how far to the side the camera goes, in scene units; up and down it goes a third of that.
    """
    down = camera.camera_to_world[:3, 1]
    cameras = []
    for i in range(count):
        angle = 2 * math.pi * i / count
        eye = shifted(camera, amplitude * math.sin(angle), amplitude / 3 * math.cos(angle)).position
        cameras.append(camera.looking_at(eye, target, -down))
    return cameras


def cube_faces(size: int, position: ArrayLike = (0.0, 0.0, 0.0)) -> dict[str, Camera]:
    """The six 90° cameras of a cube map in an unmoved camera's axes: front, right, back, left, up, down."""
    eye = np.asarray(position, dtype=np.float64)
    base = Camera.from_fov(size, size, fov_x=90)
    looks = {
        "front": ((0, 0, 1), (0, -1, 0)),
        "right": ((1, 0, 0), (0, -1, 0)),
        "back": ((0, 0, -1), (0, -1, 0)),
        "left": ((-1, 0, 0), (0, -1, 0)),
        "up": ((0, -1, 0), (0, 0, -1)),
        "down": ((0, 1, 0), (0, 0, 1)),
    }
    return {name: base.looking_at(eye, eye + forward, up) for name, (forward, up) in looks.items()}


def _unit(vector: ArrayLike) -> Float:
    v = np.asarray(vector, dtype=np.float64)
    length = np.linalg.norm(v)
    if not length > 0:
        raise ValueError("the up direction is a zero vector")
    return np.asarray(v / length)


def _turned(vector: Float, axis: Float, angle: float) -> Float:
    """Rodrigues's rotation of a vector about a unit axis."""
    along = axis * (axis @ vector)
    turned = along + (vector - along) * math.cos(angle) + np.cross(axis, vector) * math.sin(angle)
    return np.asarray(turned)


def _at_heights(camera: Camera, target: ArrayLike, heights: Float, radius: float, up: ArrayLike) -> list[Camera]:
    """Cameras on a sphere about the target, each at its height, −1 to 1, and a golden angle further round."""
    if not len(heights):
        raise ValueError("count is 0; a rig has at least one camera")
    axis = _unit(up)
    side = _unit(np.cross(axis, (1.0, 0.0, 0.0) if abs(axis[0]) < 0.9 else (0.0, 1.0, 0.0)))
    other = np.cross(axis, side)
    centre = np.asarray(target, dtype=np.float64)
    cameras = []
    for i, height in enumerate(heights):
        ring, angle = math.sqrt(1 - height * height), i * math.pi * (3 - math.sqrt(5))
        direction = axis * height + ring * (side * math.cos(angle) + other * math.sin(angle))
        # Straight above and below, another direction than the axis must be up.
        upright = axis if ring > 1e-3 else side
        cameras.append(camera.looking_at(centre + radius * direction, centre, upright))
    return cameras
