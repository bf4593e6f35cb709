"""One side of a conversation as a state machine: bytes in, bytes and events out, no sockets.

A session outlives its sockets. On the server, `ServerSession` keeps each job's last word until the client has
acknowledged it, and half-arrived blobs until their rest comes. On the client, `ClientSession` (client_session.py)
keeps every job that has not ended, and after a reconnect says again whatever may not have been heard; job ids make
saying it twice harmless.

The order that makes nothing lost and nothing double:

1. The client offers a job's blobs, and submits it when the server has them all. The server writes the job down before
   it says `Accepted`.
2. The server writes the job's end down before it emits it, and emits it again to every new socket until it is
   acknowledged.
3. The client acknowledges an end when the caller holds it, blobs included, and answers a second copy of it with the
   acknowledgement alone.
4. Whoever is asked for a blob that it no longer has says so (an Error about the blob), and the other side stops
   waiting for it.
5. Through a new socket the client says nothing between its Hello and the Welcome, and the server nothing but an Error
   before it: what would have been said is said after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from . import messages as m
from .answers import pages
from .blobs import DIGEST_SIZE, Blob, BlobRef, blob_digest, part_count
from .codec import ProtocolError, decode, encode
from .transfer import Incoming, Outgoing, SendQueue

JobEvent = m.Accepted | m.Progress | m.Preview | m.Result | m.Failed | m.Cancelled
End = m.Result | m.Failed | m.Cancelled


@dataclass(frozen=True)
class Arrived:
    """Every byte of a blob is here; it is still to be verified."""

    incoming: Incoming


@dataclass(frozen=True)
class Abandoned:
    """The rest of a blob will not come: the other side has it no more, or has said that it cannot send it."""

    incoming: Incoming
    error: m.Error


@dataclass(frozen=True)
class Offered:
    """An `Offer` with its payload: the digests of the blob's parts, or nothing."""

    ref: BlobRef
    part_digests: bytes


class Session:
    """What both sides share: one socket's queue at a time, and blobs that arrive."""

    def __init__(self) -> None:
        self.queue: SendQueue | None = None
        self.incoming: dict[bytes, Incoming] = {}
        #: The blobs that were asked for through the present socket.
        self._asked: set[bytes] = set()

    def attach(self) -> SendQueue:
        """A new socket carries the session from now on; the returned queue is what leaves through it.

        Frames that still come through the socket before it are not to be received any more: a chunk of theirs would
        cross what is asked for through this one.
        """
        self.queue = SendQueue()
        self._asked.clear()
        return self.queue

    def detach(self, queue: SendQueue) -> bool:
        """The socket of that queue is gone. Returns False where another one has taken its place already."""
        if self.queue is not queue:
            return False
        self.queue = None
        return True

    def send(self, message: m.Message, payload: bytes | memoryview = b"") -> None:
        """Say something through the present socket; without one it is not said."""
        if self.queue is not None:
            self.queue.control(encode(message, payload))

    def begin(self, incoming: Incoming) -> None:
        """Ask for a blob; its chunks are written into `incoming` from now on, also through later sockets.

        Through one socket it is asked for once: a second Need would cross the first one's chunks.
        """
        digest = incoming.ref.digest
        incoming = self.incoming.setdefault(digest, incoming)
        if digest not in self._asked:
            self._asked.add(digest)
            self.send(incoming.need())

    def stop(self, digest: bytes) -> Incoming | None:
        """Expect no more chunks of that blob: it is here, or comes through the shared folder, or never."""
        self._asked.discard(digest)
        return self.incoming.pop(digest, None)

    def stop_about(self, error: m.Error) -> Incoming | None:
        """The blob that an error is about, if it was expected: it will not come, so it is expected no more."""
        digest = next((digest for digest in self.incoming if digest.hex() == error.about), None)
        return None if digest is None else self.stop(digest)

    def serve(self, need: m.Need, blob: Blob) -> None:
        """Send of a blob what was asked for, behind everything else that is to be said."""
        outgoing = Outgoing(blob, need)
        if self.queue is not None:
            self.queue.bulk(outgoing)

    def take_chunk(self, chunk: m.Chunk, payload: bytes | memoryview) -> list[Arrived]:
        """Write a chunk where it belongs. Raises ProtocolError where nobody asked for it."""
        incoming = self.incoming.get(chunk.digest)
        if incoming is None:
            raise ProtocolError(
                "unexpected_chunk",
                "A chunk belongs to a blob that was not asked for.",
                "Offer the blob first and wait for Need.",
                about=chunk.digest.hex()[:64],
            )
        incoming.write(chunk, payload)
        if not incoming.complete:
            return []
        self.stop(chunk.digest)
        return [Arrived(incoming)]


