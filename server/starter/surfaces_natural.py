"""The materials that nature makes, on a torus: colour and height from a base colour, a scale and wear."""

from __future__ import annotations

import torch

from server.starter.noise import smoothstep, unit_range
from server.starter.surface import Ground, Surface, contrast_of, mix

TAU = 2 * torch.pi


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
    columns = t.lattice(6, 9, g.scale, 4)
    rows = 2 * columns
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
