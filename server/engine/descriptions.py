"""What can be told about a model without its tensors, and which models go together. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from server.engine import parts
from server.engine.families import Family

Kind = Literal[
    "checkpoint", "controlnet", "t2i_adapter", "lora", "vae", "image_adapter", "image_encoder", "embedding",
    "text_encoder",
]  # fmt: skip
Task = Literal["text-to-image", "image-to-image", "inpaint"]
Control = Literal["depth", "normal", "pose", "canny", "scribble", "lineart", "segmentation", "softedge", "mlsd", "tile"]
CONTROLS: tuple[str, ...] = get_args(Control)
#: The numbers by which a family's ControlNet-Unions tell their controls apart; the first ones of SDXL's have no tile.
UNION_TYPES: dict[Family, dict[str, int]] = {
    "sdxl": {
        "pose": 0, "depth": 1, "softedge": 2, "scribble": 2, "canny": 3, "lineart": 3, "mlsd": 3, "normal": 4,
        "segmentation": 5, "tile": 6,
    },
    "flux": {"canny": 0, "tile": 1, "depth": 2, "pose": 4},
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What can be told about a model without its tensors.

    family: see `families.Family`.
    size_bytes: of the weights. native_size: pixels of the side that a checkpoint was trained at, 0 for other kinds.
    tasks: what a checkpoint can do. layout: latent channels, width of the text embedding and widths of the levels
    of the UNet; a ControlNet fits a checkpoint of the same family and layout. input_channels: of the denoiser (more
    than the latent channels for a checkpoint that was trained to inpaint). control: what a ControlNet or a T2I-Adapter
    looks at. control_types: how many types of controls a ControlNet-Union tells apart, 0 for all others.
    networks: what lies in a single file of a family that paints with a transformer, in a text encoder or an
    autoencoder.
    """

    kind: Kind
    family: Family
    size_bytes: int = 0
    native_size: int = 0
    tasks: tuple[Task, ...] = ()
    layout: tuple[int, ...] = ()
    input_channels: int = 0
    control: Control | None = None
    control_types: int = 0
    networks: tuple[parts.Part, ...] = ()

    @property
    def latent_channels(self) -> int:
        """Channels of the latents; 0 for a LoRA."""
        return self.layout[0] if self.layout else 0

    @property
    def cell(self) -> int:
        """Pixels that the sides of what a checkpoint paints are a multiple of."""
        return 8 if self.family in ("sd15", "sdxl") else 16

    def shows(self, control: str) -> bool:
        """Whether this ControlNet or T2I-Adapter was trained to follow that kind of control."""
        if self.control_types:
            return UNION_TYPES[self.family].get(control, self.control_types) < self.control_types
        return self.control == control

    def controls(self) -> list[str]:
        """The kinds of controls that it was trained to follow, as far as is known."""
        return [control for control in CONTROLS if self.shows(control)]

    def fits(self, checkpoint: Description) -> bool:
        """Whether this ControlNet, LoRA or autoencoder can be used with the checkpoint, as far as headers tell."""
        if self.kind == "t2i_adapter":  # it adds to what the UNet's levels make, and knows no words
            widths = zip(self.layout, checkpoint.layout[2:], strict=False)
            second = checkpoint.layout[1:2] == (1024,)  # SD 2.x has SD 1's levels, and looks at them otherwise
            return self.family == checkpoint.family and not second and all(own == other for own, other in widths)
        if self.kind == "embedding":  # SDXL's two text encoders are of one width each in all its checkpoints
            return self.family == checkpoint.family and (self.family == "sdxl" or self.layout == checkpoint.layout[1:2])
        if self.kind == "image_adapter":
            return self.family == checkpoint.family and self.layout[:1] == checkpoint.layout[1:2]
        if self.kind == "vae":  # SD's and SDXL's have one architecture, and no header tells them apart
            alike = (self.family == "qwen-image") == (checkpoint.family == "qwen-image")
            return alike and self.layout[:1] == checkpoint.layout[:1]
        if self.kind == "text_encoder":
            return any(
                slot.kind == part.kind for slot in parts.SLOTS.get(checkpoint.family, ()) for part in self.networks
            )
        return self.family == checkpoint.family and (not self.layout or self.layout == checkpoint.layout)
