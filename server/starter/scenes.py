"""Scenes of simple solids on a ground under a sky, or before a plain background, with perfect labels.

A scene is drawn in plain numbers on the CPU (it is a few dozen), and rendered on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch
from torch import Tensor

from server.starter import shapes, tracing
from server.starter import typical as typicals
from server.starter.batch import NONE, Batch
from server.starter.captions import COLORLESS
from server.starter.materials import render as render_materials
from server.starter.rendering import Rendering, Stage, Surfaces, Textures, render
from server.starter.scene_captions import SceneFacts, scene_caption
from server.starter.words import COLORS, MATERIALS, SHAPES

#: The surface that the main solid carries.
SUBJECT = 1
#: A texture tile's side in pixels.
TILE = 128

#: Grounds, and how many scene units one of their tiles covers.
GROUNDS: dict[str, float] = {
    "grass": 2.2, "sand": 2.5, "soil": 2.5, "gravel": 2.5, "snow": 3.0, "moss": 2.2, "cobblestone": 2.6,
    "tiles": 2.4, "wood planks": 2.6, "concrete": 3.0, "checker": 2.6, "water": 3.0,
}  # fmt: skip

#: Gloss and metal of those materials that have any.
SHINE: dict[str, tuple[float, float]] = {
    "gold": (0.9, 1.0), "clean metal": (0.9, 1.0), "brushed metal": (0.6, 0.8), "rusted metal": (0.15, 0.2),
    "marble": (0.5, 0.0), "granite": (0.3, 0.0), "tiles": (0.5, 0.0), "water": (0.7, 0.1), "ice": (0.7, 0.1),
    "leather": (0.3, 0.0), "scales": (0.4, 0.0), "wood grain": (0.15, 0.0),
}  # fmt: skip

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Sky:
    """A sky: its words, its colours (sRGB) at the horizon and above, and the light that it gives (linear factors)."""

    words: tuple[str, ...]
    low: Color
    high: Color
    sunlight: Color
    ambient: Color
    weight: float


SKIES = (
    Sky(("under a blue sky", "on a sunny day"), (0.75, 0.86, 0.96), (0.25, 0.48, 0.85), (0.78, 0.76, 0.70),
        (0.46, 0.48, 0.52), 4),
    Sky(("under a blue sky", "in daylight"), (0.62, 0.80, 0.95), (0.32, 0.58, 0.90), (0.70, 0.70, 0.68),
        (0.50, 0.51, 0.53), 4),
    Sky(("under a grey sky", "on a cloudy day"), (0.82, 0.83, 0.84), (0.62, 0.65, 0.69), (0.32, 0.32, 0.32),
        (0.72, 0.72, 0.73), 2),
    Sky(("at sunset", "at dusk"), (0.97, 0.66, 0.38), (0.42, 0.36, 0.62), (0.90, 0.66, 0.45), (0.44, 0.42, 0.48), 1.5),
    Sky(("at night", "in the dark"), (0.12, 0.14, 0.26), (0.03, 0.04, 0.12), (0.36, 0.38, 0.44),
        (0.26, 0.28, 0.36), 0.8),
)  # fmt: skip
#: Plain backgrounds and studio floors; white and grey are what people ask for.
BACKDROPS = (*["white"] * 3, *["grey"] * 2, "black", "blue", "green", "red", "yellow", "pink", "teal", "purple")

_SHAPE_WEIGHTS = {"terrain": 0.8}
_COMPANIONS = ("sphere", "cube", "cylinder", "cone")


def scenes(n: int, size: int, generator: torch.Generator, device: torch.device | str, typical: bool = False) -> Batch:
    """`n` scenes of size×size pixels: each one main solid, plain or of a material, sometimes with smaller company.

    typical: each shape has one body, one view and one light, alone and in the middle of the picture; what captions
    name still varies. That is little enough to be learned by words alone.

    Every random choice comes from `generator`, whichever device it lives on. The labels are `Batch`'s; metric
    depth and normals are exact at the pixel centres, and `subject` is the main solid alone.
    """
    rng = Random(int(torch.randint(2**62, (1,), generator=generator, device=generator.device)))
    plans = [_plan(rng, typical) for _ in range(n)]
    wanted = [w for plan in plans for w in plan.textures]
    textures = None
    if wanted:
        there = torch.Generator(device).manual_seed(rng.getrandbits(62))
        names, colors = [name for name, _ in wanted], [color for _, color in wanted]
        textures = Textures(render_materials(names, TILE, there, device, colors).image)
    stage = assemble(plans)
    picture = render(stage, size, textures, device)
    return labelled(picture, plans, [scene_caption(p.facts, rng) for p in plans], device)


@dataclass
class Look:
    """One surface of a plan: an sRGB colour, or a texture by its place in the plan's list."""

    color: Color
    texture: int = -1
    tile: float = 1.6
    gloss: float = 0.0
    metal: float = 0.0
    frame: shapes.Matrix = field(default_factory=lambda: np.eye(3))
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass
class Placed:
    """One primitive of a plan in world axes, with the surface that it carries."""

    kind: int
    centre: tuple[float, float, float]
    to_local: shapes.Matrix
    bound: float
    parameters: list[float]
    surface: int


