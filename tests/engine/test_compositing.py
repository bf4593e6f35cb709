"""Masks grow by true distance, regions fit the model, and pasting touches nothing that is not covered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.compositing import Region, around, coverage, from_float, latent_cover, paste, resize, to_float, whole


def square(side: int = 40, low: int = 15, high: int = 25) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[low:high, low:high] = 255
    return mask


def distances(mask: np.ndarray) -> np.ndarray:
    """By comparing every pixel with every other one."""
    inside = np.argwhere(mask >= 128)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    return np.sqrt(((y[..., None] - inside[:, 0]) ** 2 + (x[..., None] - inside[:, 1]) ** 2).min(axis=-1))


@pytest.mark.parametrize("grow", [1, 3, 8])
def test_a_mask_grows_by_euclidean_distance(grow):
    rng = np.random.default_rng(grow)
    mask = np.where(rng.random((33, 47)) < 0.01, 255, 0).astype(np.uint8)
    mask[5, 6] = 255
    np.testing.assert_array_equal(coverage(mask, grow) == 1, distances(mask) <= grow)


def test_a_mask_shrinks_as_its_outside_grows():
    shrunk = coverage(square(), -3)
    np.testing.assert_array_equal(shrunk == 1, distances(255 - square()) > 3)
    assert set(np.unique(shrunk)) == {0, 1}
    assert not coverage(square(), -5).any()


def test_feather_falls_from_one_to_zero_outside_of_the_grown_mask():
    cover = coverage(square(), grow=2, feather=4)
    distance = distances(square())
    assert (cover[distance <= 2] == 1).all()
    assert (cover[distance > 6] == 0).all()
    row = cover[20, 25:33]
    assert (np.diff(row) <= 0).all()
    np.testing.assert_allclose(row, [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0], atol=1e-6)


def test_a_soft_mask_is_taken_as_it_is():
    soft = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(coverage(soft), soft)
    np.testing.assert_allclose(coverage((soft * 65535).astype(np.uint16)), soft, atol=2e-5)


@given(
    dtype=st.sampled_from([np.uint8, np.uint16, np.float16, np.float32]), seed=st.integers(0, 99),
    channels=st.sampled_from([3, 4]),
)  # fmt: skip
def test_pasting_keeps_every_bit_where_nothing_is_covered(dtype, seed, channels):
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (9, 7, channels * np.dtype(dtype).itemsize), np.uint8)
    original = raw.view(dtype)  # any bits, NaN and infinities among them
    cover = np.where(rng.random((9, 7)) < 0.5, 0, rng.random((9, 7))).astype(np.float32)
    painted = rng.random((9, 7, 3)).astype(np.float32)
    with np.errstate(all="ignore"):
        result = paste(original, painted, cover)
    assert result[cover == 0].tobytes() == original[cover == 0].tobytes()
    assert result[..., 3:].tobytes() == original[..., 3:].tobytes()
    full = paste(original, painted, np.ones((9, 7), np.float32))
    assert full[..., :3].tobytes() == from_float(painted, original.dtype).tobytes()


def test_integers_survive_the_way_through_float():
    for dtype in (np.uint8, np.uint16):
        every = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
        np.testing.assert_array_equal(from_float(to_float(every), every.dtype), every)


@given(
    width=st.integers(70, 300), height=st.integers(70, 300), left=st.integers(0, 60), top=st.integers(0, 60),
    size=st.integers(1, 90), padding=st.integers(0, 50),
)  # fmt: skip
def test_a_region_holds_its_mask_and_its_padding_and_can_be_painted(width, height, left, top, size, padding):
    cover = np.zeros((height, width), np.float32)
    cover[top : top + size, left : left + size] = 1
    region = around(cover, padding, 128)
    assert region.x <= max(0, left - padding)
    assert region.x + region.width >= min(width, left + size + padding)
    assert region.y + region.height <= height
    assert region.paint_width % 8 == region.paint_height % 8 == 0
    assert min(region.paint_width, region.paint_height) >= 64
    assert region.paint_width >= region.width
    assert region.cut(cover).shape == (region.paint_height, region.paint_width)
    painted = np.zeros((region.paint_height, region.paint_width, 3), np.float32)
    assert region.restore(painted).shape == (region.height, region.width, 3)


def test_a_small_region_is_painted_at_the_models_own_size():
    cover = np.zeros((1000, 1000), np.float32)
    cover[500:550, 500:600] = 1
    region = around(cover, 0, 512)
    assert (region.paint_width, region.paint_height) == (728, 368)
    assert 0.95 < region.paint_width * region.paint_height / 512**2 < 1.05


def test_a_picture_that_needs_no_padding_is_cut_as_it_is():
    image = np.random.default_rng(0).random((64, 72, 3), np.float32)
    region = whole(72, 64)
    assert region == Region(0, 0, 72, 64, 72, 64)
    np.testing.assert_array_equal(region.cut(image), image)
    np.testing.assert_array_equal(region.restore(image), image)


def test_resizing_keeps_floats_that_eight_bits_would_not():
    ramp = np.linspace(0.5, 0.5001, 64, dtype=np.float32)[None].repeat(64, 0)
    assert len(np.unique(resize(ramp, 128, 128))) > 50


def test_a_latent_that_holds_one_painted_pixel_is_painted():
    cover = np.zeros((16, 24), np.float32)
    cover[7, 8] = 0.01
    np.testing.assert_array_equal(latent_cover(cover), [[0, 1, 0], [0, 0, 0]])
