"""What a Views job holds, checked where it enters: its mesh, its texture, and each view with its arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol import jobs
from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.records import InvalidValue
from depth3d.bake import Blending, Canvas
from depth3d.camera import Camera
from depth3d.depth import check_depth
from server.verbs import Arrays


@dataclass(eq=False)
class Seen:
    """One view of the job with its arrays. picture: what was painted there, (h, w, 3 or 4) uint8."""

    camera: Camera
    depth: NDArray[np.float32]
    view: jobs.View
    normal: NDArray[np.float32] | None
    picture: NDArray[np.uint8] | None
    mask: NDArray[np.float32] | None
    seed: int | None = None
    painted: bool = False


def canvas_of(job: jobs.Views, arrays: Arrays) -> Canvas:
    """The mesh and its layout, ready to be baked onto. Raises InvalidValue."""
    vertices, triangles, uvs = (
        _rows(_array(name, getattr(job, name), arrays), columns)
        for name, columns in (("vertices", 3), ("triangles", 3), ("uvs", 2))
    )
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.dtype.kind != "f":
        raise InvalidValue("vertices", f"{vertices.dtype} {vertices.shape}", "float32 (n, 3)")
    if not np.isfinite(vertices).all():
        raise InvalidValue("vertices", "NaN or infinite", "finite numbers", "Clean the mesh.")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu" or not len(triangles):
        raise InvalidValue("triangles", f"{triangles.dtype} {triangles.shape}", "uint32 (m, 3), at least one")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise InvalidValue("triangles", f"indices up to {triangles.max()}", f"indices of {len(vertices)} vertices")
    if uvs.shape != (3 * len(triangles), 2) or uvs.dtype.kind != "f":
        raise InvalidValue("uvs", f"{uvs.dtype} {uvs.shape}", f"float32 ({3 * len(triangles)}, 2)")
    corner_uvs = uvs.reshape(-1, 3, 2).astype(np.float64)
    if not np.isfinite(corner_uvs).all():
        raise InvalidValue("uvs", "NaN or infinite", "finite numbers", "Unwrap the mesh again.")
    corner_uvs[..., 1] = 1 - corner_uvs[..., 1]
    blending = Blending(max_angle=job.max_angle)
    canvas = Canvas(vertices, triangles, corner_uvs, job.width, job.height, blending)
    if not len(canvas.texels.index):
        raise InvalidValue("uvs", "no texel inside", "a layout inside 0 to 1", "Unwrap the mesh.")
    return canvas


def seen_of(index: int, view: jobs.View, arrays: Arrays, canvas: Canvas) -> Seen:
    """One view; where it has no depth, its camera sees the canvas's mesh. Raises InvalidValue."""
    name = f"views[{index}]"
    try:
        camera = Camera.from_dict(vars(view.camera))
    except ValueError as error:
        raise InvalidValue(f"{name}.camera", str(error), "a camera") from None
    if view.depth is None and camera.projection == "equirectangular":
        raise InvalidValue(f"{name}.depth", None, "given with an equirectangular camera", "Send the view's depth.")
    depth = canvas.depth(camera) if view.depth is None else _array(f"{name}.depth", view.depth, arrays)
    size = (camera.height, camera.width)
    depth = depth[..., 0] if depth.ndim == 3 and depth.shape[2] == 1 else depth
    if depth.shape != size:
        raise InvalidValue(f"{name}.depth", f"shape {depth.shape}", f"the camera's {size}")
    try:
        depth = check_depth(depth)
    except ValueError as error:
        raise InvalidValue(f"{name}.depth", str(error), "positive depths, +inf where nothing is") from None
    normal = None if view.normal is None else _array(f"{name}.normal", view.normal, arrays)
    if normal is not None and normal.shape != (*size, 3):
        raise InvalidValue(f"{name}.normal", f"shape {normal.shape}", f"{(*size, 3)}")
    picture = None if view.image is None else _array(f"{name}.image", view.image, arrays)
    if picture is not None:
        if picture.ndim != 3 or picture.shape[2] not in (3, 4):
            raise InvalidValue(f"{name}.image", f"shape {picture.shape}", "(h, w, 3) or (h, w, 4)")
        picture = eight_bit(picture)
    mask = None if view.mask is None else _array(f"{name}.mask", view.mask, arrays)
    if mask is not None:
        mask = mask[..., 0] if mask.ndim == 3 else mask
        wanted = size if picture is None else picture.shape[:2]
        if mask.shape != wanted:
            raise InvalidValue(f"{name}.mask", f"shape {mask.shape}", f"its picture's {tuple(wanted)}")
        full = np.iinfo(mask.dtype).max if mask.dtype.kind in "iu" else 1
        mask = np.asarray(mask.astype(np.float32) / full, np.float32)
    return Seen(camera, depth, view, normal, picture, mask)


def base_of(job: jobs.Views, arrays: Arrays) -> NDArray[np.uint8] | None:
    """The texture that is there already, (h, w, 4) uint8. Raises InvalidValue where it has another size."""
    if job.texture is None:
        return None
    texture = _array("texture", job.texture, arrays)
    if texture.ndim != 3 or texture.shape[2] not in (3, 4) or texture.shape[:2] != (job.height, job.width):
        raise InvalidValue(
            "texture", f"shape {texture.shape}", f"({job.height}, {job.width}, 3 or 4)",
            "Set width and height to the texture's own.",
        )  # fmt: skip
    out = np.full((job.height, job.width, 4), 255, np.uint8)
    out[..., : texture.shape[2]] = eight_bit(texture)
    return out


def eight_bit(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """A picture as uint8, from integers over their range or floats of 0 to 1."""
    if picture.dtype == np.uint8:
        return np.asarray(picture, np.uint8)
    levels: NDArray[Any]
    if picture.dtype.kind in "iu":
        levels = picture / (np.iinfo(picture.dtype).max / 255)
    else:
        levels = np.clip(picture, 0, 1) * 255
    return np.rint(levels).astype(np.uint8)


def _rows(array: NDArray[Any], columns: int) -> NDArray[Any]:
    """A mesh's flat array as rows: a blob of two dimensions has the sides of a picture at most."""
    flat = array.ndim == 1 and len(array) % columns == 0
    return array.reshape(-1, columns) if flat else array


def _array(name: str, array: Blob | BlobRef, arrays: Arrays) -> NDArray[Any]:
    ref = array.ref if isinstance(array, Blob) else array
    if ref.color == "linear" and name.endswith(("image", "texture")):
        raise InvalidValue(name, "linear", "sRGB", "Convert the picture to sRGB before sending it.")
    return arrays[ref.digest]
