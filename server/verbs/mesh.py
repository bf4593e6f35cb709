"""Mesh: a depth map, or a picture whose depth is read first, as a textured mesh in a file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol.blobs import MAX_BLOB_BYTES, BlobRef, ColorSpace
from bridge_protocol.jobs import Mesh as MeshJob
from bridge_protocol.records import InvalidValue
from depth3d.camera import Camera
from depth3d.depth import DepthMap, Kind
from depth3d.export import export_mesh
from depth3d.glb import Material
from depth3d.layers import Inpaint
from depth3d.mesh import Mesh, vertex_normals
from depth3d.pipeline import mesh_from_depth, overview, pictured, preview
from depth3d.pointcloud import point_cloud, write_points
from depth3d.read import eight_bit_warning
from depth3d.relief import nearness, plan_camera, solid
from depth3d.simplify import simplified
from depth3d.terrain import heightmap_mesh, terrain_camera
from depth3d.texture import detail_maps
from server.engine.errors import Cancelled, InvalidRequest
from server.engine.painting import IsCancelled, OnProgress, PaintRequest, Progress
from server.verbs import Arrays, Made, Painter, Yield

#: Pixels of context around what is inpainted.
_CONTEXT = 64


def run(job: MeshJob, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Make a Mesh job's file. Raises InvalidValue, or an EngineError.

    Outputs: ``mesh``, the file as uint8 (n,); for OBJ also ``material`` and ``texture``; each with its ``filename``.
    ``preview``, a picture of the mesh from beside the camera. ``depth``, (h, w) float32, if it was read from the image.
    """
    work = _Work(on_progress, cancelled)
    try:
        return _made(job, arrays, painter, work)
    except InvalidValue:
        raise
    except ValueError as error:  # depth3d's: a sentence that names what is wrong
        raise InvalidRequest(_sentence(error), "Change that, and send it again.") from error
    except ImportError as error:
        raise InvalidRequest(f"This server cannot do it: {error}.", "Install the package, or ask for a glb.") from error


def _made(job: MeshJob, arrays: Arrays, painter: Painter, work: _Work) -> Yield:
    picture = None if job.image is None else _picture(_ref(job.image), arrays)
    outputs: list[Made] = []
    if job.depth is None:
        assert picture is not None
        with work.phase("reading"):
            values, job = _read(job, picture, painter, work)
        outputs.append(Made("depth", np.ascontiguousarray(values, np.float32), "data", {"kind": job.kind}))
    else:
        values = _numbers(arrays[_ref(job.depth).digest])
    if values.dtype == np.uint8:
        kind: Kind = "disparity" if job.kind == "relative" else "metric"
        work.notes.append(_sentence(eight_bit_warning(np.asarray(values, np.uint8), kind)))
    with work.phase("meshing"):
        if job.shape == "surface":
            built = _surface(job, values, picture, painter, work)
        elif job.shape == "points":
            return _points(job, values, picture, work)
        else:
            built = _upright(job, values, picture)
    with work.phase("writing"):
        files = _files(built, job)
    with work.phase("rendering"):
        shown = (
            pictured(built.mesh, overview(built.mesh, size=job.preview_size))
            if built.camera is None
            else preview(built.mesh, built.camera, turn=job.preview_turn, size=job.preview_size)
        )
    counts = {"vertices": len(built.mesh.vertices), "triangles": len(built.mesh.faces)}
    files[0].info.update(format=job.format, **counts)
    outputs = [*files, Made("preview", shown, "srgb"), *outputs]
    return Yield(outputs, {**counts, **built.info, "fallbacks": work.notes, "timings": work.timings})


@dataclass
class _Work:
    """One job on its way: what is told of it, and where it looks whether it was cancelled."""

    on_progress: OnProgress
    cancelled: IsCancelled
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: Any) -> Iterator[None]:
        if self.cancelled():
            raise Cancelled("The mesh was cancelled.", "Submit it again to make it.")
        self.on_progress(Progress(name))
        since = time.perf_counter()
        yield
        self.timings[name] = time.perf_counter() - since


@dataclass(frozen=True, eq=False)
class _Built:
    """A mesh with what goes into its file. camera: what it was seen by; None for things that stand on a table."""

    mesh: Mesh
    camera: Camera | None
    material: Material | None = None
    info: dict[str, Any] = field(default_factory=dict)


# -- what is built


