"""The poses of the starter's people: joint angles drawn within what joints allow, by the action's name.

Angles are in degrees. A limb's direction starts straight down the body; `spread` turns it outward and `swing`
forward. Its second bone bends away from the first by `bend`, within a plane that `twist` turns: for an arm 0 is
forward, 90 is outward and up, -90 inward. Knees bend backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any


@dataclass
class Limb:
    """Angles of one arm or leg; see the module's text."""

    spread: float = 5.0
    swing: float = 0.0
    bend: float = 5.0
    twist: float = 0.0


@dataclass
class Pose:
    """A body's angles: limbs (left, right), the trunk's forward and sideways lean, the head's turn and nod."""

    arms: list[Limb]
    legs: list[Limb]
    lean: float = 0.0
    sway: float = 0.0
    turn: float = 0.0
    nod: float = 0.0
    seated: bool = False
    wide: bool = field(default=False)
    """The legs are too far apart or too bent for a dress."""


def _both(make: Callable[[], Limb]) -> list[Limb]:
    return [make(), make()]


def _pose(rng: Random, arms: list[Limb] | None = None, legs: list[Limb] | None = None, **others: Any) -> Pose:
    """A pose whose unnamed parts hang or stand at rest, with a little life in them."""
    u = rng.uniform
    rest_arms = arms or _both(lambda: Limb(u(4, 16), u(-12, 12), u(4, 28)))
    rest_legs = legs or _both(lambda: Limb(u(2, 9), u(-6, 8), u(0, 8)))
    rest = {"turn": u(-35, 35), "nod": u(-8, 14), "lean": u(-3, 5), "sway": u(-4, 4)}
    return Pose(rest_arms, rest_legs, **{**rest, **others})


def _standing(rng: Random) -> Pose:
    return _pose(rng)


def _arms_up(rng: Random) -> Pose:
    u = rng.uniform
    return _pose(rng, _both(lambda: Limb(u(145, 172), u(-10, 15), u(0, 35), 90)))


def _arms_out(rng: Random) -> Pose:
    u = rng.uniform
    return _pose(rng, _both(lambda: Limb(u(78, 100), u(-8, 8), u(0, 16), 90)))


def _waving(rng: Random) -> Pose:
    u = rng.uniform
    arms = [Limb(u(85, 125), u(-5, 15), u(50, 95), 90), Limb(u(4, 16), u(-10, 10), u(4, 25))]
    if rng.random() < 0.5:
        arms.reverse()
    return _pose(rng, arms)


def _walking(rng: Random) -> Pose:
    u = rng.uniform
    stride = u(16, 32) * rng.choice((-1, 1))
    legs = [Limb(3, stride, u(2, 10)), Limb(3, -stride, u(10, 30))]
    if stride < 0:
        legs = [Limb(3, stride, u(10, 30)), Limb(3, -stride, u(2, 10))]
    arms = [Limb(u(4, 9), -stride * u(0.7, 1.2), u(8, 35)), Limb(u(4, 9), stride * u(0.7, 1.2), u(8, 35))]
    return _pose(rng, arms, legs, lean=u(0, 7))


def _running(rng: Random) -> Pose:
    u = rng.uniform
    front = Limb(3, u(40, 65), u(50, 85))
    back = Limb(3, u(-35, -15), u(35, 80))
    forward, behind = Limb(8, u(30, 55), u(75, 105)), Limb(8, u(-55, -30), u(75, 105))
    legs, arms = [front, back], [behind, forward]
    if rng.random() < 0.5:
        legs.reverse()
        arms.reverse()
    return Pose(arms, legs, lean=u(8, 18), turn=u(-10, 10), nod=u(-10, 0), wide=True)


def _sitting(rng: Random) -> Pose:
    u = rng.uniform
    legs = _both(lambda: Limb(u(4, 14), u(82, 92), u(82, 95)))
    arms = _both(lambda: Limb(u(5, 12), u(18, 40), u(35, 65)))
    return _pose(rng, arms, legs, lean=u(-6, 10), seated=True, wide=True)


def _crouching(rng: Random) -> Pose:
    u = rng.uniform
    legs = _both(lambda: Limb(u(12, 28), u(85, 110), u(105, 130)))
    arms = _both(lambda: Limb(u(8, 25), u(30, 75), u(15, 60)))
    return _pose(rng, arms, legs, lean=u(15, 32), wide=True)


def _kicking(rng: Random) -> Pose:
    u = rng.uniform
    legs = [Limb(5, u(50, 88), u(0, 25)), Limb(4, u(-8, 4), u(2, 10))]
    if rng.random() < 0.5:
        legs.reverse()
    arms = _both(lambda: Limb(u(35, 75), u(-20, 20), u(5, 45)))
    return _pose(rng, arms, legs, lean=u(-14, 0), wide=True)


def _pointing(rng: Random) -> Pose:
    u = rng.uniform
    side = rng.random() < 0.6
    arm = Limb(u(76, 98), u(-5, 15), u(0, 8), 90) if side else Limb(u(4, 12), u(78, 98), u(0, 8))
    arms = [arm, Limb(u(4, 16), u(-10, 10), u(4, 25))]
    if rng.random() < 0.5:
        arms.reverse()
    return _pose(rng, arms)


def _hands_on_hips(rng: Random) -> Pose:
    u = rng.uniform
    return _pose(rng, _both(lambda: Limb(u(42, 52), u(-12, 0), u(88, 104), -82)))


def _reaching(rng: Random) -> Pose:
    u = rng.uniform
    return _pose(rng, _both(lambda: Limb(u(2, 14), u(70, 100), u(0, 25))))


def _dancing(rng: Random) -> Pose:
    u = rng.uniform
    arms = _both(lambda: Limb(u(30, 165), u(-25, 45), u(5, 95), u(10, 110)))
    legs = [Limb(u(5, 30), u(-12, 40), u(0, 60)), Limb(u(3, 14), u(-6, 8), u(0, 14))]
    if rng.random() < 0.5:
        legs.reverse()
    return _pose(rng, arms, legs, lean=u(-8, 12), sway=u(-16, 16), wide=True)


def _star(rng: Random) -> Pose:
    u = rng.uniform
    arms = _both(lambda: Limb(u(118, 142), u(-5, 8), u(0, 10), 90))
    legs = _both(lambda: Limb(u(20, 32), u(-4, 4), u(0, 5)))
    return _pose(rng, arms, legs, wide=True)


ACTIONS: dict[str, Callable[[Random], Pose]] = {
    "standing": _standing,
    "with arms up": _arms_up,
    "with arms spread": _arms_out,
    "waving": _waving,
    "walking": _walking,
    "running": _running,
    "sitting": _sitting,
    "crouching": _crouching,
    "kicking": _kicking,
    "pointing": _pointing,
    "with hands on hips": _hands_on_hips,
    "reaching forward": _reaching,
    "dancing": _dancing,
    "jumping like a star": _star,
}
