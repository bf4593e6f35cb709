"""Depth to mesh, beside the methods of others in one run: `python -m tests.bench depth`.

The scene and the formulas are those of tests/depth3d/scene.py: a wall, a floor, four balls, three boxes and a rod,
whose every ray is known. Peer methods are re-made from their formulas, without their conversions: H is hesom's
depth_to_mesh (a grid in float64, triangles cut by their angle to the view), "Sobel" the normals of the depth map
extensions for the web UIs. A row "against the bound" stands beside the figure that it must reach.
"""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from depth3d.camera import Camera
from depth3d.corner import corner_mesh, grid_mesh
from depth3d.depth import DepthMap
from depth3d.edges import links, sharpen
from depth3d.glb import Material, encode_png, write_glb
from depth3d.layers import layered_mesh
from depth3d.mesh import Mesh
from depth3d.normals import normals_from_depth
from depth3d.render import rasterise, render
from depth3d.simplify import simplified
from tests.bench.table import Row, at_most, in_turns
from tests.depth3d import scene

SIZE = 1024


def rows() -> Iterator[Row]:
    """All rows about depth, in the order of the way from a map to a file."""
    yield from speed_rows()
    camera = scene.source_camera(SIZE)
    depth = scene.cast(camera)[0].astype(np.float32)
    yield from source_view_rows(camera, depth)
    yield from edge_rows(camera)
    yield from side_rows(camera, depth)
    yield from normal_rows(camera)
    yield from file_rows(camera, depth)
    yield from simplifying_rows(camera, depth)
    yield from bit_rows(camera, depth)


def below(what: str, ours: float, bound: float, unit: str) -> Row:
    """A figure that must not exceed its bound."""
    return Row(what, ours, bound, "the bound", "≤ 1", ours <= bound, unit)


def above(what: str, ours: float, bound: float, unit: str) -> Row:
    """A figure that must reach its bound."""
    return Row(what, ours, bound, "the bound", "≥ 1", ours >= bound, unit)


