"""Loading: one model at a time, warm ones reused, the least recently used ones forgotten when memory runs short."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

# Before huggingface_hub is imported: it reads them once. Nothing here ever asks the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DiffusionPipeline,
    SchedulerMixin,
    T2IAdapter,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file
from transformers import CLIPVisionModelWithProjection
from transformers.utils import logging as transformers_logging

from server.engine import families, registry, single_files, t2i_names
from server.engine.catalog import ModelInfo
from server.engine.errors import EngineError, UnreadableModel
from server.engine.headers import read_header
from server.engine.memory import device_budget, is_out_of_memory, release_cached
from server.engine.probe import check_weights, variant, weight_files
from server.engine.remembering import Remembered, Seen
from server.engine.speed import Speed
from server.engine.vocabularies import CONFIGS, clip_tokenizer

# from_pretrained patches module registration process-wide, so that two loads at once corrupt each other.
_LOADING = Lock()


@dataclass(eq=False)
class Checkpoint:
    """A loaded checkpoint. parts: name → module or tokenizer, as in a diffusers pipeline; scheduler: its own.

    options: what else its pipeline's constructor was configured with (force_zeros_for_empty_prompt, …).
    hints: the folder's own `brushwire.json`, if there is one: "guidance_scale" that suits the checkpoint.
    texts: what its text encoders made of the newest prompts. seen: what its autoencoder made of the newest pictures.
    loras: what the LoRAs that are on its parts were read from; see `loras.adapt`.
    """

    info: ModelInfo
    parts: dict[str, Any]
    scheduler: SchedulerMixin
    options: dict[str, Any] = field(default_factory=dict)
    hints: dict[str, Any] = field(default_factory=dict)
    texts: Remembered = field(default_factory=lambda: Remembered(64))
    seen: Seen = field(default_factory=Seen)
    loras: frozenset[tuple[str, int]] = frozenset()

    def encoders(self) -> tuple[tuple[str, str], ...]:
        """Names of the text encoders, each with that of its tokenizer."""
        return tuple(pair for pair in self.family.encoders if self.parts.get(pair[0]) is not None)

    @property
    def family(self) -> registry.FamilyPipelines:
        """How its family is painted with."""
        return registry.FAMILIES[self.info.family]

    @property
    def denoiser(self) -> torch.nn.Module:
        """The part that is called at every step."""
        module: torch.nn.Module = self.parts[self.family.denoiser]
        return module

    def modules(self) -> list[torch.nn.Module]:
        """The parts that hold weights."""
        return [part for part in self.parts.values() if isinstance(part, torch.nn.Module)]


@dataclass(eq=False)
class ControlNet:
    """A loaded ControlNet of any family, or a T2I-Adapter. seen: what it made of the newest control images."""

    info: ModelInfo
    net: torch.nn.Module
    seen: Seen = field(default_factory=Seen)

    def modules(self) -> list[torch.nn.Module]:
        """The parts that hold weights."""
        return [self.net]


@dataclass(eq=False)
class Autoencoder:
    """A loaded autoencoder that takes the place of a checkpoint's own. seen: what it made of the newest pictures."""

    info: ModelInfo
    vae: AutoencoderKL
    seen: Seen = field(default_factory=Seen)

    def modules(self) -> list[torch.nn.Module]:
        """The parts that hold weights."""
        return [self.vae]


@dataclass(eq=False)
class ImageEncoder:
    """A loaded CLIP that looks at pictures."""

    info: ModelInfo
    encoder: CLIPVisionModelWithProjection

    def modules(self) -> list[torch.nn.Module]:
        """The parts that hold weights."""
        return [self.encoder]


