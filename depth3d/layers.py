"""What the foreground hides: the far surface of each depth edge continued behind the near one, with colours.

Seen from beside the source camera a torn mesh shows holes behind its edges. A second sheet fills them: for each
foreground pixel near an edge, the nearest pixel of the edge's far side is found (exact Euclidean distance transform),
and its surface continued as the plane that it is in disparity. Amid clutter those planes contradict each other from
pixel to pixel: patches of the sheet that are smaller than `_PATCH` are given up, and a smooth membrane is spanned
between what is left and the far sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .camera import Camera
from .corner import corner_mesh
from .depth import check_depth
from .edges import links
from .membrane import membrane
from .mesh import Mesh, merged
from .normals import CUT_RATIO

#: How far behind an edge the background reaches, as a share of the picture's longer side; 60 pixels at least.
BAND = 0.1

#: A patch of continued planes is kept if it has so many pixels for each pixel of the band.
_PATCH = 8

#: What is at most so many pixels beside an edge, on the far surface, is known to the membrane: in depth and colour.
_KNOWN_DEPTH, _KNOWN_COLOUR = 2, 6

#: Where more than this share of neighbours jumps, the sheet is clutter.
_CLUTTER = 0.14

#: The standard deviation, in pixels, by which a membrane amid clutter is evened out.
_EVEN = 8.0

#: Neighbours of the sheet are torn apart if the farther is this much farther: it is a guess, and a tear in it a hole.
_SHEET_RATIO = 0.25

#: How far the continued plane may leave its seed's disparity.
_CLIP = 0.2

#: How often pixels whose nearest far surface is not behind them look for another.
_PASSES = 3

#: Rows of texture between the foreground's picture and the background's, so that neither bleeds into the other.
_GAP = 4

#: Fills colours: takes the picture (h, w, 3) and the mask (h, w) of what to fill, gives the filled picture.
Inpaint = Callable[[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Background:
    """The second sheet. depth: (h, w) float32, +inf where it is not. hidden: (h, w) where it lies behind the first.

    rim: (h, w) the far side's own pixels along the edges, whose colours a picture mixes with the foreground's.
    seed: (2, h, w) row and column of the rim's pixel that is nearest or that each pixel was continued from.
    distance: (h, w) float32, in pixels, to the nearest rim. spanned: (h, w) where it is a guess amid clutter.
    """

    depth: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    rim: NDArray[np.bool_]
    seed: NDArray[np.int64]
    distance: NDArray[np.float32]
    spanned: NDArray[np.bool_]


def background(
    depth: ArrayLike, camera: Camera, *, band: int | None = None, cut_ratio: float = CUT_RATIO
) -> Background:
    """The surfaces hidden behind the depth edges of a (h, w) map, within `band` pixels of each edge (none: `BAND`).

    The sheet overlaps the far surface by two pixels, so that no crack opens between the two.
    """
    z = check_depth(depth)
    if z.shape != (camera.height, camera.width):
        raise ValueError(f"depth has shape {z.shape}; the camera's pictures are {(camera.height, camera.width)}")
    band = max(60, round(BAND * max(z.shape))) if band is None else band
    valid = np.isfinite(z)
    flat = camera.projection == "orthographic"
    # q is affine on planes; it falls with the distance, except under an orthographic camera.
    q = np.where(valid, z if flat else 1 / z, 0).astype(np.float32)
    far = _far_side(z, q, valid, cut_ratio)
    if not far.any():
        nothing = np.zeros(z.shape, bool)
        away = np.full(z.shape, np.inf, np.float32)
        return Background(away, nothing, nothing, np.zeros((2, *z.shape), np.int64), away, nothing)
    slope_u, slope_v, value = _planes(z, q, far, cut_ratio)
    out = np.full(z.shape, np.inf, np.float32)
    seed = np.zeros((2, *z.shape), np.int64)
    seeds, open_pixels = far, valid & ~far
    away = np.zeros(z.shape, np.float32)
    for number in range(_PASSES):
        distance, nearest = distance_transform_edt(~seeds, return_indices=True)
        if number == 0:
            away, seed[:] = distance, nearest
        rows, columns = np.nonzero((distance <= band) & open_pixels)
        r, c = nearest[:, rows, columns]
        start = value[r, c]
        continued = start + slope_u[r, c] * (columns - c) + slope_v[r, c] * (rows - r)
        continued = np.clip(continued, start * (1 - _CLIP), start * (1 + _CLIP))
        depth_behind = (continued if flat else 1 / continued).astype(np.float32)
        behind = depth_behind > z[rows, columns] * (1 + cut_ratio)
        out[rows[behind], columns[behind]] = depth_behind[behind]
        seed[:, rows[behind], columns[behind]] = nearest[:, rows[behind], columns[behind]]
        # A seed that is not behind a pixel belongs to that pixel's own surface (a ball beside a rod): ask the others.
        open_pixels = np.zeros(z.shape, bool)
        open_pixels[rows[~behind], columns[~behind]] = True
        seeds = seeds.copy()
        seeds[r[~behind], c[~behind]] = False
        open_pixels[r[~behind], c[~behind]] = True
        if not seeds.any() or behind.all():
            break
    # What is much nearer than its seed is the foreground, not the far side's own surface.
    own = (away <= _KNOWN_DEPTH) & valid & (z >= z[seed[0], seed[1]] * (1 - cut_ratio))
    spanned = _smooth(out, z, own, away, _PATCH * band, flat, cut_ratio)
    hidden = np.isfinite(out)
    overlap = own & ~hidden & (distance_transform_edt(~hidden) <= 3)
    out[overlap] = z[overlap]
    return Background(out, hidden, far & ~hidden, seed, away, spanned)


def _smooth(
    out: NDArray[np.float32],
    z: NDArray[np.float32],
    own: NDArray[np.bool_],
    away: NDArray[np.float32],
    least: int,
    flat: bool,
    cut_ratio: float,
) -> NDArray[np.bool_]:
    """Small patches of the sheet (+inf where it is not) replaced by a membrane between the others, in place.

    Returns where it did so amid clutter.
    """
    hidden = np.isfinite(out)
    q = np.where(hidden, out if flat else 1 / out, 0).astype(np.float32)
    patch, sizes = _patches(q, hidden, 3 * cut_ratio)
    clutter = hidden & (_jumpiness(q, hidden, cut_ratio) > _CLUTTER)
    small = clutter | (hidden & (sizes[patch] < least))
    if not small.any():
        return clutter
    known = (hidden & ~small) | (own & ~hidden)
    own_q = np.where(own & ~hidden, z if flat else 1 / z, q).astype(np.float32)
    smooth = membrane(own_q, known)
    # The far sides amid clutter are rough; deeper behind the foreground the sheet is evened out.
    weight = gaussian_filter((small | known).astype(np.float32), _EVEN)
    even = gaussian_filter(np.where(small | known, smooth, 0), _EVEN) / np.maximum(weight, 1e-6)
    smooth += np.clip((away - _KNOWN_DEPTH) / (2 * _EVEN), 0, 1) * (even - smooth)
    with np.errstate(divide="ignore"):
        spanned = smooth if flat else np.reciprocal(smooth)
    # Where it comes before the foreground, it goes close behind it.
    out[small] = np.maximum(spanned, z * (1 + cut_ratio))[small]
    return clutter


def _jumpiness(q: NDArray[np.float32], where: NDArray[np.bool_], ratio: float) -> NDArray[np.float32]:
    """The share of neighbours around each pixel (h, w) between which the sheet jumps."""
    jumps = np.zeros(q.shape, np.float32)
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        step = np.abs(q[a] - q[b]) > ratio * np.minimum(q[a], q[b])
        jumps[a] = np.maximum(jumps[a], step & where[a] & where[b])
    size = 2 * round(_EVEN) + 1
    inside = uniform_filter(where.astype(np.float32), size)
    return np.asarray(uniform_filter(jumps, size) / np.maximum(inside, 1e-6), dtype=np.float32)


def _patches(
    q: NDArray[np.float32], where: NDArray[np.bool_], ratio: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each pixel's connected surface, (h, w), and each surface's size in pixels."""
    right, down = links(q, ratio=ratio, valid=where)
    ids = np.arange(q.size).reshape(q.shape)
    a = np.concatenate([ids[:, :-1][right], ids[:-1][down]])
    b = np.concatenate([ids[:, 1:][right], ids[1:][down]])
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(q.size, q.size))
    _, labels = connected_components(graph, directed=False)
    return labels.reshape(q.shape).astype(np.int64), np.bincount(labels)


