"""Krita's bytes to what travels and back, without Krita."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.krita import pixels
from plugins.krita.bounds import Bounds

DTYPES = {"U8": np.uint8, "U16": np.uint16, "F16": np.float16, "F32": np.float32}


def array_of(picture):
    return np.frombuffer(picture.data, picture.dtype).reshape(picture.height, picture.width, picture.channels)


@pytest.mark.parametrize("depth", DTYPES)
def test_integers_are_blue_first_and_floats_are_not(depth):
    travels = np.arange(1, 13).reshape(1, 3, 4).astype(DTYPES[depth])
    krita = travels[..., [2, 1, 0, 3]] if depth in ("U8", "U16") else travels
    picture = pixels.from_krita(krita.tobytes(), 3, 1, "RGBA", depth)
    assert np.array_equal(array_of(picture), travels)
    assert pixels.to_krita(picture) == krita.tobytes()


@pytest.mark.parametrize("depth", DTYPES)
def test_grey_travels_as_three_equal_channels_and_comes_back(depth):
    krita = np.array([[5, 1], [7, 0]], DTYPES[depth]).tobytes()
    picture = pixels.from_krita(krita, 2, 1, "GRAYA", depth)
    assert array_of(picture)[0].tolist() == [[5, 5, 5, 1], [7, 7, 7, 0]]
    assert pixels.grey_of(picture) == krita


def test_colours_are_no_grey():
    assert pixels.grey_of(pixels.Picture(bytes([1, 2, 1]), 1, 1, 3, "uint8")) is None


@pytest.mark.parametrize(
    ("depth", "expected"), {"U8": 128, "U16": 128 * 257, "F16": 128 / 255, "F32": 128 / 255}.items()
)
def test_a_mask_becomes_the_alpha_of_any_depth(depth, expected):
    picture = pixels.Picture(np.ones((1, 2, 3), DTYPES[depth]).tobytes(), 2, 1, 3, pixels.DTYPES[depth])
    out = np.frombuffer(pixels.to_krita(picture, bytes([0, 128])), DTYPES[depth]).reshape(2, 4)
    assert out[0, 3] == 0
    assert out[1, 3] == pytest.approx(expected, rel=1e-3)


def test_nan_and_infinity_keep_their_bits():
    values = np.array([[[np.nan, np.inf, -np.inf, 1.0]]], np.float32)
    assert pixels.to_krita(pixels.from_krita(values.tobytes(), 1, 1, "RGBA", "F32")) == values.tobytes()


def test_a_picture_of_another_length_than_its_size_is_refused():
    with pytest.raises(ValueError, match="12 bytes, not 11"):
        pixels.Picture(bytes(11), 2, 2, 3, "uint8")


def test_rolling_moves_a_picture_around_its_edges():
    image = np.random.default_rng(1).integers(0, 256, (5, 7, 4), np.uint8)
    picture = pixels.Picture(image.tobytes(), 7, 5, 4, "uint8")
    assert np.array_equal(array_of(pixels.rolled(picture, 3, -2)), np.roll(image, (-2, 3), (0, 1)))


def test_a_rectangle_is_cut_out_of_rows():
    image = np.arange(5 * 7 * 4, dtype=np.uint8).reshape(5, 7, 4)
    assert pixels.cut(image.tobytes(), 7, 2, 1, 3, 2, 4) == image[1:3, 2:5].tobytes()


def test_depth_is_stretched_to_be_looked_at():
    depth = pixels.Picture(np.array([[2.0, 4.0], [3.0, np.inf]], np.float32).tobytes(), 2, 2, 1, "float32")
    shown = np.frombuffer(pixels.stretched(depth).data, np.uint16)
    assert shown.tolist() == [0, 65535, 32768, 0]


def test_a_rectangle_grows_around_its_middle_and_stays_inside():
    assert Bounds(10, 10, 4, 4).at_least(64, Bounds(0, 0, 100, 50)) == Bounds(0, 0, 64, 50)
    assert Bounds(90, 5, 4, 4).at_least(20, Bounds(0, 0, 100, 50)) == Bounds(80, 0, 20, 20)
    assert Bounds(0, 0, 4, 4).intersect(Bounds(10, 10, 4, 4)).is_empty
    assert Bounds(0, 0, 4, 4).unite(Bounds(10, 10, 4, 4)) == Bounds(0, 0, 14, 14)
