"""LoRAs, LoHas and LoKrs on a checkpoint's parts: they stay there until a painting wants others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safetensors.torch import load_file

from server.engine import lycoris, memory
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
        _weigh(pipeline, checkpoint, names, weights)
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
        own, others = lycoris.divide(load_file(info.path))
        if others:
            pipeline.load_lora_weights(others, adapter_name=names[-1])
        if own:
            lycoris.put_on(checkpoint, names[-1], own)
        _weigh(pipeline, checkpoint, names, weights)
    except (ValueError, RuntimeError, KeyError) as error:
        if memory.is_out_of_memory(error):
            raise
        # What diffusers says is a list of a thousand names.
        reason = f": {error}" if isinstance(error, lycoris.DoesNotFit) else ""
        raise IncompatibleModels(
            f"The LoRA {info.name} does not fit {checkpoint.info.name}{reason}.",
            "Take one that was made for this checkpoint's family.",
        ) from error


def _weigh(pipeline: Any, checkpoint: Checkpoint, names: list[str], weights: list[float]) -> None:
    lycoris.weigh(checkpoint, dict(zip(names, weights, strict=True)))
    known = {name for component in pipeline.get_list_adapters().values() for name in component}
    plain = [(name, weight) for name, weight in zip(names, weights, strict=True) if name in known]
    if plain:
        pipeline.set_adapters([name for name, _ in plain], [weight for _, weight in plain])


def _take_off(pipeline: Any, checkpoint: Checkpoint) -> None:
    pipeline.unload_lora_weights()
    lycoris.take_off(checkpoint)
    checkpoint.loras = frozenset()
