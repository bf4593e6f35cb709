"""Words for the starter's scenes and people: from tags to sentences, naming what the labels name."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

#: Other words for a shape, beside its own; its own comes first and most often.
SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "sphere": ("sphere", "sphere", "ball"),
    "cube": ("cube", "cube", "box"),
    "cylinder": ("cylinder", "cylinder", "column"),
    "cone": ("cone",),
    "torus": ("torus", "torus", "ring"),
    "capsule": ("capsule", "capsule", "pill"),
    "terrain": ("terrain", "hills", "mountains"),
    "arch": ("arch", "arch", "gate"),
    "stairs": ("stairs", "stairs", "steps"),
    "table": ("table",),
    "vase": ("vase",),
}
_PLURAL = {"terrain", "hills", "mountains", "stairs", "steps"}


@dataclass
class SceneFacts:
    """What a scene's caption may tell. Words, or None where the scene has no such thing.

    Either `ground` and `sky`, or `background` (one colour without a horizon), or `floor` (a studio's colour).
    """

    shape: str
    material: str | None
    color: str | None
    ground: str | None = None
    sky: str | None = None
    background: str | None = None
    floor: str | None = None
    lying: bool = False
    company: str | None = None


@dataclass
class PersonFacts:
    """What a person's caption may tell, and either surroundings or a background.

    clothes: such as "red shirt"; none where the caption leaves them open.
    """

    action: str
    clothes: list[str]
    hair: str
    seen_from: str = "the front"
    ground: str | None = None
    sky: str | None = None
    background: str | None = None
    floor: str | None = None


def scene_caption(facts: SceneFacts, rng: Random) -> str:
    """A caption that names the shape, and the material and colour where the facts have them."""
    noun = rng.choice(SHAPE_WORDS[facts.shape])
    style = rng.random()
    if style < 0.25:
        tags = [noun, *(w for w in (facts.color, facts.material) if w), *_surroundings_tags(facts, rng)]
        head, rest = tags[0], tags[1:]
        rng.shuffle(rest)
        return ", ".join([head, *rest]) if rng.random() < 0.7 else ", ".join([*rest, head])
    thing = _thing(noun, facts, rng)
    if style < 0.35:
        return thing
    lead = rng.choice(("", "", "", "a picture of ", "a render of ", "a photo of ", "3d render, "))
    sentence = lead + thing
    if facts.lying and rng.random() < 0.5:
        sentence += " standing upright" if facts.shape == "torus" else " lying on its side"
    sentence += _surroundings(facts, rng)
    if facts.company and rng.random() < 0.7:
        sentence += f", {facts.company} beside it"
    return sentence


def person_caption(facts: PersonFacts, rng: Random) -> str:
    """A caption that names the pose, and the clothes where the facts have them."""
    who = rng.choice(("person", "person", "figure", "human"))
    surroundings = _surroundings_tags(facts, rng)
    style = rng.random()
    if style < 0.25:
        tags = [who, *facts.clothes, facts.action, *surroundings]
        if rng.random() < 0.3:
            tags.insert(1, f"{facts.hair} hair")
        return ", ".join(tags)
    sentence = rng.choice(("a ", "a ", "a picture of a ", "a photo of a ")) + who
    hair = f" with {facts.hair} hair" if rng.random() < 0.25 else ""
    wearing = " and ".join(_article("a " + c) if _single(c) else c for c in facts.clothes)
    if not wearing:
        sentence += f"{hair} {facts.action}"
    elif style < 0.75:
        sentence += hair + (" and " if hair else " in ") + wearing + " " + facts.action
    else:
        sentence += f"{hair} {facts.action}, wearing {wearing}"
    if facts.seen_from != "the front" and rng.random() < 0.6:
        sentence += f", seen from {facts.seen_from},"
    return (sentence + _surroundings(facts, rng)).replace(",,", ",").rstrip(",")


def _thing(noun: str, facts: SceneFacts, rng: Random) -> str:
    article = "" if noun in _PLURAL else "a "
    color, material = facts.color, facts.material
    if material and rng.random() < 0.35:
        tail = rng.choice((f"made of {material}", f"of {material}", f"covered in {material}"))
        return _article(f"{article}{color + ' ' if color else ''}{noun} {tail}")
    words = [w for w in (color, material) if w]
    if not material and rng.random() < 0.25:
        words.insert(0, rng.choice(("plain", "smooth", "simple")))
    return _article(article + " ".join([*words, noun]))


def _surroundings(facts: SceneFacts | PersonFacts, rng: Random) -> str:
    out = ""
    floor = facts.floor
    if facts.background:
        return rng.choice((f", {facts.background} background", f" on a {facts.background} background", ""))
    if floor:
        return rng.choice((f" on a {floor} floor", f", {floor} studio", f" in a {floor} room", ""))
    if facts.ground and rng.random() < 0.75:
        plain = facts.ground.endswith("ground") or isinstance(facts, PersonFacts)
        out += f" on {facts.ground}" if plain or rng.random() < 0.6 else f" on a ground of {facts.ground}"
    if facts.sky and rng.random() < 0.7:
        out += f" {facts.sky}"
    return out


def _surroundings_tags(facts: SceneFacts | PersonFacts, rng: Random) -> list[str]:
    floor = facts.floor
    if facts.background:
        tags = [f"{facts.background} background"]
    elif floor:
        tags = [f"{floor} floor"]
    else:
        tags = [t for t in (facts.ground and facts.ground.removesuffix(" ground") + " ground", facts.sky) if t]
    return [t for t in tags if rng.random() < 0.75]


def _single(clothes: str) -> bool:
    return not clothes.endswith(("trousers", "shorts"))


def _article(text: str) -> str:
    return "an " + text[2:] if text.startswith("a ") and text[2] in "aeiou" else text
