"""The materials are seamless, their normals agree with their heights, and a seed fixes them."""

from __future__ import annotations

import pytest
import torch

from server.starter.captions import COLORLESS, OTHER_WORDS, material_caption
from server.starter.materials import LIGHT, normals_of_height, render
from server.starter.surfaces import RECIPES
from server.starter.words import COLORS, MATERIALS

SIZE = 64


def seam_rank(image: torch.Tensor, axis: int) -> float:
    """How many of a picture's steps between neighbours are about as large as that across its wrap-around edge.

    image: (b, c, h, w). Half of them, on average, where the edges meet: the seam is a place like any other, though a
    mortar line may lie there. None where they do not. Averaged over the pictures.
    """
    steps = (image.roll(-1, axis) - image).abs().mean(dim=(1, 5 - axis))
    return float((1.15 * steps >= steps[:, -1:]).float().mean())


@pytest.mark.parametrize("name", MATERIALS)
def test_the_edges_of_a_material_meet(name: str) -> None:
    image = render([name] * 24, SIZE, torch.Generator().manual_seed(5)).image
    for axis in (2, 3):
        assert seam_rank(image, axis) > 0.4, f"{name} has a seam on axis {axis}"


@pytest.mark.parametrize("name", ["sand", "marble", "wood planks", "snow", "water"])
def test_the_measure_of_seams_sees_one_where_a_picture_is_cut(name: str) -> None:
    image = render([name] * 24, SIZE, torch.Generator().manual_seed(5)).image
    cut = image[:, :, : SIZE * 3 // 4 - 3, : SIZE * 3 // 4 - 3]
    assert min(seam_rank(cut, 2), seam_rank(cut, 3)) < 0.25


@pytest.mark.parametrize("name", MATERIALS)
def test_the_normal_of_a_material_is_the_slope_of_its_height(name: str) -> None:
    maps = render([name] * 2, SIZE, torch.Generator().manual_seed(3))
    assert maps.normal.norm(dim=1).sub(1).abs().max() < 1e-5
    assert (maps.normal[:, 2] > 0).all()
    height = maps.height * maps.relief.view(-1, 1, 1)
    right = (height.roll(-1, 2) - height.roll(1, 2)) / 2
    down = (height.roll(-1, 1) - height.roll(1, 1)) / 2
    torch.testing.assert_close(-maps.normal[:, 0] / maps.normal[:, 2], right, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(maps.normal[:, 1] / maps.normal[:, 2], down, atol=1e-3, rtol=1e-3)


def test_a_slope_that_rises_to_the_right_faces_left_and_away_from_the_light_s_side_is_dark() -> None:
    height = torch.zeros(1, 8, 8)
    height[0, :, 2:5] = torch.tensor([1.0, 2.0, 3.0])
    assert normals_of_height(height)[0, 0, 4, 3] < 0
    assert LIGHT[0] < 0


def test_height_and_colour_stay_in_their_range() -> None:
    maps = render(list(MATERIALS), SIZE, torch.Generator().manual_seed(0))
    for tensor in (maps.image, maps.albedo, maps.height):
        assert tensor.isfinite().all()
        assert tensor.min() >= 0
        assert tensor.max() <= 1


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others() -> None:
    first, again, other = (
        render(["brick", "moss"], SIZE, torch.Generator().manual_seed(seed)).image for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("color", COLORS)
def test_a_colour_that_is_asked_for_is_the_nearest_one_to_the_albedo(color: str) -> None:
    names = ["plaster", "leather", "fabric", "sand", "brushed metal"]
    albedo = render(names, SIZE, torch.Generator().manual_seed(2), colors=[color] * len(names)).albedo
    mean = albedo.mean(dim=(2, 3)).mean(dim=0)
    distances = {name: float((mean - torch.tensor(centre)).norm()) for name, centre in COLORS.items()}
    assert min(distances, key=distances.__getitem__) == color


def test_a_typical_pattern_has_one_size_and_direction_whatever_its_scale() -> None:
    def repeats(typical: bool) -> list[list[int]]:
        """The strongest waves of each picture's grey, (down, right) in whole waves across the picture."""
        grey = render(["checker", "stripes"] * 12, SIZE, generator, scale=scale, typical=typical).albedo.mean(1)
        waves = torch.fft.rfft2(grey - grey.mean((1, 2), keepdim=True)).abs().flatten(1).argmax(1)
        return [[min(wave // columns, SIZE - wave // columns), wave % columns] for wave in waves.tolist()]

    generator, columns = torch.Generator().manual_seed(2), SIZE // 2 + 1
    scale = torch.linspace(0.6, 1.7, 24)
    typical = repeats(typical=True)
    assert all(typical[kind::2] == [wave] * 12 for kind, wave in enumerate(([4, 4], [0, 4])))
    free = repeats(typical=False)
    assert all(len({tuple(wave) for wave in free[kind::2]}) > 2 for kind in (0, 1))
    maps = render(["checker", "grass"], SIZE, generator, scale=torch.tensor([1.4, 1.4]), typical=True)
    assert maps.scale.tolist() == pytest.approx([1.0, 1.4])


def test_unknown_words_are_named_in_the_error() -> None:
    with pytest.raises(KeyError, match="cheese"):
        render(["cheese"], SIZE, torch.Generator())
    with pytest.raises(KeyError, match="beige"):
        render(["brick"], SIZE, torch.Generator(), colors=["beige"])


def test_every_material_has_a_recipe_and_words_of_its_own() -> None:
    assert tuple(RECIPES) == MATERIALS
    assert set(OTHER_WORDS) <= set(MATERIALS)
    assert set(COLORLESS) <= set(MATERIALS)


def test_a_caption_names_the_colour_and_the_material() -> None:
    from random import Random

    rng = Random(0)
    for _ in range(100):
        caption = material_caption("brick", "red", rng.uniform(0.6, 1.7), rng.random(), rng)
        assert "red" in caption
        assert "brick" in caption
