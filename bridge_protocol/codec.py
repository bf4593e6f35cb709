"""Frames: messages and their payloads as bytes, and back, with every limit. No sockets in here.

A frame is a 4-byte big-endian header length, the header (a msgpack map), and the payload (raw bytes to the end).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import msgpack

from . import messages
from .messages import Message
from .records import InvalidValue

MAX_HEADER = 64 * 1024
MAX_PAYLOAD = 1 << 20
MAX_FRAME = 4 + MAX_HEADER + MAX_PAYLOAD
#: A 64 KiB header of empty maps would become megabytes of objects: count and depth are limited too.
MAX_ITEMS = 32_768
MAX_DEPTH = 16

_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """What arrived is not a frame, or says something that nobody may say.

    code: stable. sentence, remedy: for people. retryable: whether the same may succeed later. about, field: see
    `messages.Error`.
    """

    def __init__(
        self, code: str, sentence: str, remedy: str = "", *, retryable: bool = False, about: str = "", field: str = ""
    ) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.remedy = code, sentence, remedy
        self.retryable, self.about, self.field = retryable, about, field

    def message(self) -> messages.Error:
        """As it is told to the other side; texts are cut to what an Error may hold."""
        return messages.Error(
            self.code, _cut(self.sentence, 2_000), _cut(self.remedy, 2_000), self.retryable, self.about[:64],
            _cut(self.field, 200),
        )  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """A message and its payload."""

    message: Message
    payload: bytes | memoryview = b""


def encode(message: Message, payload: bytes | memoryview = b"") -> bytes:
    """A frame's bytes. Raises ProtocolError where the header or the payload is too large."""
    header = msgpack.packb(messages.to_plain(message), use_bin_type=True)
    if len(header) > MAX_HEADER:
        raise ProtocolError(
            "header_too_large",
            f"The header of this {messages.type_name(type(message))} has {len(header)} bytes; at most {MAX_HEADER}.",
            "Send long lists in pieces and arrays as blobs.",
        )
    if len(payload) > MAX_PAYLOAD:
        raise ProtocolError("payload_too_large", f"A payload has {len(payload)} bytes; at most {MAX_PAYLOAD}.")
    return b"".join((_LENGTH.pack(len(header)), header, payload))


def decode(data: bytes | memoryview) -> Frame:
    """The frame that `data` is; its payload is a view into `data`. Raises ProtocolError for anything else."""
    view = memoryview(data)
    if len(view) > MAX_FRAME:
        raise ProtocolError("frame_too_large", f"A frame has {len(view)} bytes; at most {MAX_FRAME}.")
    if len(view) < 4:
        raise ProtocolError("bad_frame", f"A frame has {len(view)} bytes; its header's length alone takes 4.")
    (length,) = _LENGTH.unpack_from(view)
    if length > MAX_HEADER or 4 + length > len(view):
        raise ProtocolError(
            "bad_frame", f"A header claims {length} bytes of a frame of {len(view)}; at most {MAX_HEADER}."
        )
    payload = view[4 + length :]
    if len(payload) > MAX_PAYLOAD:
        raise ProtocolError("payload_too_large", f"A payload has {len(payload)} bytes; at most {MAX_PAYLOAD}.")
    header = _unpack(view[4 : 4 + length])
    kind = header.get("type")
    if not isinstance(kind, str) or kind not in messages.TYPES:
        raise ProtocolError(
            "unknown_message",
            f"There is no message of type {str(kind)[:60]!r} in version {messages.VERSION}.",
            "Send only messages that docs/protocol.md names.",
        )
    try:
        message = messages.from_plain(header)
    except InvalidValue as error:
        # The message cannot be built, but often it says what it is about, and the answer should too.
        about = header.get("id")
        raise ProtocolError(
            "invalid_value", f"{kind}: {error}", error.remedy, field=error.field,
            about=str(about)[:64] if type(about) in (str, int) else "",
        ) from None  # fmt: skip
    return Frame(message, payload)


def _unpack(data: memoryview) -> dict[str, Any]:
    try:
        header = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_HEADER,
            max_bin_len=MAX_HEADER,
            max_array_len=MAX_ITEMS,
            max_map_len=256,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError("bad_frame", f"A header is not msgpack ({type(error).__name__}).") from None
    if not isinstance(header, dict):
        raise ProtocolError("bad_frame", "A header is not a map.")
    _count(header, MAX_ITEMS, MAX_DEPTH)
    return header


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _count(value: Any, left: int, depth: int) -> int:
    """Items left of the budget after `value`; nested lists get around a cap on each one alone."""
    if isinstance(value, (dict, list)):
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            raise ProtocolError("bad_frame", "A header has a map whose keys are not all texts.")
        if depth == 0:
            raise ProtocolError("bad_frame", f"A header is nested more than {MAX_DEPTH} deep.")
        left -= len(value)
        if left < 0:
            raise ProtocolError("bad_frame", f"A header has more than {MAX_ITEMS} items.")
        for item in value.values() if isinstance(value, dict) else value:
            left = _count(item, left, depth - 1)
    elif isinstance(value, (msgpack.ExtType, msgpack.Timestamp)):  # empty ones pass max_ext_len
        raise ProtocolError("bad_frame", "A header has a msgpack extension; there are none in this protocol.")
    return left
