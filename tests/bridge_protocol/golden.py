"""Makes the golden frames: ``python -m tests.bridge_protocol.golden`` writes bridge_protocol/vectors/ anew.

They change only when the wire changes; test_vectors.py compares the files with what this module gives.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgpack

import bridge_protocol
from bridge_protocol import codec
from bridge_protocol import messages as m
from bridge_protocol.blobs import DIGEST_SIZE, Blob, BlobRef

FOLDER = Path(bridge_protocol.__file__).parent / "vectors"

D = bytes(range(32))
IMAGE = BlobRef(D, (2, 3, 4), "uint8", "srgb")
DEPTH = BlobRef(D[::-1], (480, 640), "float32", "data")
JOB = {
    "prompt": "a brick wall, Größe ☂ 😀", "image": {"digest": D, "shape": [64, 64, 3], "color": "srgb"},
    "controls": [{"kind": "depth", "image": {"digest": D[::-1], "shape": [480, 640], "dtype": "float32"},
                  "weight": 0.75}],
    "width": 64, "steps": 4, "guidance_scale": 7.5, "seed": 9007199254740991,
}  # fmt: skip

#: name → message and payload. Numbers with a fraction have one that is exact, and none is whole: JavaScript writes
#: 1.0 as the integer 1, and the bytes would differ.
EXAMPLES: dict[str, tuple[m.Message, bytes]] = {
    "hello": (m.Hello([1], "krita 5.2"), b""),
    "hello with token and session": (m.Hello([1, 2], "uxp", "ab" * 32, "5e" * 16), b""),
    "hello by invitation": (m.Hello([1], "gallery", invitation="Zk3b0p-_"), b""),
    "lane_proof": (m.LaneProof("0f" * 16, "1e" * 16, "2d" * 16), b""),
    "submit": (m.Submit("2f6e2b52-5f0e-4c51-8d4f-3f6f0d9a9b11", "Generate", JOB), b""),
    "submit live": (m.Submit("j2", "Generate", {}, "live", "canvas", "cancel"), b""),
    "cancel": (m.Cancel("j1"), b""),
    "ack": (m.Ack("j1"), b""),
    "query": (m.Query(7, "models"), b""),
    "query of the history": (
        m.Query(8, "history", search="boat ☂", model="starter", kind="Generate", since=1767225600.5,
                until=1767312000.25, offset=200, limit=50),
        b"",
    ),
    "query of one job": (m.Query(9, "history", job="j1"), b""),
    "watch": (m.Watch(), b""),
    "watch no more": (m.Watch(False), b""),
    "forget": (m.Forget("j1"), b""),
    "claim": (m.Claim("j1"), b""),
    "ping": (m.Ping(4294967296), b""),
    "offer with its parts' digests": (m.Offer(IMAGE), D),
    "offer by name alone": (m.Offer(DEPTH), b""),
    "have": (m.Have(D), b""),
    "need whole": (m.Need(D), b""),
    "need the rest": (m.Need(D, 262144), b""),
    "need parts": (m.Need(D, parts=[0, 5, 127, 128, 255, 256, 16383]), b""),
    "chunk at its offset": (m.Chunk(D, 70000), bytes(range(256))),
    "chunk of a part": (m.Chunk(D, part=3), b"\x00\xff\x80"),
    "mapped": (m.Mapped(D, "3c" * 16), b""),
    "release": (m.Release("3c" * 16), b""),
    "welcome": (m.Welcome(1, "5e" * 16, "e1"), b""),
    "welcome back": (
        m.Welcome(1, "5e" * 16, "e1", "brushwire 0.1.0", True, "/dev/shm/brushwire-1000/7-00", "4b" * 16,
                  {"max_jobs": 64}),
        b"",
    ),
    "welcome by invitation": (m.Welcome(1, "5e" * 16, "e1", token="7a" * 32), b""),
    "lane_ready": (m.LaneReady(), b""),
    "accepted": (m.Accepted(1, "j1", 3), b""),
    "progress": (m.Progress(2, "j1", "sampling", 3, 20, 1.5), b""),
    "preview": (m.Preview(3, "j1", 4, 2, 1), b"\x01\x02\x03\xfd\xfe\xff"),
    "result": (
        m.Result(4, "j1", [m.Output("image", IMAGE, {"seed": 5}), m.Output("depth", DEPTH)],
                 {"model": "starter", "seconds": {"sampling": 1.25}, "fallbacks": []}),
        b"",
    ),
    "failed": (m.Failed(5, "j2", "out_of_memory", "It is too large.", "Use 512×512.", True), b""),
    "cancelled": (m.Cancelled(6, "j3"), b""),
    "cancelled by a newer one": (m.Cancelled(7, "j3", "replaced"), b""),
    "activity": (
        m.Activity(8, "j1", "running", "Generate", "a boat, Größe ☂", "m1", "batch", "krita 5.2", 1767225600.5), b"",
    ),
    "activity of a failure": (m.Activity(9, "j2", "failed", sentence="It is too large.", remedy="Use 512×512."), b""),
    "answer": (m.Answer(7), b"\x93\x81\xa2ok\xc3\xff\xd0\xdf"),
    "answer with another page": (m.Answer(8, True), b"\xdd\x00\x01"),
    "pong": (m.Pong(4294967296), b""),
    "error": (
        m.Error("invalid_value", "steps is 0; it must be a whole number from 1 to 150.",
                "Set steps to a whole number from 1 to 150.", False, "j4", "steps"),
        b"",
    ),
}  # fmt: skip


def _frame(header: bytes, payload: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack(">I", len(header) if length is None else length) + header + payload


def _header(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


#: name → frame and the code of the error that refuses it.
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "bad_frame"),
    "half a length": (b"\x00\x00\x00", "bad_frame"),
    "no header": (_frame(b""), "bad_frame"),
    "header longer than the frame": (_frame(_header({"type": "ping", "id": 1}), length=60), "bad_frame"),
    "header longer than 64 KiB": (_frame(b"\xc0", length=65_537), "bad_frame"),
    "length with the sign bit": (_frame(b"\xc0", length=0xFFFFFFFF), "bad_frame"),
    "header cut": (_frame(_header({"type": "ping", "id": 1})[:-1]), "bad_frame"),
    "bytes after the header's map": (_frame(_header({"type": "ping", "id": 1}) + b"\xc0"), "bad_frame"),
    "header is a list": (_frame(_header([1])), "bad_frame"),
    "header is nil": (_frame(b"\xc0"), "bad_frame"),
    "key is no text": (_frame(_header({"type": "ping", "id": 1, 5: 5})), "bad_frame"),
    "key is bytes": (_frame(_header({"type": "ping", "id": 1, b"x": 5})), "bad_frame"),
    "text is no UTF-8": (_frame(b"\x81\xa4type\xa2\xc3\x28"), "bad_frame"),
    "extension": (_frame(_header({"type": "answer", "id": 1, "data": msgpack.ExtType(5, b"x")})), "bad_frame"),
    "empty extension": (_frame(_header({"type": "answer", "id": 1, "data": msgpack.ExtType(5, b"")})), "bad_frame"),
    "timestamp": (_frame(_header({"type": "answer", "id": 1, "data": msgpack.Timestamp(1)})), "bad_frame"),
    "claims four milliards of items": (_frame(b"\x81\xa4type\xdd\xff\xff\xff\xff"), "bad_frame"),
    "claims four gibibytes": (_frame(b"\x81\xa4type\xc6\xff\xff\xff\xff"), "bad_frame"),
    "nested 17 deep": (_frame(b"\x83\xa4type\xa6answer\xa2id\x01\xa4data" + b"\x91" * 16 + b"\xc0"), "bad_frame"),
    "no type": (_frame(b"\x80"), "unknown_message"),
    "unknown type": (_frame(_header({"type": "telepathy"})), "unknown_message"),
    "type is no text": (_frame(_header({"type": 5})), "unknown_message"),
    "missing field": (_frame(_header({"type": "cancel"})), "invalid_value"),
    "field of a wrong type": (_frame(_header({"type": "cancel", "id": 5})), "invalid_value"),
    "number below its range": (_frame(_header({"type": "ping", "id": -1})), "invalid_value"),
    "number beyond 2^53 - 1": (_frame(_header({"type": "ping", "id": 2**53})), "invalid_value"),
    "number that is not one": (_frame(_header({"type": "ping", "id": float("nan")})), "invalid_value"),
    "digest too short": (_frame(_header({"type": "offer", "blob": {"digest": b"x", "shape": [1]}})), "invalid_value"),
    "side of zero": (_frame(_header({"type": "offer", "blob": {"digest": D, "shape": [0]}})), "invalid_value"),
    "blob of two gibibytes": (
        _frame(_header({"type": "offer", "blob": {"digest": D, "shape": [32768, 32768, 2]}})), "invalid_value",
    ),
    "dtype unknown": (
        _frame(_header({"type": "offer", "blob": {"digest": D, "shape": [1], "dtype": "int64"}})), "invalid_value",
    ),
}  # fmt: skip


def pattern(count: int) -> bytes:
    """`count` bytes without a period that a tile could hide: byte i is (31·i + ⌊i / 256⌋) mod 256."""
    return bytes((31 * i + (i >> 8)) & 255 for i in range(count))


BLOBS: dict[str, tuple[tuple[int, ...], str, str]] = {
    "one byte": ((1,), "uint8", "data"),
    "a run and one item more": ((65_537,), "uint8", "data"),
    "two rows of three RGBA pixels": ((2, 3, 4), "uint8", "srgb"),
    "one row more and one column more than a tile": ((257, 257), "uint8", "data"),
    "four tiles of depth, cut at the edges": ((260, 300), "float32", "data"),
    "linear, 16 bit": ((5, 7, 3), "uint16", "linear"),
    "half floats": ((3, 3), "float16", "data"),
}


def documents() -> dict[str, str]:
    """The vectors' files by their names."""
    frames = [
        {
            "name": name,
            "header": _to_json(m.to_plain(message)),
            "payload": payload.hex(),
            "frame": codec.encode(message, payload).hex(),
        }
        for name, (message, payload) in EXAMPLES.items()
    ]
    refused = [{"name": name, "frame": frame.hex(), "code": code} for name, (frame, code) in REFUSED.items()]
    return {"frames.json": _dump(frames), "refused.json": _dump(refused), "blobs.json": _dump(_blobs())}


def _blobs() -> list[dict[str, Any]]:
    out = []
    for name, (shape, dtype, color) in BLOBS.items():
        nbytes = BlobRef(bytes(32), shape, dtype, color).nbytes  # type: ignore[arg-type]
        blob = Blob.of(pattern(nbytes), shape=shape, dtype=dtype, color=color)  # type: ignore[arg-type]
        inner = blob.part_digests
        out.append(
            {
                "name": name, "shape": list(shape), "dtype": dtype, "color": color, "bytes": nbytes,
                "parts": [inner[at : at + DIGEST_SIZE].hex() for at in range(0, len(inner), DIGEST_SIZE)],
                "digest": blob.ref.digest.hex(),
            }
        )  # fmt: skip
    return out


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return value


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    for file, text in documents().items():
        (FOLDER / file).write_text(text, "utf-8")