class ServerSession(Session):
    """The server's side of one session.

    id: random, made by the server. epoch: this run of the server.
    """

    #: What only a server says; a client that says it is told so.
    _NOT_FOR_SERVERS = (
        m.Welcome,
        m.LaneReady,
        m.Accepted,
        m.Progress,
        m.Preview,
        m.Activity,
        m.Answer,
        m.Pong,
        *m.TERMINAL,
    )

    def __init__(self, session_id: str, epoch: str) -> None:
        super().__init__()
        self.id = session_id
        self.epoch = epoch
        self._seq = 0
        #: Each ended job's last word, until it is acknowledged.
        self._ends: dict[str, End] = {}
        self._welcomed = False

    @property
    def unacknowledged(self) -> list[str]:
        """The ids of the jobs whose last word the client has not acknowledged."""
        return list(self._ends)

    def attach(self) -> SendQueue:
        """A new socket carries the session from now on; the returned queue is what leaves through it."""
        self._welcomed = False
        return super().attach()

    def send(self, message: m.Message, payload: bytes | memoryview = b"") -> None:
        """Say something through the present socket; before the Welcome nothing but an Error is said.

        A client says nothing before it, and could not ask for the blobs of a result that it is told too early.
        """
        self._welcomed = self._welcomed or isinstance(message, m.Welcome)
        if self._welcomed or isinstance(message, m.Error):
            super().send(message, payload)

    def serve(self, need: m.Need, blob: Blob) -> None:
        """Send of a blob what was asked for through the present socket; after a new one it is asked for again."""
        if self._welcomed:
            super().serve(need, blob)

    def receive(self, data: bytes | memoryview) -> list[m.Message | Offered | Arrived | Abandoned]:
        """What a frame says to the application. Raises ProtocolError where it must be answered by an Error.

        A Ping is answered and a Chunk written here; an Offer comes back as Offered, its digests checked; an Error
        about a blob that was on its way as Abandoned; all else is returned as it is, a Hello too.
        """
        frame = decode(data)
        message = frame.message
        if isinstance(message, self._NOT_FOR_SERVERS):
            raise ProtocolError("unexpected_message", f"A client does not say {m.type_name(type(message))}.")
        if isinstance(message, m.Ping):
            self.send(m.Pong(message.id))
            return []
        if isinstance(message, m.Chunk):
            return list(self.take_chunk(message, frame.payload))
        if isinstance(message, m.Offer):
            return [Offered(message.blob, _part_digests(message.blob, frame.payload))]
        if isinstance(message, m.Error) and (incoming := self.stop_about(message)) is not None:
            return [Abandoned(incoming, message)]
        return [message]

    def resume(self) -> None:
        """After the Welcome of a reconnect: say every unacknowledged end again, under the number that it had.

        All of them, seen or not: the client may hold one whose acknowledgement was lost. Half-arrived blobs are asked
        for again from where they stopped; a client that has no use for one any more says that it is gone.
        """
        for end in self._ends.values():
            self.send(end)
        self._asked.clear()  # what was to be asked for before the Welcome was not
        for incoming in list(self.incoming.values()):
            self.begin(incoming)

    def emit(self, event: JobEvent, payload: bytes = b"") -> None:
        """Tell an event of a job; its `seq` is set here. An end is kept until it is acknowledged."""
        if event.id in self._ends:
            return  # the first last word stands, and nothing comes after it
        self._seq += 1
        numbered = replace(event, seq=self._seq)
        if isinstance(numbered, m.TERMINAL):
            self._ends[event.id] = numbered
            if self.queue is not None:
                self.queue.forget((m.Progress, event.id))
                self.queue.forget((m.Preview, event.id))
            self.send(numbered)
        elif isinstance(numbered, m.Accepted):
            self.send(numbered)
        elif self.queue is not None and self._welcomed:
            self.queue.newest((type(event), event.id), encode(numbered, payload))

    def answer(self, query_id: int, data: Any) -> None:
        """Answer a query with plain data. Raises ProtocolError where it is too long."""
        for page, payload in pages(query_id, data):
            self.send(page, payload)

    def notice(self, event: m.Activity | m.Progress | m.Preview, payload: bytes = b"") -> None:
        """Tell a watching client of a job that may be another session's; its `seq` is set here."""
        if self.queue is None or not self._welcomed:
            return
        self._seq += 1
        if isinstance(event, m.Activity) and event.state not in ("accepted", "running"):
            self.queue.forget((m.Progress, event.id))
            self.queue.forget((m.Preview, event.id))
        self.queue.newest((type(event), event.id), encode(replace(event, seq=self._seq), payload))

    def acknowledge(self, job_id: str) -> End | None:
        """The client holds that job's end: it need not be told again. Returns it, or None if it was not waiting."""
        return self._ends.pop(job_id, None)


def _part_digests(ref: BlobRef, payload: bytes | memoryview) -> bytes:
    if not payload:
        return b""
    digests = bytes(payload)
    if len(digests) != part_count(ref.shape) * DIGEST_SIZE or (
        blob_digest(digests, ref.shape, ref.dtype, ref.color) != ref.digest
    ):
        raise ProtocolError(
            "bad_offer",
            "An offer's digests of parts do not give the digest of its blob.",
            "Compute them as docs/protocol.md says.",
            about=ref.digest.hex(),
        )
    return digests
