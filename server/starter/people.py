"""People built of round cones, in varied poses and clothes, with COCO-18 keypoints.

A person's own axes, in metres: x to their left, y up, z forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

from server.starter import shapes, tracing
from server.starter import typical as typicals
from server.starter.batch import NONE, Batch
from server.starter.materials import render as render_materials
from server.starter.poses import ACTIONS, Limb, Pose
from server.starter.rendering import Stage, Textures, render
from server.starter.scene_captions import PersonFacts, SceneFacts, person_caption
from server.starter.scenes import (
    TILE,
    Look,
    Placed,
    Plan,
    aim,
    assemble,
    set_surroundings,
    shade_of,
)
from server.starter.words import COLORS

Vector = shapes.Matrix

#: COCO-18 body keypoints in order.
KEYPOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
    "right eye", "left eye", "right ear", "left ear",
)  # fmt: skip
#: How far in front of its keypoint a joint's own flesh may lie, metres, before something else hides the joint.
_FLESH = [0.05, 0.17, *[0.1] * 12, 0.05, 0.05, 0.06, 0.06]

SHIRT, TROUSERS, SKIN, HAIR, SHOES, EYES, SEAT = range(1, 8)
_SKINS = ((0.95, 0.80, 0.69), (0.88, 0.70, 0.56), (0.76, 0.57, 0.42), (0.55, 0.38, 0.27), (0.38, 0.26, 0.19))
_HAIRS = {
    "black": (0.07, 0.06, 0.06), "brown": (0.30, 0.18, 0.09), "blond": (0.85, 0.68, 0.36),
    "red": (0.60, 0.22, 0.08), "grey": (0.62, 0.62, 0.62),
}  # fmt: skip


@dataclass
class Figure:
    """The plan that draws a person, and the person's joints (name → (3,) world)."""

    plan: Plan
    facts: PersonFacts
    joints: dict[str, Vector]


def people(n: int, size: int, generator: torch.Generator, device: torch.device | str, typical: bool = False) -> Batch:
    """`n` pictures of size×size pixels, each of one person, with COCO-18 keypoints.

    typical: as in `scenes`, each action has one pose, one view and one light.

    Every random choice comes from `generator`. `subject` is the person alone; the material, colour and shape
    labels are `NONE`: clothes have their colours in the captions only.
    """
    rng = Random(int(torch.randint(2**62, (1,), generator=generator, device=generator.device)))
    figures = [_figure(rng, typical) for _ in range(n)]
    wanted = [w for f in figures for w in f.plan.textures]
    textures = None
    if wanted:
        there = torch.Generator(device).manual_seed(rng.getrandbits(62))
        names, colors = [name for name, _ in wanted], [color for _, color in wanted]
        textures = Textures(render_materials(names, TILE, there, device, colors).image)
    stage = assemble([f.plan for f in figures])
    picture = render(stage, size, textures, device)
    joints = torch.from_numpy(np.stack([[f.joints[name] for name in KEYPOINTS] for f in figures])).float()
    none = torch.full((n,), NONE, dtype=torch.long, device=device)
    return Batch(
        picture.image,
        [person_caption(f.facts, rng) for f in figures],
        none,
        none.clone(),
        none.clone(),
        torch.tensor([list(ACTIONS).index(f.facts.action) for f in figures], device=device),
        picture.depth,
        picture.normals,
        keypoints_of(stage, joints, picture.depth),
        (picture.surface >= SHIRT) & (picture.surface <= EYES),
    )


def keypoints_of(stage: Stage, joints: Tensor, depth: Tensor) -> Tensor:
    """World joints (b, 18, 3) as keypoints (b, 18, 3) in pixels with their visibility, on depth's device.

    A joint is hidden where the picture's depth (b, h, w) is nearer than the joint's own flesh reaches.
    """
    b, size, _ = depth.shape
    local = torch.einsum("bij,bkj->bki", stage.view, joints - stage.eye[:, None]).to(depth.device)
    z = local[..., 2]
    focal = stage.focal.to(depth.device)[:, None] * size
    x = local[..., 0] / z * focal + size / 2
    y = local[..., 1] / z * focal + size / 2
    inside = (z > 0) & (x >= 0) & (x < size) & (y >= 0) & (y < size)
    column, row = x.long().clamp(0, size - 1), y.long().clamp(0, size - 1)
    seen = depth[torch.arange(b, device=depth.device)[:, None], row, column]
    open_view = seen > z - torch.tensor(_FLESH, device=depth.device)
    visibility = torch.where(inside, torch.where(open_view, 2.0, 1.0), 0.0)
    return torch.stack([x, y, visibility], dim=-1)