def layered_mesh(
    depth: ArrayLike,
    camera: Camera,
    image: ArrayLike | None = None,
    *,
    band: int | None = None,
    cut_ratio: float = CUT_RATIO,
    inpaint: Inpaint | None = None,
    reduce: Callable[[Mesh], Mesh] | None = None,
) -> Mesh:
    """The corner mesh of a depth map with the hidden background behind it, as one mesh with one texture.

    image: (h, w, 3) uint8, the depth's picture. Its texture becomes two pictures, one above the other: what is seen,
    and what lies behind. inpaint: paints the hidden colours anew; it is given a picture with them mirrored at the edge.
    reduce: simplifies each of the two sheets, and must keep its UVs over the picture.
    """
    if camera.projection == "equirectangular":
        raise ValueError("layers need a picture with borders; make a panorama's mesh with corner_mesh")
    z = check_depth(depth)
    front = corner_mesh(z, camera, cut_ratio=cut_ratio)
    picture = None if image is None else np.asarray(image)[..., :3]
    behind = background(z, camera, band=band, cut_ratio=cut_ratio)
    if not behind.hidden.any():
        return replace(reduce(front) if reduce else front, texture=picture)
    back = _sheet(behind, z, camera, max(_SHEET_RATIO, 3 * cut_ratio))
    if reduce:
        front, back = reduce(front), reduce(back)
    if front.uvs is None or back.uvs is None:
        raise ValueError("the layers' meshes lost their UVs when they were simplified; give simplified() the camera")
    height = camera.height
    total = 2 * height + _GAP
    scale, offset = np.array([1, height / total], np.float32), np.array([0, (height + _GAP) / total], np.float32)
    front = replace(front, uvs=front.uvs * scale)
    if not reduce:
        # Only the full mesh still has a triangle of its own for each pixel of the rim.
        front = _repainted(front, behind.rim[np.isfinite(z)], offset)
    both = merged([front, replace(back, uvs=back.uvs * scale + offset)])
    if picture is None:
        return both
    filled = mirrored(picture, behind, z)
    if inpaint:
        filled = inpaint(filled, behind.hidden)
    if filled.shape != picture.shape:
        raise ValueError(f"the filled picture has shape {filled.shape}; it must keep the picture's {picture.shape}")
    gap = [picture[-1:]] * (_GAP // 2) + [filled[:1]] * (_GAP - _GAP // 2)
    return replace(both, texture=np.concatenate([picture, *gap, filled]))


def _sheet(behind: Background, z: NDArray[np.float32], camera: Camera, cut_ratio: float) -> Mesh:
    """The background's mesh, no corner of which comes before the map (h, w) from the source camera."""
    back = corner_mesh(behind.depth, replace(camera, world_to_camera=np.eye(4)), cut_ratio=cut_ratio)
    assert back.uvs is not None
    around = np.full((camera.height + 2, camera.width + 2), -np.inf, np.float32)
    around[1:-1, 1:-1] = np.where(np.isfinite(behind.depth), z, -np.inf)
    corners = np.maximum(np.maximum(around[:-1, :-1], around[:-1, 1:]), np.maximum(around[1:, :-1], around[1:, 1:]))
    column, row = np.rint(back.uvs * (camera.width, camera.height)).astype(np.int64).T
    vertices = back.vertices.copy()
    least = np.maximum(corners[row, column], vertices[:, 2])
    if camera.projection == "orthographic":
        vertices[:, 2] = least
    else:
        vertices *= (least / vertices[:, 2])[:, None]
    return replace(back, vertices=vertices).transformed(camera.camera_to_world, back.up)


def mirrored(image: NDArray[np.uint8], behind: Background, depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture (h, w, 3) without its foreground's edges.

    Hidden pixels get the far surface's colours, mirrored at the edge; the rim's pixels, mixed from both sides, those
    of the nearest pixel of their own surface.
    """
    height, width = image.shape[:2]
    out = image.copy()
    rows, columns = np.nonzero(behind.rim)
    edge = distance_transform_edt(~behind.rim) <= 1
    source = distance_transform_edt(edge, return_distances=False, return_indices=True)
    clear = source[:, rows, columns]
    same = np.abs(depth[clear[0], clear[1]] - depth[rows, columns]) <= _CLIP * depth[rows, columns]
    out[rows[same], columns[same]] = image[clear[0][same], clear[1][same]]
    rim = out.copy()
    rows, columns = np.nonzero(behind.hidden)
    r, c = behind.seed[:, rows, columns]
    image_of = np.clip(2 * r - rows, 0, height - 1), np.clip(2 * c - columns, 0, width - 1)
    # Where another object stands in the mirror image's place, the edge's own colour is the better guess.
    same = np.abs(depth[image_of] - depth[r, c]) <= _CLIP * depth[r, c]
    copied = rim[np.where(same, image_of[0], r), np.where(same, image_of[1], c)]
    # Deep behind the foreground copies of many edges meet; a smooth colour is the better guess there.
    own = (behind.distance <= _KNOWN_COLOUR) & ~behind.hidden & np.isfinite(depth)
    own &= depth >= depth[behind.seed[0], behind.seed[1]] * (1 - _CLIP)
    smooth = membrane(rim.astype(np.float32), own)[rows, columns]
    depth_in = behind.distance[rows, columns, None] / max(1.0, float(behind.distance[behind.hidden].max()))
    guess = ~same | behind.spanned[rows, columns]
    share = np.where(guess[:, None], 0, np.clip(3 - 4 * depth_in, 0, 1))
    out[rows, columns] = np.rint(share * copied + (1 - share) * smooth).astype(np.uint8)
    return out


def _repainted(mesh: Mesh, pixels: NDArray[np.bool_], offset: NDArray[np.float32]) -> Mesh:
    """The corner mesh with the triangles of some of its pixels (k,) moved by `offset` in the texture."""
    chosen = np.repeat(pixels, 2)
    used, corners = np.unique(mesh.faces[chosen], return_inverse=True)
    faces = mesh.faces.copy()
    faces[chosen] = (len(mesh.vertices) + corners.reshape(-1, 3)).astype(np.uint32)
    assert mesh.uvs is not None
    uvs = np.concatenate([mesh.uvs, mesh.uvs[used] + offset])
    return Mesh(np.concatenate([mesh.vertices, mesh.vertices[used]]), faces, uvs, up=mesh.up).compacted()


def _far_side(
    z: NDArray[np.float32], q: NDArray[np.float32], valid: NDArray[np.bool_], cut_ratio: float
) -> NDArray[np.bool_]:
    """Pixels that lie just behind a depth edge."""
    right, down = links(q, ratio=cut_ratio, valid=valid)
    far = np.zeros(z.shape, bool)
    for linked, a, b in ((right, np.s_[:, :-1], np.s_[:, 1:]), (down, np.s_[:-1], np.s_[1:])):
        cut = ~linked & valid[a] & valid[b]
        far[a] |= cut & (z[a] > z[b])
        far[b] |= cut & (z[b] > z[a])
    return far


def _planes(
    z: NDArray[np.float32], q: NDArray[np.float32], where: NDArray[np.bool_], cut_ratio: float, radius: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and value of the plane through q at some pixels, (h, w) each, zero elsewhere.

    Least squares over the window's pixels on the same surface, as in `normals`, but for the few pixels asked for.
    """
    rows, columns = np.nonzero(where)
    steps = np.arange(-radius, radius + 1)
    dv, du = (a.ravel() for a in np.meshgrid(steps, steps, indexing="ij"))
    r, c = rows[:, None] + dv, columns[:, None] + du
    inside = (r >= 0) & (r < z.shape[0]) & (c >= 0) & (c < z.shape[1])
    r, c = np.where(inside, r, rows[:, None]), np.where(inside, c, columns[:, None])
    here, there = z[rows, columns][:, None], z[r, c]
    limit = (1 + cut_ratio) ** np.maximum(np.abs(du), np.abs(dv))
    weight = (inside & (np.maximum(here, there) <= np.minimum(here, there) * limit)).astype(np.float64)
    step = np.where(weight > 0, q[r, c].astype(np.float64) - q[rows, columns][:, None], 0)
    terms = np.stack([np.ones_like(du), du, dv], axis=1).astype(np.float64)
    matrix = np.einsum("nk,ki,kj->nij", weight, terms, terms)
    # A thousandth of a pixel's weight keeps the system solvable where the surface is one pixel wide: slope zero there.
    matrix += np.diag([0, 1e-3, 1e-3])
    solution = np.linalg.solve(matrix, np.einsum("nk,ki,nk->ni", weight, terms, step)[..., None])[..., 0]
    out = np.zeros((3, *z.shape))
    out[0][where], out[1][where] = solution[:, 1], solution[:, 2]
    out[2][where] = solution[:, 0] + q[rows, columns]
    return out[0], out[1], out[2]
