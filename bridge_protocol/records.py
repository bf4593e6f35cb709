"""Dataclasses to plain data and back, with every value checked where it enters.

A record is a dataclass. Its fields are plain values, other records, lists of those, or blobs, and carry
units, ranges and defaults in their metadata (`param`). `encode` leaves out what equals its default; `decode`
ignores fields that it does not know, so that old and new programs understand each other, and raises
`InvalidValue` with the field, the value, the range and the remedy for everything else that is not right.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .blobs import Blob, BlobRef, InvalidBlob, shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

#: Whole numbers beyond this are not exact in JavaScript, and no field has a use for them.
MAX_INTEGER = 2**53 - 1


class InvalidValue(ValueError):
    """A field holds what it must not.

    field: its path, as in ``controls[0].weight``.
    value: what it held, shortened to be shown.
    allowed: what it may hold, in words.
    remedy: what to do.
    """

    def __init__(self, field: str, value: object, allowed: str, remedy: str = "") -> None:
        self.field = field
        self.value = shown(value)
        self.allowed = allowed
        self.remedy = remedy or f"Set {field} to {allowed}."
        super().__init__(f"{self.field} is {self.value}; it must be {allowed}.")
        self._value, self._remedy = value, remedy

    def inside(self, path: str) -> InvalidValue:
        """The same complaint about a record that is itself the field `path` of another one."""
        return InvalidValue(f"{path}.{self.field}", self._value, self.allowed, self._remedy) if path else self


def param(
    default: Any = dataclasses.MISSING,
    doc: str = "",
    *,
    default_factory: Callable[[], Any] | None = None,
    unit: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
    choices_from: str | None = None,
    max_length: int | None = None,
) -> Any:
    """A dataclass field whose metadata says what it means and what it may hold.

    minimum, maximum: inclusive. step: values are multiples of it (a rule for whole numbers, a hint for others).
    choices_from: the server's list that fills the choices (such as ``models``). max_length: of a text in characters,
    of bytes in bytes, of a list in items.
    """
    metadata = {
        "doc": doc,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "step": step,
        "choices_from": choices_from,
        "max_length": max_length,
    }
    metadata = {key: value for key, value in metadata.items() if value is not None}
    if default_factory is not None:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def encode(record: Any) -> dict[str, Any]:
    """A record as a map of plain values; fields that equal their default are left out."""
    out = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if not _is_default(field, value):
            out[field.name] = encode_value(value)
    return out


def decode(cls: type[T], data: object, path: str = "") -> T:
    """A record of class `cls` from a map, every field checked. Raises InvalidValue."""
    if not isinstance(data, dict):
        raise InvalidValue(path or cls.__name__, data, "a map of fields")
    values = {}
    hints = field_types(cls)
    for field in dataclasses.fields(cls):
        name = f"{path}.{field.name}" if path else field.name
        if field.name in data:
            values[field.name] = _decode_value(hints[field.name], data[field.name], name, field.metadata)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InvalidValue(name, None, "given", f"Add the field {name}.")
    try:
        return cls(**values)
    except InvalidValue as error:  # what no field alone can tell; the record does not know where it stands
        raise error.inside(path) from None


def check(record: T) -> T:
    """The same record with every field checked (and numbers brought to their field's type). Raises InvalidValue."""
    return decode(type(record), {f.name: getattr(record, f.name) for f in dataclasses.fields(record)})


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The resolved type of each field of a record."""
    # Python 3.10 takes the mark KW_ONLY for an annotation that is no type.
    return typing.get_type_hints(cls, localns={"KW_ONLY": object})


def blob_refs(record: Any) -> list[BlobRef | Blob]:
    """Every blob that a record (or a map of plain values) speaks of, in the order of its fields."""
    found: list[BlobRef | Blob] = []

    def walk(value: Any) -> None:
        if isinstance(value, (Blob, BlobRef)):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                walk(getattr(value, field.name))

    walk(record)
    return found


def _is_default(field: dataclasses.Field[Any], value: object) -> bool:
    if field.default is not dataclasses.MISSING:
        return type(value) is type(field.default) and bool(value == field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return False


def encode_value(value: Any) -> Any:
    """A field's value as plain values: records as maps, blobs as what names them."""
    if isinstance(value, Blob):
        value = value.ref
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return encode(value)
    if isinstance(value, (list, tuple)):
        return [encode_value(item) for item in value]
    if isinstance(value, dict):
        return {key: encode_value(item) for key, item in value.items()}
    return value


def _decode_value(hint: Any, value: Any, name: str, metadata: typing.Mapping[str, Any]) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        if Blob in options:
            return _decode_blob(value, name)
        options = tuple(option for option in options if option is not type(None))
        return _decode_value(options[0], value, name, metadata)
    if hint is Any:
        return value
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise InvalidValue(name, value, "one of " + ", ".join(repr(choice) for choice in choices))
        return value
    if origin is list:
        return _decode_list(typing.get_args(hint)[0], value, name, metadata)
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise InvalidValue(name, value, "a map")
        return value
    if hint in (Blob, BlobRef):
        return _decode_blob(value, name)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return check(value) if isinstance(value, hint) else decode(hint, value, name)
    return _decode_scalar(hint, value, name, metadata)


def _decode_blob(value: Any, name: str) -> Any:
    if isinstance(value, (Blob, BlobRef)):
        return value
    try:
        return BlobRef.from_plain(value)
    except InvalidBlob as error:
        raise InvalidValue(name, value, f"a blob ({error})") from None


def _decode_list(item_type: Any, value: Any, name: str, metadata: typing.Mapping[str, Any]) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise InvalidValue(name, value, "a list")
    _no_longer(value, len(value), "items", name, metadata)
    return [_decode_value(item_type, item, f"{name}[{index}]", {}) for index, item in enumerate(value)]


def _decode_scalar(hint: Any, value: Any, name: str, metadata: typing.Mapping[str, Any]) -> Any:
    if hint is bool:
        if not isinstance(value, bool):
            raise InvalidValue(name, value, "true or false")
        return value
    if hint is bytes:
        if not isinstance(value, (bytes, memoryview)):
            raise InvalidValue(name, value, "bytes")
        return bytes(_no_longer(value, len(value), "bytes", name, metadata))
    if hint is str:
        if not isinstance(value, str):
            raise InvalidValue(name, value, "a text")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidValue(name, value, "a text of whole Unicode characters (no lone surrogates)")
        return _no_longer(value, len(value), "characters", name, metadata)
    number = _number(hint, value)
    low, high, step = (metadata.get(key) for key in ("minimum", "maximum", "step"))
    if (
        number is None
        or (low is not None and number < low)
        or (high is not None and number > high)
        # Steps of floats are a hint for sliders; steps of integers are a rule (sizes in multiples of eight).
        or (hint is int and step is not None and number % step != 0)
    ):
        raise InvalidValue(name, value, allowed_number(hint, metadata))
    return number


def _no_longer(value: Any, length: int, of_what: str, name: str, metadata: typing.Mapping[str, Any]) -> Any:
    limit = metadata.get("max_length")
    if limit is not None and length > limit:
        raise InvalidValue(name, f"{length} {of_what}", f"at most {limit} {of_what}")
    return value


def _number(hint: Any, value: Any) -> int | float | None:
    """The value as a finite `hint` (int or float), numpy's scalars too; None where it is not one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if isinstance(value, numbers.Integral) and abs(int(value)) > MAX_INTEGER:
        return None
    if hint is float or isinstance(value, numbers.Integral):
        number: int | float = hint(value)
        return number if math.isfinite(number) else None
    # JavaScript knows one kind of number, so 20.0 is a whole number too.
    whole = float(value)
    return int(whole) if whole.is_integer() and abs(whole) <= MAX_INTEGER else None


def allowed_number(hint: Any, metadata: typing.Mapping[str, Any]) -> str:
    """In words what a number's field may hold: ``a whole number from 64 to 8192 in steps of 8``."""
    words = "a whole number" if hint is int else "a finite number"
    low, high, step, unit = (metadata.get(key) for key in ("minimum", "maximum", "step", "unit"))
    if low is not None and high is not None:
        words += f" from {_exact(low)} to {_exact(high)}"
    elif low is not None:
        words += f" of at least {_exact(low)}"
    elif high is not None:
        words += f" of at most {_exact(high)}"
    if hint is int and step is not None:
        words += f" in steps of {_exact(step)}"
    return words + (f" ({unit})" if unit else "")


def _exact(number: float) -> str:
    """Without an exponent: 2⁵³ − 1 is a bound that people must be able to read."""
    return str(int(number)) if number == int(number) else str(number)
