"""The recipe of each of the 29 materials: colour and height on a torus, from a base colour, a scale and wear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from server.starter.noise import Torus, smoothstep, unit_range

TAU = 2 * torch.pi


@dataclass
class Ground:
    """What a recipe is given: a torus, and for each of its b pictures a colour, a scale and wear.

    base: (b, 3, 1, 1) sRGB. scale, wear: (b, 1, 1); scale about 1, more is finer; wear in [0, 1].
    """

    torus: Torus
    base: Tensor
    scale: Tensor
    wear: Tensor

    def tone(self, light: Tensor, base: Tensor | None = None) -> Tensor:
        """(b, 3, h, w) the base colour made lighter or darker by light (b, h, w), about -1 to 1."""
        base = self.base if base is None else base
        light = light.unsqueeze(1)
        return base * (1 + 0.35 * light) + 0.04 * light

    def flat(self, r: float, g: float, b: float) -> Tensor:
        """(1, 3, 1, 1) one colour."""
        return torch.tensor((r, g, b), device=self.torus.device).view(1, 3, 1, 1)


@dataclass
class Surface:
    """What a recipe gives back.

    color: (b, 3, h, w) sRGB without light. height: (b, h, w) in [0, 1].
    relief: how many pixels high a height of 1 is in a picture of 256 pixels. gloss: strength of the highlight.
    glow: (b, 3, h, w) light of its own, or None.
    """

    color: Tensor
    height: Tensor
    relief: float
    gloss: float = 0.0
    glow: Tensor | None = None


def mix(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Colours a and b, (b, 3, h, w) or smaller, mixed by t (b, h, w)."""
    return a + (b - a) * t.unsqueeze(1)


def contrast_of(base: Tensor) -> Tensor:
    """(b, 3, 1, 1) off-white beside a colour, near black beside a pale one."""
    pale = (base.mean(dim=1, keepdim=True) > 0.68).float()
    return pale * 0.16 + (1 - pale) * 0.93


def brick(g: Ground) -> Surface:
    t = g.torus
    rows = 2 * t.whole(3.2, 4.8, g.scale)
    columns = (rows / t.uniform(1.9, 2.3)).round().clamp(min=2)
    warp = t.noise(8) * 0.0012 * (1 + 2 * g.wear)
    y = (t.v + warp) * rows
    row = y.floor()
    x = (t.u + warp) * columns + 0.5 * row.remainder(2)
    number = t.table(columns, rows, x.floor(), row)
    edge = torch.minimum(_from_edge(x) / columns, _from_edge(y) / rows) + t.noise(24) * 0.0012 * (0.4 + g.wear)
    face = smoothstep(0.006, 0.014, edge)
    rough = t.noise(30, 1.2)
    color = g.tone((number[..., 0] - 0.5) * 1.5 + rough * (0.12 + 0.25 * g.wear) + t.noise(5) * 0.35 * g.wear)
    color = color * (1 + (number[..., 1:2].permute(0, 3, 1, 2) - 0.5) * g.flat(0.02, 0.22, 0.2))
    mortar = g.flat(0.7, 0.68, 0.64) * (1 + 0.07 * t.noise(60, 1.0).unsqueeze(1))
    height = face * (0.75 + 0.12 * (number[..., 2] - 0.5) + 0.05 * rough * (0.5 + g.wear)) + 0.1
    return Surface(mix(mortar, color, face), height, 7)


