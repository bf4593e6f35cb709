"""Words for the starter's materials: from tags to sentences, naming what the labels name."""

from __future__ import annotations

from random import Random

#: Other words for a material, beside its own; its own comes first and most often.
OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "brick": ("bricks", "brick wall", "brickwork"),
    "cobblestone": ("cobblestones", "cobblestone pavement", "cobbles"),
    "wood planks": ("wooden planks", "wooden boards", "plank floor"),
    "wood grain": ("wood", "polished wood grain"),
    "clean metal": ("clean metal plates", "riveted metal", "metal panels"),
    "brushed metal": ("brushed steel", "brushed aluminium"),
    "rusted metal": ("rusty metal", "rust"),
    "sand": ("sand dunes", "rippled sand"),
    "grass": ("lawn", "grass blades"),
    "soil": ("earth", "dirt"),
    "gravel": ("pebbles", "gravel stones"),
    "fabric": ("cloth", "woven fabric"),
    "tiles": ("ceramic tiles", "tiled floor"),
    "plaster": ("stucco", "plaster wall"),
    "water": ("water surface", "pool water"),
    "lava": ("molten lava",),
    "ice": ("cracked ice", "frozen ice"),
    "bark": ("tree bark",),
    "scales": ("dragon scales", "fish scales"),
    "gold": ("hammered gold", "golden metal"),
    "paper": ("crumpled paper",),
    "checker": ("checkerboard", "checkered pattern"),
    "stripes": ("striped pattern", "stripes pattern"),
}

#: Materials that captions never give a colour: theirs is in their name.
COLORLESS = ("gold", "lava", "rusted metal")


def material_caption(name: str, color: str | None, scale: float, wear: float, rng: Random) -> str:
    """A caption that names the material, and its colour where it has one.

    name: from `words.MATERIALS`. color: from `words.COLORS`, or None. scale: more is finer; told only where it is far
    from 1. wear: 0 to 1; told only near the ends.
    """
    words = OTHER_WORDS.get(name, ())
    noun = rng.choice(words) if words and rng.random() < 0.35 else name
    attributes = []
    if rng.random() < 0.35:
        if wear > 0.7:
            attributes.append(rng.choice(("old", "worn", "weathered")))
        elif wear < 0.3:
            attributes.append(rng.choice(("new", "fresh")))
    if rng.random() < 0.35:
        if scale > 1.25:
            attributes.append(rng.choice(("fine", "small")))
        elif scale < 0.8:
            attributes.append(rng.choice(("coarse", "large")))
    style = rng.random()
    if style < 0.2:
        tags = [word for word in (noun, color, *attributes, "texture") if word]
        if rng.random() < 0.5:
            rng.shuffle(tags)
        return ", ".join(tags)
    if color and style < 0.3:
        return f"{' '.join([*attributes, noun])} texture, {color}"
    thing = " ".join(word for word in (*attributes, color, noun) if word)
    if style < 0.5:
        return thing
    if style < 0.7:
        return f"{thing} texture"
    return rng.choice((
        f"seamless texture of {thing}", f"seamless {thing} texture", f"a photo of {thing}", f"a texture of {thing}",
        f"{thing} material", f"{thing}, seamless, tileable", f"close-up of {thing}", f"a surface made of {thing}",
    ))  # fmt: skip