def _figure(rng: Random, typical: bool) -> Figure:
    action = rng.choice(list(ACTIONS))
    form = typicals.form(action) if typical else rng
    pose = ACTIONS[action](form)
    # Of a person's plan only the surroundings are described as a scene's are.
    plan = Plan(SceneFacts("", None, None))
    set_surroundings(plan, rng, form, outdoors=0.55, floating=not pose.seated)
    heading = form.choice((-1, 1)) * form.uniform(15, 35) if typical else _heading(rng)
    joints, trunk, head = _skeleton(pose, form.uniform(1.55, 1.9) / 1.72, form)
    turn = shapes.turned("y", math.radians(heading))
    lift = np.array([0.0, -min(p[1] for p in joints.values()) + 0.075, 0.0])
    if action == "jumping like a star" and form.random() < 0.6:
        lift[1] += form.uniform(0.05, 0.3)
    joints = {name: turn @ p + lift for name, p in joints.items()}

    hair = rng.choice(list(_HAIRS))
    clothes = _dress(plan, pose, hair, joints, turn @ trunk, turn @ head, rng)
    facts = PersonFacts(action, clothes, hair, _seen_from(heading))
    facts.ground, facts.sky = plan.facts.ground, plan.facts.sky
    facts.background, facts.floor = plan.facts.background, plan.facts.floor

    points = np.stack(list(joints.values()))
    low, high = points.min(0) - 0.1, points.max(0) + 0.13
    # The camera looks along z. A person fills the picture: limbs are thin, and those of a small one would be lost.
    width, height, thickness = (high - low).tolist()
    middle, radius = (low + high) / 2, max(width, height) / 2 + 0.15 * thickness
    hips = (joints["left hip"] + joints["right hip"]) / 2
    plan.middle, plan.girth = (float(hips[0]), 0.3, float(hips[2])), 0.2
    if typical:
        aim(plan, middle, radius * 0.95, form, lowest=8, highest=8, spare=0)
        if rng.random() < 0.3:
            facts.clothes = []
        return Figure(plan, facts, joints)
    if rng.random() < 0.15:
        # A portrait: from the hips up.
        middle = (joints["neck"] + hips) / 2 + np.array([0.0, 0.08, 0.0])
        radius *= 0.62
    aim(plan, middle, radius * 0.9, rng, lowest=-2, highest=20, spare=0.25)
    return Figure(plan, facts, joints)


def _heading(rng: Random) -> float:
    """Degrees from the viewer: from the front mostly, a few from the side, fewer from behind."""
    front, side, behind = rng.uniform(-50, 50), rng.choice((-1, 1)) * rng.uniform(60, 115), rng.uniform(150, 210)
    return rng.choices((front, side, behind), weights=(7, 2, 1))[0]


def _seen_from(heading: float) -> str:
    if abs(heading) < 60:
        return "the front"
    return "behind" if abs(heading) > 140 else "the side"


def _skeleton(pose: Pose, scale: float, rng: Random) -> tuple[dict[str, Vector], shapes.Matrix, shapes.Matrix]:
    """Joints in the person's axes with the pelvis at the origin, and the trunk's and the head's rotations."""
    trunk = shapes.turned("x", math.radians(pose.lean)) @ shapes.turned("z", math.radians(pose.sway))
    head = trunk @ shapes.turned("y", math.radians(pose.turn)) @ shapes.turned("x", math.radians(pose.nod))
    neck = trunk @ np.array([0.0, 0.50, 0.0])
    skull = neck + trunk @ np.array([0.0, 0.06, 0.0]) + head @ np.array([0.0, 0.13, 0.025])
    joints = {"pelvis": np.zeros(3), "neck": neck, "head": skull, "nose": skull + head @ np.array([0.0, -0.02, 0.115])}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        joints[f"{side} eye"] = skull + head @ np.array([sign * 0.036, 0.018, 0.094])
        joints[f"{side} ear"] = skull + head @ np.array([sign * 0.092, -0.005, 0.0])
        arm, leg = pose.arms[sign < 0], pose.legs[sign < 0]
        shoulder = neck + trunk @ np.array([sign * 0.178, -0.035, 0.0])
        upper, lower = _bones(arm, sign, trunk, 1.0)
        joints[f"{side} shoulder"] = shoulder
        joints[f"{side} elbow"] = shoulder + upper * 0.285
        joints[f"{side} wrist"] = joints[f"{side} elbow"] + lower * 0.25
        joints[f"{side} hand"] = joints[f"{side} wrist"] + lower * 0.095
        hip = np.array([sign * 0.092, -0.03, 0.0])
        upper, lower = _bones(leg, sign, np.eye(3), -1.0)
        joints[f"{side} hip"] = hip
        joints[f"{side} knee"] = hip + upper * 0.42
        joints[f"{side} ankle"] = joints[f"{side} knee"] + lower * 0.41
        # A foot is at a right angle to its shin, and never points far down.
        toe = np.array([sign * 0.12, 0.0, 1.0]) - lower * float(np.dot(lower, [0.0, 0.0, 1.0])) * 0.7
        toe[1] = max(toe[1], -0.6)
        joints[f"{side} toe"] = joints[f"{side} ankle"] + toe / np.linalg.norm(toe) * 0.17 - np.array([0, 0.035, 0])
    width = rng.uniform(0.93, 1.07)
    return {name: p * np.array([width, 1, 1]) * scale for name, p in joints.items()}, trunk, head


