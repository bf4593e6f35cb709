from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from server.starter import measures
from server.starter.evaluate import SHEET, evaluate, own_guidance
from server.starter.judge import Judge
from server.starter.measures import Measure, control_image, seam_ratio, solids, ssim
from server.starter.people import people
from server.starter.pipelines import Pipelines
from server.starter.words import MATERIALS
from tests import tiny_models


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in the starter's layout: what it paints is noise."""
    folder = tmp_path_factory.mktemp("starter")
    tiny_models.sd(folder / "weights", seed=1, latent_channels=16)
    for seed, kind in enumerate(("depth", "normal", "openpose")):
        tiny_models.controlnet(folder / "weights", folder / "weights" / f"controlnet-{kind}", seed=seed)
    return folder / "weights"


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


@pytest.fixture(scope="module")
def pipelines(weights: Path) -> Pipelines:
    return Pipelines(weights, "cpu", steps=2, guidance_scale=2.0, at_once=2)


def test_evaluate_measures_every_promise_of_a_model(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = "materials,depth,normal,pose,seams,strengths,filling"
    evaluate(weights, tmp_path, size=64, steps=5, seed=5, each=1, figures=2, textures=2, only=parts)
    report = json.loads((tmp_path / "measures.json").read_text())
    names = " ".join(m["name"] for m in report["measures"])
    for promise in ("material", "colour", "depth", "normal", "pose", "along x", "along y", "image to", "inpainting"):
        assert promise in names
    assert report["judge"]["material"] > 0.8
    assert "material of the prompt" in capsys.readouterr().out.replace("\n", " ")


def test_favored_controls_are_painted_otherwise_and_kept_apart(weights: Path, tmp_path: Path) -> None:
    control = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def painted(favor: bool) -> torch.Tensor:
        made = Pipelines(weights, "cpu", steps=2, guidance_scale=3.0, keep=tmp_path, favor_controls=favor)
        return made.follow("depth", ["a red cube"], [1], control)

    balanced, favored = painted(False), painted(True)
    assert not torch.equal(balanced, favored)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_noise_passes_no_measure_of_obedience(pipelines: Pipelines, judge: Judge) -> None:
    for measure in measures.materials(pipelines, judge, 1, 64, 3):
        assert measure.value < 0.35, measure
        assert not measure.reached
    for kind in ("depth", "normal"):
        assert not measures.silhouettes(pipelines, judge, kind, 3, 64, 3).reached
    assert not measures.limbs(pipelines, judge, 3, 64, 3).reached


class Perfect:
    """In place of a model: it paints the very pictures that the conditions were made of."""

    def __init__(self, pictures: torch.Tensor) -> None:
        self.pictures = pictures

    def follow(self, kind: str, prompts: list[str], seeds: list[int], controls: torch.Tensor) -> torch.Tensor:
        return self.pictures


def test_a_perfect_model_is_limited_by_the_judge_alone_and_shuffled_conditions_are_far_below(judge: Judge) -> None:
    drawn = solids(12, 128, 21)
    measure = measures.silhouettes(Perfect(drawn.image), judge, "depth", 12, 128, 21)  # type: ignore[arg-type]
    assert measure.value == pytest.approx(measure.truth)
    assert measure.value > 0.8
    assert measure.shuffled is not None
    assert measure.shuffled < 0.4
    persons = people(12, 128, torch.Generator().manual_seed(21), "cpu")
    limbs = measures.limbs(Perfect(persons.image), judge, 12, 128, 21)  # type: ignore[arg-type]
    assert limbs.value > 0.5
    assert limbs.shuffled is not None
    assert limbs.shuffled < 0.5 * limbs.value


def test_inpainting_keeps_every_pixel_outside_of_its_mask(pipelines: Pipelines) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, 1, 64, 64)
    masks[:, :, 16:48, 8:40] = 1
    painted = pipelines.fill(["brick", "sand"], [1, 2], images, masks)
    outside = masks.expand_as(images) == 0
    assert torch.equal(painted[outside], images[outside])
    assert (painted - images).abs()[~outside].mean() > 0.02


