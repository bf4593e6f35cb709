"""The words that the starter model knows: what its captions are made of and what its judge tells apart."""

from __future__ import annotations

MATERIALS: tuple[str, ...] = (
    "brick", "cobblestone", "wood planks", "wood grain", "marble", "granite", "clean metal", "brushed metal",
    "rusted metal", "sand", "grass", "soil", "gravel", "leather", "fabric", "tiles", "concrete", "plaster",
    "water", "lava", "ice", "snow", "moss", "bark", "scales", "gold", "paper", "checker", "stripes",
)  # fmt: skip

#: Name → its sRGB centre; makers vary it, the judge names the nearest.
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.78, 0.12, 0.12),
    "orange": (0.92, 0.50, 0.12),
    "yellow": (0.93, 0.83, 0.20),
    "green": (0.20, 0.58, 0.22),
    "teal": (0.12, 0.60, 0.60),
    "blue": (0.15, 0.32, 0.78),
    "purple": (0.50, 0.20, 0.68),
    "pink": (0.93, 0.52, 0.68),
    "brown": (0.42, 0.26, 0.14),
    "white": (0.92, 0.92, 0.90),
    "grey": (0.50, 0.50, 0.50),
    "black": (0.10, 0.10, 0.11),
}

SHAPES: tuple[str, ...] = (
    "sphere", "cube", "cylinder", "cone", "torus", "capsule", "terrain", "arch", "stairs", "table", "vase",
)  # fmt: skip