@dataclass
class Plan:
    """One scene in plain numbers, before it becomes tensors; colours are sRGB, the rest as in `Stage`."""

    facts: SceneFacts
    looks: list[Look] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    textures: list[tuple[str, str | None]] = field(default_factory=list)
    eye: shapes.Matrix = field(default_factory=lambda: np.zeros(3))
    target: shapes.Matrix = field(default_factory=lambda: np.zeros(3))
    focal: float = 1.0
    sun: shapes.Matrix = field(default_factory=lambda: np.array([0.0, 1.0, 0.0]))
    sunlight: Color = (0.68, 0.67, 0.65)
    ambient: Color = (0.52, 0.53, 0.55)
    softness: float = 0.0
    sky_low: Color = (1.0, 1.0, 1.0)
    sky_high: Color = (1.0, 1.0, 1.0)
    ground: bool = True
    haze: float = 0.0
    middle: tuple[float, float, float] = (0.0, 0.0, 0.0)
    girth: float = 0.0


def assemble(plans: list[Plan]) -> Stage:
    """The plans' tensors, on the CPU; texture numbers count through all plans."""
    most = max(len(p.placed) for p in plans)
    slots, looks = len(plans) * most, max(len(p.looks) for p in plans)
    kind = torch.full((slots,), -1, dtype=torch.long)
    to_local, centre = torch.zeros(slots, 3, 3), torch.zeros(slots, 3)
    bound, parameters = torch.zeros(slots), torch.zeros(slots, tracing.PARAMETERS)
    surface = torch.zeros(slots, dtype=torch.long)
    at = [i * most + j for i, p in enumerate(plans) for j in range(len(p.placed))]
    placed = [q for p in plans for q in p.placed]
    kind[at] = torch.tensor([q.kind for q in placed])
    to_local[at] = torch.from_numpy(np.stack([q.to_local for q in placed])).float()
    centre[at] = _floats([q.centre for q in placed])
    bound[at] = _floats([q.bound for q in placed])
    parameters[at] = _floats([q.parameters + [0.0] * (tracing.PARAMETERS - len(q.parameters)) for q in placed])
    surface[at] = torch.tensor([q.surface for q in placed])

    padded, first = [], 0
    for plan in plans:
        padded += [*plan.looks, *[plan.looks[-1]] * (looks - len(plan.looks))]
    texture = torch.tensor([q.texture for q in padded]).view(-1, looks)
    for i, plan in enumerate(plans):
        texture[i] = torch.where(texture[i] >= 0, texture[i] + first, -1)
        first += len(plan.textures)
    shape = (len(plans), most)

    def linear(values: list[Color]) -> Tensor:
        return _floats(values) ** 2.2

    eye = torch.from_numpy(np.stack([p.eye for p in plans])).float()
    target = torch.from_numpy(np.stack([p.target for p in plans])).float()
    return Stage(
        tracing.Primitives(
            kind.view(shape), to_local.view(*shape, 3, 3), centre.view(*shape, 3), bound.view(shape),
            parameters.view(*shape, -1), surface.view(shape),
        ),
        Surfaces(
            linear([q.color for q in padded]).view(-1, looks, 3),
            texture,
            _floats([q.tile for q in padded]).view(-1, looks),
            _floats([q.gloss for q in padded]).view(-1, looks),
            _floats([q.metal for q in padded]).view(-1, looks),
            torch.from_numpy(np.stack([q.frame for q in padded])).float().view(-1, looks, 3, 3),
            _floats([q.origin for q in padded]).view(-1, looks, 3),
        ),
        eye,
        view_of(eye, target),
        _floats([p.focal for p in plans]),
        torch.from_numpy(np.stack([p.sun for p in plans])).float(),
        _floats([p.sunlight for p in plans]),
        _floats([p.ambient for p in plans]),
        _floats([p.softness for p in plans]),
        linear([p.sky_low for p in plans]),
        linear([p.sky_high for p in plans]),
        torch.tensor([p.ground for p in plans]),
        _floats([p.haze for p in plans]),
        _floats([p.middle for p in plans]),
        _floats([p.girth for p in plans]),
    )  # fmt: skip


