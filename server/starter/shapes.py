"""The solids of the starter's scenes, each made of a few of `tracing`'s primitives, with sizes drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from server.starter import tracing

Matrix = NDArray[np.float64]


@dataclass
class Part:
    """One primitive in its solid's axes: `centre` (3,), `to_local` (3, 3), its bounding radius and parameters."""

    kind: int
    centre: tuple[float, float, float]
    bound: float
    parameters: list[float] = field(default_factory=list)
    to_local: Matrix = field(default_factory=lambda: np.eye(3))


@dataclass
class Solid:
    """A body around its middle, y up: a sphere of `radius` holds it, and it stands at y = -`below`."""

    parts: list[Part]
    radius: float
    below: float


def solid(shape: str, rng: Random, lying: bool = False) -> Solid:
    """One of `words.SHAPES`, upright, or `lying` on its side where that keeps its name (else it stands too)."""
    made = _SHAPES[shape](rng)
    turn = _LYING.get(shape)
    if not lying or turn is None:
        return made
    rotation = turned("z", turn)
    parts = [
        Part(p.kind, _vector(rotation @ p.centre), p.bound, p.parameters, p.to_local @ rotation.T) for p in made.parts
    ]
    return Solid(parts, made.radius, _lying_below(made))


def turned(axis: str, angle: float) -> Matrix:
    """The right-handed rotation (3, 3) about a coordinate axis by `angle` in radians."""
    c, s = math.cos(angle), math.sin(angle)
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return np.array(rows[axis])


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _ellipsoid(x: float, y: float, z: float) -> Part:
    return Part(tracing.SPHERE, (0, 0, 0), max(x, y, z), to_local=np.diag([1 / x, 1 / y, 1 / z]))


def _block(half: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)) -> Part:
    return Part(tracing.BOX, centre, math.dist(half, (0, 0, 0)), to_local=np.diag([1 / s for s in half]))


def _slice(half: float, bottom: float, top: float, centre: tuple[float, float, float] = (0, 0, 0)) -> Part:
    return Part(tracing.FRUSTUM, centre, math.hypot(half, max(bottom, top)), [half, bottom, top])


def _sphere(_: Random) -> Solid:
    return Solid([_ellipsoid(1, 1, 1)], 1.0, 1.0)


def _cube(_: Random) -> Solid:
    return Solid([_block((0.62, 0.62, 0.62))], 1.02, 0.62)


def _cylinder(rng: Random) -> Solid:
    half, radius = rng.uniform(0.45, 0.95), rng.uniform(0.4, 0.65)
    return Solid([_slice(half, radius, radius)], math.hypot(half, radius), half)


def _cone(rng: Random) -> Solid:
    half, radius = rng.uniform(0.6, 0.95), rng.uniform(0.5, 0.8)
    return Solid([_slice(half, radius, 0.0)], math.hypot(half, radius), half)


def _torus(rng: Random) -> Solid:
    tube = rng.uniform(0.18, 0.32)
    ring = 1 - tube
    return Solid([Part(tracing.TORUS, (0, 0, 0), 1.02, [ring, tube])], 1.0, tube)


def _capsule(rng: Random) -> Solid:
    half, radius = rng.uniform(0.4, 0.7), rng.uniform(0.28, 0.42)
    part = Part(tracing.ROUND_CONE, (0, 0, 0), half + radius + 0.01, [half, radius, radius])
    return Solid([part], half + radius, half + radius)


def _terrain(rng: Random) -> Solid:
    radius, relief = rng.uniform(5.0, 7.0), rng.uniform(0.7, 1.6)
    numbers, slope = [], 0.0
    for i in range(tracing.WAVES):
        wave_number = 0.55 * 1.42**i * rng.uniform(0.85, 1.2)
        amplitude = relief * 0.5 * (0.55 / wave_number) ** rng.uniform(1.15, 1.35)
        angle = rng.uniform(0, 2 * math.pi)
        numbers += [amplitude, wave_number * math.cos(angle), wave_number * math.sin(angle), rng.uniform(0, 6.283)]
        slope += (amplitude * wave_number) ** 2
    # Waves rarely add up: three times the root mean square slope bounds all but a few needles of it.
    parameters = [radius, 0.45 * relief, 0.5 + 2.1 * math.sqrt(slope / 2), *numbers]
    return Solid([Part(tracing.TERRAIN, (0, 0, 0), radius, parameters)], radius, 0.0)


