"""A form for a kind of job, made from the schema that the server sends: fields, their values, and the job they make.

    form = Form("Generate", schema["Generate"], lists)
    form["steps"] = 30                          # raises InvalidValue outside of the field's range
    form.job({"image": blob})                   # what the host adds: arrays, and whatever else it knows itself

A field that a newer server knows is a field of the form. Which widget draws it is the host's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge_protocol.jobs import PlainJob
from bridge_protocol.records import MAX_INTEGER, InvalidValue, allowed_number

from .lists import Choice, Lists

#: The default "" of a field with choices: the server takes what fits.
AUTOMATIC = "Automatic"


@dataclass(frozen=True)
class Field:
    """One field of a job, as the schema tells it (see `bridge_protocol.jobs.schema`).

    type: text, integer, number, boolean, choice, list, record or array. items: of a list; fields: of a record.
    """

    name: str
    type: str
    doc: str = ""
    default: Any = None
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    max_length: int | None = None
    choices: tuple[str, ...] = ()
    choices_from: str = ""
    optional: bool = False
    required: bool = False
    essential: bool = False
    items: Field | None = None
    fields: tuple[Field, ...] = ()

    @classmethod
    def from_schema(cls, data: Mapping[str, Any]) -> Field:
        """A field out of the schema; what this version does not know of it is passed over."""
        plain = {key: data[key] for key in _PLAIN if key in data}
        items = cls.from_schema({"name": "", **data["items"]}) if "items" in data else None
        choices = tuple(str(choice) for choice in data.get("choices", ()))
        return cls(**plain, choices=choices, items=items, fields=fields_of(data))

    @property
    def label(self) -> str:
        """The field's name as people read it: ``denoising_strength`` → ``Denoising strength``."""
        if self.name in _LABELS:
            return _LABELS[self.name]
        words = self.name.replace("_", " ")
        return words[:1].upper() + words[1:]

    @property
    def holds_arrays(self) -> bool:
        """Whether arrays belong into it: then it is the host that fills it, from its layers or its scene."""
        inner = (*self.fields, *([self.items] if self.items else []))
        return self.type == "array" or any(field.holds_arrays for field in inner)

    @property
    def allowed(self) -> str:
        """In words what a number may be."""
        return allowed_number(int if self.type == "integer" else float, {**vars(self), "unit": self.unit or None})

    def checked(self, value: Any, path: str = "") -> Any:
        """The value as the field holds it. Raises InvalidValue with the field, the value, the range and the remedy."""
        path = path or self.name
        if value is None and self.optional:
            return None
        check = _CHECKS.get(self.type)
        return value if check is None else check(self, value, path)

    def of_record(self, value: Any, path: str) -> dict[str, Any]:
        """A map with this record's fields, each checked; those that equal their default are left out."""
        if not isinstance(value, Mapping):
            raise InvalidValue(path, value, "a map of fields")
        missing = next((field.name for field in self.fields if field.required and field.name not in value), None)
        if missing is not None:
            raise InvalidValue(f"{path}.{missing}", None, "given")
        checked = {field.name: field.checked(value[field.name], f"{path}.{field.name}") for field in self.fields
                   if field.name in value}  # fmt: skip
        return {field.name: checked[field.name] for field in self.fields
                if field.name in checked and (field.required or checked[field.name] != field.default)}  # fmt: skip


