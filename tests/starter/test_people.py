from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest
import torch

from depth3d.pose import BODY_KEYPOINTS, BODY_LIMBS
from server.starter.batch import NONE, Batch
from server.starter.people import KEYPOINTS, people
from server.starter.poses import ACTIONS
from server.starter.words import COLORS

SIZE = 96


@pytest.fixture(scope="module")
def batch() -> Batch:
    return people(24, SIZE, torch.Generator().manual_seed(2), "cpu")


def test_the_keypoints_have_the_order_of_depth3d() -> None:
    assert tuple(name.replace(" ", "_") for name in KEYPOINTS) == BODY_KEYPOINTS


def test_visible_keypoints_lie_on_the_person(batch: Batch) -> None:
    assert batch.keypoints is not None
    assert batch.subject is not None
    hits = total = 0
    for points, subject in zip(batch.keypoints, batch.subject, strict=True):
        for x, y, visible in points.tolist():
            if visible == 2:
                total += 1
                hits += bool(subject[int(y), int(x)])
    assert total > 150
    assert hits / total > 0.97


def test_limbs_are_drawn_between_their_keypoints(batch: Batch) -> None:
    assert batch.keypoints is not None
    assert batch.subject is not None
    on_body = []
    for points, subject in zip(batch.keypoints, batch.subject, strict=True):
        for a, b in BODY_LIMBS[2:6] + BODY_LIMBS[7:9] + BODY_LIMBS[10:12]:
            if points[a, 2] == 2 and points[b, 2] == 2:
                for f in (0.25, 0.5, 0.75):
                    x, y, _ = (points[a] * (1 - f) + points[b] * f).tolist()
                    on_body.append(bool(subject[int(y), int(x)]))
    assert len(on_body) > 200
    assert np.mean(on_body) > 0.97


def test_keypoints_outside_of_the_picture_have_visibility_0(batch: Batch) -> None:
    assert batch.keypoints is not None
    xy, visible = batch.keypoints[..., :2], batch.keypoints[..., 2]
    inside = ((xy >= 0) & (xy < SIZE)).all(-1)
    assert (visible[~inside] == 0).all()
    assert (visible[inside] > 0).all()
    assert set(visible.unique().tolist()) == {0.0, 1.0, 2.0}


def test_hidden_keypoints_have_something_before_them() -> None:
    """The nose of somebody seen from behind is hidden."""
    many = people(64, 48, torch.Generator().manual_seed(8), "cpu")
    assert many.keypoints is not None
    behind = [i for i, c in enumerate(many.captions) if "from behind" in c]
    assert behind
    assert (many.keypoints[behind, 0, 2] < 2).all()
    front = [i for i, c in enumerate(many.captions) if "seen from" not in c]
    assert (many.keypoints[front, 0, 2] == 2).float().mean() > 0.6


def test_left_is_left_of_right_for_whom_faces_the_viewer() -> None:
    many = people(48, 48, torch.Generator().manual_seed(4), "cpu")
    assert many.keypoints is not None
    facing = (many.keypoints[:, [0, 14, 15], 2] == 2).all(1)
    right, left = many.keypoints[facing, 2, 0], many.keypoints[facing, 5, 0]
    assert facing.sum() > 10
    assert (right < left).float().mean() > 0.9


def test_captions_name_pose_and_clothes(batch: Batch) -> None:
    for caption in batch.captions:
        assert any(action in caption for action in ACTIONS), caption
        worn = re.findall(rf"({'|'.join(COLORS)}) (?:shirt|t-shirt|dress|trousers|shorts)", caption)
        assert worn, caption
        assert not re.search(r"\ba [aeiou]", caption), caption
    assert (batch.material == NONE).all()
    assert (batch.shape == NONE).all()


def test_the_same_seed_makes_the_same_people() -> None:
    first, again = (people(3, 32, torch.Generator().manual_seed(5), "cpu") for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.keypoints, again.keypoints)  # type: ignore[arg-type]
    assert first.captions == again.captions


def test_a_typical_action_has_one_pose_seen_from_the_front() -> None:
    batch = people(100, 32, torch.Generator().manual_seed(6), "cpu", typical=True)
    assert batch.keypoints is not None
    for action in ACTIONS:
        here = [i for i, caption in enumerate(batch.captions) if action in caption]
        assert len(here) > 1, action
        places = batch.keypoints[here][..., :2]
        assert (places == places[0]).all(), action
    assert not any("seen from" in caption for caption in batch.captions)
    dressed = ["shirt" in caption or "dress" in caption for caption in batch.captions]
    assert 50 < sum(dressed) < 90, "most captions name clothes, some leave them open"
    assert len(set(batch.captions)) > 90


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_bends_joints_within_their_limits(action: str) -> None:
    rng = Random(1)
    for _ in range(40):
        pose = ACTIONS[action](rng)
        for arm in pose.arms:
            assert -20 <= arm.spread <= 175
            assert -60 <= arm.swing <= 175
            assert 0 <= arm.bend <= 150
        for leg in pose.legs:
            assert -5 <= leg.spread <= 50
            assert -40 <= leg.swing <= 125
            assert 0 <= leg.bend <= 140
