"""A software rasteriser: which triangle each pixel of a camera sees, how deep, and what colour it has there.

It needs no screen and no driver, which is all that a preview, a stereo pair and a depth-compared bake need. Triangles
are handled in batches of one size of bounding box, so that numpy does the work.

numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera

#: What lies nearer than this fraction of the mesh's farthest depth is cut off.
NEAR_FRACTION = 1e-4

_BATCH = 1 << 20  # fragments tested at once: bounds the memory


@dataclass(frozen=True, eq=False)
class Raster:
    """What a camera sees of a mesh, for each of its pixel centres.

    face: (h, w) int32, the number of the nearest triangle, −1 where nothing is.
    depth: (h, w) float32, z along the camera's axis, +inf where nothing is.
    weights: (h, w, 3) float32, perspective-correct barycentric weights of that triangle's three corners.
    """

    face: NDArray[np.int32]
    depth: NDArray[np.float32]
    weights: NDArray[np.float32]

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Where there is a triangle, (h, w)."""
        return self.face >= 0

    def interpolate(self, faces: ArrayLike, values: ArrayLike) -> NDArray[np.float32]:
        """Vertex values (n, k) at each pixel, (h, w, k) float32; zero where nothing is."""
        values = np.asarray(values)
        corners = np.asarray(faces)[np.maximum(self.face, 0)]
        out = np.zeros((*self.face.shape, values.shape[1]), np.float32)
        for i in range(3):
            out += self.weights[..., i, None] * values[corners[..., i]]
        out[~self.covered] = 0
        return out


def rasterise(
    vertices: ArrayLike, faces: ArrayLike, camera: Camera, *, cull: bool = False, near: float | None = None
) -> Raster:
    """The nearest triangle at each pixel centre of a perspective or orthographic camera.

    vertices: (n, 3) in the scene, finite. faces: (m, 3). cull: leave out triangles that turn their back (wound
    clockwise as seen in the picture). near: what lies nearer than this depth is cut off; None: only what a perspective
    camera cannot project. A pixel centre on the edge of two triangles belongs to at least one of them.
    """
    if camera.projection == "equirectangular":
        raise ValueError("an equirectangular camera cannot be rasterised; render its cube faces")
    world = np.asarray(vertices, dtype=np.float64)
    triangles = np.asarray(faces, dtype=np.int64).reshape(-1, 3)
    matrix = camera.world_to_camera
    local = world @ matrix[:3, :3].T + matrix[:3, 3]
    corners = local[triangles]
    numbers = np.arange(len(triangles), dtype=np.int64)
    if camera.projection == "perspective" and near is None:
        near = max(float(local[:, 2].max(initial=0.0)) * NEAR_FRACTION, 1e-12)
    if near is not None and len(corners):
        corners, numbers = _clip_near(corners, numbers, near)
    key = np.full(camera.width * camera.height, np.iinfo(np.uint64).max, np.uint64)
    plane = _setup(corners, camera, cull)
    _fill(key, plane, camera)
    return _resolve(key, corners, numbers, local[triangles], camera)


def render(
    vertices: ArrayLike,
    faces: ArrayLike,
    camera: Camera,
    *,
    uvs: ArrayLike | None = None,
    texture: ArrayLike | None = None,
    colours: ArrayLike | None = None,
    background: tuple[int, int, int, int] = (0, 0, 0, 0),
    cull: bool = False,
) -> NDArray[np.uint8]:
    """A picture (h, w, 4) uint8 of a mesh: its texture (unlit), its vertex colours, or grey shaded by the headlight.

    uvs: (n, 2), u to the right and v *down*, 0 to 1 over the texture. texture: (th, tw, 3 or 4) uint8.
    colours: (n, 3) uint8.
    """
    raster = rasterise(vertices, faces, camera, cull=cull)
    out = np.empty((camera.height, camera.width, 4), np.uint8)
    out[:] = background
    covered = raster.covered
    if texture is not None and uvs is not None:
        colour = sample(texture, raster.interpolate(faces, uvs)[covered])
    elif colours is not None:
        colour = raster.interpolate(faces, np.asarray(colours)[:, :3])[covered]
    else:
        shade = headlight(vertices, faces, camera)[raster.face[covered]]
        colour = np.repeat(shade[:, None] * 255, 3, axis=1).astype(np.float32)
    out[covered, :3] = np.rint(np.clip(colour[:, :3], 0, 255)).astype(np.uint8)
    out[covered, 3] = 255
    return out