class Loader:
    """Models on one device.

    device: where they go. budget: bytes of weights that may stay loaded; None for what the device can spare.
    configs: the folder of configurations for single files. speed: how checkpoints are prepared; None is
    as they are.
    """

    def __init__(
        self, device: torch.device, budget: int | None = None, configs: Path = CONFIGS, speed: Speed | None = None
    ) -> None:
        _silence_libraries()
        self.speed = speed or Speed()
        self.device = device
        self.dtype = weight_dtype(device)
        self.budget = device_budget(device) if budget is None else budget
        self.configs = configs
        self._loaded: OrderedDict[str, Checkpoint | ControlNet | Autoencoder | ImageEncoder] = OrderedDict()

    def checkpoint(self, info: ModelInfo, resident: bool = True) -> Checkpoint:
        """The checkpoint, loaded if it is not warm; on the device if it is to be resident, else in main memory."""
        return self._get(info, self._load_checkpoint, resident)

    def controlnet(self, info: ModelInfo, resident: bool = True) -> ControlNet:
        """The ControlNet, loaded if it is not warm; on the device if it is to be resident, else in main memory."""
        return self._get(info, self._load_controlnet, resident)

    def autoencoder(self, info: ModelInfo, checkpoint: Checkpoint, resident: bool = True) -> Autoencoder:
        """The autoencoder; a single file's is configured as the checkpoint's own, whose latents it shares."""
        return self._get(info, lambda found: self._load_autoencoder(found, checkpoint), resident)

    def image_encoder(self, info: ModelInfo, resident: bool = True) -> ImageEncoder:
        """The image encoder, loaded if it is not warm."""
        return self._get(info, self._load_image_encoder, resident)

    def loaded(self) -> list[str]:
        """Ids of the warm models, the least recently used one first."""
        return list(self._loaded)

    def forget(self, keep: tuple[str, ...] = ()) -> None:
        """Forget every warm model but the ones with these ids, and what those have seen; give the memory back."""
        for model_id in [model_id for model_id in self._loaded if model_id not in keep]:
            del self._loaded[model_id]
        for model in self._loaded.values():
            if not isinstance(model, ImageEncoder):
                model.seen.clear()
        release_cached(self.device)

    def _get(self, info: ModelInfo, load: Any, resident: bool) -> Any:
        model = self._loaded.get(info.id)
        if model is None:
            # Room is made before and not after: both together may be more than the device has.
            self._make_room(self._expected_bytes(info))
            with _LOADING:
                try:
                    model = load(info)
                except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
                    if is_out_of_memory(error):
                        raise
                    raise _unreadable(info, error) from error
            if self.device.type == "cpu":
                for module in model.modules():
                    align(module)
            self._loaded[info.id] = model
        self._loaded.move_to_end(info.id)
        place = self.device if resident else torch.device("cpu")
        for module in model.modules():
            if next(module.parameters()).device.type != place.type:
                module.to(place)
        return model

    def _expected_bytes(self, info: ModelInfo) -> int:
        if info.sources:  # of which some may be stored in 8 bits
            paths = {source.path for source in info.sources}
            files = [file for path in paths for file in (weight_files(path) if path.is_dir() else [path])]
            numbers = sum(prod(shape) for file in files for shape in read_header(file).shapes.values())
            return numbers * self.dtype.itemsize
        # Stored in half precision and loaded in full, a file doubles; the header's dtypes are not worth more care.
        return info.size_bytes * (2 if self.dtype == torch.float32 else 1)

    def _make_room(self, needed: int) -> None:
        evicted = False
        while self._loaded and self._bytes() + needed > self.budget:
            self._loaded.popitem(last=False)
            evicted = True
        if evicted:
            release_cached(self.device)

    def _bytes(self) -> int:
        return sum(weight_bytes(module) for model in self._loaded.values() for module in model.modules())

    def _load_checkpoint(self, info: ModelInfo) -> Checkpoint:
        family = registry.FAMILIES[info.family]
        cls = registry.pipeline_class(info.family, "text-to-image")
        if info.path.is_dir():
            missing = [part for part in family.optional if not (info.path / part).is_dir()]
            for part in (family.denoiser, "vae", *(text for text, _ in family.encoders if text not in missing)):
                check_weights(info.path / part)  # again: the file may have changed since the scan
            pipeline = cls.from_pretrained(
                info.path, dtype=self.dtype, local_files_only=True, use_safetensors=True,
                variant=variant(info.path / family.denoiser), **family.absent, **dict.fromkeys(missing),
            )  # fmt: skip
        else:
            pipeline = self._load_single_file(info, cls, family)
        parts = {name: pipeline.components[name] for name in family.parts}
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.eval().requires_grad_(False)
        self.speed.apply(parts[family.denoiser], [parts["vae"]] if family.denoiser == "unet" else [])
        options = {**family.absent}
        if "force_zeros_for_empty_prompt" in pipeline.config:
            options["force_zeros_for_empty_prompt"] = pipeline.config["force_zeros_for_empty_prompt"]
        hints = info.path / "brushwire.json"
        return Checkpoint(
            info, parts, pipeline.scheduler, options,
            json.loads(hints.read_text(encoding="utf-8")) if hints.is_file() else {},
        )  # fmt: skip

    def _load_single_file(self, info: ModelInfo, cls: Any, family: registry.FamilyPipelines) -> Any:
        markers = read_header(info.path).shapes
        if info.sources:
            return single_files.pipeline(info, self.dtype, self.configs)
        if info.base is not None:
            module = getattr(diffusers, DiffusionPipeline.load_config(info.base)[family.denoiser][1])
            # FLUX.1 [schnell] is [dev] without this, and either may lie beside a folder of the other.
            guided = {"guidance_embeds": any("guidance" in name for name in markers)} if info.family == "flux" else {}
            transformer = module.from_single_file(
                str(info.path), config=str(info.base), subfolder=family.denoiser, local_files_only=True,
                dtype=self.dtype, **guided,
            )  # fmt: skip
            missing = [part for part in family.optional if not (info.base / part).is_dir()]
            return cls.from_pretrained(
                info.base, dtype=self.dtype, local_files_only=True, use_safetensors=True, **family.absent,
                **{family.denoiser: transformer}, **dict.fromkeys(missing),
            )  # fmt: skip
        second = info.layout[1:2] == (1024,)  # SD 2.x, which has SD 1's pipelines
        config = self.configs / ("sd20" if second else info.family)
        # diffusers knows the number of input channels from the configuration alone.
        unet = UNet2DConditionModel.from_single_file(
            str(info.path), config=str(config), subfolder="unet", local_files_only=True, dtype=self.dtype,
            in_channels=info.input_channels,
        )  # fmt: skip
        return cls.from_single_file(
            str(info.path), config=str(config), local_files_only=True, dtype=self.dtype, unet=unet,
            scheduler=_single_file_scheduler(config, markers, info),
            **{words: clip_tokenizer(words == "tokenizer_2" or second) for _, words in family.encoders},
            **family.absent,
        )  # fmt: skip

    def _load_autoencoder(self, info: ModelInfo, checkpoint: Checkpoint) -> Autoencoder:
        own = checkpoint.parts["vae"]
        if info.path.is_dir():
            check_weights(info.path)
            vae = type(own).from_pretrained(
                info.path, dtype=self.dtype, local_files_only=True, use_safetensors=True, variant=variant(info.path)
            )
        else:
            read_header(info.path)
            vae = single_files.autoencoder(info, dict(own.config), self.dtype)
        return Autoencoder(info, vae.eval().requires_grad_(False))

    def _load_image_encoder(self, info: ModelInfo) -> ImageEncoder:
        check_weights(info.path)
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            info.path, dtype=self.dtype, local_files_only=True, use_safetensors=True, variant=variant(info.path)
        )
        return ImageEncoder(info, encoder.eval().requires_grad_(False))

    def _load_controlnet(self, info: ModelInfo) -> ControlNet:
        if info.path.is_dir():
            check_weights(info.path)
            named = ControlNetModel.load_config(info.path)["_class_name"]
            # One that `probe.DESCRIBED` knows; what SDXL's Unions are published as is not always what they are.
            union = info.control_types and info.family == "sdxl"
            cls = ControlNetUnionModel if union else getattr(diffusers, named)
            types = {"num_control_type": info.control_types} if union else {}
            net = cls.from_pretrained(
                info.path, dtype=self.dtype, local_files_only=True, use_safetensors=True, variant=variant(info.path),
                **types,
            )  # fmt: skip
        elif info.kind == "t2i_adapter":
            shapes = read_header(info.path).shapes
            net = T2IAdapter(**(t2i_names.describe(shapes) or {}))
            names = t2i_names.renames(shapes)
            net.load_state_dict({names[key]: tensor for key, tensor in load_file(info.path).items()})
            net.to(self.dtype)
        elif info.control_types:  # diffusers reads no single files of these; their tensors have its own names
            read_header(info.path)
            config = ControlNetModel.load_config(self.configs / info.family, subfolder="controlnet")
            net = ControlNetUnionModel.from_config(config, num_control_type=info.control_types)
            net.load_state_dict(load_file(info.path))
            net.to(self.dtype)
        else:
            read_header(info.path)
            family = "sd20" if info.layout[1:2] == (1024,) else info.family
            net = ControlNetModel.from_single_file(
                str(info.path), config=str(self.configs / family), subfolder="controlnet", local_files_only=True,
                dtype=self.dtype,
            )  # fmt: skip
        return ControlNet(info, net.eval().requires_grad_(False))


