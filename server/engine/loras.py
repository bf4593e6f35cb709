"""LoRAs on a checkpoint's parts: they stay there until a painting wants others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safetensors.torch import load_file

from server.engine import memory
from server.engine.catalog import ModelInfo
from server.engine.errors import IncompatibleModels
from server.engine.headers import read_header
from server.engine.loader import Checkpoint


def adapt(pipeline: Any, checkpoint: Checkpoint, wanted: Sequence[tuple[ModelInfo, float]]) -> None:
    """Put LoRAs, with their weights, on the parts of a pipeline, and take off all others.

    pipeline: of the checkpoint's own parts. What is there already from an earlier painting, of a file that has not
    changed since, gets its weights alone. Without LoRAs the parts are what they were before the first one.
    Raises `IncompatibleModels` for a LoRA that does not fit; then none is left.
    """
    read_from = frozenset((info.id, info.path.stat().st_mtime_ns) for info, _ in wanted)
    if checkpoint.loras and checkpoint.loras != read_from:
        _take_off(pipeline, checkpoint)
    names = [f"lora_{info.id}" for info, _ in wanted]
    weights = [weight for _, weight in wanted]
    if checkpoint.loras:
        pipeline.set_adapters(names, weights)
        return
    try:
        for number, (info, _) in enumerate(wanted):
            _load(pipeline, checkpoint, info, names[: number + 1], weights[: number + 1])
    except BaseException:
        _take_off(pipeline, checkpoint)
        raise
    checkpoint.loras = read_from


def _load(pipeline: Any, checkpoint: Checkpoint, info: ModelInfo, names: list[str], weights: list[float]) -> None:
    """Load the last one of those that are named."""
    read_header(info.path)
    try:
        pipeline.load_lora_weights(load_file(info.path), adapter_name=names[-1])
        pipeline.set_adapters(names, weights)
    except (ValueError, RuntimeError, KeyError) as error:
        if memory.is_out_of_memory(error):
            raise
        raise IncompatibleModels(
            f"The LoRA {info.name} does not fit {checkpoint.info.name}.",
            "Take one that was made for this checkpoint's family.",
        ) from error


def _take_off(pipeline: Any, checkpoint: Checkpoint) -> None:
    pipeline.unload_lora_weights()
    checkpoint.loras = frozenset()