def _surface(
    job: MeshJob, values: NDArray[Any], picture: NDArray[np.uint8] | None, painter: Painter, work: _Work
) -> _Built:
    camera = _camera(job, values.shape)
    typed = _typed(job, values, camera)
    layers = job.layers or job.inpaint
    report = mesh_from_depth(
        typed,
        camera,
        picture,
        sharpening=job.sharpening,
        fill=job.fill_holes,
        layers=layers,
        faces=job.triangles,
        inpaint=_inpaint(job, painter, work) if job.inpaint else None,
        **({} if job.edge_ratio is None else {"cut_ratio": job.edge_ratio - 1}),
    )
    work.notes += [_sentence(warning) for warning in report.warnings]
    mesh = replace(report.mesh, up=job.scene_up)
    material = None
    if job.normal_map:
        if camera.projection == "equirectangular":
            raise InvalidValue("normal_map", True, "false for a panorama")
        mesh = replace(mesh, normals=vertex_normals(mesh))
        detail = detail_maps(mesh, report.depth, camera).normal
        rows = 0 if mesh.texture is None or not layers else mesh.texture.shape[0] - len(detail)
        # The lower part of a layered texture is the hidden background's, of which no detail is known.
        flat = np.broadcast_to(np.array([128, 128, 255], np.uint8), (rows, detail.shape[1], 3))
        material = Material(normal=np.concatenate([detail, flat]))
    seen = report.depth[np.isfinite(report.depth)]
    info = {
        "holes": report.holes,
        "sharpened": report.sharpened,
        "nearest": float(seen.min()),
        "farthest": float(seen.max()),
    }
    return _Built(mesh, camera, material, info)


def _points(job: MeshJob, values: NDArray[Any], picture: NDArray[np.uint8] | None, work: _Work) -> Yield:
    camera = _camera(job, values.shape)
    typed = _typed(job, values, camera)
    if picture is not None and picture.shape[:2] != values.shape:
        picture = _resized(picture, values.shape)
        work.notes.append(f"The picture was resized to {values.shape[1]}×{values.shape[0]}, the depth's size.")
    cloud = point_cloud(typed.seen_by(camera), camera, picture)
    if not len(cloud.points):
        raise InvalidRequest("The depth map is empty: nothing in it is a positive, finite depth.", "Look at its kind.")
    upright = Mesh(cloud.points, np.zeros((0, 3), np.uint32), normals=cloud.normals, up=job.scene_up)
    upright = upright.turned(job.up or "+y")
    assert upright.normals is not None
    cloud = replace(cloud, points=upright.vertices, normals=upright.normals)
    with work.phase("writing"), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{job.name}.ply"
        write_points(cloud, path)
        count = len(cloud.points)
        info = {"filename": path.name, "suffix": ".ply", "format": "ply", "vertices": count, "triangles": 0}
        made = Made("mesh", _bytes(path), "data", info)
    return Yield([made], {"vertices": count, "triangles": 0, "fallbacks": work.notes, "timings": work.timings})


def _upright(job: MeshJob, values: NDArray[Any], picture: NDArray[np.uint8] | None) -> _Built:
    """A relief or a terrain: heights over a plan."""
    rows, columns = values.shape
    if min(rows, columns) < 2:
        raise InvalidValue("depth", f"shape {values.shape}", f"at least 2×2 for a {job.shape}")
    width = job.width or (100.0 if job.format == "stl" else 1.0)
    if job.kind == "height":
        heights = values.astype(np.float64) * job.unit
        known = heights[np.isfinite(heights)]
        if not known.size:
            raise InvalidValue("depth", "nothing but NaN and infinities", "a height field with finite heights")
        span = float(np.ptp(known)) or 1.0
        rise = (np.where(np.isfinite(heights), heights, np.nan) - known.min()) / span
    else:
        camera = _camera(job, values.shape)
        rise = nearness(_typed(job, values, camera).seen_by(camera))
    height = job.relief_height * width
    if job.shape == "relief":
        mesh = solid(job.base * width + height * np.nan_to_num(rise), width=width)
        plan = plan_camera(columns, rows, width=width)
    else:
        spacing = width / (columns - 1)
        mesh = heightmap_mesh(height * rise, spacing=spacing)
        plan = terrain_camera(columns, rows, spacing=spacing)
    if job.triangles is not None:
        mesh = simplified(mesh, job.triangles, camera=plan)
    return _Built(replace(mesh, texture=picture), None)


# -- what comes in


def _typed(job: MeshJob, values: NDArray[Any], camera: Camera) -> DepthMap:
    if job.kind == "relative":
        near = 1.0 if job.near is None else job.near
        return DepthMap.from_relative(values, near=near, far=10 * near if job.far is None else job.far)
    numbers = values.astype(np.float32) * np.float32(job.unit)
    if job.kind == "disparity":
        assert job.baseline is not None
        if values.dtype.kind == "u":
            numbers[values == 0] = np.nan  # Files of integers have no other way to say "no measurement".
        return DepthMap.from_stereo(numbers, fx=camera.fx, baseline=job.baseline, doffs=job.doffs)
    return DepthMap(numbers, "radius" if job.kind == "radius" else "metric")


