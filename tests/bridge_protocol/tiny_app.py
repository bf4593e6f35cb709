"""A server without sockets, devices or disks, that keeps the whole protocol: for tests, and to read as an example.

Its journal and its store outlive `restart`, as a real server's do; everything else is lost by it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bridge_protocol import codec
from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob, InvalidBlob, changed_parts, verify
from bridge_protocol.codec import ProtocolError
from bridge_protocol.jobs import job_from_plain, schema
from bridge_protocol.lanes import SharedFolder
from bridge_protocol.records import InvalidValue, blob_refs
from bridge_protocol.session import Abandoned, Arrived, End, Offered, ServerSession
from bridge_protocol.transfer import Incoming, SendQueue


@dataclass
class Entry:
    """A job as the journal knows it."""

    submit: m.Submit
    session: str
    end: End | None = None
    delivered: bool = False


@dataclass
class TinyApp:
    """token: what a Hello must bring, if it is to bring one. shares: whether it offers the shared folder."""

    token: str | None = None
    shares: bool = False
    journal: dict[str, Entry] = field(default_factory=dict)
    store: dict[bytes, Blob] = field(default_factory=dict)
    sessions: dict[str, ServerSession] = field(default_factory=dict)
    folders: dict[str, SharedFolder] = field(default_factory=dict)
    #: The sessions whose clients have shown that they see the shared folder.
    proven: set[str] = field(default_factory=set)
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    #: Told the id of each job that is accepted; what ends the job is the test's affair (`finish`, `fail`, `progress`).
    on_accepted: Callable[[str], None] = lambda _job_id: None

    def restart(self) -> None:
        """The process is killed and started again. Sockets that are open belong to nobody."""
        self.close()
        self.sessions.clear()
        self.epoch = secrets.token_hex(8)

    def close(self) -> None:
        """Remove the shared folders."""
        for folder in self.folders.values():
            folder.close(remove=True)
        self.folders.clear()

    @property
    def running(self) -> list[str]:
        """The ids of the jobs that have not ended."""
        return [job_id for job_id, entry in self.journal.items() if entry.end is None]

    # -- what becomes of jobs

    def progress(self, job_id: str, step: int) -> None:
        """Tell how far a job is, with a preview."""
        session = self.sessions.get(self.journal[job_id].session)
        if session is not None:
            session.emit(m.Progress(0, job_id, "sampling", step, 10))
            session.emit(m.Preview(0, job_id, step, 2, 1), bytes([step % 256] * 6))

    def finish(self, job_id: str) -> None:
        """The picture of a job is its own image, or, without one, its id."""
        entry = self.journal[job_id]
        job = job_from_plain(entry.submit.kind, entry.submit.job)
        blob = self.store[job.image.digest] if job.image is not None else Blob.of(picture_of(job_id))
        self.store[blob.ref.digest] = blob
        self.end(job_id, m.Result(0, job_id, [m.Output("image", blob.ref)], {"steps": job.steps}))

    def fail(self, job_id: str) -> None:
        """End a job with a failure."""
        self.end(job_id, m.Failed(0, job_id, "broken", "It broke.", "Try again.", True))

    def end(self, job_id: str, end: End) -> None:
        """Write a job's last word down, then say it."""
        entry = self.journal[job_id]
        if entry.end is None:
            entry.end = end
            if entry.session in self.sessions:
                self.sessions[entry.session].emit(end)

    def evict(self, digest: bytes) -> None:
        """Drop a blob, unless a job that has not ended, or a result that is not delivered, needs it."""
        for entry in self.journal.values():
            if not entry.delivered and digest in {ref.digest for ref in _refs(entry)}:
                return
        self.store.pop(digest, None)

    # -- what a session's client says

    def resume(self, hello: m.Hello) -> tuple[ServerSession, bool]:
        """The session that a Hello asks for, if this server or its journal knows it; else a new one."""
        wanted = hello.session
        if wanted is not None and wanted in self.sessions:
            return self.sessions[wanted], True
        mine = {job_id: entry for job_id, entry in self.journal.items() if entry.session == wanted}
        session = ServerSession(wanted if wanted and mine else secrets.token_hex(16), self.epoch)
        self.sessions[session.id] = session
        for entry in mine.values():
            if entry.end is not None and not entry.delivered:
                session.emit(entry.end)
        return session, bool(mine)

    def hear(self, session: ServerSession, said: m.Message | Offered | Arrived | Abandoned) -> None:
        """Act on what `ServerSession.receive` gave."""
        act = _HEAR.get(type(said))
        if act is None:
            raise ProtocolError("unexpected_message", f"Not now: {type(said).__name__}.")
        act(self, session, said)

    def _offered(self, session: ServerSession, offered: Offered) -> None:
        ref = offered.ref
        if ref.digest in self.store:
            session.send(m.Have(ref.digest))
            return
        if ref.digest in session.incoming:
            session.begin(session.incoming[ref.digest])
            return
        into, missing = bytearray(ref.nbytes), None
        for old in self.store.values():
            if offered.part_digests and (old.ref.shape, old.ref.dtype) == (ref.shape, ref.dtype):
                into[:] = old.data
                missing = changed_parts(old.part_digests, offered.part_digests)
                break
        if missing == []:
            self._take(session, ref, memoryview(into))
        else:
            session.begin(Incoming(ref, memoryview(into), missing))

    def _arrived(self, session: ServerSession, arrived: Arrived) -> None:
        self._take(session, arrived.incoming.ref, arrived.incoming.into)

    def _take(self, session: ServerSession, ref: Any, data: memoryview) -> None:
        try:
            self.store[ref.digest] = verify(ref, data)
        except InvalidBlob as error:
            session.send(m.Error("blob_broken", str(error), "Send it again.", True, ref.digest.hex()))
        else:
            session.send(m.Have(ref.digest))

    def _mapped(self, session: ServerSession, mapped: m.Mapped) -> None:
        incoming = session.stop(mapped.digest)
        if incoming is not None:
            self.folders[session.id].read_into(mapped.file, incoming.into)
            self._take(session, incoming.ref, incoming.into)
        session.send(m.Release(mapped.file))

    def _need(self, session: ServerSession, need: m.Need) -> None:
        blob = self.store.get(need.digest)
        if blob is None:
            raise ProtocolError("blob_gone", "That blob is not here.", about=need.digest.hex())
        folder = self.folders.get(session.id) if session.id in self.proven else None
        file = folder.put(blob.data) if folder is not None and not need.offset and not need.parts else None
        if file is not None:
            session.send(m.Mapped(need.digest, file))
        else:
            session.serve(need, blob)

    def _release(self, session: ServerSession, release: m.Release) -> None:
        if session.id in self.folders:
            self.folders[session.id].released(release.file)

    def _submit(self, session: ServerSession, submit: m.Submit) -> None:
        entry = self.journal.get(submit.id)
        if entry is None:
            try:
                job = job_from_plain(submit.kind, submit.job)
            except InvalidValue as error:
                raise ProtocolError(
                    "invalid_value", str(error), error.remedy, about=submit.id, field=error.field
                ) from None
            if any(ref.digest not in self.store for ref in blob_refs(job)):
                raise ProtocolError("blob_missing", "Its blobs are gone.", "Offer them again.", about=submit.id)
            entry = self.journal[submit.id] = Entry(submit, session.id)
            for other_id, other in self.journal.items():
                same_slot = (other.session, other.submit.slot) == (session.id, submit.slot)
                if same_slot and submit.priority == other.submit.priority == "live" and other_id != submit.id:
                    self.end(other_id, m.Cancelled(0, other_id, "replaced"))
        entry.session = session.id
        session.emit(m.Accepted(0, submit.id))
        if entry.end is None:
            self.on_accepted(submit.id)
        elif not entry.delivered:
            session.emit(entry.end)

    def _cancel(self, _session: ServerSession, cancel: m.Cancel) -> None:
        if cancel.id not in self.journal:
            raise ProtocolError("unknown_job", "There is no such job.", about=cancel.id)
        self.end(cancel.id, m.Cancelled(0, cancel.id))

    def _ack(self, session: ServerSession, ack: m.Ack) -> None:
        session.acknowledge(ack.id)
        entry = self.journal.get(ack.id)
        if entry is not None and entry.end is not None:
            entry.delivered = True

    def _claim(self, session: ServerSession, claim: m.Claim) -> None:
        entry = self.journal.get(claim.id)
        if entry is None or entry.delivered:
            raise ProtocolError("unknown_job", "There is no such job.", about=claim.id)
        entry.session = session.id
        session.emit(entry.end or m.Accepted(0, claim.id))

    def _query(self, session: ServerSession, query: m.Query) -> None:
        lists: dict[str, Any] = {"schema": schema(), "jobs": self.running, "models": [], "status": {"ok": True}}
        session.answer(query.id, lists.get(query.what, []))

    def _proof(self, session: ServerSession, proof: m.LaneProof) -> None:
        folder = self.folders.get(session.id)
        if folder is not None and folder.read_probe(proof.probe) == proof.written:
            self.proven.add(session.id)
            session.send(m.LaneReady())

    def _error(self, _session: ServerSession, _error: m.Error | Abandoned) -> None:
        """A client's error needs no answer."""