def view_of(eye: Tensor, target: Tensor) -> Tensor:
    """World-to-camera rotations (b, 3, 3), rows right, down, forward, y up: `depth3d.camera.Camera.looking_at`'s."""
    forward = torch.nn.functional.normalize(target - eye, dim=1)
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)


def labelled(picture: Rendering, plans: list[Plan], captions: list[str], device: torch.device | str) -> Batch:
    """A rendering with its plans' labels."""

    def index(word: str | None, words: list[str]) -> int:
        return NONE if word is None else words.index(word)

    facts = [p.facts for p in plans]
    return Batch(
        picture.image,
        captions,
        torch.tensor([index(f.material, list(MATERIALS)) for f in facts], device=device),
        torch.tensor([index(f.color, list(COLORS)) for f in facts], device=device),
        torch.tensor([index(f.shape, list(SHAPES)) for f in facts], device=device),
        torch.full((len(facts),), NONE, device=device),
        picture.depth,
        picture.normals,
        None,
        picture.surface == SUBJECT,
    )


def shade_of(color: str, rng: Random) -> Color:
    """An sRGB colour near a named one."""
    lightness = rng.uniform(-0.05, 0.05)
    r, g, b = (min(max(c + lightness + rng.uniform(-0.03, 0.03), 0.02), 0.98) for c in COLORS[color])
    return r, g, b


