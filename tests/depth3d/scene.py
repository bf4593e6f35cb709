"""A scene whose every ray is known: a wall, a floor, four spheres, three boxes, a rod. And what a mesh of it is worth.

World axes are the source camera's: x right, y down, z forward, metres. The source camera stands at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depth3d.camera import Camera
from depth3d.mesh import Mesh
from depth3d.render import rasterise

FOV = 60.0


@dataclass(frozen=True)
class Plane:
    normal: tuple[float, float, float]
    offset: float  # normal · p = offset

    def hit(self, origin, direction):
        n = np.array(self.normal)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self.offset - origin @ n) / (direction @ n)
        return np.where(t > 1e-6, t, np.inf)

    def distance(self, p):
        return np.abs(p @ np.array(self.normal) - self.offset)

    def normals(self, p):
        return np.broadcast_to(np.array(self.normal), p.shape)


@dataclass(frozen=True)
class Sphere:
    centre: tuple[float, float, float]
    radius: float

    def hit(self, origin, direction):
        o = origin - np.array(self.centre)
        a, b, c = (direction**2).sum(-1), (direction * o).sum(-1), (o**2).sum(-1) - self.radius**2
        root = b * b - a * c
        with np.errstate(invalid="ignore"):
            t = (-b - np.sqrt(root)) / a
        return np.where((root >= 0) & (t > 1e-6), t, np.inf)

    def distance(self, p):
        return np.abs(np.linalg.norm(p - np.array(self.centre), axis=-1) - self.radius)

    def normals(self, p):
        return (p - np.array(self.centre)) / self.radius


@dataclass(frozen=True)
class Box:
    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def hit(self, origin, direction):
        with np.errstate(divide="ignore", invalid="ignore"):
            a = (np.array(self.low) - origin) / direction
            b = (np.array(self.high) - origin) / direction
        near, far = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
        return np.where((near <= far) & (near > 1e-6), near, np.inf)

    def distance(self, p):
        centre, half = (np.array(self.low) + self.high) / 2, (np.array(self.high) - self.low) / 2
        q = np.abs(p - centre) - half
        return np.abs(np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0))

    def normals(self, p):
        centre, half = (np.array(self.low) + self.high) / 2, (np.array(self.high) - self.low) / 2
        q = (p - centre) / half
        axis = np.abs(q).argmax(-1)
        n = np.zeros_like(p)
        np.put_along_axis(n, axis[..., None], np.sign(np.take_along_axis(q, axis[..., None], -1)), -1)
        return n


@dataclass(frozen=True)
class Rod:
    """An endless upright cylinder."""

    x: float
    z: float
    radius: float

    def hit(self, origin, direction):
        ox, oz, dx, dz = origin[..., 0] - self.x, origin[..., 2] - self.z, direction[..., 0], direction[..., 2]
        a, b, c = dx * dx + dz * dz, dx * ox + dz * oz, ox * ox + oz * oz - self.radius**2
        root = b * b - a * c
        with np.errstate(invalid="ignore"):
            t = (-b - np.sqrt(root)) / a
        return np.where((root >= 0) & (t > 1e-6), t, np.inf)

    def distance(self, p):
        return np.abs(np.hypot(p[..., 0] - self.x, p[..., 2] - self.z) - self.radius)

    def normals(self, p):
        return np.stack([p[..., 0] - self.x, 0 * p[..., 0], p[..., 2] - self.z], -1) / self.radius


OBJECTS = (
    Plane((0, 0, -1), -8.0),
    Plane((0, -1, 0), -1.2),
    Sphere((-1.2, 0.75, 4.0), 0.45),
    Sphere((0.4, 0.2, 5.5), 0.5),
    Sphere((1.5, -0.9, 5.0), 0.35),
    Sphere((-0.5, -0.6, 3.0), 0.25),
    Box((0.9, 0.4, 3.2), (1.5, 1.2, 3.8)),
    Box((-2.8, -1.0, 6.0), (-1.8, 1.2, 6.8)),
    Box((-0.3, 0.8, 2.6), (0.3, 1.2, 3.0)),
    Rod(0.75, 2.8, 0.015),
)
TINTS = np.array([
    (200, 180, 150), (110, 130, 150), (210, 80, 60), (80, 160, 90), (90, 110, 200), (230, 190, 60),
    (170, 90, 170), (70, 150, 160), (220, 130, 60), (240, 240, 240),
]) / 255  # fmt: skip


def source_camera(size: int) -> Camera:
    return Camera.from_fov(size, size, fov_x=FOV)


def cast(camera: Camera, only: int | None = None):
    """Depth (h, w) float64 and object numbers (h, w) of the scene from a camera."""
    direction = camera.rays() @ camera.world_to_camera[:3, :3]
    return trace(camera.position, direction, only)


def trace(origin, direction, only: int | None = None):
    """t (…,) and object number (…,) of rays; with directions of depth 1, t is the depth."""
    objects = OBJECTS if only is None else (OBJECTS[only],)
    t = np.stack([shape.hit(origin, direction) for shape in objects])
    return t.min(0), t.argmin(0)


def picture(camera: Camera, samples: int = 1) -> np.ndarray:
    """What the camera sees, (h, w, 3) uint8, `samples`² rays to a pixel."""
    total = np.zeros((camera.height, camera.width, 3))
    big = camera.resized(camera.width * samples, camera.height * samples)
    direction = big.rays() @ big.world_to_camera[:3, :3]
    t, which = trace(big.position, direction)
    colour = colours(big.position + direction * t[..., None], which)
    total = colour.reshape(camera.height, samples, camera.width, samples, 3).mean((1, 3))
    return np.rint(total * 255).astype(np.uint8)


def colours(points: np.ndarray, which: np.ndarray) -> np.ndarray:
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    pattern = 0.75 + 0.12 * np.sin(9 * x + 3 * z) * np.cos(8 * y - 2 * z) + 0.13 * np.sin(4 * z + 5 * y)
    return np.clip(TINTS[which] * pattern[..., None], 0, 1)


def true_cuts(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which neighbours, (h, w − 1) and (h − 1, w), lie on surfaces that do not meet between them.

    They do not if the two objects, each continued to the ray through the pixels' common border, lie more than one
    percent of their depth apart there. An object that ends before that ray has its pixel's own depth there.
    """
    camera = source_camera(size)
    depth, which = cast(camera)
    rays = camera.rays()
    cuts = []
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        middle = (rays[a] + rays[b]) / 2
        first, second = which[a], which[b]
        cut = np.zeros(first.shape, bool)
        rows, columns = np.nonzero(first != second)
        t = np.stack([shape.hit(np.zeros(3), middle[rows, columns]) for shape in OBJECTS])
        i = np.arange(len(rows))
        ta, tb = t[first[rows, columns], i], t[second[rows, columns], i]
        ta = np.where(np.isfinite(ta), ta, depth[a][rows, columns])
        tb = np.where(np.isfinite(tb), tb, depth[b][rows, columns])
        cut[rows, columns] = np.abs(ta - tb) > 0.01 * np.minimum(ta, tb)
        cuts.append(cut)
    return cuts[0], cuts[1]