def _arch(rng: Random) -> Solid:
    half_width, half_height, half_depth = rng.uniform(0.65, 0.85), rng.uniform(0.6, 0.85), rng.uniform(0.15, 0.4)
    gate = half_width * rng.uniform(0.52, 0.72)
    spring = half_height - gate - rng.uniform(0.12, 0.25) * half_height
    bound = math.hypot(half_width, half_height, half_depth)
    part = Part(tracing.ARCH, (0, 0, 0), bound, [half_width, half_height, half_depth, gate, spring])
    return Solid([part], bound, half_height)


def _stairs(rng: Random) -> Solid:
    steps = rng.randint(4, 6)
    half_width, rise, tread = rng.uniform(0.5, 0.8), rng.uniform(0.2, 0.26), rng.uniform(0.26, 0.36)
    half_height, half_depth = steps * rise / 2, steps * tread / 2
    parts = [
        _block(
            (half_width, rise / 2, (steps - i) * tread / 2),
            (0.0, -half_height + (i + 0.5) * rise, -half_depth + (steps - i) * tread / 2),
        )
        for i in range(steps)
    ]
    return Solid(parts, math.hypot(half_width, half_height, half_depth), half_height)


def _table(rng: Random) -> Solid:
    half_width, half_depth = rng.uniform(0.75, 0.95), rng.uniform(0.5, 0.75)
    half_height, board, leg = rng.uniform(0.42, 0.6), rng.uniform(0.05, 0.09), rng.uniform(0.05, 0.09)
    middle = -board
    if rng.random() < 0.35:
        half_depth = half_width
        parts = [_slice(board, half_width, half_width, (0.0, half_height - board, 0.0))]
        inset = 0.62 * half_width
        places = [(sx * inset, middle, sz * inset) for sx in (-1, 1) for sz in (-1, 1)]
    else:
        parts = [_block((half_width, board, half_depth), (0.0, half_height - board, 0.0))]
        x, z = half_width - leg * 1.3, half_depth - leg * 1.3
        places = [(sx * x, middle, sz * z) for sx in (-1, 1) for sz in (-1, 1)]
    half_leg = half_height - board
    square = rng.random() < 0.5
    for place in places:
        parts.append(_block((leg, half_leg, leg), place) if square else _slice(half_leg, leg * 0.8, leg, place))
    return Solid(parts, math.hypot(half_width, half_height, half_depth), half_height)


def _vase(rng: Random) -> Solid:
    half, belly = rng.uniform(0.75, 0.95), rng.uniform(0.45, 0.68)
    low = rng.random() < 0.5
    knots = [
        belly * rng.uniform(0.45, 0.7),
        belly * (1.0 if low else 0.82),
        belly * (0.85 if low else 1.0),
        belly * rng.uniform(0.32, 0.6),
        belly * rng.uniform(0.5, 0.85),
    ]
    profile = np.linalg.solve(np.vander(np.linspace(-1, 1, 5), increasing=True), np.array(knots))
    widest = np.polynomial.polynomial.polyval(np.linspace(-1, 1, 41), profile).max()
    bound = math.hypot(half, float(widest))
    return Solid([Part(tracing.VASE, (0, 0, 0), bound, [half, *profile.tolist(), 0.05])], bound, half)


_SHAPES = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "capsule": _capsule,
    "terrain": _terrain,
    "arch": _arch,
    "stairs": _stairs,
    "table": _table,
    "vase": _vase,
}

#: Shapes that are still themselves after a turn about z by so much: they lie (a torus then stands upright).
_LYING = {"cylinder": math.pi / 2, "capsule": math.pi / 2, "torus": math.pi / 2}


def _lying_below(upright: Solid) -> float:
    """How far a lying solid reaches below its middle."""
    part = upright.parts[0]
    if part.kind == tracing.TORUS:
        return part.parameters[0] + part.parameters[1]
    return part.parameters[1]
