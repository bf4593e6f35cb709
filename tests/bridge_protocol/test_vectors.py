"""The golden frames: the wire does not change by accident, and other languages can check themselves against it."""

from __future__ import annotations

import json

import pytest

from bridge_protocol import codec
from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob
from tests.bridge_protocol import golden


def load(name: str) -> list:
    return json.loads((golden.FOLDER / name).read_text("utf-8"))


def from_json(value):
    if isinstance(value, dict):
        if list(value) == ["$bytes"]:
            return bytes.fromhex(value["$bytes"])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("file", ["frames.json", "refused.json", "blobs.json"])
def test_the_committed_vectors_are_what_the_wire_gives(file):
    assert (golden.FOLDER / file).read_text("utf-8") == golden.documents()[file], (
        "the wire has changed; if it was meant to, run python -m tests.bridge_protocol.golden"
    )


def test_every_kind_of_message_has_a_golden_frame():
    assert {vector["header"]["type"] for vector in load("frames.json")} == set(m.TYPES)


@pytest.mark.parametrize("vector", load("frames.json"), ids=lambda vector: vector["name"])
def test_a_golden_frame_decodes_and_encodes_to_the_same_bytes(vector):
    data = bytes.fromhex(vector["frame"])
    frame = codec.decode(data)
    assert m.to_plain(frame.message) == from_json(vector["header"])
    assert bytes(frame.payload).hex() == vector["payload"]
    assert codec.encode(frame.message, frame.payload) == data


@pytest.mark.parametrize("vector", load("refused.json"), ids=lambda vector: vector["name"])
def test_a_golden_frame_that_is_wrong_is_refused_with_its_code(vector):
    with pytest.raises(codec.ProtocolError) as caught:
        codec.decode(bytes.fromhex(vector["frame"]))
    assert caught.value.code == vector["code"]
    assert codec.encode(caught.value.message())  # and the refusal can be told


@pytest.mark.parametrize("vector", load("blobs.json"), ids=lambda vector: vector["name"])
def test_a_golden_blob_has_its_digests(vector):
    blob = Blob.of(
        golden.pattern(vector["bytes"]), shape=tuple(vector["shape"]), dtype=vector["dtype"], color=vector["color"]
    )
    assert blob.part_digests.hex() == "".join(vector["parts"])
    assert blob.ref.digest.hex() == vector["digest"]