def _bones(limb: Limb, sign: float, frame: shapes.Matrix, knee: float) -> tuple[Vector, Vector]:
    """Unit directions of a limb's two bones; knee: 1 bends forward as elbows do, -1 backward."""
    turn = frame @ shapes.turned("x", math.radians(-limb.swing)) @ shapes.turned("z", sign * math.radians(limb.spread))
    bend, twist = math.radians(limb.bend), math.radians(limb.twist)
    away = np.array([sign * math.sin(twist), 0.0, knee * math.cos(twist)])
    down = np.array([0.0, -1.0, 0.0])
    return turn @ down, turn @ (math.cos(bend) * down + math.sin(bend) * away)


def _dress(
    plan: Plan, pose: Pose, hair: str, joints: dict[str, Vector], trunk: shapes.Matrix, head: shapes.Matrix, rng: Random
) -> list[str]:
    """Adds a body in clothes to a plan; returns what is worn in words."""
    shirt, trousers = rng.sample(list(COLORS), 2)
    long_sleeves, gown = rng.random() < 0.5, not pose.wide and rng.random() < 0.22
    shorts = not gown and rng.random() < 0.25
    skin = rng.choice(_SKINS)
    shoes = rng.choice(((0.15, 0.12, 0.1), (0.35, 0.2, 0.1), (0.85, 0.85, 0.85), (0.55, 0.1, 0.1)))
    plan.looks += [
        Look(shade_of(shirt, rng)),
        Look(shade_of(trousers, rng)),
        Look(skin),
        Look(_HAIRS[hair]),
        Look(shoes),
        Look((0.08, 0.07, 0.07), gloss=0.6),
        Look(shade_of(rng.choice(("brown", "grey", "white")), rng)),
    ]
    scale = float(np.linalg.norm(joints["left knee"] - joints["left hip"])) / 0.42

    def bone(start: Vector, end: Vector, r0: float, r1: float, surface: int, flat: float = 1.0) -> None:
        plan.placed.append(_bone(start, end, r0 * scale, r1 * scale, surface, trunk, flat))

    def egg(middle: Vector, x: float, y: float, z: float, surface: int) -> None:
        to_local = np.diag([1 / (x * scale), 1 / (y * scale), 1 / (z * scale)]) @ head.T
        plan.placed.append(Placed(tracing.SPHERE, tuple(middle.tolist()), to_local, max(x, y, z) * scale, [], surface))

    pelvis, neck, skull = joints["pelvis"], joints["neck"], joints["head"]
    up = trunk @ np.array([0.0, scale, 0.0])
    chest, waist = neck - 0.14 * up, neck - 0.36 * up
    bone(chest, waist, 0.165, 0.135, SHIRT, 0.66)
    bone(waist, pelvis, 0.135, 0.15, SHIRT if gown else TROUSERS, 0.7)
    bone(waist + 0.03 * up, pelvis + 0.07 * up, 0.14, 0.152, SHIRT, 0.7)
    bone(neck - 0.04 * up, skull - 0.03 * up, 0.052, 0.048, SKIN)
    egg(skull, 0.088, 0.118, 0.102, SKIN)
    egg(skull + head @ np.array([0.0, 0.032, -0.022]) * scale, 0.097, 0.104, 0.103, HAIR)
    if rng.random() < 0.35:
        back = head @ np.array([0.0, 0.0, -0.05]) * scale
        bone(skull + back, neck - 0.06 * up + back * 1.5, 0.085, 0.06, HAIR)
    egg(joints["nose"] - head @ np.array([0, 0, 0.012]) * scale, 0.014, 0.02, 0.02, SKIN)
    sleeve = 1.0 if long_sleeves else 0.55
    for side in ("left", "right"):
        egg(joints[f"{side} eye"], 0.014, 0.014, 0.01, EYES)
        egg(joints[f"{side} ear"], 0.014, 0.03, 0.022, SKIN)
        shoulder, elbow, wrist = joints[f"{side} shoulder"], joints[f"{side} elbow"], joints[f"{side} wrist"]
        bone(chest + 0.05 * up, shoulder, 0.085, 0.068, SHIRT)
        bone(shoulder, shoulder + (elbow - shoulder) * sleeve, 0.066, 0.055, SHIRT)
        bone(shoulder, elbow, 0.05, 0.043, SHIRT if long_sleeves else SKIN)
        thicker = 0.005 if long_sleeves else 0.0
        bone(elbow, wrist, 0.043 + thicker, 0.031 + thicker, SHIRT if long_sleeves else SKIN)
        bone(wrist, joints[f"{side} hand"], 0.034, 0.036, SKIN)
        hip, knee, ankle = joints[f"{side} hip"], joints[f"{side} knee"], joints[f"{side} ankle"]
        covered = SKIN if gown else TROUSERS
        bone(hip, knee, 0.088, 0.062, covered)
        bone(knee, ankle, 0.058 if not shorts and not gown else 0.054, 0.045, SKIN if shorts or gown else TROUSERS)
        heel = ankle - np.array([0.0, 0.03 * scale, 0.0])
        bone(heel, joints[f"{side} toe"], 0.045, 0.038, SHOES)
    if gown:
        knees = (joints["left knee"] + joints["right knee"]) / 2
        hem = waist + (knees - waist) * rng.uniform(0.85, 1.15)
        plan.placed.append(_skirt(waist, hem, 0.12 * scale, rng.uniform(0.22, 0.3) * scale))
    if pose.seated:
        _add_seat(plan, joints, trunk, scale, rng)
    if gown:
        return [f"{shirt} dress"]
    return [f"{shirt} {'shirt' if long_sleeves else 't-shirt'}", f"{trousers} {'shorts' if shorts else 'trousers'}"]


