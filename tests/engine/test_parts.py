"""What lies in a single file is told from its header alone: by key lists of the published files, without tensors."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import diffusers
import pytest
import transformers
from accelerate import init_empty_weights

from server.engine import part_configs
from server.engine.descriptions import Description
from server.engine.errors import RefusedModel
from server.engine.headers import Header
from server.engine.parts import Found, Part, choose
from server.engine.probe import describe_single_file
from server.engine.vocabularies import CONFIGS
from tests import tiny_singles
from tests.engine.test_catalog import ORIGINAL, ORIGINAL_XL
from tests.tiny_singles import FILES, PREFIXES

Shapes = dict[str, tuple[int, ...]]
#: Parameters as published, in the numbers of diffusers and transformers.
COUNTS = {
    ("sd3", "transformer"): 2_028_328_000, ("sd3", "vae"): 83_819_683, ("sd3", "text_encoder"): 123_650_304,
    ("sd3", "text_encoder_2"): 694_659_840, ("sd3", "text_encoder_3"): 4_762_310_656,
    ("flux", "transformer"): 11_901_408_320, ("flux", "vae"): 83_819_683, ("flux", "text_encoder"): 123_060_480,
    ("flux", "text_encoder_2"): 4_762_310_656, ("qwen-image", "transformer"): 20_430_401_088,
    ("qwen-image", "vae"): 126_892_531, ("z-image", "transformer"): 6_154_908_736,
    ("z-image", "text_encoder"): 4_022_468_096,
}  # fmt: skip


@cache
def network(family: str, slot: str, **changed) -> object:
    """A part as published, on no device."""
    config = {**json.loads((CONFIGS / family / slot / "config.json").read_text()), **changed}
    with init_empty_weights():
        if "_class_name" in config:
            return getattr(diffusers, config["_class_name"]).from_config(config)
        cls = getattr(transformers, config["architectures"][0])
        return cls(cls.config_class.from_dict(config))


def keys(family: str, slot: str, prefix: str = "", **changed) -> Shapes:
    """The key list of a published part by its authors' names."""
    state = network(family, slot, **changed).state_dict()
    if (family, slot) == ("qwen-image", "text_encoder"):
        state = {f"model.{key}": tensor for key, tensor in state.items()}
    return {prefix + key: tuple(tensor.shape) for key, tensor in tiny_singles.original(family, slot, state).items()}


def everything(family: str) -> Shapes:
    return {
        key: shape for slot, prefix in PREFIXES[family].items() for key, shape in keys(family, slot, prefix).items()
    }


def described(shapes: Shapes, name: str = "model") -> Description:
    return describe_single_file(Path(f"{name}.safetensors"), Header(shapes, {}, 1000))


@pytest.mark.parametrize(("family", "slot"), COUNTS)
def test_the_configurations_that_ship_are_those_of_the_published_models(family, slot):
    named = network(family, slot).named_parameters()
    # T5's words are known by two names.
    assert sum(one.numel() for name, one in named if name != "encoder.embed_tokens.weight") == COUNTS[family, slot]


@pytest.mark.parametrize("family", FILES)
def test_a_transformer_is_told_by_its_authors_names_with_and_without_a_prefix_and_by_those_of_diffusers(family):
    widths = {"sd3": 1536, "flux": 3072, "qwen-image": 3072, "z-image": 3840}
    own = {key: tuple(tensor.shape) for key, tensor in network(family, "transformer").state_dict().items()}
    for shapes in (keys(family, "transformer"), keys(family, "transformer", "model.diffusion_model."), own):
        told = described(shapes)
        assert (told.kind, told.family, told.layout) == ("checkpoint", family, (16, widths[family]))
        assert [part.kind for part in told.networks] == ["transformer"]


@pytest.mark.parametrize("family", FILES)
def test_a_file_with_everything_is_told_with_all_its_parts(family):
    told = described(everything(family))
    assert (told.kind, told.family) == ("checkpoint", family)
    prefixes = {part.prefix.removesuffix("model.") or part.prefix for part in told.networks}
    assert prefixes == {prefix.removesuffix("model.") for prefix in PREFIXES[family].values()}


@pytest.mark.parametrize("family", FILES)
def test_each_part_alone_is_told_and_tells_its_own_configuration(family):
    kinds = {"text_encoder": "text_encoder", "vae": "vae"}
    for slot in FILES[family]:
        shapes = keys(family, slot)
        told = described(shapes)
        assert told.kind == kinds[slot[:12]], slot
        (part,) = told.networks
        bare = {key.removeprefix(part.prefix): shape for key, shape in shapes.items() if key.startswith(part.prefix)}
        own = json.loads((CONFIGS / family / slot / "config.json").read_text())
        for key, value in part_configs.told(family, part.kind, bare).items():
            expected = {**own[key], **value} if isinstance(value, dict) else value
            assert own[key] == expected, (slot, key)
    transformer = keys(family, "transformer")
    own = json.loads((CONFIGS / family / "transformer" / "config.json").read_text())
    for key, value in part_configs.told(family, "transformer", transformer).items():
        assert own.get(key) == value, key


