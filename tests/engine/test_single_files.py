"""SD 3, FLUX.1, Qwen-Image and Z-Image come from single files, whole or in parts, and paint the same to the bit."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import RefusedModel, UnreadableModel
from server.engine.painting import PaintRequest
from tests import tiny_singles
from tests.tiny_singles import FILES, PREFIXES

FAMILIES = tuple(FILES)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def pipeline(family):
    return tiny_singles.pipeline(family)


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory) -> Path:
    """`model`, as diffusers writes it."""
    root = tmp_path_factory.mktemp("folder")
    pipeline.save_pretrained(root / "model")
    return root


@pytest.fixture(scope="module")
def states(pipeline, family) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of each part by its authors' names."""
    return {
        slot: {
            key: tensor.clone().contiguous()
            for key, tensor in tiny_singles.original(family, slot, getattr(pipeline, slot).state_dict()).items()
        }
        for slot in PREFIXES[family]
    }


@pytest.fixture(scope="module")
def painted(folder) -> np.ndarray:
    return paint(folder)


@pytest.fixture(autouse=True)
def offline(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def paint(folder: Path) -> np.ndarray:
    """What the only checkpoint of a folder paints."""
    painter = Painter(Catalog([folder], starter=None), "cpu")
    assert painter.catalog.refused() == []
    (info,) = [info for info in painter.catalog.models() if info.kind == "checkpoint"]
    request = PaintRequest("a red brick wall", seed=7, steps=2, width=64, height=80, guidance_scale=3.0, model=info.id)
    return painter.paint(request).images[0]


def prefixed(states, family, *slots: str) -> dict[str, torch.Tensor]:
    return {PREFIXES[family][slot] + key: tensor for slot in slots for key, tensor in states[slot].items()}


def write(folder: Path, states, family: str, **renamed: str) -> Path:
    """The transformer alone, and every other part in a file of its own."""
    folder.mkdir(exist_ok=True)
    save_file(states["transformer"], folder / f"{renamed.get('transformer', 'transformer')}.safetensors")
    for slot, name in FILES[family].items():
        save_file(states[slot], folder / f"{renamed.get(slot, name)}.safetensors")
    return folder


def test_a_file_with_everything_paints_bit_for_bit_what_its_folder_paints(states, family, painted, tmp_path):
    save_file(prefixed(states, family, *PREFIXES[family]), tmp_path / "everything.safetensors")
    np.testing.assert_array_equal(paint(tmp_path), painted)
    assert painted.std() > 5  # not a flat picture


def test_files_for_each_part_paint_bit_for_bit_what_the_folder_paints(states, family, painted, tmp_path):
    vae = {"vae": "sd3-b"} if family == "sd3" else {"vae": "b"}
    names = {slot: f"a{number}" for number, slot in enumerate(FILES[family])} | vae
    np.testing.assert_array_equal(paint(write(tmp_path, states, family, **names)), painted)


def test_parts_that_lie_as_folders_are_taken_too(states, family, folder, painted, tmp_path):
    save_file(prefixed(states, family, "transformer"), tmp_path / "prefixed.safetensors")
    for slot in FILES[family]:
        (tmp_path / f"encoder-{slot}").symlink_to(folder / "model" / slot)
    catalog = Catalog([tmp_path, folder], starter=None)
    kinds = {info.name: info.kind for info in catalog.models() if info.name.startswith("encoder-")}
    assert set(kinds.values()) == {"text_encoder", "vae"}
    (tmp_path / "copies").mkdir()
    for slot in FILES[family]:
        target = tmp_path / "copies" / slot
        target.mkdir()
        for file in (folder / "model" / slot).iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        (tmp_path / f"encoder-{slot}").unlink()
    np.testing.assert_array_equal(paint(tmp_path), painted)


def test_half_precision_is_loaded_in_full_on_a_cpu(states, family, tmp_path):
    half = {
        slot: {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
        for slot, state in states.items()
    }
    painter = Painter(Catalog([write(tmp_path, half, family)], starter=None), "cpu")
    (info,) = [info for info in painter.catalog.models() if info.kind == "checkpoint"]
    checkpoint = painter.loader.checkpoint(info)
    assert {p.dtype for module in checkpoint.modules() for p in module.parameters()} == {torch.float32}
    files = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert info.size_bytes == files  # what has to be loaded, for the memory that it takes


def test_without_a_part_the_file_is_refused_by_what_is_missing(states, family, tmp_path):
    write(tmp_path, states, family)
    published = {"clip_l": "CLIP-L", "clip_g": "CLIP-G", "ae": "autoencoder", "sd3_vae": "autoencoder"}
    for slot, name in FILES[family].items():
        moved = (tmp_path / f"{name}.safetensors").rename(tmp_path / "moved")
        if (family, slot) == ("sd3", "text_encoder_3"):
            assert Catalog([tmp_path], starter=None).refused() == []  # SD 3 was trained to do without
        else:
            (refused,) = Catalog([tmp_path], starter=None).refused()
            assert published.get(name, name) in refused.error.sentence
            assert "brushwire doctor" in refused.error.remedy
            assert str(tmp_path) not in str(refused.error)  # clients read it, and paths are not told
        moved.rename(tmp_path / f"{name}.safetensors")
    (tmp_path / "transformer.ckpt").write_bytes(b"\x80\x04.")
    (refused,) = Catalog([tmp_path], starter=None).refused()
    assert "pickle" in refused.error.sentence


def test_float8_files_with_scales_and_without_hold_what_they_were_packed_from(states, family, tmp_path):
    """ComfyUI's ways: whole layers in 8 bits, a scale for each in `scale_weight` or `weight_scale`, or none."""
    write(tmp_path, states, family)
    slot, name = next(iter(FILES[family].items()))
    for stem, ending in ((None, ""), ("scaled_fp8", ".scale_weight"), (None, ".weight_scale")):
        packed: dict[str, torch.Tensor] = {}
        unpacked: dict[str, torch.Tensor] = {}
        for key, tensor in states[slot].items():
            if tensor.ndim != 2 or "mlp" not in key:
                packed[key] = unpacked[key] = tensor
                continue
            scale = tensor.abs().max() / 448 if ending else torch.ones(())
            packed[key] = (tensor / scale).to(torch.float8_e4m3fn)
            unpacked[key] = packed[key].float() * scale
            if ending:
                packed[key.removesuffix(".weight") + ending] = scale
                packed[key.removesuffix(".weight") + ".scale_input"] = torch.ones(())
        if stem:
            packed[stem] = torch.zeros(2, dtype=torch.float8_e4m3fn)
        assert len(packed) > len(unpacked) or not ending
        save_file(packed, tmp_path / f"{name}.safetensors")
        eight = paint(tmp_path)
        save_file(unpacked, tmp_path / f"{name}.safetensors")
        np.testing.assert_array_equal(paint(tmp_path), eight)


def test_an_autoencoder_of_its_own_takes_the_place_of_the_checkpoints(states, family, painted, folder, tmp_path):
    save_file(states["vae"], tmp_path / f"{FILES[family]['vae']}.safetensors")
    last = ("head.2", "conv_out")
    changed = {key: tensor * (1.5 if any(one in key for one in last) else 1) for key, tensor in states["vae"].items()}
    save_file(changed, tmp_path / f"{FILES[family]['vae']}-brighter.safetensors")
    painter = Painter(Catalog([folder, tmp_path], starter=None), "cpu")
    (info,) = [info for info in painter.catalog.models() if info.kind == "checkpoint"]
    same, other = sorted((one for one in painter.catalog.models() if one.kind == "vae"), key=lambda one: len(one.name))
    request = PaintRequest("a red brick wall", seed=7, steps=2, width=64, height=80, guidance_scale=3.0, model=info.id)
    np.testing.assert_array_equal(painter.paint(replace(request, vae=same.id)).images[0], painted)
    assert (painter.paint(replace(request, vae=other.id)).images[0] != painted).any()


def test_a_part_of_another_width_does_not_fit(states, family, tmp_path):
    write(tmp_path, states, family)
    vae = tmp_path / f"{FILES[family]['vae']}.safetensors"
    state = load_file(vae)
    name = "decoder.conv1.weight" if family == "qwen-image" else "decoder.conv_in.weight"
    state[name] = state[name][:, :4].contiguous()
    save_file(state, vae)
    (refused,) = Catalog([tmp_path], starter=None).refused()
    assert "autoencoder" in refused.error.sentence


def test_a_file_that_lacks_tensors_or_was_cut_off_is_an_error_with_its_name(states, family, tmp_path):
    write(tmp_path, states, family)
    slot, name = next(iter(FILES[family].items()))
    file = tmp_path / f"{name}.safetensors"
    whole = states[slot]
    last = next(key for key in reversed(whole) if "layers.1." in key and key.endswith("weight"))
    save_file({key: tensor for key, tensor in whole.items() if key != last}, file)
    with pytest.raises(UnreadableModel, match=name.replace(".", r"\.") + r"\.safetensors lacks 1 tensors"):
        paint(tmp_path)
    save_file(whole, file)
    catalog = Catalog([tmp_path], starter=None)
    painter = Painter(catalog, "cpu")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(RefusedModel, match="not a sound safetensors file"):
        painter.paint(PaintRequest(steps=1, width=64, height=64))
    assert any("not a sound" in one.error.sentence for one in Catalog([tmp_path], starter=None).refused())


def test_schnell_is_told_by_what_it_lacks_and_sampled_unshifted(tmp_path):
    made = tiny_singles.pipeline("flux")
    parts = {slot: tiny_singles.original("flux", slot, getattr(made, slot).state_dict()) for slot in PREFIXES["flux"]}
    parts = {slot: {key: tensor.contiguous() for key, tensor in state.items()} for slot, state in parts.items()}
    parts["transformer"] = {key: t for key, t in parts["transformer"].items() if not key.startswith("guidance_in")}
    painter = Painter(Catalog([write(tmp_path, parts, "flux")], starter=None), "cpu")
    (info,) = [info for info in painter.catalog.models() if info.kind == "checkpoint"]
    checkpoint = painter.loader.checkpoint(info)
    assert checkpoint.denoiser.config.guidance_embeds is False
    assert (checkpoint.scheduler.config.shift, checkpoint.scheduler.config.use_dynamic_shifting) == (1.0, False)
    texts = checkpoint.parts["text_encoder_2"]
    assert texts.encoder.embed_tokens.weight.data_ptr() == texts.shared.weight.data_ptr()
    assert painter.paint(PaintRequest(steps=1, width=64, height=64)).images[0].std() > 0
