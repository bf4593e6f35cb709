"""A software rasteriser: which triangle each pixel of a camera sees, how deep, and what colour it has there.

It needs no screen and no driver, which is all that a preview, a stereo pair and a depth-compared bake need. Triangles
are handled in batches of one size of bounding box, so that numpy does the work.

numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera

#: What lies nearer than this fraction of the mesh's farthest depth is cut off.
NEAR_FRACTION = 1e-4

_BATCH = 1 << 17  # fragments tested at once: bounds the memory
_BAND = 1 << 16  # pixels of a band
_THREADS = 2  # at once: numpy lets go of Python's lock


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
    key = _nearest(_setup(corners, camera, cull), camera)
    return _resolve(key, numbers, local, triangles, camera)


def in_bands(work: Callable[[slice], None], count: int, length: int = _BAND) -> None:
    """Carry something out on all bands, of `length` each, of what has `count` items; several bands at once."""
    bands = [slice(first, min(first + length, count)) for first in range(0, count, length)]
    if len(bands) < 2:
        for band in bands:
            work(band)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(work, bands):
            pass


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
    """For each triangle whose box holds a pixel's centre: that box, and three affine functions of the pixel's place."""

    number: NDArray[np.int64]  # (m,): among all triangles
    box: NDArray[np.int64]  # (m, 4): first and last column, first and last row
    edges: NDArray[np.float64]  # (m, 2, 3): x, y and constant of two corners' screen weights; the third's is the rest
    depth: NDArray[np.float64]  # (m, 3): x, y and constant of 1 / z (orthographic: of −z)


def _setup(corners: NDArray[np.float64], camera: Camera, cull: bool) -> _Setup:
    # Corner by corner: numpy is many times slower along an axis of three.
    z = [corners[:, i, 2] for i in range(3)]
    perspective = camera.projection == "perspective"
    scale = [1 / depth for depth in z] if perspective else [np.ones_like(depth) for depth in z]
    # Half a pixel back, so that pixel centres are at whole numbers.
    x = [camera.fx * corners[:, i, 0] * scale[i] + (camera.cx - 0.5) for i in range(3)]
    y = [camera.fy * corners[:, i, 1] * scale[i] + (camera.cy - 0.5) for i in range(3)]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    box = np.stack([*_span(x, camera.width), *_span(y, camera.height)], axis=1)
    # Seen from the camera (y down), a face that turns its front is wound counterclockwise: a negative area.
    turned = area < 0 if cull else area != 0
    number = np.flatnonzero(turned & (box[:, 0] <= box[:, 1]) & (box[:, 2] <= box[:, 3]))
    x, y, area = [one[number] for one in x], [one[number] for one in y], area[number]
    edges = np.empty((len(number), 3, 3))
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        edges[:, i, 0] = (y[j] - y[k]) / area
        edges[:, i, 1] = (x[k] - x[j]) / area
        edges[:, i, 2] = (x[j] * y[k] - x[k] * y[j]) / area
    value = np.stack([(one if perspective else -depth)[number] for one, depth in zip(scale, z, strict=True)], axis=1)
    return _Setup(number, box[number], edges[:, :2], np.einsum("mij,mi->mj", edges, value))


def _span(places: list[NDArray[np.float64]], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last of `size` whole numbers between three places each."""
    limit = 1e7  # Keeps far-off corners within int64 and within float64's exact range.
    low = np.minimum(np.minimum(places[0], places[1]), places[2])
    high = np.maximum(np.maximum(places[0], places[1]), places[2])
    first = np.maximum(np.ceil(np.clip(low, -limit, limit)).astype(np.int64), 0)
    return first, np.minimum(np.floor(np.clip(high, -limit, limit)).astype(np.int64), size - 1)


