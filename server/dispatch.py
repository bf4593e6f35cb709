"""Jobs from their acceptance to their end: between the sessions, the queue and the workers.

What is written down about them, and when, is in ledger.py.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from bridge_protocol import jobs
from bridge_protocol import messages as m
from bridge_protocol.blobs import BlobRef
from bridge_protocol.codec import ProtocolError
from bridge_protocol.records import InvalidValue, blob_refs
from bridge_protocol.session import End
from server import guard
from server.guard import Limits
from server.journal import Record
from server.ledger import Emit, Job, Ledger, unknown_job
from server.queue import Entry, Queue, QueueFull
from server.store import StoreFull
from server.worker import Broken, Done, Setup, Step, Task, Worker, WorkerDied

log = logging.getLogger("brushwire.dispatch")

#: A job that was being painted when its worker died begins anew once, in case it was not the job's fault.
ATTEMPTS = 2
#: A worker that cannot start is started again after these waits; then the waiting jobs are told.
RESTART_WAITS = (0.5, 2.0)
#: How long after a restart of the server its clients have to come back for jobs that end with them.
RETURN_SECONDS = 10.0


class Dispatcher:
    """All jobs of one server.

    emit: tells a session an event. grace: seconds after a client's going until its jobs that go with it are cancelled.
    Call everything on one event loop.
    """

    def __init__(self, ledger: Ledger, limits: Limits, setups: Sequence[Setup], emit: Emit, grace: float) -> None:
        self._ledger, self._limits, self._emit, self._grace = ledger, limits, emit, grace
        self._queue = Queue(limits.waiting_jobs, limits.waiting_bytes, limits.all_waiting_jobs)
        self._workers = [Worker(setup, self._on_step, self._wake) for setup in setups]
        self._devices: dict[Worker, str] = {}
        self._filled = asyncio.Event()
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._closing = False

    # -- the server's life

    async def open(self) -> None:
        """Take up what an earlier run left behind, and start the workers."""
        for job in await self._ledger.open():
            await self._take_up(job)
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
            await self._ledger.put_back(self._ledger.jobs[entry.id])

    # -- what sessions ask for

    async def submit(self, session: str, submit: m.Submit) -> None:
        """Accept a job, or raise ProtocolError. The same id again is the same job."""
        known = self._ledger.jobs.get(submit.id)
        if known is not None:
            await self._submit_again(session, submit, known)
            return
        job = self._check(session, submit)
        entry = _entry(job)
        try:
            self._queue.admit(entry)
            self._ledger.jobs[submit.id] = job
            await self._ledger.accept(job)
        except QueueFull as full:
            self._ledger.forget(submit.id)
            raise ProtocolError("queue_full", full.sentence, full.remedy, retryable=True, about=submit.id) from None
        except BaseException:  # whatever it is, the same job may be submitted again
            self._queue.dismiss(submit.id)
            self._ledger.forget(submit.id)
            raise
        replaced, running = self._queue.submit(entry)
        self._filled.set()
        self._emit(job.record.session, m.Accepted(0, submit.id, self._queue.position(submit.id)), b"")
        self._ledger.notice(job.activity())
        for older in replaced:
            self._spawn(self._ledger.end(self._ledger.jobs[older.id], m.Cancelled(0, older.id, "replaced")))
        for older in running:
            self._break_off(self._ledger.jobs[older.id], "replaced")
        if job.ending:
            self._break_off(job, job.ending)

    async def cancel(self, session: str, job_id: str, *, anyones: bool = False) -> None:
        """End a job of that session, or of any. Raises ProtocolError where there is none.

        A job that has ended stays as it is.
        """
        job = self._ledger.jobs.get(job_id)
        if job is None or not (anyones or job.record.session == session):
            raise unknown_job(job_id)
        self._break_off(job, "cancelled")

    async def acknowledge(self, session: str, job_id: str) -> None:
        """The client holds a job's end: it is delivered. Nothing happens where there is none."""
        job = self._ledger.jobs.get(job_id)
        if job is not None and job.record.session == session and job.end is not None:
            await self._ledger.deliver(job)

    async def claim(self, session: str, job_id: str, is_connected: Callable[[str], bool]) -> str | None:
        """Give a job to that session; returns the one that it belonged to. Raises ProtocolError."""
        job = self._ledger.jobs.get(job_id)
        if job is None:
            raise unknown_job(job_id)
        owner = job.record.session
        if owner != session:
            if is_connected(owner):
                sentence, remedy = "That job's client is connected.", "Fetch it there, or close that client."
                raise ProtocolError("not_free", sentence, remedy, retryable=True, about=job_id)
            await self._move(job, session)
        self._emit(session, job.end or m.Accepted(0, job_id, self._queue.position(job_id)), b"")
        return owner if owner != session else None

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
            for job in self._ledger.of_session(session):
                if job.record.on_disconnect == "cancel":
                    self._break_off(job, "disconnected")

        delay = self._grace if grace is None else grace
        self._leaving[session] = asyncio.get_running_loop().call_later(delay, gone)

    def status(self) -> dict[str, Any]:
        """How the server is, as plain values."""
        return {
            "waiting": len(self._queue),
            "running": [entry.id for entry in self._queue.running],
            "devices": list(self._devices.values()),
            "workers": [worker.pid for worker in self._workers],
        }

    # -- a job's way

    def _check(self, session: str, submit: m.Submit) -> Job:
        try:
            job = jobs.job_from_plain(submit.kind, submit.job)
        except InvalidValue as error:
            raise ProtocolError("invalid_value", str(error), error.remedy, about=submit.id, field=error.field) from None
        refs = [ref for ref in blob_refs(job) if isinstance(ref, BlobRef)]
        guard.check_job(job, refs, self._limits, submit.id)
        missing = self._ledger.hold(submit.id, refs)
        if missing:
            self._ledger.forget(submit.id)
            sentence = f"{len(missing)} of the job's arrays are not here."
            remedy = "Offer them, and submit the job when the server has them."
            raise ProtocolError("blob_missing", sentence, remedy, retryable=True, about=submit.id)
        record = Record(submit.id, session, submit.kind, submit.job, submit.priority, submit.slot, submit.on_disconnect)
        return Job(record, refs, asyncio.get_running_loop().create_future())

    async def _submit_again(self, session: str, submit: m.Submit, job: Job) -> None:
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

    async def _move(self, job: Job, session: str) -> None:
        self._queue.move(job.record.id, session)
        await self._ledger.move(job, session)

    async def _take_up(self, job: Job) -> None:
        """A job of an earlier run of the server that has not ended."""
        record = job.record
        try:
            asked = jobs.job_from_plain(record.kind, record.job)
        except InvalidValue as error:  # this version of the program knows other ranges
            await self._ledger.end(job, m.Failed(0, record.id, "invalid_value", str(error), error.remedy))
            return
        job.refs = [ref for ref in blob_refs(asked) if isinstance(ref, BlobRef)]
        self._ledger.hold(record.id, job.refs)
        if record.priority == "live":
            sentence = "The server was restarted, and live jobs do not outlive that."
            end = m.Failed(0, record.id, "server_restarted", sentence, "Paint on.", retryable=True)
            await self._ledger.end(job, end)
        elif record.attempts >= ATTEMPTS:
            await self._ledger.end(job, _crashed(record.id))
        else:
            if record.state == "running":
                await self._ledger.restart(job)
            self._queue.submit(_entry(job))
            if record.on_disconnect == "cancel":
                self.disconnected(record.session, RETURN_SECONDS)

    def _break_off(self, job: Job, reason: str) -> None:
        """Cancel a job wherever it is on its way; nothing happens where it has ended."""
        if job.end is not None:
            return
        job.ending = job.ending or reason
        if self._queue.withdraw(job.record.id):
            self._spawn(self._ledger.end(job, m.Cancelled(0, job.record.id, job.ending)))
        elif job.running is not None:
            job.running.cancel(job.record.id)
        # Otherwise it is being written down or about to run: whoever does that looks at `ending`.

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
                job = self._ledger.jobs[entry.id]
                try:
                    await self._paint(worker, job)
                except WorkerDied as died:
                    log.error("the worker of %s died (%s)", self._devices.get(worker), died)
                    await self._after_crash(job)
                    break
                except Exception as error:  # whatever it is, the job ends, and the next one is painted
                    log.exception("job %s", entry.id)
                    await self._finish(job, _failed(entry.id, error))

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
            await self._ledger.end(self._ledger.jobs[entry.id], failed)
        self._filled.clear()
        return False

    async def _paint(self, worker: Worker, job: Job) -> None:
        record = job.record
        self._spawn(self._ledger.start(job))
        inputs = await self._ledger.inputs(job)
        if inputs is None:
            sentence, remedy = "An array of the job is gone from the server's disk.", "Submit it again."
            await self._finish(job, m.Failed(0, record.id, "blob_missing", sentence, remedy, retryable=True))
            return
        if job.ending:
            await self._finish(job, m.Cancelled(0, record.id, job.ending))
            return
        job.running = worker
        try:
            outcome = await worker.run(Task(record.id, record.kind, record.job, inputs, self._ledger.output_file(job)))
        finally:
            job.running = None
        # The next job need not wait until this one's result has reached the disk.
        self._spawn(self._finish(job, outcome))

    async def _finish(self, job: Job, outcome: Done | Broken | End) -> None:
        self._queue.finish(job.record.id)
        try:
            end = await self._end_of(job, outcome)
        except StoreFull as full:
            await self._ledger.sweep(job)
            end = m.Failed(0, job.record.id, "store_full", full.sentence, full.remedy, retryable=True)
        except Exception as error:  # nobody waits for this task: unless the job ends here, it never does
            log.exception("job %s", job.record.id)
            end = _failed(job.record.id, error)
        await self._ledger.end(job, end)

    async def _end_of(self, job: Job, outcome: Done | Broken | End) -> End:
        job_id = job.record.id
        if isinstance(outcome, Broken):
            if outcome.cancelled:
                return m.Cancelled(0, job_id, job.ending or "cancelled")
            await self._ledger.sweep(job)
            return m.Failed(0, job_id, outcome.code, outcome.sentence, outcome.remedy, outcome.retryable)
        if not isinstance(outcome, Done):
            return outcome
        return m.Result(0, job_id, await self._ledger.keep(job, outcome.outputs), outcome.info)

    async def _after_crash(self, job: Job) -> None:
        job_id = job.record.id
        await self._ledger.sweep(job)
        if job.ending:
            await self._finish(job, m.Cancelled(0, job_id, job.ending))
        elif job.attempts >= ATTEMPTS and job.begun:
            await self._finish(job, _crashed(job_id))
        else:
            if job.begun:
                await self._ledger.restart(job)
            else:  # the worker died before it had looked at the job: that was not the job's fault
                await self._ledger.put_back(job)
            if job.ending:  # it was cancelled just now
                await self._finish(job, m.Cancelled(0, job_id, job.ending))
            else:
                self._queue.requeue(job_id)
                self._filled.set()

    def _wake(self) -> None:
        """A worker has died: its loop starts another one, so that the next job finds it ready."""
        self._filled.set()

    def _on_step(self, step: Step) -> None:
        job = self._ledger.jobs.get(step.id)
        if job is None or job.running is None:
            return
        if not job.begun:
            self._ledger.notice(job.activity())
        job.begun = True
        session = job.record.session
        job.progress = m.Progress(0, step.id, step.phase, step.step, step.steps, step.eta)
        self._emit(session, job.progress, b"")
        if step.preview is not None:
            width, height, channels, pixels = step.preview
            job.preview = m.Preview(0, step.id, step.step, width, height, channels), pixels
            self._emit(session, *job.preview)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work on a job failed", exc_info=task.exception())


def _failed(job_id: str, error: Exception) -> m.Failed:
    """The end of a job by what went wrong in the server itself."""
    if isinstance(error, (OSError, sqlite3.Error)):
        sentence = f"The server's disk failed the job ({error})."
        return m.Failed(0, job_id, "disk", sentence, "Make room on it.", retryable=True)
    sentence = f"The server failed the job in a way that nobody foresaw ({type(error).__name__})."
    return m.Failed(0, job_id, "internal_error", sentence, "The server's log has the details.")


def _entry(job: Job) -> Entry:
    record = job.record
    nbytes = sum(ref.nbytes for ref in job.refs)
    return Entry(record.id, record.session, record.priority, record.slot, nbytes)


def _crashed(job_id: str) -> m.Failed:
    sentence = f"The painter died {ATTEMPTS} times while it was painting this."
    return m.Failed(0, job_id, "worker_crashed", sentence, "Ask for a smaller picture, or another model.")
