"""Depth maps with a kind, and what each family of ControlNet wants to see of them.

A depth map here is float32 in scene units, z along the camera's axis (for an equirectangular camera the radius),
with +inf where nothing is. Everything else that is called depth is turned into that by `DepthMap.metric`, and
leaves it only through one of the named functions at the end of a job.

Disparity is affine: 1 / z = scale · d + shift. Planes stay planar whatever the two numbers are, which a map
"reversed" by 1 − d does not give.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera

Kind = Literal["metric", "disparity", "radius"]
Depth = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DepthMap:
    """A depth map as it was measured or predicted, (h, w) float32, and what its numbers mean.

    kind: ``metric``, z along the camera's axis in scene units; ``disparity``, 1 / z = scale · value + shift;
    ``radius``, the distance from the camera along the pixel's ray, in scene units.
    NaN, and values that stand for no positive depth (zero is how most sensors write "no measurement"), are holes.
    """

    values: Depth
    kind: Kind = "metric"
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or values.size == 0:
            raise ValueError(f"depth has shape {values.shape}; it must be (height, width), at least one pixel each")
        if values.dtype.kind not in "fiu":
            raise ValueError(f"depth has dtype {values.dtype}; give real numbers")
        if self.kind not in get_args(Kind):
            raise ValueError(f"depth kind is {self.kind!r}; use one of {get_args(Kind)}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"disparity scale is {self.scale}; it must be a positive number")
        if not math.isfinite(self.shift):
            raise ValueError(f"disparity shift is {self.shift}; it must be a finite number")
        object.__setattr__(self, "values", np.asarray(values, dtype=np.float32))

    @classmethod
    def from_stereo(cls, disparity: ArrayLike, *, fx: float, baseline: float, doffs: float = 0.0) -> DepthMap:
        """Disparity in pixels from a rectified stereo pair: z = fx · baseline / (d + doffs), Middlebury's formula.

        fx: focal length in pixels. baseline: in scene units. doffs: the difference of the two principal points' x,
        in pixels.
        """
        for name, value in (("fx", fx), ("baseline", baseline)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be a positive number")
        return cls(np.asarray(disparity, np.float32), "disparity", 1 / (fx * baseline), doffs / (fx * baseline))

    @classmethod
    def from_relative(cls, values: ArrayLike, *, near: float = 1.0, far: float = 10.0) -> DepthMap:
        """Inverse depth without units, large is near, as networks and pictures of depth have it: (h, w).

        Integers over their whole range, floats over their own finite one: the largest value lies at `near`, the
        smallest at `far` (which may be inf), scene units. A constant map of floats lies at `near`.
        """
        d = np.asarray(values)
        if not (0 < near < far and math.isfinite(near)):
            raise ValueError(f"near is {near:g} and far is {far:g}; there must be 0 < near < far, near finite")
        if d.dtype.kind == "u":
            low, high = 0.0, float(np.iinfo(d.dtype).max)
        else:
            d = d.astype(np.float32)
            finite = d[np.isfinite(d)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
            if high <= low:
                low = high - 1
        scale = (1 / near - 1 / far) / (high - low)
        return cls(d, "disparity", scale, 1 / far - low * scale)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.values.shape
        return height, width

    def holes(self) -> NDArray[np.bool_]:
        """Where nothing was measured, (h, w) bool: NaN, and what stands for a depth that is not positive.

        +inf in a metric or radius map, and 1 / z of exactly zero, are not holes: nothing is there, and that is known.
        """
        with np.errstate(invalid="ignore"):
            if self.kind == "disparity":
                # −inf is how some matchers write "no match"; +inf would lie in the lens.
                return ~(
                    (self.values * np.float32(self.scale) + np.float32(self.shift) >= 0) & np.isfinite(self.values)
                )
            return ~(self.values > 0)

    def metric(self, rays: NDArray[np.floating] | None = None) -> Depth:
        """Depth as (h, w) float32 z in scene units, +inf in holes and where nothing is.

        rays: what `Camera.rays` gives for the map's camera, (h, w, 3); needed only for ``radius``, to come from the
        distance along the ray to z. (An equirectangular camera's depth *is* the radius: pass a ``metric`` map.)
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.kind == "disparity":
                q = self.values.astype(np.float64) * self.scale + self.shift
                out = (1 / q).astype(np.float32)
            elif self.kind == "radius":
                if rays is None:
                    raise ValueError("a radius map needs its camera's rays to become z; pass camera.rays()")
                out = (self.values * rays[..., 2] / np.linalg.norm(rays, axis=-1)).astype(np.float32)
            else:
                out = self.values.copy()
        out[self.holes()] = np.inf
        return out

    def seen_by(self, camera: Camera) -> Depth:
        """`metric` for the map's camera: z, and for an equirectangular camera the radius."""
        if self.kind != "radius":
            return self.metric()
        if camera.projection == "equirectangular":
            return DepthMap(self.values).metric()
        return self.metric(camera.rays(np.float32))


def check_depth(depth: ArrayLike) -> Depth:
    """`depth` as (h, w) float32 z or radius; raises ValueError for NaN, and for depths that are not positive."""
    z = np.asarray(depth)
    if z.ndim != 2 or z.size == 0:
        raise ValueError(f"depth has shape {z.shape}; it must be (height, width), at least one pixel each")
    if z.dtype.kind not in "fiu":
        raise ValueError(f"depth has dtype {z.dtype}; give real numbers")
    z = z.astype(np.float32, copy=False)
    nans = int(np.isnan(z).sum())
    if nans:
        raise ValueError(f"depth has {nans} NaN of {z.size} pixels; use +inf where nothing is")
    low = float(z.min())
    if low <= 0:
        raise ValueError(f"depth goes down to {low:g}; every depth must be positive, +inf where nothing is")
    return z


def depth_range(depth: ArrayLike) -> tuple[float, float] | None:
    """The nearest and the farthest finite depth of a (h, w) map, in scene units; None where nothing is finite."""
    z = check_depth(depth)
    seen = z[np.isfinite(z)]
    return (float(seen.min()), float(seen.max())) if seen.size else None


def depth_to_disparity(depth: ArrayLike) -> Depth:
    """1 / z of a (h, w) depth map, float32; 0 where the depth is +inf."""
    return np.asarray(1 / check_depth(depth), dtype=np.float32)


def depth_to_controlnet(depth: ArrayLike, near: float | None = None, far: float | None = None) -> NDArray[np.uint8]:
    """The control image of the depth ControlNets of SD 1.x, SD 2.x, SDXL and Flux: MiDaS's convention.

    depth: (h, w) float32, scene units, +inf where nothing is. Returns (h, w, 3) uint8, grey: affine in 1 / z, white
    at `near`, black at `far` and where nothing is. near and far default to the map's own finite range; give both
    (`depth_range` over all views) so that one point of the scene has one grey in every view of a rig. far may be inf.

    A map that is constant has all its surface at `near`: white. An empty one is black. Raises ValueError for NaN,
    for depths that are not positive, and for a range that is not 0 < near <= far.
    """
    z = check_depth(depth)
    lower, upper = _ends(z, near, far)
    q = 1 / z.astype(np.float64)
    span = 1 / lower - 1 / upper
    grey = (q - 1 / upper) / span if span > 0 else np.where(q > 0, 1.0, 0.0)
    return _grey(grey)


def depth_to_controlnet_zoe(depth: ArrayLike, near: float | None = None, far: float | None = None) -> NDArray[np.uint8]:
    """The control image of the ControlNets trained on ZoeDepth: affine in z itself, near = white.

    The same arguments, shapes and errors as `depth_to_controlnet`. As in ZoeDepth's annotator, near and far default
    to the 2nd and the 85th percentile of the finite depths; what lies beyond is clipped.
    """
    z = check_depth(depth)
    seen = z[np.isfinite(z)]
    if seen.size:
        near = float(np.percentile(seen, 2)) if near is None else near
        far = max(float(np.percentile(seen, 85)), near) if far is None else far
    lower, upper = _ends(z, near, far)
    if not math.isfinite(upper):
        raise ValueError("far is inf; a picture that is affine in z needs a finite far depth")
    grey = (upper - z.astype(np.float64)) / (upper - lower) if upper > lower else np.where(z <= upper, 1.0, 0.0)
    return _grey(grey)


def _ends(z: Depth, near: float | None, far: float | None) -> tuple[float, float]:
    seen = z[np.isfinite(z)]
    lower = (float(seen.min()) if seen.size else 1.0) if near is None else float(near)
    upper = (max(float(seen.max()), lower) if seen.size else lower) if far is None else float(far)
    if not (0 < lower <= upper and math.isfinite(lower)):
        raise ValueError(f"near is {lower:g} and far is {upper:g}; there must be 0 < near <= far, near finite")
    return lower, upper


def _grey(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    grey = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