def cobblestone(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(6, 8, g.scale, 3)
    warp = (t.noise(10) * 0.006, t.noise(10) * 0.006)
    cell = t.cells(n, n, 0.7, warp)
    stone = smoothstep(0.06, 0.42, cell.border)
    dome = stone * (1 - 0.5 * cell.nearest**2)
    rough = t.noise(30, 1.3)
    color = g.tone((cell.random[..., 0] - 0.5) * 1.3 + rough * 0.2 + 0.4 * (dome - 0.5))
    gap = g.flat(0.16, 0.14, 0.11) * (1 + 0.25 * t.noise(50, 1).unsqueeze(1))
    moss = smoothstep(0.3, 1.6, t.noise(4)) * g.wear * smoothstep(0.5, 0.1, cell.border) * 0.8
    color = mix(mix(gap, color, smoothstep(0.03, 0.16, cell.border)), g.flat(0.26, 0.34, 0.12), moss)
    return Surface(color, dome * 0.9 + 0.016 * rough, 16, 0.15)


def wood_planks(g: Ground) -> Surface:
    t = g.torus
    columns = t.whole(4.2, 6.2, g.scale, 2)
    x = t.u * columns
    column = x.floor()
    number = t.table(columns, torch.ones_like(columns), column, torch.zeros_like(column))
    y = t.v + number[..., 0]
    fibre = t.noise(40, 1.3, (1.0, 14.0))
    flow = t.noise(5, 2.0, (1.0, 5.0))
    rings = torch.sin(TAU * (x * 3 + flow * 1.6 + 7 * number[..., 1]))
    joint = (y.remainder(1.0) - 0.5).abs()
    edge = torch.minimum(_from_edge(x) / columns, joint)
    gap = smoothstep(0.0025, 0.0075, edge + 0.001 * flow * g.wear)
    nail = torch.hypot((x - column - 0.5).abs() / columns - 0.22 / columns, joint - 0.022)
    nail = smoothstep(0.0075, 0.0055, nail)
    light = (number[..., 2] - 0.5) * 1.3 + 0.28 * rings + 0.22 * fibre * (0.7 + g.wear) - 0.3 * g.wear * t.noise(6)
    color = mix(g.base * 0.2, g.tone(light), gap)
    color = mix(color, g.flat(0.18, 0.17, 0.17), nail)
    return Surface(color, gap * 0.8 + 0.05 * rings + 0.05 * fibre * (0.5 + g.wear) + 0.05, 6, 0.1)


def wood_grain(g: Ground) -> Surface:
    t = g.torus
    bend = t.noise(2.5, 3.0, (1.0, 3.5))
    knots = t.cells(t.whole(2, 3, g.scale), t.whole(1, 2, g.scale), 0.9, (t.noise(6) * 0.01, t.noise(6) * 0.02))
    around = torch.exp(-((knots.x * 2.2) ** 2 + (knots.y * 1.0) ** 2) * 5)
    lines = t.whole(5, 8, g.scale)
    phase = t.u * lines + bend * 0.9 + around * 2.6
    ring = phase.remainder(1.0)
    late = smoothstep(0.45, 0.95, ring) * smoothstep(1.0, 0.93, ring)
    fibre = t.noise(80, 1.0, (1.0, 20.0))
    light = 0.45 - 1.35 * late + 0.2 * fibre - 0.9 * smoothstep(0.55, 1.0, around) + 0.2 * t.noise(3, 2, (1, 4))
    return Surface(g.tone(light), 0.5 - 0.2 * late + 0.06 * fibre * (0.4 + g.wear), 2.5, 0.25)


def marble(g: Ground) -> Surface:
    t = g.torus
    f = 2.0 * g.scale
    warp_x, warp_y = t.noise(f, 2.2) * 0.07, t.noise(f, 2.2) * 0.07
    veins = torch.zeros_like(warp_x)
    for number, (kx, ky) in enumerate(((1, 2), (2, -1), (3, 2))):
        phase = kx * (t.u + warp_x) + ky * (t.v + warp_y) + t.uniform(0, 1)
        line = 1 - (torch.sin(torch.pi * phase)).abs()
        veins = torch.maximum(veins, line ** (10 + 12 * number) * (1 - 0.2 * number))
    veins = veins * smoothstep(-1.2, 0.8, t.noise(3))
    cloud = t.noise(2.5, 2.5)
    vein = mix(g.flat(0.34, 0.35, 0.38), contrast_of(g.base) * 0.8 + 0.08, torch.ones_like(veins) * 0.5)
    light = 0.16 * cloud + 0.05 * t.noise(20, 1.5) - 0.25 * g.wear * smoothstep(0.2, 1.5, cloud)
    color = mix(g.tone(light), vein, veins * 0.85)
    return Surface(color, 0.5 - 0.15 * veins + 0.02 * cloud, 1.0, 0.35)


def granite(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(40, 52, g.scale)
    cell = t.cells(n, n, 1.0, (t.noise(40) * 0.004, t.noise(40) * 0.004))
    kind, number = cell.random[..., 0], cell.random[..., 1]
    color = g.tone((number - 0.5) * 1.0 + 0.1 * t.noise(4))
    dark = (kind < 0.24).float()
    pale = (kind > 0.74).float()
    color = mix(color, g.base * 0.12 + 0.06, dark * 0.95)
    color = mix(color, g.base * 0.3 + 0.66, pale * (0.6 + 0.4 * number))
    return Surface(color, 0.5 + 0.15 * (number - 0.5), 0.8, 0.3)


def clean_metal(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(1.6, 3.4, g.scale)
    x, y = t.u * n, t.v * n
    edge = torch.minimum(_from_edge(x), _from_edge(y)) / n
    seam = smoothstep(0.003, 0.009, edge)
    per = 6
    along = torch.minimum(_from_edge(x) / n, _from_edge(y) / n)
    rivet_x, rivet_y = (x * per).remainder(1.0) - 0.5, (y * per).remainder(1.0) - 0.5
    radius = torch.hypot(rivet_x, rivet_y) / (per * n)
    rivet = smoothstep(0.0125, 0.006, radius) * (along < 1.0 / (per * n)).float()
    number = t.table(n, n, x.floor(), y.floor())
    sheen = torch.sin(TAU * (0.6 * (x.remainder(1.0)) + 0.5 * y.remainder(1.0) + number[..., 1])) * 0.32
    scratch = smoothstep(1.9, 2.6, t.noise(80, 1.0, (1.0, 9.0))) * g.wear
    light = sheen + 0.35 * (number[..., 0] - 0.5) + 0.4 * scratch + 0.04 * t.noise(3) + 0.12 * rivet
    color = mix(g.base * 0.25, g.tone(light) + 0.03, seam)
    return Surface(color, 0.25 + 0.35 * seam + 0.4 * rivet, 7, 0.8)


def brushed_metal(g: Ground) -> Surface:
    t = g.torus
    streak = t.noise(120, 0.6, (40.0, 1.0))
    long = t.noise(30, 1.0, (60.0, 1.0))
    sheen = torch.sin(TAU * (t.v * t.whole(1, 2) + 0.04 * t.noise(2))) * 0.35
    nick = smoothstep(2.2, 3.0, t.noise(60, 1.0, (6.0, 1.0))) * g.wear
    light = sheen + 0.42 * streak + 0.24 * long + 0.6 * nick
    return Surface(g.tone(light), 0.5 + 0.06 * streak + 0.05 * long, 1.2, 0.2)


def rusted_metal(g: Ground) -> Surface:
    t = g.torus
    spread = t.noise(4 * g.scale, 2.2) + 0.2 * t.noise(20, 1.4)
    rust = smoothstep(0.55 - 1.1 * g.wear, 1.0 - 1.1 * g.wear, spread)
    fine = t.noise(40, 0.9)
    tone = smoothstep(-1.2, 1.4, t.noise(8, 1.4) + 0.5 * fine)
    brown = mix(g.flat(0.30, 0.13, 0.06), g.flat(0.78, 0.38, 0.13), tone) * (1 + 0.16 * fine.unsqueeze(1))
    halo = smoothstep(0.1, 0.55, rust) * (1 - rust)
    color = mix(g.tone(0.12 * t.noise(3) + 0.05 * fine), brown, rust)
    color = mix(color, g.flat(0.2, 0.1, 0.06), halo * 0.8)
    return Surface(color, 0.45 + 0.2 * rust + 0.09 * fine * rust, 4, 0.12)


def sand(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(7, 11, g.scale, 3)
    lean = t.whole(-2.4, 2.4, 1.0, -2)
    phase = t.v * n + t.u * lean + t.noise(3, 4.0) * 0.35
    ripple = (phase.remainder(1.0)) ** 1.6
    ripple = ripple * smoothstep(1.0, 0.86, phase.remainder(1.0))
    grain = t.noise(120, 0.4)
    light = 0.14 * grain + 0.45 * (ripple - 0.4) + 0.1 * t.noise(3)
    return Surface(g.tone(light), 0.75 * ripple + 0.025 * grain + 0.1, 7)


def grass(g: Ground) -> Surface:
    t = g.torus
    top = torch.zeros(t.count, t.size, t.size, device=t.device)
    light = top.clone()
    for layer in range(6):
        columns, rows = t.whole(26, 34, g.scale), t.whole(6, 8, g.scale)
        lean = t.whole(-1.6, 1.6, 1.0, -1)
        curve = (t.noise(5) * 0.012, t.noise(5) * 0.01)
        cell = t.cells(columns, rows, 1.0, curve, lean)
        along = (0.5 - cell.y).clamp(0, 1)
        width = 0.42 * (1 - along) + 0.06
        blade = smoothstep(width, width * 0.5, cell.x.abs()) * (cell.y.abs() < 0.5).float()
        level = blade * (0.16 * layer + 0.1 + 0.3 * along)
        shade = (cell.random[..., 0] - 0.5) * 0.9 + 1.1 * along - 0.9 + 0.14 * layer
        light = torch.where(level > top, shade, light)
        top = torch.maximum(top, level)
    color = g.tone(light * 1.5) * (1 + 0.12 * t.noise(4).unsqueeze(1) * g.flat(1.0, 0.2, 0.3))
    color = mix(g.base * 0.18, color, smoothstep(0.0, 0.12, top))
    color = mix(color, g.flat(0.62, 0.55, 0.25), g.wear * 0.5 * smoothstep(0.4, 1.4, t.noise(4)))
    return Surface(color, top * 0.8, 5)


def soil(g: Ground) -> Surface:
    t = g.torus
    lumps = t.noise(12 * g.scale, 1.3)
    crumbs = t.band(34 * g.scale, 0.45)
    n = t.whole(13, 17, g.scale)
    stone = t.cells(n, n, 1.0, (t.noise(20) * 0.006, t.noise(20) * 0.006))
    is_stone = (stone.random[..., 0] < 0.16 + 0.12 * g.wear).float() * smoothstep(0.33, 0.24, stone.nearest)
    color = g.tone(0.5 * lumps + 0.5 * crumbs)
    pebble = g.base * 0.5 + g.flat(0.3, 0.28, 0.25) * (0.8 + 0.5 * stone.random[..., 1].unsqueeze(1))
    color = mix(color, pebble, is_stone)
    return Surface(color, unit_range(lumps * 0.6 + crumbs * 0.5) * 0.7 + 0.2 * is_stone, 13)


def gravel(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(15, 20, g.scale)
    cell = t.cells(n, n, 0.95, (t.noise(24) * 0.005, t.noise(24) * 0.005))
    stone = smoothstep(0.02, 0.4, cell.border)
    facet = 0.35 * (cell.random[..., 1] - 0.5) * cell.x + 0.35 * (cell.random[..., 2] - 0.5) * cell.y
    hue = (cell.random[..., 1:2].permute(0, 3, 1, 2) - 0.5) * g.flat(0.25, 0.02, -0.25)
    color = g.tone((cell.random[..., 0] - 0.5) * 2.4 + 0.12 * t.noise(60, 0.8)) * (1 + hue)
    color = mix(g.base * 0.12 + 0.03, color, smoothstep(0.0, 0.2, cell.border))
    return Surface(color, (stone * (0.6 + 0.35 * cell.random[..., 2]) + facet).clamp(0, 1), 11)


def leather(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(22, 28, g.scale)
    cell = t.cells(n, n, 0.95, (t.noise(8) * 0.012, t.noise(8) * 0.012))
    pad = smoothstep(0.0, 0.5, cell.border)
    fold = smoothstep(0.12, 0.0, t.noise(3, 1.8).abs()) * (0.3 + 0.5 * g.wear)
    light = 0.55 * (pad - 0.6) - 0.8 * fold + 0.12 * t.noise(3) + 0.4 * g.wear * smoothstep(0.6, 1.6, t.noise(4))
    return Surface(g.tone(light), 0.2 + 0.6 * pad - 0.2 * fold, 5, 0.55)


def fabric(g: Ground) -> Surface:
    t = g.torus
    n = 2 * t.whole(13, 18, g.scale)
    warp = t.noise(6) * 0.0015
    x, y = (t.u + warp) * n, (t.v - warp) * n
    over = (x.floor() + y.floor()).remainder(2)
    across_x, across_y = torch.sin(torch.pi * x.remainder(1.0)), torch.sin(torch.pi * y.remainder(1.0))
    thread = torch.where(over > 0.5, across_x * (0.55 + 0.45 * across_y), across_y * (0.55 + 0.45 * across_x))
    number = t.table(n, n, torch.where(over > 0.5, x.floor(), 0 * x), torch.where(over > 0.5, 0 * y, y.floor()))
    folds = t.noise(2.2, 3.0)
    light = 0.75 * (thread - 0.6) + 0.3 * (number[..., 0] - 0.5) + 0.22 * (over - 0.5) + 0.16 * folds
    return Surface(g.tone(light + 0.15 * g.wear * t.noise(40, 1)), 0.7 * thread + 0.1, 3.5)


def tiles(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(3.4, 5.6, g.scale, 2)
    x, y = t.u * n, t.v * n
    number = t.table(n, n, x.floor(), y.floor())
    edge = torch.minimum(_from_edge(x), _from_edge(y)) / n
    face = smoothstep(0.006, 0.010, edge)
    dome = smoothstep(0.006, 0.024, edge)
    sheen = (1.0 - y.remainder(1.0) - x.remainder(1.0) * 0.6) * 0.35
    crack = smoothstep(0.05, 0.0, t.noise(5, 1.6).abs()) * (number[..., 2] < 0.4 * g.wear).float()
    color = g.tone((number[..., 0] - 0.5) * 0.6 + sheen + 0.08 * t.noise(6) - 1.0 * crack)
    grout = g.flat(0.78, 0.77, 0.74) * (1 - 0.6 * (g.base.mean(1, keepdim=True) > 0.68).float())
    return Surface(mix(grout * (1 + 0.05 * t.noise(60, 1).unsqueeze(1)), color, face), 0.15 + 0.8 * dome, 6, 0.7)


def concrete(g: Ground) -> Surface:
    t = g.torus
    blotch = t.noise(3, 1.6)
    fine = t.noise(60, 0.7)
    n = t.whole(15, 20, g.scale)
    cell = t.cells(n, n, 1.0)
    radius = 0.06 + 0.22 * cell.random[..., 1] ** 2
    pore = (cell.random[..., 0] < 0.45).float() * smoothstep(radius, radius * 0.6, cell.nearest)
    rows = t.whole(1, 2.4)
    seam = smoothstep(0.006, 0.003, _from_edge(t.v * rows) / rows)
    crack = smoothstep(0.035, 0.0, (t.noise(3, 1.5)).abs()) * smoothstep(0.3, 0.9, g.wear)
    light = 0.3 * blotch + 0.2 * fine - 1.5 * pore - 1.1 * seam - 1.2 * crack
    return Surface(g.tone(light), 0.7 + 0.03 * fine - 0.4 * pore - 0.4 * seam - 0.3 * crack, 4)


def plaster(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(5, 7, g.scale)
    cell = t.cells(n, n, 1.0, (t.noise(4) * 0.02, t.noise(4) * 0.02))
    angle = cell.random[..., 0] * TAU
    radius = torch.hypot(cell.x + 0.6 * torch.cos(angle), cell.y + 0.6 * torch.sin(angle))
    stroke = torch.sin(TAU * (radius * 4.5 + cell.random[..., 1])) * smoothstep(0.0, 0.25, cell.border)
    fine = t.noise(70, 0.8)
    light = 0.12 * t.noise(3) + 0.18 * stroke + 0.05 * fine - 0.3 * g.wear * smoothstep(0.5, 1.5, t.noise(4))
    level = 0.25 * (cell.random[..., 2] - 0.5) * smoothstep(0.0, 0.3, cell.border)
    return Surface(g.tone(light), 0.5 + 0.28 * stroke + 0.03 * fine + level, 6)


def water(g: Ground) -> Surface:
    t = g.torus
    caustic = torch.zeros(t.count, t.size, t.size, device=t.device)
    for factor in (1.0, 1.7):
        n = t.whole(5 * factor, 6.5 * factor, g.scale)
        cell = t.cells(n, n, 0.9, (t.noise(5, 3.5) * 0.03, t.noise(5, 3.5) * 0.03))
        caustic = caustic + smoothstep(0.32, 0.0, cell.border) ** 2 * (1.0 if factor == 1.0 else 0.6)
    swell = t.noise(4, 2.5)
    color = mix(g.tone(0.35 * swell - 0.35), g.base * 0.35 + 0.65, (caustic * 0.75).clamp(0, 0.95))
    return Surface(color, unit_range(swell) * 0.8 + 0.05 * caustic, 6, 0.5)


def lava(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(4, 6, g.scale)
    cell = t.cells(n, n, 0.95, (t.noise(6, 2.6) * 0.025, t.noise(6, 2.6) * 0.025))
    heat = smoothstep(0.34, 0.0, cell.border + 0.05 * t.noise(14, 1.8)) * smoothstep(-2.0, 0.4, t.noise(3))
    crust_noise = t.noise(18, 1.1)
    crust = g.flat(0.13, 0.10, 0.10) * (1 + 0.35 * crust_noise.unsqueeze(1))
    core = g.base * 0.4 + g.flat(0.62, 0.52, 0.18)
    glow = mix(g.base * 0.75, core, smoothstep(0.5, 1.0, heat)) * smoothstep(0.08, 0.6, heat).unsqueeze(1)
    return Surface(crust, unit_range(0.35 * crust_noise - 2.0 * heat), 11, 0.1, glow)


def ice(g: Ground) -> Surface:
    t = g.torus
    cloud = t.noise(3, 2.0)
    lines = torch.zeros_like(cloud)
    for factor, strength in ((1.0, 1.0), (2.3, 0.6)):
        n = t.whole(2.6 * factor, 3.6 * factor, g.scale)
        cell = t.cells(n, n, 1.0, (t.noise(14, 1.4) * 0.004, t.noise(14, 1.4) * 0.004))
        crack = smoothstep(0.045 * factor, 0.0, cell.border) + 0.25 * smoothstep(0.25, 0.0, cell.border)
        lines = torch.maximum(lines, crack * strength * smoothstep(-1.0, 0.5, t.noise(4)))
    bubble_cells = t.cells(t.whole(24, 30), t.whole(24, 30), 1.0)
    bubble = smoothstep(0.2, 0.1, bubble_cells.nearest) * (bubble_cells.random[..., 0] < 0.15).float()
    color = mix(g.tone(0.35 * cloud), g.base * 0.15 + 0.84, (lines * 0.9 + 0.6 * bubble).clamp(0, 1))
    return Surface(color, 0.6 - 0.25 * lines + 0.08 * cloud, 3, 0.9)


def snow(g: Ground) -> Surface:
    t = g.torus
    drift = t.noise(3 * g.scale, 3.6)
    soft = t.band(11 * g.scale, 0.35)
    sparkle = smoothstep(2.6, 3.2, t.grain())
    height = unit_range(drift + 0.08 * soft)
    shade = g.base * g.flat(0.72, 0.82, 0.98)
    color = mix(shade, g.base * 1.04 + 0.02, smoothstep(0.15, 0.75, height))
    return Surface(color + 0.35 * sparkle.unsqueeze(1), height, 24)


def moss(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(7, 9, g.scale)
    cell = t.cells(n, n, 1.0, (t.noise(9) * 0.02, t.noise(9) * 0.02))
    cushion = (1 - 0.8 * cell.nearest**2).clamp(0, 1) * smoothstep(-0.1, 0.3, cell.border)
    m = t.whole(46, 56, g.scale)
    leaf = t.cells(m, m, 1.0)
    tuft = smoothstep(0.62, 0.1, leaf.nearest) * (0.5 + 0.5 * leaf.random[..., 0])
    light = 1.5 * (cushion - 0.6) + 1.2 * (tuft - 0.4) + 0.25 * t.noise(4)
    return Surface(g.tone(light), 0.75 * cushion + 0.16 * tuft, 16)


def bark(g: Ground) -> Surface:
    t = g.torus
    columns = t.whole(8, 11, g.scale)
    rows = (columns / 2.8).round().clamp(min=1)
    cell = t.cells(columns, rows, 1.0, (t.noise(9, 1.6, (1.0, 3.0)) * 0.014, t.noise(6) * 0.04))
    ridge = smoothstep(0.0, 0.5, cell.border)
    fibre = t.noise(60, 0.9, (1.0, 5.0))
    ledge = torch.sin(TAU * (t.v * 18 + 0.8 * t.noise(8)))
    height = ridge * (0.65 + 0.3 * cell.random[..., 0]) + 0.07 * fibre + 0.04 * ledge * ridge
    light = 0.9 * (ridge - 0.6) + 0.3 * fibre + 0.5 * (cell.random[..., 1] - 0.5)
    return Surface(mix(g.base * 0.22, g.tone(light), smoothstep(0.0, 0.22, cell.border)), height, 15)


def scales(g: Ground) -> Surface:
    t = g.torus
    columns = t.whole(6, 9, g.scale, 3)
    rows = 2 * (columns * 0.8).round().clamp(min=1)
    x, y = t.u * columns, t.v * rows
    height = torch.zeros_like(x)
    light = torch.zeros_like(x)
    numbers = torch.rand(t.count, int(rows.max()), int(columns.max()), generator=t.generator, device=t.device)
    picture = torch.arange(t.count, device=t.device).view(-1, 1, 1)
    for step in (1, 0, -1):
        row = y.floor() + step
        shift = 0.5 * row.remainder(2)
        column = (x + shift).floor()
        dx = x + shift - column - 0.5
        dy = (y - row) * 0.62 + 0.1
        rim = 0.68 - torch.hypot(dx, dy)
        inside = ((rim > 0) & (dy > -0.35) & (y >= row - 0.6)).float()
        number = numbers[picture, row.remainder(rows).long(), column.remainder(columns).long()]
        level = 0.3 + 0.55 * (dy + 0.2) / 0.8
        here = inside * smoothstep(0.0, 0.05, rim)
        line = smoothstep(0.1, 0.0, rim) + smoothstep(0.05, 0.0, dx.abs())
        shade = 0.7 * (number - 0.5) + 0.9 * dy - 0.5 * line
        light = torch.where(inside > 0, shade, light)
        height = torch.where(inside > 0, level * here, height)
    return Surface(g.tone(light + 0.05 * t.noise(30, 1) + 0.2 * g.wear * t.noise(5)), height, 8, 0.5)


def gold(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(8, 12, g.scale)
    cell = t.cells(n, n, 0.9, (t.noise(6) * 0.006, t.noise(6) * 0.006))
    dimple = cell.nearest**2
    sheen = torch.sin(TAU * (dimple * 0.7 + 0.25 * cell.x + 0.25 * cell.y + cell.random[..., 0]))
    light = 0.4 * sheen - 0.3 * g.wear * smoothstep(0.2, 1.4, t.noise(4)) + 0.1 * t.noise(3)
    return Surface(g.tone(light), (0.15 + 0.75 * dimple).clamp(0, 1), 14, 1.3)


def paper(g: Ground) -> Surface:
    t = g.torus
    fold = torch.zeros(t.count, t.size, t.size, device=t.device)
    for factor, strength in ((1.0, 1.0), (2.2, 0.45), (4.4, 0.2)):
        n = t.whole(2.2 * factor, 3.2 * factor, g.scale)
        cell = t.cells(n, n, 1.0)
        slope = (cell.random[..., 0] - 0.5) * cell.x + (cell.random[..., 1] - 0.5) * cell.y
        crease = smoothstep(0.3, 0.0, cell.border)
        fold = fold + strength * (1.7 * slope * smoothstep(0.0, 0.25, cell.border) - 0.45 * crease)
    fibre = t.noise(90, 0.5)
    light = 0.05 * fibre - 0.2 * g.wear * smoothstep(0.2, 1.5, t.noise(3))
    return Surface(g.tone(light), unit_range(fold), 26)


def checker(g: Ground) -> Surface:
    t = g.torus
    n = 2 * t.whole(1.6, 4.4, g.scale)
    x, y = t.u * n, t.v * n
    soft = 0.5 * n / t.size
    wave = torch.sin(torch.pi * x) * torch.sin(torch.pi * y)
    square = smoothstep(-2 * soft, 2 * soft, wave)
    grime = g.wear * 0.35 * t.noise(12, 1.2)
    color = mix(contrast_of(g.base) * (1 + 0.1 * grime.unsqueeze(1)), g.tone(0.08 * t.noise(3) + grime), square)
    return Surface(color, torch.full_like(square, 0.5), 0.0, 0.0)


def stripes(g: Ground) -> Surface:
    t = g.torus
    n = t.whole(3, 8, g.scale)
    way = t.whole(0, 3.99, 1.0, 0).clamp(max=3)
    kx = torch.where(way == 0, n, torch.where(way == 1, 0 * n, n))
    ky = torch.where(way == 0, 0 * n, torch.where(way == 3, -n, n))
    wave = torch.sin(TAU * (t.u * kx + t.v * ky + t.uniform(0, 1)))
    soft = 4.0 * n / t.size
    band = smoothstep(-soft, soft, wave)
    grime = g.wear * 0.35 * t.noise(12, 1.2)
    color = mix(contrast_of(g.base) * (1 + 0.1 * grime.unsqueeze(1)), g.tone(0.08 * t.noise(3) + grime), band)
    return Surface(color, torch.full_like(band, 0.5), 0.0, 0.0)


@dataclass(frozen=True)
class Recipe:
    """A material: how it is made, and the sRGB colours that it has where none is asked for."""

    make: Callable[[Ground], Surface]
    natural: tuple[tuple[float, float, float], ...]


RECIPES: dict[str, Recipe] = {
    "brick": Recipe(brick, ((0.62, 0.26, 0.19), (0.68, 0.36, 0.26))),
    "cobblestone": Recipe(cobblestone, ((0.52, 0.50, 0.47), (0.44, 0.44, 0.47))),
    "wood planks": Recipe(wood_planks, ((0.58, 0.40, 0.24), (0.48, 0.32, 0.20))),
    "wood grain": Recipe(wood_grain, ((0.72, 0.50, 0.30), (0.60, 0.38, 0.20))),
    "marble": Recipe(marble, ((0.90, 0.90, 0.89), (0.86, 0.84, 0.80))),
    "granite": Recipe(granite, ((0.52, 0.51, 0.52), (0.56, 0.48, 0.46))),
    "clean metal": Recipe(clean_metal, ((0.62, 0.65, 0.69), (0.70, 0.71, 0.73))),
    "brushed metal": Recipe(brushed_metal, ((0.66, 0.67, 0.69), (0.58, 0.60, 0.63))),
    "rusted metal": Recipe(rusted_metal, ((0.46, 0.49, 0.52), (0.52, 0.50, 0.48))),
    "sand": Recipe(sand, ((0.84, 0.70, 0.46), (0.88, 0.77, 0.58))),
    "grass": Recipe(grass, ((0.30, 0.55, 0.16), (0.36, 0.60, 0.22))),
    "soil": Recipe(soil, ((0.32, 0.22, 0.15), (0.38, 0.27, 0.19))),
    "gravel": Recipe(gravel, ((0.55, 0.53, 0.50), (0.50, 0.47, 0.43))),
    "leather": Recipe(leather, ((0.42, 0.24, 0.14), (0.50, 0.30, 0.18))),
    "fabric": Recipe(fabric, ((0.72, 0.66, 0.56), (0.60, 0.55, 0.48))),
    "tiles": Recipe(tiles, ((0.74, 0.84, 0.86), (0.86, 0.80, 0.70))),
    "concrete": Recipe(concrete, ((0.60, 0.60, 0.58), (0.66, 0.65, 0.62))),
    "plaster": Recipe(plaster, ((0.90, 0.86, 0.77), (0.88, 0.82, 0.74))),
    "water": Recipe(water, ((0.12, 0.44, 0.66), (0.10, 0.52, 0.66))),
    "lava": Recipe(lava, ((0.92, 0.28, 0.05), (0.95, 0.40, 0.06))),
    "ice": Recipe(ice, ((0.60, 0.80, 0.92), (0.66, 0.84, 0.90))),
    "snow": Recipe(snow, ((0.93, 0.95, 0.98), (0.90, 0.93, 0.98))),
    "moss": Recipe(moss, ((0.34, 0.46, 0.14), (0.28, 0.42, 0.16))),
    "bark": Recipe(bark, ((0.42, 0.32, 0.24), (0.36, 0.28, 0.22))),
    "scales": Recipe(scales, ((0.22, 0.50, 0.36), (0.30, 0.44, 0.30))),
    "gold": Recipe(gold, ((0.90, 0.68, 0.20), (0.86, 0.62, 0.16))),
    "paper": Recipe(paper, ((0.92, 0.90, 0.84), (0.88, 0.85, 0.78))),
    "checker": Recipe(checker, ((0.12, 0.12, 0.13), (0.16, 0.15, 0.15))),
    "stripes": Recipe(stripes, ((0.14, 0.15, 0.18), (0.20, 0.20, 0.24))),
}


def _from_edge(x: Tensor) -> Tensor:
    """Distance to the nearest whole number."""
    return 0.5 - (x.remainder(1.0) - 0.5).abs()
