"""Frames that are almost right: for whoever must withstand them, in this process or behind a socket.

for frame in mutated(random.Random(1), 100_000):
    …
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from bridge_protocol import codec
from bridge_protocol import messages as m
from tests.bridge_protocol.golden import EXAMPLES, REFUSED

_WHOLE = [codec.encode(message, payload) for message, payload in EXAMPLES.values()]
#: Frames of every kind, those that are refused among them.
SEEDS = _WHOLE + [frame for frame, _ in REFUSED.values()]

#: What to put in a field's place: each has broken some program.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 127, 128, 255, 256, 2**31, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**64 - 1, -(2**63),
    0.5, -0.0, 1e300, float("nan"), float("inf"), float("-inf"), "", "x", "\0", "../../etc/passwd", "é" * 100,
    "x" * 60_000,
    b"", b"\0" * 31, b"\0" * 32, b"\0" * 33, [], [[]], [0] * 1_000, [None], {}, {"": {}}, {"x": [1, {"y": 2}]},
    "j1", "Generate", "live", [2**64 - 1] * 3, [32_768, 32_768], [1, 1, 1, 1], [0], [-1, 2],
]  # fmt: skip


def mutated(dice: random.Random, count: int) -> Iterator[bytes]:
    """`count` frames, the same ones for the same dice."""
    for _ in range(count):
        yield mutate(dice, dice.choice(SEEDS))


def mutate(dice: random.Random, frame: bytes) -> bytes:
    """A frame with one to four things wrong with it."""
    for _ in range(dice.randint(1, 4)):
        frame = dice.choice(_WAYS)(dice, frame)[: codec.MAX_FRAME + 1]
    return frame


def _flip(dice: random.Random, frame: bytes) -> bytes:
    if not frame:
        return b"\xff"
    out = bytearray(frame)
    out[dice.randrange(min(len(out), 400))] ^= 1 << dice.randrange(8)
    return bytes(out)


def _cut(dice: random.Random, frame: bytes) -> bytes:
    return frame[: dice.randint(0, len(frame))]


def _insert(dice: random.Random, frame: bytes) -> bytes:
    at = dice.randint(0, len(frame))
    return frame[:at] + dice.randbytes(dice.choice([1, 2, 4, 32])) + frame[at:]


def _grow(dice: random.Random, frame: bytes) -> bytes:
    return frame + bytes(dice.choice([1, 1_000, 70_000]))


def _splice(dice: random.Random, frame: bytes) -> bytes:
    other = dice.choice(SEEDS)
    return frame[: dice.randint(0, len(frame))] + other[dice.randint(0, len(other)) :]


def _length(dice: random.Random, frame: bytes) -> bytes:
    return struct.pack(">I", dice.choice([0, 1, 4, len(frame), 65_536, 65_537, 2**31, 2**32 - 1])) + frame[4:]


def _header(dice: random.Random, frame: bytes) -> bytes:
    """A header that is msgpack still, with another value, field or type somewhere in it."""
    try:
        (length,) = struct.unpack_from(">I", frame)
        header = msgpack.unpackb(frame[4 : 4 + length])
    except Exception:  # noqa: BLE001 - an earlier mutation broke it
        return frame
    if isinstance(header, dict):
        _change(dice, header)
    packed = msgpack.packb(header)
    return struct.pack(">I", len(packed)) + packed + frame[4 + length :]


def _change(dice: random.Random, header: dict[Any, Any]) -> None:
    key = dice.choice([*header, "new"])
    inner = header.get(key)
    if isinstance(inner, dict) and dice.random() < 0.7:
        _change(dice, inner)
        return
    how = dice.random()
    if how < 0.15:
        header.pop(key, None)
    elif how < 0.3:
        header["type"] = dice.choice(list(m.TYPES))
    else:
        header[key] = dice.choice(VALUES)


_WAYS: list[Callable[[random.Random, bytes], bytes]] = [
    _flip, _cut, _insert, _grow, _splice, _length, _header, _header, _header,
]  # fmt: skip
