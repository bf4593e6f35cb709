"""Meshes from depth maps: the corner mesh, which covers the whole picture, and the plain grid with its cuts.

The corner mesh has a vertex at each corner of each pixel for each surface that meets there, so that every pixel is
two triangles of its own surface up to the edge, and surfaces end exactly between two pixels. The vertex's disparity
is the mean of the linked pixels around it, continued along their slopes where a neighbour lacks. Where one pixel
meets three of another surface the corner moves toward it, so that slanted edges are no staircase.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera
from .depth import check_depth
from .edges import links
from .mesh import Mesh
from .normals import CUT_RATIO

#: The weight, negative, of the outer two of four samples: see `_bend`.
_TAP = 3 / 32

#: How far a corner moves along each axis toward the odd pixel. A whole quarter would leave triangles without area.
_ROUNDING = 0.24

# The ring of pixels around a corner: top left, top right, bottom right, bottom left. Link k joins k and k + 1.
_RING = np.array([(-1, -1), (-1, 0), (0, 0), (0, -1)])  # row and column of each, from the corner's
#: Which surface each of the ring's pixels belongs to, for each of the 16 patterns of links.
_SURFACE = np.zeros((16, 4), np.int64)
for _pattern in range(16):
    _names = list(range(4))
    for _k in range(4):
        if _pattern >> _k & 1:
            _old, _new = _names[(_k + 1) % 4], _names[_k]
            _names = [_new if name == _old else name for name in _names]
    _SURFACE[_pattern] = _names


def corner_mesh(depth: ArrayLike, camera: Camera, *, cut_ratio: float = CUT_RATIO) -> Mesh:
    """The mesh of a depth map that covers each of its pixels and is torn at its depth edges; in the scene's axes.

    depth: (h, w) float32 z, positive, +inf where nothing is (no triangles there); for an equirectangular camera the
    radius, and the mesh closes at the panorama's seam and its poles. cut_ratio: see `edges.links`.
    """
    z = _checked(depth, camera)
    wraps = camera.projection == "equirectangular"
    valid = np.isfinite(z)
    everywhere = bool(valid.all())
    q = z if camera.projection == "orthographic" else np.reciprocal(z)
    if camera.projection == "orthographic" and not everywhere:
        q = np.where(valid, q, 0)
    padded = _pad(q, wraps)
    around = None if everywhere else _pad(valid, True)[1:-1] if wraps else valid
    right, down = links(padded[1:-1] if wraps else q, ratio=cut_ratio, valid=around)
    right, down = _pad_links(right, down, z.shape, wraps)
    height, width = z.shape

    corner_q = padded[:-1, :-1] + padded[:-1, 1:]
    corner_q += padded[1:, :-1]
    corner_q += padded[1:, 1:]
    corner_q *= np.float32(0.25)
    _bend(corner_q, q, right, down)
    linked = right[:-1].astype(np.uint8)
    for other in (right[1:], down[:, :-1], down[:, 1:]):
        linked += other
    torn = np.flatnonzero(linked < 3)
    del linked
    split = _split_corners(torn, padded, _pad(valid, wraps, False), right, down, corner_q.shape)
    corner_q.ravel()[torn] = split.base_q
    if wraps:
        corner_q[0], corner_q[-1] = corner_q[0].mean(), corner_q[-1].mean()

    faces = _corner_faces(height, width)
    _patch_faces(faces, split, height, width, wraps)
    if not everywhere or wraps:
        keep = np.repeat(valid[..., None], 2, axis=2)
        if wraps:
            # All upper corners of the first row are the zenith, all lower ones of the last row the nadir.
            keep[0, :, 1] = keep[-1, :, 0] = False
        faces = faces.reshape(height, width, 2, 3)[keep]
    faces = faces.reshape(-1, 3)
    columns = np.arange(width + 1, dtype=np.float64)
    rows = np.arange(height + 1, dtype=np.float64)
    count = corner_q.size
    vertices = np.empty((count + len(split.extra_slot), 3), np.float32)
    uvs = np.empty((len(vertices), 2), np.float32)
    _place(vertices[:count].reshape(height + 1, width + 1, 3), corner_q, columns[None], rows[:, None], camera)
    grid = uvs[:count].reshape(height + 1, width + 1, 2)
    grid[..., 0], grid[..., 1] = columns[None] / width, rows[:, None] / height
    # The torn corners' own vertices and their further ones, which may have moved.
    vertex = np.concatenate([torn, count + np.arange(len(split.extra_slot))])
    slot = np.concatenate([np.arange(len(torn)), split.extra_slot])
    row, column = (place[slot] for place in (split.row, split.column))
    placed = np.empty((len(vertex), 3), np.float32)
    _place(placed, np.concatenate([corner_q.ravel()[torn], split.extra_q]), column, row, camera)
    vertices[vertex] = placed
    uvs[vertex] = np.stack([column / width, row / height], axis=1)
    mesh = Mesh(_to_scene(vertices, camera), faces, uvs)
    return mesh.compacted() if not everywhere or wraps else mesh


def grid_mesh(depth: ArrayLike, camera: Camera, *, cut_ratio: float | None = CUT_RATIO) -> Mesh:
    """The plain mesh with a vertex at each pixel's centre, in the scene's axes; a border of half a pixel stays open.

    cut_ratio None leaves every triangle in, rubber sheets and all.
    """
    z = _checked(depth, camera)
    height, width = z.shape
    valid = np.isfinite(z)
    q = z if camera.projection == "orthographic" else np.reciprocal(z)
    ids = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    a, b, c, d = ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], axis=-1).reshape(height - 1, width - 1, 2, 3)
    if cut_ratio is not None:
        right, down = links(q, ratio=cut_ratio, valid=None if valid.all() else valid)
        keep = np.stack([down[:, :-1] & right[1:], right[:-1] & down[:, 1:]], axis=-1)
        faces = faces[keep]
    elif not valid.all():
        raise ValueError("depth has +inf; an uncut grid needs a depth at every pixel")
    vertices = np.empty((height, width, 3), np.float32)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        _place(vertices, q, columns[None], rows[:, None], camera)
    uvs = np.empty((height, width, 2), np.float32)
    uvs[..., 0], uvs[..., 1] = columns[None] / width, rows[:, None] / height
    mesh = Mesh(_to_scene(vertices.reshape(-1, 3), camera), faces.reshape(-1, 3), uvs.reshape(-1, 2))
    return mesh if valid.all() else mesh.compacted()


def _bend(
    corner_q: NDArray[np.float32], q: NDArray[np.float32], right: NDArray[np.bool_], down: NDArray[np.bool_]
) -> None:
    """Curvature given back to the corners amid 4×4 linked pixels, in place.

    The mean of four pixels cuts through a curved surface's chord. Four samples a side (−1, 9, 9, −1) / 16 would lay
    the corners on the surface, and then the triangles' middles beneath it; with `_TAP` instead of 1/16, corners and
    middles err alike, to its two sides.
    """
    height, width = q.shape
    if height < 4 or width < 4:
        return
    sides = q[:, :-3] + q[:, 3:]
    across = q[:, 1:-2] + q[:, 2:-1]
    across *= np.float32(0.5 + _TAP)
    sides *= np.float32(_TAP)
    across -= sides
    out = across[1:-2] + across[2:-1]
    out *= np.float32(0.5 + _TAP)
    sides = across[:-3] + across[3:]
    sides *= np.float32(_TAP)
    out -= sides
    smooth = np.ones((height + 5, width + 5), bool)  # the corners, with a margin for marks beyond the border
    rows, columns = np.nonzero(~right[1:-1, 1:-1])
    for row in range(-1, 3):
        for column in range(3):
            smooth[rows + row + 2, columns + column + 2] = False
    rows, columns = np.nonzero(~down[1:-1, 1:-1])
    for row in range(3):
        for column in range(-1, 3):
            smooth[rows + row + 2, columns + column + 2] = False
    np.copyto(corner_q[2:-2, 2:-2], out, where=smooth[4:-3, 4:-3][: height - 3, : width - 3])


@dataclass(frozen=True, eq=False)
class _Split:
    """Corners at which surfaces part or the picture ends. Slots are (torn corner, pixel of its ring)."""

    row: NDArray[np.float64]  # (k,) where the corner is; it may have moved by a quarter of a pixel
    column: NDArray[np.float64]
    base_q: NDArray[np.float32]  # (k,) the first surface's disparity, at the corner's own vertex
    extra_slot: NDArray[np.int64]  # (e,) which of the k corners each further vertex stands at
    extra_q: NDArray[np.float32]
    corner: NDArray[np.int64]  # (k,)
    vertex: NDArray[np.int64]  # (k, 4) which vertex each of the ring's pixels uses; −1 where no pixel is


def _split_corners(
    torn: NDArray[np.int64],
    q: NDArray[np.float32],
    valid: NDArray[np.bool_],
    right: NDArray[np.bool_],
    down: NDArray[np.bool_],
    shape: tuple[int, ...],
) -> _Split:
    row, column = np.divmod(torn, shape[1])
    code = right[row, column] + 2 * down[row, column + 1] + 4 * right[row + 1, column] + 8 * down[row, column]
    surface = _SURFACE[code]
    # The ring's pixels in the padded arrays, and each one's disparity continued to the corner.
    r, c = row[:, None] + 1 + _RING[:, 0], column[:, None] + 1 + _RING[:, 1]
    here = valid[r, c]
    down_by, right_by = _rounding(np.where(here, surface, 4), row, column, shape)
    value = q[r, c]
    across = _slope(q, right, r, c, (0, 1))
    along = _slope(q, down, r, c, (1, 0))
    value = value + across * (right_by[:, None] - _RING[:, 1] - 0.5).astype(np.float32)
    value = value + along * (down_by[:, None] - _RING[:, 0] - 0.5).astype(np.float32)
    vertex = np.full((len(torn), 4), -1, np.int64)
    base_q = np.ones(len(torn), np.float32)
    taken = np.zeros(len(torn), bool)
    extra_slot: list[NDArray[np.int64]] = []
    extra_q: list[NDArray[np.float32]] = []
    number = shape[0] * shape[1]
    for name in range(4):
        members = (surface == name) & here
        count = members.sum(axis=1)
        mean = (value * members).sum(axis=1) / np.maximum(count, 1)
        base = (count > 0) & ~taken
        extra = np.flatnonzero((count > 0) & taken)
        base_q[base] = mean[base]
        vertex[members & base[:, None]] = np.repeat(torn[base], count[base])
        new = number + np.arange(len(extra))
        vertex[extra] = np.where(members[extra], new[:, None], vertex[extra])
        number += len(extra)
        extra_slot.append(extra)
        extra_q.append(mean[extra].astype(np.float32))
        taken |= base
    return _Split(
        row + down_by, column + right_by, base_q, np.concatenate(extra_slot), np.concatenate(extra_q), torn, vertex
    )


def _rounding(
    surface: NDArray[np.int64], row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each corner moves down and to the right, given its ring's surfaces (k, 4).

    Where one pixel meets three of one other surface, about a quarter of a pixel toward the one: the corners of a
    slanted edge's staircase then lie where the contour through the midpoints between pixel centres does. The picture's
    own border stays.
    """
    down_by, right_by = np.zeros(len(surface)), np.zeros(len(surface))
    inside = (row > 0) & (row < shape[0] - 1) & (column > 0) & (column < shape[1] - 1)
    for slot in range(4):
        others = np.delete(surface, slot, axis=1)
        odd = inside & (others == others[:, :1]).all(axis=1) & (surface[:, slot] != others[:, 0])
        down_by[odd], right_by[odd] = (_RING[slot] + 0.5) * 2 * _ROUNDING
    return down_by, right_by


