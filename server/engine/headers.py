"""The header of a .safetensors file, read with every check and without its tensors.

The format: 8 bytes little-endian length n, n bytes of JSON (name → dtype, shape, data_offsets), then the tensors'
bytes without gaps. See the format's page in the safetensors project.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from server.engine.errors import RefusedModel

#: The format's own limit; a longer header is an attack or a broken file.
MAX_HEADER_BYTES = 100_000_000

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """shapes: the shape of each tensor by its name. metadata: what the file says of itself. size: bytes of the file."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str] = field(default_factory=dict)
    size: int = 0


def read_header(path: Path) -> Header:
    """The header of one file; `RefusedModel` if it lies: about its own length, or about any tensor's place or size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise _refused(path, f"its header claims {length} bytes and the file has {size}")
        raw = file.read(length)
    try:
        entries: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _refused(path, "its header is not JSON") from error
    if not isinstance(entries, dict):
        raise _refused(path, "its header is not a JSON object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _refused(path, "its metadata is not a JSON object")
    spans = [(*_span(path, name, entry), name) for name, entry in entries.items()]
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise _refused(path, f"the bytes of tensor {name!r} begin at {start} and not at {end}")
        end = stop
    if end != size - 8 - length:
        raise _refused(path, f"its tensors need {end} bytes and the file has {size - 8 - length}")
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    return Header(shapes, {str(key): str(value) for key, value in metadata.items()}, size)


def _span(path: Path, name: str, entry: Any) -> tuple[int, int]:
    try:
        bits, shape, (start, stop) = DTYPE_BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise _refused(path, f"the entry of tensor {name!r} is malformed") from error
    # bool is an int in Python and no number in JSON.
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in [*shape, start, stop]):
        raise _refused(path, f"the shape or the place of tensor {name!r} is not made of whole numbers")
    if prod(shape) * bits != (stop - start) * 8:
        raise _refused(path, f"tensor {name!r} of shape {shape} does not fill the {stop - start} bytes that it claims")
    return start, stop


def _refused(path: Path, reason: str) -> RefusedModel:
    return RefusedModel(
        f"{path.name} is not a sound safetensors file: {reason}.",
        "Download it again from its author, or save it again with the safetensors library.",
    )
