"""What can be asked of the server: one dataclass for each kind of job, and its schema.

A field's metadata (unit, range, default, text) is the only place where an option is described: the server validates
from it, plugins draw their form from it, the command line makes its options from it, and the reference page is
generated from it. The dataclasses themselves stand in painting.py and geometry.py.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import Any, Literal

from .blobs import Blob, BlobRef
from .geometry import Camera, Mesh, View, Views
from .painting import (
    Annotate,
    Array,
    Axis,
    Control,
    ControlKind,
    Frames,
    Generate,
    Grid,
    ImagePrompt,
    Keyframe,
    Lora,
    MapKind,
    Painting,
    Region,
    Sampler,
    Seamless,
    Texture,
    Upscale,
)
from .records import InvalidValue, check, decode, encode, encode_value, field_types

__all__ = [
    "KINDS", "Annotate", "Array", "Axis", "Camera", "Control", "ControlKind", "Frames", "Generate", "Grid",
    "ImagePrompt", "Keyframe", "Lora", "MapKind", "Mesh", "Painting", "PlainJob", "Priority", "Region", "Sampler",
    "Seamless", "Texture", "Upscale", "View", "Views", "job_from_plain", "job_to_plain", "schema",
]  # fmt: skip

KINDS: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (Generate, Texture, Upscale, Annotate, Frames, Grid, Views, Mesh)
}

#: The fields of any kind of job that a form shows at once; the others are for whoever asks for more.
_ESSENTIAL = frozenset({
    "prompt", "negative_prompt", "model", "loras", "seed", "steps", "guidance_scale", "denoising_strength", "batch",
    "seamless", "width", "height", "maps", "relief", "scale", "upscaler", "detector", "shape", "fov", "layers",
    "triangles", "format", "mode", "follow_depth",
})  # fmt: skip

Priority = Literal["live", "interactive", "batch"]


@dataclasses.dataclass(frozen=True)
class PlainJob:
    """A job as its fields' plain values (with arrays as blobs), for what a newer server's schema tells of.

    A client that draws its form from the server's schema asks so for kinds and fields that it was not built with. It
    is the server that checks them.
    """

    kind: str
    fields: dict[str, Any]


def job_from_plain(kind: str, data: object) -> Any:
    """A job of that kind from a map of plain values, every field checked. Raises InvalidValue."""
    if kind not in KINDS:
        raise InvalidValue("kind", kind, "one of " + ", ".join(KINDS), "Ask for a kind that the server's schema lists.")
    return decode(KINDS[kind], data)


def job_to_plain(job: Any) -> tuple[str, dict[str, Any]]:
    """A job's kind and its fields as plain values, each checked, defaults left out. Raises InvalidValue.

    A PlainJob's fields are as they are.
    """
    if isinstance(job, PlainJob):
        return job.kind, encode_value(job.fields)
    kind = type(job).__name__
    if KINDS.get(kind) is not type(job):
        raise InvalidValue("job", kind, "one of " + ", ".join(KINDS))
    return kind, encode(check(job))


def schema() -> dict[str, Any]:
    """Every kind of job as plain data: what a plugin needs to draw a form and what the reference page shows.

    ``{kind: {"doc": text, "fields": [{"name", "type", "doc", "default", "unit", "minimum", …}]}}``; a field's type is
    one of text, integer, number, boolean, choice, array, list, record. Optional fields have ``"optional": true``, and
    those that a form shows at once ``"essential": true``.
    """
    return {kind: _record_schema(cls, job=True) for kind, cls in KINDS.items()}


def _record_schema(cls: type, *, job: bool = False) -> dict[str, Any]:
    hints = field_types(cls)
    return {
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "fields": [_field_schema(field, hints[field.name], essential=job) for field in dataclasses.fields(cls)],
    }


def _field_schema(field: dataclasses.Field[Any], hint: Any, *, essential: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"name": field.name, **_type_schema(hint), **field.metadata}
    if field.default is not dataclasses.MISSING:
        out["default"] = field.default
    elif field.default_factory is not dataclasses.MISSING:
        out["default"] = field.default_factory()
    else:
        out["required"] = True
    if essential and field.name in _ESSENTIAL:
        out["essential"] = True
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
