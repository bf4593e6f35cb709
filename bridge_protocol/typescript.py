"""The messages and jobs as TypeScript: ``python -m bridge_protocol.typescript FILE`` writes them anew.

Types for the compiler, and one table of the messages' fields by which the JavaScript client checks what arrives and
leaves out what equals its default. Bytes are a Uint8Array there, arrays in jobs a `WireBlob` or a `BlobRef`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import jobs
from . import messages as m
from .blobs import Blob, BlobRef
from .records import field_types

_HEAD = """\
// Made by bridge_protocol/typescript.py from messages.py and jobs.py; run it again after a change of those.
import type { BlobRef, WireBlob } from "./blobs";

/** What a field may hold. A field without `default` is required; `record` names an entry of RECORDS. */
export interface Field {
  type: "text" | "integer" | "number" | "boolean" | "choice" | "bytes" | "list" | "map" | "any" | "blob" | "record";
  optional?: true;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  max_length?: number;
  choices?: readonly string[];
  items?: Field;
  record?: string;
}
"""


def source() -> str:
    """The whole file."""
    records = _records([*m.TYPES.values(), *jobs.KINDS.values()])
    tables = {m.type_name(cls): _table(cls) for cls in m.TYPES.values()}
    inner = {cls.__name__: _table(cls) for cls in _records(list(m.TYPES.values()))}
    lines = [
        _HEAD,
        f"export const VERSION = {m.VERSION};",
        f"export const SUBPROTOCOL = {json.dumps(m.SUBPROTOCOL)};",
        f"export const MESSAGES: Record<string, Record<string, Field>> = {_json(tables)};",
        f"export const RECORDS: Record<string, Record<string, Field>> = {_json(inner)};",
        "",
    ]
    for cls in records:
        lines += _interface(cls.__name__, cls, [])
    for name, cls in m.TYPES.items():
        lines += _interface(f"{cls.__name__}Message", cls, [f"  type: {json.dumps(name)};"])
    names = [f"{cls.__name__}Message" for cls in m.TYPES.values()]
    lines += ["export type Message =", *(f"  | {name}" for name in names)]
    lines[-1] += ";"
    lines.append("")
    for name, cls in jobs.KINDS.items():
        lines += _interface(f"{name}Job", cls, [])
    lines += ["export interface Jobs {", *(f"  {name}: {name}Job;" for name in jobs.KINDS), "}", ""]
    return "\n".join(lines)


def _records(classes: list[type]) -> list[type]:
    """The records inside of these, each after what it consists of."""
    found: dict[type, None] = {}

    def visit(cls: type) -> None:
        for hint in field_types(cls).values():
            for one in _parts(hint):
                if dataclasses.is_dataclass(one) and one not in (Blob, BlobRef) and one not in found:
                    visit(typing.cast("type", one))
                    found[typing.cast("type", one)] = None

    for cls in classes:
        visit(cls)
    return list(found)


def _parts(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (list, typing.Union, types.UnionType):
        return [part for argument in typing.get_args(hint) for part in _parts(argument)]
    return [hint]


def _table(cls: Any) -> dict[str, Any]:
    hints = field_types(cls)
    out = {}
    for field in dataclasses.fields(cls):
        entry = {**_shape(hints[field.name]), **_bounds(field.metadata)}
        if field.default is not dataclasses.MISSING:
            entry["default"] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            entry["default"] = field.default_factory()
        out[field.name] = entry
    return out


def _bounds(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metadata[name] for name in ("minimum", "maximum", "max_length") if name in metadata}


def _shape(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in arguments if option is not type(None)]
        return {**_shape(options[0]), **({"optional": True} if type(None) in arguments else {})}
    if origin is typing.Literal:
        return {"type": "choice", "choices": list(arguments)}
    if origin is list:
        return {"type": "list", "items": _shape(arguments[0])}
    if origin is dict:
        return {"type": "map"}
    if hint in (Blob, BlobRef):
        return {"type": "blob"}
    if dataclasses.is_dataclass(hint):
        return {"type": "record", "record": typing.cast("type", hint).__name__}
    words = {str: "text", int: "integer", float: "number", bool: "boolean", bytes: "bytes", Any: "any"}
    return {"type": words[hint]}


def _interface(name: str, cls: Any, first: list[str]) -> list[str]:
    hints = field_types(cls)
    lines = [f"/** {_doc(inspect.cleandoc(cls.__doc__ or ''))} */", f"export interface {name} {{", *first]
    for field in dataclasses.fields(cls):
        given = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        doc = _doc(field.metadata.get("doc", ""))
        lines += [f"  /** {doc} */", f"  {field.name}{'' if given else '?'}: {_type(hints[field.name])};"]
    return [*lines, "}", ""]


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys("null" if one is type(None) else _type(one) for one in arguments))
    if origin is typing.Literal:
        return " | ".join(json.dumps(choice) for choice in arguments)
    if origin is list:
        inner = _type(arguments[0])
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if origin is dict:
        return "Record<string, unknown>"
    if hint is Blob:
        return "WireBlob"
    if hint is BlobRef:
        return "BlobRef"
    if dataclasses.is_dataclass(hint):
        return typing.cast("type", hint).__name__
    words = {str: "string", int: "number", float: "number", bool: "boolean", bytes: "Uint8Array", Any: "unknown"}
    return words[hint]


def _doc(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("*/", "* /").split())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(source(), "utf-8")
