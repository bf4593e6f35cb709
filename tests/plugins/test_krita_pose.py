"""Poses as shapes: where limbs lie, and how they follow their joints."""

from __future__ import annotations

import math
import random

import pytest

from plugins.krita import pose
from plugins.krita.pose import Joint


def test_a_limb_lies_between_joints_of_one_person_that_are_there():
    joints = [Joint(0, 1, 10, 20), Joint(0, 2, 30, 40), Joint(1, 2, 5, 6), Joint(1, 3, 7, 8), Joint(1, 1, 1, 2)]
    assert pose.limbs(joints) == {
        "brushwire-limb-0-0": ((10, 20), (30, 40)),
        "brushwire-limb-1-0": ((1, 2), (5, 6)),
        "brushwire-limb-1-2": ((5, 6), (7, 8)),
    }
    assert [part.split('"')[0] for part in pose.svg(joints).split('id="')[1:]] == [
        *pose.limbs(joints), *(joint.name for joint in joints),
    ]  # fmt: skip


def test_a_limb_is_brought_from_joint_to_joint_and_stays_as_thick_as_it_was():
    draw = random.Random(2)
    for _ in range(100):
        old, new = (tuple((draw.uniform(0, 500), draw.uniform(0, 500)) for _ in range(2)) for _ in range(2))
        a, b, c, d, e, f = pose.moved(old, new)
        for (x, y), there in zip(old, new, strict=True):
            assert (a * x + c * y + e, b * x + d * y + f) == pytest.approx(there, abs=1e-6)
        # The area of a strip around it grows as it does, and not by its own thickness.
        assert a * d - b * c == pytest.approx(math.dist(*new) / math.dist(*old))
        along = (old[1][0] - old[0][0], old[1][1] - old[0][1])
        across = (-along[1], along[0])
        assert math.hypot(a * across[0] + c * across[1], b * across[0] + d * across[1]) == pytest.approx(
            math.hypot(*across)
        )


def test_a_limb_without_a_direction_stays_where_it_is():
    assert pose.moved(((0, 0), (10, 0)), ((5, 5), (5, 5.5))) is None
    assert pose.moved(((5, 5), (5, 5)), ((0, 0), (10, 0))) is None
