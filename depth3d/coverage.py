"""How much of a surface cameras see, and the fewest of them that see enough.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera, Float
from .render import rasterise

#: Pixels of the longer side at which cameras look here: enough to tell which parts are hidden.
_SIDE = 256
#: How far a point may lie behind the depth map and still be seen, as a fraction of its depth.
_BIAS = 0.005


@dataclass(frozen=True, eq=False)
class Samples:
    """Points spread evenly over a surface, with their normals; both (k, 3)."""

    points: Float
    normals: Float


def sampled(vertices: ArrayLike, faces: ArrayLike, count: int = 20_000, seed: int = 0) -> Samples:
    """`count` points of a mesh's surface, by area. Raises ValueError for a mesh without any."""
    corners = np.asarray(vertices, np.float64)[np.asarray(faces, np.int64)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    if not len(length) or not length.sum() > 0:
        raise ValueError("the mesh has no surface; give one with faces")
    rng = np.random.default_rng(seed)
    chosen = np.searchsorted(np.cumsum(length), (np.arange(count) + rng.random(count)) / count * length.sum())
    chosen = np.minimum(chosen, len(length) - 1)
    a, b = rng.random((2, count))
    over = a + b > 1
    a, b = np.where(over, 1 - a, a), np.where(over, 1 - b, b)
    origin, first, second = corners[chosen].transpose(1, 0, 2)
    points = origin + a[:, None] * (first - origin) + b[:, None] * (second - origin)
    return Samples(points, normals[chosen] / length[chosen, None])


def seen_by(
    camera: Camera, samples: Samples, vertices: ArrayLike, faces: ArrayLike, *, max_angle: float = 75.0
) -> NDArray[np.bool_]:
    """Which samples (k,) a camera sees at less than `max_angle` degrees from squarely, with nothing in between.

    vertices, faces: everything that may stand in the way, the surface itself included.
    """
    scale = min(1.0, _SIDE / max(camera.width, camera.height))
    width, height = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
    sx, sy = width / camera.width, height / camera.height
    small = replace(
        camera, width=width, height=height, fx=camera.fx * sx, fy=camera.fy * sy, cx=camera.cx * sx, cy=camera.cy * sy
    )
    depth = rasterise(vertices, faces, small).depth
    pixels, z = small.project(samples.points)
    with np.errstate(invalid="ignore"):
        inside = (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1) & (z > 0)
    column, row = np.where(inside[:, None], pixels, 0).astype(int).T
    if camera.projection == "orthographic":
        cosine = -(samples.normals @ camera.camera_to_world[:3, 2])
        pixel = np.full(len(z), 1 / min(small.fx, small.fy))
    else:
        toward = camera.position - samples.points
        cosine = (toward * samples.normals).sum(axis=1) / np.maximum(np.linalg.norm(toward, axis=1), 1e-30)
        pixel = z / min(small.fx, small.fy)
    slope = np.sqrt(np.maximum(1 - cosine**2, 0)) / np.maximum(cosine, 1e-3)
    visible = z <= depth[row, column] + _BIAS * z + 1.5 * pixel * slope
    return np.asarray(inside & visible & (cosine > np.cos(np.radians(max_angle))))


def covering(seen: Sequence[NDArray[np.bool_]], share: float = 0.98, most: int = 64) -> tuple[list[int], float]:
    """Which cameras to take, by the samples that each sees, and the share of all samples that these see together.

    The camera that adds the most is taken next (a greedy cover), until `share` is seen, `most` are taken, or none adds
    anything.
    """
    chosen: list[int] = []
    covered = np.zeros(len(seen[0]) if seen else 0, bool)
    while len(chosen) < most and (not len(covered) or covered.mean() < share):
        gains = [int((one & ~covered).sum()) for one in seen]
        best = int(np.argmax(gains)) if gains else -1
        if best < 0 or gains[best] == 0:
            break
        chosen.append(best)
        covered |= seen[best]
    return chosen, float(covered.mean()) if len(covered) else 0.0
