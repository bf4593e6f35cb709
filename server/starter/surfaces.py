"""All 29 materials: how each is made, and the colours that it has of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.starter import surfaces_made as made
from server.starter import surfaces_natural as natural
from server.starter.surface import Ground, Surface


@dataclass(frozen=True)
class Recipe:
    """A material: how it is made, and the sRGB colours that it has where none is asked for.

    zoom: how much larger than made it is shown to the model and its judge. The latent code sees patches of 8×8
    pixels, and features that are no larger are noise to it: fine materials are shown from nearer.
    regular: it is a pattern that repeats.
    """

    make: Callable[[Ground], Surface]
    natural: tuple[tuple[float, float, float], ...]
    zoom: float = 1.5
    regular: bool = False


RECIPES: dict[str, Recipe] = {
    "brick": Recipe(made.brick, ((0.62, 0.26, 0.19), (0.68, 0.36, 0.26)), 2, regular=True),
    "cobblestone": Recipe(made.cobblestone, ((0.52, 0.50, 0.47), (0.44, 0.44, 0.47)), 2, regular=True),
    "wood planks": Recipe(made.wood_planks, ((0.58, 0.40, 0.24), (0.48, 0.32, 0.20)), regular=True),
    "wood grain": Recipe(made.wood_grain, ((0.72, 0.50, 0.30), (0.60, 0.38, 0.20)), 2),
    "marble": Recipe(natural.marble, ((0.90, 0.90, 0.89), (0.86, 0.84, 0.80)), 2),
    "granite": Recipe(natural.granite, ((0.52, 0.51, 0.52), (0.56, 0.48, 0.46)), 3),
    "clean metal": Recipe(made.clean_metal, ((0.62, 0.65, 0.69), (0.70, 0.71, 0.73)), regular=True),
    "brushed metal": Recipe(made.brushed_metal, ((0.66, 0.67, 0.69), (0.58, 0.60, 0.63)), 2),
    "rusted metal": Recipe(made.rusted_metal, ((0.46, 0.49, 0.52), (0.52, 0.50, 0.48))),
    "sand": Recipe(natural.sand, ((0.84, 0.70, 0.46), (0.88, 0.77, 0.58))),
    "grass": Recipe(natural.grass, ((0.30, 0.55, 0.16), (0.36, 0.60, 0.22)), 3),
    "soil": Recipe(natural.soil, ((0.32, 0.22, 0.15), (0.38, 0.27, 0.19)), 3),
    "gravel": Recipe(natural.gravel, ((0.55, 0.53, 0.50), (0.50, 0.47, 0.43)), 2),
    "leather": Recipe(made.leather, ((0.42, 0.24, 0.14), (0.50, 0.30, 0.18)), 3),
    "fabric": Recipe(made.fabric, ((0.72, 0.66, 0.56), (0.60, 0.55, 0.48)), 3, regular=True),
    "tiles": Recipe(made.tiles, ((0.74, 0.84, 0.86), (0.86, 0.80, 0.70)), regular=True),
    "concrete": Recipe(made.concrete, ((0.60, 0.60, 0.58), (0.66, 0.65, 0.62)), 2),
    "plaster": Recipe(made.plaster, ((0.90, 0.86, 0.77), (0.88, 0.82, 0.74)), 2.5),
    "water": Recipe(natural.water, ((0.12, 0.44, 0.66), (0.10, 0.52, 0.66))),
    "lava": Recipe(natural.lava, ((0.92, 0.28, 0.05), (0.95, 0.40, 0.06))),
    "ice": Recipe(natural.ice, ((0.60, 0.80, 0.92), (0.66, 0.84, 0.90)), 2),
    "snow": Recipe(natural.snow, ((0.93, 0.95, 0.98), (0.90, 0.93, 0.98))),
    "moss": Recipe(natural.moss, ((0.34, 0.46, 0.14), (0.28, 0.42, 0.16)), 2),
    "bark": Recipe(natural.bark, ((0.42, 0.32, 0.24), (0.36, 0.28, 0.22)), 2),
    "scales": Recipe(natural.scales, ((0.22, 0.50, 0.36), (0.30, 0.44, 0.30)), 2, regular=True),
    "gold": Recipe(made.gold, ((0.90, 0.68, 0.20), (0.86, 0.62, 0.16))),
    "paper": Recipe(made.paper, ((0.92, 0.90, 0.84), (0.88, 0.85, 0.78))),
    "checker": Recipe(made.checker, ((0.12, 0.12, 0.13), (0.16, 0.15, 0.15)), regular=True),
    "stripes": Recipe(made.stripes, ((0.14, 0.15, 0.18), (0.20, 0.20, 0.24)), regular=True),
}