def test_what_was_painted_is_kept_for_the_same_model_and_conditions_alone(weights: Path, tmp_path: Path) -> None:
    first, again = (Pipelines(weights, "cpu", 2, 2.0, keep=tmp_path) for _ in range(2))
    picture = first.paint(["brick"], [1], 64)

    def fail(*_: object, **__: object) -> torch.Tensor:
        raise AssertionError("painted again")

    again._batched = fail  # type: ignore[method-assign]
    assert torch.equal(again.paint(["brick"], [1], 64), picture)
    for other in ((["sand"], [1], 64), (["brick"], [2], 64), (["brick"], [1], 72), (["brick"], [1], 64, (True, True))):
        with pytest.raises(AssertionError, match="painted again"):
            again.paint(*other)  # type: ignore[arg-type]


def test_how_many_are_painted_at_a_time_changes_no_picture(weights: Path, pipelines: Pipelines) -> None:
    prompts, seeds = ["brick", "sand", "ice"], [3, 4, 5]
    together = pipelines.paint(prompts, seeds, 64)
    alone = torch.cat([pipelines.paint([p], [s], 64) for p, s in zip(prompts, seeds, strict=True)])
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=0)


def test_the_seam_ratio_is_1_for_what_tiles_and_large_for_a_ramp() -> None:
    x = torch.arange(64) / 64
    wave = torch.sin(2 * torch.pi * x).expand(1, 3, 64, 64)
    assert seam_ratio(wave)[0, 0] < 1.7  # a sine is steepest at the edge
    tiles = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)).repeat(1, 1, 8, 8)
    assert seam_ratio(tiles)[0].tolist() == pytest.approx([1.0, 1.0], abs=0.25)
    ramp = x.expand(1, 3, 64, 64)
    assert seam_ratio(ramp)[0, 0] > 30
    assert seam_ratio(ramp.transpose(2, 3))[0, 1] > 30


def test_ssim_is_1_for_the_same_picture_and_falls_with_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    picture = torch.rand(1, 3, 64, 64, generator=generator)
    noise = torch.randn(1, 3, 64, 64, generator=generator)
    values = [ssim(picture + noise * s, picture).item() for s in (0, 0.05, 0.2, 0.8)]
    assert values[0] == pytest.approx(1.0, abs=1e-5)
    assert values == sorted(values, reverse=True)


def test_control_images_are_drawn_in_the_conventions_of_depth3d() -> None:
    batch = solids(1, 64, 3)
    depth = control_image("depth", batch, 0)
    assert batch.depth is not None
    z = batch.depth[0]
    nearest = z.flatten().argmin()
    assert depth[0].flatten()[nearest] == 1  # near is white
    assert (depth[:, ~torch.isfinite(z)] == 0).all()
    normal = control_image("normal", batch, 0)
    sky = normal[:, ~torch.isfinite(z)]
    assert sky.numel() == 0 or torch.allclose(sky[2], torch.ones_like(sky[2]))


def test_a_measure_knows_whether_it_is_reached() -> None:
    assert Measure("iou", 0.9, 0.85).reached
    assert not Measure("iou", 0.8, 0.85).reached
    assert Measure("seconds", 1.0, 2.0, at_most=True).reached
    assert Measure("free", 1.0).reached is None


def test_the_contact_sheet_has_64_prompts() -> None:
    assert len(MATERIALS) + len(SHEET) == 64
    assert len(set(SHEET)) == len(SHEET)


def test_the_guidance_is_the_one_that_the_model_names(tmp_path: Path) -> None:
    assert own_guidance(tmp_path) == 4.0
    (tmp_path / "brushwire.json").write_text('{"guidance_scale": 2.5}')
    assert own_guidance(tmp_path) == 2.5


def test_a_folder_without_a_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        Pipelines(tmp_path, "cpu", 2, 1.0)
