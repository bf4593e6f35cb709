"""Pipelines of SD 3, FLUX.1, Qwen-Image and Z-Image from single files, each part read, named and configured alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers.loaders import single_file_utils
from safetensors import safe_open
from torch import Tensor

from server.engine import flux_names, part_configs, registry, vocabularies
from server.engine.catalog import ModelInfo
from server.engine.errors import UnreadableModel
from server.engine.families import Family
from server.engine.headers import read_header
from server.engine.parts import SLOTS, PartKind, Source
from server.engine.probe import check_weights, variant

State = dict[str, Tensor]
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
#: Ends of the names of a packed tensor's scale, beside the end of its own name: ComfyUI's older and newer way.
_SCALES = (".scale_weight", ".weight_scale")
_BESIDE = (*_SCALES, ".scale_input", ".input_scale", ".comfy_quant")


def pipeline(info: ModelInfo, dtype: torch.dtype, configs: Path) -> Any:
    """The pipeline for text of a checkpoint that is made of single files (`info.sources`).

    configs: the folder of configurations. Raises RefusedModel for a file that lies, and UnreadableModel for one that
    lacks tensors of its part.
    """
    family = info.family
    kinds: dict[str, PartKind] = {slot.name: slot.kind for slot in SLOTS[family]}
    parts: dict[str, Any] = dict.fromkeys(registry.FAMILIES[family].parts)
    for source in info.sources:
        parts[source.slot] = _part(family, kinds.get(source.slot, "transformer"), source, dtype, configs)
    for encoder, words in registry.FAMILIES[family].encoders:
        if parts[encoder] is not None:
            parts[words] = _tokenizer(kinds[encoder], words)
    cls = registry.pipeline_class(family, "text-to-image")
    return cls(**parts, scheduler=_scheduler(info, parts["transformer"], configs), **registry.FAMILIES[family].absent)


def autoencoder(info: ModelInfo, config: dict[str, Any], dtype: torch.dtype) -> Any:
    """The autoencoder of a file of its own, configured as the one whose place it takes."""
    (part,) = info.networks
    state = read(info.path, part.prefix, dtype)
    return _painter(config, _rename(info.family, part.kind, state), info.path, dtype)


def _part(family: Family, kind: PartKind, source: Source, dtype: torch.dtype, configs: Path) -> Any:
    own = json.loads((configs / family / source.slot / "config.json").read_text(encoding="utf-8"))
    if source.path.is_dir():
        return _from_folder(own, source.path, dtype)
    header = read_header(source.path).shapes  # again: the file may have changed since the scan
    shapes = {key.removeprefix(source.prefix): shape for key, shape in header.items() if key.startswith(source.prefix)}
    config = _merged(own, part_configs.told(family, kind, shapes))
    state = read(source.path, source.prefix, dtype)
    if kind in ("transformer", "vae", "video-vae"):
        return _painter(config, _rename(family, kind, state), source.path, dtype)
    return _encoder(family, kind, source, config, state, dtype)


def read(path: Path, prefix: str, dtype: torch.dtype) -> State:
    """The tensors whose names begin with the prefix, without it, as dtype where they hold no whole numbers."""
    state: State = {}
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        for name in sorted(name for name in names if name.startswith(prefix)):
            if name.endswith(_BESIDE) or name.rpartition(".")[2] == "scaled_fp8":
                continue
            tensor = file.get_tensor(name)
            if tensor.dtype in _FLOAT8:
                scale = next((stem for end in _SCALES if (stem := name.removesuffix(".weight") + end) in names), None)
                # In full precision first: a product of two roundings would be rounded a third time.
                tensor = tensor.float() * file.get_tensor(scale).float() if scale else tensor
            state[name.removeprefix(prefix)] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return state


def _painter(config: dict[str, Any], state: State, path: Path, dtype: torch.dtype) -> Any:
    """A network of diffusers."""
    cls = getattr(diffusers, config["_class_name"])
    with init_empty_weights(include_buffers=False):
        network = cls.from_config(config)
    missing, _ = network.load_state_dict(state, strict=False, assign=True)
    _complain(path, missing)
    return network.to(dtype)


def _encoder(
    family: Family, kind: PartKind, source: Source, config: dict[str, Any], state: State, dtype: torch.dtype
) -> Any:
    """A text encoder of transformers."""
    cls = getattr(transformers, config["architectures"][0])
    if kind == "qwen2.5-vl":
        state = {f"language_model.{key}": tensor for key, tensor in state.items()}
    if family == "sd3" and source.slot == "text_encoder":
        # SD 3 was trained on what CLIP-L makes of a whole text before it is projected, and its file has no projection.
        state["text_projection.weight"] = torch.eye(config["hidden_size"])
    with _written(config, "config.json") as folder:
        known = cls.config_class.from_pretrained(folder, local_files_only=True)
    network, about = cls.from_pretrained(None, config=known, state_dict=state, dtype=dtype, output_loading_info=True)
    # Nothing here shows the encoder pictures: its eyes are neither read nor kept.
    _complain(source.path, [name for name in about["missing_keys"] if not name.startswith("visual.")])
    if kind == "qwen2.5-vl":
        network.visual = torch.nn.Identity()
    return network


def _from_folder(own: dict[str, Any], folder: Path, dtype: torch.dtype) -> Any:
    check_weights(folder)
    name = own.get("_class_name")
    cls = getattr(diffusers, name) if name else getattr(transformers, own["architectures"][0])
    return cls.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, variant=variant(folder)
    )


def _tokenizer(kind: PartKind, words: str) -> Any:
    if kind == "clip":
        return vocabularies.clip_tokenizer(words == "tokenizer_2")
    return vocabularies.t5_tokenizer() if kind == "t5" else vocabularies.qwen_tokenizer(kind == "qwen3")


def _scheduler(info: ModelInfo, transformer: Any, configs: Path) -> Any:
    settings = json.loads((configs / info.family / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    if info.family == "flux" and not transformer.config.guidance_embeds:
        # FLUX.1 [schnell], which was distilled without guidance, paints along unshifted steps.
        settings |= {"shift": 1.0, "use_dynamic_shifting": False}
    return getattr(diffusers, settings["_class_name"]).from_config(settings)


def _rename(family: Family, kind: PartKind, state: State) -> State:
    """The state with diffusers' names, if it has those of its authors."""
    for own_name, convert in _CONVERSIONS[family if kind == "transformer" else kind]:
        if own_name in state:
            return convert(state)
    return state


