"""The materials that people make, on a torus: colour and height from a base colour, a scale and wear."""

from __future__ import annotations

import torch

from server.starter.noise import smoothstep, unit_range
from server.starter.surface import Ground, Surface, contrast_of, from_edge, mix

TAU = 2 * torch.pi


def brick(g: Ground) -> Surface:
    t = g.torus
    rows = 2 * t.lattice(3.2, 4.8, g.scale)
    columns = rows / 2
    warp = t.noise(8) * 0.0012 * (1 + 2 * g.wear)
    y = (t.v + warp) * rows
    row = y.floor()
    x = (t.u + warp) * columns + 0.5 * row.remainder(2)
    number = t.table(columns, rows, x.floor(), row)
    edge = torch.minimum(from_edge(x) / columns, from_edge(y) / rows) + t.noise(24) * 0.0012 * (0.4 + g.wear)
    face = smoothstep(0.006, 0.014, edge)
    rough = t.noise(30, 1.2)
    color = g.tone((number[..., 0] - 0.5) * 1.5 + rough * (0.12 + 0.25 * g.wear) + t.noise(5) * 0.35 * g.wear)
    color = color * (1 + (number[..., 1:2].permute(0, 3, 1, 2) - 0.5) * g.flat(0.02, 0.22, 0.2))
    mortar = g.flat(0.7, 0.68, 0.64) * (1 + 0.07 * t.noise(60, 1.0).unsqueeze(1))
    height = face * (0.75 + 0.12 * (number[..., 2] - 0.5) + 0.05 * rough * (0.5 + g.wear)) + 0.1
    return Surface(mix(mortar, color, face), height, 7)


def cobblestone(g: Ground) -> Surface:
    t = g.torus
    n = t.lattice(6, 8, g.scale, 4)
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
    columns = t.lattice(4.2, 6.2, g.scale, 2)
    x = t.u * columns
    column = x.floor()
    number = t.table(columns, torch.ones_like(columns), column, torch.zeros_like(column))
    y = t.v + number[..., 0]
    fibre = t.noise(40, 1.3, (1.0, 14.0))
    flow = t.noise(5, 2.0, (1.0, 5.0))
    rings = torch.sin(TAU * (x * 3 + flow * 1.6 + 7 * number[..., 1]))
    joint = (y.remainder(1.0) - 0.5).abs()
    edge = torch.minimum(from_edge(x) / columns, joint)
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


def clean_metal(g: Ground) -> Surface:
    t = g.torus
    n = t.lattice(1.6, 3.4, g.scale)
    x, y = t.u * n, t.v * n
    edge = torch.minimum(from_edge(x), from_edge(y)) / n
    seam = smoothstep(0.003, 0.009, edge)
    per = 6
    along = torch.minimum(from_edge(x) / n, from_edge(y) / n)
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
    n = 2 * t.lattice(13, 18, g.scale)
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
    n = t.lattice(3.4, 5.6, g.scale, 2)
    x, y = t.u * n, t.v * n
    number = t.table(n, n, x.floor(), y.floor())
    edge = torch.minimum(from_edge(x), from_edge(y)) / n
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
    seam = smoothstep(0.006, 0.003, from_edge(t.v * rows) / rows)
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
    n = 2 * t.lattice(1.6, 4.4, g.scale)
    x, y = t.u * n, t.v * n
    soft = 0.5 * n / t.size
    wave = torch.sin(torch.pi * x) * torch.sin(torch.pi * y)
    square = smoothstep(-2 * soft, 2 * soft, wave)
    grime = g.wear * 0.35 * t.noise(12, 1.2)
    color = mix(contrast_of(g.base) * (1 + 0.1 * grime.unsqueeze(1)), g.tone(0.08 * t.noise(3) + grime), square)
    return Surface(color, torch.full_like(square, 0.5), 0.0, 0.0)


def stripes(g: Ground) -> Surface:
    t = g.torus
    n = t.lattice(3, 8, g.scale)
    way = t.direction(4)
    kx = torch.where(way == 0, n, torch.where(way == 1, 0 * n, n))
    ky = torch.where(way == 0, 0 * n, torch.where(way == 3, -n, n))
    wave = torch.sin(TAU * (t.u * kx + t.v * ky))
    soft = 4.0 * n / t.size
    band = smoothstep(-soft, soft, wave)
    grime = g.wear * 0.35 * t.noise(12, 1.2)
    color = mix(contrast_of(g.base) * (1 + 0.1 * grime.unsqueeze(1)), g.tone(0.08 * t.noise(3) + grime), band)
    return Surface(color, torch.full_like(band, 0.5), 0.0, 0.0)
