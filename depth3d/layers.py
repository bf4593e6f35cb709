"""What the foreground hides: the far surface of each depth edge continued behind the near one, with colours.

Seen from beside the source camera a torn mesh shows holes behind its edges. A second sheet fills them: for each
foreground pixel near an edge, the nearest pixel of the edge's far side is found (exact Euclidean distance transform),
and its surface continued as the plane that it is in disparity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from .camera import Camera
from .corner import corner_mesh
from .depth import check_depth
from .edges import links
from .mesh import Mesh, merged
from .normals import CUT_RATIO

#: How far behind an edge the background reaches, in pixels of the source picture.
BAND = 60

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
    seed: (2, h, w) row and column of the rim's pixel that each pixel was continued from.
    """

    depth: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    rim: NDArray[np.bool_]
    seed: NDArray[np.int64]


def background(depth: ArrayLike, camera: Camera, *, band: int = BAND, cut_ratio: float = CUT_RATIO) -> Background:
    """The surfaces hidden behind the depth edges of a (h, w) map, within `band` pixels of each edge.

    The sheet overlaps the far surface by two pixels, so that no crack opens between the two.
    """
    z = check_depth(depth)
    if z.shape != (camera.height, camera.width):
        raise ValueError(f"depth has shape {z.shape}; the camera's pictures are {(camera.height, camera.width)}")
    valid = np.isfinite(z)
    flat = camera.projection == "orthographic"
    # q is affine on planes; it falls with the distance, except under an orthographic camera.
    q = np.where(valid, z if flat else 1 / z, 0).astype(np.float32)
    far = _far_side(z, q, valid, cut_ratio)
    if not far.any():
        nothing = np.zeros(z.shape, bool)
        return Background(np.full(z.shape, np.inf, np.float32), nothing, nothing, np.zeros((2, *z.shape), np.int64))
    slope_u, slope_v, value = _planes(z, q, far, cut_ratio)
    out = np.full(z.shape, np.inf, np.float32)
    seed = np.zeros((2, *z.shape), np.int64)
    seeds, open_pixels = far, valid & ~far
    near_seeds = np.zeros(z.shape, bool)
    for number in range(_PASSES):
        distance, nearest = distance_transform_edt(~seeds, return_indices=True)
        if number == 0:
            near_seeds, seed[:] = distance <= 2, nearest
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
    hidden = np.isfinite(out)
    # The overlap is the far side's own: what is much nearer than its seed is the foreground.
    overlap = near_seeds & ~hidden & valid & (z >= z[seed[0], seed[1]] * (1 - cut_ratio))
    overlap &= distance_transform_edt(~hidden) <= 3
    out[overlap] = z[overlap]
    return Background(out, hidden, far & ~hidden, seed)


def layered_mesh(
    depth: ArrayLike,
    camera: Camera,
    image: ArrayLike | None = None,
    *,
    band: int = BAND,
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
    # Wider tolerance: the sheet is a guess, and a tear in it would be a hole where there is none.
    back = corner_mesh(behind.depth, camera, cut_ratio=3 * cut_ratio)
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
    out[rows, columns] = rim[np.where(same, image_of[0], r), np.where(same, image_of[1], c)]
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
