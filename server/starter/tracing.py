"""Where rays meet simple solids: the geometry of the starter's pictures, batched over pictures and pixels.

A picture has a few *primitives*. Each is a canonical body in its own local axes (y up), placed by an affine map,
and bounded by a sphere. `trace` first finds, for all pairs of primitive and ray at once, which bounding spheres
are met (two operations a pair), and runs the exact intersection on those pairs alone. A distance `t` is in units
of the ray's direction: camera rays have a direction whose camera z is 1, so that their t *is* the depth.

Quadrics and boxes are solved in closed form. Bodies without one (torus, vase, arch, terrain) are marched along
their distance bound and polished by Newton steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

SPHERE, BOX, FRUSTUM, ROUND_CONE, TORUS, VASE, ARCH, TERRAIN = range(8)
#: Numbers that describe a body, beyond its placement; see each body's function.
PARAMETERS = 35
#: A terrain's waves: (amplitude, wave number x, wave number z, phase) each, after its three other numbers.
WAVES = 8
#: Hits nearer than this are a ray leaving the surface that it starts on.
NEAREST = 1e-3


@dataclass
class Primitives:
    """b pictures of up to k primitives each.

    kind: (b, k) int64, one of this module's kinds, -1 where a picture has fewer.
    to_local: (b, k, 3, 3), world directions to local ones; local = to_local @ (world - centre).
    centre: (b, k, 3), world.
    bound: (b, k), radius of a sphere around `centre` that holds the body.
    parameters: (b, k, PARAMETERS).
    surface: (b, k) int64, which of the picture's surfaces the body carries.
    """

    kind: Tensor
    to_local: Tensor
    centre: Tensor
    bound: Tensor
    parameters: Tensor
    surface: Tensor

    def to(self, device: torch.device | str) -> Primitives:
        """The same on another device."""
        return Primitives(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass
class Hits:
    """Where b pictures' n rays meet their first surface.

    t: (b, n), +inf where nothing is met.
    normal: (b, 3, n), world, unit length, zero where nothing is met.
    surface: (b, n) int64, -1 where nothing is met.
    primitive: (b, n) int64, -1 where nothing is met.
    """

    t: Tensor
    normal: Tensor
    surface: Tensor
    primitive: Tensor


def trace(primitives: Primitives, origin: Tensor, directions: Tensor) -> Hits:
    """The first hits of rays that share one origin in each picture.

    origin: (b, 3). directions: (b, 3, n), of any length.
    """
    b, _, n = directions.shape
    to_centre = primitives.centre - origin[:, None]  # (b, k, 3)
    square = to_centre.square().sum(-1)
    # A sphere is met where the angle between ray and centre is less than the sphere's angular radius.
    along = to_centre @ (directions * directions.square().sum(1, keepdim=True).rsqrt())
    least = (square - primitives.bound.square()).clamp(min=0).sqrt()
    least = torch.where(square < primitives.bound.square(), -torch.inf, least)
    least = torch.where(primitives.kind < 0, torch.inf, least)
    picture, slot, ray = (along >= least[..., None]).nonzero(as_tuple=True)
    rays = directions.permute(1, 0, 2).reshape(3, -1)[:, picture * n + ray]
    t, normal = _intersect(primitives, picture, slot, origin.T[:, picture], rays)

    key = picture * n + ray
    first = torch.full((b * n,), torch.inf, device=t.device)
    first.scatter_reduce_(0, key, t, "amin")
    won = (t == first[key]) & torch.isfinite(t)
    # Of equal hits the last primitive wins, on every device alike.
    winner = torch.full((b * n,), -1, dtype=torch.long, device=t.device)
    winner.scatter_reduce_(0, key[won], slot[won], "amax")
    won &= winner[key] == slot
    normals = torch.zeros(3, b * n, device=t.device)
    normals[:, key[won]] = normal[:, won]
    winner = winner.view(b, n)
    surface = torch.where(winner < 0, -1, primitives.surface.gather(1, winner.clamp(min=0)))
    return Hits(first.view(b, n), normals.view(3, b, n).transpose(0, 1), surface, winner)


def occluded(primitives: Primitives, points: Tensor, direction: Tensor, wanted: Tensor) -> Tensor:
    """Which points are in shadow of a light that lies infinitely far in one direction.

    points: (b, 3, n), world. direction: (b, 3), unit, toward the light. wanted: (b, n) bool, the points that
    matter. Returns (b, n) bool, False where not wanted.
    """
    b, _, n = points.shape
    # Seen along the light, spheres are discs: which points lie behind which disc?
    axes = _perpendicular(direction)  # (b, 2, 3)
    flat_points = axes @ points
    flat_centres = primitives.centre @ axes.transpose(1, 2)
    across = flat_points.square().sum(1)[:, None] + flat_centres.square().sum(-1)[..., None]
    across = torch.baddbmm(across, flat_centres, flat_points, alpha=-2)
    reach = (primitives.centre * direction[:, None]).sum(-1) + primitives.bound
    ahead = reach[..., None] > (direction[:, None] @ points)
    there = (primitives.kind >= 0)[..., None] & wanted[:, None]
    within = across <= primitives.bound.square()[..., None] + 1e-4
    picture, slot, ray = (within & ahead & there).nonzero(as_tuple=True)
    origins = points.permute(1, 0, 2).reshape(3, -1)[:, picture * n + ray]
    t, _ = _intersect(primitives, picture, slot, origins, direction.T[:, picture])
    shadow = torch.zeros(b * n, dtype=torch.bool, device=points.device)
    shadow[(picture * n + ray)[torch.isfinite(t)]] = True
    return shadow.view(b, n)


# -- one pair of primitive and ray in each column


def _intersect(
    primitives: Primitives, picture: Tensor, slot: Tensor, origins: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """For r pairs, origins and directions (3, r) in world axes: t (r,) and world normals (3, r)."""
    pair = picture * primitives.kind.shape[1] + slot
    t = torch.full((pair.numel(),), torch.inf, device=origins.device)
    normal = torch.zeros(3, pair.numel(), device=origins.device)
    kinds = primitives.kind.flatten()[pair]
    for kind, body in enumerate(_BODIES):
        rows = (kinds == kind).nonzero().squeeze(1)
        if not rows.numel():
            continue
        which = pair[rows]
        matrix = primitives.to_local.flatten(0, 1)[which]  # (r, 3, 3)
        offset = origins[:, rows] - primitives.centre.flatten(0, 1)[which].T
        local_origin = torch.einsum("rij,jr->ir", matrix, offset)
        local_direction = torch.einsum("rij,jr->ir", matrix, directions[:, rows])
        parameters = primitives.parameters.flatten(0, 1)[which].T
        bound = primitives.bound.flatten()[which]
        hit, local_normal = body(local_origin, local_direction, parameters, bound)
        world = torch.einsum("rij,ir->jr", matrix, local_normal)
        t[rows] = hit
        normal[:, rows] = world * (world * world).sum(0).clamp(min=1e-24).rsqrt()
    return t, normal


Body = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _sphere(o: Tensor, d: Tensor, _: Tensor, __: Tensor) -> tuple[Tensor, Tensor]:
    """The unit sphere; ellipsoids come from the placement."""
    a, half, c = (d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1
    t = _first_root(a, half, c)
    return t, o + torch.where(torch.isfinite(t), t, 0) * d


def _first_root(a: Tensor, half: Tensor, c: Tensor) -> Tensor:
    """The entry into a convex quadric a t² + 2 half t + c = 0, +inf without one."""
    disc = half * half - a * c
    t = (-half - disc.clamp(min=0).sqrt()) / a
    return torch.where((disc > 0) & (t > NEAREST), t, torch.inf)


def _box(o: Tensor, d: Tensor, _: Tensor, __: Tensor) -> tuple[Tensor, Tensor]:
    """The cube from -1 to 1; boxes come from the placement. Slab method."""
    inverse = 1 / torch.where(d.abs() < 1e-8, 1e-8, d)
    middle, half = -o * inverse, inverse.abs()
    enter, leave = middle - half, middle + half
    near, far = enter.amax(0), leave.amin(0)
    t = torch.where((near < far) & (near > NEAREST), near, torch.inf)
    return t, torch.where(enter == near, -d.sign(), 0)


def _frustum(o: Tensor, d: Tensor, p: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """A cone's slice around y: p[0] half its height, p[1] the radius at the bottom, p[2] at the top."""
    h, bottom, top = p[0], p[1], p[2]
    side, side_normal = _cone_side(o, d, bottom, top, -h, h)
    t, normal = side, side_normal
    for end, radius in ((-1.0, bottom), (1.0, top)):
        dy = torch.where(d[1].abs() < 1e-9, 1e-9, d[1])
        cap = (end * h - o[1]) / dy
        x, z = o[0] + cap * d[0], o[2] + cap * d[2]
        cap = torch.where((x * x + z * z <= radius * radius) & (cap > NEAREST), cap, torch.inf)
        cap_normal = torch.zeros_like(normal)
        cap_normal[1] = end
        normal = torch.where(cap < t, cap_normal, normal)
        t = torch.minimum(t, cap)
    return t, normal


