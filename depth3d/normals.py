"""Normals: from depth, into the colours of each convention, and back.

A normal map here is camera space, (h, w, 3) float32, x right, y up, z toward the viewer, of unit length; a zero
vector where nothing is.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera
from .depth import check_depth

Normals = NDArray[np.float32]

#: Two neighbours lie on one surface if the farther is at most this much farther, as a fraction of the nearer.
CUT_RATIO = 0.02


def normals_from_depth(depth: ArrayLike, camera: Camera, *, radius: int = 1, cut_ratio: float = CUT_RATIO) -> Normals:
    """The normals of a depth map's surfaces, (h, w, 3) float32 in camera space; zero where depth is +inf.

    depth: (h, w), scene units, positive, no NaN. radius: half the window of the fit in pixels; more smooths noise.
    cut_ratio: a neighbour farther or nearer than this fraction belongs to another surface and is left out.

    Under a perspective camera a plane is *affine* in 1 / z: q = a·u + b·v + c. The fit of q over the window's pixels
    on the same surface therefore has no error on planes, at any slant. (Orthographic: z itself is affine;
    equirectangular: 1 / r to first order.) A pixel with fewer than two neighbours in different directions on its
    surface faces the camera.
    """
    z = check_depth(depth)
    if z.shape != (camera.height, camera.width):
        raise ValueError(f"depth has shape {z.shape}; the camera's pictures are {(camera.height, camera.width)}")
    if radius < 1:
        raise ValueError(f"radius is {radius}; the window must reach at least 1 pixel")
    wraps = camera.projection == "equirectangular"
    q = z if camera.projection == "orthographic" else 1 / z
    a, b, c = _fit(z, q.astype(np.float32, copy=False), radius, cut_ratio, wraps)
    # m is the plane's gradient in camera axes (OpenCV's), pointing away from the camera.
    u = (np.arange(camera.width) + 0.5 - camera.cx)[None, :]
    v = (np.arange(camera.height) + 0.5 - camera.cy)[:, None]
    if camera.projection == "perspective":
        m = [a * camera.fx, b * camera.fy, c - a * u - b * v]
    elif camera.projection == "orthographic":
        m = [-a * camera.fx, -b * camera.fy, np.ones_like(c)]
    else:
        m = _spherical_gradient(a * camera.fx, b * camera.fy, c, u / camera.fx, v / camera.fy)
    out = np.stack([-m[0], m[1], m[2]], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        out /= np.linalg.norm(out, axis=-1, keepdims=True)
    out[~np.isfinite(z)] = 0
    return out.astype(np.float32)


def normals_to_camera(normals: ArrayLike, camera: Camera) -> Normals:
    """World-space normals (h, w, 3) in a renderer's pass to camera space; zero vectors stay zero."""
    flip = np.array([1.0, -1.0, -1.0])
    out = np.asarray(normals, dtype=np.float64) @ camera.world_to_camera[:3, :3].T * flip
    length = np.linalg.norm(out, axis=-1, keepdims=True)
    return np.asarray(np.divide(out, length, out=np.zeros_like(out), where=length > 0), dtype=np.float32)


def normals_to_controlnet(normals: ArrayLike) -> NDArray[np.uint8]:
    """The control image of ControlNet 1.1's normal models (NormalBae): (h, w, 3) float32 to (h, w, 3) uint8.

    (n + 1) / 2 in camera space: blue toward the viewer, red to the *left*, green up; background (.5, .5, 1).
    Normals need not be of unit length. Raises ValueError for NaN and infinities.
    """
    n = _unit(normals)
    background = ~n.any(axis=-1)
    n[..., 0] *= -1
    n[background] = (0, 0, 1)
    return _bytes(n)


def controlnet_to_normals(image: ArrayLike) -> Normals:
    """`normals_to_controlnet` undone, to within its 8 bits; the background becomes normals that face the viewer."""
    n = _decode(image)
    n[..., 0] *= -1
    return n


def normals_to_opengl(normals: ArrayLike) -> NDArray[np.uint8]:
    """A tangent-space normal map (h, w, 3) float32, x right, y up, z out, to glTF's and OpenGL's colours (+Y)."""
    n = _unit(normals)
    n[~n.any(axis=-1)] = (0, 0, 1)
    return _bytes(n)


def opengl_to_normals(image: ArrayLike) -> Normals:
    """`normals_to_opengl` undone: (h, w, 3) uint8 to unit float32."""
    return _decode(image)


def normals_to_directx(normals: ArrayLike) -> NDArray[np.uint8]:
    """As `normals_to_opengl` with green downward (−Y), as Unreal and DirectX want it."""
    return normals_to_opengl(np.asarray(normals, dtype=np.float32) * np.array([1, -1, 1], np.float32))


