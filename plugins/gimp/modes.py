"""What the plug-in offers: for each mode its kind of job, what it reads of the image, and where its result goes.

No gi in here: procedures, menus, the studio's choices and the tests are made from this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge_protocol import jobs

from ..common.forms import Form

Reads = Literal["nothing", "image", "selection", "border"]


@dataclass(frozen=True)
class Extra:
    """An argument that is the plug-in's own, and no field of the job."""

    name: str
    label: str
    doc: str
    default: int | str
    minimum: int = 0
    maximum: int = 0
    unit: str = "px"
    choices: tuple[str, ...] = ()

    def to_schema(self) -> dict[str, Any]:
        """As a field of a job's schema, so that forms draw it as they draw the others."""
        if self.choices:
            return {"name": self.name, "type": "choice", "doc": self.doc, "default": self.default,
                    "choices": list(self.choices), "essential": True}  # fmt: skip
        return {"name": self.name, "type": "integer", "doc": self.doc, "default": self.default, "unit": self.unit,
                "minimum": self.minimum, "maximum": self.maximum, "essential": True}  # fmt: skip


@dataclass(frozen=True)
class Mode:
    """One thing that can be asked.

    name: its procedure is ``brushwire-NAME``. kind: of job. reads: nothing, the whole image, the selection with what
    lies around it, or the image with a border. makes: layers in this image, a new image, or a file. hidden: fields of
    the job that mean nothing here. sets: what holds in place of the job's own defaults.
    """

    name: str
    kind: str
    label: str
    doc: str
    reads: Reads = "image"
    makes: Literal["layer", "group", "image", "file"] = "layer"
    hidden: frozenset[str] = frozenset()
    sets: Mapping[str, Any] = field(default_factory=dict)
    extras: tuple[Extra, ...] = ()
    layer: str = "Brushwire"


_MASKS = frozenset({"mask_grow", "mask_feather", "mask_padding"})
_HIRES = frozenset({"hires_scale", "hires_strength", "hires_upscaler"})
_SIZE = frozenset({"width", "height"})

_SIDES = tuple(
    Extra(side, side.capitalize(), f"How much canvas is added: {where}.", 0, 0, 4096)
    for side, where in {"left": "left", "right": "right", "top": "above", "bottom": "below"}.items()
)

MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(
            "generate", "Generate", "Generate", "Paint a new picture from words, as a layer, or as a new image where "
            "none is open.",
            reads="nothing", hidden=_MASKS | {"denoising_strength"}, layer="Generated",
        ),
        Mode(
            "transform", "Generate", "Transform", "Paint what is seen anew, as much as the denoising strength says.",
            hidden=_MASKS | _SIZE | _HIRES, sets={"denoising_strength": 0.6}, layer="Transformed",
        ),
        Mode(
            "fill", "Generate", "Fill the selection", "Paint into the selection, with its soft edge; nothing outside "
            "of it changes.",
            reads="selection", hidden=_SIZE | _HIRES | {"mask_padding", "seamless"}, sets={"denoising_strength": 1.0},
            layer="Filled",
            extras=(Extra("context", "Context", "How much around the selection the model sees.", 64, 0, 2048),),
        ),
        Mode(
            "extend", "Generate", "Extend the canvas", "Make the canvas larger and paint what lies beyond its edges.",
            reads="border", hidden=_SIZE | _HIRES | {"mask_padding", "seamless"},
            sets={"denoising_strength": 1.0, "mask_grow": 8, "mask_feather": 8}, layer="Extended", extras=_SIDES,
        ),
        Mode(
            "texture", "Texture", "Seamless texture", "Make a material that tiles, from words, or from the image: "
            "its maps as a group of layers.",
            reads="nothing", makes="group", hidden=frozenset({"gltf"}), sets={"gltf": False}, layer="Material",
            extras=(Extra("from_image", "From the image", "1 makes the material of what is seen.", 0, 0, 1, ""),),
        ),
        Mode(
            "map", "Annotate", "Control map", "Read depth, normals, a pose or edges from the picture, as a layer.",
            sets={"detector": ""}, layer="Map",
            extras=(Extra("shows", "Shows", "What the map shows; a detector, if one is chosen, decides it alone.",
                          "edges", choices=("depth", "normal", "pose", "edges")),),
        ),
        Mode(
            "upscale", "Upscale", "Upscale", "Enlarge the picture, as a new image.", makes="image", layer="Upscaled",
        ),
        Mode(
            "mesh", "Mesh", "Depth to mesh", "Turn the picture into a textured mesh, in a file; where the "
            "chosen layer shows depth (near is white), it is taken.", makes="file",
            hidden=frozenset({"kind", "baseline", "doffs", "near", "far", "name", "format"}),
        ),
    )
}  # fmt: skip


def schema_of(mode: Mode, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the mode's form: its job's, without what is hidden, with the mode's defaults and its extras.

    schema: of all kinds of jobs, as the server sends it. Raises KeyError where the server does not know the kind.
    """
    own = schema[mode.kind]
    fields = [
        {**one, "default": mode.sets[one["name"]]} if one["name"] in mode.sets else dict(one)
        for one in own["fields"]
        if one["name"] not in mode.hidden
    ]
    # The words come first, then what is the plug-in's own.
    words = [one for one in fields if one["name"] in ("prompt", "negative_prompt")]
    others = [one for one in fields if one not in words]
    return {"doc": mode.doc, "fields": [*words, *(extra.to_schema() for extra in mode.extras), *others]}


def form_of(mode: Mode, schema: Mapping[str, Any] | None = None) -> Form:
    """The mode's form, from this version's schema or from a server's."""
    return Form(mode.kind, schema_of(mode, schema or jobs.schema()))


def job_fields(mode: Mode, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the job gets of a form's values: the mode's own defaults, and none of its extras."""
    extras = {extra.name for extra in mode.extras}
    return {**mode.sets, **{name: value for name, value in values.items() if name not in extras}}


def unknown(mode: Mode, values: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """The names among a job's values that are no field of it in that schema of all kinds of jobs."""
    known = {extra.name for extra in mode.extras} | {str(one["name"]) for one in schema[mode.kind]["fields"]}
    return [name for name in values if name not in known]


def multiple_of_eight(side: int) -> int:
    """The smallest side that a model paints and that covers this one."""
    return max(64, -(-side // 8) * 8)


def border_mask(width: int, height: int, left: int, top: int, right: int, bottom: int) -> bytes:
    """A mask of a canvas of width × height that grew by so much at its sides: 255 where it is new, 0 elsewhere."""
    full = b"\xff" * (left + width + right)
    row = b"\xff" * left + bytes(width) + b"\xff" * right
    return full * top + row * height + full * bottom
