from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from server.starter.judge import JOINTS, WEIGHTS, FigureJudge, Judge, MaterialJudge, limbs_in_place, overlap, places
from server.starter.judge_training import (
    Swatches,
    make_figures,
    make_swatches,
    measure_figures,
    measure_materials,
    moved,
    train,
)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def test_the_judge_knows_materials_and_colours_on_fresh_pictures(judge: Judge) -> None:
    fresh = make_swatches(3, seed=90_001)
    accuracy = measure_materials(judge.materials, fresh)
    assert accuracy["material"] > 0.75
    assert accuracy["color"] > 0.9
    natural = fresh.color < 0
    undyed = Swatches(fresh.image[natural], fresh.material[natural], fresh.color[natural])
    assert measure_materials(judge.materials, undyed)["material"] > 0.9


def test_the_judge_finds_silhouettes_and_limbs_on_fresh_pictures(judge: Judge) -> None:
    accuracy = measure_figures(judge.figures, make_figures(40, 40, seed=90_002))
    assert accuracy["silhouette"] > 0.82
    assert accuracy["person silhouette"] > 0.7
    assert accuracy["limbs"] > 0.5


def test_the_accuracy_is_told_beside_the_weights(judge: Judge) -> None:
    assert set(judge.accuracy) == {"material", "color", "silhouette", "person silhouette", "limbs"}


def test_the_weights_are_small_and_whole() -> None:
    assert WEIGHTS.stat().st_size < 2.5e6
    assert all(torch.isfinite(tensor).all() for tensor in load_file(WEIGHTS).values())


def test_bigger_pictures_get_the_same_answers(judge: Judge) -> None:
    figures = make_figures(4, 4, seed=90_003)
    image = figures.image.float() / 255
    double = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear")
    assert overlap(judge.silhouette(image), judge.silhouette(double)).min() > 0.85


def test_a_missing_judge_names_the_command_that_trains_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="judge_training"):
        Judge.load(tmp_path / "none.safetensors")


def test_training_goes_on_from_what_is_done(tmp_path: Path) -> None:
    sizes = {"swatches": 1, "solids": 4, "persons": 4, "material_steps": 2, "figure_steps": 2, "bf16": True}
    train(tmp_path / "judge.safetensors", tmp_path, **sizes)
    (tmp_path / "figures-net.pt").unlink()
    before = (tmp_path / "materials-net.pt").stat().st_mtime_ns
    train(tmp_path / "judge.safetensors", tmp_path, **sizes)
    assert (tmp_path / "materials-net.pt").stat().st_mtime_ns == before
    loaded = Judge.load(tmp_path / "judge.safetensors")
    assert set(loaded.accuracy) >= {"material", "limbs"}


def test_a_subject_and_its_keypoints_move_with_the_picture() -> None:
    """A white square with a keypoint in its middle is still that, wherever it has been moved."""
    image = torch.zeros(24, 3, 64, 64)
    image[:, :, 30:42, 20:32] = 1
    keypoints = torch.tensor([[[26.0, 36.0, 2.0], [1.0, 1.0, 2.0]]]).repeat(24, 1, 1)
    new, subject, points = moved(image, image[:, 0] > 0, keypoints, torch.Generator().manual_seed(3))
    assert ((new[:, 0] > 0.5) == subject).all()
    for mask, (x, y, _) in zip(subject, points[:, 0].tolist(), strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        assert (columns.float().mean() + 0.5).item() == pytest.approx(x, abs=0.6)
        assert (rows.float().mean() + 0.5).item() == pytest.approx(y, abs=0.6)
    corner = points[:, 1]
    outside = ((corner[:, :2] < 0) | (corner[:, :2] >= 64)).any(1)
    assert outside.any()
    assert torch.equal(corner[:, 2] == 0, outside)


def test_the_overlap_of_masks_is_intersection_over_union() -> None:
    a, b = torch.zeros(3, 4, 4, dtype=torch.bool), torch.zeros(3, 4, 4, dtype=torch.bool)
    a[0, :2], b[0, 1:3] = True, True
    a[1, 0] = True
    assert overlap(a, b).tolist() == pytest.approx([1 / 3, 0, 1])


def test_places_are_the_peaks_in_parts_of_the_side() -> None:
    heat = torch.full((1, 1, 16, 16), -9.0)
    heat[0, 0, 3, 10] = 9.0
    assert places(heat)[0, 0].tolist() == pytest.approx([10.5 / 16, 3.5 / 16], abs=1e-3)


def test_a_limb_counts_where_both_ends_are_seen_and_is_right_where_both_are_near() -> None:
    keypoints = torch.zeros(1, 18, 3)
    keypoints[0, :, 2] = 2
    keypoints[0, :, 0] = torch.linspace(10, 90, 18)
    keypoints[0, :, 1] = torch.linspace(0, 100, 18)
    found = keypoints[:, :JOINTS, :2] / 100
    good, counts = limbs_in_place(found, keypoints, 100)
    assert good.all()
    assert counts.all()
    found[0, 3, 0] += 0.15  # the right elbow: upper arm and forearm are lost
    keypoints[0, 9, 2] = 1  # the right knee is hidden: thigh and shin do not count
    good, counts = limbs_in_place(found, keypoints, 100)
    assert good[0].tolist() == [False, False, *[True] * 6]
    assert counts[0].tolist() == [True] * 4 + [False] * 2 + [True] * 2


def test_untrained_networks_know_nothing() -> None:
    torch.manual_seed(0)
    assert measure_materials(MaterialJudge().eval(), make_swatches(1, seed=5))["material"] < 0.2
    assert measure_figures(FigureJudge().eval(), make_figures(4, 4, seed=5))["limbs"] < 0.3