def headlight(vertices: ArrayLike, faces: ArrayLike, camera: Camera) -> NDArray[np.float64]:
    """A brightness of 0.15 to 0.95 for each face (m,), by how squarely it faces the camera."""
    corners = np.asarray(vertices, dtype=np.float64)[np.asarray(faces)]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if camera.projection == "perspective":
        view = corners.mean(axis=1) - camera.position
    else:
        view = np.broadcast_to(camera.camera_to_world[:3, 2], normal.shape)
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(view, axis=1)
    cosine = np.abs((normal * view).sum(axis=1)) / np.maximum(length, 1e-30)
    return np.asarray(0.15 + 0.8 * cosine)


def sample(texture: ArrayLike, uvs: ArrayLike) -> NDArray[np.float32]:
    """Bilinear samples (n, channels) of a texture at (n, 2) positions, u right, v down; the border's texels go on."""
    image = np.asarray(texture)
    height, width = image.shape[:2]
    uv = np.asarray(uvs, dtype=np.float64)
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip(uv[:, 1] * height - 0.5, 0, height - 1)
    x0, y0 = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = (x - x0)[:, None].astype(np.float32), (y - y0)[:, None].astype(np.float32)
    top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
    bottom = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy, dtype=np.float32)


def _clip_near(
    corners: NDArray[np.float64], numbers: NDArray[np.int64], near: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Triangles (m, 3, 3) in camera space without their part nearer than `near`: whole, gone, or one or two pieces."""
    front = corners[..., 2] > near
    count = front.sum(axis=1)
    if (count == 3).all():
        return corners, numbers
    pieces, names = [corners[count == 3]], [numbers[count == 3]]
    for kept in (1, 2):
        chosen = np.flatnonzero(count == kept)
        if not len(chosen):
            continue
        # Turn each triangle so that its odd corner (the one alone on its side) comes first.
        odd = (front[chosen] == (kept == 1)).argmax(axis=1)
        turned = corners[chosen[:, None], (odd[:, None] + np.arange(3)) % 3]
        a, b, c = turned[:, 0], turned[:, 1], turned[:, 2]
        ab = a + (b - a) * ((near - a[:, 2]) / (b[:, 2] - a[:, 2]))[:, None]
        ac = a + (c - a) * ((near - a[:, 2]) / (c[:, 2] - a[:, 2]))[:, None]
        if kept == 1:
            pieces.append(np.stack([a, ab, ac], axis=1))
            names.append(numbers[chosen])
        else:
            pieces += [np.stack([ab, b, c], axis=1), np.stack([ab, c, ac], axis=1)]
            names += [numbers[chosen], numbers[chosen]]
    return np.concatenate(pieces), np.concatenate(names)


@dataclass(frozen=True, eq=False)
class _Setup:
    """For each triangle: its bounding box in pixels and three affine functions of the pixel's place."""

    box: NDArray[np.int64]  # (m, 4): first and last column, first and last row
    edges: NDArray[np.float64]  # (m, 3, 3): x, y and constant of each corner's screen weight
    depth: NDArray[np.float64]  # (m, 3): x, y and constant of 1 / z (orthographic: of −z)
    visible: NDArray[np.bool_]


def _setup(corners: NDArray[np.float64], camera: Camera, cull: bool) -> _Setup:
    z = corners[..., 2]
    scale = 1 / z if camera.projection == "perspective" else np.ones_like(z)
    # Half a pixel back, so that pixel centres are at whole numbers.
    x = camera.fx * corners[..., 0] * scale + camera.cx - 0.5
    y = camera.fy * corners[..., 1] * scale + camera.cy - 0.5
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    limit = 1e7  # Keeps far-off corners within int64 and within float64's exact range.
    low_x = np.ceil(np.clip(x.min(axis=1), -limit, limit)).astype(np.int64)
    high_x = np.floor(np.clip(x.max(axis=1), -limit, limit)).astype(np.int64)
    low_y = np.ceil(np.clip(y.min(axis=1), -limit, limit)).astype(np.int64)
    high_y = np.floor(np.clip(y.max(axis=1), -limit, limit)).astype(np.int64)
    box = np.stack([np.maximum(low_x, 0), np.minimum(high_x, camera.width - 1),
                    np.maximum(low_y, 0), np.minimum(high_y, camera.height - 1)], axis=1)  # fmt: skip
    # Seen from the camera (y down), a face that turns its front is wound counterclockwise: a negative area.
    turned = area < 0 if cull else area != 0
    visible = turned & (box[:, 0] <= box[:, 1]) & (box[:, 2] <= box[:, 3])
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(visible, 1 / area, 0)
        edges = np.empty((len(corners), 3, 3))
        for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
            edges[:, i, 0] = (y[:, j] - y[:, k]) * inverse
            edges[:, i, 1] = (x[:, k] - x[:, j]) * inverse
            edges[:, i, 2] = (x[:, j] * y[:, k] - x[:, k] * y[:, j]) * inverse
    value = scale if camera.projection == "perspective" else -z
    return _Setup(box, edges, np.einsum("mij,mi->mj", edges, value), visible)


def _fill(key: NDArray[np.uint64], plane: _Setup, camera: Camera) -> None:
    """Writes the nearest fragment of each pixel as (order of depth, triangle) in one 64-bit key."""
    visible = np.flatnonzero(plane.visible)
    box = plane.box[visible]
    columns, rows = box[:, 1] - box[:, 0] + 1, box[:, 3] - box[:, 2] + 1
    # One batch holds boxes whose sides round up to the same powers of two.
    size = np.ceil(np.log2(columns)).astype(np.int64) * 64 + np.ceil(np.log2(rows)).astype(np.int64)
    order = np.argsort(size, kind="stable")
    starts = np.flatnonzero(np.diff(size[order], prepend=-1))
    for start, end in pairwise([*starts, len(order)]):
        group = order[start:end]
        # The box's own largest sides, not the power of two: half of all small triangles have one or two pixels.
        offsets = np.stack(np.meshgrid(np.arange(columns[group].max()), np.arange(rows[group].max())), -1).reshape(
            -1, 2
        )
        step = max(1, _BATCH // len(offsets))
        for first in range(0, len(group), step):
            part = group[first : first + step]
            _fill_batch(key, plane, camera.width, visible[part], box[part], offsets)


def _fill_batch(
    key: NDArray[np.uint64],
    plane: _Setup,
    width: int,
    triangles: NDArray[np.int64],
    box: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> None:
    for first in range(0, len(offsets), _BATCH):
        part = offsets[first : first + _BATCH]
        x, y = box[:, 0, None] + part[None, :, 0], box[:, 2, None] + part[None, :, 1]
        inside = (x <= box[:, 1, None]) & (y <= box[:, 3, None])
        for i in range(3):
            a = plane.edges[triangles, i]
            # A hair's breadth outside still counts: no pixel centre falls between two triangles that share an edge.
            inside &= a[:, 0, None] * x + a[:, 1, None] * y + a[:, 2, None] >= -1e-6
        where, which = np.nonzero(inside)
        if not len(where):
            continue
        px, py = x[where, which], y[where, which]
        d = plane.depth[triangles[where]]
        nearness = (d[:, 0] * px + d[:, 1] * py + d[:, 2]).astype(np.float32)
        np.minimum.at(key, py * width + px, _order(nearness) << np.uint64(32) | triangles[where].astype(np.uint64))


def _order(nearness: NDArray[np.float32]) -> NDArray[np.uint64]:
    """32-bit keys that sort as −nearness does: the nearest first."""
    bits = (-nearness).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)


def _resolve(
    key: NDArray[np.uint64],
    corners: NDArray[np.float64],
    numbers: NDArray[np.int64],
    whole: NDArray[np.float64],
    camera: Camera,
) -> Raster:
    """Depth and weights of the winners, from the whole (unclipped) triangles."""
    shape = (camera.height, camera.width)
    face = np.full(key.size, -1, np.int32)
    depth = np.full(key.size, np.inf, np.float32)
    weights = np.zeros((key.size, 3), np.float32)
    hit = np.flatnonzero(key != np.iinfo(np.uint64).max)
    if len(hit):
        piece = (key[hit] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        face[hit] = numbers[piece]
        a, b, c = (whole[numbers[piece], i] for i in range(3))
        direction = camera.rays().reshape(-1, 3)[hit]
        w = _weights(a, b, c, direction, camera.projection)
        depth[hit] = w[:, 0] * a[:, 2] + w[:, 1] * b[:, 2] + w[:, 2] * c[:, 2]
        weights[hit] = w
    return Raster(face.reshape(shape), depth.reshape(shape), weights.reshape(*shape, 3))


def _weights(a: Any, b: Any, c: Any, direction: NDArray[np.float64], projection: str) -> NDArray[np.float64]:
    """Barycentric weights (n, 3) of where each ray meets its triangle's plane."""
    if projection == "perspective":
        # The ray through the origin: weights are the volumes that it spans with the other two corners.
        w = np.stack(
            [
                (np.cross(b, c) * direction).sum(1),
                (np.cross(c, a) * direction).sum(1),
                (np.cross(a, b) * direction).sum(1),
            ],
            axis=1,
        )
    else:
        p = direction[:, :2]
        a, b, c = a[:, :2] - p, b[:, :2] - p, c[:, :2] - p

        def cross(u: Any, v: Any) -> Any:
            return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]

        w = np.stack([cross(b, c), cross(c, a), cross(a, b)], axis=1)
    total = w.sum(axis=1, keepdims=True)
    w = np.clip(np.divide(w, total, out=np.full_like(w, 1 / 3), where=total != 0), 0, 1)
    return np.asarray(w / w.sum(axis=1, keepdims=True))
