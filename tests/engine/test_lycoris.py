"""LoHa and LoKr files act as the papers' formulas say, beside LoRAs and each other, and leave nothing behind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from peft.tuners import loha, lokr
from safetensors.torch import load_file, save_file
from torch import nn

from server.engine import loras as lora_files
from server.engine import lycoris, unet_names
from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import Cancelled, IncompatibleModels
from server.engine.headers import Header
from server.engine.loader import CONFIGS
from server.engine.painting import PaintRequest
from server.engine.probe import describe_single_file
from tests import tiny_lycoris, tiny_models

LAYERS = {"sd": tiny_lycoris.SD, "xl": tiny_lycoris.XL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lycoris")
    tiny_models.sd(folder / "sd", seed=0)
    tiny_models.xl(folder / "xl", seed=3)
    tiny_models.lora(folder / "sd", folder / "lora.safetensors", seed=20)
    for family, layers in LAYERS.items():
        for number, kind in enumerate(tiny_lycoris.KINDS):
            file = folder / f"{family}-{kind}.safetensors"
            tiny_lycoris.write(folder / family, file, kind, layers, seed=number)
    return folder


@pytest.fixture(scope="module")
def painter(folder) -> Painter:
    return Painter(Catalog([folder], starter=None), "cpu")


@pytest.fixture(scope="module")
def ids(painter) -> dict[str, str]:
    return {info.name: info.id for info in painter.catalog.models()}


@pytest.fixture
def paint(painter, ids):
    def paint(model="sd", cancelled=None, loras=(), **wanted) -> np.ndarray:
        words = {"prompt": "a red brick wall", "seed": 7, "steps": 3, "guidance_scale": 5.0, "width": 64, "height": 64}
        asked = tuple((ids[name], weight) for name, weight in loras)
        request = PaintRequest(**{**words, "model": ids[model], "loras": asked, **wanted})
        return painter.paint(request, cancelled=cancelled).images[0]

    return paint


def weight_of(painter, ids, model: str, part: str, module: str) -> torch.Tensor:
    checkpoint = painter.loader.checkpoint(painter.catalog.get(ids[model]))
    return checkpoint.parts[part].get_submodule(module).weight


@pytest.mark.parametrize("model", ["sd", "xl"])
@pytest.mark.parametrize("kind", tiny_lycoris.KINDS)
@pytest.mark.parametrize("alpha", [2.0, None])
def test_each_weight_is_what_it_was_and_the_formula_times_the_adapters_weight(
    painter, ids, folder, paint, tmp_path, model, kind, alpha
):
    file = folder / f"{model}-{kind}.safetensors"
    kept = file.read_bytes()
    try:
        deltas = tiny_lycoris.write(folder / model, file, kind, LAYERS[model], seed=5, alpha=alpha)
        paint(model)
        before = {layer: weight_of(painter, ids, model, *layer).clone() for layer in deltas}
        paint(model, loras=[(file.stem, -0.7)])
        for layer, delta in deltas.items():
            weight = weight_of(painter, ids, model, *layer)
            expected = before[layer].double().numpy() - 0.7 * delta
            assert np.abs(delta).max() > 1e-2
            np.testing.assert_allclose(weight.numpy(), expected, rtol=2e-5, atol=2e-6, err_msg=str(layer))
        paint(model)
        for layer, weight in before.items():
            assert torch.equal(weight_of(painter, ids, model, *layer), weight)
    finally:
        file.write_bytes(kept)


@pytest.mark.parametrize("kind", tiny_lycoris.KINDS)
@pytest.mark.parametrize("layer", [nn.Linear(8, 12), nn.Conv2d(8, 12, 3)], ids=["linear", "convolution"])
def test_the_formulas_are_those_of_peft(kind, layer):
    shape = tuple(layer.weight.shape)
    own = tiny_lycoris.factors(kind, shape, seed=1)
    tuner = loha if kind.startswith("loha") else lokr
    config = (loha.LoHaConfig if tuner is loha else lokr.LoKrConfig)()
    cls = getattr(tuner.layer, type(layer).__name__)
    theirs = cls(layer, adapter_name="one", config=config, r=3, alpha=2.0)
    for name in theirs.adapter_layer_names:
        values = getattr(theirs, name)
        if "one" in values:
            del values["one"]
        if name in own:
            values["one"] = nn.Parameter(own[name])
    theirs.scaling["one"] = 1.0 if kind == "lokr" else 2.0 / 3
    formula = tiny_lycoris.added({name: tensor.numpy() for name, tensor in own.items()}, shape, 2.0)
    np.testing.assert_allclose(theirs.get_delta_weight("one").detach().numpy(), formula, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["sd", "xl"])
@pytest.mark.parametrize("kind", ["loha-core", "lokr-low"])
@pytest.mark.parametrize("seamless", [False, True])
def test_a_picture_is_that_of_a_checkpoint_whose_weights_hold_it_already(
    folder, paint, tmp_path, model, kind, seamless
):
    number = tiny_lycoris.KINDS.index(kind)  # as the shared folder has it
    deltas = tiny_lycoris.write(folder / model, tmp_path / "y.safetensors", kind, LAYERS[model], seed=number)
    tiny_lycoris.merge(folder / model, tmp_path / "merged", deltas, 4.0)
    merged = Painter(Catalog([tmp_path], starter=None), "cpu")
    request = PaintRequest(
        "a red brick wall", seed=7, steps=3, guidance_scale=5.0, width=64, height=64, seamless_x=seamless
    )
    expected = merged.paint(request).images[0].astype(int)
    seen = paint(model, loras=[(f"{model}-{kind}", 4.0)], seamless_x=seamless)
    np.testing.assert_allclose(seen, expected, atol=1)
    assert np.abs(expected - paint(model, seamless_x=seamless)).max() > 10


def test_several_act_at_once_beside_a_lora_and_read_no_file_again(paint, folder, monkeypatch):
    asked = [
        [("sd-loha", 1.0)],
        [("sd-loha", 0.5), ("sd-lokr", 0.5)],
        [("sd-lokr", 0.5), ("sd-loha", 0.25)],
        [("lora", 1.0), ("sd-loha", 0.5), ("sd-lokr-core", 0.5)],
        [("sd-lokr-core", 0.2), ("lora", -1.0), ("sd-loha", 0.5)],
        [("lora", 1.0)],
    ]
    anew = []
    for loras in asked:
        paint()  # without one, all are taken off
        anew.append(paint(loras=loras))
    assert len({picture.tobytes() for picture in anew}) == len(asked)
    paint()
    read = []
    monkeypatch.setattr(lora_files, "load_file", lambda path: read.append(path.stem) or load_file(path))
    for loras, expected in zip(asked, anew, strict=True):
        assert np.abs(paint(loras=loras).astype(int) - expected).max() <= 1  # sums in another order
    assert read == ["sd-loha", "sd-loha", "sd-lokr", "lora", "sd-loha", "sd-lokr-core", "lora"]


def test_what_two_add_is_the_sum_of_what_each_adds(painter, ids, folder, paint):
    layer = ("unet", "up_blocks.1.resnets.0.conv1")
    paint()
    before = weight_of(painter, ids, "sd", *layer).clone()
    shares = []
    for loras in ([("sd-loha", 0.5)], [("sd-lokr", -2.0)], [("sd-loha", 0.5), ("sd-lokr", -2.0)]):
        paint(loras=loras)
        shares.append(weight_of(painter, ids, "sd", *layer) - before)
    torch.testing.assert_close(shares[0] + shares[1], shares[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_nothing_stays_after_one_nor_after_a_cancel_nor_of_a_weight_of_zero(paint, painter, ids, model):
    before = paint(model)
    checkpoint = painter.loader.checkpoint(painter.catalog.get(ids[model]))
    parts = [(type(module), name) for part in checkpoint.modules() for name, module in part.named_modules()]
    loras = [(f"{model}-loha", 1.0), (f"{model}-lokr", 0.5)]
    changed = paint(model, loras=loras)
    assert (changed != before).any()
    np.testing.assert_array_equal(paint(model, loras=[(name, 0.0) for name, _ in loras]), before)
    calls = []
    with pytest.raises(Cancelled):
        paint(model, loras=loras, cancelled=lambda: calls.append(1) or len(calls) > 4)
    np.testing.assert_array_equal(paint(model), before)
    assert parts == [(type(module), name) for part in checkpoint.modules() for name, module in part.named_modules()]
    np.testing.assert_array_equal(paint(model, loras=loras), changed)


def test_an_adapter_takes_no_more_memory_than_its_file(paint, painter, ids, folder):
    paint()
    checkpoint = painter.loader.checkpoint(painter.catalog.get(ids["sd"]))

    def taken() -> int:
        return sum(
            tensor.numel() * 4 for part in checkpoint.modules() for tensor in [*part.parameters(), *part.buffers()]
        )

    before = taken()
    paint(loras=[("sd-loha", 1.0)])
    assert 0 < taken() - before <= (folder / "sd-loha.safetensors").stat().st_size


def test_what_does_not_fit_is_refused_with_the_layer_and_leaves_nothing_behind(folder, paint, tmp_path):
    tiny_models.sd(tmp_path / "sd", seed=0)
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    own = tiny_lycoris.factors("loha", (32, 24), seed=0)
    good = {f"{name}.{part}": tensor for part, tensor in own.items()}
    wrong = tiny_lycoris.factors("loha", (64, 24), seed=0)
    save_file(
        {**good, **{f"lora_unet_conv_in.{part}": tensor for part, tensor in wrong.items()}},
        tmp_path / "large.safetensors",
    )
    save_file(
        {**good, **{f"lora_unet_down_blocks_7_x.{part}": tensor.clone() for part, tensor in own.items()}},
        tmp_path / "strange.safetensors",
    )
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    told = {info.name: info.id for info in painter.catalog.models()}
    request = {"prompt": "brick", "seed": 7, "steps": 2, "width": 64, "height": 64}
    before = painter.paint(PaintRequest(**request)).images[0]
    for file, reason in (("large", "lora_unet_conv_in is for a weight of 64 rows"), ("strange", "no layer for")):
        with pytest.raises(IncompatibleModels, match=reason):
            painter.paint(PaintRequest(**request, loras=((told[file], 1.0),)))
        np.testing.assert_array_equal(painter.paint(PaintRequest(**request)).images[0], before)


def whole(name: str, kind: str, rows: int, columns: int, rank: int = 8) -> dict[str, tuple[int, ...]]:
    """A layer's names and shapes as they lie in a published file."""
    if kind == "loha":
        sides = {f"{name}.hada_w{n}_a": (rows, rank) for n in (1, 2)}
        return sides | {f"{name}.hada_w{n}_b": (rank, columns) for n in (1, 2)} | {f"{name}.alpha": ()}
    return {
        f"{name}.lokr_w1": (16, 16), f"{name}.lokr_w2_a": (rows // 16, rank),
        f"{name}.lokr_w2_b": (rank, columns // 16), f"{name}.alpha": (),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["loha", "lokr"])
@pytest.mark.parametrize(
    ("family", "name", "rows", "columns"),
    [
        ("sd15", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 320, 768),
        ("sd15", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 320, 1024),
        ("sd15", "lycoris_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 320, 768),
        ("sdxl", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 640, 2048),
        ("sdxl", "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 640, 2048),
        ("flux", "lycoris_single_transformer_blocks_0_attn_to_q", 3072, 3072),
        ("sd3", "lycoris_transformer_blocks_0_attn_add_q_proj", 1536, 1536),
        ("qwen-image", "lycoris_transformer_blocks_0_attn_add_q_proj", 3072, 3072),
    ],
)
def test_the_family_is_told_by_the_widths_that_the_factors_make(family, name, rows, columns, kind):
    told = describe_single_file(Path("x.safetensors"), Header(whole(name, kind, rows, columns)))
    assert (told.kind, told.family) == ("lora", family)


LAYER = "lora_unet_down_blocks_0_attentions_0_proj_in"


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({**whole(LAYER, "loha", 320, 320), f"{LAYER}.dora_scale": (1, 320)}, "DoRA"),
        ({f"{LAYER}.oft_blocks": (8, 40, 40), f"{LAYER}.alpha": ()}, "OFT"),
        ({f"{LAYER}.oft_diag": (40, 8, 8)}, "diagonal OFT"),
        ({f"{LAYER}.diff": (320, 320, 1, 1)}, "whole weights"),
        ({f"{LAYER}.weight": (320,), f"{LAYER}.on_input": ()}, "IA"),
        ({f"{LAYER}.a1.weight": (8, 320), f"{LAYER}.b1.weight": (8, 320)}, "GLoRA"),
        ({**whole(LAYER, "lokr", 320, 320), "lora_unet_down_blocks_0_attentions_0_norm.w_norm": (320,)}, "norms"),
        ({f"{LAYER}.lora_down.weight": (8, 320), f"{LAYER}.lora_mid.weight": (8, 8, 3, 3),
          f"{LAYER}.lora_up.weight": (320, 8)}, "LoCon with a core"),
        ({f"{LAYER}.hada_w1_a": (320, 8)}, "not whole"),
        ({**whole(LAYER, "loha", 320, 320), f"{LAYER}.hada_w2_b": (4, 320)}, "do not belong together"),
        ({**whole(LAYER, "lokr", 320, 320), f"{LAYER}.lokr_w2_b": (8, 20, 3)}, "do not belong together"),
        ({**whole(LAYER, "lokr", 320, 320), f"{LAYER}.lokr_w1": ()}, "not whole"),
    ],
)  # fmt: skip
def test_kinds_that_cannot_be_used_are_refused_by_their_names(shapes, reason, tmp_path):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "other.safetensors")
    (refused,) = Catalog([tmp_path], starter=None).refused()
    assert reason in refused.error.sentence


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_authors_names_of_a_published_unets_layers_are_those_that_diffusers_reads(family):
    config = UNet2DConditionModel.load_config(CONFIGS / family, subfolder="unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    layers = [name for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    named = {f"model.diffusion_model.{unet_names.original(name, unet.config)}.weight": name for name in layers}
    assert len(named) == len(layers)
    numbers = {name: torch.tensor(float(number)) for number, name in enumerate(layers)}
    state = {key: numbers[name] for key, name in named.items()}
    state |= {key.replace(".weight", ".bias"): tensor for key, tensor in state.items()}
    state |= {f"model.diffusion_model.out.0.{part}": torch.zeros(()) for part in ("weight", "bias")}  # a norm
    read = convert_ldm_unet_checkpoint(state, dict(unet.config))
    for name in layers:
        assert torch.equal(read[f"{name}.weight"], numbers[name]), name


def test_tensors_of_other_layers_in_the_same_file_are_left_to_lora(folder, paint, tmp_path):
    """A file may adapt some layers as LoRA and others as LoKr: both act."""
    tiny_models.copy(folder / "sd", tmp_path / "sd")
    both = {**load_file(folder / "sd-lokr.safetensors")}
    state, other = load_file(folder / "lora.safetensors"), {}
    for key, tensor in state.items():
        if "attn1" in key:  # the names that trainers write: unet.a.b.lora_A.weight → lora_unet_a_b.lora_down.weight
            module = key.removeprefix("unet.").rsplit(".lora", 1)[0].replace(".", "_").replace("_processor", "")
            other[f"lora_unet_{module}.lora_{'down' if '.lora_A.' in key or '.down.' in key else 'up'}.weight"] = (
                tensor.contiguous()
            )
    assert other
    save_file({**both, **other}, tmp_path / "both.safetensors")
    save_file(other, tmp_path / "lora.safetensors")
    save_file(both, tmp_path / "lokr.safetensors")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    told = {info.name: info.id for info in painter.catalog.models()}
    request = {"prompt": "brick", "seed": 7, "steps": 2, "width": 64, "height": 64}
    together = painter.paint(PaintRequest(**request, loras=((told["both"], 0.8),))).images[0].astype(int)
    apart = painter.paint(PaintRequest(**request, loras=((told["lora"], 0.8), (told["lokr"], 0.8)))).images[0]
    lokr_alone = painter.paint(PaintRequest(**request, loras=((told["lokr"], 0.8),))).images[0]
    np.testing.assert_allclose(together, apart, atol=1)
    assert (together != lokr_alone).any()
    own, rest = lycoris.divide(load_file(tmp_path / "both.safetensors"))
    assert (len(own), len(rest)) == (len(both), len(other))
