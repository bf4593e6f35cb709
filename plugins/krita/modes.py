"""The docker's ways of working: which job each one makes, and what of the document it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: What a result becomes.
Becomes = Literal["layer", "document", "group", "control", "frames", "file"]


@dataclass(frozen=True)
class Mode:
    """One way of working.

    key: kept in settings and histories. label, hint: for people. kind: of job. takes: what of the document travels:
    nothing, the picture, the picture with the selection as mask, or the picture with its transparent part as mask.
    becomes: what the result is put in place as. preset: values that the job has unless the artist sets others.
    hidden: fields that this way of working settles itself. essential: fields that are seen at once beside the schema's.
    grow, feather: of the selection before it becomes the mask, in pixels.
    """

    key: str
    label: str
    hint: str
    kind: str = "Generate"
    takes: Literal["nothing", "picture", "selection", "transparent"] = "picture"
    becomes: Becomes = "layer"
    preset: dict[str, Any] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    grow: int = 0
    feather: int = 0
    #: Pixels around the mask that the model sees too.
    context: int = 64
    needs_prompt: bool = False


_SIZES = frozenset({"width", "height"})
_MASKED = frozenset({"mask_grow", "mask_feather", "mask_padding"})
_HIRES = frozenset({"hires_scale", "hires_strength", "hires_upscaler"})

MODES = (
    Mode(
        "generate", "Generate", "A new picture from words, in the selection or on the whole canvas.",
        takes="nothing", hidden=_SIZES | _MASKED | {"denoising_strength"}, needs_prompt=True,
    ),
    Mode(
        "refine", "Refine", "Paints the picture anew from what is there; the strength says how much.",
        preset={"denoising_strength": 0.5}, hidden=_SIZES | _MASKED | _HIRES,
    ),
    Mode(
        "fill", "Fill", "Paints into the selection; nothing outside of it changes.",
        takes="selection", preset={"denoising_strength": 1.0}, hidden=_SIZES | _MASKED | _HIRES,
    ),
    Mode(
        "expand", "Expand", "Continues the picture into its transparent parts.",
        takes="transparent", preset={"denoising_strength": 1.0}, hidden=_SIZES | _MASKED | _HIRES, context=128,
    ),
    Mode(
        "remove", "Remove", "Takes away what is selected and continues what is around it.",
        takes="selection", preset={"denoising_strength": 1.0}, hidden=_SIZES | _MASKED | _HIRES | {"batch"},
        grow=6, feather=4, context=96,
    ),
    Mode(
        "live", "Live", "A picture that follows the brush: each stroke brings a new one.",
        preset={"denoising_strength": 0.6, "steps": 6}, hidden=_SIZES | _MASKED | _HIRES | {"batch"},
    ),
    Mode(
        "upscale", "Upscale", "Enlarges the picture into a new document; a strength above 0 paints its details anew.",
        kind="Upscale", becomes="document",
    ),
    Mode(
        "seamless", "Seamless", "A texture that continues at its opposite edges.",
        takes="nothing", preset={"seamless": "both"}, hidden=_SIZES | _MASKED | {"denoising_strength"},
        needs_prompt=True,
    ),
    Mode(
        "material", "Material", "A texture with its maps, as a group of layers.",
        kind="Texture", takes="nothing", becomes="group", hidden=_SIZES | {"gltf"}, needs_prompt=True,
    ),
    Mode(
        "annotate", "Annotate", "Reads depth, edges, a pose … from the picture as a control layer.",
        kind="Annotate", becomes="control",
    ),
    Mode(
        "animate", "Animate", "Paints the frames of the animation's range anew.",
        kind="Frames", takes="picture", becomes="frames", preset={"denoising_strength": 0.5},
        hidden=_SIZES | _MASKED | _HIRES | {"batch"},
    ),
    Mode(
        "mesh", "Mesh", "Turns the picture, or a depth layer, into a textured mesh in a file.",
        kind="Mesh", becomes="file",
    ),
)  # fmt: skip

BY_KEY = {mode.key: mode for mode in MODES}