def f1(found: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray], slack: int = 0) -> dict[str, float]:
    """Precision, recall and F1 of cut pixel pairs, and how many were cut falsely."""
    hit = sum(int((f & t).sum()) for f, t in zip(found, truth, strict=True))
    cut = sum(int(f.sum()) for f in found)
    true = sum(int(t.sum()) for t in truth)
    precision, recall = hit / max(cut, 1), hit / max(true, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * hit / max(cut + true, 1), "false": cut - hit}


def surface_distance(points: np.ndarray) -> np.ndarray:
    """Distance of (n, 3) points to the nearest true surface."""
    return np.min([shape.distance(points) for shape in OBJECTS], axis=0)


def accuracy(mesh: Mesh, size: int, samples: int = 100_000) -> dict[str, float]:
    """acc mean and p95 in millimetres and rub in percent, of area-uniform samples (facts: acc, rub)."""
    rng = np.random.default_rng(0)
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = corners[rng.choice(len(area), samples, p=area / area.sum())]
    u, v = np.sort(rng.random((2, samples)), axis=0)
    points = chosen[:, 0] * u[:, None] + chosen[:, 1] * (v - u)[:, None] + chosen[:, 2] * (1 - v)[:, None]
    distance = surface_distance(points)
    rubber = distance > 2 * points[:, 2] / source_camera(size).fx
    return {
        "acc_mean_mm": float(distance.mean() * 1000),
        "acc_p95_mm": float(np.percentile(distance, 95) * 1000),
        "rub_percent": float(rubber.mean() * 100),
    }


def coverage(mesh: Mesh, camera: Camera, scale: int = 1) -> dict[str, float]:
    """hole and wrong in percent of the camera's pixels, ring in percent of those within 2 · scale of a true edge.

    scale: how many of the camera's pixels make one of the source's. Wrong is what is off by two source pixels' size.

    What lies outside the source camera's frame does not count: nobody has seen it.
    """
    truth, _ = cast(camera)
    known = in_source_frame(camera, truth)
    seen = rasterise(mesh.vertices, mesh.faces, camera).depth
    hole = ~np.isfinite(seen)
    wrong = ~hole & (np.abs(seen - truth) > 2 * truth * scale / camera.fx)
    q = 1 / truth
    near_edge = np.zeros(truth.shape, bool)
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        jump = np.abs(q[a] - q[b]) > 0.02 * np.minimum(q[a], q[b])
        near_edge[a] |= jump
        near_edge[b] |= jump
    near_edge = _grow(near_edge, 2 * scale - 1)
    return {
        "hole_percent": float(hole[known].mean() * 100),
        "wrong_percent": float(wrong[known].mean() * 100),
        "ring_percent": float((hole | wrong)[near_edge & known].mean() * 100) if near_edge.any() else 0.0,
    }


def in_source_frame(camera: Camera, depth: np.ndarray) -> np.ndarray:
    """Which pixels' points lie within the frame of the source camera, (h, w) bool."""
    source = source_camera(100)
    pixels, z = source.project(camera.unproject(depth))
    return (z > 0) & (pixels >= 0).all(-1) & (pixels < 100).all(-1)


def subpixel_coverage(mesh: Mesh, size: int) -> dict[str, float]:
    """The same over the source view, three by three rays to a pixel: comp miss and ring."""
    return coverage(mesh, source_camera(size).resized(3 * size, 3 * size), scale=3)


def soften(depth: np.ndarray, sigma: float) -> np.ndarray:
    """What a network predicts: the disparity blurred by a Gaussian of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    return 1 / gaussian_filter(1 / depth, sigma, mode="nearest", truncate=4)


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float:
    error = (a.astype(float) - b.astype(float)) ** 2
    mean = error.mean() if where is None else error[where].mean()
    return float(10 * np.log10(255**2 / max(mean, 1e-12)))


def _grow(mask: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask
