"""Words act with their weight, at their step and in their region; seeds vary; autoencoders are exchanged."""

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import IncompatibleModels, InvalidRequest
from server.engine.painting import ControlInput, PaintRequest, RegionInput
from server.engine.sampling import slerp
from tests import tiny_models

FAMILIES = pytest.mark.parametrize("model", ["sd", "xl"])


@pytest.fixture
def picture_of(paint):
    """The one picture of a painting, as numbers."""
    return lambda *arguments, **wanted: paint(*arguments, **wanted).images[0].astype(int)


@FAMILIES
def test_a_weight_moves_the_picture_further_the_further_it_is_from_one(picture_of, model):
    plain = picture_of(model, prompt="a red wall")
    same = picture_of(model, prompt="a (red:1.0) wall")
    little, much = (picture_of(model, prompt=f"a (red:{weight}) wall") for weight in (1.2, 3))
    np.testing.assert_array_equal(plain, same)
    assert 0 < np.abs(little - plain).mean() < np.abs(much - plain).mean()


@FAMILIES
def test_words_that_change_paint_between_what_they_change(picture_of, model):
    red, blue = (picture_of(model, prompt=f"a {color} wall", steps=8) for color in ("red", "blue"))
    change = picture_of(model, prompt="a [red:blue:0.5] wall", steps=8)
    assert (change != red).any()
    assert (change != blue).any()
    np.testing.assert_array_equal(picture_of(model, prompt="a [red:blue:1000] wall", steps=8), red)
    np.testing.assert_array_equal(picture_of(model, prompt="a [red:blue:0] wall", steps=8), blue)
    assert (picture_of(model, prompt="a [red|blue] wall", steps=8) != change).any()


def test_negative_words_change_too(picture_of):
    still, changing = (picture_of(negative_prompt=text, steps=6) for text in ("red", "[red:blue:0.5]"))
    assert (still != changing).any()


def test_break_reads_the_rest_by_itself(picture_of):
    assert (picture_of(prompt="a red BREAK wall") != picture_of(prompt="a red wall")).any()


def test_lots_are_told_and_paint_what_they_say(paint, models, catalog):
    painting = paint(prompt="a {red|blue|green} wall", batch=4, width=64, height=64)
    assert set(painting.prompts) <= {"a red wall", "a blue wall", "a green wall"}
    assert len(set(painting.prompts)) > 1
    for image, prompt, seed in zip(painting.images, painting.prompts, painting.seeds, strict=True):
        again = paint(prompt=prompt, seed=seed, width=64, height=64).images[0]
        np.testing.assert_allclose(again.astype(int), image, atol=2)  # a batch rounds otherwise than one picture


def test_a_wildcard_file_in_a_model_folder_is_read(models, tmp_path):
    tiny_models.copy(models / "sd", tmp_path / "models" / "sd")
    (tmp_path / "models" / "wildcards" / "place").mkdir(parents=True)
    (tmp_path / "models" / "wildcards" / "place" / "city.txt").write_text("# cities\nRome\n\n")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "models" / "wildcards" / "out.txt").symlink_to(tmp_path / "secret.txt")
    painter = Painter(Catalog([tmp_path / "models"], starter=None), "cpu")
    assert painter.paint(PaintRequest("in __place/city__", steps=1)).prompts == ["in Rome"]
    with pytest.raises(InvalidRequest, match="place/city") as refusal:
        painter.paint(PaintRequest("__out__", steps=1))
    assert "secret" not in str(refusal.value)


@FAMILIES
def test_a_region_has_words_of_its_own(picture_of, model):
    left = np.zeros((64, 128), np.uint8)
    left[:, :64] = 255
    wanted = {"width": 128, "height": 64, "steps": 4}
    plain = picture_of(model, prompt="moss", **wanted)
    whole = picture_of(model, prompt="moss", regions=(RegionInput("a red wall", left),), **wanted)
    assert (whole != plain).any()
    nothing = picture_of(model, prompt="moss", regions=(RegionInput("a red wall", left, weight=0.0),), **wanted)
    assert np.abs(nothing - plain).max() <= 1
    difference = np.abs(whole - plain)
    assert difference[:, :64].mean() > 1.5 * difference[:, 64:].mean()
    two = (RegionInput("a red wall", left), RegionInput("[a|b] (blue:1.4) wall", 255 - left, weight=4))
    assert (picture_of(model, prompt="moss", regions=two, **wanted) != whole).any()


