"""A safetensors header is believed only as far as the file bears it out."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from server.engine.errors import RefusedModel
from server.engine.headers import MAX_HEADER_BYTES, read_header

TENSORS = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((4,), np.float16), "empty": np.zeros((0, 5), np.int64)}


def write(path: Path, header: object, payload: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + payload)
    return path


def entry(start: int, stop: int, shape: object = None, dtype: str = "U8") -> dict:
    return {"dtype": dtype, "shape": [stop - start] if shape is None else shape, "data_offsets": [start, stop]}


def test_a_sound_file_tells_its_shapes_and_its_metadata(tmp_path):
    path = tmp_path / "sound.safetensors"
    path.write_bytes(save(TENSORS, metadata={"author": "someone"}))
    header = read_header(path)
    assert header.shapes == {name: array.shape for name, array in TENSORS.items()}
    assert header.metadata == {"author": "someone"}
    assert header.size == path.stat().st_size


@pytest.mark.parametrize(
    ("header", "payload", "length"),
    [
        (b"", b"", 8),  # longer than the file
        (b"{}", b"", MAX_HEADER_BYTES + 1),
        (b"{}", b"", 2**64 - 1),
        (b"not json", b"", None),
        (b"[" * 10_000, b"", None),
        ([], b"", None),
        ({"a": 1}, b"", None),
        ({"a": {"dtype": "U8", "shape": [1]}}, b"x", None),
        ({"a": entry(0, 4, dtype="PICKLE")}, b"xxxx", None),
        ({"a": entry(0, 4, shape="four")}, b"xxxx", None),
        ({"a": entry(0, 4, shape=[-2, -2])}, b"xxxx", None),
        ({"a": entry(0, 4, shape=[2.0, 2])}, b"xxxx", None),
        ({"a": entry(0, 1, shape=[True])}, b"x", None),
        ({"a": entry(0, 8)}, b"xxxx", None),  # beyond the end of the file
        ({"a": entry(0, 4)}, b"xxxxxxxx", None),  # bytes that belong to no tensor
        ({"a": entry(4, 8)}, b"xxxxxxxx", None),  # a gap before the first
        ({"a": entry(0, 4), "b": entry(2, 6)}, b"xxxxxx", None),  # two share bytes
        ({"a": entry(0, 4), "b": entry(6, 8)}, b"xxxxxxxx", None),  # a gap between two
        ({"a": entry(0, 4, shape=[3])}, b"xxxx", None),  # shape and bytes disagree
        ({"a": entry(0, 4, shape=[4], dtype="F32")}, b"xxxx", None),
        ({"a": entry(0, 0, shape=[2**63, 2**63])}, b"", None),
        ({"__metadata__": []}, b"", None),
    ],
)
def test_a_lying_header_is_refused(tmp_path, header, payload, length):
    with pytest.raises(RefusedModel, match="not a sound safetensors file"):
        read_header(write(tmp_path / "lying.safetensors", header, payload, length))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with pytest.raises(RefusedModel):
        read_header(tmp_path / "empty.safetensors")


@given(position=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path_factory, position, byte, cut):
    damaged = bytearray(save(TENSORS))
    damaged[position % len(damaged)] = byte
    path = tmp_path_factory.mktemp("damaged") / "file.safetensors"
    path.write_bytes(bytes(damaged[: len(damaged) - cut]))
    with suppress(RefusedModel):
        read_header(path)
