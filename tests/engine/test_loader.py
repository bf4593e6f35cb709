"""Models come from folders and from single files, whole and without asking any network."""

import shutil
import socket
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from server.engine.catalog import Catalog, ModelInfo
from server.engine.diffusion import Painter
from server.engine.errors import RefusedModel, UnreadableModel
from server.engine.loader import CONFIGS, Loader
from server.engine.painting import PaintRequest
from tests import tiny_models


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def single_file(models: Path, tmp_path: Path, extra: dict | None = None) -> tuple[Loader, ModelInfo]:
    """A tiny checkpoint as one file in the original names, and a loader whose configurations fit it."""
    file = tmp_path / "original.safetensors"
    tiny_models.original(models / "sd", file)
    if extra:
        save_file({**load_file(file), **extra}, file)
    tiny_models.configurations(models / "sd", tmp_path / "configs" / "sd15")
    info = ModelInfo(
        "checkpoint", "sd15", file.stat().st_size, 64, ("text-to-image",), (4, 24, 16, 32), 4, id="x", path=file
    )
    return Loader(torch.device("cpu"), configs=tmp_path / "configs"), info


def test_a_single_file_holds_the_same_weights_as_its_folder(models, tmp_path, catalog, ids):
    loader, info = single_file(models, tmp_path)
    from_file, from_folder = loader.checkpoint(info), loader.checkpoint(catalog.get(ids["sd"]))
    for part in ("unet", "vae", "text_encoder"):
        expected = from_folder.parts[part].state_dict()
        for name, tensor in from_file.parts[part].state_dict().items():
            assert torch.equal(tensor, expected[name]), f"{part}.{name}"
    words = "a red, (wet) brick wall — 3 ducks"
    assert from_file.parts["tokenizer"](words).input_ids == from_folder.parts["tokenizer"](words).input_ids
    assert from_file.scheduler.config.prediction_type == "epsilon"


def test_a_single_file_that_marks_itself_as_v_prediction_is_sampled_so(models, tmp_path):
    loader, info = single_file(models, tmp_path, {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)})
    scheduler = loader.checkpoint(info).scheduler
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.rescale_betas_zero_snr


def test_the_configurations_that_ship_are_those_of_the_published_models():
    """Counts of parameters as published with each model."""
    counts = {
        ("sd15", "unet"): 859_520_964, ("sd15", "vae"): 83_653_863, ("sd15", "text_encoder"): 123_060_480,
        ("sd15", "controlnet"): 361_279_120, ("sdxl", "unet"): 2_567_463_684, ("sdxl", "vae"): 83_653_863,
        ("sdxl", "text_encoder"): 123_060_480, ("sdxl", "text_encoder_2"): 694_659_840,
        ("sdxl", "controlnet"): 1_251_014_160, ("sd20", "unet"): 865_910_724, ("sd20", "text_encoder"): 340_387_840,
        ("sd20", "vae"): 83_653_863,
    }  # fmt: skip
    classes = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "controlnet": ControlNetModel}
    with init_empty_weights():
        for (family, part), count in counts.items():
            folder = CONFIGS / family
            if part in classes:
                model = classes[part].from_config(classes[part].load_config(folder, subfolder=part))
            else:
                cls = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
                model = cls(CLIPTextConfig.from_pretrained(folder, subfolder=part))
            assert parameters(model) == count, (family, part)


def test_weights_stored_in_half_precision_are_loaded_in_full_on_a_cpu(models, tmp_path):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(models / "sd", dtype=torch.float16)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    (info,) = painter.catalog.models()
    assert painter.loader.checkpoint(info).parts["unet"].dtype == torch.float32
    assert painter.paint(PaintRequest(steps=2)).images[0].shape == (64, 64, 3)


def test_a_file_that_changed_to_a_lie_after_the_scan_is_refused(models, tmp_path):
    folder = tiny_models.copy(models / "sd", tmp_path / "sd")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    (stored,) = (folder / "unet").glob("*.safetensors")
    stored.write_bytes(stored.read_bytes()[:-10])
    with pytest.raises(RefusedModel):
        painter.paint(PaintRequest(steps=2))


def test_parts_that_do_not_belong_together_are_reported_and_the_next_job_works(models, tmp_path):
    folder = tiny_models.copy(models / "sd", tmp_path / "broken")
    (folder / "unet" / "config.json").write_text((models / "sd16" / "unet" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text((models / "sd16" / "vae" / "config.json").read_text())
    tiny_models.copy(models / "sd", tmp_path / "whole")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    broken, whole = (next(i for i in painter.catalog.models() if i.name == name) for name in ("broken", "whole"))
    with pytest.raises(UnreadableModel, match="broken"):
        painter.paint(PaintRequest(steps=2, model=broken.id))
    assert painter.paint(PaintRequest(steps=2, model=whole.id)).images[0].shape == (64, 64, 3)


def test_loading_and_painting_never_open_a_socket(models, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tiny_models.copy(models / "xl", tmp_path / "xl")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    assert isinstance(painter.paint(PaintRequest(steps=2)).images[0], np.ndarray)
    loader, info = single_file(models, tmp_path)
    loader.checkpoint(info)


def test_a_model_that_came_after_the_painter_is_found(models, tmp_path):
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    shutil.copytree(models / "sd", tmp_path / "late")
    (info,) = Catalog([tmp_path], starter=None).models()
    assert painter.paint(PaintRequest("x", model=info.id, width=64, height=64, steps=1, seed=1)).model == info.id
