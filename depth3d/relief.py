"""Reliefs: a picture's depth as a closed solid on a base, ready to be printed or milled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera
from .depth import check_depth
from .mesh import Mesh
from .simplify import projection_uvs


def relief(depth: ArrayLike, *, width: float = 100.0, height: float = 10.0, base: float = 2.0) -> Mesh:
    """A watertight plate with the depth map raised on it, z up, in the units of `width` (millimetres for slicers).

    depth: (h, w) positive z, +inf where nothing is (there the plate is bare), at least 2×2. width: of the plate's
    picture side, x; y follows from the aspect. height: of the nearest point above the base. base: thickness under the
    farthest. Heights are affine in 1 / z, so flat things stay flat; the nearest and farthest half percent are clipped.
    """
    z = check_depth(depth)
    if min(z.shape) < 2:
        raise ValueError(f"depth has shape {z.shape}; a relief needs at least 2×2 pixels")
    for name, value in (("width", width), ("height", height), ("base", base)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be a positive length")
    return solid(base + height * nearness(z), width=width)


def nearness(depth: ArrayLike) -> NDArray[np.float64]:
    """How near a (h, w) depth map is, 0 to 1, affine in 1 / z; its nearest and farthest half percent are clipped.

    0 where nothing is, and everywhere where the map is constant.
    """
    z = check_depth(depth)
    q = 1 / z
    seen = q[np.isfinite(z)]
    low, high = np.percentile(seen, [0.5, 99.5]) if seen.size else (0.0, 1.0)
    if high <= low:
        return np.zeros(z.shape)
    return np.asarray(np.clip((q - low) / (high - low), 0, 1), dtype=np.float64)


def solid(heights: ArrayLike, *, width: float = 100.0) -> Mesh:
    """A closed solid between z = 0 and a (h, w) height field, all of it positive; row 0 is at the far side, +y.

    UVs lay a picture of the same view on it from above (see `plan_camera`).
    """
    top = np.asarray(heights, dtype=np.float64)
    if top.ndim != 2 or min(top.shape) < 2:
        raise ValueError(f"heights have shape {top.shape}; a solid needs at least 2×2 samples")
    if not np.isfinite(top).all() or top.min() <= 0:
        raise ValueError("heights must be finite and above 0, or the solid would have no bottom")
    rows, columns = top.shape
    step = width / (columns - 1)
    vertices = np.empty((rows, columns, 3), np.float32)
    vertices[..., 0] = np.arange(columns) * step
    vertices[..., 1] = ((rows - 1 - np.arange(rows)) * step)[:, None]
    vertices[..., 2] = top
    ids = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]
    surface = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
    # The border counterclockwise as seen from above, each vertex once.
    ring = np.concatenate([ids[:-1, 0], ids[-1, :-1], ids[:0:-1, -1], ids[0, :0:-1]])
    floor = rows * columns + np.arange(len(ring))
    following, floor_following = np.roll(ring, -1), np.roll(floor, -1)
    walls = np.stack([ring, floor, floor_following, ring, floor_following, following], axis=-1).reshape(-1, 3)
    middle = rows * columns + len(ring)
    bottom = np.stack([np.full(len(ring), middle), floor_following, floor], axis=-1)
    flat = vertices.reshape(-1, 3)
    under = flat[ring] * np.array([1, 1, 0], np.float32)
    centre = np.array([[flat[:, 0].max() / 2, flat[:, 1].max() / 2, 0]], np.float32)
    faces = np.concatenate([surface, walls, bottom]).astype(np.uint32)
    vertices = np.concatenate([flat, under, centre])
    return Mesh(vertices, faces, projection_uvs(vertices, plan_camera(columns, rows, width=width)), up="+z")


def plan_camera(columns: int, rows: int, *, width: float = 100.0) -> Camera:
    """The orthographic camera that sees a solid of (rows, columns) samples from above, one pixel for each sample."""
    step = width / (columns - 1)
    down = np.diag([1.0, -1.0, -1.0, 1.0])
    return Camera(columns, rows, 1 / step, 1 / step, 0.5, rows - 0.5, "orthographic", down)


def is_watertight(mesh: Mesh) -> bool:
    """Whether every edge joins exactly two triangles that run along it in opposite directions."""
    faces = mesh.faces.astype(np.int64)
    count = len(mesh.vertices)
    edges: NDArray[np.int64] = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward, backward = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    return bool(len(np.unique(forward)) == len(forward) and np.array_equal(np.sort(forward), np.sort(backward)))
