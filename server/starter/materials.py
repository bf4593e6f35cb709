"""Seamless materials with perfect labels: colour, height and normal of all of `words.MATERIALS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from server.starter.noise import Torus
from server.starter.surface import Ground
from server.starter.surfaces import RECIPES
from server.starter.words import COLORS, MATERIALS

#: Where the light comes from: left, above, in front (x right, y up, z toward the viewer).
LIGHT = (-0.5, 0.55, 0.67)


@dataclass
class MaterialMaps:
    """b seamless pictures of size×size pixels.

    image: (b, 3, h, w) float32 sRGB in [0, 1], lit from the upper left.
    albedo: (b, 3, h, w) float32 sRGB in [0, 1], without light.
    height: (b, h, w) float32 in [0, 1].
    normal: (b, 3, h, w) float32, unit length, x right, y up, z toward the viewer: of `height * relief`.
    relief: (b,) how many pixels a height of 1 is high.
    scale: (b,) about 0.6 (coarse) to 1.7 (fine). wear: (b,) 0 (new) to 1 (worn).
    """

    image: Tensor
    albedo: Tensor
    height: Tensor
    normal: Tensor
    relief: Tensor
    scale: Tensor
    wear: Tensor


def render(
    names: Sequence[str],
    size: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    colors: Sequence[str | None] | None = None,
    scale: Tensor | None = None,
    wear: Tensor | None = None,
    typical: bool = False,
) -> MaterialMaps:
    """Make one seamless picture for each name.

    names: from `words.MATERIALS`. size: pixels on each side; what is seen is the same at each size. generator: lives
    on `device`; the same state gives the same pictures. colors: from `words.COLORS`, None for the material's natural
    colours. scale, wear: (b,); drawn at random where they are not given. typical: a regular pattern has the
    one size and direction that words alone are learned with, whatever its scale, which is told as 1.

    Raises KeyError where a name is in no list.
    """
    count = len(names)
    colors = colors if colors is not None else [None] * count
    for name in names:
        if name not in RECIPES:
            raise KeyError(f"material {name!r} is unknown; choose one of {', '.join(MATERIALS)}")
    if scale is None:
        scale = torch.exp((torch.rand(count, generator=generator, device=device) - 0.5) * 1.0)
    if typical:
        regular = torch.tensor([RECIPES[name].regular for name in names], device=device)
        scale = torch.where(regular, torch.ones_like(scale), scale)
    if wear is None:
        wear = torch.rand(count, generator=generator, device=device)
    base = _base_colors(names, colors, generator, device)
    maps = MaterialMaps(
        image=torch.empty(count, 3, size, size, device=device),
        albedo=torch.empty(count, 3, size, size, device=device),
        height=torch.empty(count, size, size, device=device),
        normal=torch.empty(count, 3, size, size, device=device),
        relief=torch.empty(count, device=device),
        scale=scale,
        wear=wear,
    )
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(name, []).append(number)
    for name, members in groups.items():
        index = torch.tensor(members, device=device)
        ground = Ground(
            Torus(len(members), size, generator, device, typical),
            base[index],
            scale[index].view(-1, 1, 1),
            wear[index].view(-1, 1, 1),
        )
        surface = RECIPES[name].make(ground)
        relief = surface.relief * size / 256
        # By whole patches of the code at every zoom: 16 pixels of 256.
        shift = torch.randint(16, (len(members), 2), generator=generator, device=device) * (size // 16)
        height = _rolled(surface.height.clamp(0, 1).unsqueeze(1), shift).squeeze(1)
        normal = normals_of_height(height * relief)
        albedo = _rolled(surface.color.clamp(0, 1), shift)
        image = _lit(albedo, normal, surface.gloss)
        if surface.glow is not None:
            image = image + _rolled(surface.glow, shift)
        maps.image[index], maps.albedo[index] = image.clamp(0, 1), albedo
        maps.height[index], maps.normal[index] = height, normal
        maps.relief[index] = relief
    return maps


#: The largest window that every material fills at its zoom.
WINDOW = 384


def shown(names: Sequence[str], tiles: Tensor, side: int) -> Tensor:
    """Windows (n, 3, side, side) of tiles (n, 3, 256, 256), each as large as the model is taught its material.

    names: from `words.MATERIALS`. side: up to `WINDOW`.
    """
    return torch.stack(
        [enlarged(tile[None], RECIPES[name].zoom)[0, :, :side, :side] for name, tile in zip(names, tiles, strict=True)]
    )


def enlarged(images: Tensor, zoom: float) -> Tensor:
    """Pictures (n, 3, s, s) that wrap, `zoom` times as large; they still wrap. zoom * s must be whole."""
    if zoom == 1:
        return images
    margin = 8
    padded = torch.nn.functional.pad(images, (margin,) * 4, mode="circular")
    large = torch.nn.functional.interpolate(padded, scale_factor=zoom, mode="bicubic")
    edge = round(margin * zoom)
    return large[:, :, edge:-edge, edge:-edge].clamp(0, 1)


def normals_of_height(height: Tensor) -> Tensor:
    """(b, 3, h, w) unit normals, x right, y up, z toward the viewer, of a wrapping height (b, h, w) in pixels."""
    slope_x = (height.roll(-1, 2) - height.roll(1, 2)) / 2
    slope_down = (height.roll(-1, 1) - height.roll(1, 1)) / 2
    return torch.nn.functional.normalize(torch.stack((-slope_x, slope_down, torch.ones_like(height)), 1), dim=1)


def _rolled(images: Tensor, shift: Tensor) -> Tensor:
    """(b, c, s, s) rolled by (b, 2): recipes lay their grids from the corner, pictures begin anywhere."""
    size = images.shape[-1]
    steps = torch.arange(size, device=images.device)
    rows = ((steps + shift[:, :1]) % size)[:, None, :, None]
    columns = ((steps + shift[:, 1:]) % size)[:, None, None, :]
    picture = torch.arange(len(images), device=images.device)[:, None, None, None]
    return images[picture, torch.arange(images.shape[1], device=images.device)[:, None, None], rows, columns]


def _base_colors(
    names: Sequence[str], colors: Sequence[str | None], generator: torch.Generator, device: torch.device | str
) -> Tensor:
    first, second, spread = [], [], []
    for name, color in zip(names, colors, strict=True):
        if color is None:
            natural = RECIPES[name].natural
            first.append(natural[0])
            second.append(natural[1])
            spread.append(0.012)
        else:
            if color not in COLORS:
                raise KeyError(f"colour {color!r} is unknown; choose one of {', '.join(COLORS)}")
            first.append(COLORS[color])
            second.append(COLORS[color])
            spread.append(0.035)
    blend = torch.rand(len(names), 1, generator=generator, device=device)
    a, b = torch.tensor(first, device=device), torch.tensor(second, device=device)
    noise = torch.randn(len(names), 3, generator=generator, device=device)
    base = a + (b - a) * blend + noise * torch.tensor(spread, device=device).unsqueeze(1)
    return base.clamp(0.03, 0.97).view(-1, 3, 1, 1)


def _lit(albedo: Tensor, normal: Tensor, gloss: float) -> Tensor:
    light = torch.nn.functional.normalize(torch.tensor(LIGHT, device=albedo.device), dim=0)
    half = torch.nn.functional.normalize(light + torch.tensor((0.0, 0.0, 1.0), device=albedo.device), dim=0)
    toward = torch.einsum("bchw,c->bhw", normal, light)
    # A flat surface keeps its colour: relief alone makes light and shade.
    shade = (1 + 0.8 * (toward / light[2] - 1)).clamp(0.25, 1.55).unsqueeze(1)
    image = albedo * shade
    if gloss:
        flat = half[2] ** 24
        shine = torch.einsum("bchw,c->bhw", normal, half).clamp(min=0) ** 24 - flat
        image = image + 0.45 * gloss * shine.clamp(min=0).unsqueeze(1)
    return image
