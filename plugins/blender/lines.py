"""The lines of a scene's meshes as one camera sees them: those that Freestyle draws, from the meshes themselves.

Freestyle sets up strokes in the render, with settings of the scene that a capture must not touch. Which of a mesh's
edges are lines is plain geometry, and which part of them is seen stands in the depth map. No bpy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from depth3d.camera import Camera
from depth3d.edges import extreme

from .maps import Maps, Triangles, toward_viewer

#: How much deeper than its pixel's surroundings, as a fraction of the depth, an edge may lie and still be seen.
_BEHIND = 2e-3
#: Places for each pixel of an edge's length: with two no pixel of it is left out.
_DENSITY = 2.0


def mesh_lines(scene: Triangles, maps: Maps, *, crease: float, near: float) -> NDArray[np.uint8]:
    """Silhouettes, open borders, creases, borders of materials, and marked edges: (h, w, 3) uint8, white on black.

    A line is one pixel wide. crease: an edge whose faces turn by more than so many degrees is one. near: what lies
    nearer is not seen.
    """
    out = np.zeros(maps.depth.shape, np.uint8)
    chosen = _chosen(scene, maps.camera, np.cos(np.radians(crease)))
    x, y, z = _places(scene.vertices[chosen], maps.camera, near)
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (column < out.shape[1]) & (row < out.shape[0])
    column, row, z = column[inside], row[inside], z[inside]
    # An edge lies between pixels' centres, on a slope the deeper ones are beside it: the deepest of its neighbourhood.
    seen = z <= extreme(maps.depth, np.maximum)[row, column] * (1 + _BEHIND)
    out[row[seen], column[seen]] = 255
    return np.repeat(out[..., None], 3, axis=2)


def _chosen(scene: Triangles, camera: Camera, cosine: float) -> NDArray[np.int64]:
    """The edges that are lines, as the numbers of their two vertices, (k, 2)."""
    faces = scene.faces.astype(np.int64)
    count = len(scene.vertices)
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    key, owner = ends[:, 0] * count + ends[:, 1], np.tile(np.arange(len(faces)), 3)
    order = np.argsort(key, kind="stable")
    key, owner = key[order], owner[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    shared = np.diff(np.append(first, len(key)))
    one, other = owner[first], owner[np.minimum(first + 1, len(key) - 1)] if len(key) else owner
    toward, normal = toward_viewer(scene, camera), _face_normals(scene)
    is_line = (shared != 2) | (scene.material[one] != scene.material[other]) | (toward[one] != toward[other])
    is_line |= (normal[one] * normal[other]).sum(axis=1) < cosine
    marked = np.sort(scene.marked.astype(np.int64), axis=1)
    found = np.unique(np.concatenate([key[first][is_line], marked[:, 0] * count + marked[:, 1]]))
    return np.stack(np.divmod(found, max(count, 1)), axis=1)


def _face_normals(scene: Triangles) -> NDArray[np.float64]:
    a, b, c = (scene.vertices[scene.faces[:, corner]] for corner in range(3))
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    normal = np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], axis=1)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30))


def _places(
    ends: NDArray[np.float64], camera: Camera, near: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Places along edges (k, 2, 3), not a pixel apart: x and y in pixels, and depth, of those within the picture."""
    matrix = camera.world_to_camera
    local = ends @ matrix[:3, :3].T + matrix[:3, 3]
    local = local[(local[..., 2] > near).any(axis=1)]
    a, b = local[:, 0], local[:, 1]
    for start, end in ((a, b), (b, a)):  # cut what lies before the near plane
        low = start[:, 2] < near
        share = ((near - start[low, 2]) / (end[low, 2] - start[low, 2]))[:, None]
        start[low] += share * (end[low] - start[low])
    perspective = camera.projection == "perspective"
    scale = 1 / local[..., 2] if perspective else np.ones(local.shape[:2])
    x, y = camera.fx * local[..., 0] * scale + camera.cx, camera.fy * local[..., 1] * scale + camera.cy
    # In the picture, 1 / z runs evenly along a straight line.
    depth = scale if perspective else local[..., 2]
    begin, end = _within(x, y, camera)
    length = np.hypot(x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]) * (end - begin)
    steps = np.where(begin <= end, np.ceil(np.maximum(length, 0) * _DENSITY).astype(np.int64) + 1, 0)
    which = np.repeat(np.arange(len(steps)), steps)
    step = np.arange(len(which)) - np.repeat(np.cumsum(steps) - steps, steps)
    share = begin[which] + (end - begin)[which] * step / np.maximum(steps[which] - 1, 1)
    along = [values[which, 0] + share * (values[which, 1] - values[which, 0]) for values in (x, y, depth)]
    return along[0], along[1], 1 / along[2] if perspective else along[2]


def _within(
    x: NDArray[np.float64], y: NDArray[np.float64], camera: Camera
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From which to which share of each line (k, 2) the picture holds it; the first is larger where it holds none of it
    (Liang and Barsky 1984).
    """
    begin, end = np.zeros(len(x)), np.ones(len(x))
    for values, size in ((x, camera.width), (y, camera.height)):
        step = values[:, 1] - values[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            to_low, to_high = -values[:, 0] / step, (size - values[:, 0]) / step
        begin = np.maximum(begin, np.where(step > 0, to_low, np.where(step < 0, to_high, 0)))
        end = np.minimum(end, np.where(step > 0, to_high, np.where(step < 0, to_low, 1)))
        end = np.where((step == 0) & ((values[:, 0] < 0) | (values[:, 0] >= size)), -1.0, end)
    return begin, end
