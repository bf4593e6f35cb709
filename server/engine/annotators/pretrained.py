"""Models of transformers in the model folder, with what prepares pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor
from transformers.utils import logging as transformers_logging

from server.engine.errors import UnreadableModel
from server.engine.probe import check_weights


def load(folder: Path, model_class: Any, device: torch.device) -> tuple[Any, Any]:
    """The processor and the model, ready on the device.

    folder: with config.json, preprocessor_config.json and .safetensors weights. model_class: has `from_pretrained`.
    Raises UnreadableModel.
    """
    transformers_logging.set_verbosity_error()  # advice about torchvision belongs in no server's log
    check_weights(folder)
    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model: Any = model_class.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise UnreadableModel(
            f"{folder.name} could not be loaded: {reason}", "Download all its files again."
        ) from error
    return processor, model.to(device).eval()
