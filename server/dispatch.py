"""Jobs from their acceptance to their delivery: between the sessions, the queue, the journal and the workers.

The order in which things are written down and said is what keeps jobs from being lost or doubled:

- accepted: inputs on the disk → journal → queue → `Accepted` is said.
- ended: results on the disk → journal → the end is said.
- delivered: the client acknowledges → journal → results may make room for others.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bridge_protocol import jobs
from bridge_protocol import messages as m
from bridge_protocol.blobs import BlobRef
from bridge_protocol.codec import ProtocolError
from bridge_protocol.records import InvalidValue, blob_refs
from bridge_protocol.session import End, JobEvent
from server import guard
from server.guard import Limits
from server.journal import ENDED, Journal, Record
from server.queue import Entry, Queue, QueueFull
from server.store import BlobStore, StoreFull
from server.worker import Broken, Done, Setup, Step, Task, Worker, WorkerDied

log = logging.getLogger("brushwire.dispatch")
T = TypeVar("T")

#: A job that was being painted when its worker died begins anew once, in case it was not the job's fault.
ATTEMPTS = 2
#: A worker that cannot start is started again after these waits; then the waiting jobs are told.
RESTART_WAITS = (0.5, 2.0)
#: How long after a restart of the server its clients have to come back for jobs that end with them.
RETURN_SECONDS = 10.0
#: Delivered jobs are remembered so that a job that is submitted again is known for what it is.
REMEMBER_SECONDS = 7 * 24 * 3600.0

Emit = Callable[[str, JobEvent, bytes], None]


@dataclass(eq=False)
class _Job:
    """A job that is not delivered.

    saved: resolves when it is in the journal. attempts: how often its painting has begun; begun: whether the worker
    that has it said so. ending: why it is to be cancelled. running: the worker that has it.
    """

    record: Record
    refs: list[BlobRef]
    saved: asyncio.Future[None]
    attempts: int = 0
    begun: bool = False
    ending: str = ""
    end: End | None = None
    running: Worker | None = None
    #: The last event that told how far it is, for lists.
    phase: str = "queued"


class Dispatcher:
    """All jobs of one server.

    emit: tells a session an event. grace: seconds after a client's going until its jobs that go with it are cancelled.
    Call everything on one event loop. Disk and journal are touched on threads of their own.
    """

    def __init__(
        self, journal: Journal, store: BlobStore, limits: Limits, setups: Sequence[Setup], emit: Emit, grace: float
    ) -> None:
        self._journal, self._store, self._limits, self._emit, self._grace = journal, store, limits, emit, grace
        self._queue = Queue(limits.waiting_jobs, limits.waiting_bytes, limits.all_waiting_jobs)
        self._jobs: dict[str, _Job] = {}
        self._workers = {Worker(setup, self._on_step, self._wake): setup for setup in setups}
        self._devices: dict[Worker, str] = {}
        self._filled = asyncio.Event()
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._closing = False
        # SQLite's connection belongs to one thread; that thread also keeps the order of what is written.
        self._journal_thread = ThreadPoolExecutor(1, "journal")
        self._disk = ThreadPoolExecutor(4, "disk")

    # -- the server's life

    async def open(self) -> None:
        """Take up what an earlier run left behind, and start the workers."""
        await self._write(lambda: self._journal.prune(REMEMBER_SECONDS))
        for record in await self._write(self._journal.undelivered):
            await self._take_up(record)
        self._loops = [asyncio.create_task(self._work(worker)) for worker in self._workers]

    async def close(self) -> None:
        """Stop painting; what is being painted goes back into the journal without an attempt."""
        self._closing = True
        for handle in self._leaving.values():
            handle.cancel()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        await asyncio.gather(*self._tasks, return_exceptions=True)  # ends that are being written down
        for entry in self._queue.running:
            await self._write(self._journal.put_back, entry.id)
        await self._write(self._journal.close)
        self._journal_thread.shutdown()
        self._disk.shutdown()

    # -- what sessions ask for

    async def submit(self, session: str, submit: m.Submit) -> None:
        """Accept a job, or raise ProtocolError. The same id again is the same job."""
        known = self._jobs.get(submit.id)
        if known is not None:
            await self._submit_again(session, submit, known)
            return
        job = self._check(session, submit)
        self._jobs[submit.id] = job
        entry = _entry(job)
        try:
            self._queue.admit(entry)
            await self._save(job)
        except QueueFull as full:
            self._forget(job)
            raise ProtocolError("queue_full", full.sentence, full.remedy, retryable=True, about=submit.id) from None
        except ProtocolError:
            self._forget(job)
            raise
        except (OSError, sqlite3.Error):
            log.exception("job %s cannot be written down", submit.id)
            self._forget(job)
            sentence = "The server cannot write the job down."
            remedy = "Make room on its disk."
            raise ProtocolError("journal", sentence, remedy, retryable=True, about=submit.id) from None
        job.saved.set_result(None)
        replaced, running = self._queue.submit(entry)
        self._filled.set()
        self._emit(job.record.session, m.Accepted(0, submit.id, self._queue.position(submit.id)), b"")
        if replaced is not None:
            self._spawn(self._end(self._jobs[replaced.id], m.Cancelled(0, replaced.id, "replaced")))
        if running is not None:
            self._break_off(self._jobs[running.id], "replaced")
        if job.ending:
            self._break_off(job, job.ending)

    async def cancel(self, session: str, job_id: str) -> None:
        """End a job of that session. Raises ProtocolError where there is none; a job that has ended stays as it is."""
        job = self._jobs.get(job_id)
        if job is None or job.record.session != session:
            raise _unknown(job_id)
        self._break_off(job, "cancelled")

    async def acknowledge(self, session: str, job_id: str) -> None:
        """The client holds a job's end: it is delivered. Nothing happens where there is none."""
        job = self._jobs.get(job_id)
        if job is not None and job.record.session == session and job.end is not None:
            del self._jobs[job_id]
            await self._write(self._journal.deliver, job_id)
            self._store.release(_outputs(job_id))

    async def claim(self, session: str, job_id: str, is_connected: Callable[[str], bool]) -> str | None:
        """Give a job to that session; returns the one that it belonged to. Raises ProtocolError."""
        job = self._jobs.get(job_id)
        if job is None:
            raise _unknown(job_id)
        owner = job.record.session
        if owner != session:
            if is_connected(owner):
                sentence, remedy = "That job's client is connected.", "Fetch it there, or close that client."
                raise ProtocolError("not_free", sentence, remedy, retryable=True, about=job_id)
            await self._move(job, session)
        self._emit(session, job.end or m.Accepted(0, job_id, self._queue.position(job_id)), b"")
        return owner if owner != session else None

    def ends_of(self, session: str) -> list[End]:
        """The last words that a session has not acknowledged."""
        return [job.end for job in self._jobs.values() if job.end is not None and job.record.session == session]

    def output(self, session: str, digest: bytes) -> BlobRef | None:
        """The blob of that digest, if it is a result that the session has not acknowledged."""
        for end in self.ends_of(session):
            for output in end.outputs if isinstance(end, m.Result) else ():
                if output.blob.digest == digest:
                    return output.blob
        return None

    def knows(self, session: str) -> bool:
        """Whether a session has a job that is not delivered."""
        return any(job.record.session == session for job in self._jobs.values())

    def connected(self, session: str) -> None:
        """A session's client is here (again)."""
        handle = self._leaving.pop(session, None)
        if handle is not None:
            handle.cancel()

    def disconnected(self, session: str, grace: float | None = None) -> None:
        """A session's client is gone: its jobs that go with it are cancelled unless it comes back soon."""
        if self._closing or session in self._leaving:
            return

        def gone() -> None:
            self._leaving.pop(session, None)
            for job in list(self._jobs.values()):
                if job.record.session == session and job.record.on_disconnect == "cancel":
                    self._break_off(job, "disconnected")

        delay = self._grace if grace is None else grace
        self._leaving[session] = asyncio.get_running_loop().call_later(delay, gone)

    def listing(self) -> list[dict[str, Any]]:
        """The jobs that are not delivered, in the order in which they came, as plain values."""
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
            for job_id, job in self._jobs.items()
        ]

    def status(self) -> dict[str, Any]:
        """How the server is, as plain values."""
        return {
            "waiting": len(self._queue),
            "running": [entry.id for entry in self._queue.running],
            "devices": list(self._devices.values()),
            "workers": [worker.pid for worker in self._workers],
            "store_bytes": self._store.nbytes,
        }

    # -- a job's way

    def _check(self, session: str, submit: m.Submit) -> _Job:
        try:
            job = jobs.job_from_plain(submit.kind, submit.job)
        except InvalidValue as error:
            raise ProtocolError("invalid_value", str(error), error.remedy, about=submit.id, field=error.field) from None
        refs = [ref for ref in blob_refs(job) if isinstance(ref, BlobRef)]
        guard.check_job(job, refs, self._limits, submit.id)
        # Held before it is looked for: what is found cannot be evicted any more.
        self._store.hold(submit.id, [ref.digest for ref in refs])
        missing = [ref for ref in refs if not self._store.has(ref)]
        if missing:
            self._store.release(submit.id)
            sentence = f"{len(missing)} of the job's arrays are not here."
            remedy = "Offer them, and submit the job when the server has them."
            raise ProtocolError("blob_missing", sentence, remedy, retryable=True, about=submit.id)
        record = Record(submit.id, session, submit.kind, submit.job, submit.priority, submit.slot, submit.on_disconnect)
        return _Job(record, refs, asyncio.get_running_loop().create_future())

    async def _save(self, job: _Job) -> None:
        """Write a new job down. Raises ProtocolError where its id was used before."""
        if job.record.priority != "live":  # a live job need not survive a loss of power
            await self._on_disk(self._store.sync, [ref.digest for ref in job.refs])
        try:
            await self._write(self._journal.accept, job.record)
        except sqlite3.IntegrityError:
            sentence, remedy = "That job was delivered already.", "Give each job an id of its own."
            raise ProtocolError("already_delivered", sentence, remedy, about=job.record.id) from None

    async def _submit_again(self, session: str, submit: m.Submit, job: _Job) -> None:
        record = job.record
        if (record.kind, record.job) != (submit.kind, submit.job):
            sentence, remedy = "Another job has that id.", "Give each job an id of its own."
            raise ProtocolError("id_in_use", sentence, remedy, about=submit.id)
        await asyncio.shield(job.saved)
        if record.session != session:
            await self._move(job, session)
        self._emit(session, m.Accepted(0, submit.id, self._queue.position(submit.id)), b"")
        if job.end is not None:
            self._emit(session, job.end, b"")

    async def _move(self, job: _Job, session: str) -> None:
        job.record = replace(job.record, session=session)
        self._queue.move(job.record.id, session)
        await self._write(self._journal.move, job.record.id, session)

    async def _take_up(self, record: Record) -> None:
        """A job of an earlier run of the server."""
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        saved.set_result(None)
        job = _Job(record, [], saved, record.attempts)
        self._jobs[record.id] = job
        if record.state in ENDED:
            job.end = _end_from_plain(record)
            if isinstance(job.end, m.Result):
                self._store.hold(_outputs(record.id), [output.blob.digest for output in job.end.outputs])
            return
        try:
            asked = jobs.job_from_plain(record.kind, record.job)
        except InvalidValue as error:  # this version of the program knows other ranges
            await self._end(job, m.Failed(0, record.id, "invalid_value", str(error), error.remedy))
            return
        job.refs = [ref for ref in blob_refs(asked) if isinstance(ref, BlobRef)]
        self._store.hold(record.id, [ref.digest for ref in job.refs])
        if record.priority == "live":
            sentence = "The server was restarted, and live jobs do not outlive that."
            await self._end(job, m.Failed(0, record.id, "server_restarted", sentence, "Paint on.", retryable=True))
        elif record.attempts >= ATTEMPTS:
            await self._end(job, _crashed(record.id))
        else:
            if record.state == "running":
                await self._write(self._journal.restart, record.id)
            self._queue.submit(_entry(job))
            if record.on_disconnect == "cancel":
                self.disconnected(record.session, RETURN_SECONDS)

    def _break_off(self, job: _Job, reason: str) -> None:
        """Cancel a job wherever it is on its way; nothing happens where it has ended."""
        if job.end is not None:
            return
        job.ending = job.ending or reason
        if self._queue.withdraw(job.record.id):
            self._spawn(self._end(job, m.Cancelled(0, job.record.id, job.ending)))
        elif job.running is not None:
            job.running.cancel(job.record.id)
        # Otherwise it is being written down or about to run: whoever does that looks at `ending`.

    async def _end(self, job: _Job, end: End) -> None:
        """Write a job's last word down, and say it."""
        record = job.record
        if isinstance(end, m.Result):
            digests = [output.blob.digest for output in end.outputs]
            if record.priority != "live":
                await self._on_disk(self._store.sync, digests)
        state = {m.Result: "finished", m.Failed: "failed", m.Cancelled: "cancelled"}[type(end)]
        try:
            await self._write(self._journal.end, record.id, state, m.to_plain(end))
        except sqlite3.Error:
            # The client may still get what was painted; only a crash before it has would paint it again.
            log.exception("the end of job %s cannot be written down", record.id)
        job.end = end
        self._store.release(record.id)
        self._emit(job.record.session, end, b"")

    def _forget(self, job: _Job) -> None:
        self._queue.dismiss(job.record.id)
        del self._jobs[job.record.id]
        self._store.release(job.record.id)
        if not job.saved.done():
            job.saved.set_exception(_unknown(job.record.id))
            job.saved.exception()  # retrieved here: nobody may be waiting

    # -- the workers

    async def _work(self, worker: Worker) -> None:
        """One device's loop: keep a worker alive, and give it one job after the other."""
        while not self._closing:
            if not await self._start(worker):
                continue
            while worker.alive:
                entry = self._queue.next()
                if entry is None:
                    self._filled.clear()
                    await self._filled.wait()
                    continue
                job = self._jobs[entry.id]
                try:
                    await self._paint(worker, job)
                except WorkerDied as died:
                    log.error("the worker of %s died (%s)", self._devices.get(worker), died)
                    await self._after_crash(job)
                    break
                except (OSError, sqlite3.Error) as error:
                    log.exception("job %s", entry.id)
                    sentence = f"The server's disk failed the job ({error})."
                    await self._finish(job, m.Failed(0, entry.id, "disk", sentence, "Make room on it.", retryable=True))

    async def _start(self, worker: Worker) -> bool:
        for wait in (*RESTART_WAITS, None):
            try:
                self._devices[worker] = await worker.start()
                return True
            except WorkerDied as died:
                log.error("a worker did not start (%s)", died)
                if wait is not None:
                    await asyncio.sleep(wait)
        await self._filled.wait()
        while (entry := self._queue.next()) is not None:
            self._queue.finish(entry.id)
            sentence = "The painter does not start."
            remedy = "`brushwire doctor` and the server's log tell why."
            failed = m.Failed(0, entry.id, "painter_unavailable", sentence, remedy, retryable=True)
            await self._end(self._jobs[entry.id], failed)
        self._filled.clear()
        return False

    async def _paint(self, worker: Worker, job: _Job) -> None:
        record = job.record
        self._spawn(self._note_start(record.id))
        job.attempts, job.begun = job.attempts + 1, False
        inputs = {}
        for ref in job.refs:
            if await self._on_disk(self._store.find, ref) is None:
                sentence, remedy = "An array of the job is gone from the server's disk.", "Submit it again."
                await self._finish(job, m.Failed(0, record.id, "blob_missing", sentence, remedy, retryable=True))
                return
            inputs[ref.digest] = (ref, self._store.path(ref.digest))
        if job.ending:
            await self._finish(job, m.Cancelled(0, record.id, job.ending))
            return
        job.running = worker
        try:
            outcome = await worker.run(
                Task(record.id, record.kind, record.job, inputs, self._store.partial(_owner(record.id)))
            )
        finally:
            job.running = None
        # The next job need not wait until this one's result has reached the disk.
        self._spawn(self._finish(job, outcome))

    async def _note_start(self, job_id: str) -> None:
        """Not waited for: the journal keeps the order in which things are written."""
        await self._write(self._journal.start, job_id)

    async def _finish(self, job: _Job, outcome: Done | Broken | End) -> None:
        self._queue.finish(job.record.id)
        try:
            end = await self._end_of(job, outcome)
        except StoreFull as full:
            await self._on_disk(self._store.sweep, _owner(job.record.id))
            end = m.Failed(0, job.record.id, "store_full", full.sentence, full.remedy, retryable=True)
        await self._end(job, end)

    async def _end_of(self, job: _Job, outcome: Done | Broken | End) -> End:
        job_id = job.record.id
        if isinstance(outcome, Broken):
            if outcome.cancelled:
                return m.Cancelled(0, job_id, job.ending or "cancelled")
            return m.Failed(0, job_id, outcome.code, outcome.sentence, outcome.remedy, outcome.retryable)
        if not isinstance(outcome, Done):
            return outcome
        self._store.hold(_outputs(job_id), [written.ref.digest for written in outcome.outputs])
        for written in outcome.outputs:
            await self._on_disk(self._store.adopt, written.path, written.ref, written.part_digests)
        outputs = [m.Output(written.name, written.ref, written.info) for written in outcome.outputs]
        return m.Result(0, job_id, outputs, outcome.info)

    async def _after_crash(self, job: _Job) -> None:
        job_id = job.record.id
        await self._on_disk(self._store.sweep, _owner(job_id))
        if job.ending:
            await self._finish(job, m.Cancelled(0, job_id, job.ending))
        elif job.attempts >= ATTEMPTS and job.begun:
            await self._finish(job, _crashed(job_id))
        else:
            if job.begun:
                await self._write(self._journal.restart, job_id)
            else:  # the worker died before it had looked at the job: that was not the job's fault
                job.attempts -= 1
                await self._write(self._journal.put_back, job_id)
            if job.ending:  # it was cancelled just now
                await self._finish(job, m.Cancelled(0, job_id, job.ending))
            else:
                self._queue.requeue(job_id)
                self._filled.set()

    def _wake(self) -> None:
        """A worker has died: its loop starts another one, so that the next job finds it ready."""
        self._filled.set()

    def _on_step(self, step: Step) -> None:
        job = self._jobs.get(step.id)
        if job is None or job.running is None:
            return
        job.phase, job.begun = step.phase, True
        session = job.record.session
        self._emit(session, m.Progress(0, step.id, step.phase, step.step, step.steps, step.eta), b"")
        if step.preview is not None:
            width, height, channels, pixels = step.preview
            self._emit(session, m.Preview(0, step.id, step.step, width, height, channels), pixels)

    # -- threads

    def _write(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Carry something out on the journal's thread; begun at once, in order, whether it is awaited or not."""
        return asyncio.get_running_loop().run_in_executor(self._journal_thread, function, *args)

    def _on_disk(self, function: Callable[..., T], *args: Any) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._disk, function, *args)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work on a job failed", exc_info=task.exception())


def _entry(job: _Job) -> Entry:
    record = job.record
    nbytes = sum(ref.nbytes for ref in job.refs)
    return Entry(record.id, record.session, record.priority, record.slot, nbytes)  # type: ignore[arg-type]


def _outputs(job_id: str) -> str:
    """Under which name a job's results are held in the store; its inputs are under its own."""
    return f"{job_id} outputs"


def _owner(job_id: str) -> str:
    """A job's id, which is a client's text, as a part of a file's name."""
    return job_id.encode().hex()


def _crashed(job_id: str) -> m.Failed:
    sentence = f"The painter died {ATTEMPTS} times while it was painting this."
    return m.Failed(0, job_id, "worker_crashed", sentence, "Ask for a smaller picture, or another model.")


def _unknown(job_id: str) -> ProtocolError:
    return ProtocolError(
        "unknown_job", "No such job of this session is waiting or running.", "List the jobs.", about=job_id
    )


def _end_from_plain(record: Record) -> End:
    end = m.from_plain(record.result)
    assert isinstance(end, m.TERMINAL)
    return end
