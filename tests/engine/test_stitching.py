"""Photographs made to continue: no joint shows, and what continues already is left alone."""

import numpy as np
import pytest

from server.engine import stitching, torus


def pebbles(height, width, seed=0):
    """Overlapping soft discs under a light that falls off to one corner: nothing about it repeats."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    picture = np.zeros((height, width, 3), np.float32)
    nearest = np.full((height, width), np.inf)
    for cx, cy, *colour in rng.random((height * width // 150, 5)):
        distance = np.hypot(x - cx * width, y - cy * height)
        near = distance < nearest
        nearest = np.minimum(nearest, distance)
        picture[near] = np.array(colour) * 0.6
    picture *= np.clip(1.2 - nearest / 12, 0, 1)[..., None]
    return (picture * (0.7 + 0.6 * x / width)[..., None]).astype(np.float32)


@pytest.fixture(scope="module")
def photograph():
    return pebbles(160, 200)


@pytest.mark.parametrize("wraps", [(True, True), (True, False), (False, True)])
def test_a_photograph_continues_where_it_was_asked_to(photograph, wraps):
    before = torus.seam_ratio(photograph)
    assert min(before) > 1.3
    made, joined = stitching.stitched(photograph, wraps)
    assert joined == wraps
    assert torus.continues(made) == wraps
    x, y = torus.calm_origin([made], wraps)
    for wrap, ratio in zip(wraps, torus.seam_ratio(np.roll(made, (-y, -x), (0, 1))), strict=True):
        assert ratio <= 1.15 if wrap else ratio > 1.3
    for wrap, period, side in zip(wraps, made.shape[1::-1], (200, 160), strict=True):
        assert side * 0.6 <= period <= side * 0.875 if wrap else period == side


def test_nowhere_inside_does_a_joint_show(photograph):
    """The largest jump between neighbours is what the photograph itself has, and its colours are kept."""
    made, _ = stitching.stitched(photograph, (True, True))
    for axis in (0, 1):
        jumps = np.abs(made - np.roll(made, 1, axis)).max(-1)
        own = np.abs(np.diff(photograph, axis=axis)).max(-1)
        assert np.quantile(jumps, 0.999) < np.quantile(own, 0.999) * 1.15
        line = jumps.mean(1 - axis)  # no row or column stands out
        assert line.max() < np.median(line) + 5 * line.std()
    np.testing.assert_allclose(made.mean((0, 1)), photograph.mean((0, 1)), atol=0.05)
    assert made.std() > 0.85 * photograph.std()


def test_a_pattern_is_cut_where_it_repeats():
    x = np.arange(203, dtype=np.float32)
    stripes = (0.5 + 0.4 * np.cos(2 * np.pi * x / 22))[None, :, None].repeat(64, 0).repeat(3, 2)
    assert torus.continues(stripes)[0] is False
    made, _ = stitching.stitched(stripes + pebbles(64, 203) * 0.05, (True, False))
    assert made.shape[1] % 22 in (0, 1, 21)


def test_what_continues_already_is_left_alone(photograph):
    once, _ = stitching.stitched(photograph, (True, True))
    again, joined = stitching.stitched(once, (True, True))
    assert again is once
    assert joined == (False, False)
