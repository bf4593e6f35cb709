"""The detectors of controlnet-aux, with weights from the model folder; nothing is downloaded.

Its weights are pickles: torch reads them with `weights_only`, its default, which runs no code.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from server.engine.detectors import Detector, weight_file
from server.engine.errors import UnreadableModel

#: What a detector is called with beside the picture.
_OPTIONS: dict[str, dict[str, Any]] = {
    "scribble_hed": {"scribble": True}, "scribble_pidinet": {"scribble": True}, "lineart_coarse": {"coarse": True},
}  # fmt: skip
#: What its weights are called where it is made, in the order of `Detector.files`.
_NAMES: dict[str, tuple[str, ...]] = {
    "OpenposeDetector": ("filename", "hand_filename", "face_filename"),
    "LineartDetector": ("filename", "coarse_filename"),
    "LeresDetector": ("filename", "pix2pix_filename"),
}


class AuxDetector:
    """One of them on one device; what it lacks was asked before (`detectors.lacking`)."""

    def __init__(self, detector: Detector, folders: Sequence[Path], device: torch.device) -> None:
        try:
            cls = getattr(importlib.import_module("controlnet_aux"), detector.model)
        except (ImportError, RuntimeError) as error:  # a torchvision that was built for another torch raises the latter
            reason = str(error).strip().splitlines()[0][:300] if str(error) else type(error).__name__
            raise UnreadableModel(
                f"controlnet-aux could not be imported: {reason}.",
                f"Install the torchvision that belongs to torch {torch.__version__}.",
            ) from error
        files = [weight_file(name, folders) for name in detector.files]
        if files and files[0] is not None:
            named = zip(_NAMES.get(detector.model, ("filename",)), detector.files, strict=True)
            try:
                self._detect: Any = cls.from_pretrained(str(files[0].parent), **dict(named))
            except (OSError, KeyError, RuntimeError, ValueError) as error:
                raise UnreadableModel(
                    f"The weights of {detector.name} cannot be read.", "Download them again."
                ) from error
        else:
            self._detect = cls()
        if hasattr(self._detect, "to"):
            self._detect = self._detect.to(device)
        self._options = _OPTIONS.get(detector.id, {})

    def __call__(self, picture: NDArray[np.uint8], hands: bool, face: bool) -> NDArray[np.uint8]:
        """The control image, at the detector's own size."""
        side = min(picture.shape[:2])
        options = dict(self._options, detect_resolution=side, image_resolution=side, output_type="pil")
        if type(self._detect).__name__ == "OpenposeDetector":
            options |= {"include_hand": hands, "include_face": face}
        return np.asarray(self._detect(Image.fromarray(picture), **options).convert("RGB"))