def fields_of(data: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields of a kind of job, or of a record, out of the schema."""
    return tuple(Field.from_schema(field) for field in data.get("fields", ()))


class Form:
    """The values of one kind of job, and what they may be.

    kind: of job. schema: what the server says of that kind. lists: what the server has to choose from; the host may
    change it at any time.
    """

    def __init__(self, kind: str, schema: Mapping[str, Any], lists: Lists | None = None) -> None:
        self.kind = kind
        self.doc = str(schema.get("doc", ""))
        self.lists: Lists = lists if lists is not None else {}
        every = fields_of(schema)
        #: What an artist fills in, and what the host does.
        self.fields = tuple(field for field in every if not field.holds_arrays)
        self.hosted = tuple(field for field in every if field.holds_arrays)
        self._by_name = {field.name: field for field in self.fields}
        self._values: dict[str, Any] = {}

    @property
    def essential(self) -> tuple[Field, ...]:
        """The fields that are shown at once."""
        return tuple(field for field in self.fields if field.essential or field.required)

    @property
    def advanced(self) -> tuple[Field, ...]:
        """The others."""
        return tuple(field for field in self.fields if not (field.essential or field.required))

    def field(self, name: str) -> Field:
        """The field of that name. Raises KeyError."""
        return self._by_name[name]

    def choices(self, field: Field) -> list[Choice]:
        """What there is to choose from for a field, or for one of its items' fields; empty where it is free text.

        A value that was chosen and is not there any more is among them, so that it is seen, and not changed silently.
        """
        if field.choices:
            return [Choice(choice, choice, {}) for choice in field.choices]
        if not field.choices_from:
            return []
        found = list(self.lists.get(field.choices_from, []))
        if field.default == "":
            found.insert(0, Choice("", AUTOMATIC, {}))
        value = self._values.get(field.name)
        if isinstance(value, str) and value and all(choice.value != value for choice in found):
            found.append(Choice(value, f"{value} (not there)", {"missing": True}))
        return found

    def __getitem__(self, name: str) -> Any:
        field = self._by_name[name]
        return self._values.get(name, field.default)

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a field. Raises KeyError for a name that is not here, InvalidValue for a value that is not allowed."""
        field = self._by_name[name]
        checked = field.checked(value)
        if checked == field.default and not field.required:
            self._values.pop(name, None)
        else:
            self._values[name] = checked

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def reset(self, name: str | None = None) -> None:
        """Bring a field, or all of them, back to the default."""
        if name is None:
            self._values.clear()
        else:
            self._values.pop(name, None)

    @property
    def values(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values: what is kept in a preset, a history, a document."""
        return dict(self._values)

    def load(self, values: Mapping[str, Any]) -> list[str]:
        """Take values of an earlier time in place of all present ones; returns what could not be taken, in sentences.

        A field that this server does not know, or whose range has changed, keeps its default.
        """
        self.reset()
        dropped = []
        for name, value in values.items():
            if name not in self._by_name:
                dropped.append(f"This server does not know the field {name}.")
                continue
            try:
                self[name] = value
            except InvalidValue as error:
                dropped.append(str(error))
        return dropped

    def job(self, hosted: Mapping[str, Any] | None = None) -> PlainJob:
        """The job that the form asks for, with what the host adds to it (blobs, controls, sizes; they win).

        Raises InvalidValue where a required field is missing.
        """
        fields = {**self._values, **(hosted or {})}
        for field in (*self.fields, *self.hosted):
            if field.required and field.name not in fields:
                raise InvalidValue(field.name, None, "given")
        return PlainJob(self.kind, fields)


#: Names whose words are written otherwise.
_LABELS = {"loras": "LoRAs", "vae": "VAE", "clip_skip": "CLIP skip", "gltf": "glTF"}

_PLAIN = (
    "name", "type", "doc", "default", "unit", "minimum", "maximum", "step", "max_length", "choices_from", "optional",
    "required", "essential",
)  # fmt: skip


def _number(field: Field, value: Any, path: str) -> Any:
    whole = field.type == "integer"
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MAX_INTEGER
    if good and whole:
        good = float(value).is_integer()
        value = int(value) if good else value
    elif good:
        value = float(value)
    if (
        not good
        or (field.minimum is not None and value < field.minimum)
        or (field.maximum is not None and value > field.maximum)
        or (whole and field.step is not None and value % field.step != 0)
    ):
        raise InvalidValue(path, value, field.allowed)
    return value


def _text(field: Field, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidValue(path, value, "a text")
    if field.max_length is not None and len(value) > field.max_length:
        raise InvalidValue(path, f"{len(value)} characters", f"at most {field.max_length} characters")
    return value


def _boolean(_field: Field, value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(path, value, "true or false")
    return value


def _choice(field: Field, value: Any, path: str) -> str:
    if value not in field.choices:
        raise InvalidValue(path, value, "one of " + ", ".join(field.choices))
    return str(value)


def _list(field: Field, value: Any, path: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise InvalidValue(path, value, "a list")
    if field.max_length is not None and len(value) > field.max_length:
        raise InvalidValue(path, f"{len(value)} items", f"at most {field.max_length} items")
    items = field.items
    return [items.checked(item, f"{path}[{i}]") for i, item in enumerate(value)] if items else list(value)


_CHECKS = {
    "integer": _number, "number": _number, "text": _text, "boolean": _boolean, "choice": _choice, "list": _list,
    "record": Field.of_record,
}  # fmt: skip
