"""A training resumes exactly, its words survive the tokenizer, and what it exports is loaded by the plain pipelines."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from shutil import rmtree

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from PIL import Image
from transformers import CLIPTokenizer

from server.starter import autoencoder, code, config, diffusion, export, pool, shipped
from server.starter.materials import enlarged, render
from server.starter.networks import CONTROLS, build_autoencoder, build_controlnet, noised, schedule_alphas
from server.starter.poses import ACTIONS
from server.starter.stock import Stock, draw
from server.starter.text import build_encoder, build_tokenizer, learn_names, tokens_of

CAPTIONS = ["red brick wall texture", "a photo of moss", "seamless texture of old blue brick"]
SIZE = 64


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    return build_tokenizer(CAPTIONS, tmp_path_factory.mktemp("words"), 16)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return render(["brick", "moss"] * 3, SIZE, torch.Generator().manual_seed(0)).image


@pytest.fixture(scope="module")
def stocks(tokenizer: CLIPTokenizer, pictures: torch.Tensor) -> dict[str, Stock]:
    image = (pictures * 255).byte()
    tokens = tokens_of(tokenizer, ["red brick", "moss"] * 3).unsqueeze(1)
    labels = torch.tensor([[0, 0, -1, -1], [22, -1, -1, -1]] * 3)
    controls = {name: image[:, :1] if name == "depth" else image for name in CONTROLS}
    return {
        "materials": Stock(image, tokens, labels, {}, None),
        "people": Stock(image, tokens, labels, controls, (image[:, :1] > 127).byte() * 255),
    }


def tiny(out: Path) -> config.Config:
    options = config.load()
    return dataclasses.replace(
        options,
        out=out,
        code=dataclasses.replace(options.code, channels=4),
        text=dataclasses.replace(options.text, width=32, layers=1, heads=2, tokens=16, steps=3, batch=4),
        unet=dataclasses.replace(options.unet, channels=[16, 32], heads=2),
        controlnet=config.Controlnet(embedding=[8, 8, 16, 16]),
        autoencoder=dataclasses.replace(options.autoencoder, channels=[8, 8, 16, 24], batch=2, crop=32, steps=2),
        diffusion=dataclasses.replace(
            options.diffusion,
            steps=4,
            warmup=1,
            cooldown=2,
            crop=32,
            materials=6,
            scenes=3,
            people=3,
            checkpoint=100,
            scenes_control_share=1.0,
            people_control_share=1.0,
        ),
    )


@pytest.fixture(scope="module")
def patch_code(pictures: torch.Tensor) -> code.PatchCode:
    return code.fit(pictures * 2 - 1, 4, 0.5)[0]


def test_a_training_that_was_stopped_and_resumed_is_bit_for_bit_the_one_that_ran_through(
    tmp_path: Path, tokenizer: CLIPTokenizer, stocks: dict[str, Stock], patch_code: code.PatchCode
) -> None:
    through, resumed = tiny(tmp_path / "through"), tiny(tmp_path / "resumed")
    for options in (through, resumed):
        options.out.mkdir()
    diffusion.train(through, tokenizer, patch_code, lambda: stocks)
    diffusion.train(resumed, tokenizer, patch_code, lambda: stocks, stop_after=2)
    diffusion.train(resumed, tokenizer, patch_code, lambda: stocks)
    first, second = (
        torch.load(options.out / diffusion.CHECKPOINT, weights_only=True) for options in (through, resumed)
    )
    assert first["step"] == second["step"] == 4
    for name, value in first["networks"].items():
        assert torch.equal(value, second["networks"][name]), name
    for one, other in zip(first["average"], second["average"], strict=True):
        assert torch.equal(one, other)
    losses = [
        [json.loads(line)["loss"] for line in (options.out / diffusion.LOSSES).read_text().splitlines()]
        for options in (through, resumed)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8  # materials and rendered pictures in each of four steps


@pytest.mark.parametrize(("share", "names"), [(0.0, {"stills", "portraits"}), (1.0, {"scenes", "people"})])
def test_without_a_control_image_only_typical_solids_and_people_are_learned(
    stocks: dict[str, Stock], share: float, names: set[str]
) -> None:
    rendered = dict.fromkeys(("scenes", "people", "stills", "portraits"), stocks["people"])
    options = tiny(Path())
    recipe = dataclasses.replace(options.diffusion, scenes_control_share=share, people_control_share=share)
    options = dataclasses.replace(options, diffusion=recipe)
    for step in range(8):
        generator = torch.Generator().manual_seed(step)
        _, group = diffusion.choose(stocks | rendered, options, step, generator)
        assert {name.partition("-")[0] for name in group.samples} == names
        assert all((sample.control is not None) == (share > 0) for sample in group.samples.values())


def test_a_pool_without_typical_pictures_is_told(stocks: dict[str, Stock]) -> None:
    options = tiny(Path())
    options = dataclasses.replace(options, diffusion=dataclasses.replace(options.diffusion, people_control_share=0.0))
    with pytest.raises(FileNotFoundError, match="the pool has no portraits; let it grow"):
        diffusion.choose(stocks, options, 0, torch.Generator().manual_seed(0))


def test_the_decoder_s_training_goes_on_where_it_stopped_and_its_loss_falls(
    tmp_path: Path, stocks: dict[str, Stock], patch_code: code.PatchCode
) -> None:
    options = tiny(tmp_path)
    autoencoder.train(options, patch_code, stocks)
    recipe = dataclasses.replace(options.autoencoder, steps=60, cooldown=10)
    longer = dataclasses.replace(options, autoencoder=recipe)
    autoencoder.train(longer, patch_code, stocks)
    losses = [json.loads(line) for line in (tmp_path / autoencoder.LOSSES).read_text().splitlines()]
    assert [entry["step"] for entry in losses] == list(range(60))
    assert sum(e["loss"] for e in losses[-5:]) < 0.9 * sum(e["loss"] for e in losses[:5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_encoder_is_the_code_in_half_precision_too(pictures: torch.Tensor, dtype: torch.dtype) -> None:
    options = config.load()
    fitted, _ = code.fit(pictures * 2 - 1, options.code.channels, options.code.whiten)
    network = build_autoencoder(options, fitted).to(dtype).float()
    image = torch.cat((pictures * 2 - 1, torch.ones(1, 3, SIZE, SIZE), -torch.ones(1, 3, SIZE, SIZE)))
    with torch.no_grad():
        found = network.encode(image).latent_dist
    wanted = fitted.encode(image)
    assert ((found.mean * fitted.factor - wanted).square().mean() / wanted.var()).item() < 1e-4
    assert found.std.max() < 1e-4


def test_an_encoder_too_narrow_for_the_code_is_refused(pictures: torch.Tensor) -> None:
    options = config.load()
    narrow = dataclasses.replace(options, autoencoder=dataclasses.replace(options.autoencoder, channels=[8, 8, 8, 8]))
    fitted, _ = code.fit(pictures * 2 - 1, options.code.channels, 0.5)
    with pytest.raises(ValueError, match="the third at least 12"):
        build_autoencoder(narrow, fitted)


def test_each_word_of_the_captions_is_one_token_and_any_other_text_is_spelled(tokenizer: CLIPTokenizer) -> None:
    for word in {word for caption in CAPTIONS for word in caption.split()}:
        assert len(tokenizer.tokenize(word)) == 1
    text = "brick, zwölf & 42 xylophones"
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "brick , zwölf & 4 2 xylophones"


def test_the_plain_tokenizer_loads_what_was_saved_from_either_set_of_files(
    tokenizer: CLIPTokenizer, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    build_tokenizer(CAPTIONS, tmp_path / "classic", 16)
    (tmp_path / "classic" / "tokenizer.json").unlink()
    for folder in (tmp_path, tmp_path / "classic"):
        loaded = CLIPTokenizer.from_pretrained(folder)
        assert loaded("a red, blue moss! quux").input_ids == tokenizer("a red, blue moss! quux").input_ids
        assert loaded.model_max_length == 16


def test_the_code_loses_what_it_says_and_no_more(pictures: torch.Tensor) -> None:
    image = pictures * 2 - 1
    errors = []
    for channels in (4, 12, 192):
        fitted, kept = code.fit(image, channels, 0.5)
        latents = fitted.encode(image)
        assert latents.shape == (len(image), channels, SIZE // 8, SIZE // 8)
        patches = torch.nn.functional.unfold(image, 8, stride=8)
        spread = (patches - patches.mean(dim=(0, 2), keepdim=True)).square().mean()
        error = (fitted.decode(latents) - image).square().mean()
        assert float(error / spread) == pytest.approx(1 - kept, abs=2e-3)
        errors.append(float(error))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


def test_the_preview_of_a_latent_is_the_mean_colour_of_its_patch(pictures: torch.Tensor) -> None:
    fitted, _ = code.fit(pictures * 2 - 1, 192, 0.5)
    factors, bias = fitted.rgb_factors()
    preview = torch.einsum("bchw,cr->brhw", fitted.encode(pictures * 2 - 1), factors) + bias.view(3, 1, 1)
    torch.testing.assert_close(preview, torch.nn.functional.avg_pool2d(pictures * 2 - 1, 8), atol=1e-3, rtol=0)


def test_a_code_is_read_as_it_was_saved(patch_code: code.PatchCode, tmp_path: Path, pictures: torch.Tensor) -> None:
    patch_code.save(tmp_path / "code.safetensors")
    assert torch.equal(code.load_code(tmp_path / "code.safetensors").encode(pictures), patch_code.encode(pictures))


def test_at_the_last_time_step_nothing_of_the_picture_is_left() -> None:
    alphas = schedule_alphas()
    clean, noise = torch.rand(2, 1, 2, 2) + 1, torch.randn(2, 1, 2, 2)
    noisy, wanted = noised(clean, noise, torch.tensor([999, 0]), alphas)
    torch.testing.assert_close(noisy[0], noise[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(wanted[0], -clean[0], atol=1e-4, rtol=0)
    assert (noisy[1] - clean[1]).abs().max() < 0.15


def test_crops_are_cut_inside_of_their_pictures_at_whole_patches(stocks: dict[str, Stock]) -> None:
    ramp = torch.arange(SIZE, dtype=torch.uint8).expand(1, 3, SIZE, SIZE).contiguous()
    stock = dataclasses.replace(stocks["people"], image=ramp, tokens=stocks["people"].tokens[:1])
    sample = draw(stock, 64, SIZE - 32, None, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample.image.diff(dim=3), torch.full_like(sample.image.diff(dim=3), 2 / 255))
    lefts = (sample.image[:, 0, 0, 0] + 1) * 127.5
    assert {round(left) for left in lefts.tolist()} == {0, 8, 16, 24, 32}


def test_an_enlarged_picture_still_wraps() -> None:
    image = render(["snow"], SIZE, torch.Generator().manual_seed(0)).image
    large = enlarged(image, 1.5)
    assert large.shape[-1] == SIZE * 3 // 2
    rolled = enlarged(image.roll((SIZE // 2, SIZE // 2), (2, 3)), 1.5)
    torch.testing.assert_close(large.roll((SIZE * 3 // 4,) * 2, (2, 3)), rolled, atol=1e-5, rtol=0)


def test_the_places_of_a_subject_count_more_and_all_places_together_as_much_as_ever(stocks: dict[str, Stock]) -> None:
    people = stocks["people"]
    subject = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.uint8)
    subject[:, 0, 20:40, 20] = 255  # rows of patches 2 to 4, column 2
    one = dataclasses.replace(people, image=people.image[:1], tokens=people.tokens[:1], subject=subject)
    sample = draw(one, 2, SIZE, None, torch.Generator().manual_seed(0))
    weight = diffusion.focus(sample, dataclasses.replace(config.load().diffusion, figure_weight=3.0))
    torch.testing.assert_close(weight.mean((1, 2, 3)), torch.ones(2))
    here = weight[0, 0] == weight.max()
    rows, columns = here.nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 5, 1, 3)
    torch.testing.assert_close(weight[0, 0][here], 3 * weight[0, 0].min().expand(int(here.sum())))
    material = draw(stocks["materials"], 2, SIZE, None, torch.Generator().manual_seed(0))
    assert diffusion.focus(material, config.load().diffusion) == 1


def test_a_still_is_kept_without_control_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CHUNK", 1)
    pool.grow(tmp_path, "stills", 1, 3)
    (chunk,) = pool.read(tmp_path, "stills")
    assert chunk.subject is not None
    assert (chunk.depth, chunk.normal, chunk.pose) == (None, None, None)
    assert {file.name for file in (tmp_path / "stills-0000").iterdir()} == {"image.npy", "subject.npy", "labels.json"}


def test_a_pool_from_before_it_held_silhouettes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CHUNK", 1)
    pool.grow(tmp_path, "scenes", 1, 3)
    (chunk,) = pool.read(tmp_path, "scenes")
    assert chunk.subject is not None
    assert 0.01 < (chunk.subject > 0).mean() < 0.99
    (tmp_path / "scenes-0000" / "subject.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"scenes-0000 has no subject\.npy; delete the folder"):
        pool.read(tmp_path, "scenes")


def test_a_pool_from_before_it_named_actions_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CHUNK", 2)
    pool.grow(tmp_path, "portraits", 1, 3)
    (chunk,) = pool.read(tmp_path, "portraits")
    named = [[action for action in ACTIONS if action in wordings[0]] for wordings in chunk.captions]
    assert [[list(ACTIONS)[label[3]]] for label in chunk.labels] == named
    place = tmp_path / "portraits-0000" / "labels.json"
    told = json.loads(place.read_text())
    place.write_text(json.dumps(told | {"labels": [label[:3] for label in told["labels"]]}))
    with pytest.raises(ValueError, match=r"labels\.json names no actions; delete the folder"):
        pool.read(tmp_path, "portraits")


def test_a_trained_encoder_learns_a_new_name_and_still_says_of_the_others_what_it_said(
    tmp_path: Path, tokenizer: CLIPTokenizer
) -> None:
    options = dataclasses.replace(tiny(tmp_path).text, steps=200, batch=16, rate=1e-2)
    torch.manual_seed(0)
    tokens = tokens_of(tokenizer, ["red brick wall texture", "a photo of moss", "old brick", "old moss"])
    labels = torch.tensor([[0, 0, -1, -1], [22, -1, -1, -1], [-1, -1, -1, 0], [-1, -1, -1, 1]])
    moved = []
    for keep in (False, True):
        encoder = build_encoder(tokenizer, options)
        before = encoder(tokens).last_hidden_state.detach()
        right = learn_names(encoder, tokens, labels, options, torch.Generator().manual_seed(0), keep)
        after = encoder(tokens).last_hidden_state.detach()
        assert right[3] > 0.95
        moved.append(((after - before).norm(dim=(1, 2)) / before.norm(dim=(1, 2))).tolist())
    assert max(moved[1][:2]) < 0.1
    assert min(moved[0][:2]) > 1


def test_a_control_image_is_cut_where_its_picture_is(stocks: dict[str, Stock]) -> None:
    sample = draw(stocks["people"], 8, 32, "normal", torch.Generator().manual_seed(0))
    assert sample.control is not None
    torch.testing.assert_close(sample.control[1] * 2 - 1, sample.image)


def test_the_plain_pipelines_load_and_run_what_is_exported(
    tmp_path: Path, tokenizer: CLIPTokenizer, patch_code: code.PatchCode
) -> None:
    options = tiny(tmp_path)
    networks = diffusion.build(options, tokenizer)
    size = export.export(networks, build_autoencoder(options, patch_code), tokenizer, patch_code, tmp_path / "w")
    assert size == sum(path.stat().st_size for path in (tmp_path / "w").rglob("*") if path.is_file())
    assert not list((tmp_path / "w").rglob("*.bin"))
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "w", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    assert pipe("red brick", num_inference_steps=2, height=SIZE, width=SIZE).images[0].size == (SIZE, SIZE)
    preview = json.loads((tmp_path / "w" / export.PREVIEW).read_text())
    assert len(preview["latent_rgb_factors"]) == pipe.unet.config.in_channels
    for folder in export.FOLDERS.values():
        network = ControlNetModel.from_pretrained(tmp_path / "w" / folder)
        steered = StableDiffusionControlNetPipeline(**pipe.components, controlnet=network)
        steered.set_progress_bar_config(disable=True)
        hint = Image.new("RGB", (SIZE, SIZE), "white")
        assert steered("moss", hint, num_inference_steps=2, height=SIZE, width=SIZE).images[0].size == (SIZE, SIZE)


def test_a_training_from_exported_weights_begins_with_what_they_know(
    tmp_path: Path,
    tokenizer: CLIPTokenizer,
    stocks: dict[str, Stock],
    patch_code: code.PatchCode,
    pictures: torch.Tensor,
) -> None:
    options = tiny(tmp_path)
    networks = diffusion.build(options, tokenizer)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(0.01)
    export.export(networks, build_autoencoder(options, patch_code), tokenizer, patch_code, tmp_path / "w")
    rmtree(tmp_path / "w" / export.FOLDERS["pose"])
    begun = diffusion.build(options, tokenizer)
    assert shipped.start_from(begun, tmp_path / "w") == {"unet", "text", "depth", "normal"}
    for name in ("unet", "text", "depth", "normal"):
        wanted = networks[name].state_dict()
        for key, value in begun[name].state_dict().items():
            torch.testing.assert_close(value, wanted[key].float(), atol=1e-3, rtol=1e-3)
    # The ControlNet that is missing has the UNet's encoder, and its own way in and out.
    weight = "down_blocks.0.resnets.0.conv1.weight"
    assert torch.equal(begun["pose"].state_dict()[weight], begun["unet"].state_dict()[weight])

    found = shipped.code_of(tmp_path / "w")
    image = pictures * 2 - 1
    wanted = patch_code.encode(image)
    assert (found.encode(image) - wanted).square().mean() < 5e-3 * wanted.var()  # they are in half precision
    assert (
        found.decode(wanted) - patch_code.decode(wanted)
    ).square().mean() < 0.1 * image.var()  # the mean patch is guessed
    assert shipped.tokenizer_of(tmp_path / "w")("red brick").input_ids == tokenizer("red brick").input_ids

    (tmp_path / "run").mkdir()
    diffusion.train(
        dataclasses.replace(options, out=tmp_path / "run"), tokenizer, found, lambda: stocks, 1, tmp_path / "w"
    )
    step, trained = diffusion.averaged(dataclasses.replace(options, out=tmp_path / "run"), tokenizer)
    assert step == 1
    moved = (trained["unet"].conv_in.weight - begun["unet"].conv_in.weight).abs().max()
    assert 0 <= moved < 0.01


def test_of_weights_with_networks_of_another_size_than_the_recipe_s_the_others_are_taken_and_that_is_said(
    tmp_path: Path, tokenizer: CLIPTokenizer, patch_code: code.PatchCode, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tiny(tmp_path)
    networks = diffusion.build(options, tokenizer)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(0.01)
    export.export(networks, build_autoencoder(options, patch_code), tokenizer, patch_code, tmp_path / "w")
    wider = dataclasses.replace(options, unet=dataclasses.replace(options.unet, channels=[32, 32]))
    begun, untouched = diffusion.build(wider, tokenizer), diffusion.build(wider, tokenizer)
    assert shipped.start_from(begun, tmp_path / "w") == {"text"}
    said = capsys.readouterr().out
    for key, value in begun["text"].state_dict().items():
        torch.testing.assert_close(value, networks["text"].state_dict()[key].float(), atol=1e-3, rtol=1e-3)
    for name, folder in {"unet": "unet", **export.FOLDERS}.items():
        assert f"{folder} differs from the recipe at" in said
        for key, value in begun[name].state_dict().items():
            assert torch.equal(value, untouched[name].state_dict()[key])


def test_an_untrained_controlnet_hears_its_control_image() -> None:
    network = build_controlnet(config.load())
    generator = torch.Generator().manual_seed(0)
    noisy, words = torch.randn(1, 12, 16, 16, generator=generator), torch.zeros(1, 8, 160)
    left, right = torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)
    left[..., :64], right[..., 64:] = 1, 1
    with torch.no_grad():
        said = [network(noisy, 500, words, hint, return_dict=False)[0][0] for hint in (left, right)]
    assert (said[0] - said[1]).std() > 0.5 * said[0].std()


def test_the_rate_stays_until_the_cooldown_and_ends_at_nothing() -> None:
    rates = [diffusion.rate_factor_of(step, 10, 100, 20) for step in range(101)]
    assert rates[0] == 0.1
    assert set(rates[9:81]) == {1.0}
    assert all(a > b for a, b in pairwise(rates[80:]))
    assert rates[100] == 0


def test_the_steps_across_the_borders_of_patches_are_told_from_those_inside() -> None:
    blocks = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(8, 2)
    image = blocks.repeat_interleave(8, 3)
    for axis in (2, 3):
        steps = autoencoder.patch_steps(image.diff(dim=axis), axis)
        assert steps.shape == (2, 8)
        assert (steps[:, :7] == 0).all()
        assert (steps[:, 7] > 0).all()


def test_a_recipe_with_a_missing_or_unknown_option_is_refused(tmp_path: Path) -> None:
    text = config.DEFAULT.read_text()
    (tmp_path / "missing.toml").write_text(text.replace("warmup = ", "# warmup = "))
    with pytest.raises(ValueError, match=r"\[diffusion\] lacks warmup"):
        config.load(tmp_path / "missing.toml")
    (tmp_path / "unknown.toml").write_text(text + "\nmagic = 1\n")
    with pytest.raises(ValueError, match="unknown options magic"):
        config.load(tmp_path / "unknown.toml")
