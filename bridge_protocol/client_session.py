"""The client's side of a session as a state machine: what its caller asks for, and what the socket brings.

See session.py for the order in which the two sides say things, and why nothing is lost or doubled by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from . import messages as m
from .answers import Pages
from .blobs import Blob, BlobRef
from .client_events import Connected, Event, Fetched, Finished, MapFile, PreviewPixels, Refused, Unfetched
from .codec import ProtocolError, decode
from .session import Session
from .transfer import Incoming, SendQueue

#: How many ended jobs are remembered, so that an end that is told twice is heard once.
MAX_ENDED = 10_000
#: How many blobs of the server's are remembered, so that they are offered by their names alone.
MAX_KNOWN = 4_096
#: How often a blob may arrive with wrong bytes, or be missing when its job is submitted, before that is an end.
MAX_BROKEN = 3


@dataclass
class _Pending:
    """A job that has not ended, with what is needed to say it again."""

    submit: m.Submit
    blobs: dict[bytes, Blob]
    state: Literal["offering", "submitted", "accepted"] = "offering"
    confirmed: set[bytes] = field(default_factory=set)
    said: bool = False  # the server may have heard of it
    cancel: bool = False
    missed: int = 0  # how often its blobs were gone again when it was submitted


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
        self._pages = Pages()
        self._pending: dict[str, _Pending] = {}
        #: Results whose blobs are still arriving, and the blobs that are here already.
        self._results: dict[str, m.Result] = {}
        self._fetched: dict[bytes, Blob] = {}
        self._broken: dict[bytes, int] = {}
        #: Blobs that were asked for by themselves.
        self._singles: dict[bytes, BlobRef] = {}
        #: Jobs that have ended, and whether their caller has acknowledged the end.
        self._ended: dict[str, bool] = {}
        #: Blobs that this run of the server has had, the oldest first.
        self._known: dict[bytes, None] = {}
        #: Other sessions' jobs that were asked for, until the server says something about them.
        self._claims: dict[str, None] = {}

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
        """End a job; said again until the job has ended. One that the server never heard of ends here and now.

        One that it may have heard of, but has not accepted, is not submitted again: the server ends it, or says that
        it does not know it.
        """
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
        if job_id in self._ended:
            self._ended[job_id] = True
        self.send(m.Ack(job_id))

    def claim(self, job_id: str) -> None:
        """Take over a job whose client is gone; said again after a reconnect until the server answers."""
        self._claims[job_id] = None
        self.send(m.Claim(job_id))

    def fetch(self, ref: BlobRef) -> list[Event]:
        """Ask for a blob that the history lists; it comes as `Fetched`, or not at all, as `Unfetched`."""
        if ref.digest in self._fetched:  # it belongs to a result whose other blobs are still arriving
            return [Fetched(self._fetched[ref.digest])]
        self._singles[ref.digest] = ref
        return self._fetch(ref) if self.ready else []

    def send(self, message: m.Message, payload: bytes | memoryview = b"") -> None:
        """Say something through the present socket; before the server has answered the Hello it is not said."""
        if self.ready:
            super().send(message, payload)

    # -- what the socket brings

    def connected(self) -> None:
        """A socket is open and attached: introduce ourselves."""
        self.ready = False
        self._pages.clear()
        super().send(m.Hello([m.VERSION], self._client, self._token, self.id))

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
        self._broken.pop(blob.ref.digest, None)
        if not self._wanted(blob.ref.digest):
            return []  # its result was given up meanwhile
        single = self._singles.pop(blob.ref.digest, None)
        events: list[Event] = [] if single is None else [Fetched(blob)]
        if not self._wanted(blob.ref.digest):
            return events
        self._fetched[blob.ref.digest] = blob
        return events + [event for result in list(self._results.values()) for event in self._finish_if_whole(result)]

    def arrived_broken(self, ref: BlobRef) -> list[Event]:
        """A blob's bytes were not the right ones: ask for it again; after three times its jobs have failed."""
        if not self._wanted(ref.digest):
            return []
        self._broken[ref.digest] = self._broken.get(ref.digest, 0) + 1
        if self._broken[ref.digest] >= MAX_BROKEN:
            del self._broken[ref.digest]
            sentence = f"A result arrived broken {MAX_BROKEN} times."
            return self._lose(ref.digest, m.Error("blob_broken", sentence, "Run the job again.", retryable=True))
        return self._fetch(ref)

    def _on_welcome(self, welcome: m.Welcome, _payload: object) -> list[Event]:
        if welcome.version != m.VERSION:
            raise ProtocolError("unknown_version", f"The server wants to speak version {welcome.version}.")
        if welcome.epoch != self._epoch:
            self._known.clear()
        if not welcome.resumed:
            # Such a server has never heard of our jobs, nor of what they made: they are all said again.
            for gone in (self._results, self._fetched, self._broken, self.incoming):
                gone.clear()
        self.id, self._epoch, self.ready = welcome.session, welcome.epoch, True
        for job_id, job in list(self._pending.items()):
            if job.cancel:
                self.send(m.Cancel(job_id))
            elif job_id not in self._results and (job.state != "accepted" or not welcome.resumed):
                self._offer(job)
        for job_id in self._claims:
            self.send(m.Claim(job_id))
        self._asked.clear()  # what a server told before its Welcome could not be asked for
        for incoming in list(self.incoming.values()):
            self.begin(incoming)
        events: list[Event] = [Connected(welcome)]
        for ref in list(self._singles.values()):
            events += self._fetch(ref)
        return events

    def _on_have(self, have: m.Have, _payload: object) -> list[Event]:
        self._known.pop(have.digest, None)
        self._known[have.digest] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        for job in list(self._pending.values()):
            if job.state == "offering" and have.digest in job.blobs:
                job.confirmed.add(have.digest)
                self._submit_if_ready(job)
        return []

    def _on_need(self, need: m.Need, _payload: object) -> list[Event]:
        blob = next((job.blobs[need.digest] for job in self._pending.values() if need.digest in job.blobs), None)
        if blob is None:  # its job has ended meanwhile; the server must not wait for what will not come
            sentence = "That blob is not here any more."
            self.send(m.Error("blob_gone", sentence, "Forget it.", about=need.digest.hex()))
            return []
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
        self._claims.pop(accepted.id, None)
        return [] if accepted.id in self._ended else [accepted]

    def _on_plain(self, message: Event, _payload: object) -> list[Event]:
        return [message]

    def _on_answer(self, answer: m.Answer, payload: bytes | memoryview) -> list[Event]:
        whole = self._pages.take(answer, payload)
        return [] if whole is None else [whole]

    def _on_progress(self, progress: m.Progress, _payload: object) -> list[Event]:
        return [] if progress.id in self._ended else [progress]

    def _on_preview(self, preview: m.Preview, payload: bytes | memoryview) -> list[Event]:
        if preview.id in self._ended:
            return []
        if len(payload) != preview.width * preview.height * preview.channels:
            raise ProtocolError("bad_preview", "A preview's payload is not as large as its width and height say.")
        return [PreviewPixels(preview, bytes(payload))]

    def _on_result(self, result: m.Result, _payload: object) -> list[Event]:
        if self._heard_before(result.id):
            return []
        self._results[result.id] = result
        for output in result.outputs:
            lost = self._fetch(output.blob)
            if lost:
                return lost
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
        self._claims.pop(error.about, None)
        job = self._pending.get(error.about)
        if error.code == "unknown_job" and (job.cancel if job else error.about in self._ended):
            return self._end(error.about, m.Cancelled(0, error.about)) if job else []
        if job is not None and job.state != "accepted":
            if error.code == "blob_missing" and job.missed < MAX_BROKEN:
                if not job.cancel:  # evicted between Have and Submit: once more from the start
                    job.missed += 1
                    for digest in job.blobs:
                        self._known.pop(digest, None)
                    self._offer(job)
                return []
            return [self._refuse(error.about, error)]
        incoming = self.stop_about(error)
        if incoming is not None:
            return self._lose(incoming.ref.digest, error)
        offering = [
            job_id
            for job_id, job in self._pending.items()
            if job.state == "offering" and any(error.about == digest.hex() for digest in job.blobs)
        ]
        return [self._refuse(job_id, error) for job_id in offering] or [error]

    _HANDLERS: ClassVar[dict[type, Callable[..., list[Event]]]] = {
        m.Welcome: _on_welcome, m.Have: _on_have, m.Need: _on_need, m.Accepted: _on_accepted, m.Progress: _on_progress,
        m.Activity: _on_plain, m.Answer: _on_answer, m.Pong: _on_plain, m.LaneReady: _on_plain, m.Release: _on_plain,
        m.Preview: _on_preview, m.Result: _on_result, m.Failed: _on_end, m.Cancelled: _on_end, m.Chunk: _on_chunk,
        m.Mapped: _on_mapped, m.Error: _on_error,
    }  # fmt: skip

    # -- a job's way from offer to end

    def _offer(self, job: _Pending) -> None:
        job.state, job.confirmed = "offering", set()
        for digest, blob in job.blobs.items():
            # A blob that the server had a moment ago is named alone: a few bytes instead of a list of digests.
            self.send(m.Offer(blob.ref), b"" if digest in self._known else blob.part_digests)
        self._submit_if_ready(job)

    def _submit_if_ready(self, job: _Pending) -> None:
        if job.confirmed == set(job.blobs) and not job.cancel:
            job.state, job.said = "submitted", True
            self.send(job.submit)

    def _refuse(self, job_id: str, error: m.Error) -> Event:
        job = self._pending.pop(job_id)
        if job.said:
            # Its Accepted may have been lost with a socket: then it runs, and its end is not for the caller.
            self.send(m.Cancel(job_id))
        self._end(job_id, error)
        self._ended[job_id] = True
        return Refused(job_id, error)

    def _fetch(self, ref: BlobRef) -> list[Event]:
        if ref.digest not in self._fetched and ref.digest not in self.incoming:
            try:
                into = memoryview(bytearray(ref.nbytes))
            except MemoryError:
                sentence = f"There is no memory for a result of {ref.nbytes >> 20} MiB."
                remedy = "Close what you do not need, and take it out of the history."
                return self._lose(ref.digest, m.Error("no_memory", sentence, remedy))
            self.begin(Incoming(ref, into))
        return []

    def _wanted(self, digest: bytes) -> bool:
        return digest in self._singles or any(
            output.blob.digest == digest for result in self._results.values() for output in result.outputs
        )

    def _heard_before(self, job_id: str) -> bool:
        """An end that is told again: acknowledge it again if our acknowledgement may be lost, else the caller will."""
        if self._ended.get(job_id):
            self.acknowledge(job_id)
        return job_id in self._ended or job_id in self._results

    def _finish_if_whole(self, result: m.Result) -> list[Event]:
        digests = {output.blob.digest for output in result.outputs}
        if not digests <= self._fetched.keys():
            return []
        finished = Finished(result, {digest: self._fetched[digest] for digest in digests})
        del self._results[result.id]
        for digest in digests:
            if not self._wanted(digest):
                del self._fetched[digest]
        return self._end(result.id, finished)

    def _lose(self, digest: bytes, error: m.Error) -> list[Event]:
        """A result's blob cannot be had any more: its jobs have failed, and that is said."""
        single = self._singles.pop(digest, None)
        events: list[Event] = [] if single is None else [Unfetched(digest, error)]
        for result in list(self._results.values()):
            if any(output.blob.digest == digest for output in result.outputs):
                del self._results[result.id]
                failed = m.Failed(result.seq, result.id, error.code, error.sentence, error.remedy, error.retryable)
                events += self._end(result.id, failed)
        for other in [other for other in self._fetched if not self._wanted(other)]:
            del self._fetched[other]
        return events

    def _end(self, job_id: str, event: Event) -> list[Event]:
        self._pending.pop(job_id, None)
        self._claims.pop(job_id, None)
        self._ended[job_id] = False
        while len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        return [event]