def _single_file_scheduler(config: Path, markers: Mapping[str, Any], info: ModelInfo) -> SchedulerMixin:
    """The family's scheduler; empty tensors of these names are how v-prediction checkpoints make themselves known.

    Checkpoints that paint in a few steps are told by their names alone.
    """
    stored = DiffusionPipeline.load_config(config)["scheduler"][1]
    cls = getattr(diffusers, stored)
    settings = cls.load_config(config, subfolder="scheduler", local_files_only=True)
    if "v_pred" in markers:
        settings["prediction_type"] = "v_prediction"
    if "ztsnr" in markers:
        settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if config.name == "sd20" and families.small(info.name):
        settings["prediction_type"] = "epsilon"
    if "lcm" in info.name.lower():
        cls = diffusers.LCMScheduler
    elif families.few_steps(info.name):
        settings["timestep_spacing"] = "trailing"
    return cls.from_config(settings)


def weight_dtype(device: torch.device) -> torch.dtype:
    """float32 wherever half precision is slow or untried (CPU, MPS); bfloat16 on CUDA, float16 where it has none."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def align(module: torch.nn.Module) -> None:
    """Lay a module's tensors out as fresh ones lie.

    Those that are mapped from a file begin wherever its header ends, and the last bits of a sum on a CPU depend on
    where its terms begin: without this the same weights would paint otherwise from another file.
    """
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


def weight_bytes(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])


def _silence_libraries() -> None:
    """Loading bars and advice about safety checkers belong in no server's log."""
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _unreadable(info: ModelInfo, error: Exception) -> EngineError:
    return UnreadableModel(
        f"{info.name} could not be loaded: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}",
        "Download it again; if that does not help, its parts do not belong together.",
    )
