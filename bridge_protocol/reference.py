"""The reference pages, made from the dataclasses: ``python -m bridge_protocol.reference docs`` writes them anew.

docs/reference-jobs.md is made whole; of docs/protocol.md, what stands between the two marks.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import jobs
from . import messages as m
from .blobs import Blob, BlobRef
from .records import allowed_number, field_types

BEGIN = "<!-- messages: made by bridge_protocol/reference.py -->"
END = "<!-- end of messages -->"

_GROUPS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("From the client", (m.Hello, m.LaneProof, m.Submit, m.Cancel, m.Ack, m.Query, m.Claim, m.Watch, m.Forget, m.Ping)),
    ("From the server", (m.Welcome, m.LaneReady, m.Accepted, m.Progress, m.Preview, m.Result, m.Failed, m.Cancelled,
                         m.Activity, m.Answer, m.Pong)),
    ("From both", (m.Offer, m.Have, m.Need, m.Chunk, m.Mapped, m.Release, m.Error)),
)  # fmt: skip
_WORDS = {str: "text", int: "integer", float: "number", bool: "boolean", bytes: "binary", Any: "anything"}


def messages_reference() -> str:
    """Every message with its fields, as Markdown."""
    lines = []
    for title, classes in _GROUPS:
        lines += [f"### {title}", ""]
        for cls in classes:
            lines += [f"#### `{m.type_name(cls)}`", "", _doc(cls), ""]
            lines += _table(cls)
            if cls is m.Result:
                lines += ["Each of `outputs` is a map:", "", *_table(m.Output)]
    return "\n".join(lines)


def jobs_reference() -> str:
    """Every kind of job with its fields, as a Markdown page."""
    lines = [
        "# Jobs",
        "",
        "What can be asked of the server. This page is made from `bridge_protocol/jobs.py`, as are the command line's",
        "options and every plugin's form; the running server tells the same with the query `schema`.",
        "",
        "A value outside its range is refused with the field, the value, the range and what to do. Arrays are blobs;",
        "[The wire](protocol.md) says how they travel.",
        "",
    ]
    for kind, cls in jobs.KINDS.items():
        lines += [f"## {kind}", "", _doc(cls), "", *_table(cls)]
        for inner in _inner_records(cls):
            lines += [f"### {inner.__name__}", "", _doc(inner), "", *_table(inner)]
    return "\n".join(lines).rstrip("\n") + "\n"


def updated(page: str) -> str:
    """docs/protocol.md with its messages as they are now."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{messages_reference()}\n{END}{rest.split(END)[1]}"


def _inner_records(cls: type) -> list[type]:
    found = []
    for hint in field_types(cls).values():
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is list else hint
        if isinstance(inner, type) and dataclasses.is_dataclass(inner) and inner not in (Blob, BlobRef):
            found.append(inner)
    return found


def _doc(cls: type) -> str:
    return _escaped(inspect.cleandoc(cls.__doc__ or "").replace("\n", " "))


def _table(cls: Any) -> list[str]:
    fields = dataclasses.fields(cls)
    if not fields:
        return []
    lines = ["| field | type | default | |", "|---|---|---|---|"]
    for field in fields:
        hint = field_types(cls)[field.name]
        cells = (f"`{field.name}`", _type(hint, field.metadata), _default(field), field.metadata.get("doc", ""))
        lines.append("| " + " | ".join([*cells[:3], _escaped(cells[3])]) + " |")
    return [*lines, ""]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    if field.default is dataclasses.MISSING:
        return "**required**"
    value = field.default
    plain = {None: "none", True: "true", False: "false", "": "empty"}
    words = plain.get(value) if value is None or isinstance(value, (bool, str)) else None
    return words or f"`{value}`"


def _type(hint: Any, metadata: Mapping[str, Any]) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in arguments if option is not type(None)]
        if Blob in options:
            words = "array"
        else:
            words = _type(options[0], metadata)
        return words + (" or none" if type(None) in arguments else "")
    if origin is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is list:
        limit = metadata.get("max_length")
        return f"list of {_type(arguments[0], {})}" + (f", at most {limit}" if limit else "")
    if origin is dict:
        return "map"
    if hint is BlobRef:
        return "blob"
    if dataclasses.is_dataclass(hint):
        return f"`{typing.cast('type', hint).__name__}`"
    words = _WORDS[hint]
    if hint in (int, float):
        words = allowed_number(hint, metadata).removeprefix("a ").replace("whole number", "integer")
    elif "max_length" in metadata:
        words += f", at most {metadata['max_length']} {'characters' if hint is str else 'bytes'}"
    if "choices_from" in metadata:
        words += f" (an id from the server's {metadata['choices_from']})"
    return words


def _escaped(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "reference-jobs.md").write_text(jobs_reference(), "utf-8")
    wire = folder / "protocol.md"
    wire.write_text(updated(wire.read_text("utf-8")), "utf-8")
