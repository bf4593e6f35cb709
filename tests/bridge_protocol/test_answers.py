"""Lists of any length travel, in pages, and whole or not at all."""

from __future__ import annotations

import pytest

from bridge_protocol import jobs
from bridge_protocol import messages as m
from bridge_protocol.answers import MAX_ANSWER_BYTES, PAGE_BYTES, Answered, Pages, pages
from bridge_protocol.codec import MAX_HEADER, ProtocolError, decode, encode


def through_the_wire(data, collected=None):
    collected = collected or Pages()
    whole = None
    for page, payload in pages(7, data):
        assert whole is None
        frame = decode(encode(page, payload))
        whole = collected.take(frame.message, frame.payload)
    return whole


@pytest.mark.parametrize(
    "data", [None, [], {"a": [1, -1, 0.5, "ü", None, True]}, "x" * PAGE_BYTES, ["y" * 100] * 10_000]
)
def test_an_answer_of_any_length_comes_back_as_it_was(data):
    assert through_the_wire(data) == Answered(7, data)


def test_the_schema_outgrows_a_header_and_travels_all_the_same():
    assert through_the_wire(jobs.schema()).data == jobs.schema()
    assert through_the_wire(["z" * MAX_HEADER] * 8).data == ["z" * MAX_HEADER] * 8


def test_answers_whose_pages_mix_are_told_apart():
    collected, long = Pages(), "x" * (PAGE_BYTES + 1)
    (first, start), (second, end) = pages(1, long)
    assert collected.take(first, start) is None
    ((other, payload),) = pages(2, "short")
    assert collected.take(other, payload) == Answered(2, "short")
    assert collected.take(second, end) == Answered(1, long)


def test_what_was_begun_through_another_socket_is_forgotten():
    collected = Pages()
    (first, start), _second = pages(7, "x" * (PAGE_BYTES + 1))
    collected.take(first, start)
    collected.clear()
    assert through_the_wire([1, 2], collected) == Answered(7, [1, 2])


def test_an_answer_that_is_too_long_is_refused_on_both_sides():
    with pytest.raises(ProtocolError) as caught:
        pages(7, "x" * MAX_ANSWER_BYTES)
    assert (caught.value.code, caught.value.about) == ("answer_too_large", "7")
    collected = Pages()
    for _ in range(MAX_ANSWER_BYTES // PAGE_BYTES):
        collected.take(m.Answer(7, more=True), bytes(PAGE_BYTES))
    with pytest.raises(ProtocolError) as caught:
        collected.take(m.Answer(7, more=True), b"x")
    assert caught.value.code == "answer_too_large"


def test_an_answer_that_is_no_msgpack_is_refused():
    with pytest.raises(ProtocolError) as caught:
        Pages().take(m.Answer(7), b"\xc1")
    assert caught.value.code == "bad_frame"