def _vae_names(state: State) -> State:
    levels = sum(f"encoder.down.{level}.block.0.conv1.weight" in state for level in range(8))
    return dict(single_file_utils.convert_ldm_vae_checkpoint(state, {"down_block_types": [""] * levels,
                                                                     "up_block_types": [""] * levels}))  # fmt: skip


#: A tensor's name by which the authors' naming is told, and what brings it to diffusers' own.
_CONVERSIONS: dict[str, tuple[tuple[str, Callable[[State], State]], ...]] = {
    "sd3": (("x_embedder.proj.weight", single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers),),
    "flux": (("img_in.weight", flux_names.to_diffusers),),
    "qwen-image": (),
    "z-image": (("x_embedder.weight", single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers),),
    "vae": (("encoder.down.0.block.0.conv1.weight", _vae_names),),
    "video-vae": (("encoder.conv1.weight", single_file_utils.convert_wan_vae_to_diffusers),),
}


def _merged(own: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    return {**own, **{key: {**own[key], **value} if isinstance(value, dict) else value for key, value in told.items()}}


def _complain(path: Path, missing: list[str]) -> None:
    if missing:
        raise UnreadableModel(
            f"{path.name} lacks {len(missing)} tensors of its network, among them {sorted(missing)[0]}.",
            "Download it again; if that does not help, its author left a part of it out.",
        )


@contextmanager
def _written(config: dict[str, Any], name: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(json.dumps(config), encoding="utf-8")
        yield folder