def _nearest(plane: _Setup, camera: Camera) -> NDArray[np.uint64]:
    """For each pixel (h·w,) its nearest fragment as (order of depth, triangle) in one 64-bit key; all ones: nothing."""
    columns, rows = plane.box[:, 1] - plane.box[:, 0] + 1, plane.box[:, 3] - plane.box[:, 2] + 1
    # One batch holds boxes whose sides round up to the same powers of two.
    size = np.ceil(np.log2(columns)).astype(np.int64) * 64 + np.ceil(np.log2(rows)).astype(np.int64)
    order = np.argsort(size, kind="stable")
    starts = np.flatnonzero(np.diff(size[order], prepend=-1))
    batches = []
    for start, end in pairwise([*starts, len(order)]):
        group = order[start:end]
        # The box's own largest sides, not the power of two: half of all small triangles have one or two pixels.
        offsets = np.stack(np.meshgrid(np.arange(columns[group].max()), np.arange(rows[group].max())), -1).reshape(
            -1, 2
        )
        step = max(1, _BATCH // len(offsets))
        batches += [(group[first : first + step], offsets) for first in range(0, len(group), step)]
    # Each thread has pixels of its own: what two write at once would be lost.
    keys = np.full((_THREADS, camera.width * camera.height), np.iinfo(np.uint64).max, np.uint64)

    def fill(one: slice) -> None:
        for chosen, offsets in batches[one.start :: _THREADS]:
            _fill_batch(keys[one.start], plane, camera.width, chosen, offsets)

    in_bands(fill, min(_THREADS, len(batches)), 1)
    return np.asarray(keys.min(axis=0))


def _fill_batch(
    key: NDArray[np.uint64], plane: _Setup, width: int, chosen: NDArray[np.int64], offsets: NDArray[np.int64]
) -> None:
    box, edges, depth = plane.box[chosen], plane.edges[chosen], plane.depth[chosen]
    origin = box[:, [0, 2]].astype(np.float64)
    columns, rows = box[:, 1, None] - box[:, 0, None], box[:, 3, None] - box[:, 2, None]
    pixel, number = box[:, 2] * width + box[:, 0], plane.number[chosen].astype(np.uint64)

    def affine(function: NDArray[np.float64], part: NDArray[np.int64]) -> NDArray[np.float64]:
        at_origin = (function[:, :2] * origin).sum(axis=1) + function[:, 2]
        return np.asarray(function[:, :2] @ part.T.astype(np.float64) + at_origin[:, None])

    for first in range(0, len(offsets), _BATCH):
        part = offsets[first : first + _BATCH]
        one, other = affine(edges[:, 0], part), affine(edges[:, 1], part)
        # A hair's breadth outside still counts: no pixel centre falls between two triangles that share an edge.
        inside = (one >= -1e-6) & (other >= -1e-6) & (one + other <= 1 + 1e-6)
        inside &= (part[None, :, 0] <= columns) & (part[None, :, 1] <= rows)
        where, which = np.nonzero(inside)
        if not len(where):
            continue
        nearness = affine(depth, part)[where, which].astype(np.float32)
        at = pixel[where] + (part[:, 1] * width + part[:, 0])[which]
        np.minimum.at(key, at, _order(nearness) << np.uint64(32) | number[where])


def _order(nearness: NDArray[np.float32]) -> NDArray[np.uint64]:
    """32-bit keys that sort as −nearness does: the nearest first."""
    bits = (-nearness).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)


def _resolve(
    key: NDArray[np.uint64],
    numbers: NDArray[np.int64],
    local: NDArray[np.float64],
    triangles: NDArray[np.int64],
    camera: Camera,
) -> Raster:
    """Depth and weights of the winners, from the whole (unclipped) triangles of `local` (n, 3) in camera space."""
    shape = (camera.height, camera.width)
    face = np.full(key.size, -1, np.int32)
    depth = np.full(key.size, np.inf, np.float32)
    weights = np.zeros((key.size, 3), np.float32)

    def resolve(band: slice) -> None:
        hit = np.flatnonzero(key[band] != np.iinfo(np.uint64).max)
        if not len(hit):
            return
        hit += band.start
        winner = numbers[(key[hit] & np.uint64(0xFFFFFFFF)).astype(np.int64)]
        face[hit] = winner
        row, column = np.divmod(hit, camera.width)
        u, v = (column + (0.5 - camera.cx)) / camera.fx, (row + (0.5 - camera.cy)) / camera.fy
        # What belongs to a triangle is computed once for each that is seen, however many pixels see it.
        seen, place = np.unique(winner, return_inverse=True)
        corners = local[triangles[seen]]
        shares = _weights(corners, place, u, v, camera.projection)
        depth[hit] = sum(share * corners[:, i, 2][place] for i, share in enumerate(shares))
        for i, share in enumerate(shares):
            weights[hit, i] = share

    in_bands(resolve, key.size)
    return Raster(face.reshape(shape), depth.reshape(shape), weights.reshape(*shape, 3))


def _weights(
    corners: NDArray[np.float64], place: NDArray[np.int64], u: Any, v: Any, projection: str
) -> list[NDArray[np.float64]]:
    """The three barycentric weights, (n,) each, of where each ray meets its triangle's plane.

    corners: (m, 3, 3) in camera space. place: (n,) which of them. u, v: (n,) the ray's place at depth 1, or the
    orthographic ray's.
    """
    xs, ys, zs = np.ascontiguousarray(corners.transpose(2, 1, 0))  # (3, m) each
    volumes = []
    if projection == "perspective":
        # The ray through the origin: weights are the volumes that it spans with the other two corners.
        for j, k in ((1, 2), (2, 0), (0, 1)):
            normal = (ys[j] * zs[k] - zs[j] * ys[k], zs[j] * xs[k] - xs[j] * zs[k], xs[j] * ys[k] - ys[j] * xs[k])
            volumes.append(normal[0][place] * u + normal[1][place] * v + normal[2][place])
    else:
        # Twice the areas, from the first corner on: far from the axis the differences would drown.
        u, v = u - xs[0][place], v - ys[0][place]
        xs, ys = xs - xs[0], ys - ys[0]
        whole = (xs[1] * ys[2] - xs[2] * ys[1])[place]
        second, third = u * ys[2][place] - v * xs[2][place], xs[1][place] * v - ys[1][place] * u
        volumes = [whole - second - third, second, third]
    total = sum(volumes)
    shares = [np.divide(one, total, out=np.full_like(one, 1 / 3), where=total != 0) for one in volumes]
    shares = [np.clip(share, 0, 1, out=share) for share in shares]
    total = sum(shares)
    return [share / total for share in shares]
