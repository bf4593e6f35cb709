"""The client's side of a session as a state machine: what its caller asks for, and what the socket brings.

See session.py for the order in which the two sides say things, and why nothing is lost or doubled by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Union

from . import messages as m
from .blobs import Blob, BlobRef
from .codec import ProtocolError, decode
from .session import Arrived, Session
from .transfer import Incoming, SendQueue

#: How many ended jobs are remembered, so that an end that is told twice is heard once.
MAX_ENDED = 10_000
#: How often a blob may arrive with wrong bytes before that is an end of its own.
MAX_BROKEN = 3


@dataclass(frozen=True)
class Connected:
    """The server has answered; `welcome.resumed` tells whether it knows the session still."""

    welcome: m.Welcome


@dataclass(frozen=True)
class PreviewPixels:
    """A preview with its uint8 sRGB pixels, `height × width × channels` bytes."""

    preview: m.Preview
    pixels: bytes


@dataclass(frozen=True)
class Finished:
    """A job has ended well, and all that it made is here: its blobs by their digests."""

    result: m.Result
    blobs: dict[bytes, Blob]


@dataclass(frozen=True)
class Refused:
    """The server did not take a job; nothing of it runs."""

    id: str
    error: m.Error


@dataclass(frozen=True)
class MapFile:
    """A blob lies in the shared folder: the shell maps it, verifies it, and calls `arrived` or `arrived_broken`."""

    ref: BlobRef
    file: str


Event = Union[  # noqa: UP007 - Python 3.10
    Connected, m.Accepted, m.Progress, PreviewPixels, Finished, m.Failed, m.Cancelled, Refused,
    m.Answer, m.Pong, m.Error, m.LaneReady, m.Release, Arrived, MapFile,
]  # fmt: skip


@dataclass
class _Pending:
    """A job that has not ended, with what is needed to say it again."""

    submit: m.Submit
    blobs: dict[bytes, Blob]
    state: Literal["offering", "submitted", "accepted"] = "offering"
    confirmed: set[bytes] = field(default_factory=set)
    said: bool = False  # the server may have heard of it
    cancel: bool = False


class ClientSession(Session):
    """The client's side of one session.

    client: its name, for people to read. token: only for hosts that cannot send it as a header. session: an id from
    an earlier run of the host, to come back to.
    """

    def __init__(self, client: str = "", token: str | None = None, session: str | None = None) -> None:
        super().__init__()
        self.id = session
        #: Whether the server has answered through the present socket.
        self.ready = False
        #: Puts a blob into the shared folder and returns the file's name; None: it goes inline.
        self.put: Callable[[Blob], str | None] = lambda _blob: None
        self._client, self._token = client, token
        self._epoch: str | None = None
        self._pending: dict[str, _Pending] = {}
        #: Results whose blobs are still arriving, and the blobs that are here already.
        self._results: dict[str, m.Result] = {}
        self._fetched: dict[bytes, Blob] = {}
        self._broken: dict[bytes, int] = {}
        #: Jobs that have ended, and whether their caller has acknowledged the end.
        self._ended: dict[str, bool] = {}
        #: Blobs that this run of the server has had.
        self._known: set[bytes] = set()

    @property
    def pending(self) -> list[str]:
        """The ids of the jobs that have not ended."""
        return list(self._pending)

    # -- what the caller asks for

    def submit(self, submit: m.Submit, blobs: list[Blob]) -> None:
        """Ask for a job; it is said as soon as the server has its blobs, and said again after a reconnect."""
        job = _Pending(submit, {blob.ref.digest: blob for blob in blobs})
        self._pending[submit.id] = job
        if self.ready:
            self._offer(job)

    def cancel(self, job_id: str) -> list[Event]:
        """End a job; said again until the job has ended. One that the server never heard of ends here and now."""
        job = self._pending.get(job_id)
        if job is None:
            return []
        if not job.said:
            return self._end(job_id, m.Cancelled(0, job_id))
        job.cancel = True
        self.send(m.Cancel(job_id))
        return []

    def acknowledge(self, job_id: str) -> None:
        """The caller holds that job's end; the server may forget it."""
        self._ended[job_id] = True
        self.send(m.Ack(job_id))

    # -- what the socket brings

    def connected(self) -> None:
        """A socket is open and attached: introduce ourselves."""
        self.ready = False
        self.send(m.Hello([m.VERSION], self._client, self._token, self.id))

    def disconnected(self, queue: SendQueue) -> None:
        """The socket of that queue is gone; everything that was not finished waits for the next one."""
        if self.detach(queue):
            self.ready = False

    def receive(self, data: bytes | memoryview) -> list[Event]:
        """What a frame means for the caller. Raises ProtocolError where the server does not speak this protocol."""
        frame = decode(data)
        handler = self._HANDLERS.get(type(frame.message))
        if handler is None:
            raise ProtocolError("unexpected_message", f"A server does not say {m.type_name(type(frame.message))}.")
        return handler(self, frame.message, frame.payload)

    def arrived(self, blob: Blob) -> list[Event]:
        """A blob of a result is here and verified."""
        self._fetched[blob.ref.digest] = blob
        return [event for result in list(self._results.values()) for event in self._finish_if_whole(result)]

    def arrived_broken(self, ref: BlobRef) -> list[Event]:
        """A blob's bytes were not the right ones: ask for it again; after three times its jobs have failed."""
        self._broken[ref.digest] = self._broken.get(ref.digest, 0) + 1
        if self._broken[ref.digest] >= MAX_BROKEN:
            sentence = f"A result arrived broken {MAX_BROKEN} times."
            return self._lose(ref.digest, m.Error("blob_broken", sentence, "Run the job again.", retryable=True))
        self.begin(Incoming(ref, memoryview(bytearray(ref.nbytes))))
        return []

    def _on_welcome(self, welcome: m.Welcome, _payload: object) -> list[Event]:
        if welcome.epoch != self._epoch:
            self._known.clear()
        self.id, self._epoch, self.ready = welcome.session, welcome.epoch, True
        for job in list(self._pending.values()):
            # A server that does not know the session has never heard of its jobs: they are all said again.
            if job.state != "accepted" or not welcome.resumed:
                self._offer(job)
            elif job.cancel:
                self.send(m.Cancel(job.submit.id))
        for incoming in list(self.incoming.values()):
            self.begin(incoming)
        return [Connected(welcome)]

    def _on_have(self, have: m.Have, _payload: object) -> list[Event]:
        self._known.add(have.digest)
        for job in list(self._pending.values()):
            if job.state == "offering" and have.digest in job.blobs:
                job.confirmed.add(have.digest)
                self._submit_if_ready(job)
        return []

    def _on_need(self, need: m.Need, _payload: object) -> list[Event]:
        blob = next((job.blobs[need.digest] for job in self._pending.values() if need.digest in job.blobs), None)
        if blob is None:
            return []  # its job was cancelled meanwhile
        whole = need.offset == 0 and not need.parts
        file = self.put(blob) if whole else None
        if file is not None:
            self.send(m.Mapped(need.digest, file))
        else:
            self.serve(need, blob)
        return []

    def _on_accepted(self, accepted: m.Accepted, _payload: object) -> list[Event]:
        job = self._pending.get(accepted.id)
        if job is not None:
            job.state = "accepted"
            if job.cancel:
                self.send(m.Cancel(accepted.id))  # the first one may have come before the job
        return [accepted]

    def _on_plain(self, message: Event, _payload: object) -> list[Event]:
        return [message]

    def _on_preview(self, preview: m.Preview, payload: bytes | memoryview) -> list[Event]:
        if len(payload) != preview.width * preview.height * preview.channels:
            raise ProtocolError("bad_preview", "A preview's payload is not as large as its width and height say.")
        return [PreviewPixels(preview, bytes(payload))]

    def _on_result(self, result: m.Result, _payload: object) -> list[Event]:
        if self._heard_before(result.id):
            return []
        self._results[result.id] = result
        for output in result.outputs:
            if output.blob.digest not in self._fetched:
                self.begin(Incoming(output.blob, memoryview(bytearray(output.blob.nbytes))))
        return self._finish_if_whole(result)

    def _on_end(self, end: m.Failed | m.Cancelled, _payload: object) -> list[Event]:
        return [] if self._heard_before(end.id) else self._end(end.id, end)

    def _on_chunk(self, chunk: m.Chunk, payload: bytes | memoryview) -> list[Event]:
        return list(self.take_chunk(chunk, payload))

    def _on_mapped(self, mapped: m.Mapped, _payload: object) -> list[Event]:
        incoming = self.stop(mapped.digest)
        if incoming is None:
            self.send(m.Release(mapped.file))
            return []
        return [MapFile(incoming.ref, mapped.file)]

    def _on_error(self, error: m.Error, _payload: object) -> list[Event]:
        job = self._pending.get(error.about)
        if job is not None and job.state != "accepted":
            if error.code == "blob_missing":
                self._known -= set(job.blobs)  # evicted between Have and Submit: once more from the start
                self._offer(job)
                return []
            return [self._refuse(error.about, error)]
        if any(error.about == digest.hex() for digest in self.incoming):
            return self._lose(bytes.fromhex(error.about), error)
        offering = [
            job_id
            for job_id, job in self._pending.items()
            if job.state == "offering" and any(error.about == digest.hex() for digest in job.blobs)
        ]
        return [self._refuse(job_id, error) for job_id in offering] or [error]

    _HANDLERS: ClassVar[dict[type, Callable[..., list[Event]]]] = {
        m.Welcome: _on_welcome, m.Have: _on_have, m.Need: _on_need, m.Accepted: _on_accepted, m.Progress: _on_plain,
        m.Answer: _on_plain, m.Pong: _on_plain, m.LaneReady: _on_plain, m.Release: _on_plain, m.Preview: _on_preview,
        m.Result: _on_result, m.Failed: _on_end, m.Cancelled: _on_end, m.Chunk: _on_chunk, m.Mapped: _on_mapped,
        m.Error: _on_error,
    }  # fmt: skip

    # -- a job's way from offer to end

    def _offer(self, job: _Pending) -> None:
        job.state, job.confirmed = "offering", set()
        for digest, blob in job.blobs.items():
            # A blob that the server had a moment ago is named alone: a few bytes instead of a list of digests.
            self.send(m.Offer(blob.ref), b"" if digest in self._known else blob.part_digests)
        self._submit_if_ready(job)

    def _submit_if_ready(self, job: _Pending) -> None:
        if job.confirmed == set(job.blobs):
            job.state, job.said = "submitted", True
            self.send(job.submit)

    def _refuse(self, job_id: str, error: m.Error) -> Event:
        del self._pending[job_id]
        return Refused(job_id, error)

    def _heard_before(self, job_id: str) -> bool:
        """An end that is told again: acknowledge it again if our acknowledgement may be lost, else the caller will."""
        if self._ended.get(job_id):
            self.acknowledge(job_id)
        return job_id in self._ended or job_id in self._results

    def _finish_if_whole(self, result: m.Result) -> list[Event]:
        digests = {output.blob.digest for output in result.outputs}
        if not digests <= set(self._fetched):
            return []
        finished = Finished(result, {digest: self._fetched[digest] for digest in digests})
        del self._results[result.id]
        still_wanted = {output.blob.digest for other in self._results.values() for output in other.outputs}
        for digest in digests - still_wanted:
            del self._fetched[digest]
        return self._end(result.id, finished)

    def _lose(self, digest: bytes, error: m.Error) -> list[Event]:
        """A result's blob cannot be had any more: its jobs have failed, and that is said."""
        self.stop(digest)
        events: list[Event] = []
        for result in list(self._results.values()):
            if any(output.blob.digest == digest for output in result.outputs):
                del self._results[result.id]
                failed = m.Failed(result.seq, result.id, error.code, error.sentence, error.remedy, error.retryable)
                events += self._end(result.id, failed)
        return events

    def _end(self, job_id: str, event: Event) -> list[Event]:
        self._pending.pop(job_id, None)
        self._ended[job_id] = False
        while len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        return [event]