def test_regions_hold_with_controlnets_masks_batches_and_without_guidance(paint, picture):
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[16:80, 16:64] = 255
    control = ControlInput("depth", np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8))
    regions = (RegionInput("a red wall", mask),)
    with_all = paint(image=picture, mask=mask, controls=(control,), regions=regions, batch=2, denoising_strength=0.7)
    np.testing.assert_array_equal(with_all.images[1][mask == 0], picture[mask == 0])
    assert (
        with_all.images[0] != paint(image=picture, mask=mask, controls=(control,), denoising_strength=0.7).images[0]
    ).any()
    assert (paint(regions=regions, width=80, height=96, guidance_scale=1.0).images[0]
            != paint(width=80, height=96, guidance_scale=1.0).images[0]).any()  # fmt: skip


def test_a_region_of_another_size_is_refused(paint):
    with pytest.raises(InvalidRequest, match=r"regions\[0\].mask is 8 × 9"):
        paint(regions=(RegionInput("x", np.zeros((9, 8), np.uint8)),))


def test_noise_turns_from_one_seed_to_the_other_and_keeps_its_spread():
    a, b = (torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    assert abs(float(slerp(a, b, 0.5).std()) - 1) < 0.05
    torch.testing.assert_close(slerp(a, a, 0.3), a)


@FAMILIES
@pytest.mark.parametrize("way", ["text", "image", "mask"])
def test_a_variation_lies_between_its_two_seeds(paint, picture, model, way):
    image = (picture[..., :3] // 257).astype(np.uint8)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[16:80, 8:72] = 255
    wanted = {"text": {}, "image": {"image": image, "denoising_strength": 0.8}, "mask": {"image": image, "mask": mask}}[
        way
    ]

    def distance(strength: float) -> float:
        painted = paint(model, variation_seed=99, variation_strength=strength, **wanted).images[0]
        return float(np.abs(painted.astype(int) - paint(model, **wanted).images[0]).mean())

    assert distance(0) == 0
    assert 0 < distance(0.05) < distance(0.9)
    if way == "text":  # with an image the encoder draws from the seed first
        np.testing.assert_array_equal(
            paint(model, variation_seed=99, variation_strength=1.0, sampler="Euler", **wanted).images[0],
            paint(model, seed=99, sampler="Euler", **wanted).images[0],
        )


def test_a_batch_of_variations_shares_the_seed(paint):
    painting = paint(batch=2, variation_seed=30, variation_strength=0.2, width=64, height=64)
    assert (painting.seeds, painting.variation_seeds) == ([7, 7], [30, 31])
    again = paint(variation_seed=31, variation_strength=0.2, width=64, height=64)
    np.testing.assert_allclose(again.images[0].astype(int), painting.images[1], atol=2)
    assert paint(variation_strength=0.2).variation_seeds != paint(variation_strength=0.2).variation_seeds


@FAMILIES
def test_skipping_layers_of_the_text_encoder_acts_and_too_many_are_refused(paint, picture_of, model):
    most = 1 if model == "sd" else 0
    if most:
        assert (picture_of(model, clip_skip=1, prompt="red") != picture_of(model, prompt="red")).any()
    with pytest.raises(InvalidRequest, match=f"clip_skip is 11.*Take 0 to {most}"):
        paint(model, clip_skip=11)


@pytest.mark.parametrize("single", [True, False])
def test_another_autoencoder_paints_with_its_own_decoder(models, tmp_path, single):
    tiny_models.copy(models / "sd", tmp_path / "sd")
    vae = diffusers.AutoencoderKL.from_pretrained(models / "sd", subfolder="vae")
    torch.manual_seed(5)
    with torch.no_grad():
        vae.decoder.conv_out.weight.normal_(std=0.1)
    if single:
        vae.save_pretrained(tmp_path / "saved")
        (stored,) = (tmp_path / "saved").glob("*.safetensors")
        named = {tiny_models.original_vae_name(name): tensor for name, tensor in load_file(stored).items()}
        save_file(named, tmp_path / "other.safetensors")
        for file in (tmp_path / "saved").iterdir():
            file.unlink()
    else:
        vae.save_pretrained(tmp_path / "other")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    other = next(info for info in painter.catalog.models() if info.kind == "vae")
    assert other.name == "other"
    request = {"prompt": "brick", "seed": 3, "steps": 2}
    own = painter.paint(PaintRequest(**request)).images[0]
    exchanged = painter.paint(PaintRequest(**request, vae=other.id)).images[0]
    assert (own != exchanged).any()
    pipeline = tiny_models.aligned(
        diffusers.StableDiffusionPipeline.from_pretrained(models / "sd", vae=vae, safety_checker=None)
    )
    pipeline.set_progress_bar_config(disable=True)
    direct = pipeline("brick", num_inference_steps=2, generator=torch.Generator().manual_seed(3)).images[0]
    np.testing.assert_array_equal(exchanged, np.asarray(direct))
    np.testing.assert_array_equal(painter.paint(PaintRequest(**request)).images[0], own)


def test_an_autoencoder_of_other_latents_is_refused(models, tmp_path):
    tiny_models.copy(models / "sd", tmp_path / "sd")
    tiny_models.copy(models / "sd16" / "vae", tmp_path / "sixteen")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    sixteen = next(info for info in painter.catalog.models() if info.kind == "vae")
    with pytest.raises(IncompatibleModels, match="sixteen"):
        painter.paint(PaintRequest(vae=sixteen.id, steps=1))


def test_a_depth_range_is_shared_between_views(paint):
    near, far = np.full((64, 64), 2.0, np.float32), np.full((64, 64), 8.0, np.float32)
    shared = {"metric": True, "near": 1.0, "far": 10.0}
    pictures = [paint(controls=(ControlInput("depth", one, **shared),)).images[0] for one in (near, far)]
    assert (pictures[0] != pictures[1]).any()
    alone = [paint(controls=(ControlInput("depth", one, metric=True),)).images[0] for one in (near, far)]
    np.testing.assert_array_equal(*alone)  # each is its own range: white


@FAMILIES
def test_a_textual_inversion_takes_the_place_of_its_name(models, tmp_path, model):
    tiny_models.copy(models / model, tmp_path / model)
    file = tmp_path / "my-style.safetensors"
    generator = torch.Generator().manual_seed(0)
    vectors = {"emb_params": 24} if model == "sd" else {"clip_l": 24, "clip_g": 16}
    save_file({name: torch.randn(2, width, generator=generator) for name, width in vectors.items()}, file)
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    assert next(info for info in painter.catalog.models() if info.name == "my-style").kind == "embedding"

    def paint(prompt: str) -> np.ndarray:
        return painter.paint(PaintRequest(prompt, seed=3, steps=2)).images[0]

    learned, longer = paint("a wall in my-style"), paint("a wall in my-styles")
    file.unlink()
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    assert (paint("a wall in my-style") != learned).any()
    np.testing.assert_array_equal(paint("a wall in my-styles"), longer)  # another word


def test_a_textual_inversion_of_a_words_own_vector_paints_what_the_word_paints(models, tmp_path):
    tiny_models.copy(models / "sd", tmp_path / "sd")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    parts = painter.loader.checkpoint(painter.catalog.default()).parts
    ids = parts["tokenizer"]("red wall", add_special_tokens=False).input_ids
    own = parts["text_encoder"].get_input_embeddings().weight[ids]
    save_file({"emb_params": own.detach().clone()}, tmp_path / "zz9.safetensors")
    painter.catalog.rescan()
    said, learned = (
        painter.paint(PaintRequest(f"a {w}, (moss:1.2)", seed=3, steps=2)).images[0] for w in ("red wall", "zz9")
    )
    np.testing.assert_array_equal(said, learned)
