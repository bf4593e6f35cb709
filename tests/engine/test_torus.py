"""Filters on a ring: what they make of a picture that continues continues too, and slopes and heights agree."""

import numpy as np
import pytest

from server.engine import relief, torus

RNG = np.random.default_rng(0)
ALL = [(True, True), (True, False), (False, True), (False, False)]


def surface(height=96, width=128, wraps=(True, True), sigma=3.0):
    """A random smooth height, 0 to 1, that continues as `wraps` says."""
    noise = torus.blur(RNG.random((height, width)).astype(np.float32), sigma, wraps)
    return (noise - noise.min()) / (noise.max() - noise.min())


@pytest.mark.parametrize("make", [
    lambda h: torus.blur(h, 5, (True, True)),
    lambda h: np.stack(torus.gradient(h, (True, True)), -1),
    lambda h: relief.normals(h, 0.1, (True, True)),
    lambda h: relief.openness(h, 0.1, (True, True)),
    lambda h: torus.integrated(*torus.gradient(h, (True, True)), (True, True)),
])  # fmt: skip
def test_a_filter_on_a_ring_does_not_know_where_the_picture_begins(make):
    height = surface()
    rolled = make(np.roll(height, (31, 50), (0, 1)))
    np.testing.assert_allclose(rolled, np.roll(make(height), (31, 50), (0, 1)), atol=2e-5)


@pytest.mark.parametrize("size", [(128, 96), (64, 48), (192, 144), (200, 96), (128, 61)])
def test_another_size_goes_on_across_the_edge(size):
    height = surface(sigma=4)
    scaled = torus.scaled(height, *size, (True, True))
    assert scaled.shape == size[::-1]
    assert max(torus.seam_ratio(scaled)) < 1.4
    # Against a large piece of the endless picture, where nothing can be an edge.
    tiled = torus.scaled(np.tile(height, (3, 3)), size[0] * 3, size[1] * 3, (False, False))
    np.testing.assert_allclose(scaled, tiled[size[1] : -size[1], size[0] : -size[0]], atol=1e-5)


@pytest.mark.parametrize("wraps", ALL)
def test_the_integral_of_a_heights_normals_is_the_height(wraps):
    height = surface(wraps=wraps)
    back, depth = relief.height_of(relief.normals(height, 0.2, wraps), wraps)
    assert depth == pytest.approx(0.2, rel=1e-3)
    np.testing.assert_allclose(back, height, atol=1e-3)


def test_normals_are_unit_and_point_up_the_picture_where_the_surface_falls_that_way():
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[:, None].repeat(64, 1)  # rises towards the bottom
    field = relief.normals(ramp, 0.5, (False, False))
    np.testing.assert_allclose(np.linalg.norm(field, axis=-1), 1, atol=1e-6)
    assert (field[..., 1] > 0.4).sum() > 60 * 64  # OpenGL: green up
    assert relief.encoded(field, "opengl")[32, 32, 1] > 180
    assert relief.encoded(field, "directx")[32, 32, 1] < 75
    decoded = relief.decoded(relief.encoded(field, "directx"), "directx")
    np.testing.assert_allclose(decoded, field, atol=1.01 / 255)


def test_a_pit_sees_less_of_the_sky_and_a_plain_all_of_it():
    flat = np.full((64, 64), 0.5, np.float32)
    assert relief.openness(flat, 0.1, (True, True)).min() == 1
    y, x = np.mgrid[:64, :64]
    pit = (np.hypot(y - 32, x - 32) > 2).astype(np.float32)
    seen = relief.openness(pit, 0.1, (True, True))
    assert seen[32, 32] < 0.5
    assert seen[0, 0] == 1


def test_the_seam_ratio_tells_a_cut_from_a_ring():
    height = surface()
    assert max(torus.seam_ratio(height)) < 1.4
    assert torus.seam_ratio(height[:, :90])[0] > 3
    assert torus.seam_ratio(np.full((8, 8), 7, np.uint8)) == (1, 1)