def test_the_sizes_of_sd3_and_flux_are_told_by_their_shapes():
    medium = keys(
        "sd3", "transformer", dual_attention_layers=tuple(range(13)), qk_norm="rms_norm", pos_embed_max_size=384
    )
    told = part_configs.told("sd3", "transformer", medium)
    assert told["dual_attention_layers"] == list(range(13))
    assert (told["qk_norm"], told["pos_embed_max_size"]) == ("rms_norm", 384)
    large = keys(
        "sd3", "transformer", num_layers=38, num_attention_heads=38, caption_projection_dim=2432, qk_norm="rms_norm"
    )
    told = part_configs.told("sd3", "transformer", large)
    assert (told["num_layers"], told["num_attention_heads"], told["caption_projection_dim"]) == (38, 38, 2432)
    schnell = {key: shape for key, shape in keys("flux", "transformer").items() if not key.startswith("guidance_in")}
    assert part_configs.told("flux", "transformer", schnell)["guidance_embeds"] is False
    lite = {key: shape for key, shape in keys("flux", "transformer").items() if not key.startswith("double_blocks.1")}
    assert part_configs.told("flux", "transformer", lite)["num_layers"] == 9


def test_transformers_that_only_look_like_a_family_are_refused_with_the_reason():
    flux = keys("flux", "transformer")
    fill = {**flux, "img_in.weight": (3072, 384)}
    with pytest.raises(RefusedModel, match="takes 96 channels"):
        described(fill, "flux1-fill-dev")
    chroma = {key: shape for key, shape in flux.items() if not key.startswith("vector_in")}
    with pytest.raises(RefusedModel, match="Chroma"):
        described(chroma)
    packed = {**flux, "double_blocks.0.img_attn.qkv.weight.absmax": (100,)}
    with pytest.raises(RefusedModel, match="packed by bitsandbytes"):
        described(packed, "flux1-dev-bnb-nf4")
    with pytest.raises(RefusedModel, match="packed by NVFP4"):
        described({**flux, "double_blocks.0.img_attn.qkv.weight_scale_2": ()})


def test_other_text_encoders_and_whole_checkpoints_are_not_taken_for_these():
    t5 = keys("flux", "text_encoder_2")
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    umt5 = {**t5, bias.replace("block.0", "block.1"): t5[bias]}
    with pytest.raises(RefusedModel):
        described(umt5, "umt5_xxl")
    assert described(ORIGINAL).family == "sd15"
    assert described(ORIGINAL_XL).kind == "checkpoint"
    clip = {f"cond_stage_model.transformer.{key}": shape for key, shape in keys("flux", "text_encoder").items()}
    assert described({**ORIGINAL, **clip}).family == "sd15"


def test_autoencoders_of_one_architecture_go_with_their_family():
    flux, film = described(keys("flux", "vae"), "ae"), described(keys("qwen-image", "vae"), "qwen_image_vae")
    sd3 = described(keys("sd3", "vae"), "sd3_vae")
    assert (flux.family, sd3.family, film.family) == ("flux", "sd3", "qwen-image")
    checkpoints = {family: described(keys(family, "transformer")) for family in FILES}
    fitting = {
        name: [family for family in FILES if vae.fits(checkpoints[family])]
        for name, vae in (("flux", flux), ("film", film))
    }
    assert fitting == {"flux": ["sd3", "flux", "z-image"], "film": ["qwen-image"]}  # to name one is to mean it


def test_an_autoencoder_or_an_encoder_of_another_family_fills_no_slot():
    encoders = [
        Found(Part("clip", "", 768), Path("l")), Found(Part("clip", "", 1280), Path("g")),
        Found(Part("t5", "", 4096), Path("t5")), Found(Part("t5", "", 2048), Path("smaller")),
    ]  # fmt: skip
    vaes = {name: Found(Part("vae", "", 16), Path(name), name) for name in ("sd3", "flux")}
    for family, transformer in (
        ("sd3", Part("transformer", "", 4096, 2048)),
        ("flux", Part("transformer", "", 4096, 768)),
    ):
        sources, missing = choose(family, transformer, 16, [], [*reversed(encoders), *vaes.values()])
        assert missing == []
        paths = {source.slot: str(source.path) for source in sources}
        assert paths.pop("vae") == family
        assert set(paths.values()) == ({"l", "g", "t5"} if family == "sd3" else {"l", "t5"})
        other = vaes["flux" if family == "sd3" else "sd3"]
        _, missing = choose(family, transformer, 16, [], [*encoders[:2], other])
        assert [slot.name for slot in missing] == (["vae"] if family == "sd3" else ["text_encoder_2", "vae"])