def _slope(
    q: NDArray[np.float32],
    link: NDArray[np.bool_],
    r: NDArray[np.int64],
    c: NDArray[np.int64],
    step: tuple[int, int],
) -> NDArray[np.float32]:
    """Change of q for one pixel along `step` at padded pixels (r, c): the mean over the linked sides, else 0."""
    dr, dc = step
    last_r, last_c = q.shape[0] - 1, q.shape[1] - 1
    ahead = link[np.minimum(r, link.shape[0] - 1), np.minimum(c, link.shape[1] - 1)]
    behind = link[np.maximum(r - dr, 0), np.maximum(c - dc, 0)]
    forward = np.where(ahead, q[np.minimum(r + dr, last_r), np.minimum(c + dc, last_c)] - q[r, c], 0)
    backward = np.where(behind, q[r, c] - q[np.maximum(r - dr, 0), np.maximum(c - dc, 0)], 0)
    both = ahead.astype(np.float32) + behind
    return np.asarray((forward + backward) / np.maximum(both, 1), dtype=np.float32)


def _corner_faces(height: int, width: int) -> NDArray[np.uint32]:
    """(h, w, 6) vertices of each pixel's two triangles: top left, bottom left, bottom right; top left, …, top right."""
    ids = np.arange((height + 1) * (width + 1), dtype=np.uint32).reshape(height + 1, width + 1)
    faces = np.empty((height, width, 6), np.uint32)
    top_left, top_right, bottom_left, bottom_right = ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]
    for place, corner in enumerate((top_left, bottom_left, bottom_right, top_left, bottom_right, top_right)):
        faces[..., place] = corner
    return faces


