"""Depth to mesh, measured beside the methods of others in one run: `python tests/bench/bench_depth.py`.

The scene and the formulas are those of tests/depth3d/scene.py. Peer methods are re-made from their formulas, without
their libraries' conversions: H is hesom's depth_to_mesh (grid in float64, triangles cut by their angle to the view),
"Sobel" the normals of the depth map extensions for the web UIs. Times are the best of several; ratios are what counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "depth3d")]

import scene  # noqa: E402

from depth3d.camera import Camera  # noqa: E402
from depth3d.depth import DepthMap  # noqa: E402
from depth3d.edges import links, sharpen, softness  # noqa: E402
from depth3d.export import write_ply, write_stl  # noqa: E402
from depth3d.glb import Material, encode_png, write_glb  # noqa: E402
from depth3d.layers import layered_mesh  # noqa: E402
from depth3d.mesh import Mesh, corner_mesh, grid_mesh  # noqa: E402
from depth3d.normals import normals_from_depth  # noqa: E402
from depth3d.render import rasterise, render  # noqa: E402
from depth3d.simplify import simplified  # noqa: E402


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


def best(work: Callable[[], Any], repeats: int = 3) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def peak(work: Callable[[], Any]) -> float:
    """The most memory that was allocated at once while it ran, in MB, its result included."""
    tracemalloc.start()
    result = work()
    found = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    del result
    return found


def table(title: str, head: list[str], rows: list[list[Any]]) -> None:
    print(f"\n## {title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row) + " |", flush=True)


def speed(sizes: list[int]) -> None:
    rows = []
    for size in sizes:
        camera = scene.source_camera(size)
        depth = scene.cast(camera)[0].astype(np.float32)
        ours = best(lambda d=depth, c=camera: corner_mesh(d, c))
        memory = peak(lambda d=depth, c=camera: corner_mesh(d, c))
        rows.append([f"corner mesh {size}²", ours, memory, 1.0])
        grid = best(lambda d=depth, c=camera: grid_mesh(d, c))
        rows.append([f"grid, ratio cut {size}²", grid, peak(lambda d=depth, c=camera: grid_mesh(d, c)), grid / ours])
        if size <= 2048:
            theirs = best(lambda d=depth, c=camera: peer_h(d, c), 2)
            rows.append([f"H {size}²", theirs, peak(lambda d=depth, c=camera: peer_h(d, c)), theirs / ours])
    table("1. Time and memory (target at 2048²: ≤ 1 s, ≤ 700 MB, H ≥ 8 ×; 4096² within 4 GB)",
          ["method", "s", "MB", "× ours"], rows)  # fmt: skip


def accuracy(size: int) -> None:
    camera = scene.source_camera(size)
    depth = scene.cast(camera)[0].astype(np.float32)
    rows = []
    for name, mesh in (
        ("uncut grid", grid_mesh(depth, camera, cut_ratio=None)),
        ("H", peer_h(depth, camera)),
        ("grid, ratio cut", grid_mesh(depth, camera)),
        ("corner mesh", corner_mesh(depth, camera)),
    ):
        a, own = scene.accuracy(mesh, size, 400_000), scene.coverage(mesh, camera)
        between = scene.subpixel_coverage(mesh, size) if size <= 1024 else {"ring_percent": float("nan")}
        rows.append([name, a["acc_mean_mm"], a["acc_p95_mm"], a["rub_percent"], own["hole_percent"],
                     own["ring_percent"], between["ring_percent"]])  # fmt: skip
    head = ["method", "acc mean mm", "p95 mm", "rub %", "hole %", "ring % at centres", "ring % between"]
    table(f"2. Source view at {size}² (target: p95 ≤ .01 mm, rub ≤ .01 %, hole ≤ .01 %, ring ≤ 7 %)", head, rows)


def edges(size: int) -> None:
    camera = scene.source_camera(size)
    depth, _ = scene.cast(camera)
    truth = scene.true_cuts(size)
    rows = []
    for sigma in (0, 1, 2):
        q = (1 / (depth if sigma == 0 else scene.soften(depth, sigma))).astype(np.float32)
        for repaired in (False, True):
            values = sharpen(q) if repaired else q
            seconds = best(lambda v=q: sharpen(v)) if repaired else 0.0
            found = scene.f1(tuple(~x for x in links(values)), truth)
            label = f"σ = {sigma}" + (", sharpened" if repaired else "")
            rows.append([label, softness(q), found["f1"], found["false"], seconds])
    table(f"3. Depth edges at {size}² (target: crisp ≥ .995 without false cuts; σ = 1 ≥ .88, ≤ .5 s; σ = 2 > .67)",
          ["edges", "softness", "F1", "false cuts", "s"], rows)  # fmt: skip


def beside(camera: Camera, x: float) -> Camera:
    return camera.looking_at((x, 0, 0), (x, 0, 1), up=(0, -1, 0))


def side_and_stereo(size: int) -> None:
    camera = scene.source_camera(size)
    depth = scene.cast(camera)[0].astype(np.float32)
    picture = scene.picture(camera, 2)
    layered = layered_mesh(depth, camera, picture)
    rows = []
    for name, mesh in (("H", peer_h(depth, camera)), ("corner mesh", corner_mesh(depth, camera)), ("layers", layered)):
        seen = scene.coverage(mesh, beside(camera, 0.15))
        rows.append([name, seen["hole_percent"], seen["wrong_percent"]])
    table(
        f"4. From 0.15 m to the side, {size}² (target: holes ≤ .2 %, wrong ≤ .4 %)",
        ["method", "hole %", "wrong %"],
        rows,
    )
    right = beside(camera, 0.1)
    drawn = render(layered.vertices, layered.faces, right, uvs=layered.uvs, texture=layered.texture)[..., :3]
    true, z = scene.picture(right, 2), scene.cast(right)[0]
    pixels, far = camera.project(right.unproject(z))
    known = scene.in_source_frame(right, z)
    column, row = np.clip(pixels, 0, size - 1).astype(int).transpose(2, 0, 1)
    uncovered = known & (far > depth[row, column] * 1.02)
    rows = [
        ["over all", scene.psnr(drawn, true, known)],
        ["disoccluded", scene.psnr(drawn, true, uncovered)],
    ]
    table(f"8. Stereo at 0.1 m, {size}² (target: ≥ 34 dB over all, ≥ 19 dB disoccluded)", ["", "dB"], rows)


def normals(size: int) -> None:
    camera = scene.source_camera(size)
    depth, which = scene.cast(camera)
    points = camera.unproject(depth)
    truth = np.zeros_like(points)
    for number, shape in enumerate(scene.OBJECTS):
        truth[which == number] = shape.normals(points[which == number])
    truth *= (1, -1, -1)
    q = 1 / depth
    steps = np.rint((q - q.min()) / (q.max() - q.min()) * 65535) / 65535
    rounded = 1 / (steps * (q.max() - q.min()) + q.min())
    rows = []
    for name, found in (
        ("ours, exact depth", normals_from_depth(depth, camera)),
        ("ours, 16-bit disparity", normals_from_depth(rounded, camera)),
        ("ours, 16-bit disparity, window of 5", normals_from_depth(rounded, camera, radius=2)),
        ("Sobel of 8-bit disparity", sobel_normals(depth, camera)),
    ):
        angle = np.degrees(np.arccos(np.clip((found * truth).sum(-1), -1, 1)))
        rows.append([name, float(angle.mean()), float(np.percentile(angle, 95))])
    table(f"5. Normals at {size}² (target: mean ≤ .2° from 16-bit disparity)", ["method", "mean °", "p95 °"], rows)


def files(size: int) -> None:
    camera = scene.source_camera(size)
    mesh = corner_mesh(scene.cast(camera)[0].astype(np.float32), camera)
    texture = encode_png(scene.picture(camera))
    assert mesh.uvs is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh"

        def raw() -> None:
            with path.open("wb") as file:
                for array in (mesh.vertices, mesh.uvs, mesh.faces):
                    file.write(array.data)
                file.write(texture)

        def glb() -> None:
            write_glb(mesh, path, Material(base_colour=texture))

        floor = best(raw, 7)
        rows = [["raw bytes", floor, 1.0, peak(raw)]]
        for name, work in (
            ("GLB", glb),
            ("PLY", lambda: write_ply(mesh, path)),
            ("STL", lambda: write_stl(mesh, path)),
        ):
            seconds = best(work, 5)
            rows.append([name, seconds, seconds / floor, peak(work)])
    table(f"6. Files at {size}² (target: GLB ≤ 2 × raw, ≤ 10 MB)", ["format", "s", "× raw", "MB"], rows)


def simplifying(size: int) -> None:
    camera = scene.source_camera(size)
    full = corner_mesh(scene.cast(camera)[0].astype(np.float32), camera)
    start = time.perf_counter()
    small = simplified(full, len(full.faces) // 10, camera=camera)
    seconds = time.perf_counter() - start
    a, b = (rasterise(m.vertices, m.faces, camera) for m in (full, small))
    error = np.abs(a.depth - b.depth)[b.covered] * 1000
    rows = [[len(small.faces) / len(full.faces) * 100, seconds, float(np.percentile(error, 95)), float(error.max()),
             float((~b.covered).mean() * 100)]]  # fmt: skip
    table(f"7. To a tenth of the triangles at {size}² (target: ≤ 5 s, p95 ≤ .03 mm, max ≤ 10 mm, borders kept)",
          ["kept %", "s", "p95 mm of depth", "max mm of depth", "hole %"], rows)  # fmt: skip


def quantisation(size: int) -> None:
    camera = scene.source_camera(size)
    depth, _ = scene.cast(camera)
    q = (1 / depth - 1 / depth.max()) / (1 / depth.min() - 1 / depth.max())
    rows = []
    for bits in (8, 16):
        steps = np.rint(q * (2**bits - 1)) / (2**bits - 1)
        typed = DepthMap(steps, "disparity", 1 / depth.min() - 1 / depth.max(), 1 / depth.max())
        error = np.abs(typed.metric() - depth) * 1000
        rows.append([f"{bits}-bit disparity", float(error.mean()), float(error.max())])
    table(f"What few bits cost at {size}²", ["", "mean mm", "max mm"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="side of the accuracy tables' maps")
    parser.add_argument("--speed", type=int, nargs="*", default=[1024, 2048], help="sides of the speed table's maps")
    options = parser.parse_args()
    speed(options.speed)
    accuracy(options.size)
    edges(options.size)
    side_and_stereo(options.size)
    normals(options.size)
    files(options.size)
    simplifying(options.size)
    quantisation(options.size)


if __name__ == "__main__":
    main()