def _camera(job: MeshJob, shape: tuple[int, ...]) -> Camera:
    height, width = shape
    if job.camera is None:
        return Camera.from_fov(width, height, fov_x=job.fov)
    given = job.camera
    own = Camera(
        given.width, given.height, given.fx, given.fy, given.cx, given.cy, given.projection,
        np.reshape(given.world_to_camera, (4, 4)),
    )  # fmt: skip
    if abs(given.width / given.height / (width / height) - 1) > 1.5 / min(width, height, given.width, given.height):
        raise InvalidValue(
            "camera.width",
            f"{given.width}×{given.height}",
            f"of the depth map's aspect ({width}×{height})",
            "Give the size of the picture that fx, fy, cx and cy belong to.",
        )
    return own.resized(width, height)


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or array.dtype == np.uint32:
        raise InvalidValue(
            "depth",
            f"{array.dtype} of shape {array.shape}",
            "(h, w) of uint8, uint16, float16 or float32",
            "Send one channel of numbers; a coloured view of depth is no depth.",
        )
    return array


def _picture(ref: BlobRef, arrays: Arrays) -> NDArray[np.uint8]:
    """A texture, (h, w, 3) or (h, w, 4) uint8 sRGB."""
    array = arrays[ref.digest]
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise InvalidValue("image", f"shape {array.shape}", "(h, w), (h, w, 3) or (h, w, 4)")
    return _eight_bits(array, ref.color)


def _eight_bits(array: NDArray[Any], color: ColorSpace) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 and color != "linear":
        return np.ascontiguousarray(array)
    full = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    value = np.clip(np.nan_to_num(array.astype(np.float32) / full), 0, 1)
    if color == "linear":
        colours = value[..., :3]
        curve = 1.055 * np.maximum(colours, 0.0031308) ** (1 / 2.4) - 0.055
        value[..., :3] = np.where(colours <= 0.0031308, 12.92 * colours, curve)
    return np.rint(value * 255).astype(np.uint8)


def _resized(picture: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.LANCZOS))


def _read(
    job: MeshJob, picture: NDArray[np.uint8], painter: Painter, work: _Work
) -> tuple[NDArray[np.float32], MeshJob]:
    """The picture's depth, and the job as if it had come with it."""
    values, kind = painter.estimate_depth(picture[..., :3], job.detector)
    work.notes.append(f"The depth was read from the picture by a model, as {kind} depth.")
    return values, replace(job, kind=kind, unit=1.0)


def _inpaint(job: MeshJob, painter: Painter, work: _Work) -> Inpaint:
    def paint(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        request = PaintRequest(
            prompt=job.prompt,
            image=picture,
            mask=np.where(mask, 255, 0).astype(np.uint8),
            mask_padding=_CONTEXT,
            seed=job.seed,
            model=job.model or None,
        )
        painting = painter.paint(request, work.on_progress, work.cancelled)
        work.notes += painting.fallbacks
        return np.ascontiguousarray(painting.images[0][..., :3])

    return paint


# -- what goes out


def _files(built: _Built, job: MeshJob) -> list[Made]:
    up = job.up or ("+z" if job.format == "stl" and job.shape == "relief" else "+y")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{job.name}.{job.format}"
        written = export_mesh(built.mesh, path, material=built.material, up=up)
        names = {".mtl": "material", ".png": "texture"}
        out = []
        for file in written:
            name = "mesh" if file == path else names[file.suffix]
            if name == "texture" and file.stem.endswith("_normal"):
                name = "normal"
            out.append(Made(name, _bytes(file), "data", {"filename": file.name, "suffix": file.suffix}))
    return out


def _bytes(path: Path) -> NDArray[np.uint8]:
    size = path.stat().st_size
    if size > MAX_BLOB_BYTES:
        raise InvalidRequest(
            f"The file would have {size >> 20} MiB; at most {MAX_BLOB_BYTES >> 20} MiB travel at once.",
            "Set triangles to simplify it, or resize the depth map by nearest.",
        )
    return np.fromfile(path, np.uint8)


def _sentence(text: object) -> str:
    """A library's message as a sentence."""
    words = str(text)
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?")) else ".")


def _ref(array: Any) -> BlobRef:
    return array if isinstance(array, BlobRef) else array.ref