def _bone(start: Vector, end: Vector, r0: float, r1: float, surface: int, across: shapes.Matrix, flat: float) -> Placed:
    """A round cone between two points; `flat` presses it from front to back in the rotation `across`'s axes."""
    axis = end - start
    half = float(np.linalg.norm(axis)) / 2
    y = axis / (2 * half)
    x = across[:, 0] - y * float(y @ across[:, 0])
    if np.linalg.norm(x) < 0.2:
        x = across[:, 2] - y * float(y @ across[:, 2])
    x = x / np.linalg.norm(x)
    to_local = np.stack([x, y, np.cross(x, y) / flat])
    middle = ((start + end) / 2).tolist()
    return Placed(tracing.ROUND_CONE, tuple(middle), to_local, half + max(r0, r1), [half, r0, r1], surface)


def _skirt(waist: Vector, hem: Vector, narrow: float, wide: float) -> Placed:
    axis = waist - hem
    half = float(np.linalg.norm(axis)) / 2
    y = axis / (2 * half)
    x = np.array([1.0, 0.0, 0.0]) - y * y[0]
    x = x / np.linalg.norm(x)
    middle = tuple(((waist + hem) / 2).tolist())
    to_local = np.stack([x, y, np.cross(x, y)])
    return Placed(tracing.FRUSTUM, middle, to_local, math.hypot(half, wide), [half, wide, narrow], SHIRT)


def _add_seat(plan: Plan, joints: dict[str, Vector], trunk: shapes.Matrix, scale: float, rng: Random) -> None:
    """A block under a seated person, down to the ground."""
    pelvis = joints["pelvis"]
    top = float(pelvis[1]) - 0.125 * scale
    forward = trunk[:, 2] * np.array([1, 0, 1])
    forward = forward / np.linalg.norm(forward)
    x = np.cross([0.0, 1.0, 0.0], forward)
    half = (rng.uniform(0.2, 0.3) * scale, top / 2, rng.uniform(0.17, 0.22) * scale)
    middle = pelvis * np.array([1, 0, 1]) + np.array([0, top / 2, 0]) + forward * 0.06 * scale
    to_local = np.stack([x / half[0], np.array([0.0, 1.0, 0.0]) / half[1], forward / half[2]])
    plan.placed.append(Placed(tracing.BOX, tuple(middle.tolist()), to_local, math.dist(half, (0, 0, 0)), [], SEAT))
