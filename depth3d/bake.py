"""Pictures projected onto a mesh's own UV layout, from several cameras, one after the other or all at once.

Each texel's place in the scene is projected into each view by the view's own camera: divided by its depth, so that
large faces come out right. It is seen where the view's depth map says so, and takes its colour only from pixels that
show the same surface, so that nothing bleeds over a silhouette. Views are blended by how squarely and how closely
they look, and they fade toward their borders and toward the edges of what they see.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera, Float
from .edges import links
from .render import rasterise, sample
from .texels import Texels, dilated, texels

#: How many texels are projected at once: their arrays fit into a processor's cache.
_PART = 1 << 16


@dataclass(frozen=True, eq=False)
class View:
    """A painted picture and where it was painted from.

    image: (h, w, 3 or 4) uint8, of the camera's size or any with its aspect; alpha says how much each pixel counts.
    depth: (h, w) float32 z of the camera's size, +inf where nothing is; None renders the mesh itself.
    mask: (h, w) 0 to 1, how much each pixel of the picture counts, of the picture's size or the camera's.
    weight: how much the whole view does.
    """

    camera: Camera
    image: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    mask: NDArray[np.float32] | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Blending:
    """How views are weighed against each other.

    sharpness: the power of the cosine between face and view; higher lets the squarest view win.
    max_angle: in degrees; a surface that is seen under a flatter angle gets nothing.
    bias: how far a texel may lie before or behind the depth map, as a fraction of its depth, beyond what the surface's
    own slope makes of a pixel.
    border: the share of the picture's shorter side over which a view fades toward its border. edge: the same toward
    the edges of things in it, where painters are off by some pixels.
    """

    sharpness: float = 4.0
    max_angle: float = 85.0
    bias: float = 0.001
    border: float = 0.05
    edge: float = 0.01


@dataclass(frozen=True, eq=False)
class Baked:
    """texture: (h, w, 4) uint8, alpha 255 where some view saw the texel or dilation filled it.

    seen: (h, w) bool, without the dilation. confidence: (h, w) float32, the largest weight of any view.
    coverage: the share of the mesh's surface that is seen, 0 to 1.
    """

    texture: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    confidence: NDArray[np.float32] = field(repr=False)
    coverage: float


class Canvas:
    """A mesh's texels while views are painted onto them."""

    def __init__(
        self,
        vertices: ArrayLike,
        faces: ArrayLike,
        uvs: ArrayLike,
        width: int,
        height: int,
        blending: Blending | None = None,
    ) -> None:
        """The mesh as for `texels.texels`, and the size of its texture."""
        self._vertices, self._faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64).reshape(-1, 3)
        corner_uvs = np.asarray(uvs, dtype=np.float64)
        per_vertex = corner_uvs.ndim == 2 and len(corner_uvs) == len(self._vertices)
        self._uvs = corner_uvs[self._faces] if per_vertex else corner_uvs.reshape(-1, 3, 2)
        self.texels: Texels = texels(self._vertices, self._faces, self._uvs, width, height)
        self.blending = blending or Blending()
        count = len(self.texels.index)
        self._colour = np.zeros((count, 3), np.float32)
        self._total = np.zeros(count, np.float32)
        self._strongest = np.zeros(count, np.float32)

    def depth(self, camera: Camera) -> NDArray[np.float32]:
        """What the camera sees of this mesh alone, (h, w) float32 z, +inf where nothing is."""
        return rasterise(self._vertices, self._faces, camera).depth

    def add(self, view: View, *, over: bool = False) -> None:
        """Blend a view in by its weights; or lay it over what is there, as far as its mask and its borders allow."""
        depth = view.depth if view.depth is not None else self.depth(view.camera)
        if depth.shape != (view.camera.height, view.camera.width):
            raise ValueError(
                f"a view's depth has shape {depth.shape}; its camera's is {(view.camera.height, view.camera.width)}"
            )
        look = _Look(self.texels, view, depth, self.blending)

        def part(start: int) -> None:
            here, colour, weight, cover = look.at(slice(start, start + _PART))
            if over:
                self._colour[here] *= (1 - cover)[:, None]
                self._total[here] *= 1 - cover
                self._strongest[here] *= 1 - cover
            self._colour[here] += colour * weight[:, None]
            self._total[here] += weight
            self._strongest[here] = np.maximum(self._strongest[here], weight)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(part, range(0, len(self._total), _PART)))

    def baked(self, dilation: int = 8) -> Baked:
        """The texture as it is now. dilation: how many texels around the islands are filled."""
        height, width = self.texels.shape
        index, faces = self.texels.index, len(self.texels.areas)
        seen = self._total > 0
        texture = np.zeros((height * width, 4), np.uint8)
        texture[index[seen], :3] = np.rint(self._colour[seen] / self._total[seen, None])
        texture[index[seen], 3] = 255
        confidence = np.zeros(height * width, np.float32)
        confidence[index] = self._strongest
        surface = np.zeros(height * width, bool)
        surface[index] = True
        picture = texture.reshape(height, width, 4)
        every = np.bincount(self.texels.face, minlength=faces)
        share = np.bincount(self.texels.face[seen], minlength=faces) / np.maximum(every, 1)
        area = self.texels.areas * (every > 0)
        coverage = float((share * area).sum() / area.sum()) if area.any() else 0.0
        return Baked(
            dilated(picture, dilation, surface.reshape(height, width)),
            picture[..., 3] > 0,
            confidence.reshape(height, width),
            coverage,
        )

    def render(
        self, baked: Baked, camera: Camera, depth: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """What the camera sees of the texture: colours (h, w, 4) float32 of 0 to 255 (alpha: how much is painted), the
        confidence (h, w) of what is there, and the weight (h, w) that the camera's own picture would have; zero where
        it does not see this mesh.
        """
        raster = rasterise(self._vertices, self._faces, camera)
        visible = raster.covered
        if depth is not None:
            with np.errstate(invalid="ignore"):
                visible &= raster.depth <= depth * (1 + 10 * self.blending.bias)
        where = np.flatnonzero(visible)
        face = raster.face.ravel()[where]
        uv = (self._uvs[face] * raster.weights.reshape(-1, 3)[where][..., None]).sum(axis=1)
        picture = np.zeros((camera.height * camera.width, 4), np.float32)
        picture[where] = sample(baked.texture, uv)
        height, width = self.texels.shape
        column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip((uv[:, 1] * height).astype(int), 0, height - 1)
        confidence, weight = (np.zeros(camera.height * camera.width, np.float32) for _ in range(2))
        confidence[where] = baked.confidence[row, column]
        points = camera.unproject(np.where(visible, raster.depth, 1)).reshape(-1, 3)[where]
        cosine = _toward(camera, points, self.texels.normals[face])
        squarely = np.where(cosine > math.cos(math.radians(self.blending.max_angle)), cosine, 0)
        weight[where] = squarely**self.blending.sharpness
        weight[where] *= _fade(raster.depth if depth is None else depth, camera, self.blending).ravel()[where]
        weight[where] *= _closeness(_pixel_span(camera, raster.depth.ravel()[where]), self.texels)
        shape = (camera.height, camera.width)
        return picture.reshape(*shape, 4), confidence.reshape(shape), weight.reshape(shape)


def bake(
    vertices: ArrayLike,
    faces: ArrayLike,
    uvs: ArrayLike,
    views: Sequence[View],
    *,
    width: int,
    height: int,
    blending: Blending | None = None,
    dilation: int = 8,
) -> Baked:
    """A texture (height, width) of a mesh from several views, blended by their weights.

    uvs: (n, 2) for each vertex, or (m, 3, 2) for each face's corners, u right, v down.
    """
    if not views:
        raise ValueError("there is no view to bake from; give at least one")
    canvas = Canvas(vertices, faces, uvs, width, height, blending)
    for view in views:
        canvas.add(view)
    return canvas.baked(dilation)


class _Look:
    """One view, ready to be asked about any part of the texels."""

    def __init__(self, places: Texels, view: View, depth: NDArray[np.float32], blending: Blending) -> None:
        self._places, self._camera, self._blending, self._weight = places, view.camera, blending, view.weight
        camera = view.camera
        height, width = view.image.shape[:2]
        self._size = width, height
        self._scale = np.array([width / camera.width, height / camera.height], np.float32)
        if view.image.ndim != 3 or view.image.shape[2] not in (3, 4):
            raise ValueError(f"a view's picture has shape {view.image.shape}; it must be (h, w, 3) or (h, w, 4)")
        fade: NDArray[Any] = _resized(_fade(depth, camera, blending), width, height)
        if view.mask is not None:
            fade = fade * _resized(view.mask.astype(np.float32), width, height)
        if view.image.shape[2] == 4:
            fade = fade * (view.image[..., 3] / np.float32(255))
        self._depth, self._fade = _resized(depth, width, height).ravel(), fade.ravel()
        self._image = view.image.reshape(-1, view.image.shape[2])
        # The plane of each face decides whether it turns its front; its distance also gives each texel's angle.
        if camera.projection == "orthographic":
            self._plane: NDArray[np.float32] = (-(places.normals @ camera.camera_to_world[:3, 2])).astype(np.float32)
        else:
            self._plane = (places.normals * (camera.position - places.corners)).sum(axis=1).astype(np.float32)
        rotation = camera.world_to_camera[:3, :3]
        self._rotation = rotation.T.astype(np.float32)
        self._shift = (rotation @ places.origin + camera.world_to_camera[:3, 3]).astype(np.float32)

    def at(
        self, part: slice
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Of the texels of that part which the view sees: their numbers (k,), colours (k, 3), weights (k,), and how
        much of what lies under them the view covers (k,), 0 to 1.
        """
        plane: NDArray[Any] = self._plane[self._places.face[part]]
        here = np.flatnonzero(plane > 0)
        local = self._places.offsets[part][here] @ self._rotation + self._shift
        x, y, z, distance = self._projected(local)
        cosine = plane[here] / distance if self._camera.projection != "orthographic" else plane[here]
        cosine = np.minimum(cosine, 1)
        width, height = self._size
        with np.errstate(invalid="ignore"):
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > 0)
            inside &= cosine > math.cos(math.radians(self._blending.max_angle))
        inner = np.flatnonzero(inside)
        here, x, y, z, cosine = here[inner], x[inner], y[inner], z[inner], cosine[inner]
        colour, faded, agreed = self._sampled(x - np.float32(0.5), y - np.float32(0.5), z, self._slack(z, cosine))
        weight = cosine**self._blending.sharpness * faded * np.float32(self._weight)
        weight *= _closeness(self._pixel(z), self._places)
        seen = np.flatnonzero((weight > 0) & (agreed > 0))
        colour = colour[seen] / agreed[seen, None]
        cover = np.clip(faded[seen] / agreed[seen], 0, 1)
        return here[seen] + part.start, colour.astype(np.float32), weight[seen].astype(np.float32), cover

    def _projected(self, local: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """x, y in the picture's pixels, depth, and distance from the camera of points (k, 3) in camera space."""
        camera = self._camera
        distance = np.sqrt((local * local).sum(axis=1))
        u: NDArray[Any]
        v: NDArray[Any]
        z: NDArray[Any]
        if camera.projection == "equirectangular":
            pixels, z = Camera(
                camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy, camera.projection
            ).project(local)
            u, v, z = pixels[:, 0].astype(np.float32), pixels[:, 1].astype(np.float32), z.astype(np.float32)
        else:
            z = local[:, 2]
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = 1 / z if camera.projection == "perspective" else np.float32(1)
                u = np.float32(camera.fx) * local[:, 0] * scale + np.float32(camera.cx)
                v = np.float32(camera.fy) * local[:, 1] * scale + np.float32(camera.cy)
        return u * self._scale[0], v * self._scale[1], z, np.maximum(distance, np.float32(1e-30))

    def _slack(self, z: NDArray[np.float32], cosine: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far a pixel's depth may be from a texel's on the same surface: more on one that is seen slanted."""
        slope = np.sqrt(np.maximum(1 - cosine * cosine, 0)) / np.maximum(cosine, np.float32(1e-3))
        return np.asarray(z * np.float32(self._blending.bias) + np.float32(1.5) * self._pixel(z) * slope, np.float32)

    def _pixel(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much of the scene one pixel spans; of the depth map's where that is the coarser one."""
        return np.asarray(_pixel_span(self._camera, z) / min(float(self._scale.min()), 1.0), np.float32)

    def _sampled(
        self, x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32], slack: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Bilinear sums over the pixels around that show the texel's surface: colour (k, 3), fade (k,), share (k,)."""
        width, height = self._size
        column, row = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
        fx, fy = x - column, y - row
        colour, faded = np.zeros((len(x), 3), np.float32), np.zeros(len(x), np.float32)
        agreed = np.zeros(len(x), np.float32)
        for down in (0, 1):
            r = np.clip(row + down, 0, height - 1) * width
            for right in (0, 1):
                tap = r + np.clip(column + right, 0, width - 1)
                share = (fx if right else 1 - fx) * (fy if down else 1 - fy)
                # The farthest corner of a pixel that is only just touched counts a little too.
                share = np.maximum(share, np.float32(1e-4)) * (np.abs(self._depth[tap] - z) <= slack)
                agreed += share
                faded += share * self._fade[tap]
                colour += share[:, None] * self._image[tap, :3]
        return colour, faded, agreed


def _fade(depth: NDArray[np.float32], camera: Camera, blending: Blending) -> NDArray[np.float32]:
    """How much each pixel counts by its distance from the border and from the edges of what is seen, (h, w).

    Never quite zero: where only one view sees a texel, its border counts too.
    """
    height, width = depth.shape
    out = np.ones(depth.shape, np.float32)
    if blending.border > 0 and camera.projection != "equirectangular":
        reach = blending.border * min(width, height)
        column, row = np.arange(width) + 0.5, np.arange(height) + 0.5
        margin = np.minimum(np.minimum(column, width - column)[None], np.minimum(row, height - row)[:, None])
        out = np.minimum(out, (margin / reach).astype(np.float32))
    steps = round(blending.edge * min(width, height))
    if steps > 0:
        valid = np.isfinite(depth) & (depth > 0)
        q = np.where(valid, depth, np.float32(1))
        q = q if camera.projection == "orthographic" else 1 / q
        right, down = links(q.astype(np.float32), valid=valid)
        near = ~valid
        near[:, :-1] |= ~right
        near[:, 1:] |= ~right
        near[:-1] |= ~down
        near[1:] |= ~down
        count = near.astype(np.float32)
        for _ in range(steps - 1):
            grown = near.copy()
            grown[:, :-1] |= near[:, 1:]
            grown[:, 1:] |= near[:, :-1]
            grown[:-1] |= near[1:]
            grown[1:] |= near[:-1]
            near = grown
            count += near
        out *= 1 - count / (steps + 1)
    return np.maximum(out, np.float32(1e-3))


def _pixel_span(camera: Camera, z: NDArray[np.float32]) -> NDArray[np.float32]:
    """How many scene units one pixel spans at a depth, square to the axis."""
    focal = np.float32(min(camera.fx, camera.fy))
    return np.full_like(z, 1 / focal) if camera.projection == "orthographic" else z / focal


def _closeness(span: NDArray[np.float32], places: Texels) -> NDArray[np.float32]:
    """How many pixels there are for each texel, at most 1: more of them show nothing more."""
    return np.asarray(np.minimum(1 / (span * np.float32(places.density)), 1) ** 2, np.float32)


def _toward(camera: Camera, points: Float, normals: Float) -> Float:
    """The cosine between each normal (k, 3) and the direction to the camera, at points (k, 3)."""
    if camera.projection == "orthographic":
        return np.asarray(-(normals @ camera.camera_to_world[:3, 2]))
    toward = camera.position - points
    length = np.maximum(np.linalg.norm(toward, axis=1), 1e-30)
    return np.asarray((toward * normals).sum(axis=1) / length)


def _resized(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """The nearest value for each pixel of another size: depths and masks of different surfaces must not mix."""
    h, w = values.shape
    if (h, w) == (height, width):
        return values
    rows = ((np.arange(height) + 0.5) * h / height).astype(int)
    columns = ((np.arange(width) + 0.5) * w / width).astype(int)
    return np.asarray(values[rows][:, columns])
