"""The painter paints what diffusers paints, and keeps its promises about seeds, masks and sizes."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file

from server.engine import loras as lora_files
from server.engine import samplers
from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import IncompatibleModels, InvalidRequest, UnknownModel
from server.engine.painting import ControlInput, PaintRequest
from tests import tiny_models

PLAIN = {"sd": "StableDiffusion", "sd16": "StableDiffusion", "xl": "StableDiffusionXL"}


def directly(models: Path, model: str, task: str, arguments: dict, nets: tuple[str, ...] = ()) -> np.ndarray:
    """What a plain diffusers pipeline paints, (b, h, w, 3) uint8."""
    cls = getattr(diffusers, f"{PLAIN[model]}{'ControlNet' if nets else ''}{task}Pipeline")
    options = {} if model == "xl" else {"safety_checker": None}
    if nets:
        loaded = [ControlNetModel.from_pretrained(models / f"{model}-controlnet-{net}") for net in nets]
        options["controlnet"] = loaded[0] if len(loaded) == 1 else loaded
    pipeline = tiny_models.aligned(cls.from_pretrained(models / model, **options))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline("a red brick wall", num_inference_steps=3, guidance_scale=5.0, **arguments).images
    return np.stack([np.asarray(image) for image in images])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("model", ["sd", "sd16", "xl"])
def test_the_same_seed_paints_bit_for_bit_what_diffusers_paints(paint, models, model):
    seen = directly(models, model, "", {"width": 72, "height": 64, "generator": generator(7)})
    painting = paint(model, prompt="a red brick wall", width=72, height=64, guidance_scale=5.0)
    np.testing.assert_array_equal(painting.images[0], seen[0])
    assert painting.images[0].dtype == np.uint8


def test_without_a_guidance_scale_the_models_own_is_taken(paint, models, tmp_path):
    words = {"prompt": "brick", "negative_prompt": "moss"}
    np.testing.assert_array_equal(paint("xl", **words).images[0], paint("xl", **words, guidance_scale=5.0).images[0])
    folder = tiny_models.copy(models / "sd", tmp_path / "sd")
    (folder / "brushwire.json").write_text('{"guidance_scale": 3}')
    painted = Painter(Catalog([tmp_path], starter=None), "cpu").paint(PaintRequest(**words, seed=7, steps=3))
    np.testing.assert_array_equal(painted.images[0], paint(**words, guidance_scale=3.0).images[0])
    assert (painted.images[0] != paint(**words).images[0]).any()


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_a_batch_is_bit_for_bit_what_diffusers_paints(paint, models, model):
    arguments = {"width": 64, "height": 64, "num_images_per_prompt": 2, "generator": [generator(7), generator(8)]}
    painting = paint(model, prompt="a red brick wall", batch=2, guidance_scale=5.0)
    np.testing.assert_array_equal(np.stack(painting.images), directly(models, model, "", arguments))
    assert painting.seeds == [7, 8]


@pytest.mark.parametrize("model", ["sd", "sd16", "xl"])
def test_image_to_image_is_bit_for_bit_what_diffusers_paints(paint, models, model, picture):
    image = (picture[..., :3] // 257).astype(np.uint8)
    arguments = {"image": Image.fromarray(image), "strength": 0.7, "generator": generator(7)}
    seen = directly(models, model, "Img2Img", arguments)
    painting = paint(model, prompt="a red brick wall", image=image, denoising_strength=0.7, guidance_scale=5.0)
    np.testing.assert_array_equal(painting.images[0], seen[0])


@pytest.mark.parametrize("model", ["sd", "sd16", "xl"])
def test_two_controlnets_at_once_are_bit_for_bit_what_diffusers_paints(paint, models, model):
    maps = [np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8) for n in range(2)]
    arguments = {
        "image": [Image.fromarray(one) for one in maps], "width": 64, "height": 64, "generator": generator(7),
        "controlnet_conditioning_scale": [0.8, 0.4], "control_guidance_end": [1.0, 0.5],
    }  # fmt: skip
    seen = directly(models, model, "", arguments, ("depth", "openpose"))
    controls = (ControlInput("depth", maps[0], weight=0.8), ControlInput("pose", maps[1], weight=0.4, end=0.5))
    painting = paint(model, prompt="a red brick wall", controls=controls, guidance_scale=5.0)
    np.testing.assert_array_equal(painting.images[0], seen[0])
    assert len(painting.controlnets) == 2


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_favored_controls_speak_to_the_words_half_of_the_guidance_alone(monkeypatch, paint, model):
    control = ControlInput("depth", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    heard, call = [], UNet2DConditionModel.forward

    def listening(self, *args, **kwargs):
        heard.append([*kwargs["down_block_additional_residuals"], kwargs["mid_block_additional_residual"]])
        return call(self, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", listening)
    asked = {"prompt": "brick", "controls": (control,), "guidance_scale": 5.0}
    balanced = paint(model, **asked).images[0]
    assert all(residual[0].any() for residual in heard[0])
    heard.clear()
    favored = paint(model, **asked, favor_controls=True).images[0]
    assert (favored != balanced).any()
    assert heard
    for residual in (one for step in heard for one in step):
        assert len(residual) == 2
        assert not residual[0].any()
        assert residual[1].any()
    heard.clear()
    unguided = asked | {"guidance_scale": 1.0, "batch": 2}  # of two pictures none is the half without words
    np.testing.assert_array_equal(paint(model, **unguided).images, paint(model, **unguided, favor_controls=True).images)


def test_previews_and_progress_do_not_change_the_picture(paint):
    told = []
    plain, watched = paint(), paint(on_progress=told.append, preview_every=1)
    np.testing.assert_array_equal(plain.images[0], watched.images[0])
    phases = [progress.phase for progress in told]
    assert sorted(set(phases), key=phases.index) == ["loading", "encoding", "sampling", "decoding", "compositing"]
    steps = [(progress.step, progress.total) for progress in told if progress.phase == "sampling"]
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] > 0


@pytest.mark.parametrize("sampler", samplers.NAMES)
@pytest.mark.parametrize("model", ["sd", "sd16", "xl"])
def test_every_sampler_paints_with_every_family(paint, model, sampler, picture):
    painting = paint(model, sampler=sampler, steps=4, preview_every=2, width=64, height=64)
    assert painting.images[0].std() > 0
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[32:64, 32:64] = 255
    masked = paint(model, sampler=sampler, steps=4, image=picture, mask=mask, denoising_strength=0.6)
    np.testing.assert_array_equal(masked.images[0][mask == 0], picture[mask == 0])
    assert (masked.images[0][mask > 0] != picture[mask > 0]).any()


def test_an_unknown_sampler_names_the_known_ones(paint):
    with pytest.raises(InvalidRequest, match=r"sampler is 'Eular'.*DPM\+\+ 2M Karras"):
        paint(sampler="Eular")


def test_more_denoising_strength_leaves_less_of_the_image(paint, picture):
    image = (picture[..., :3] // 257).astype(np.uint8)
    reference = paint(image=image, denoising_strength=0.05, steps=20).images[0].astype(float)
    distances = [
        np.abs(paint(image=image, denoising_strength=strength, steps=20).images[0] - reference).mean()
        for strength in (0.25, 0.5, 0.75, 1.0)
    ]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


def test_no_denoising_strength_returns_the_image_itself(paint, picture):
    np.testing.assert_array_equal(paint(image=picture, denoising_strength=0.0).images[0], picture)


def test_the_smallest_strength_still_takes_one_step(paint, picture):
    assert paint(image=picture, denoising_strength=0.01, steps=3).images[0].shape == picture.shape


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("padding", [None, 6])
def test_outside_the_feathered_mask_every_bit_stays(paint, picture, dtype, padding):
    if np.issubdtype(dtype, np.integer):
        image = (picture // (65535 // np.iinfo(dtype).max)).astype(dtype)
    else:
        image = (picture / 65535).astype(dtype)
        image[0, 0] = [7.5, -2.0, 0.5, 1.0]  # high dynamic range stays too
        image[1, 1, :3] = np.nan
    mask = np.zeros(picture.shape[:2], np.float32)
    mask[40:60, 30:50] = 1
    result = paint(image=image, mask=mask, mask_grow=2, mask_feather=5, mask_padding=padding).images[0]
    reach = np.zeros(mask.shape, bool)
    reach[40 - 7 : 60 + 7, 30 - 7 : 50 + 7] = True
    assert result.dtype == image.dtype
    assert result[~reach].tobytes() == image[~reach].tobytes()
    assert result[..., 3].tobytes() == image[..., 3].tobytes()
    assert (result[45:55, 35:45, :3] != image[45:55, 35:45, :3]).mean() > 0.9


def test_a_checkpoint_that_was_trained_to_inpaint_keeps_the_outside_too(paint, picture):
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[30:50, 20:40] = 255
    result = paint("inpaint", image=picture, mask=mask).images[0]
    np.testing.assert_array_equal(result[mask == 0], picture[mask == 0])
    assert (result[mask > 0] != picture[mask > 0]).any()
    with pytest.raises(InvalidRequest, match="mask"):
        paint("inpaint")


def test_what_is_under_the_mask_is_forgotten_at_full_strength(paint, picture):
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[32:64, 32:64] = 255  # whole latents, so that no pixel under the mask counts as kept
    other = picture.copy()
    other[mask > 0] = 65535 - other[mask > 0]
    results = [paint("sd16", image=image, mask=mask).images[0] for image in (picture, other)]
    np.testing.assert_array_equal(results[0][..., :3], results[1][..., :3])
    kept = [paint("sd16", image=i, mask=mask, denoising_strength=0.5).images[0] for i in (picture, other)]
    assert (kept[0][..., :3] != kept[1][..., :3]).any()


def test_sizes_that_are_no_multiple_of_eight_come_back_as_they_were(paint):
    image = np.random.default_rng(0).random((75, 101, 3), np.float32)
    assert paint(image=image, denoising_strength=0.5).images[0].shape == (75, 101, 3)


def test_a_seed_is_drawn_and_told_and_paints_the_same_again(paint):
    drawn = paint(seed=None)
    np.testing.assert_array_equal(paint(seed=drawn.seeds[0]).images[0], drawn.images[0])
    assert paint(seed=None).seeds != drawn.seeds


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_the_end_of_a_long_prompt_counts(paint, model):
    long = "brick " * 80
    with_crown, without = paint(model, prompt=long + "and a golden crown"), paint(model, prompt=long)
    assert (with_crown.images[0] != without.images[0]).any()
    assert with_crown.fallbacks == []


def test_a_lora_acts_and_leaves_nothing_behind(paint, ids):
    before = paint().images[0]
    with_lora = paint(loras=((ids["style"], 1.0), (ids["other"], 0.5))).images[0]
    after = paint().images[0]
    assert (with_lora != before).any()
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(paint(loras=((ids["style"], 1.0), (ids["other"], 0.5))).images[0], with_lora)


def test_loras_stay_between_paintings_and_are_the_same_to_the_bit_as_loaded_anew(paint, ids, painter, monkeypatch):
    style, other, half = (ids["style"], 1.0), (ids["other"], 0.5), (ids["style"], 0.5)
    asked = [(style,), (half,), (style, other), (other, style), (half, other), (), (style,), (other,)]
    anew = []
    for loras in asked:
        paint()  # without one, all are taken off
        anew.append(paint(loras=loras).images[0])
    paint()
    loaded = []
    monkeypatch.setattr(lora_files, "load_file", lambda path: loaded.append(path.stem) or load_file(path))
    for loras, expected in zip(asked, anew, strict=True):
        np.testing.assert_array_equal(paint(loras=loras).images[0], expected)
    assert loaded == ["style", "style", "other", "style", "other"]
    assert painter.loader.checkpoint(painter.catalog.get(ids["sd"])).loras
    paint()
    assert not painter.loader.checkpoint(painter.catalog.get(ids["sd"])).loras


def test_a_lora_whose_file_has_changed_is_read_again(models, tmp_path):
    tiny_models.copy(models / "sd", tmp_path / "sd")
    tiny_models.lora(models / "sd", tmp_path / "style.safetensors", seed=20)
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    lora = next(info.id for info in painter.catalog.models() if info.kind == "lora")
    request = PaintRequest("brick", seed=7, steps=2, loras=((lora, 1.0),))
    before = painter.paint(request).images[0]
    tiny_models.lora(models / "sd", tmp_path / "style.safetensors", seed=21)
    assert (painter.paint(request).images[0] != before).any()


def test_a_lora_that_does_not_fit_is_refused_and_leaves_nothing_behind(paint, ids):
    before = paint("xl").images[0]
    with pytest.raises(IncompatibleModels, match="style"):
        paint("xl", loras=((ids["style"], 1.0),))
    np.testing.assert_array_equal(paint("xl").images[0], before)


def test_a_controlnet_of_another_layout_is_refused(paint, ids):
    control = ControlInput("depth", np.zeros((64, 64), np.uint8), model=ids["sd16-controlnet-depth"])
    with pytest.raises(IncompatibleModels, match="sd16-controlnet-depth"):
        paint("sd", controls=(control,))


def test_a_control_without_a_controlnet_names_the_kinds_that_are_there(paint):
    with pytest.raises(UnknownModel, match="depth, normal, pose"):
        paint(controls=(ControlInput("canny", np.zeros((64, 64), np.uint8)),))


def test_metric_controls_reach_the_network(paint):
    depth = np.full((64, 64), np.inf, np.float32)
    depth[16:48, 16:48] = np.linspace(2, 4, 32)
    normals = np.zeros((64, 64, 3), np.float32)
    normals[..., 2] = 1
    person = np.random.default_rng(3).uniform(8, 56, (1, 18, 3))
    plain = paint().images[0]
    for control in (
        ControlInput("depth", depth, metric=True),
        ControlInput("normal", normals, metric=True),
        ControlInput("pose", person, metric=True),
    ):
        controlled = paint(controls=(control,)).images[0]
        assert (controlled != plain).any(), control.kind
        np.testing.assert_array_equal(paint(controls=(control,)).images[0], controlled)
    wrong = ControlInput("depth", -depth, metric=True)
    with pytest.raises(InvalidRequest, match=r"controls\[0\].array"):
        paint(controls=(wrong,))


def test_an_evicted_model_paints_the_same_when_it_is_back(models, ids):
    catalog = Catalog([models], starter=None)
    budget = max(info.size_bytes for info in catalog.models()) * 3
    painter = Painter(catalog, "cpu", memory_budget=budget)
    request = {name: PaintRequest("brick", model=ids[name], seed=1, steps=2) for name in ("sd", "sd16", "xl")}
    first = painter.paint(request["sd"]).images[0]
    for name in ("sd16", "xl"):
        painter.paint(request[name])
    assert ids["sd"] not in painter.loader.loaded()
    np.testing.assert_array_equal(painter.paint(request["sd"]).images[0], first)


def test_a_warm_model_is_not_loaded_again(paint, painter, ids):
    paint()
    first = painter.loader.checkpoint(painter.catalog.get(ids["sd"]))
    paint()
    assert painter.loader.checkpoint(painter.catalog.get(ids["sd"])) is first