def directx_to_normals(image: ArrayLike) -> Normals:
    """`normals_to_directx` undone: (h, w, 3) uint8 to unit float32."""
    n = _decode(image)
    n[..., 1] *= -1
    return n


def _fit(
    z: NDArray[np.float32], q: NDArray[np.float32], radius: int, cut_ratio: float, wraps: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Slopes a, b and value c of the plane through q around each pixel, over the window's pixels on its surface.

    Sums are of differences to the middle pixel, so that float32 keeps its digits where q itself is large.
    """
    height, width = z.shape
    sums = {name: np.zeros((height, width), np.float32) for name in ("u", "v", "uu", "uv", "vv", "q", "qu", "qv")}
    count = np.ones((height, width), np.float32)
    offsets = range(-radius, radius + 1)
    pad = ((radius, radius), (radius, radius))
    padded_z = np.pad(z, pad, constant_values=np.inf)
    padded_q = np.pad(q, pad)
    if wraps:
        for padded, source in ((padded_z, z), (padded_q, q)):
            columns = np.arange(-radius, width + radius) % width
            padded[radius:-radius] = source[:, columns]
    for dv in offsets:
        for du in offsets:
            if du == dv == 0:
                continue
            window = np.s_[radius + dv : radius + dv + height, radius + du : radius + du + width]
            other = padded_z[window]
            # A ratio is allowed for each pixel of the way, or a slanted plane would lose the window's far corners.
            limit = np.float32((1 + cut_ratio) ** max(abs(du), abs(dv)))
            with np.errstate(invalid="ignore"):
                near, far = np.minimum(z, other), np.maximum(z, other)
                same = (far <= near * limit) & np.isfinite(far)
            dq = np.where(same, padded_q[window] - np.where(np.isfinite(q), q, 0), 0).astype(np.float32)
            weight = same.astype(np.float32)
            count += weight
            sums["q"] += dq
            if du:
                sums["u"] += weight * du
                sums["uu"] += weight * du * du
                sums["qu"] += dq * du
            if dv:
                sums["v"] += weight * dv
                sums["vv"] += weight * dv * dv
                sums["qv"] += dq * dv
            if du and dv:
                sums["uv"] += weight * du * dv
    # The 2×2 system that is left of the normal equations after c is eliminated.
    n = count.astype(np.float64)
    u, v, s = (sums[k].astype(np.float64) for k in ("u", "v", "q"))
    uu, uv, vv = sums["uu"] - u * u / n, sums["uv"] - u * v / n, sums["vv"] - v * v / n
    qu, qv = sums["qu"] - u * s / n, sums["qv"] - v * s / n
    determinant = uu * vv - uv * uv
    solvable = determinant > 1e-6
    inverse = np.divide(1, determinant, out=np.zeros_like(determinant), where=solvable)
    a = (qu * vv - qv * uv) * inverse
    b = (qv * uu - qu * uv) * inverse
    c = np.where(solvable, (s - a * u - b * v) / n, 0) + np.where(np.isfinite(q), q, 0)
    return a, b, c


def _spherical_gradient(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], lon: ArrayLike, lat: ArrayLike
) -> list[NDArray[np.float64]]:
    """The m of m · direction = 1 / r, from 1 / r and its slopes along longitude and (downward) latitude."""
    lon, lat = np.asarray(lon), np.asarray(lat)
    across = a / np.maximum(np.cos(lat), 1e-6)
    x = c * np.cos(lat) * np.sin(lon) + across * np.cos(lon) - b * np.sin(lat) * np.sin(lon)
    y = c * np.sin(lat) + b * np.cos(lat)
    z = c * np.cos(lat) * np.cos(lon) - across * np.sin(lon) - b * np.sin(lat) * np.cos(lon)
    return [x, y + 0 * lon, z]


def _unit(normals: ArrayLike) -> NDArray[np.float32]:
    n = np.array(normals, dtype=np.float32)
    if n.ndim != 3 or n.shape[2] != 3:
        raise ValueError(f"normals have shape {n.shape}; they must be (height, width, 3)")
    if not np.isfinite(n).all():
        raise ValueError("normals have NaN or infinite values; use a zero vector where nothing is")
    length = np.linalg.norm(n, axis=-1, keepdims=True)
    np.divide(n, length, out=n, where=length > 0)
    return n


def _bytes(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint((unit + 1) * 127.5), dtype=np.uint8)


def _decode(image: ArrayLike) -> NDArray[np.float32]:
    colours = np.asarray(image)
    if colours.dtype != np.uint8 or colours.ndim != 3 or colours.shape[2] != 3:
        raise ValueError(
            f"a normal image has shape (height, width, 3) and dtype uint8, not {colours.shape} {colours.dtype}"
        )
    return _unit(colours.astype(np.float32) / 127.5 - 1)