def _patch_faces(faces: NDArray[np.uint32], split: _Split, height: int, width: int, wraps: bool) -> None:
    row, column = np.divmod(split.corner, width + 1)
    # A ring's top left pixel has the corner at its own bottom right, and so on around.
    for slot, places in enumerate(((2, 4), (1,), (0, 3), (5,))):
        r, c = row + _RING[slot, 0], column + _RING[slot, 1]
        vertex = split.vertex[:, slot]
        # At a panorama's seam the same corner stands in both border columns; each serves the pixels on its side.
        keep = (vertex >= 0) & (r >= 0) & (r < height) & (c >= 0) & (c < width)
        for place in places:
            faces[r[keep], c[keep], place] = vertex[keep]


def _place(out: NDArray[np.float32], q: NDArray[np.float32], column: ArrayLike, row: ArrayLike, camera: Camera) -> None:
    """Camera-space points at pixel positions with disparity q (orthographic: depth), into (…, 3)."""
    u = (np.asarray(column) - camera.cx) / camera.fx
    v = (np.asarray(row) - camera.cy) / camera.fy
    if camera.projection == "orthographic":
        out[..., 0], out[..., 1], out[..., 2] = u, v, q
        return
    if camera.projection == "equirectangular":
        # One turn later is the same place, to the last bit.
        u = (np.mod(np.asarray(column), camera.width) - camera.cx) / camera.fx
        radius = np.reciprocal(q)
        ring = np.where(np.abs(np.cos(v)) < 1e-12, 0, np.cos(v))  # the poles are points
        out[..., 0] = ring * np.sin(u) * radius + 0.0  # and never −0
        out[..., 1] = np.sin(v) * radius
        out[..., 2] = ring * np.cos(u) * radius + 0.0
        return
    z = out[..., 2]
    np.reciprocal(q, out=z)
    np.multiply(z, u.astype(np.float32), out=out[..., 0])
    np.multiply(z, v.astype(np.float32), out=out[..., 1])


