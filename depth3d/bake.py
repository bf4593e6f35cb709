"""Pictures projected onto a mesh's own UV layout, from several cameras at once.

Each texel's place in the scene is projected into each view by the view's own camera: divided by its depth, so that
large faces come out right. It is seen where the view's depth map says so; the views' colours are blended by how
squarely they look, and the texels around each island are filled, so that no seam shows.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera
from .render import rasterise, sample

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """A painted picture and where it was painted from.

    image: (h, w, 3) uint8, of the camera's size or any with its aspect. depth: (h, w) float32 z of the camera's size,
    +inf where nothing is; None renders the mesh itself. mask: (h, w) 0 to 1, how much each pixel of the picture counts.
    weight: how much the whole view does.
    """

    camera: Camera
    image: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    mask: NDArray[np.float32] | None = None
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Texels:
    """Where the texels of a UV layout lie on the mesh: index (k,) into the texture, points and unit normals (k, 3)."""

    shape: tuple[int, int]
    index: NDArray[np.int64]
    points: Float
    normals: Float


@dataclass(frozen=True, eq=False)
class Baked:
    """texture: (h, w, 4) uint8, alpha 255 where some view saw the texel or dilation filled it.

    seen: (h, w) bool, without the dilation. confidence: (h, w) float32, the largest weight of any view, 0 to 1.
    """

    texture: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    confidence: NDArray[np.float32] = field(repr=False)


def texels(vertices: ArrayLike, faces: ArrayLike, uvs: ArrayLike, width: int, height: int) -> Texels:
    """The texels whose centres lie in some triangle of the layout. uvs: (n, 2) for each vertex, or (m, 3, 2) for each
    face's corners, u right, v down. Where triangles overlap in UV space one of them wins.
    """
    v, f = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
    corner_uvs = np.asarray(uvs, dtype=np.float64)
    corner_uvs = corner_uvs[f] if corner_uvs.ndim == 2 else corner_uvs
    flat = np.concatenate([corner_uvs.reshape(-1, 2) * (width, height), np.ones((3 * len(f), 1))], axis=1)
    layout = Camera(width, height, 1.0, 1.0, 0.0, 0.0, "orthographic")
    raster = rasterise(flat, np.arange(3 * len(f)).reshape(-1, 3), layout)
    index = np.flatnonzero(raster.covered)
    face, weights = raster.face.ravel()[index], raster.weights.reshape(-1, 3)[index].astype(np.float64)
    corners = v[f[face]]
    points = (corners * weights[..., None]).sum(axis=1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    return Texels((height, width), index, points, normals)


def bake(
    vertices: ArrayLike,
    faces: ArrayLike,
    uvs: ArrayLike,
    views: Sequence[View],
    *,
    width: int,
    height: int,
    sharpness: float = 4.0,
    bias: float = 0.005,
    feather: float = 0.05,
    dilation: int = 8,
) -> Baked:
    """A texture (height, width) of a mesh from several views.

    sharpness: the power of the cosine between face and view; higher lets the squarest view win. bias: how much deeper
    than the view's depth map, as a fraction, a texel may be and still be seen. feather: the share of the picture's
    shorter side over which a view fades toward its border. dilation: texels filled around the islands.
    """
    if not views:
        raise ValueError("there is no view to bake from; give at least one")
    places = texels(vertices, faces, uvs, width, height)
    colour, total = np.zeros((len(places.index), 3)), np.zeros(len(places.index))
    strongest = np.zeros(len(places.index))
    for view in views:
        depth = view.depth if view.depth is not None else rasterise(vertices, faces, view.camera).depth
        if depth.shape != (view.camera.height, view.camera.width):
            raise ValueError(
                f"a view's depth has shape {depth.shape}; its camera's is {(view.camera.height, view.camera.width)}"
            )
        pixels, weight = _weights(places, view, depth, sharpness, bias, feather)
        chosen = np.flatnonzero(weight > 0)
        place = pixels[chosen] / (view.camera.width, view.camera.height)
        colour[chosen] += sample(view.image[..., :3], place) * weight[chosen, None]
        total += weight
        np.maximum(strongest, weight, out=strongest)
    seen = total > 0
    colour[seen] /= total[seen, None]
    texture = np.zeros((height * width, 4), np.uint8)
    texture[places.index[seen], :3] = np.rint(colour[seen])
    texture[places.index[seen], 3] = 255
    confidence = np.zeros(height * width, np.float32)
    confidence[places.index] = strongest
    picture = texture.reshape(height, width, 4)
    mask = picture[..., 3] > 0
    return Baked(dilated(picture, dilation), mask, confidence.reshape(height, width))


def dilated(texture: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
    """A (h, w, 4) picture with its opaque pixels grown outward by `steps`, each new one the mean of its neighbours."""
    out = texture.astype(np.float32)
    known = texture[..., 3] > 0
    for _ in range(steps):
        if known.all() or not known.any():
            break
        total, count = np.zeros_like(out), np.zeros(known.shape, np.float32)
        padded = np.pad(np.where(known[..., None], out, 0), ((1, 1), (1, 1), (0, 0)))
        beside = np.pad(known, 1)
        for row in range(3):
            for column in range(3):
                window = np.s_[row : row + known.shape[0], column : column + known.shape[1]]
                total += padded[window]
                count += beside[window]
        new = ~known & (count > 0)
        out[new] = total[new] / count[new][:, None]
        out[new, 3] = 255
        known |= new
    return np.asarray(np.rint(out), dtype=np.uint8)


def _weights(
    places: Texels, view: View, depth: NDArray[np.float32], sharpness: float, bias: float, feather: float
) -> tuple[Float, Float]:
    """Pixel positions (k, 2) and blending weights (k,) of the texels in one view."""
    camera = view.camera
    pixels, z = camera.project(places.points)
    with np.errstate(invalid="ignore"):
        within = (pixels >= 0) & (pixels < (camera.width, camera.height))
    inside: NDArray[np.bool_] = within[:, 0] & within[:, 1]
    if camera.projection != "orthographic":
        inside &= z > 0
    x, y = np.where(inside[:, None], pixels, 0.0).T
    # Visible if not behind all of the four depths around: at an edge the texel belongs to the farther surface too.
    c0, r0 = (
        np.clip(np.floor(x - 0.5), 0, camera.width - 1).astype(int),
        np.clip(np.floor(y - 0.5), 0, None).astype(int),
    )
    r0 = np.minimum(r0, camera.height - 1)
    c1, r1 = np.minimum(c0 + 1, camera.width - 1), np.minimum(r0 + 1, camera.height - 1)
    around = np.stack([depth[r0, c0], depth[r0, c1], depth[r1, c0], depth[r1, c1]])
    known = np.isfinite(around)
    farthest = np.where(known, around, -1e30).max(axis=0)
    visible = inside & known.any(axis=0) & (z <= farthest + bias * np.abs(farthest))
    if camera.projection == "perspective":
        toward = camera.position - places.points
        toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-30)
        cosine = (toward * places.normals).sum(axis=1)
    elif camera.projection == "orthographic":
        cosine = -(places.normals @ camera.camera_to_world[:3, 2])
    else:
        cosine = np.ones(len(z))
    weight = np.where(visible, np.maximum(cosine, 0) ** sharpness, 0) * view.weight
    if feather > 0 and camera.projection != "equirectangular":
        margin = np.minimum(np.minimum(x, camera.width - x), np.minimum(y, camera.height - y))
        # Never quite zero: where only one view sees a texel, its border counts too.
        weight *= np.clip(margin / (feather * min(camera.width, camera.height)), 1e-3, 1)
    if view.mask is not None:
        mask_at = np.stack([x / camera.width, y / camera.height], axis=1)
        weight *= sample(view.mask[..., None], mask_at)[:, 0]
    return pixels, weight
