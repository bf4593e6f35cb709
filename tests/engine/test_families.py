"""Each family does all tasks in its true architecture, with two ControlNets, a LoRA, cancelling and previews."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import Cancelled, InvalidRequest
from server.engine.painting import ControlInput, Painting, PaintRequest, RegionInput
from server.engine.speed import Speed
from tests import tiny_models, tiny_transformers

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
MASK = np.zeros((64, 80), np.uint8)
MASK[16:48, 16:64] = 255
PIPELINES = {
    "sd3": "StableDiffusion3", "flux": "Flux", "qwen-image": "QwenImage", "z-image": "ZImage",
}  # fmt: skip


@pytest.fixture(scope="module", params=tiny_transformers.FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory) -> Path:
    return tiny_transformers.build(tmp_path_factory.mktemp(family), family)


@pytest.fixture(scope="module")
def painter(folder) -> Painter:
    return Painter(Catalog([folder], starter=None), "cpu")


@pytest.fixture(scope="module")
def ids(painter) -> dict[str, str]:
    return {info.name: info.id for info in painter.catalog.models()}


@pytest.fixture
def paint(painter) -> Callable[..., Painting]:
    def paint(*, on_progress=None, cancelled=None, **wanted) -> Painting:
        request = PaintRequest(**{"prompt": "a red wall", "seed": 7, "steps": 3, "width": 80, "height": 64, **wanted})
        return painter.paint(request, on_progress, cancelled)

    return paint


def of(image: np.ndarray, **wanted) -> dict:
    return {"image": image, "width": None, "height": None, **wanted}


def test_the_folder_is_told_by_its_configuration(painter, family):
    told = {info.name: info for info in painter.catalog.models()}
    assert (told["model"].kind, told["model"].family, told["model"].latent_channels) == (
        "checkpoint", family, 16 if family == "z-image" else 4
    )  # fmt: skip
    assert told["model"].tasks == ("text-to-image", "image-to-image", "inpaint")
    for control in ("depth", "canny"):
        net = told[f"model-controlnet-{control}"]
        assert (net.kind, net.control, net.fits(told["model"])) == ("controlnet", control, True)
    assert (told["model-lora"].kind, told["model-lora"].family) == ("lora", family)
    assert painter.catalog.refused() == []


def test_words_paint_bit_for_bit_what_diffusers_paints(paint, folder, family):
    cls = getattr(diffusers, f"{PIPELINES[family]}Pipeline")
    pipeline = tiny_models.aligned(cls.from_pretrained(folder / "model"))
    pipeline.set_progress_bar_config(disable=True)
    guidance = {"true_cfg_scale" if family == "qwen-image" else "guidance_scale": 3.0}
    negative = {} if family == "flux" else {"negative_prompt": "moss"}
    seen = pipeline(
        prompt="a red wall", width=80, height=64, num_inference_steps=3, generator=torch.Generator().manual_seed(7),
        **guidance, **negative,
    ).images[0]  # fmt: skip
    painted = paint(guidance_scale=3.0, negative_prompt="moss")
    np.testing.assert_array_equal(painted.images[0], np.asarray(seen))
    assert bool(painted.fallbacks) == (family == "flux")  # which knows no negative words, and says so


def test_a_picture_is_painted_anew_the_more_the_stronger(paint):
    picture = np.random.default_rng(1).random((75, 101, 3), np.float32)
    nearly = paint(**of(picture, denoising_strength=0.05, steps=20)).images[0]
    assert (nearly.shape, nearly.dtype) == (picture.shape, picture.dtype)
    distances = [
        np.abs(paint(**of(picture, denoising_strength=strength, steps=20)).images[0] - nearly).mean()
        for strength in (0.3, 0.6, 1.0)
    ]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_outside_of_a_mask_every_bit_stays(paint):
    for strength in (0.6, 1.0):
        painted = paint(**of(IMAGE, mask=MASK, denoising_strength=strength)).images[0]
        np.testing.assert_array_equal(painted[MASK == 0], IMAGE[MASK == 0])
        assert (painted[MASK > 0] != IMAGE[MASK > 0]).mean() > 0.9
    padded = paint(**of(IMAGE, mask=MASK, mask_padding=4, steps=1)).images[0]
    np.testing.assert_array_equal(padded[MASK == 0], IMAGE[MASK == 0])


def test_two_controlnets_at_once_act_with_pictures_and_masks(paint):
    maps = [np.random.default_rng(n).integers(0, 256, (64, 80, 3), np.uint8) for n in range(2)]
    depth, canny = ControlInput("depth", maps[0], weight=0.8), ControlInput("canny", maps[1], weight=0.5, end=0.7)
    plain, one = paint().images[0], paint(controls=(depth,)).images[0]
    two = paint(controls=(depth, canny))
    assert len(two.controlnets) == 2
    assert (plain != one).any()
    assert (one != two.images[0]).any()
    masked = paint(**of(IMAGE, mask=MASK, denoising_strength=0.7, controls=(depth, canny))).images[0]
    np.testing.assert_array_equal(masked[MASK == 0], IMAGE[MASK == 0])
    np.testing.assert_array_equal(paint().images[0], plain)
    again = paint(controls=(depth, canny), seed=6, batch=2)
    # Whatever else was drawn in between; a batch of two rounds otherwise.
    np.testing.assert_allclose(again.images[1].astype(int), two.images[0], atol=1)


def test_a_lora_acts_by_its_weight_and_leaves_nothing_behind(paint, ids):
    before = paint().images[0].astype(int)
    half, whole = (paint(loras=((ids["model-lora"], weight),)).images[0].astype(int) for weight in (0.5, 1.0))
    assert 0 < np.abs(half - before).mean() < np.abs(whole - before).mean()
    np.testing.assert_array_equal(paint().images[0], before)


def test_steps_are_left_out_only_where_asked_and_possible_and_the_result_says_so(paint, painter, family, monkeypatch):
    plain, depth = paint(steps=8), ControlInput("depth", IMAGE)
    controlled = paint(steps=8, controls=(depth,))
    monkeypatch.setattr(painter.loader, "speed", Speed(step_cache=1.0))
    left_out = paint(steps=8)
    monkeypatch.setattr(painter.loader, "speed", Speed(step_cache=1e-9))
    none_left_out = paint(steps=8)
    if family in ("flux", "qwen-image"):
        assert (left_out.images[0] != plain.images[0]).any()
        assert "step cache left out" in left_out.fallbacks[0]
    else:
        np.testing.assert_array_equal(left_out.images[0], plain.images[0])
        assert not left_out.fallbacks
    np.testing.assert_array_equal(none_left_out.images[0], plain.images[0])
    assert not none_left_out.fallbacks
    monkeypatch.setattr(painter.loader, "speed", Speed(step_cache=1.0))
    np.testing.assert_array_equal(paint(steps=8, controls=(depth,)).images[0], controlled.images[0])
    calls = []
    with pytest.raises(Cancelled):
        paint(steps=8, cancelled=lambda: calls.append(1) or len(calls) > 5)
    monkeypatch.setattr(painter.loader, "speed", Speed())
    np.testing.assert_array_equal(paint(steps=8).images[0], plain.images[0])


def test_cancelling_ends_at_once_decodes_nothing_and_leaves_nothing_behind(paint, painter, ids):
    before = paint(steps=5).images[0]
    checkpoint = painter.loader.checkpoint(painter.catalog.get(ids["model"]))
    decoded, done = [], []
    handle = checkpoint.parts["vae"].decoder.register_forward_hook(lambda *_: decoded.append(1))
    with pytest.raises(Cancelled):
        paint(
            steps=5,
            loras=((ids["model-lora"], 1.0),),
            on_progress=lambda progress: done.append(progress.step) if progress.step else None,
            cancelled=lambda: len(done) >= 2,
        )
    handle.remove()
    assert (done, decoded) == ([1, 2], [])
    np.testing.assert_array_equal(paint(steps=5).images[0], before)


def test_previews_come_after_each_step_and_change_nothing(paint):
    told = []
    watched = paint(steps=4, preview_every=1, preview_size=40, on_progress=told.append).images[0]
    shown = [progress.preview for progress in told if progress.preview is not None]
    assert [preview.shape for preview in shown] == [(32, 40, 3)] * 3
    np.testing.assert_array_equal(watched, paint(steps=4).images[0])


def test_the_same_seed_paints_the_same_after_an_eviction(paint, painter):
    before = paint().images[0]
    painter.free()
    np.testing.assert_array_equal(paint().images[0], before)


def test_seeds_vary_and_batches_count_up(paint):
    batch = paint(batch=2)
    assert batch.seeds == [7, 8]
    np.testing.assert_allclose(batch.images[0].astype(int), paint().images[0], atol=2)
    varied = paint(variation_seed=8, variation_strength=1.0).images[0]
    np.testing.assert_array_equal(varied, paint(seed=8).images[0])


def test_changing_words_and_regions_act_or_say_that_they_do_not(paint, family):
    changing = paint(prompt="a [red:blue:0.5] (wall:1.3)", steps=4)
    assert any("weights" in sentence for sentence in changing.fallbacks)
    regions = (RegionInput("something else entirely", MASK),)
    if family in ("sd3", "flux"):
        assert (changing.images[0] != paint(prompt="a red wall", steps=4).images[0]).any()
        plain, regional = (paint(regions=some).images[0].astype(int) for some in ((), regions))
        difference = np.abs(regional - plain).mean(axis=-1)
        assert difference[MASK > 0].mean() > difference[MASK == 0].mean() > 0
    else:
        assert any("change between the steps" in sentence for sentence in changing.fallbacks)
        with pytest.raises(InvalidRequest, match="same words"):
            paint(regions=regions)


def test_a_prompt_that_is_longer_than_the_model_reads_is_told(paint):
    assert any("reads the first" in sentence for sentence in paint(prompt="brick " * 400, steps=1).fallbacks)
    assert paint(prompt="brick", steps=1).fallbacks == []


def test_what_the_family_cannot_do_is_refused_by_name(paint):
    with pytest.raises(InvalidRequest, match="Take Euler"):
        paint(sampler="DDIM")
    with pytest.raises(InvalidRequest, match="seamless"):
        paint(seamless_x=True)
    assert paint(sampler="Euler").images[0].shape == (64, 80, 3)


def test_windows_that_a_transformer_does_not_have_are_told(paint):
    whole, asked = paint(), paint(tile=64)
    np.testing.assert_array_equal(asked.images[0], whole.images[0])
    assert any("in one piece (tile)" in sentence for sentence in asked.fallbacks)
    assert paint(tile=128).fallbacks == paint(tile="native", width=64).fallbacks == whole.fallbacks == []


def test_a_single_file_with_the_transformer_alone_takes_the_rest_from_a_folder(folder, family, paint, tmp_path):
    tiny_transformers.copy(folder / "model", tmp_path / "whole")
    (stored,) = (folder / "model" / "transformer").glob("*.safetensors")
    (tmp_path / "finetune.safetensors").write_bytes(stored.read_bytes())
    catalog = Catalog([tmp_path], starter=None)
    info = next(info for info in catalog.models() if info.name == "finetune")
    assert (info.kind, info.family, info.base) == ("checkpoint", family, tmp_path / "whole")
    request = PaintRequest("a red wall", seed=7, steps=3, width=80, height=64, model=info.id)
    np.testing.assert_array_equal(Painter(catalog, "cpu").paint(request).images[0], paint().images[0])
    (alone := tmp_path / "alone").mkdir()
    (alone / "finetune.safetensors").write_bytes(stored.read_bytes())
    (refused,) = Catalog([alone], starter=None).refused()
    assert "transformer" in refused.error.sentence
    assert family in refused.error.remedy
