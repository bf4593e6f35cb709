"""What can be asked of the server: one dataclass for each kind of job, and its schema.

A field's metadata (unit, range, default, text) is the only place where an option is described: the server validates
from it, plugins draw their form from it, the command line makes its options from it, and the reference page is
generated from it.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

from .blobs import Blob, BlobRef
from .records import InvalidValue, check, decode, encode, field_types, param

#: Arrays may be given whole or by reference; on the wire they always travel by reference.
Array = Blob | BlobRef

ControlKind = Literal[
    "depth", "normal", "pose", "canny", "softedge", "lineart", "scribble", "segmentation", "mlsd", "tile"
]  # fmt: skip
Sampler = Literal[
    "auto", "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras", "DPM++ SDE", "UniPC", "LCM", "DDIM", "Heun"
]  # fmt: skip
Seamless = Literal["none", "x", "y", "both"]


@dataclass(frozen=True)
class Control:
    """A picture, or an exact array, that the painting follows."""

    kind: ControlKind = param(doc="What the array shows.")
    image: Array = param(
        doc="uint8 (h, w, 3) as the ControlNet expects it; or exact data: depth as float32 (h, w), z along the "
        "camera's axis in scene units, +inf where nothing is; normals as float32 (h, w, 3) in camera space; "
        "poses as float32 (18·people, 3) of x, y in pixels and visibility."
    )
    weight: float = param(1.0, "How strongly it is followed.", minimum=0, maximum=2, step=0.05)
    start: float = param(0.0, "From which part of the steps on.", minimum=0, maximum=1, step=0.01)
    end: float = param(1.0, "Up to which part of the steps.", minimum=0, maximum=1, step=0.01)
    model: str = param("", "Which ControlNet; empty: the one that fits kind and model.", choices_from="controlnets")

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise InvalidValue("start", self.start, f"at most its end ({self.end:g})")


@dataclass(frozen=True)
class Lora:
    """A LoRA and how much of it."""

    model: str = param(doc="Its id.", choices_from="loras")
    weight: float = param(1.0, "How much of it.", minimum=-4, maximum=4, step=0.05)


@dataclass(frozen=True)
class Generate:
    """Paint a picture from words, from a picture, or into a part of a picture."""

    prompt: str = param("", "What to paint.", max_length=10_000)
    negative_prompt: str = param("", "What to keep out.", max_length=10_000)
    image: Array | None = param(None, "The picture to start from, (h, w, 3 or 4); none: start from noise.")
    mask: Array | None = param(
        None, "Where to paint, (h, w): 0 keeps every pixel as it is, the maximum paints, between them blends."
    )
    mask_grow: int = param(0, "Grows the mask (or shrinks it).", unit="px", minimum=-512, maximum=512)
    mask_feather: int = param(0, "Softens the mask's edge.", unit="px", minimum=0, maximum=512)
    mask_padding: int | None = param(
        None,
        "How much around the mask the model sees; none: the whole picture.",
        unit="px",
        minimum=0,
        maximum=4096,
    )
    controls: list[Control] = param(default_factory=list, doc="What the painting follows.", max_length=8)
    width: int | None = param(
        None, "Width; none: the image's, or the model's own.", unit="px", minimum=64, maximum=8192, step=8
    )
    height: int | None = param(
        None, "Height; none: the image's, or the model's own.", unit="px", minimum=64, maximum=8192, step=8
    )
    seed: int | None = param(
        None, "The same seed paints the same picture; none: a new one each time.", minimum=0, maximum=2**53 - 1
    )
    steps: int = param(20, "How many denoising steps.", minimum=1, maximum=150)
    guidance_scale: float | None = param(
        None, "How strictly the prompt is followed; none: the model's own.", minimum=0, maximum=30, step=0.5
    )
    sampler: Sampler = param("auto", "How the steps are taken; auto: the model's own.")
    denoising_strength: float = param(
        0.75, "How much of the image is painted anew: 0 nothing, 1 everything.", minimum=0, maximum=1, step=0.01
    )
    batch: int = param(1, "How many pictures at once, with seeds that count up.", minimum=1, maximum=16)
    seamless: Seamless = param("none", "Along which axes the picture continues at its opposite edge.")
    loras: list[Lora] = param(default_factory=list, doc="LoRAs on top of the model.", max_length=16)
    model: str = param("", "Which model; empty: the server's default.", choices_from="models")
    preview_every: int = param(1, "A preview every so many steps; 0: none.", unit="steps", minimum=0, maximum=150)
    preview_size: int = param(256, "A preview's longer side at most.", unit="px", minimum=32, maximum=512)

    def __post_init__(self) -> None:
        if self.mask is not None and self.image is None:
            raise InvalidValue(
                "mask", "given", "given together with image", "Send the picture that the mask belongs to."
            )


KINDS: dict[str, type[Any]] = {"Generate": Generate}

Priority = Literal["live", "interactive", "batch"]


def job_from_plain(kind: str, data: object) -> Any:
    """A job of that kind from a map of plain values, every field checked. Raises InvalidValue."""
    if kind not in KINDS:
        raise InvalidValue("kind", kind, "one of " + ", ".join(KINDS), "Ask for a kind that the server's schema lists.")
    return decode(KINDS[kind], data)


def job_to_plain(job: Any) -> tuple[str, dict[str, Any]]:
    """A job's kind and its fields as plain values, each checked, defaults left out. Raises InvalidValue."""
    kind = type(job).__name__
    if KINDS.get(kind) is not type(job):
        raise InvalidValue("job", kind, "one of " + ", ".join(KINDS))
    return kind, encode(check(job))


def schema() -> dict[str, Any]:
    """Every kind of job as plain data: what a plugin needs to draw a form and what the reference page shows.

    ``{kind: {"doc": text, "fields": [{"name", "type", "doc", "default", "unit", "minimum", …}]}}``; a field's type is
    one of text, integer, number, boolean, choice, array, list, record. Optional fields have ``"optional": true``.
    """
    return {kind: _record_schema(cls) for kind, cls in KINDS.items()}


def _record_schema(cls: type) -> dict[str, Any]:
    hints = field_types(cls)
    return {
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "fields": [_field_schema(field, hints[field.name]) for field in dataclasses.fields(cls)],
    }


def _field_schema(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"name": field.name, **_type_schema(hint), **field.metadata}
    if field.default is not dataclasses.MISSING:
        out["default"] = field.default
    elif field.default_factory is not dataclasses.MISSING:
        out["default"] = field.default_factory()
    else:
        out["required"] = True
    return out


def _type_schema(hint: Any) -> dict[str, Any]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        optional = {"optional": True} if type(None) in typing.get_args(hint) else {}
        return {**_type_schema(options[0]), **optional}
    if origin is Literal:
        return {"type": "choice", "choices": list(typing.get_args(hint))}
    if origin is list:
        return {"type": "list", "items": _type_schema(typing.get_args(hint)[0])}
    if hint in (Blob, BlobRef):
        return {"type": "array"}
    if dataclasses.is_dataclass(hint):
        return {"type": "record", **_record_schema(typing.cast("type", hint))}
    return {"type": {str: "text", int: "integer", float: "number", bool: "boolean"}[hint]}
