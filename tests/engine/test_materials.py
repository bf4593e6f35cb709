"""A material's maps: all of them tile, normals are the height's own, and words and joints are heeded."""

import numpy as np
import pytest

from server.engine import materials, relief, torus
from server.engine.compositing import from_float
from server.engine.materials import Estimates

RING = (True, True)


def noise(size=256, seed=0):
    rng = np.random.default_rng(seed)
    layers = [torus.blur(rng.random((size, size, 3)).astype(np.float32), sigma, RING) for sigma in (1, 4, 16)]
    total = sum((layer - layer.mean()) / layer.std() for layer in layers)
    return np.clip(0.5 + 0.12 * total, 0, 1).astype(np.float32)


def bricks(size=256):
    """Dark bricks in running bond with bright mortar: (size, size, 3), and where the mortar is."""
    y, x = np.mgrid[:size, :size]
    shifted = x + (y // 32 % 2) * 32
    mortar = (y % 32 < 4) | (shifted % 64 < 4)
    picture = np.where(mortar[..., None], 0.75, np.array([0.35, 0.2, 0.15])).astype(np.float32)
    return np.clip(picture + 0.05 * (noise(size) - 0.5), 0, 1), mortar


def pictures_of(material):
    return {
        "albedo": from_float(material.albedo, np.dtype(np.uint8)),
        "normal": relief.encoded(material.normal),
        "height": from_float(material.height, np.dtype(np.uint16)),
        "roughness": from_float(material.roughness, np.dtype(np.uint8)),
        "metallic": from_float(material.metallic, np.dtype(np.uint8)),
        "ambient_occlusion": from_float(material.ambient_occlusion, np.dtype(np.uint8)),
    }


@pytest.mark.parametrize("words", ["gravel", "rusty iron"])
def test_every_map_of_a_picture_that_tiles_tiles(words):
    material, _ = materials.calm(materials.of_picture(noise(), RING, words=words), RING)
    for name, picture in pictures_of(material).items():
        assert max(torus.seam_ratio(picture)) <= 1.15, name
    assert set(material.sources) == set(materials.MAPS)


def test_the_maps_do_not_know_where_the_picture_begins():
    picture = bricks()[0]
    first = materials.of_picture(picture, RING, words="rusty iron")
    second = materials.of_picture(np.roll(picture, (70, 45), (0, 1)), RING, words="rusty iron")
    for name in materials.MAPS:
        expected = np.roll(getattr(first, name), (70, 45), (0, 1))
        np.testing.assert_allclose(getattr(second, name), expected, atol=2e-3, err_msg=name)


def test_the_stored_normals_are_unit_and_those_of_the_stored_height():
    material = materials.of_picture(noise(), RING, depth=0.08)
    seen = relief.decoded(relief.encoded(material.normal))
    np.testing.assert_allclose(np.linalg.norm(seen, axis=-1), 1, atol=1e-2)
    stored = from_float(material.height, np.dtype(np.uint16)).astype(np.float32) / 65535
    cosine = (seen * relief.normals(stored, 0.08, RING)).sum(-1) / np.linalg.norm(seen, axis=-1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 1
    assert seen[..., :2].std() > 0.1  # and it is not flat


def test_bright_mortar_lies_deeper_than_dark_bricks():
    picture, mortar = bricks()
    material = materials.of_picture(picture, RING)
    assert "joints" in material.sources["height"]
    assert material.height[mortar].mean() < 0.3
    assert material.height[~mortar].mean() > 0.6


def test_dark_is_deep_where_no_bright_net_is():
    picture, mortar = bricks()
    material = materials.of_picture(1 - picture, RING)
    assert material.sources["height"].endswith("dark is deep")
    assert material.height[mortar].mean() < material.height[~mortar].mean() - 0.2


def test_uneven_light_is_taken_out_of_the_albedo_by_the_amount_asked_for():
    x = np.arange(256)[None, :]
    light = (0.75 + 0.25 * np.sin(2 * np.pi * x / 256)).astype(np.float32)
    lit = noise() * light[..., None]

    def unevenness(amount):
        albedo = materials.of_picture(lit, RING, flatten=amount).albedo.mean(-1)
        return np.abs(np.fft.fft(albedo.mean(0))[1])

    assert unevenness(1.0) < unevenness(0.5) * 0.75 < unevenness(0.0) * 0.6
    np.testing.assert_array_equal(materials.of_picture(lit, RING, flatten=0).albedo, lit)


@pytest.mark.parametrize(
    ("words", "metallic", "rougher"),
    [("polished steel", 1.0, False), ("mossy stones", 0.0, True), ("", 0.0, True), ("the ironic goldfish", 0.0, True)],
)
def test_only_a_word_for_a_metal_makes_a_metal(words, metallic, rougher):
    material = materials.of_picture(noise(), RING, words=words)
    assert material.metallic.min() == material.metallic.max() == metallic
    assert (material.roughness.mean() > 0.5) == rougher


def test_rust_is_no_metal_and_duller_than_what_is_bare():
    picture = np.repeat(noise()[..., :1], 3, -1) * 0.6 + 0.2
    rust = np.zeros((256, 256), bool)
    rust[64:128, 64:160] = True
    picture[rust] = picture[rust] * np.array([1.2, 0.6, 0.3])
    material = materials.of_picture(picture.astype(np.float32), RING, words="rusty iron")
    assert material.metallic[rust].mean() < 0.3 < 0.45 < material.metallic[~rust].mean()
    assert material.roughness[rust].mean() > material.roughness[~rust].mean()


def test_what_a_model_has_read_comes_before_analysis_and_is_said():
    truth = relief.normals(noise()[..., 0], 0.1, RING)
    rough = noise(seed=5)[..., 0]
    read = Estimates(normal=truth, roughness=rough, by={"normal": "Marigold", "roughness": "Marigold"})
    material = materials.of_picture(noise(seed=3), RING, estimates=read, depth=0.1)
    np.testing.assert_array_equal(material.roughness, rough)
    assert np.corrcoef(material.height.ravel(), noise()[..., 0].ravel())[0, 1] > 0.99
    assert "Marigold" in material.sources["roughness"]
    assert "Marigold" in material.sources["height"]
    assert "Marigold" not in material.sources["albedo"]
