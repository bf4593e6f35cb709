"""Terrain: height fields as meshes in tiles, each in levels of detail that meet without cracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera
from .mesh import Mesh


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile at one level. row, column: its place. level: 0 is full resolution, each next one halves it.

    error: the largest height difference to the full resolution, in height units; what a viewer picks levels by.
    """

    mesh: Mesh
    row: int
    column: int
    level: int
    error: float


def heightmap_mesh(
    heights: ArrayLike, *, spacing: float = 1.0, origin: tuple[float, float] = (0.0, 0.0), skirt: float = 0.0
) -> Mesh:
    """A height field (h, w) as a mesh, y up: x along the columns, z along the rows, `spacing` apart.

    NaN is a hole. skirt: how far a vertical border hangs down from the mesh's rim, in height units.
    """
    y = _checked(heights)
    rows, columns = y.shape
    vertices = np.empty((rows, columns, 3), np.float32)
    vertices[..., 0] = origin[0] + np.arange(columns) * spacing
    vertices[..., 1] = y
    vertices[..., 2] = (origin[1] + np.arange(rows) * spacing)[:, None]
    uvs = np.empty((rows, columns, 2), np.float32)
    uvs[..., 0] = (np.arange(columns) + 0.5) / columns
    uvs[..., 1] = ((np.arange(rows) + 0.5) / rows)[:, None]
    ids = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
    flat, flat_uvs = vertices.reshape(-1, 3), uvs.reshape(-1, 2)
    faces = faces[np.isfinite(flat[:, 1])[faces].all(axis=1)]
    if skirt > 0:
        flat, flat_uvs, faces = _with_skirt(flat, flat_uvs, faces, ids, skirt)
    return Mesh(flat, faces.astype(np.uint32), flat_uvs, up="+y").compacted()


def terrain_camera(columns: int, rows: int, *, spacing: float = 1.0) -> Camera:
    """The orthographic camera that sees a `heightmap_mesh` of (rows, columns) samples from above, a pixel a sample."""
    # x stays, the rows' z runs down the picture, and the camera looks along -y.
    down = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    return Camera(columns, rows, 1 / spacing, 1 / spacing, 0.5, 0.5, "orthographic", down)


def terrain_tiles(heights: ArrayLike, *, tile: int = 256, levels: int = 4, spacing: float = 1.0) -> Iterator[Tile]:
    """The tiles of a (h, w) height field, row by row, each at `levels` levels of detail (fewer for small tiles).

    Neighbouring tiles share their border's samples. Between tiles of unlike levels the border may gape by at most the
    coarser one's error; every tile has a skirt that is deeper than its error, which hides that. UVs run over the whole
    field, so that one texture serves all tiles. Tiles are made one at a time: a large field needs little memory.
    """
    y = _checked(heights)
    if tile < 2 or tile & (tile - 1):
        raise ValueError(f"tile is {tile}; it must be a power of two, at least 2, so that levels can halve it")
    if levels < 1:
        raise ValueError(f"levels is {levels}; a tile has at least one")
    rows, columns = y.shape
    for row, top in enumerate(range(0, max(rows - 1, 1), tile)):
        for column, left in enumerate(range(0, max(columns - 1, 1), tile)):
            part = y[top : top + tile + 1, left : left + tile + 1]
            for level in range(levels):
                stride = 1 << level
                if level and min(part.shape) <= stride:
                    break
                picks_r, picks_c = _picks(part.shape[0], stride), _picks(part.shape[1], stride)
                coarse = part[np.ix_(picks_r, picks_c)]
                error = _coarse_error(part, coarse, picks_r, picks_c)
                mesh = _tile_mesh(coarse, top + picks_r, left + picks_c, y.shape, spacing, 1.5 * error + spacing)
                yield Tile(mesh, row, column, level, error)


def _tile_mesh(
    coarse: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    shape: tuple[int, ...],
    spacing: float,
    skirt: float,
) -> Mesh:
    plain = heightmap_mesh(coarse, skirt=skirt)
    # The unit grid's places become the samples' own: the last step of a stride may be shorter.
    vertices = plain.vertices.copy()
    column, row = columns[np.rint(vertices[:, 0]).astype(int)], rows[np.rint(vertices[:, 2]).astype(int)]
    vertices[:, 0], vertices[:, 2] = column * spacing, row * spacing
    uvs = np.stack([(column + 0.5) / shape[1], (row + 0.5) / shape[0]], axis=1).astype(np.float32)
    return Mesh(vertices, plain.faces, uvs, up="+y")


def _picks(count: int, stride: int) -> NDArray[np.int64]:
    """Every stride-th index, and always the last."""
    return np.unique(np.append(np.arange(0, count, stride), count - 1))


def _coarse_error(
    part: NDArray[np.float32], coarse: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> float:
    """The largest difference between samples and what the coarse ones give between them."""
    if coarse.shape == part.shape:
        return 0.0
    across = np.stack([np.interp(np.arange(part.shape[1]), columns, line) for line in coarse])
    along = np.stack([np.interp(np.arange(part.shape[0]), rows, line) for line in across.T], axis=1)
    difference = np.abs(along - part)
    return float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0


def _with_skirt(
    vertices: NDArray[np.float32],
    uvs: NDArray[np.float32],
    faces: NDArray[np.int64],
    ids: NDArray[np.int64],
    skirt: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    # Counterclockwise as seen from above (y up, z toward the viewer's bottom).
    ring = np.concatenate([ids[:-1, 0], ids[-1, :-1], ids[:0:-1, -1], ids[0, :0:-1]])
    lower = len(vertices) + np.arange(len(ring))
    following, lower_following = np.roll(ring, -1), np.roll(lower, -1)
    walls = np.stack([ring, lower, lower_following, ring, lower_following, following], axis=-1).reshape(-1, 3)
    hanging = vertices[ring] - np.array([0, skirt, 0], np.float32)
    vertices = np.concatenate([vertices, hanging])
    walls = walls[np.isfinite(vertices[:, 1])[walls].all(axis=1)]
    return vertices, np.concatenate([uvs, uvs[ring]]), np.concatenate([faces, walls])


def _checked(heights: ArrayLike) -> NDArray[np.float32]:
    y = np.asarray(heights)
    if y.ndim != 2 or min(y.shape) < 2:
        raise ValueError(f"heights have shape {y.shape}; terrain needs at least 2×2 samples")
    if np.isinf(y).any():
        raise ValueError("heights have infinite values; use NaN for holes")
    return y.astype(np.float32, copy=False)
