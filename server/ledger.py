"""The jobs that are not delivered, in memory and in the journal alike, and the blobs that they hold.

The order in which things are written down and said is what keeps jobs from being lost or doubled:

- accepted: inputs on the disk → journal → `Accepted` is said.
- ended: results on the disk → journal → the end is said.
- delivered: the client acknowledges → journal → results may make room for others.
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

from bridge_protocol import messages as m
from bridge_protocol.blobs import BlobRef
from bridge_protocol.codec import ProtocolError
from bridge_protocol.session import End, JobEvent
from server.journal import ENDED, Journal, Record
from server.store import BlobStore
from server.worker import Worker, Written

log = logging.getLogger("brushwire.ledger")
T = TypeVar("T")

#: Delivered jobs are remembered so that a job that is submitted again is known for what it is.
REMEMBER_SECONDS = 7 * 24 * 3600.0

Emit = Callable[[str, JobEvent, bytes], None]


@dataclass(eq=False)
class Job:
    """A job that is not delivered.

    saved: resolves when it is in the journal. attempts: how often its painting has begun; begun: whether the worker
    that has it said so. ending: why it is to be cancelled. running: the worker that has it. phase: for lists.
    """

    record: Record
    refs: list[BlobRef]
    saved: asyncio.Future[None]
    attempts: int = 0
    begun: bool = False
    ending: str = ""
    end: End | None = None
    running: Worker | None = None
    phase: str = "queued"


class Ledger:
    """All jobs that are not delivered, by their ids. emit: tells a session an event.

    Journal and disk are touched on threads of the ledger's own; everything else belongs to one event loop.
    """

    def __init__(self, journal: Journal, store: BlobStore, emit: Emit) -> None:
        self._journal, self._store, self._emit = journal, store, emit
        self.jobs: dict[str, Job] = {}
        # SQLite's connection belongs to one thread; that thread also keeps the order of what is written.
        self._journal_thread = ThreadPoolExecutor(1, "journal")
        self._disk = ThreadPoolExecutor(4, "disk")

    async def open(self) -> list[Job]:
        """Take up what an earlier run left behind; returns the jobs that have not ended. Their arrays are unknown."""
        await self._write(self._journal.prune, REMEMBER_SECONDS)
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

    # -- a job's way

    def hold(self, job_id: str, refs: list[BlobRef]) -> list[BlobRef]:
        """Keep a job's arrays until it has ended; returns those that are not here."""
        # Held before they are looked for: what is found cannot be evicted any more.
        self._store.hold(_inputs(job_id), [ref.digest for ref in refs])
        return [ref for ref in refs if not self._store.has(ref)]

    async def accept(self, job: Job) -> None:
        """Write a new job down. Raises ProtocolError where that cannot be done; then `forget` it."""
        job_id = job.record.id
        try:
            if job.record.priority != "live":  # a live job need not survive a loss of power
                await self._on_disk(self._store.sync, [ref.digest for ref in job.refs])
            await self._write(self._journal.accept, job.record)
        except sqlite3.IntegrityError:
            sentence, remedy = "That job was delivered already.", "Give each job an id of its own."
            raise ProtocolError("already_delivered", sentence, remedy, about=job_id) from None
        except (OSError, sqlite3.Error):
            log.exception("job %s cannot be written down", job_id)
            sentence, remedy = "The server cannot write the job down.", "Make room on its disk."
            raise ProtocolError("journal", sentence, remedy, retryable=True, about=job_id) from None
        job.saved.set_result(None)

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
        await self._write(self._journal.start, job.record.id)

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
        """Write a job's last word down, and say it."""
        record = job.record
        try:
            if isinstance(end, m.Result) and record.priority != "live":
                await self._on_disk(self._store.sync, [output.blob.digest for output in end.outputs])
            state = {m.Result: "finished", m.Failed: "failed", m.Cancelled: "cancelled"}[type(end)]
            await self._write(self._journal.end, record.id, state, m.to_plain(end))
        except (OSError, sqlite3.Error):
            # The client may still get what was painted; only a crash before it has would paint it again.
            log.exception("the end of job %s cannot be written down", record.id)
        job.end = end
        self._store.release(_inputs(record.id))
        self._emit(job.record.session, end, b"")

    async def deliver(self, job: Job) -> None:
        """Its client holds its end."""
        del self.jobs[job.record.id]
        await self._write(self._journal.deliver, job.record.id)
        self._store.release(_outputs(job.record.id))

    async def move(self, job: Job, session: str) -> None:
        """Its last word goes to another session."""
        job.record = replace(job.record, session=session)
        await self._write(self._journal.move, job.record.id, session)

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
                "phase": job.phase,
                "priority": job.record.priority,
                "created": job.record.created,
                "prompt": str(job.record.job.get("prompt", ""))[:80],
                "outputs": len(job.end.outputs) if isinstance(job.end, m.Result) else 0,
            }
            for job_id, job in self.jobs.items()
        ]

    # -- threads

    def _write(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._journal_thread, function, *args)

    def _on_disk(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._disk, function, *args)


def unknown_job(job_id: str) -> ProtocolError:
    """The answer to a client that speaks of a job that is not there, or not its own."""
    return ProtocolError(
        "unknown_job", "No such job of this session is waiting or running.", "List the jobs.", about=job_id
    )


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
