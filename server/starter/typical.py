"""The one typical form of each shape and each action: what the model paints where words alone ask for it.

A few million weights cannot learn a cone of any proportions, from any side, anywhere in the picture, from two words.
They can learn one cone. Variety belongs to the pictures with a control image, which says all of that.
"""

from __future__ import annotations

from random import Random

#: Which draw of its proportions, view and light is shown: chosen by eye among ten, for what tells a thing best.
_DRAWS = {
    "sphere": 1, "cube": 5, "cylinder": 1, "cone": 1, "torus": 1, "capsule": 7, "terrain": 8, "arch": 6, "stairs": 3,
    "table": 1, "vase": 1,
    "standing": 0, "with arms up": 3, "with arms spread": 2, "waving": 2, "walking": 1, "running": 5, "sitting": 2,
    "crouching": 1, "kicking": 5, "pointing": 5, "with hands on hips": 1, "reaching forward": 2, "dancing": 4,
    "jumping like a star": 0,
}  # fmt: skip


def form(name: str) -> Random:
    """What the form of a shape or an action is drawn from: new, and the same for each of its pictures."""
    return Random(f"typical {name} {_DRAWS[name]}")
