"""Control maps of a scene as one camera sees it: exact float data, from arrays alone.

The host's thread gathers the triangles of everything that is seen (`capture.gather`); what is made of them here needs
no host and may run in any thread. There is no render in it, so that no setting of the scene is touched, and a picture
is the same with and without a screen. No bpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from depth3d.camera import Camera
from depth3d.edges import links
from depth3d.normals import normals_to_camera
from depth3d.render import Raster, in_bands, rasterise

#: Two neighbouring pixels on one surface that turn by more than this many degrees have a crease between them.
CREASE = 35.0


@dataclass(frozen=True, eq=False)
class Triangles:
    """Everything that a camera could see, as triangles in world space; counterclockwise from their front.

    vertices: (n, 3) float64. faces: (m, 3) int32. normals: (m, 3, 3) float32, unit, one for each corner.
    object, material: (m,) int32, numbers of `objects` and `materials`. colours: (k, 3) float32 linear albedo of each
    material. objects, materials: names; a material's name is empty where an object has none.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    object: NDArray[np.int32]
    material: NDArray[np.int32]
    colours: NDArray[np.float32]
    objects: list[str]
    materials: list[str]
    #: What could not be shown as it is, in sentences.
    notes: list[str] = field(default_factory=list)
    #: The edges that are marked for Freestyle, as the numbers of their vertices, (k, 2); where they were asked for.
    marked: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), np.int32))


@dataclass(frozen=True, eq=False)
class Maps:
    """What one camera sees, rows from the top.

    depth: (h, w) float32, z along the axis in scene units, +inf where nothing is. normal: (h, w, 3) float32 in camera
    space, x right, y up, z toward the viewer, zero where nothing is. object, material: (h, w) int32, −1 where nothing
    is. raster: which triangle each pixel shows.
    """

    camera: Camera
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    object: NDArray[np.int32]
    material: NDArray[np.int32]
    raster: Raster


def maps_of(scene: Triangles, camera: Camera, *, near: float, far: float = np.inf) -> Maps:
    """Depth, normals and segments at each pixel's centre. near, far: what lies nearer or farther is not seen."""
    raster = rasterise(scene.vertices, scene.faces, camera, near=near)
    seen = raster.covered & (raster.depth <= far)
    depth = np.where(seen, raster.depth, np.float32(np.inf))
    normal = np.zeros((*seen.shape, 3), np.float32)
    segments = [np.full(seen.shape, -1, np.int32) for _ in range(2)]
    facing = toward_viewer(scene, camera)
    every_corner = scene.normals.reshape(-1, 3)
    pixels = [layer.reshape(-1, *layer.shape[2:]) for layer in (seen, raster.face, raster.weights, normal, *segments)]

    def fill(band: slice) -> None:
        inside, faces, weights, normals, objects, materials = (layer[band] for layer in pixels)
        shown, share = faces[inside], weights[inside]
        world = sum(every_corner[3 * shown + corner] * share[:, corner, None] for corner in range(3))
        normals[inside] = normals_to_camera(world, camera) * facing[shown, None]
        objects[inside], materials[inside] = scene.object[shown], scene.material[shown]

    in_bands(fill, seen.size)
    return Maps(camera, depth, normal, segments[0], segments[1], raster)


def toward_viewer(scene: Triangles, camera: Camera) -> NDArray[np.float32]:
    """−1 for each triangle (m,) that shows its back, whose normals point away from the viewer; else 1."""
    a, b, c = (scene.vertices[scene.faces[:, corner]] for corner in range(3))
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    front = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)  # numpy's cross is several times slower
    if camera.projection == "orthographic":
        toward = camera.camera_to_world[:3, 2]
    else:
        toward = (a - camera.position).T
    turned = front[0] * toward[0] + front[1] * toward[1] + front[2] * toward[2] > 0
    return np.where(turned, np.float32(-1), np.float32(1))


def mist(depth: NDArray[np.float32], start: float, length: float) -> NDArray[np.float32]:
    """How much of each pixel the haze covers, (h, w) float32: 0 up to `start`, 1 from `start + length` on and where
    nothing is; quadratic between them, as Blender's default.
    """
    share = np.clip((depth - start) / max(length, 1e-9), 0, 1)
    return np.asarray(share * share, np.float32)


def albedo(scene: Triangles, maps: Maps) -> NDArray[np.float32]:
    """The materials' own colours, (h, w, 4) float32 linear, alpha 0 where nothing is."""
    out = np.zeros((*maps.material.shape, 4), np.float32)
    seen = maps.material >= 0
    out[seen, :3] = scene.colours[maps.material[seen]]
    out[seen, 3] = 1
    return out


def edges(maps: Maps) -> NDArray[np.uint8]:
    """Lines where surfaces end, bend, or meet another object or material: (h, w, 3) uint8, white on black.

    A line is one pixel wide and lies on the nearer surface.
    """
    z, n = maps.depth, maps.normal
    valid = np.isfinite(z)
    q = np.where(valid, z, 1).astype(np.float32)
    if maps.camera.projection != "orthographic":
        q = 1 / q
    right, down = links(q, valid=valid)
    out = np.zeros(z.shape, bool)
    cosine = np.cos(np.radians(CREASE))
    for linked, first, second in (
        (right, np.s_[:, :-1], np.s_[:, 1:]),
        (down, np.s_[:-1], np.s_[1:]),
    ):
        bent = (n[first] * n[second]).sum(axis=-1) < cosine
        other = (maps.object[first] != maps.object[second]) | (maps.material[first] != maps.material[second])
        line = (~linked | bent | other) & (valid[first] | valid[second])
        nearer = z[first] <= z[second]
        out[first] |= line & nearer
        out[second] |= line & ~nearer
    return np.repeat(np.where(out, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)


def segmentation(numbers: NDArray[np.int32], colours: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Each segment in its colour, (h, w, 3) uint8, black where nothing is. numbers: (h, w), −1 where nothing is."""
    table = np.zeros((len(colours) + 1, 3), np.uint8)
    table[1:] = np.array(colours, np.uint8).reshape(-1, 3)
    return table[numbers + 1]


def depth_range(all_maps: Sequence[Maps]) -> tuple[float, float] | None:
    """The nearest and the farthest depth over all cameras of a rig: one range, so that one point has one grey."""
    low, high = np.inf, -np.inf
    for one in all_maps:
        seen = one.depth[np.isfinite(one.depth)]
        if seen.size:
            low, high = min(low, float(seen.min())), max(high, float(seen.max()))
    return (low, high) if low <= high else None
