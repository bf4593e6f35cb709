"""A job's fields as options of the command line, made from the jobs' own schema: a new field is a new option."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bridge_protocol import jobs
from bridge_protocol.blobs import Blob, ColorSpace
from bridge_protocol.records import InvalidValue
from server import pictures

#: Plural names of list fields, as one option for each item.
_SINGULAR = {
    "controls": "control", "loras": "lora", "image_prompts": "image-prompt", "regions": "region", "maps": "map",
    "frames": "frame", "keyframes": "keyframe",
}  # fmt: skip
_METAVARS = {
    "record": "KEY=VALUE,…", "array": "FILE", "choice": "NAME", "boolean": "true|false", "integer": "N", "number": "X",
}  # fmt: skip


def parameters(kind: str, without: str = "") -> list[inspect.Parameter]:
    """An option for each field of a kind of job, but for the one that is an argument. All are texts: the schema checks
    them, and words every error alike.
    """
    return [_parameter(field) for field in jobs.schema()[kind]["fields"] if field["name"] != without]


def argument(kind: str, name: str) -> inspect.Parameter:
    """One field of a kind of job as the command's argument."""
    field = next(field for field in jobs.schema()[kind]["fields"] if field["name"] == name)
    needed = field.get("required", False)
    shown = typer.Argument(help=field["doc"], metavar="FILE" if field["type"] == "array" else None, show_default=False)
    annotation: Any = Annotated[str if needed else str | None, shown]
    default = inspect.Parameter.empty if needed else None
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def shaped(run: Callable[..., None], parameters: Sequence[inspect.Parameter], doc: str | None) -> Callable[..., None]:
    """Give a command that takes any options those that Typer shows and asks for, and its help."""
    command: Any = run
    command.__signature__, command.__doc__, command.__annotations__ = inspect.Signature(parameters), doc, {}
    return run


def job_of(kind: str, given: Mapping[str, Any], ready: Mapping[str, Any] | None = None) -> Any:
    """The job that options ask for; those that are None were not given. Raises InvalidValue.

    ready: fields whose values are no options' texts but what the schema wants already; options go before them.
    """
    fields = {field["name"]: field for field in jobs.schema()[kind]["fields"]}
    plain = {
        name: _value(fields[name], value, name) for name, value in given.items() if value is not None and value != []
    }
    return jobs.job_from_plain(kind, {**(ready or {}), **plain})


def _parameter(field: dict[str, Any]) -> inspect.Parameter:
    name = field["name"]
    flag = "--" + _SINGULAR.get(name, name).replace("_", "-")
    many = field["type"] == "list"
    option = typer.Option(flag, help=_help(field), metavar=_metavar(field), show_default=False)
    annotation: Any = Annotated[list[str] | None if many else str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(field: dict[str, Any]) -> str:
    text: str = field["doc"]
    if field["type"] == "list" and field["items"]["type"] == "record":
        keys = ", ".join(f"{one['name']}={_metavar(one)}" for one in field["items"]["fields"])
        text += f" Several may be given, each as {keys}, joined by commas."
    elif field["type"] == "list":
        text += " Several may be given."
    if (one := field.get("items", field))["type"] == "choice":
        text += " One of " + ", ".join(one["choices"]) + "."
    elif field["type"] != "list" and field.get("default") not in (None, "", False):
        text += f" Default: {field['default']}."
    return text


def _metavar(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f"{low:g}…{high:g}"
    if field["type"] == "list":
        return _metavar(field["items"])
    return _METAVARS.get(field["type"], "TEXT")


def _value(field: dict[str, Any], text: Any, path: str) -> Any:
    """An option's text as the value that the schema speaks of; what cannot be one stays a text and is refused there."""
    if field["type"] == "list":
        item = {"name": field["name"], **field["items"]}
        return [_value(item, one, f"{path}[{index}]") for index, one in enumerate(text)]
    if field["type"] == "record":
        return _record(field, text, path)
    if field["type"] == "array":
        return _array(Path(text), path, field["name"])
    if field["type"] == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if field["type"] in ("integer", "number"):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


def _record(record: dict[str, Any], text: str, path: str) -> dict[str, Any]:
    fields = {field["name"]: field for field in record["fields"]}
    known = ", ".join(fields)
    out = {}
    # A comma ends a value only where another key follows, so that file names may hold commas.
    for part in re.split(r",(?=[a-z_]+=)", text):
        name, equals, value = part.partition("=")
        if not equals or name not in fields:
            raise InvalidValue(path, part, f"given as key=value with the keys {known}")
        out[name] = _value(fields[name], value, f"{path}.{name}")
    return out


def _array(path: Path, field: str, name: str) -> Blob:
    if path.suffix.lower() == ".npy":
        array: Any = pictures.read_array(path, field)
    elif name == "mask":
        array = pictures.read_mask(path, field)
    else:
        array = pictures.read_picture(path, field)
    color: ColorSpace = "srgb" if array.dtype == np.uint8 and name != "mask" else "data"
    return Blob.of(np.ascontiguousarray(array), color=color)