_HEAR: dict[type, Callable[..., None]] = {
    Offered: TinyApp._offered, Arrived: TinyApp._arrived, Abandoned: TinyApp._error, m.Error: TinyApp._error,
    m.Mapped: TinyApp._mapped, m.Need: TinyApp._need, m.Release: TinyApp._release, m.Submit: TinyApp._submit,
    m.Cancel: TinyApp._cancel, m.Ack: TinyApp._ack, m.Claim: TinyApp._claim, m.Query: TinyApp._query,
    m.LaneProof: TinyApp._proof,
}  # fmt: skip


class Socket:
    """The server's end of one socket: Hello first, then the session's conversation."""

    def __init__(self, app: TinyApp) -> None:
        self.app = app
        self.session: ServerSession | None = None
        self.queue: SendQueue | None = None
        #: What is said to a client that has no session yet.
        self.refusals: list[bytes] = []

    @property
    def current(self) -> bool:
        """Whether this socket still carries its session; another one may have taken its place."""
        return self.session is None or (
            self.session.queue is self.queue and self.app.sessions.get(self.session.id) is self.session
        )

    def receive(self, data: bytes) -> bool:
        """Hear one frame; False where the socket is to be closed."""
        if not self.current:
            return False
        try:
            if self.session is None:
                self._hello(codec.decode(data).message)
            else:
                for said in self.session.receive(data):
                    self.app.hear(self.session, said)
        except ProtocolError as error:
            self.send_error(error)
            return self.session is not None
        return True

    def send_error(self, error: ProtocolError) -> None:
        """Tell what was wrong."""
        if self.session is not None:
            self.session.send(error.message())
        else:
            self.refusals.append(codec.encode(error.message()))

    def close(self) -> None:
        """The socket is gone."""
        if self.session is not None and self.queue is not None:
            self.session.detach(self.queue)

    def _hello(self, hello: m.Message) -> None:
        if not isinstance(hello, m.Hello):
            raise ProtocolError("hello_first", "The first message is Hello.")
        if m.VERSION not in hello.versions:
            raise ProtocolError("unknown_version", "This server speaks version 1.", "Update the older one.")
        if self.app.token is not None and not secrets.compare_digest(hello.token or "", self.app.token):
            raise ProtocolError("unauthorized", "That is not the token.", "Read it from the runtime folder.")
        self.session, resumed = self.app.resume(hello)
        self.queue = self.session.attach()
        folder = probe = None
        self.app.proven.discard(self.session.id)
        if self.app.shares:
            shared = self.app.folders.setdefault(self.session.id, SharedFolder.create())
            folder, probe = str(shared.path), shared.write_probe()[0]
        self.session.send(m.Welcome(m.VERSION, self.session.id, self.app.epoch, "tiny", resumed, folder, probe))
        self.session.resume()


def picture_of(job_id: str) -> bytes:
    """What `TinyApp.finish` makes of a job without an image."""
    return job_id.encode() * 50


def _refs(entry: Entry) -> list[Any]:
    outputs = [output.blob for output in entry.end.outputs] if isinstance(entry.end, m.Result) else []
    return outputs + (blob_refs(job_from_plain(entry.submit.kind, entry.submit.job)) if entry.end is None else [])
