"""Texture: a seamless material from words or from a picture."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol.blobs import ColorSpace
from bridge_protocol.jobs import Generate, Texture
from bridge_protocol.painting import MAX_SEED
from bridge_protocol.painting import Painting as PaintingFields
from bridge_protocol.records import InvalidValue
from depth3d.glb import Material as GltfMaterial
from depth3d.glb import write_glb
from depth3d.mesh import Mesh
from server.engine import materials, relief, stitching, torus
from server.engine.compositing import Float, from_float, to_float
from server.engine.materials import Material
from server.engine.painting import IsCancelled, OnProgress, Progress
from server.engine.sampling import raise_if
from server.verbs import Arrays, Made, Painter, Yield, picture_of
from server.verbs.generate import request_of
from server.verbs.reading import controls_read

#: What every denoiser can paint as a ring: its coarsest level has whole cells then.
PERIOD = 64


def run(job: Texture, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Make a material. Raises InvalidValue, or an EngineError of the painter."""
    wraps = job.seamless in ("x", "both"), job.seamless in ("y", "both")
    if job.seed is None:
        job = replace(job, seed=secrets.randbelow(MAX_SEED))
    info: dict[str, Any] = {"model": "", "seed": job.seed, "fallbacks": [], "timings": {}}
    source = None if job.image is None else picture_of("image", job.image, arrays)
    base: Float | None = None
    free = wraps  # the axes on which nobody has said where the picture begins
    if source is not None:
        on_progress(Progress("stitching"))
        base, free = _continuing(to_float(source[..., :3]), job, wraps, info)
    if base is None or job.denoising_strength > 0:
        base = _painted(job, base, arrays, painter, on_progress, cancelled, info)
    raise_if(cancelled)
    on_progress(Progress("reading"))
    known = painter.estimate_material(base, wraps, job.estimator, cancelled)
    material = materials.of_picture(
        base, wraps, words=job.prompt, depth=job.relief, flatten=job.flatten_light, estimates=known
    )
    material, origin = materials.calm(material, free)
    raise_if(cancelled)
    made = [Made(name, np.ascontiguousarray(array), color) for name, array, color in _maps(material, job)]
    info["origin"] = list(origin)
    info["sources"] = {name: material.sources[name] for name in dict.fromkeys(job.maps)}
    info["seam_ratios"] = {one.name: [round(ratio, 4) for ratio in torus.seam_ratio(one.array)] for one in made}
    info |= {"relief": job.relief, "normals": job.normals, "prompt": job.prompt}
    if job.gltf:
        made.append(Made("material", np.frombuffer(gltf(material), np.uint8), "data", {"suffix": ".glb"}))
    return Yield(made, info)


def gltf(material: Material) -> bytes:
    """The material on a square of one by one metre, as a .glb file."""
    ones = np.ones(material.height.shape, np.float32)
    orm = from_float(np.stack([ones, material.roughness, material.metallic], -1), np.dtype(np.uint8))
    occlusion = from_float(np.repeat(material.ambient_occlusion[..., None], 3, -1), np.dtype(np.uint8))
    height, width = material.height.shape
    across, up = width / max(width, height) / 2, height / max(width, height) / 2
    square = Mesh(
        np.array([[-across, -up, 0], [across, -up, 0], [across, up, 0], [-across, up, 0]], np.float32),
        np.array([[0, 1, 2], [0, 2, 3]], np.uint32),
        np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32),
        np.tile(np.array([0, 0, 1], np.float32), (4, 1)),
        up="+y",
    )
    surface = GltfMaterial(
        base_colour=from_float(material.albedo, np.dtype(np.uint8)),
        metallic_roughness=orm,
        normal=relief.encoded(material.normal),
        occlusion=occlusion,
        metallic=1.0,
        roughness=1.0,
        repeats=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "material.glb"
        write_glb(square, path, surface)
        return path.read_bytes()


def _continuing(picture: Float, job: Texture, wraps: torus.Wraps, info: dict[str, Any]) -> tuple[Float, torus.Wraps]:
    """The given picture at the size asked for, made to continue; and the axes on which it was joined."""
    for name, side in (("width", picture.shape[1]), ("height", picture.shape[0])):
        if side < 32:
            raise InvalidValue("image", f"{name} {side}", "at least 32 pixels", "Send a larger picture.")
    height, width = picture.shape[:2]
    part, joined = stitching.stitched(picture, wraps)
    if any(joined):
        info["repeats"] = [part.shape[1], part.shape[0]]
    asked = _size(job, width, height)
    if job.denoising_strength > 0 and job.width is None and job.height is None:
        wide, high = (max(PERIOD, round(side / PERIOD) * PERIOD) for side in asked)
        if (wide, high) != asked:
            info["fallbacks"].append(f"The picture was scaled to {wide} × {high}, which can be painted.")
        asked = wide, high
    return np.clip(torus.scaled(part, *asked, wraps), 0, 1), joined


def _size(job: Texture, width: int, height: int) -> tuple[int, int]:
    """What was asked for; a side that was not, in the picture's proportions."""
    if job.width is not None and job.height is not None:
        return job.width, job.height
    if job.width is not None:
        return job.width, max(1, round(height * job.width / width))
    if job.height is not None:
        return max(1, round(width * job.height / height)), job.height
    return width, height


def _painted(
    job: Texture, base: Float | None, arrays: Arrays, painter: Painter, on_progress: OnProgress,
    cancelled: IsCancelled, info: dict[str, Any],
) -> Float:  # fmt: skip
    """What the model paints: anew, or over the given picture."""
    job, arrays = controls_read(job, arrays, painter, on_progress, cancelled)
    common = {field.name: getattr(job, field.name) for field in fields(PaintingFields)}
    # One side alone is that of a square.
    size: dict[str, Any] = {"width": job.width or job.height, "height": job.height or job.width} if base is None else {}
    request = request_of(Generate(**common, **size, seamless=job.seamless), arrays)
    request = replace(request, tile="native")
    if base is not None:
        request = replace(request, image=base, denoising_strength=job.denoising_strength)
    painting = painter.paint(request, on_progress, cancelled)
    info |= {
        "model": painting.model,
        "timings": {phase: float(seconds) for phase, seconds in painting.timings.items()},
        "fallbacks": info["fallbacks"] + list(painting.fallbacks),
    }
    return to_float(painting.images[0][..., :3])


def _maps(material: Material, job: Texture) -> list[tuple[str, NDArray[Any], ColorSpace]]:
    """The maps that were asked for, by their names, as they are told to clients, and their colour."""
    eight, sixteen = np.dtype(np.uint8), np.dtype(np.uint16)
    material = _contiguous(material)
    ways: dict[str, Callable[[], tuple[NDArray[Any], ColorSpace]]] = {
        "albedo": lambda: (from_float(material.albedo, eight), "srgb"),
        "normal": lambda: (relief.encoded(material.normal, job.normals), "data"),
        "height": lambda: (from_float(material.height, sixteen), "data"),
        "roughness": lambda: (from_float(material.roughness, eight), "data"),
        "metallic": lambda: (from_float(material.metallic, eight), "data"),
        "ambient_occlusion": lambda: (from_float(material.ambient_occlusion, eight), "data"),
    }
    return [(name, *ways[name]()) for name in dict.fromkeys(job.maps)]


def _contiguous(material: Material) -> Material:
    """With every map's rows in a row, as what travels must be; a model's pictures may lie otherwise."""
    maps: dict[str, Any] = {name: np.ascontiguousarray(getattr(material, name)) for name in materials.MAPS}
    return replace(material, **maps)
