"""From a depth map, its camera and its picture to a mesh, in one call; and what the mesh looks like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera
from .corner import corner_mesh
from .depth import Depth, DepthMap
from .edges import SOFT_SHARE, sharpen, softness
from .holes import fill_holes
from .layers import Inpaint, layered_mesh
from .mesh import Mesh
from .normals import CUT_RATIO
from .read import MAX_PIXELS
from .render import render
from .simplify import simplified

Sharpening = Literal["auto", "always", "never"]


@dataclass(frozen=True, eq=False)
class MeshReport:
    """A mesh with the depth that it was made of and what was done on the way.

    depth: (h, w) float32 z, +inf where nothing is. holes: pixels without a measurement. sharpened: whether soft edges
    were made steps. warnings: sentences for the user.
    """

    mesh: Mesh
    depth: Depth
    holes: int
    sharpened: bool
    warnings: tuple[str, ...] = ()


def mesh_from_depth(
    depth: DepthMap | ArrayLike,
    camera: Camera,
    image: ArrayLike | None = None,
    *,
    cut_ratio: float = CUT_RATIO,
    sharpening: Sharpening = "auto",
    fill: bool = False,
    layers: bool = False,
    faces: int | None = None,
    inpaint: Inpaint | None = None,
) -> MeshReport:
    """The textured mesh of a depth map, in the scene's axes (for an unmoved camera OpenCV's, up is −y).

    depth: a typed map, or (h, w) metric z. camera: of the map's size. image: (h', w', 3) uint8, of any size with the
    map's aspect; it becomes the texture as it is. sharpening: whether blurred depth edges are made steps first; auto
    does it where most edges are blurred. fill: give what was not measured a depth (see `holes`). layers: put the hidden
    background behind the foreground. faces: simplify to about so many triangles. inpaint: paints the background's
    colours.

    Raises ValueError where nothing was measured, the picture's aspect is not the map's, or the map is too large.
    """
    typed = depth if isinstance(depth, DepthMap) else DepthMap(np.asarray(depth))
    if sharpening not in get_args(Sharpening):
        raise ValueError(f"sharpening is {sharpening!r}; use one of {get_args(Sharpening)}")
    height, width = typed.shape
    if height * width > MAX_PIXELS:
        raise ValueError(f"the map is {width}×{height}; one mesh is made of at most {MAX_PIXELS} pixels. Resize it")
    if (camera.height, camera.width) != (height, width):
        raise ValueError(f"the map is {width}×{height}, the camera's pictures {camera.width}×{camera.height}")
    picture = None if image is None else _checked_picture(image, width, height)
    warnings = []
    holes = int(typed.holes().sum())
    z = typed.seen_by(camera)
    if not np.isfinite(z).any():
        raise ValueError("the depth map is empty: nothing in it is a positive, finite depth")
    if holes:
        done = "they are filled from what surrounds them" if fill else "they stay open"
        warnings.append(f"{holes} of {z.size} pixels have no depth ({100 * holes / z.size:.1f} %); {done}")
    if holes and fill:
        z = fill_holes(z, typed.holes())
    q = z if camera.projection == "orthographic" else np.reciprocal(z)
    soft = sharpening == "always" or (sharpening == "auto" and softness(q, ratio=cut_ratio) > SOFT_SHARE)
    if soft:
        q = sharpen(q, ratio=cut_ratio)
        with np.errstate(divide="ignore"):
            z = q if camera.projection == "orthographic" else np.reciprocal(q)

    if layers:
        second_picture = picture
        if picture is not None and picture.shape[:2] != (height, width):
            # The two pictures of a layered texture are the map's own size.
            from PIL import Image

            second_picture = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
            warnings.append(f"the texture was resized to {width}×{height}, the depth's size, for its two layers")
        share = None if faces is None else faces / (2 * z.size)

        def reduce(mesh: Mesh) -> Mesh:
            return simplified(mesh, max(1, round(len(mesh.faces) * (share or 1))), camera=camera)

        mesh = layered_mesh(
            z, camera, second_picture, cut_ratio=cut_ratio, inpaint=inpaint, reduce=reduce if faces else None
        )
    else:
        mesh = replace(corner_mesh(z, camera, cut_ratio=cut_ratio), texture=picture)
        if faces is not None:
            mesh = simplified(mesh, faces, camera=camera)
    if faces is not None and len(mesh.faces) > 1.1 * faces:
        warnings.append(f"the mesh kept {len(mesh.faces)} triangles instead of {faces}: its borders need them")
    return MeshReport(mesh, z, holes, soft, tuple(warnings))


def preview(mesh: Mesh, camera: Camera, *, turn: float = 12.0, size: int = 512) -> NDArray[np.uint8]:
    """The mesh as seen from beside its camera, (h, w, 3) uint8: turned by `turn` degrees about what it looks at.

    size: the longer side in pixels. A panorama is seen from its own place, 90° wide, `turn` degrees to the right.
    """
    if camera.projection == "equirectangular":
        inside = Camera.from_fov(size, max(1, size * 3 // 4), fov_x=90, world_to_camera=camera.world_to_camera)
        return pictured(mesh, turned_right(inside, turn))
    scale = size / max(camera.width, camera.height)
    small = camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
    return pictured(mesh, orbited(small, mesh, turn))


def pictured(mesh: Mesh, camera: Camera) -> NDArray[np.uint8]:
    """What a camera sees of a mesh before a dark ground, (h, w, 3) uint8."""
    picture = render(
        mesh.vertices,
        mesh.faces,
        camera,
        uvs=mesh.uvs if mesh.texture is not None else None,
        texture=mesh.texture,
        colours=mesh.colours,
        background=(40, 40, 44, 255),
    )
    return np.ascontiguousarray(picture[..., :3])


def overview(mesh: Mesh, *, turn: float = 30.0, tilt: float = 40.0, size: int = 512) -> Camera:
    """A camera that has the whole mesh in its picture, from `tilt` degrees above and `turn` degrees to the right."""
    up = {"-y": (0.0, -1.0, 0.0), "+y": (0.0, 1.0, 0.0), "+z": (0.0, 0.0, 1.0)}[mesh.up]
    # What is toward the viewer of a thing that stands upright in these axes.
    front = {"-y": (0.0, 0.0, -1.0), "+y": (0.0, 0.0, 1.0), "+z": (0.0, -1.0, 0.0)}[mesh.up]
    right = np.cross(up, front)
    low, high = mesh.vertices.min(axis=0).astype(np.float64), mesh.vertices.max(axis=0).astype(np.float64)
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2 or 1.0
    a, b = np.radians(turn), np.radians(tilt)
    arm = np.cos(b) * (np.cos(a) * np.array(front) + np.sin(a) * right) + np.sin(b) * np.array(up)
    camera = Camera.from_fov(size, max(1, size * 3 // 4), fov_y=30)
    return camera.looking_at(centre + arm * radius / np.sin(np.radians(15)), centre, up)


def orbited(camera: Camera, mesh: Mesh, turn: float, tilt: float = 0.0) -> Camera:
    """The camera moved around the middle of what it sees of the mesh, by degrees to the right and upward."""
    local = mesh.vertices @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    pivot = np.array([0, 0, float(np.median(local[:, 2]))])
    a, b = np.radians(turn), np.radians(tilt)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_y
    matrix[:3, 3] = pivot - matrix[:3, :3] @ pivot
    return replace(camera, world_to_camera=matrix @ camera.world_to_camera)


def turned_right(camera: Camera, turn: float) -> Camera:
    """The camera turned in its place by degrees to the right."""
    a = np.radians(turn)
    matrix = np.eye(4)
    matrix[0, 0] = matrix[2, 2] = np.cos(a)
    matrix[0, 2], matrix[2, 0] = -np.sin(a), np.sin(a)
    return replace(camera, world_to_camera=matrix @ camera.world_to_camera)


def _checked_picture(image: ArrayLike, width: int, height: int) -> NDArray[np.uint8]:
    picture = np.asarray(image)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4) or picture.dtype != np.uint8:
        raise ValueError(f"the picture has shape {picture.shape} and dtype {picture.dtype}; give (h, w, 3) uint8")
    aspect, own = picture.shape[1] / picture.shape[0], width / height
    # A pixel of rounding on the shorter side is allowed.
    if abs(aspect / own - 1) > 1.5 / min(width, height, *picture.shape[:2]):
        raise ValueError(
            f"the picture is {picture.shape[1]}×{picture.shape[0]} and the depth {width}×{height}: their aspects "
            "differ, so they cannot be of one view. Crop one of them"
        )
    return picture