def set_surroundings(plan: Plan, rng: Random, form: Random, outdoors: float = 0.58, floating: bool = True) -> None:
    """Draws a plan's ground look, sky and light; the ground is its surface 0, so this comes first.

    form: what the light's direction is drawn from.
    outdoors: how often there are a ground and a sky; else a studio's floor, or nothing but one colour where
    `floating` bodies are all right.
    """
    azimuth, height = form.uniform(-1.9, 1.9), math.radians(form.uniform(28, 68))
    # Azimuth 0 is the viewer's side; what the viewer sees is mostly lit.
    plan.sun = np.array([math.sin(azimuth) * math.cos(height), math.sin(height), math.cos(azimuth) * math.cos(height)])
    plan.softness = form.choice((0.0, 0.008, 0.016, 0.024))
    facts = plan.facts
    if rng.random() < outdoors:
        sky = rng.choices(SKIES, weights=[s.weight for s in SKIES])[0]
        facts.sky = rng.choice(sky.words)
        plan.sunlight, plan.ambient = sky.sunlight, sky.ambient
        plan.sky_low, plan.sky_high = _varied(sky.low, rng), _varied(sky.high, rng)
        plan.haze = rng.choice((0.0, 0.01, 0.02))
        if rng.random() < 0.75:
            facts.ground = rng.choice(list(GROUNDS))
            plan.textures.append((facts.ground, None))
            gloss, metal = SHINE.get(facts.ground, (0.0, 0.0))
            spin = shapes.turned("y", rng.uniform(0, 6.283))
            tile = GROUNDS[facts.ground] * rng.uniform(0.8, 1.25)
            plan.looks.append(Look((0.4, 0.4, 0.4), 0, tile, gloss, metal * 0.5, spin))
        else:
            color = rng.choice(("green", "brown", "grey", "white", "yellow"))
            facts.ground = f"{color} ground"
            plan.looks.append(Look(shade_of(color, rng)))
        return
    color = rng.choice(BACKDROPS)
    backdrop = shade_of(color, rng)
    plan.sky_low = plan.sky_high = backdrop
    plan.looks.append(Look(backdrop))
    if rng.random() < 0.5 or not floating:
        facts.floor = color
        # A studio's floor runs into its wall without a horizon.
        plan.haze = 0.12
    else:
        facts.background = color
        plan.ground = False


def aim(
    plan: Plan, middle: shapes.Matrix, radius: float, rng: Random,
    lowest: float = 3, highest: float = 38, spare: float = 0.7,
) -> None:  # fmt: skip
    """Puts the camera where a sphere around the subject is in the picture, somewhere, whole.

    lowest, highest: the camera's elevation in degrees. spare: at most so much of the sphere's size is left around it.
    """
    field_of_view = math.radians(rng.uniform(28, 58))
    plan.focal = 0.5 / math.tan(field_of_view / 2)
    room = 1 + spare * rng.random() ** 1.5
    distance = radius * 1.03 * room / math.sin(field_of_view / 2)
    elevation = math.radians(rng.uniform(lowest, highest))
    forward = np.array([0, -math.sin(elevation), -math.cos(elevation)])
    plan.eye = middle - forward * distance
    slack = 0.8 * (room - 1) * radius
    shift = np.array([rng.uniform(-slack, slack), 0, 0])
    shift += rng.uniform(-slack, slack) * 0.6 * np.array([0, math.cos(elevation), -math.sin(elevation)])
    plan.eye = plan.eye + shift
    plan.eye[1] = max(plan.eye[1], 0.12)
    plan.target = middle + shift


def place(plan: Plan, body: shapes.Solid, turn: shapes.Matrix, position: shapes.Matrix, surface: int) -> None:
    """Adds a solid to a plan, turned and then moved."""
    for part in body.parts:
        x, y, z = (turn @ np.asarray(part.centre) + position).tolist()
        plan.placed.append(Placed(part.kind, (x, y, z), part.to_local @ turn.T, part.bound, part.parameters, surface))