def peer_h(depth: np.ndarray, camera: Camera, minimum_angle: float = 3.0) -> Mesh:
    """A grid in float64; triangles stay whose plane is more than 3° from the viewing ray."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(height * width)])
    intrinsics = np.array([[camera.fx, 0, camera.cx - 0.5], [0, camera.fy, camera.cy - 0.5], [0, 0, 1]])
    points = np.linalg.inv(intrinsics) @ pixels * depth.astype(np.float64).ravel()
    i, j = (a.ravel() for a in np.meshgrid(np.arange(height - 1), np.arange(width - 1), indexing="ij"))
    first = np.stack([i * width + j, (i + 1) * width + j, i * width + j + 1], axis=-1)
    second = np.stack([i * width + j + 1, (i + 1) * width + j, (i + 1) * width + j + 1], axis=-1)
    indices = np.vstack([first, second])
    corners = points[:, indices]
    normal = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0], axis=0)
    centre = corners.mean(axis=2)
    sine = np.abs((normal * centre).sum(0)) / (np.linalg.norm(normal, axis=0) * np.linalg.norm(centre, axis=0))
    keep = np.degrees(np.arcsin(np.clip(sine, 0, 1))) > minimum_angle
    return Mesh(points.T.astype(np.float32), indices[keep].astype(np.uint32))


def sobel_normals(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Normals from the picture gradient of an 8-bit disparity picture, as if it were a height field."""
    from scipy.ndimage import sobel

    q = 1 / depth
    picture = np.rint((q - q.min()) / (q.max() - q.min()) * 255)
    n = np.stack([-sobel(picture, axis=1), sobel(picture, axis=0), np.full(depth.shape, 8.0)], axis=-1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


def peak(work: Callable[[], Any]) -> float:
    """The most memory that was allocated at once while it ran, in MB, its result included."""
    tracemalloc.start()
    result = work()
    found = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    del result
    return found


def speed_rows() -> Iterator[Row]:
    """1. Time and memory."""
    camera = scene.source_camera(2048)
    depth = scene.cast(camera)[0].astype(np.float32)
    ours, theirs = in_turns(lambda: corner_mesh(depth, camera), lambda: peer_h(depth, camera), 3, 1)
    yield below("2048² depth to mesh", ours, 1000, "ms")
    yield at_most("2048² depth to mesh", ours, theirs, "H", 1 / 8)
    ours, theirs = in_turns(lambda: corner_mesh(depth, camera), lambda: grid_mesh(depth, camera), 5, 1)
    yield Row("2048² depth to mesh", ours, theirs, "plain grid, cut by depth ratio")
    memory = peak(lambda: corner_mesh(depth, camera))
    yield below("2048² depth to mesh, memory", memory, 700, "MB")
    yield Row("2048² depth to mesh, memory", memory, peak(lambda: peer_h(depth, camera)), "H", unit="MB")
    camera = scene.source_camera(4096)
    depth = np.repeat(np.repeat(depth, 2, axis=0), 2, axis=1)
    yield below("4096² depth to mesh, memory", peak(lambda: corner_mesh(depth, camera)), 4000, "MB")


def source_view_rows(camera: Camera, depth: np.ndarray) -> Iterator[Row]:
    """2. The mesh seen from where the map was."""
    ours, theirs = corner_mesh(depth, camera), peer_h(depth, camera)
    mine, his = scene.coverage(ours, camera), scene.coverage(theirs, camera)
    yield below("source view, holes", mine["hole_percent"], 0.01, "%")
    yield Row("source view, holes", mine["hole_percent"], his["hole_percent"], "H", unit="%")
    mine, his = scene.subpixel_coverage(ours, SIZE), scene.subpixel_coverage(theirs, SIZE)
    yield below("wrong or open within 2 px of an edge, 3 × 3 rays a pixel", mine["ring_percent"], 7, "%")
    yield Row("… the same", mine["ring_percent"], his["ring_percent"], "H", unit="%")
    found = scene.accuracy(ours, SIZE, 400_000)
    yield below("distance to the true surface, p95", found["acc_p95_mm"], 0.01, "mm")
    yield below("rubber sheets", found["rub_percent"], 0.01, "%")
    uncut = scene.accuracy(grid_mesh(depth, camera, cut_ratio=None), SIZE, 400_000)
    yield Row("rubber sheets", found["rub_percent"], uncut["rub_percent"], "uncut grid", unit="%")


def edge_rows(camera: Camera) -> Iterator[Row]:
    """3. Depth edges, crisp and blurred."""
    depth, _ = scene.cast(camera)
    truth = scene.true_cuts(SIZE)
    found = scene.f1(tuple(~x for x in links((1 / depth).astype(np.float32))), truth)
    yield above("crisp edges, F1", found["f1"], 0.995, "")
    yield below("crisp edges, false cuts", found["false"], 0, "")
    for sigma, bound in ((1, 0.88), (2, 0.67)):
        q = (1 / scene.soften(depth, sigma)).astype(np.float32)
        plain = scene.f1(tuple(~x for x in links(q)), truth)
        start = time.perf_counter()
        sharp = sharpen(q)
        seconds = time.perf_counter() - start
        found = scene.f1(tuple(~x for x in links(sharp)), truth)
        yield above(f"edges blurred by σ = {sigma}, sharpened, F1", found["f1"], bound, "")
        yield Row(f"edges blurred by σ = {sigma}, F1", found["f1"], plain["f1"], "not sharpened", unit="")
        yield below(f"sharpening σ = {sigma}", seconds * 1000, 500, "ms")


def beside(camera: Camera, x: float) -> Camera:
    """The camera moved to the right by metres."""
    return camera.looking_at((x, 0, 0), (x, 0, 1), up=(0, -1, 0))


def side_rows(camera: Camera, depth: np.ndarray) -> Iterator[Row]:
    """4. and 8. The layered mesh from beside, and as a stereo partner."""
    layered = layered_mesh(depth, camera, scene.picture(camera, 2))
    mine = scene.coverage(layered, beside(camera, 0.15))
    his = scene.coverage(peer_h(depth, camera), beside(camera, 0.15))
    yield below("from 0.15 m to the side, holes", mine["hole_percent"], 0.2, "%")
    yield Row("from 0.15 m to the side, holes", mine["hole_percent"], his["hole_percent"], "H", unit="%")
    yield below("from 0.15 m to the side, wrong depth", mine["wrong_percent"], 0.4, "%")
    right = beside(camera, 0.1)
    drawn = render(layered.vertices, layered.faces, right, uvs=layered.uvs, texture=layered.texture)[..., :3]
    true, z = scene.picture(right, 2), scene.cast(right)[0]
    pixels, far = camera.project(right.unproject(z))
    known = scene.in_source_frame(right, z)
    column, row = np.clip(pixels, 0, SIZE - 1).astype(int).transpose(2, 0, 1)
    uncovered = known & (far > depth[row, column] * 1.02)
    yield above("stereo partner at 0.1 m", scene.psnr(drawn, true, known), 34, "dB")
    yield above("stereo partner at 0.1 m, disoccluded", scene.psnr(drawn, true, uncovered), 19, "dB")


def normal_rows(camera: Camera) -> Iterator[Row]:
    """5. Normals from a map of few bits."""
    depth, which = scene.cast(camera)
    points = camera.unproject(depth)
    truth = np.zeros_like(points)
    for number, shape in enumerate(scene.OBJECTS):
        truth[which == number] = shape.normals(points[which == number])
    truth *= (1, -1, -1)
    q = 1 / depth
    steps = np.rint((q - q.min()) / (q.max() - q.min()) * 65535) / 65535
    rounded = 1 / (steps * (q.max() - q.min()) + q.min())

    def error(found: np.ndarray) -> float:
        return float(np.degrees(np.arccos(np.clip((found * truth).sum(-1), -1, 1))).mean())

    ours = error(normals_from_depth(rounded, camera))
    yield below("normals from 16-bit disparity, mean error", ours, 0.2, "°")
    yield Row("normals from 16-bit disparity, mean error", ours, error(sobel_normals(depth, camera)), "Sobel", unit="°")


def file_rows(camera: Camera, depth: np.ndarray) -> Iterator[Row]:
    """6. A GLB beside its own bytes; each run writes a new file."""
    mesh = corner_mesh(depth, camera)
    texture = encode_png(scene.picture(camera))
    turned = replace(mesh, vertices=mesh.vertices * np.array([1, -1, -1], np.float32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh"

        def raw() -> None:
            path.unlink(missing_ok=True)
            with path.open("wb") as file:
                for array in (turned.vertices, turned.uvs, turned.faces):
                    file.write(array.data)
                file.write(texture)

        def glb() -> None:
            path.unlink(missing_ok=True)
            write_glb(mesh, path, Material(base_colour=texture))

        yield at_most("writing a GLB, texture encoded", *in_turns(glb, raw, 15), "its raw bytes", 2)
        yield below("writing a GLB, memory", peak(glb), 10, "MB")


def simplifying_rows(camera: Camera, depth: np.ndarray) -> Iterator[Row]:
    """7. A tenth of the triangles."""
    full = corner_mesh(depth, camera)
    start = time.perf_counter()
    small = simplified(full, len(full.faces) // 10, camera=camera)
    seconds = time.perf_counter() - start
    a, b = (rasterise(m.vertices, m.faces, camera) for m in (full, small))
    error = np.abs(a.depth - b.depth)[a.covered & b.covered] * 1000
    yield below("to a tenth of the triangles", seconds * 1000, 5000, "ms")
    yield below("a tenth of the triangles, share that is left", len(small.faces) / len(full.faces), 0.101, "")
    yield below("a tenth of the triangles, error p95", float(np.percentile(error, 95)), 0.03, "mm")
    yield below("a tenth of the triangles, largest error", float(error.max()), 10, "mm")
    yield below("a tenth of the triangles, holes", float((a.covered & ~b.covered).mean() * 100), 0.01, "%")


def bit_rows(camera: Camera, depth: np.ndarray) -> Iterator[Row]:
    """What few bits cost."""
    q = (1 / depth - 1 / depth.max()) / (1 / depth.min() - 1 / depth.max())
    error = {}
    for bits in (8, 16):
        steps = np.rint(q * (2**bits - 1)) / (2**bits - 1)
        typed = DepthMap(steps, "disparity", 1 / depth.min() - 1 / depth.max(), 1 / depth.max())
        error[bits] = float(np.abs(typed.metric() - depth).mean() * 1000)
    yield Row("mean error of 16-bit disparity", error[16], error[8], "8-bit disparity", unit="mm")
