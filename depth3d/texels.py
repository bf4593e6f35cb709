"""The texels of a UV layout: where each of them lies on the mesh, and how colours go on beyond the islands' edges.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera, Float
from .render import rasterise

#: How many rows of the texture are rasterised at once: bounds the memory, and gives each processor something to do.
_BAND = 256


@dataclass(frozen=True, eq=False)
class Texels:
    """The texels whose centres lie in some triangle of a layout.

    shape: of the texture, (height, width). index: (k,) into its flattened texels, ascending. face: (k,) which triangle.
    offsets: (k, 3) float32, their places in the scene, from `origin` (3,).
    normals: (m, 3) of each triangle, unit length, zero where a triangle has no area. areas: (m,) in scene units.
    corners: (m, 3) one corner of each triangle, in the scene.
    """

    shape: tuple[int, int]
    index: NDArray[np.int64]
    face: NDArray[np.int32]
    origin: Float
    offsets: NDArray[np.float32]
    normals: Float
    areas: Float
    corners: Float

    @property
    def points(self) -> Float:
        """Their places in the scene, (k, 3)."""
        return np.asarray(self.origin + self.offsets)

    @property
    def density(self) -> float:
        """Texels along one scene unit, on average."""
        area = float(self.areas.sum())
        return float(np.sqrt(len(self.index) / area)) if area > 0 and len(self.index) else 1.0


def texels(vertices: ArrayLike, faces: ArrayLike, uvs: ArrayLike, width: int, height: int) -> Texels:
    """The texels of a mesh's layout. vertices: (n, 3). faces: (m, 3). uvs: (n, 2) for each vertex, or (m, 3, 2) for
    each face's corners, u right, v down. Where triangles overlap in UV space, the first of them wins.
    """
    v, f = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64).reshape(-1, 3)
    if not len(f):
        raise ValueError("the mesh has no faces; there is nothing to paint on")
    corner_uvs = np.asarray(uvs, dtype=np.float64)
    corner_uvs = corner_uvs[f] if corner_uvs.ndim == 2 and len(corner_uvs) == len(v) else corner_uvs.reshape(-1, 3, 2)
    if len(corner_uvs) != len(f):
        raise ValueError(f"uvs are for {len(corner_uvs)} faces and the mesh has {len(f)}")
    flat = np.ones((len(f), 3, 3))
    flat[..., :2] = corner_uvs * (width, height)
    first, last = flat[..., 1].min(axis=1), flat[..., 1].max(axis=1)
    origin = (v.min(axis=0) + v.max(axis=0)) / 2
    local = (v - origin).astype(np.float32)

    def band(top: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        rows = min(_BAND, height - top)
        chosen = np.flatnonzero((last >= top) & (first <= top + rows))
        layout = Camera(width, rows, 1.0, 1.0, 0.0, -float(top), "orthographic")
        raster = rasterise(flat[chosen].reshape(-1, 3), np.arange(3 * len(chosen)).reshape(-1, 3), layout)
        index = np.flatnonzero(raster.covered)
        face = chosen[raster.face.ravel()[index]]
        weights = raster.weights.reshape(-1, 3)[index]
        offsets = np.zeros((len(index), 3), np.float32)
        for corner in range(3):
            offsets += weights[:, corner, None] * local[f[face, corner]]
        return index + top * width, face.astype(np.int32), offsets

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bands = list(pool.map(band, range(0, height, _BAND)))
    a, b, c = v[f[:, 0]], v[f[:, 1]], v[f[:, 2]]
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    normals = np.divide(normals, length[:, None], out=np.zeros_like(normals), where=length[:, None] > 0)
    index, face, offsets = (np.concatenate(parts) for parts in zip(*bands, strict=True))
    return Texels((height, width), index, face, origin, offsets, normals, length / 2, a)


def dilated(texture: NDArray[np.uint8], steps: int, surface: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """A (h, w, 4) picture with its opaque pixels grown outward by `steps`, each new one the mean of its neighbours.

    surface: (h, w), the texels that lie on the mesh. Those that are transparent stay so, and so does the gutter that
    is nearer to them than to an opaque texel: what nobody saw is not painted by its neighbours.
    """
    height, width = texture.shape[:2]
    # A frame around the picture, already known and empty, spares every look beyond its border.
    out = np.zeros((height + 2, width + 2, 4), np.uint8)
    out[1:-1, 1:-1] = texture
    known = np.ones((height + 2, width + 2), bool)
    known[1:-1, 1:-1] = texture[..., 3] > 0
    if surface is not None:
        known[1:-1, 1:-1] |= surface
    flat, done = out.reshape(-1, 4), known.ravel()
    stride = width + 2
    beside = np.array([-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1])
    # The first ring by whole rows; later ones are short lists.
    source = np.pad(texture[..., 3] > 0, 1)
    if surface is not None:
        source[1:-1, 1:-1] |= surface
    wide = source.copy()
    wide[:, 1:] |= source[:, :-1]
    wide[:, :-1] |= source[:, 1:]
    ring = wide.copy()
    ring[1:] |= wide[:-1]
    ring[:-1] |= wide[1:]
    new = np.flatnonzero(ring.ravel() & ~done)
    for _ in range(steps):
        if not len(new):
            break
        total, count = np.zeros((len(new), 3), np.float32), np.zeros(len(new), np.float32)
        for step in beside:
            near = flat[new + step]
            opaque = near[:, 3] > 0
            total += near[:, :3] * opaque[:, None]
            count += opaque
        painted = count > 0
        flat[new[painted], :3] = np.rint(total[painted] / count[painted, None])
        flat[new[painted], 3] = 255
        done[new] = True
        around = np.unique((new[:, None] + beside).ravel())
        new = around[~done[around]]
    return out[1:-1, 1:-1].copy()