def _floats(values: Sequence[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _varied(color: Color, rng: Random) -> Color:
    r, g, b = (min(max(c + rng.uniform(-0.04, 0.04), 0.01), 0.99) for c in color)
    return r, g, b


def _plan(rng: Random, typical: bool) -> Plan:
    shape = rng.choices(SHAPES, weights=[_SHAPE_WEIGHTS.get(s, 1.0) for s in SHAPES])[0]
    plain = rng.random() < 0.35 and shape != "terrain"
    material = None if plain else rng.choice(MATERIALS)
    dyed = plain or (material not in COLORLESS and rng.random() < 0.35)
    color = rng.choice(list(COLORS)) if dyed else None
    plan = Plan(SceneFacts(shape, material, color))
    form = typicals.form(shape) if typical else rng
    if shape == "terrain":
        set_surroundings(plan, rng, form, outdoors=1.0)
        plan.facts.ground = None
    else:
        set_surroundings(plan, rng, form)
    plan.facts.lying = not typical and shape in ("cylinder", "capsule", "torus") and rng.random() < 0.3
    body = shapes.solid(shape, form, plan.facts.lying)

    turn = shapes.turned("y", _heading(shape, form))
    position = np.array([0.0, body.below, 0.0])
    if not plan.ground and not typical:
        # Before a plain background a body may float and lean.
        lean = 0.7 if shape in ("sphere", "cube", "cylinder", "cone", "torus", "capsule") else 0.25
        turn = shapes.turned("x", rng.uniform(-0.2, lean)) @ shapes.turned("z", rng.uniform(-lean, lean) * 0.6) @ turn
    look = _look(plan, shape, material, color, turn, position, rng)
    plan.looks.append(look)
    place(plan, body, turn, position, SUBJECT)
    if shape == "terrain":
        _aim_at_terrain(plan, body, form)
        return plan
    plan.middle, plan.girth = (0.0, body.below, 0.0), 0.55 * body.radius
    if typical:
        aim(plan, position, 1.1 * body.radius, form, lowest=18, highest=18, spare=0)
        return plan
    if plan.ground and rng.random() < 0.22:
        _add_company(plan, body, rng)
    aim(plan, position, body.radius, rng)
    return plan


def _heading(shape: str, rng: Random) -> float:
    """The turn about y; gates and steps are shown from a side that tells what they are."""
    if shape == "arch":
        return rng.uniform(-0.9, 0.9)
    if shape == "stairs":
        return rng.uniform(-1.3, 1.3)
    return rng.uniform(0, 2 * math.pi)


def _look(
    plan: Plan, shape: str, material: str | None, color: str | None, turn: shapes.Matrix, position: shapes.Matrix,
    rng: Random,
) -> Look:  # fmt: skip
    x, y, z = (position + turn @ np.array([rng.random() for _ in range(3)])).tolist()
    if material is None:
        assert color is not None
        return Look(shade_of(color, rng), gloss=rng.choice((0.0, 0.25, 0.6)))
    plan.textures.append((material, color))
    gloss, metal = SHINE.get(material, (0.0, 0.0))
    tile = rng.uniform(1.2, 1.9) * (2.2 if shape == "terrain" else 1.0)
    return Look((0.4, 0.4, 0.4), len(plan.textures) - 1, tile, gloss, metal, turn.T, (x, y, z))


def _add_company(plan: Plan, body: shapes.Solid, rng: Random) -> None:
    """One or two small plain solids beside or behind the main one."""
    names = []
    for side in rng.sample((-1, 1), rng.choice((1, 1, 2))):
        shape, color = rng.choice(_COMPANIONS), rng.choice(list(COLORS))
        small = shapes.solid(shape, rng)
        scale = rng.uniform(0.25, 0.42)
        reach = body.radius + small.radius * scale
        angle = side * rng.uniform(0.9, 2.2)
        where = np.array([math.sin(angle) * reach, small.below * scale, -abs(math.cos(angle)) * reach * 0.8])
        shrink = shapes.turned("y", rng.uniform(0, 6.283))
        for part in small.parts:
            x, y, z = (where + shrink @ np.asarray(part.centre) * scale).tolist()
            local = part.to_local @ shrink.T / scale
            bound = part.bound * scale
            plan.placed.append(Placed(part.kind, (x, y, z), local, bound, part.parameters, len(plan.looks)))
        plan.looks.append(Look(shade_of(color, rng), gloss=rng.choice((0.0, 0.3))))
        names.append(f"a small {color} {shape}")
    plan.facts.company = names[0] if len(names) == 1 else "two small things"


def _aim_at_terrain(plan: Plan, body: shapes.Solid, rng: Random) -> None:
    field_of_view = math.radians(rng.uniform(40, 60))
    plan.focal = 0.5 / math.tan(field_of_view / 2)
    distance, height = rng.uniform(1.15, 1.5) * body.radius, rng.uniform(0.28, 0.6) * body.radius
    plan.eye = np.array([0.0, height, distance])
    plan.target = np.array([rng.uniform(-1, 1), rng.uniform(0.2, 0.8), 0.0])
