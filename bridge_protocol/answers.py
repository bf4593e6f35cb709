"""Answers to queries: plain data, as msgpack in the payloads of one `Answer` after another.

Lists outgrow a header (64 KiB) quickly: the jobs' schema does. They are still bounded, since they wait in memory while
they are sent: a query for a long list asks for a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from . import messages as m
from .codec import ProtocolError

PAGE_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 2 << 20


@dataclass(frozen=True)
class Answered:
    """The whole answer to a query."""

    id: int
    data: Any


def pages(query_id: int, data: Any) -> list[tuple[m.Answer, bytes]]:
    """The messages that answer a query, each with its payload. Raises ProtocolError where the answer is too long."""
    packed = msgpack.packb(data, use_bin_type=True)
    if len(packed) > MAX_ANSWER_BYTES:
        sentence = f"The answer has {len(packed)} bytes; at most {MAX_ANSWER_BYTES}."
        raise ProtocolError("answer_too_large", sentence, "Ask for a part of the list.", about=str(query_id))
    starts = range(0, len(packed), PAGE_BYTES)
    return [
        (m.Answer(query_id, more=start + PAGE_BYTES < len(packed)), packed[start : start + PAGE_BYTES])
        for start in starts
    ]


class Pages:
    """Puts answers together as their pages come through one socket."""

    def __init__(self) -> None:
        self._begun: dict[int, bytearray] = {}

    def clear(self) -> None:
        """Another socket carries the session: what was begun through the one before will be said anew."""
        self._begun.clear()

    def take(self, answer: m.Answer, payload: bytes | memoryview) -> Answered | None:
        """The whole answer, once its last page is here. Raises ProtocolError where it is too long or not msgpack."""
        begun = self._begun.setdefault(answer.id, bytearray())
        if len(begun) + len(payload) > MAX_ANSWER_BYTES:
            del self._begun[answer.id]
            raise ProtocolError("answer_too_large", f"An answer has more than {MAX_ANSWER_BYTES} bytes.")
        begun += payload
        if answer.more:
            return None
        del self._begun[answer.id]
        try:
            return Answered(answer.id, msgpack.unpackb(begun, raw=False, strict_map_key=True))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ProtocolError("bad_frame", f"An answer is not msgpack ({type(error).__name__}).") from None
