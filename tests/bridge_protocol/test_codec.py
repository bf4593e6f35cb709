"""Frames: every message round trip, and every limit at its edge."""

from __future__ import annotations

import struct

import msgpack
import pytest

from bridge_protocol import codec
from bridge_protocol import messages as m
from bridge_protocol.codec import MAX_HEADER, MAX_ITEMS, MAX_PAYLOAD, Frame, ProtocolError, decode, encode
from tests.bridge_protocol.golden import EXAMPLES


def raw(value: object, payload: bytes = b"") -> bytes:
    header = msgpack.packb(value)
    return struct.pack(">I", len(header)) + header + payload


def code_of(data: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(data)
    assert encode(caught.value.message())
    return caught.value.code


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_message_comes_back_as_it_was(name):
    message, payload = EXAMPLES[name]
    frame = decode(encode(message, payload))
    assert frame.message == message
    assert bytes(frame.payload) == payload


def test_there_is_an_example_of_every_message():
    assert {type(message) for message, _ in EXAMPLES.values()} == set(m.TYPES.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_frame_that_is_cut_anywhere_before_its_payload_is_refused(name):
    data = encode(EXAMPLES[name][0])
    for length in range(len(data)):
        assert code_of(data[:length]) == "bad_frame"


def test_the_payload_is_a_view_and_no_copy():
    data = bytearray(encode(m.Chunk(bytes(32)), b"abc"))
    frame = decode(data)
    data[-1] = ord("z")
    assert bytes(frame.payload) == b"abz"


def test_the_payload_may_be_as_large_as_the_limit_and_no_larger():
    chunk = m.Chunk(bytes(32))
    assert len(decode(encode(chunk, bytes(MAX_PAYLOAD))).payload) == MAX_PAYLOAD
    with pytest.raises(ProtocolError) as caught:
        encode(chunk, bytes(MAX_PAYLOAD + 1))
    assert caught.value.code == "payload_too_large"
    assert code_of(encode(chunk, bytes(MAX_PAYLOAD)) + b"x") == "payload_too_large"
    assert code_of(bytes(codec.MAX_FRAME + 1)) == "frame_too_large"


def test_the_header_may_be_as_large_as_the_limit_and_no_larger():
    def error(length):
        return m.Error("code", "x" * length)

    room = MAX_HEADER - len(encode(error(65_000))) + 4 + 65_000
    assert len(encode(error(room))) == 4 + MAX_HEADER
    assert decode(encode(error(room))).message == error(room)
    with pytest.raises(ProtocolError) as caught:
        encode(error(room + 1))
    assert caught.value.code == "header_too_large"


def test_a_need_for_every_part_of_the_largest_blob_fits():
    need = m.Need(bytes(32), parts=list(range(16_384)))
    assert decode(encode(need)).message == need


def test_many_items_are_refused_whether_in_one_list_or_nested():
    assert code_of(raw({"type": "answer", "id": 1, "data": [0] * (MAX_ITEMS + 1)})) == "bad_frame"
    nested = [[{} for _ in range(200)] for _ in range(MAX_ITEMS // 200 + 1)]
    assert code_of(raw({"type": "answer", "id": 1, "data": nested})) == "bad_frame"
    assert code_of(raw({"type": "answer", "id": 1, "data": {str(i): 0 for i in range(257)}})) == "bad_frame"


def test_deep_nesting_is_refused_at_every_depth():
    def nested(depth: int) -> bytes:
        header = b"\x83\xa4type\xa6answer\xa2id\x01\xa4data" + b"\x91" * depth + b"\xc0"
        return struct.pack(">I", len(header)) + header

    assert isinstance(decode(nested(15)), Frame)
    for depth in (16, 17, 600, 2_000, 60_000):
        assert code_of(nested(depth)) == "bad_frame"


def test_a_refusal_says_what_it_is_about():
    with pytest.raises(ProtocolError) as caught:
        decode(raw({"type": "submit", "id": "j1", "kind": "Generate", "job": {}, "priority": "now"}))
    error = caught.value
    assert (error.code, error.about, error.field) == ("invalid_value", "j1", "priority")
    assert "'now'" in error.sentence
    assert "'live', 'interactive', 'batch'" in error.remedy
    with pytest.raises(ProtocolError) as caught:
        decode(raw({"type": "query", "id": 5, "what": "everything"}))
    assert caught.value.about == "5"


def test_a_refusal_is_never_too_long_to_be_told():
    long = "x" * 60_000
    for header in (
        {"type": long}, {"type": "cancel", "id": long}, {"type": "query", "id": 1, "what": long},
        {"type": "offer", "blob": {"digest": bytes(32), "shape": [2**64 - 1] * 7_000}},
        {"type": "offer", "blob": {"digest": bytes(32), "shape": [1], "dtype": long}},
        {"type": "offer", "blob": {"digest": bytes(32), "shape": [1], "color": [long]}},
    ):  # fmt: skip
        with pytest.raises(ProtocolError) as caught:
            decode(raw(header))
        assert len(encode(caught.value.message())) < 8_192
    told = ProtocolError("code", long, long, about=long, field=long).message()
    assert decode(encode(told)).message == told


def test_a_whole_number_from_javascript_is_taken():
    assert decode(raw({"type": "ping", "id": 3.0})).message == m.Ping(3)


def test_a_number_that_could_not_be_told_back_is_refused():
    assert code_of(raw({"type": "ping", "id": 1e300})) == "invalid_value"
    assert code_of(raw({"type": "ping", "id": 2**64 - 1})) == "invalid_value"


def test_type_names_are_the_classes_names_in_small_letters():
    assert m.type_name(m.LaneProof) == "lane_proof"
    assert len(m.TYPES) == 28


def test_a_previews_size_cannot_be_negative():
    negative = {"type": "preview", "seq": 1, "id": "j", "step": 1, "width": -2, "height": -2}
    assert code_of(raw(negative)) == "invalid_value"
