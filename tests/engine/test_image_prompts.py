"""A picture says what to paint, as words do, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import IncompatibleModels, UnknownModel
from server.engine.painting import ImagePromptInput, PaintRequest, RegionInput
from tests import tiny_models

RED = np.zeros((40, 60, 3), np.uint8)
RED[..., 0] = 255
NOISE = np.random.default_rng(0).integers(0, 256, (48, 48, 4), np.uint8)


def adapter(checkpoint: Path, file: Path, seed: int = 5) -> None:
    """An IP-Adapter for a checkpoint's UNet with four tokens, strong enough to be seen."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    width = unet.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": torch.randn(4 * width, 12) * 0.3, "image_proj.proj.bias": torch.randn(4 * width),
        "image_proj.norm.weight": torch.ones(width), "image_proj.norm.bias": torch.zeros(width),
    }  # fmt: skip
    number = 1
    for name in unet.attn_processors:
        if "attn1" in name:
            continue
        inner = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{number}.{part}.weight"] = torch.randn(inner, width) * 0.3
        number += 2
    save_file(state, file)


def encoder(folder: Path) -> None:
    torch.manual_seed(6)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, projection_dim=12, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def own_painter(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    for name in ("sd", "xl"):
        tiny_models.copy(models / name, folder / name)
        adapter(models / name, folder / f"{name}-ip.safetensors")
    encoder(folder / "encoder")
    return Painter(Catalog([folder], starter=None), "cpu")


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_a_picture_says_what_to_paint_by_its_weight_and_leaves_nothing_behind(own_painter, model):
    ids = {info.name: info.id for info in own_painter.catalog.models()}

    def paint(**wanted) -> np.ndarray:
        request = PaintRequest(**{"prompt": "wall", "seed": 3, "steps": 3, "model": ids[model], **wanted})
        return own_painter.paint(request).images[0].astype(int)

    plain = paint()
    asked = ((RED, 0.2), (RED, 1.0), (NOISE, 1.0))
    weak, strong, other = (paint(image_prompts=(ImagePromptInput(image, weight),)) for image, weight in asked)
    assert 0 < np.abs(weak - plain).mean() < np.abs(strong - plain).mean()
    assert (strong != other).any()
    np.testing.assert_array_equal(paint(image_prompts=(ImagePromptInput(RED, 0.0),)), plain)
    two = (ImagePromptInput(RED, 0.5), ImagePromptInput(NOISE, 0.5))
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    assert (paint(image_prompts=two, guidance_scale=1.0) != strong).any()
    assert paint(image_prompts=two, regions=(RegionInput("moss", mask),), batch=2).shape == plain.shape
    np.testing.assert_array_equal(paint(), plain)


def test_adapters_and_encoders_are_told_and_matched(own_painter):
    told = {info.name: info for info in own_painter.catalog.models()}
    assert (told["sd-ip"].kind, told["encoder"].kind) == ("image_adapter", "image_encoder")
    assert told["sd-ip"].fits(told["sd"])
    assert not told["sd-ip"].fits(told["xl"])
    request = PaintRequest(model=told["xl"].id, image_prompts=(ImagePromptInput(RED, model=told["sd-ip"].id),))
    with pytest.raises(IncompatibleModels, match="sd-ip"):
        own_painter.paint(request)


def test_what_is_missing_is_named(models, tmp_path):
    tiny_models.copy(models / "sd", tmp_path / "sd")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    request = PaintRequest(image_prompts=(ImagePromptInput(RED),))
    with pytest.raises(UnknownModel, match="No image adapter fits sd"):
        painter.paint(request)
    adapter(models / "sd", tmp_path / "ip.safetensors")
    with pytest.raises(UnknownModel, match="no image encoder for ip"):
        painter.paint(request)
