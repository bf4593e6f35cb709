"""Light, shadow, texture and sky: from a stage of primitives to pictures with exact labels.

Labels are taken at the pixels' centres, unfiltered. Colours are computed there too, and again with four rays a
pixel wherever neighbouring pixels see different surfaces or sharply different normals, so that outlines are smooth
at a fraction of the cost of supersampling everything.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from server.starter.tracing import NEAREST, Hits, Primitives, occluded, trace

#: The ground ends here, in scene units from the camera; beyond it is sky.
GROUND_REACH = 60.0
GROUND = 0
#: Where an edge's four rays go, in pixels from the centre: a turned grid, so that every slope of edge gains.
_SUBPIXELS = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375))


@dataclass
class Surfaces:
    """What b pictures' m surfaces look like; surface 0 is the ground.

    color: (b, m, 3), linear light. texture: (b, m) int64, an index into the textures, -1 for none.
    tile: (b, m), side of one texture tile in scene units. gloss, metal: (b, m) in [0, 1].
    frame: (b, m, 3, 3), world to texture axes; origin: (b, m, 3), world.
    """

    color: Tensor
    texture: Tensor
    tile: Tensor
    gloss: Tensor
    metal: Tensor
    frame: Tensor
    origin: Tensor


@dataclass
class Stage:
    """b pictures before they are taken. Colours are linear light.

    eye: (b, 3). view: (b, 3, 3), rows right, down, forward: world to camera (OpenCV axes). focal: (b,), in
    picture heights. sun: (b, 3), unit, toward the light. sunlight, ambient: (b, 3). softness: (b,), the shadow's
    blur as a part of the picture. sky_low, sky_high: (b, 3), at the horizon and above. ground: (b,) bool.
    haze: (b,), how fast what lies behind the subject takes the horizon's colour, per scene unit.
    middle: (b, 3) and girth: (b,), a sphere around the subject that darkens the ground under it.
    """

    primitives: Primitives
    surfaces: Surfaces
    eye: Tensor
    view: Tensor
    focal: Tensor
    sun: Tensor
    sunlight: Tensor
    ambient: Tensor
    softness: Tensor
    sky_low: Tensor
    sky_high: Tensor
    ground: Tensor
    haze: Tensor
    middle: Tensor
    girth: Tensor

    def part(self, which: slice, device: torch.device | str) -> Stage:
        """Some of the pictures, on a device."""
        part: Stage = _part(self, which, device)
        return part


@dataclass
class Rendering:
    """image: (b, 3, h, w) sRGB. depth: (b, h, w). normals: (b, 3, h, w) x right, y up, z to the viewer.

    surface: (b, h, w) int64, -1 for the sky.
    """

    image: Tensor
    depth: Tensor
    normals: Tensor
    surface: Tensor


class Textures:
    """Seamless tiles with their halvings, for sampling at any footprint."""

    def __init__(self, tiles: Tensor) -> None:
        """tiles: (t, 3, s, s), sRGB in [0, 1], s a power of two."""
        linear = tiles.clamp(0, 1) ** 2.2
        self.size = tiles.shape[-1]
        self.levels = self.size.bit_length()
        pyramid = [linear]
        while pyramid[-1].shape[-1] > 1:
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        self._texels = torch.cat([level.flatten(2) for level in pyramid], dim=2).transpose(1, 2).contiguous()
        starts = [0]
        for level in pyramid[:-1]:
            starts.append(starts[-1] + level.shape[-1] ** 2)
        self._starts = torch.tensor(starts, device=tiles.device)

    def sample(self, which: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
        """Linear colours (r, 3) of texture `which` (r,) at u, v (r,) in tiles; footprint (r,) in tiles a pixel."""
        level = (footprint * self.size).clamp(min=1).log2().add(0.35).floor().long().clamp(0, self.levels - 1)
        side = self.size >> level
        base = which * self._texels.shape[1] + self._starts[level]
        texels = self._texels.view(-1, 3)
        x, y = (u - u.floor()) * side - 0.5, (v - v.floor()) * side - 0.5
        x0, y0 = x.floor(), y.floor()
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        # A side is a power of two: wrapping round is a mask.
        x0, y0 = x0.long() & (side - 1), y0.long() & (side - 1)
        x1, y1 = (x0 + 1) & (side - 1), (y0 + 1) & (side - 1)
        row0, row1 = base + y0 * side, base + y1 * side
        top = texels[row0 + x0].lerp(texels[row0 + x1], fx)
        bottom = texels[row1 + x0].lerp(texels[row1 + x1], fx)
        return top.lerp(bottom, fy)


def render(stage: Stage, size: int, textures: Textures | None, device: torch.device | str) -> Rendering:
    """Square pictures of `size` pixels of every picture of a stage (which may lie on another device)."""
    # On a CPU a few pictures at a time stay in the cache; an accelerator wants them many at a time.
    at_once = 64 if torch.device(device).type != "cpu" else max(1, 65536 // (size * size))
    count = stage.eye.shape[0]
    parts = [
        _render(stage.part(slice(i, min(i + at_once, count)), device), size, textures) for i in range(0, count, at_once)
    ]
    return Rendering(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Rendering)))


def srgb(linear: Tensor) -> Tensor:
    """Linear light to display values (gamma 2.2), clipped to [0, 1]."""
    return linear.clamp(0, 1) ** (1 / 2.2)


def _part(value: Any, which: slice, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value[which].to(device)
    return type(value)(*(_part(getattr(value, f.name), which, device) for f in fields(value)))


def _render(stage: Stage, size: int, textures: Textures | None) -> Rendering:
    b, device = stage.eye.shape[0], stage.eye.device
    centres = (torch.arange(size, device=device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    x, y = x.flatten().expand(b, -1), y.flatten().expand(b, -1)
    directions = _directions(stage, x, y)
    hits = _with_ground(stage, directions, trace(stage.primitives, stage.eye, directions))
    light = _light(stage, directions, hits, size)
    color = _shade(stage, directions, hits, light, size, textures)

    edge = _edges(hits, size)
    most = int(edge.sum(1).amax())
    if most:
        # Each picture takes as many pixels again as the one with the most edges; the surplus is edge-free.
        pixel = edge.to(torch.uint8).topk(most, dim=1).indices
        dx, dy = (torch.tensor(_SUBPIXELS, device=device) / size).view(1, 4, 1, 2).unbind(-1)
        sub_x, sub_y = (x.gather(1, pixel)[:, None] + dx).flatten(1), (y.gather(1, pixel)[:, None] + dy).flatten(1)
        rays = _directions(stage, sub_x, sub_y)
        sub = _with_ground(stage, rays, trace(stage.primitives, stage.eye, rays))
        lit = _light(stage, rays, sub, size, blur=False)
        fine = srgb(_shade(stage, rays, sub, lit, size, textures)).view(b, 3, 4, most).mean(2)
        image = srgb(color).scatter(2, pixel[:, None].expand(-1, 3, -1), fine)
    else:
        image = srgb(color)

    camera = torch.einsum("bij,bjn->bin", stage.view, hits.normal)
    flip = torch.tensor([1.0, -1.0, -1.0], device=device).view(1, 3, 1)
    return Rendering(
        image.view(b, 3, size, size),
        hits.t.view(b, size, size),
        (camera * flip).view(b, 3, size, size),
        hits.surface.view(b, size, size),
    )


def _directions(stage: Stage, x: Tensor, y: Tensor) -> Tensor:
    """World directions (b, 3, n), camera z = 1, of picture positions x, y (b, n) in [-0.5, 0.5]."""
    focal = stage.focal[:, None]
    return torch.einsum("bij,bin->bjn", stage.view, torch.stack([x / focal, y / focal, torch.ones_like(x)], dim=1))


def _with_ground(stage: Stage, directions: Tensor, hits: Hits) -> Hits:
    """The hits with the plane y = 0 where a picture has a ground."""
    down = directions[:, 1]
    t = -stage.eye[:, 1:2] / torch.where(down.abs() < 1e-6, -1e-6, down)
    met = stage.ground[:, None] & (down < 0) & (t < GROUND_REACH) & (t < hits.t)
    normal = torch.where(met[:, None], torch.tensor([0.0, 1.0, 0.0], device=t.device).view(1, 3, 1), hits.normal)
    return Hits(
        torch.where(met, t, hits.t),
        normal,
        torch.where(met, GROUND, hits.surface),
        torch.where(met, -1, hits.primitive),
    )


def _light(stage: Stage, directions: Tensor, hits: Hits, size: int, blur: bool = True) -> Tensor:
    """How much of the sun reaches each hit, (b, n) in [0, 1], the angle to the surface not counted."""
    t = torch.where(torch.isfinite(hits.t), hits.t, 0)
    points = stage.eye[:, :, None] + directions * t[:, None]
    points = points + hits.normal * (3 * NEAREST * (1 + t[:, None]))
    facing = (hits.normal * stage.sun[:, :, None]).sum(1) > 0
    light = (~occluded(stage.primitives, points, stage.sun, facing & (hits.surface >= 0))).float()
    if not blur:
        return light
    # A penumbra by smoothing within one surface: the sides of a solid must not bleed into the ground.
    grid = light.view(-1, 1, size, size)
    ground = (hits.surface == GROUND).float().view(-1, 1, size, size)
    for i, softness in enumerate((stage.softness * size).round().long().tolist()):
        if softness < 1:
            continue
        kernel = 2 * softness + 1

        def smooth(values: Tensor, kernel: int = kernel, pad: int = softness) -> Tensor:
            once = F.avg_pool2d(values, kernel, 1, pad, count_include_pad=False)
            return F.avg_pool2d(once, kernel, 1, pad, count_include_pad=False)

        mask = ground[i : i + 1]
        soft = smooth(grid[i : i + 1] * mask) / smooth(mask).clamp(min=1e-4)
        grid[i : i + 1] = torch.where(mask > 0, soft, grid[i : i + 1])
    return grid.view(light.shape)


def _shade(stage: Stage, directions: Tensor, hits: Hits, light: Tensor, size: int, textures: Textures | None) -> Tensor:
    """Linear colours (b, 3, n)."""
    there = hits.surface >= 0
    surface = hits.surface.clamp(min=0)
    look = directions * directions.square().sum(1, keepdim=True).rsqrt()
    sky = _sky(stage, look)
    t = torch.where(there, hits.t, 0)
    points = stage.eye[:, :, None] + directions * t[:, None]
    normal = hits.normal
    albedo = stage.surfaces.color.transpose(1, 2).gather(2, surface[:, None].expand(-1, 3, -1))
    if textures is not None:
        albedo = _textured(stage, albedo, points, normal, surface, there, t, size, textures)
    gloss, metal = stage.surfaces.gloss.gather(1, surface)[:, None], stage.surfaces.metal.gather(1, surface)[:, None]

    towards = (normal * stage.sun[:, :, None]).sum(1, keepdim=True).clamp(min=0)
    lit = towards * light[:, None]
    # Light from above and, weaker, back from the ground.
    around = 0.72 + 0.28 * normal[:, 1:2]
    shade = _contact(stage, points, normal)[:, None]
    diffuse = stage.sunlight[:, :, None] * lit + stage.ambient[:, :, None] * around * shade

    mirror = look - 2 * (look * normal).sum(1, keepdim=True) * normal
    half_angle = (mirror * stage.sun[:, :, None]).sum(1, keepdim=True).clamp(min=0)
    spark = (half_angle**40 * 0.9 + half_angle**8 * 0.15) * light[:, None] * stage.sunlight[:, :, None]
    ground_color = stage.surfaces.color[:, GROUND, :, None] * 0.7
    blend = (mirror[:, 1:2] * 4 + 0.5).clamp(0, 1)
    seen = ground_color + (_sky(stage, mirror) - ground_color) * blend
    reflected = albedo * (0.25 + 0.95 * seen) * shade
    color = albedo * diffuse * (1 - 0.6 * metal) + metal * 0.6 * reflected
    color = color + gloss * spark * (metal * albedo + (1 - metal) * 0.45)

    behind = (t - (stage.middle - stage.eye).square().sum(1, keepdim=True).sqrt()).clamp(min=0)
    haze = torch.exp(-stage.haze[:, None] * behind)[:, None]
    horizon = stage.sky_low[:, :, None]
    return torch.where(there[:, None], horizon + (color - horizon) * haze, sky)


def _sky(stage: Stage, look: Tensor) -> Tensor:
    up = (look[:, 1:2] * 1.8).clamp(0, 1)
    return stage.sky_low[:, :, None] + (stage.sky_high - stage.sky_low)[:, :, None] * up


def _contact(stage: Stage, points: Tensor, normal: Tensor) -> Tensor:
    """What a sphere around the subject leaves of the light from above, on the ground alone."""
    offset = stage.middle[:, :, None] - points
    distance = offset.square().sum(1).clamp(min=1e-3)
    closed = (offset * normal).sum(1).clamp(min=0) * stage.girth[:, None].square() * distance**-1.5
    on_ground = (points[:, 1].abs() < 1e-2) & (normal[:, 1] > 0.99)
    return torch.where(on_ground, 1 - 0.75 * closed.clamp(0, 1), 1)


def _textured(
    stage: Stage,
    albedo: Tensor,
    points: Tensor,
    normal: Tensor,
    surface: Tensor,
    there: Tensor,
    t: Tensor,
    size: int,
    textures: Textures,
) -> Tensor:
    """The albedo with its textures, laid on from three sides and blended by the normal."""
    picture, ray = (there & (stage.surfaces.texture.gather(1, surface) >= 0)).nonzero(as_tuple=True)
    if not picture.numel():
        return albedo
    which = surface[picture, ray]
    frame, origin = stage.surfaces.frame[picture, which], stage.surfaces.origin[picture, which]
    tile = stage.surfaces.tile[picture, which]
    texture = stage.surfaces.texture[picture, which]
    place = torch.einsum("rij,rj->ri", frame, points[picture, :, ray] - origin) / tile[:, None]
    facing = torch.einsum("rij,rj->ri", frame, normal[picture, :, ray])
    weight = facing.abs() ** 6
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
    weight = torch.where(weight < 0.03, 0, weight)
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
    # A pixel's size on the surface; a surface seen aslant is given the mean of its two sides.
    sight = points[picture, :, ray] - stage.eye[picture]
    slant = (normal[picture, :, ray] * sight).sum(1).abs() * sight.square().sum(1).clamp(min=1e-12).rsqrt()
    slant = slant.clamp(min=0.05)
    footprint = t[picture, ray] / (stage.focal[picture] * size) / tile / slant.sqrt()
    color = torch.zeros_like(place)
    for axis, (u, v) in enumerate(((2, 1), (0, 2), (0, 1))):
        rows = (weight[:, axis] > 0).nonzero().squeeze(1)
        if rows.numel():
            # Textures have their rows from the top, walls their y upward.
            v_down = place[rows, v] if axis == 1 else -place[rows, v]
            sampled = textures.sample(texture[rows], place[rows, u], v_down, footprint[rows])
            color.index_add_(0, rows, sampled * weight[rows, axis, None])
    out = albedo.clone()
    out[picture, :, ray] = color
    return out


def _edges(hits: Hits, size: int) -> Tensor:
    """Pixels (b, n) bool whose neighbours see another primitive or a normal that differs by more than 20°."""
    key = torch.where(hits.surface < 0, -2, hits.primitive).view(-1, size, size)
    normal = hits.normal.view(-1, 3, size, size)
    edge = torch.zeros_like(key, dtype=torch.bool)
    across = (key[:, :, 1:] != key[:, :, :-1]) | ((normal[..., 1:] * normal[..., :-1]).sum(1) < 0.94)
    across &= (key[:, :, 1:] >= -1) | (key[:, :, :-1] >= -1)
    down = (key[:, 1:] != key[:, :-1]) | ((normal[:, :, 1:] * normal[:, :, :-1]).sum(1) < 0.94)
    down &= (key[:, 1:] >= -1) | (key[:, :-1] >= -1)
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    return edge.flatten(1)
