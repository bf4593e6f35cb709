"""The jobs that are not delivered, in memory and in the journal alike, and the blobs that they hold.

The order in which things are written down and said is what keeps jobs from being lost or doubled:

- accepted: inputs on the disk → journal → `Accepted` is said.
- ended: results on the disk → journal → the end is said.
- delivered: the client acknowledges → journal → results may make room for others, the oldest first.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.codec import ProtocolError
from bridge_protocol.session import End, JobEvent
from server import thumbnails
from server.history import Painted, prompt_of
from server.journal import ENDED, Journal, Record
from server.store import BlobStore, StoreFull
from server.worker import Worker, Written

log = logging.getLogger("brushwire.ledger")
T = TypeVar("T")

#: Delivered jobs are remembered so that a job that is submitted again is known for what it is.
REMEMBER_SECONDS = 7 * 24 * 3600.0

Emit = Callable[[str, JobEvent, bytes], None]
Notice = Callable[[m.Activity], None]


@dataclass(eq=False)
class Job:
    """A job that is not delivered.

    saved: resolves when it is in the journal. attempts: how often its painting has begun; begun: whether the worker
    that has it said so. ending: why it is to be cancelled. running: the worker that has it. progress, preview: the
    newest of each, for those that begin to watch.
    """

    record: Record
    refs: list[BlobRef]
    saved: asyncio.Future[None]
    attempts: int = 0
    begun: bool = False
    ending: str = ""
    end: End | None = None
    running: Worker | None = None
    progress: m.Progress | None = None
    preview: tuple[m.Preview, bytes] | None = None

    def activity(self) -> m.Activity:
        """How it stands, for those that watch."""
        record, end = self.record, self.end
        states: dict[type, m.ActivityState] = {
            m.Result: "finished", m.Failed: "failed", m.Cancelled: "cancelled",
        }  # fmt: skip
        return m.Activity(
            0,
            record.id,
            states[type(end)] if end else "running" if self.running else "accepted",
            kind=record.kind,
            prompt=prompt_of(record.job)[:200],
            model=str(record.job.get("model", "")),
            priority=record.priority,
            created=record.created,
            sentence=end.sentence if isinstance(end, m.Failed) else "",
            remedy=end.remedy if isinstance(end, m.Failed) else "",
        )


class Ledger:
    """All jobs that are not delivered, by their ids, and the history of those that ended well.

    emit: tells a session an event. notice: tells those that watch what has become of a job.

    Journal and disk are touched on threads of the ledger's own; everything else belongs to one event loop.
    """

    def __init__(self, journal: Journal, store: BlobStore, emit: Emit, notice: Notice = lambda _activity: None) -> None:
        self._journal, self._store, self._emit, self.notice = journal, store, emit, notice
        self.jobs: dict[str, Job] = {}
        # SQLite's connection belongs to one thread; that thread also keeps the order of what is written.
        self._journal_thread = ThreadPoolExecutor(1, "journal")
        self._disk = ThreadPoolExecutor(4, "disk")
        # Apart from the disk's: no result waits for a small picture of another one.
        self._studio = ThreadPoolExecutor(1, "thumbnails")

    async def open(self) -> list[Job]:
        """Take up what an earlier run left behind; returns the jobs that have not ended. Their arrays are unknown."""
        await self._write(self._journal.prune, REMEMBER_SECONDS)
        gone = []
        for job_id, blobs in (await self._write(self._journal.history.digests)).items():
            if not self._store.keep(job_id, [digest for digest, made in blobs if made]):
                gone.append(job_id)
            self._store.keep(job_id, [digest for digest, made in blobs if not made])
        await self._remove_from_history(gone)
        for record in await self._write(self._journal.undelivered):
            saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            saved.set_result(None)
            job = self.jobs[record.id] = Job(record, [], saved, record.attempts)
            if record.state in ENDED:
                job.end = _end_from_plain(record)
                if isinstance(job.end, m.Result):
                    self._store.hold(_outputs(record.id), [output.blob.digest for output in job.end.outputs])
        return [job for job in self.jobs.values() if job.end is None]

    async def close(self) -> None:
        """No call may follow."""
        await self._write(self._journal.close)
        self._journal_thread.shutdown()
        self._disk.shutdown()
        self._studio.shutdown()

    # -- a job's way

    def hold(self, job_id: str, refs: list[BlobRef]) -> list[BlobRef]:
        """Keep a job's arrays until it has ended; returns those that are not here."""
        # Held before they are looked for: what is found cannot be evicted any more.
        self._store.hold(_inputs(job_id), [ref.digest for ref in refs])
        return [ref for ref in refs if not self._store.has(ref)]

    async def accept(self, job: Job) -> None:
        """Write a new job down. Raises ProtocolError where that cannot be done; then `forget` it.

        One that was written down before and forgotten nevertheless, since its acceptance broke off after that, is taken
        up where it stands.
        """
        job_id = job.record.id
        try:
            if job.record.priority != "live":  # a live job need not survive a loss of power
                await self._on_disk(self._store.sync, [ref.digest for ref in job.refs])
            created = await self._write_of(job, self._accepted, job.record)
        except (OSError, sqlite3.Error):
            log.exception("job %s cannot be written down", job_id)
            sentence, remedy = "The server cannot write the job down.", "Make room on its disk."
            raise ProtocolError("journal", sentence, remedy, retryable=True, about=job_id) from None
        job.record = replace(job.record, created=created)
        job.saved.set_result(None)

    def _accepted(self, record: Record) -> float:
        """On the journal's thread: write a job down, if it is not; returns when that was. Raises ProtocolError."""
        try:
            return self._journal.accept(record)
        except sqlite3.IntegrityError:
            there = self._journal.get(record.id)
        if there is None or there.state == "delivered":
            code, sentence = "already_delivered", "That job was delivered already."
        elif (there.kind, there.job) != (record.kind, record.job):
            code, sentence = "id_in_use", "Another job has that id."
        else:
            self._journal.move(record.id, record.session)
            return there.created
        raise ProtocolError(code, sentence, "Give each job an id of its own.", about=record.id)

    def forget(self, job_id: str) -> None:
        """A job that was not accepted was never here."""
        self._store.release(_inputs(job_id))
        job = self.jobs.pop(job_id, None)
        if job is not None:
            job.saved.set_exception(unknown_job(job_id))
            job.saved.exception()  # retrieved here: nobody may be waiting

    async def start(self, job: Job) -> None:
        """A worker gets it; this counts as an attempt until `put_back`. Need not be waited for."""
        job.attempts, job.begun = job.attempts + 1, False
        await self._write_of(job, self._journal.start, job.record.id)

    async def inputs(self, job: Job) -> dict[bytes, tuple[BlobRef, Path]] | None:
        """The files of its arrays; None where one is gone."""
        found = {}
        for ref in job.refs:
            if await self._on_disk(self._store.find, ref) is None:
                return None
            found[ref.digest] = (ref, self._store.path(ref.digest))
        return found

    def output_file(self, job: Job) -> Path:
        """Where a worker may write what the job makes, with numbers behind it."""
        return self._store.partial(_owner(job.record.id))

    async def keep(self, job: Job, outputs: list[Written]) -> list[m.Output]:
        """Take what a worker has written into the store. Raises StoreFull."""
        self._store.hold(_outputs(job.record.id), [written.ref.digest for written in outputs])
        for written in outputs:
            await self._on_disk(self._store.adopt, written.path, written.ref, written.part_digests)
        return [m.Output(written.name, written.ref, written.info) for written in outputs]

    async def sweep(self, job: Job) -> None:
        """Remove what a worker had begun to write of it."""
        await self._on_disk(self._store.sweep, _owner(job.record.id))

    async def restart(self, job: Job) -> None:
        """Its painting broke off and will begin anew; the attempt stays counted."""
        await self._write(self._journal.restart, job.record.id)

    async def put_back(self, job: Job) -> None:
        """Its painting broke off by no fault of its own; the attempt does not count."""
        job.attempts -= 1
        await self._write(self._journal.put_back, job.record.id)

    async def end(self, job: Job, end: End) -> None:
        """Write a job's last word down, and say it. A live job's is said first: it need not outlive this process."""
        record, painted = job.record, None
        if record.priority == "live":
            self._say(job, end)
        if isinstance(end, m.Result) and record.priority != "live":  # of those there are too many to look at again
            made = [output.blob for output in end.outputs]
            self._store.keep(record.id, [ref.digest for ref in (*made, *job.refs)])
            painted = Painted(record.id, record.kind, record.job, m.to_plain(end), record.created, made, job.refs)
        try:
            if painted is not None:
                await self._on_disk(self._store.sync, [ref.digest for ref in painted.outputs])
            state = {m.Result: "finished", m.Failed: "failed", m.Cancelled: "cancelled"}[type(end)]
            await self._write_of(job, self._journal.end, record.id, state, m.to_plain(end), painted)
        except Exception:  # whatever it is, the end is said
            # The client may still get what was painted; only a crash before it has would paint it again.
            log.exception("the end of job %s cannot be written down", record.id)
        if record.priority != "live":
            self._say(job, end)
        if isinstance(end, m.Result) and painted is not None:
            await self._illustrate(record.id, end)
        self.notice(job.activity())

    def _say(self, job: Job, end: End) -> None:
        job.end = end
        self._store.release(_inputs(job.record.id))
        self._emit(job.record.session, end, b"")

    async def deliver(self, job: Job) -> None:
        """Its client holds its end."""
        del self.jobs[job.record.id]
        await self._write_of(job, self._journal.deliver, job.record.id)
        self._store.release(_outputs(job.record.id))

    async def move(self, job: Job, session: str) -> None:
        """Its last word goes to another session."""
        job.record = replace(job.record, session=session)
        await self._write(self._journal.move, job.record.id, session)

    # -- the history

    async def search(self, query: m.Query) -> Any:
        """The history as a query narrows it, or one job of it. Raises ProtocolError where that is not there."""
        await self._tidy()
        if not query.job:
            found: Any = await self._write(self._journal.history.search, query)
            return {**found, "models": await self._write(self._journal.history.models)}
        found = await self._write(self._journal.history.get, query.job)
        if found is None:
            raise ProtocolError("unknown_job", "The history has no such job.", "List it.", about=str(query.id))
        return found

    async def erase(self, job_id: str) -> None:
        """Delete a job from the history, with what it made. Raises ProtocolError where it is not there.

        A client that has not fetched it yet still can.
        """
        if not await self._write(self._journal.history.remove, [job_id]):
            raise ProtocolError("unknown_job", "The history has no such job.", "List it.", about=job_id)
        await self._on_disk(self._store.drop_kept, job_id)
        self.notice(m.Activity(0, job_id, "forgotten"))

    async def painted(self, digest: bytes) -> BlobRef | None:
        """The blob of that digest, if the history speaks of it."""
        return await self._write(self._journal.history.blob, digest)

    async def _illustrate(self, job_id: str, result: m.Result) -> None:
        try:
            loop = asyncio.get_running_loop()
            small, shape = await loop.run_in_executor(self._studio, self._make_thumbnail, job_id, result)
            if small is not None:
                await self._write(self._journal.history.set_thumbnail, job_id, small, shape[1], shape[0])
            await self._tidy()
        except (OSError, StoreFull, sqlite3.Error):
            log.exception("job %s stays without a thumbnail", job_id)

    def _make_thumbnail(self, job_id: str, result: m.Result) -> tuple[BlobRef | None, tuple[int, ...]]:
        """On the thumbnails' thread: the first of a result's pictures made small."""
        for ref in (output.blob for output in result.outputs if len(output.blob.shape) > 1):
            blob = self._store.find(ref)
            picture = None if blob is None else thumbnails.encode(_array(blob), ref.color)
            if picture is not None:
                small = Blob.of(picture)
                self._store.put(small)
                self._store.keep(job_id, [small.ref.digest])
                return small.ref, ref.shape
        return None, ()

    async def _tidy(self) -> None:
        """Remove the entries of jobs whose blobs had to make room, and those beyond the bound."""
        await self._remove_from_history(self._store.take_given_up())
        await self._remove_from_history(await self._write(self._journal.history.overflow))

    async def _remove_from_history(self, job_ids: list[str]) -> None:
        if job_ids:
            await self._write(self._journal.history.remove, job_ids)
            for job_id in job_ids:
                await self._on_disk(self._store.drop_kept, job_id)
                self.notice(m.Activity(0, job_id, "forgotten"))

    # -- what is asked about jobs

    def of_session(self, session: str) -> list[Job]:
        """Those of one session, in the order in which they came."""
        return [job for job in self.jobs.values() if job.record.session == session]

    def ends_of(self, session: str) -> list[End]:
        """The last words that a session has not acknowledged."""
        return [job.end for job in self.of_session(session) if job.end is not None]

    def output(self, session: str, digest: bytes) -> BlobRef | None:
        """The blob of that digest, if it is a result that the session has not acknowledged."""
        for end in self.ends_of(session):
            for output in end.outputs if isinstance(end, m.Result) else ():
                if output.blob.digest == digest:
                    return output.blob
        return None

    def listing(self) -> list[dict[str, Any]]:
        """All of them, in the order in which they came, as plain values."""
        return [
            {
                "id": job_id,
                "kind": job.record.kind,
                "state": m.type_name(type(job.end)) if job.end else "running" if job.running else "accepted",
                "phase": job.progress.phase if job.progress else "queued",
                "priority": job.record.priority,
                "created": job.record.created,
                "prompt": prompt_of(job.record.job)[:80],
                "outputs": len(job.end.outputs) if isinstance(job.end, m.Result) else 0,
            }
            for job_id, job in self.jobs.items()
        ]

    # -- threads

    def _write(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._journal_thread, function, *args)

    def _write_of(self, job: Job, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        if job.record.priority == "live":  # it need not survive a loss of power, and nobody waits for the disk
            return self._write(self._journal.without_waiting, function, *args)
        return self._write(function, *args)

    def _on_disk(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._disk, function, *args)


def unknown_job(job_id: str) -> ProtocolError:
    """The answer to a client that speaks of a job that is not there, or not its own."""
    return ProtocolError(
        "unknown_job", "No such job of this session is waiting or running.", "List the jobs.", about=job_id
    )


def _array(blob: Blob) -> np.ndarray[Any, Any]:
    return np.frombuffer(blob.data, np.dtype(blob.ref.dtype).newbyteorder("<")).reshape(blob.ref.shape)


def _inputs(job_id: str) -> str:
    """Under which name a job's arrays are held in the store."""
    return f"in {job_id}"


def _outputs(job_id: str) -> str:
    return f"out {job_id}"


def _owner(job_id: str) -> str:
    """A job's id, which is any text of a client's, as a part of a file's name."""
    return hashlib.sha256(job_id.encode()).hexdigest()[:32]


def _end_from_plain(record: Record) -> End:
    end = m.from_plain(record.result)
    assert isinstance(end, m.TERMINAL)
    return end
