"""What can paint: the models of the model folders, known by opaque ids, read without loading a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from server.engine.errors import RefusedModel

Kind = Literal["checkpoint", "controlnet", "lora"]
Family = Literal["sd15", "sdxl"]
Task = Literal["text-to-image", "image-to-image", "inpaint"]

#: The small model that ships with the project.
STARTER = Path(__file__).parent.parent / "starter" / "weights"


@dataclass(frozen=True)
class ModelInfo:
    """One model, as its header tells.

    id: opaque, stable across restarts. name: for people. path: a diffusers folder or a .safetensors file; it never
    comes from, and never goes to, a client. native_size: pixels of the side that the model was trained at, 0 if it
    is not the model's to say. tasks: what a checkpoint can do. latent_channels: of the VAE.
    control: the kind of a ControlNet ("depth", "normal", "pose", …). pipeline_inputs: the denoiser's input channels
    (4, or 9 for a real inpainting checkpoint of 4 latent channels).
    """

    id: str
    name: str
    kind: Kind
    family: Family
    path: Path
    size_bytes: int
    native_size: int = 0
    tasks: tuple[Task, ...] = ()
    latent_channels: int = 4
    input_channels: int = 4
    control: str | None = None
    starter: bool = False


@dataclass(frozen=True)
class Refused:
    """A file of a model folder that will not be loaded, and why."""

    name: str
    error: RefusedModel


class Catalog:
    """The models under some folders, and the starter model if it is there."""

    def __init__(self, folders: Sequence[Path], starter: Path | None = STARTER) -> None:
        raise NotImplementedError

    def models(self) -> list[ModelInfo]:
        """All models, the default checkpoint first."""
        raise NotImplementedError

    def refused(self) -> list[Refused]:
        """The files that were refused."""
        raise NotImplementedError

    def get(self, model_id: str) -> ModelInfo:
        """The model with this id; `UnknownModel` otherwise."""
        raise NotImplementedError

    def default(self) -> ModelInfo:
        """The starter model if it is there, else the first checkpoint; `UnknownModel` if there is none."""
        raise NotImplementedError

    def rescan(self) -> None:
        """Look at the folders again."""
        raise NotImplementedError
