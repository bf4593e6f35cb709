"""The Python half of the cross tests: reads a command a line, answers with a line of JSON.

``decode HEX``: the frame decoded and encoded again, or the code of what is wrong with it. ``random SEED COUNT``: frames
of random messages. ``blob SHAPE DTYPE COLOR HEX``: a blob's digest.
"""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import types
import typing
from typing import Any

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.codec import ProtocolError, decode, encode
from bridge_protocol.records import field_types

TEXTS = ("", "a", "Größe ☂ 😀", "x" * 60, "\x00\n", "true")


def message(rng: random.Random) -> m.Message:
    return record(m.TYPES[rng.choice(sorted(m.TYPES))], rng)


def record(cls: type, rng: random.Random) -> Any:
    hints = field_types(cls)
    values = {}
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required or rng.random() < 0.6:
            values[field.name] = value(hints[field.name], field.metadata, rng)
    return cls(**values)


def value(hint: Any, metadata: Any, rng: random.Random) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = [one for one in arguments if one is not type(None)]
        return None if rng.random() < 0.3 else value(options[0], metadata, rng)
    if origin is typing.Literal:
        return rng.choice(arguments)
    if origin is list:
        return [value(arguments[0], {}, rng) for _ in range(rng.randrange(4))]
    if origin is dict:
        return {rng.choice(TEXTS): plain(rng, 3) for _ in range(rng.randrange(4))}
    if hint is BlobRef:
        shape = tuple(rng.randrange(1, 300) for _ in range(rng.randrange(1, 3)))
        return BlobRef(
            rng.randbytes(32), shape, rng.choice(("uint8", "float32", "uint16")), rng.choice(("srgb", "data"))
        )
    if dataclasses.is_dataclass(hint):
        return record(typing.cast("type", hint), rng)
    if hint is bytes:
        return rng.randbytes(rng.randrange(33))
    if hint is bool:
        return rng.random() < 0.5
    if hint is str:
        return rng.choice(TEXTS)[: metadata.get("max_length", 1000)]
    low, high = int(metadata.get("minimum", -(2**53) + 1)), int(metadata.get("maximum", 2**53 - 1))
    whole = rng.choice((low, high, rng.randint(low, high), max(low, min(high, rng.choice((0, 127, 128, 255, 65536))))))
    return whole if hint is int else whole // 4 + 0.5


def plain(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(7 if depth else 5)
    if kind == 5:
        return [plain(rng, depth - 1) for _ in range(rng.randrange(20))]
    if kind == 6:
        return {rng.choice(TEXTS): plain(rng, depth - 1) for _ in range(rng.randrange(4))}
    return (
        None,
        rng.random() < 0.5,
        rng.randint(-(2**53) + 1, 2**53 - 1),
        rng.choice(TEXTS),
        rng.random() * 1e9 + 0.5,
    )[kind]


def answer(line: str) -> Any:
    command, *rest = line.split()
    if command == "decode":
        try:
            frame = decode(bytes.fromhex(rest[0]))
        except ProtocolError as error:
            return {"code": error.code, "sentence": str(error)}
        return {"frame": encode(frame.message, frame.payload).hex()}
    if command == "random":
        rng = random.Random(int(rest[0]))
        return [encode(message(rng), rng.randbytes(rng.randrange(50))).hex() for _ in range(int(rest[1]))]
    shape = tuple(map(int, rest[0].split("x")))
    return {"digest": Blob.of(bytes.fromhex(rest[3]), shape=shape, dtype=rest[1], color=rest[2]).ref.digest.hex()}


if __name__ == "__main__":
    for given in sys.stdin:
        print(json.dumps(answer(given)), flush=True)
