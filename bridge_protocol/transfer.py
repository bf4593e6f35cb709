"""Blobs on their way: cut into frames on one side, put together on the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .blobs import Blob, BlobRef, Part, part_at, part_count
from .codec import ProtocolError, encode
from .messages import Chunk, Need

#: Small enough that a cancel waits a fraction of a millisecond behind one, large enough to cost no speed
#: (see tests/bench/bench_wire.py).
CHUNK_BYTES = 256 * 1024


class Outgoing:
    """What a `Need` asked for of one blob, made into frames one at a time, when the socket has room."""

    def __init__(self, blob: Blob, need: Need) -> None:
        count = part_count(blob.ref.shape)
        if need.offset > blob.ref.nbytes or not all(0 <= index < count for index in need.parts):
            raise ProtocolError(
                "bad_need",
                f"A Need asks for byte {need.offset} or for parts that this blob of {blob.ref.nbytes} bytes in "
                f"{count} parts does not have.",
                about=blob.ref.digest.hex(),
            )
        self.blob = blob
        # Each part once: a short message must not be able to ask for the same megabyte ten thousand times.
        self._parts = list(reversed(dict.fromkeys(need.parts))) if need.parts else None
        self._offset = need.offset

    def next_frame(self) -> bytes | None:
        """The next frame, or None when all that was asked for has been taken."""
        ref = self.blob.ref
        if self._parts is not None:
            if not self._parts:
                return None
            index = self._parts.pop()
            return encode(Chunk(ref.digest, part=index), self.blob.part(index))
        if self._offset >= ref.nbytes:
            return None
        start, self._offset = self._offset, min(self._offset + CHUNK_BYTES, ref.nbytes)
        return encode(Chunk(ref.digest, offset=start), self.blob.data[start : self._offset])


class Incoming:
    """A blob that is arriving, in a buffer that the owner provides; it outlives the socket that it came through.

    into: a writable view of `ref.nbytes` bytes. missing: the indices of the parts that are to come, where the buffer
    already holds the others; None: the whole blob is to come, from its first byte on. Where nothing is missing there
    is nothing to ask for: that is the owner's mistake (ValueError).
    """

    def __init__(self, ref: BlobRef, into: memoryview, missing: list[int] | None = None) -> None:
        if missing is not None and not missing:
            raise ValueError("no part is missing; a Need without parts would ask for the whole blob")
        self.ref = ref
        self.into = into
        self._missing = None if missing is None else dict.fromkeys(missing)
        self._offset = 0

    @property
    def complete(self) -> bool:
        """Whether every byte is here. Whether they are the right ones, `blobs.verify` tells."""
        return self._offset == self.ref.nbytes if self._missing is None else not self._missing

    def need(self) -> Need:
        """Asks for what has not arrived."""
        if self._missing is None:
            return Need(self.ref.digest, offset=self._offset)
        return Need(self.ref.digest, parts=list(self._missing))

    def write(self, chunk: Chunk, payload: bytes | memoryview) -> None:
        """Take one chunk. Raises ProtocolError where it is not one that was asked for."""
        view = memoryview(payload)
        if chunk.part is not None:
            if self._missing is None or chunk.part not in self._missing:
                raise self._unwanted(f"part {chunk.part}")
            part = part_at(chunk.part, self.ref.shape, self.ref.dtype)
            if len(view) != part.nbytes:
                raise self._unwanted(f"{len(view)} bytes for part {chunk.part}, which has {part.nbytes}")
            self.place(chunk.part, part, view)
            del self._missing[chunk.part]
            return
        if self._missing is not None or chunk.offset != self._offset or self._offset + len(view) > self.ref.nbytes:
            raise self._unwanted(f"{len(view)} bytes at {chunk.offset}")
        self.into[self._offset : self._offset + len(view)] = view
        self._offset += len(view)

    def place(self, index: int, part: Part, view: memoryview) -> None:
        """Lay one part's bytes, which were asked for and are as many as they should be, where they belong."""
        part.write(self.into, view)

    def _unwanted(self, what: str) -> ProtocolError:
        return ProtocolError(
            "unexpected_chunk",
            f"A chunk brings {what}; that was not asked for, or is here already.",
            "Send exactly what the last Need for this blob asked for, in order.",
            about=self.ref.digest.hex(),
        )


class SendQueue:
    """What waits to leave through one socket: control before progress and previews, those before payload.

    Its memory is bounded whatever the other side does: of progress and previews only the newest for each job is kept,
    payload frames are made when they are taken, and control messages past `max_control_bytes` overflow: the owner
    looks at `overflowed` in `on_ready` and closes the socket (the session, with all its results, stays).
    """

    def __init__(self, max_control_bytes: int = 4 << 20) -> None:
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._newest: dict[object, bytes] = {}
        self._bulk: deque[Outgoing] = deque()
        self._max_control_bytes = max_control_bytes
        #: Whether the other side has read so little for so long that this socket must be given up. It stays so:
        #: frames were dropped, and what came after them would not make sense without them.
        self.overflowed = False
        #: Called whenever something was added; the shell wakes its writer.
        self.on_ready: Callable[[], None] = lambda: None

    @property
    def nbytes(self) -> int:
        """The memory held by frames that wait (payloads are views of their blobs and cost nothing)."""
        return self._control_bytes + sum(map(len, self._newest.values()))

    def control(self, frame: bytes) -> None:
        """Add a frame that must arrive, in order with its like."""
        self.overflowed = self.overflowed or self._control_bytes + len(frame) > self._max_control_bytes
        if not self.overflowed:
            self._control.append(frame)
            self._control_bytes += len(frame)
        self.on_ready()

    def newest(self, key: object, frame: bytes) -> None:
        """Add a frame that a newer one with the same key replaces."""
        self._newest[key] = frame
        self.on_ready()

    def forget(self, key: object) -> None:
        """Drop the frame of that key; what it tells is no longer so."""
        self._newest.pop(key, None)

    def bulk(self, outgoing: Outgoing) -> None:
        """Add a blob's bytes; a second request for the same blob replaces the first."""
        others = [other for other in self._bulk if other.blob.ref.digest != outgoing.blob.ref.digest]
        self._bulk = deque([*others, outgoing])
        self.on_ready()

    def next_frame(self) -> bytes | None:
        """The frame that leaves next, or None when nothing waits."""
        if self._control:
            frame = self._control.popleft()
            self._control_bytes -= len(frame)
            return frame
        if self._newest:
            return self._newest.pop(next(iter(self._newest)))
        while self._bulk:
            outgoing = self._bulk.popleft()
            chunk = outgoing.next_frame()
            if chunk is not None:
                self._bulk.append(outgoing)  # each blob in turn
                return chunk
        return None