def _cone_side(o: Tensor, d: Tensor, bottom: Tensor, top: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The first hit on the side of a cone around y whose radius goes from `bottom` at `low` to `top` at `high`."""
    slope = (top - bottom) / (high - low).clamp(min=1e-6)
    radius = bottom + slope * (o[1] - low)
    a = d[0] * d[0] + d[2] * d[2] - (slope * d[1]).square()
    half = o[0] * d[0] + o[2] * d[2] - radius * slope * d[1]
    c = o[0] * o[0] + o[2] * o[2] - radius * radius
    disc = half * half - a * c
    root = disc.clamp(min=0).sqrt()
    a = torch.where(a.abs() < 1e-7, 1e-7, a)
    t = torch.full_like(a, torch.inf)
    for sign in (-1.0, 1.0):
        at = (-half + sign * root) / a
        y = o[1] + at * d[1]
        good = (disc > 0) & (at > NEAREST) & (y >= low) & (y <= high) & (at < t)
        t = torch.where(good, at, t)
    at = torch.where(torch.isfinite(t), t, 0)
    x, y, z = o + at * d
    return t, torch.stack([x, -slope * (bottom + slope * (y - low)), z])


def _round_cone(o: Tensor, d: Tensor, p: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """Two spheres around y and their common tangent cone: the centres at ±p[0], radii p[1] (bottom), p[2] (top)."""
    h, bottom, top = p[0], p[1], p[2]
    # The cone touches the spheres where their normals lean by the angle whose sine is the slope of the radii.
    sine = ((bottom - top) / (2 * h).clamp(min=1e-6)).clamp(-0.999, 0.999)
    cosine = (1 - sine * sine).sqrt()
    t, normal = _cone_side(o, d, bottom * cosine, top * cosine, -h + bottom * sine, h + top * sine)
    a = (d * d).sum(0)
    for end, radius in ((-h, bottom), (h, top)):
        q = torch.stack([o[0], o[1] - end, o[2]])
        ball = _first_root(a, (q * d).sum(0), (q * q).sum(0) - radius * radius)
        at = q + torch.where(torch.isfinite(ball), ball, 0) * d
        normal = torch.where(ball < t, at, normal)
        t = torch.minimum(t, ball)
    return t, normal


# -- bodies that are marched: signed distance bounds of local points (3, …) -> (…)


def _torus_distance(x: Tensor, p: Tensor) -> Tensor:
    """Around y: p[0] the ring's radius, p[1] the tube's."""
    ring = (x[0] * x[0] + x[2] * x[2]).sqrt() - p[0]
    return (ring * ring + x[1] * x[1]).sqrt() - p[1]


def vase_radius(height: Tensor, p: Tensor) -> Tensor:
    """The radius of a vase at `height` from -1 (foot) to 1 (rim): the polynomial with the coefficients p[1:6]."""
    u = height.clamp(-1, 1)
    return p[1] + u * (p[2] + u * (p[3] + u * (p[4] + u * p[5])))


def _vase_distance(x: Tensor, p: Tensor) -> Tensor:
    """A hollow lathe body around y: p[0] half its height, p[1:6] its profile, p[6] its wall."""
    h = p[0]
    radius = vase_radius(x[1] / h, p)
    rho = (x[0] * x[0] + x[2] * x[2]).sqrt()
    outer = torch.maximum((rho - radius) * 0.6, x[1].abs() - h)
    inner = torch.maximum((rho - radius + p[6]) * 0.6, -h + 2 * p[6] - x[1])
    return torch.maximum(outer, -inner)


def _arch_distance(x: Tensor, p: Tensor) -> Tensor:
    """A wall with a round-topped gate: half sizes p[0:3], the gate's half width p[3] and its spring height p[4]."""
    wall = (x.abs() - p[0:3]).amax(0)
    up = (x[1] - p[4]).clamp(min=0)
    gate = (x[0] * x[0] + up * up).sqrt() - p[3]
    return torch.maximum(wall, -gate)


def terrain_height(x: Tensor, z: Tensor, p: Tensor) -> Tensor:
    """Hills of `WAVES` waves that fall to 0 at the radius p[0]; p[1] lifts them, p[2] is their steepest slope."""
    waves = p[3:].unflatten(0, (WAVES, 4))
    amplitude, kx, kz, phase = waves.unbind(1)
    sum_of_waves = (amplitude * torch.sin(kx * x + kz * z + phase)).sum(0)
    edge = (1 - (x * x + z * z) / (p[0] * p[0])).clamp(min=0)
    hills = sum_of_waves + p[1]
    # Valleys end softly above the ground.
    return (hills + (hills * hills + 0.15).sqrt()) / 2 * edge


def _terrain_distance(x: Tensor, p: Tensor) -> Tensor:
    return (x[1] - terrain_height(x[0], x[2], p)) / (1 + p[2] * p[2]).sqrt()


def _march(distance: Callable[[Tensor, Tensor], Tensor], numbers: int, steps: int) -> Body:
    """A body from its distance bound and how many parameters that takes; its local axes keep lengths."""

    def body(o: Tensor, d: Tensor, p: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
        p = p[:numbers]
        square = (d * d).sum(0)
        pace = square.rsqrt()
        half, c = (o * d).sum(0), (o * o).sum(0) - bound * bound
        disc = (half * half - square * c).clamp(min=0).sqrt()
        leave = (-half + disc) / square
        at = ((-half - disc) / square).clamp(min=NEAREST)
        t = torch.full_like(at, torch.inf)
        live = torch.arange(at.numel(), device=at.device)
        # Rays that have hit or left stand still, and are dropped every few steps.
        now = (o, d, p, at, leave, pace)
        for step in range(steps):
            oo, dd, pp, at, end, speed = now
            gap = distance(oo + at * dd, pp)
            near = gap < 2e-4 * (1 + at)
            at = torch.where(near | (at > end), at, at + gap * speed)
            now = (oo, dd, pp, at, end, speed)
            if step % 6 == 5 or step == steps - 1:
                hit = near & (at <= end)
                t[live[hit]] = at[hit]
                keep = (~near & (at <= end)).nonzero().squeeze(1)
                if not keep.numel():
                    break
                live = live[keep]
                now = tuple(v[..., keep] for v in now)
        rows = torch.isfinite(t).nonzero().squeeze(1)
        normal = torch.zeros_like(o)
        oh, dh, ph, at = o[:, rows], d[:, rows], p[:, rows], t[rows]
        slope = (_gradient(distance, oh + at * dh, ph) * dh).sum(0)
        for _ in range(2):
            gap = distance(oh + at * dh, ph)
            # A Newton step; where the ray only grazes, the slope says nothing.
            at = at - torch.where(slope.abs() * pace[rows] > 0.05, gap / slope, 0).clamp(-5e-3, 5e-3)
        t[rows] = at
        normal[:, rows] = _gradient(distance, oh + at * dh, ph)
        return torch.where(t > NEAREST, t, torch.inf), normal

    return body


def _gradient(distance: Callable[[Tensor, Tensor], Tensor], x: Tensor, p: Tensor, e: float = 1e-3) -> Tensor:
    """Central differences (3, r)."""
    parts = []
    for axis in range(3):
        shift = torch.zeros(3, 1, device=x.device)
        shift[axis] = e
        parts.append((distance(x + shift, p) - distance(x - shift, p)) / (2 * e))
    return torch.stack(parts)


_BODIES: tuple[Body, ...] = (
    _sphere,
    _box,
    _frustum,
    _round_cone,
    _march(_torus_distance, 2, 36),
    _march(_vase_distance, 7, 60),
    _march(_arch_distance, 5, 48),
    _march(_terrain_distance, PARAMETERS, 60),
)


def _perpendicular(direction: Tensor) -> Tensor:
    """Two unit vectors (b, 2, 3) perpendicular to unit directions (b, 3) and to one another."""
    other = torch.zeros_like(direction)
    other.scatter_(1, direction.abs().argmin(1, keepdim=True), 1.0)
    first = torch.linalg.cross(direction, other)
    first = first / first.norm(dim=1, keepdim=True)
    return torch.stack([first, torch.linalg.cross(direction, first)], dim=1)
