"""Views baked into a texture: eight of 1024² onto a hundred thousand triangles with 2048² texels."""

from __future__ import annotations

import numpy as np

from depth3d.bake import View, bake
from depth3d.camera import Camera
from depth3d.render import rasterise
from depth3d.rigs import orbit
from depth3d.texels import texels
from tests.bench.table import Row, in_turns

SIDE, VIEWS, TEXTURE = 1024, 8, 2048


def bumpy_ball(rows: int = 224, columns: int = 224) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (n, 3), triangles (m, 3) and UVs (n, 2) of a sphere with bumps, on a layout of its own angles."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    around, down = 2 * np.pi * u, np.pi * (v * 0.98 + 0.01)
    radius = 1 + 0.05 * np.sin(6 * around) * np.sin(5 * down)
    vertices = np.stack([np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)], -1)
    first = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    below = first + columns + 1
    faces = np.concatenate([np.stack([first, below, first + 1], 1), np.stack([first + 1, below, below + 1], 1)])
    uvs = np.stack([0.02 + 0.96 * u, 0.02 + 0.96 * v], -1)
    return (vertices * radius[..., None]).reshape(-1, 3), faces, uvs.reshape(-1, 2)


def rows() -> list[Row]:
    """The whole bake, against nothing but projecting every texel by every camera in float64."""
    vertices, faces, uvs = bumpy_ball()
    camera = Camera.from_fov(SIDE, SIDE, fov_x=50).looking_at((0, -3, 0.5), (0, 0, 0), (0, 0, 1))
    cameras = orbit(camera, (0, 0, 0), VIEWS, up=(0, 0, 1))
    picture = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    views = [View(one, picture, rasterise(vertices, faces, one).depth) for one in cameras]
    points = texels(vertices, faces, uvs, TEXTURE, TEXTURE).points

    def ours() -> None:
        bake(vertices, faces, uvs, views, width=TEXTURE, height=TEXTURE, dilation=16)

    def theirs() -> None:
        for one in cameras:
            one.project(points)

    took, least = in_turns(ours, theirs, rounds=3, warm_up=1)
    what = f"bake {VIEWS} views of {SIDE}² onto {len(faces)} triangles, {TEXTURE}²"
    return [Row(what, took, least, "projecting every texel", "at most 1", took <= least)]