def _to_scene(vertices: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    matrix = camera.camera_to_world
    if np.array_equal(matrix, np.eye(4)):
        return vertices
    return np.asarray(vertices @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32))


def _checked(depth: ArrayLike, camera: Camera) -> NDArray[np.float32]:
    z = check_depth(depth)
    if z.shape != (camera.height, camera.width):
        raise ValueError(f"depth has shape {z.shape}; the camera's pictures are {(camera.height, camera.width)}")
    return z


def _pad(values: NDArray[Any], wraps: bool, border: float | None = None) -> NDArray[Any]:
    """One pixel more on each side: the opposite side's where the picture wraps, else the edge's own or `border`."""
    out = np.empty((values.shape[0] + 2, values.shape[1] + 2), values.dtype)
    out[1:-1, 1:-1] = values
    if wraps:
        out[1:-1, 0], out[1:-1, -1] = values[:, -1], values[:, 0]
    else:
        out[1:-1, 0], out[1:-1, -1] = (values[:, 0], values[:, -1]) if border is None else (border, border)
    out[0], out[-1] = (out[1], out[-2]) if border is None else (border, border)
    return out


def _pad_links(
    right: NDArray[np.bool_], down: NDArray[np.bool_], shape: tuple[int, ...], wraps: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Links between padded pixels: right (h + 2, w + 1), down (h + 1, w + 2); none beyond the picture's border."""
    height, width = shape
    wide_right = np.zeros((height + 2, width + 1), bool)
    wide_down = np.zeros((height + 1, width + 2), bool)
    if wraps:
        wide_right[1:-1] = right
        wide_down[1:-1] = down
    else:
        wide_right[1:-1, 1:-1] = right
        wide_down[1:-1, 1:-1] = down
    return wide_right, wide_down
