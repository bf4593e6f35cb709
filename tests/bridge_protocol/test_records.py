"""Every value is checked where it enters, and every refusal says field, value, range and remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.records import InvalidValue, blob_refs, check, decode, encode, param


@dataclass(frozen=True)
class Point:
    x: float = param(doc="Across.", minimum=-1, maximum=1, unit="m")
    name: str = param("", max_length=4)

    def __post_init__(self) -> None:
        if self.x == 0.5:
            raise InvalidValue("x", self.x, "anything but one half")


@dataclass(frozen=True)
class Everything:
    count: int = param(8, minimum=0, maximum=64, step=8, unit="px")
    free: int = param(0)
    ratio: float = param(0.5, minimum=0, maximum=1, step=0.25)
    flag: bool = param(False)
    text: str = param("", max_length=5)
    choice: Literal["a", "b", 1] = param("a")
    maybe: int | None = param(None, minimum=1)
    digest: bytes = param(b"", max_length=4)
    numbers: list[int] = param(default_factory=list, max_length=3)
    points: list[Point] = param(default_factory=list, max_length=2)
    point: Point | None = param(None)
    image: Blob | BlobRef | None = param(None)
    plain: dict[str, Any] = param(default_factory=dict)
    whatever: Any = param(None)


REF = BlobRef(bytes(32), (2, 3))

WRONG = [
    ("count", 12, "12", "a whole number from 0 to 64 in steps of 8 (px)"),
    ("count", -8, "-8", "a whole number from 0 to 64 in steps of 8 (px)"),
    ("count", 72, "72", "a whole number from 0 to 64 in steps of 8 (px)"),
    ("count", 8.5, "8.5", "a whole number from 0 to 64 in steps of 8 (px)"),
    ("count", True, "True", "a whole number from 0 to 64 in steps of 8 (px)"),
    ("count", "8", "'8'", "a whole number from 0 to 64 in steps of 8 (px)"),
    ("count", None, "None", "a whole number from 0 to 64 in steps of 8 (px)"),
    ("free", 2**53, str(2**53), "a whole number"),
    ("free", 1e300, "1e+300", "a whole number"),
    ("free", math.inf, "inf", "a whole number"),
    ("ratio", math.nan, "nan", "a finite number from 0 to 1"),
    ("ratio", math.inf, "inf", "a finite number from 0 to 1"),
    ("ratio", -math.inf, "-inf", "a finite number from 0 to 1"),
    ("ratio", 1.01, "1.01", "a finite number from 0 to 1"),
    ("ratio", False, "False", "a finite number from 0 to 1"),
    ("ratio", [0.5], "[0.5]", "a finite number from 0 to 1"),
    ("flag", 1, "1", "true or false"),
    ("text", 5, "5", "a text"),
    ("text", "sixsix", "'6 characters'", "at most 5 characters"),
    ("text", "a\ud800", r"'a\ud800'", "a text of whole Unicode characters (no lone surrogates)"),
    ("choice", "c", "'c'", "one of 'a', 'b', 1"),
    ("choice", True, "True", "one of 'a', 'b', 1"),
    ("choice", ["a"], "['a']", "one of 'a', 'b', 1"),
    ("maybe", 0, "0", "a whole number of at least 1"),
    ("digest", "text", "'text'", "bytes"),
    ("digest", b"12345", "'5 bytes'", "at most 4 bytes"),
    ("numbers", 1, "1", "a list"),
    ("numbers", [1, 2, 3, 4], "'4 items'", "at most 3 items"),
    ("point", 7, "7", "a map of fields"),
    ("plain", [], "[]", "a map"),
    ("image", 7, "7", "a blob (it is not a map with digest, shape, dtype and color)"),
    ("image", {"shape": [1]}, "{'shape': [1]}", "a blob (it lacks its digest (bytes) or its shape (a list))"),
]


@pytest.mark.parametrize(("field", "value", "shown", "allowed"), WRONG)
def test_a_wrong_value_is_refused_by_field_value_range_and_remedy(field, value, shown, allowed):
    with pytest.raises(InvalidValue) as caught:
        decode(Everything, {field: value})
    error = caught.value
    assert (error.field, error.value, error.allowed) == (field, shown, allowed)
    assert error.remedy == f"Set {field} to {allowed}."
    assert str(error) == f"{field} is {shown}; it must be {allowed}."


def test_a_record_that_was_made_with_a_wrong_value_is_refused_by_check():
    for field, value, _, allowed in WRONG:
        if field in ("point", "image"):
            continue
        with pytest.raises(InvalidValue) as caught:
            check(Everything(**{field: value}))
        assert (caught.value.field, caught.value.allowed) == (field, allowed)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"numbers": [1, "two"]}, "numbers[1]"),
        ({"points": [{"x": 0}, {"x": 2}]}, "points[1].x"),
        ({"points": [{"x": 0, "name": "longer"}]}, "points[0].name"),
        ({"points": [{}]}, "points[0].x"),
        ({"points": [3]}, "points[0]"),
        ({"point": {"x": 0.5}}, "point.x"),
        ({"points": [{"x": 0}, {"x": 0.5}]}, "points[1].x"),
    ],
)
def test_the_field_is_named_by_its_whole_path(data, field):
    with pytest.raises(InvalidValue) as caught:
        decode(Everything, data)
    assert caught.value.field == field
    assert field in caught.value.remedy


def test_a_missing_field_is_asked_for():
    with pytest.raises(InvalidValue) as caught:
        decode(Point, {})
    assert (caught.value.field, caught.value.allowed, caught.value.remedy) == ("x", "given", "Add the field x.")


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_map_is_refused(data):
    with pytest.raises(InvalidValue, match=r"Point is .*; it must be a map of fields"):
        decode(Point, data)


def test_a_huge_value_is_shown_shortened():
    with pytest.raises(InvalidValue) as caught:
        decode(Everything, {"flag": "x" * 100_000})
    assert len(str(caught.value)) < 200


def test_unknown_fields_are_ignored():
    assert decode(Everything, {"count": 16, "from_the_future": [1, 2, 3]}) == Everything(count=16)


def test_fields_that_equal_their_default_are_left_out():
    assert encode(Everything()) == {}
    assert encode(Everything(count=16, numbers=[1])) == {"count": 16, "numbers": [1]}


def test_a_value_that_only_compares_equal_to_its_default_is_kept():
    assert encode(Everything(flag=0)) == {"flag": 0}  # type: ignore[arg-type]


def test_records_come_back_as_they_were():
    record = Everything(
        count=24, free=-5, ratio=0.25, flag=True, text="häuß", choice=1, maybe=3, digest=b"1234", numbers=[3, 2, 1],
        points=[Point(-1.0), Point(0.25, "p")], point=Point(1.0), image=REF, plain={"a": [1, None]}, whatever=[1],
    )  # fmt: skip
    assert decode(Everything, encode(record)) == record
    assert check(record) == record


def test_javascript_floats_are_taken_for_whole_numbers():
    record = decode(Everything, {"count": 16.0, "free": -3.0, "maybe": 2.0})
    assert (record.count, record.free, record.maybe) == (16, -3, 2)
    assert all(type(value) is int for value in (record.count, record.free, record.maybe))


def test_whole_numbers_are_taken_for_floats():
    ratio = decode(Everything, {"ratio": 1}).ratio
    assert ratio == 1.0
    assert type(ratio) is float


def test_numpy_scalars_become_plain_numbers():
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    record = check(Everything(count=numpy.int64(16), ratio=numpy.float32(0.25)))
    assert (type(record.count), type(record.ratio)) == (int, float)


def test_a_number_too_large_for_a_float_is_refused_like_any_other():
    with pytest.raises(InvalidValue):
        check(Everything(ratio=10**400))
    with pytest.raises(InvalidValue):
        check(Everything(free=-(10**400)))


def test_steps_of_floats_are_a_hint_and_no_rule():
    assert decode(Everything, {"ratio": 0.3}).ratio == 0.3


def test_every_blob_of_a_record_is_found_in_the_order_of_its_fields():
    blob = Blob.of(b"abc")

    @dataclass(frozen=True)
    class Nested:
        first: BlobRef
        rest: list[Any]
        last: Everything

    assert blob_refs(Nested(REF, [blob, {"not": "searched"}, [REF]], Everything(image=blob))) == [REF, blob, REF, blob]


def test_a_whole_blob_travels_as_its_reference():
    blob = Blob.of(b"abc")
    assert decode(Everything, encode(Everything(image=blob))).image == blob.ref
