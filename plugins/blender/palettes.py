"""Colours of segments: ADE20K's, which the segmentation ControlNets were trained on, and the project's own. No bpy."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence

Colour = tuple[int, int, int]

#: The first classes of ADE20K (MIT Scene Parsing Benchmark) with their colours.
ADE20K: dict[str, Colour] = {
    "wall": (120, 120, 120), "building": (180, 120, 120), "sky": (6, 230, 230), "floor": (80, 50, 50),
    "tree": (4, 200, 3), "ceiling": (120, 120, 80), "road": (140, 140, 140), "bed": (204, 5, 255),
    "window": (230, 230, 230), "grass": (4, 250, 7), "cabinet": (224, 5, 255), "sidewalk": (235, 255, 7),
    "person": (150, 5, 61), "earth": (120, 120, 70), "door": (8, 255, 51), "table": (255, 6, 82),
    "mountain": (143, 255, 140), "plant": (204, 255, 4), "curtain": (255, 51, 7), "chair": (204, 70, 3),
    "car": (0, 102, 200), "water": (61, 230, 250), "painting": (255, 6, 51), "sofa": (11, 102, 255),
    "shelf": (255, 7, 71), "house": (255, 9, 224), "sea": (9, 7, 230), "mirror": (220, 220, 220),
    "rug": (255, 9, 92), "field": (112, 9, 255), "armchair": (8, 255, 214), "seat": (7, 255, 224),
    "fence": (255, 184, 6), "desk": (10, 255, 71), "rock": (255, 41, 10), "wardrobe": (7, 255, 255),
    "lamp": (224, 255, 8), "bathtub": (102, 8, 255), "railing": (255, 61, 6), "cushion": (255, 194, 7),
    "base": (255, 122, 8), "box": (0, 255, 20), "column": (255, 8, 41), "signboard": (255, 5, 153),
    "drawers": (6, 51, 255), "counter": (235, 12, 255), "sand": (160, 150, 20), "sink": (0, 163, 255),
    "skyscraper": (140, 140, 140), "fireplace": (250, 10, 15), "refrigerator": (20, 255, 0),
    "grandstand": (31, 255, 0), "path": (255, 31, 0), "stairs": (255, 224, 0), "runway": (153, 255, 0),
    "case": (0, 0, 255), "billiard": (255, 71, 0), "pillow": (0, 235, 255), "screen": (0, 173, 255),
    "stairway": (31, 0, 255), "river": (11, 200, 200), "bridge": (255, 82, 0),
}  # fmt: skip

#: What artists call things that ADE20K calls otherwise.
SYNONYMS = {
    "ground": "earth", "soil": "earth", "dirt": "earth", "street": "road", "couch": "sofa", "human": "person",
    "man": "person", "woman": "person", "body": "person", "character": "person", "leaves": "tree", "foliage": "tree",
    "bush": "plant", "flower": "plant", "stone": "rock", "cliff": "rock", "hill": "mountain", "carpet": "rug",
    "picture": "painting", "poster": "painting", "glass": "window", "windowpane": "window", "tower": "skyscraper",
    "light": "lamp", "pillar": "column", "sign": "signboard", "fridge": "refrigerator", "ocean": "sea", "lake": "water",
    "vehicle": "car", "roof": "building", "bookcase": "shelf", "stool": "chair", "crate": "box", "plane": "floor",
}  # fmt: skip


def ade20k_class(name: str) -> str | None:
    """The ADE20K class that an object's or material's name tells of, such as Oak_Tree.003; None for none."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    for word in reversed(words):
        for form in (word, word.removesuffix("s"), word.removesuffix("es")):
            if form in ADE20K:
                return form
            if form in SYNONYMS:
                return SYNONYMS[form]
    return None


def ade20k(names: Sequence[str]) -> list[Colour]:
    """Each name's colour by its class; black where a name tells of none."""
    classes = [ade20k_class(name) for name in names]
    return [ADE20K[known] if known else (0, 0, 0) for known in classes]


def distinct(count: int) -> list[Colour]:
    """The project's own palette: as many colours as asked, neighbours far apart in hue, none of them dark."""
    golden = (5**0.5 - 1) / 2
    out = []
    for number in range(count):
        value, saturation = (1.0, 0.9) if number % 2 == 0 else (0.8, 0.65)
        red, green, blue = colorsys.hsv_to_rgb(number * golden % 1, saturation, value)
        out.append((round(red * 255), round(green * 255), round(blue * 255)))
    return out
