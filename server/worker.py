"""One process for each device, in which jobs are painted: what kills it kills nothing else.

The two processes say small things to each other over a pipe; pixels go through files of the blob store. This module
holds both ends: `Worker` in the server's process, `main` in the worker's. Only the latter imports torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import mmap
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.records import InvalidValue
from server import machine

log = logging.getLogger("brushwire.worker")

#: Starting Python and importing torch from a cold disk takes its time; a worker that takes longer is stuck.
START_SECONDS = 300.0
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Setup:
    """What a worker process is started with. painter: module:function, called with this; its result paints."""

    painter: str
    models: tuple[Path, ...]
    device: str | None


@dataclass(frozen=True)
class Task:
    """A job to paint. inputs: its blobs and the files that hold them. output: results are written to files of this
    name with a number behind it.
    """

    id: str
    kind: str
    job: dict[str, Any]
    inputs: dict[bytes, tuple[BlobRef, Path]]
    output: Path


@dataclass(frozen=True)
class Cancel:
    """Break off that task, and no other."""

    id: str


@dataclass(frozen=True)
class Ready:
    """The worker has its painter and waits for tasks."""

    device: str


@dataclass(frozen=True)
class Step:
    """How far a task is; see `bridge_protocol.messages.Progress`. preview: (width, height, channels, pixels)."""

    id: str
    phase: str
    step: int = 0
    steps: int = 0
    eta: float | None = None
    preview: tuple[int, int, int, bytes] | None = None


@dataclass(frozen=True)
class Written:
    """One result, in a file beside the blobs that is to become one of them."""

    name: str
    path: Path
    ref: BlobRef
    part_digests: bytes
    info: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A task has ended well."""

    id: str
    outputs: list[Written]
    info: dict[str, Any]


@dataclass(frozen=True)
class Broken:
    """A task has ended without a result; see `bridge_protocol.messages.Failed`. cancelled: because it was asked to."""

    id: str
    code: str
    sentence: str
    remedy: str = ""
    retryable: bool = False
    cancelled: bool = False


class WorkerDied(Exception):
    """The process has ended, in whatever way. exitcode: negative for a signal."""

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"the worker process ended with {exitcode}")
        self.exitcode = exitcode


class Worker:
    """The server's end of one worker process at a time. To be used on one event loop.

    on_step is called on the loop for each `Step`, on_death when the process has ended.
    """

    def __init__(self, setup: Setup, on_step: Callable[[Step], None], on_death: Callable[[], None]) -> None:
        self._setup, self._on_step, self._on_death = setup, on_step, on_death
        self._process: Any = None
        self._connection: Connection | None = None
        self._ready: asyncio.Future[str] | None = None
        self._end: asyncio.Future[Done | Broken] | None = None
        #: A pipe whose reader is busy blocks its writer: sending has a thread of its own.
        self._sender = ThreadPoolExecutor(1, "worker-send")

    @property
    def alive(self) -> bool:
        """Whether a process is there that can be given a task."""
        return self._connection is not None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> str:
        """Start the process and wait until it is ready; returns its device. Raises WorkerDied."""
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=main, args=(theirs, self._setup), name="brushwire-worker", daemon=True)

        def begin() -> None:
            process.start()
            # Only the child may hold its end open: its death must close the pipe.
            theirs.close()
            self._process, self._connection = process, ours
            threading.Thread(target=self._listen, args=(loop, process, ours), name="worker-listen", daemon=True).start()

        try:
            await loop.run_in_executor(self._sender, begin)
        except OSError as error:  # no memory, process or file is left for it: as if it had died at once
            log.exception("a worker process cannot be started")
            raise WorkerDied(None) from error
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), START_SECONDS)
        except TimeoutError:
            process.kill()
            raise WorkerDied(None) from None

    async def run(self, task: Task) -> Done | Broken:
        """Paint one task; there is one at a time. Raises WorkerDied."""
        connection = self._connection
        if connection is None:
            raise WorkerDied(None)
        self._end = asyncio.get_running_loop().create_future()
        self._send(connection, task)
        return await self._end

    def cancel(self, task_id: str) -> None:
        """Break off that task if it is still running; its end comes out of `run`."""
        if self._connection is not None:
            self._send(self._connection, Cancel(task_id))

    def kill(self) -> None:
        """End the process at once, in the middle of whatever it does; `run` raises WorkerDied."""
        if self._process is not None:
            self._process.kill()

    async def stop(self) -> None:
        """End the process: friendly first, then not."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._sender, int)  # whatever is being started is there now
        process, connection = self._process, self._connection
        if process is not None and connection is not None:
            self._send(connection, None)
            for end in (None, process.terminate, process.kill):
                if end is not None:
                    end()
                await loop.run_in_executor(None, process.join, STOP_SECONDS)
                if process.exitcode is not None:
                    break
        self._sender.shutdown(wait=False)

    def _send(self, connection: Connection, message: Task | Cancel | None) -> None:
        def send() -> None:
            with contextlib.suppress(OSError):  # it has died; the listener tells
                connection.send(message)

        self._sender.submit(send)

    def _listen(self, loop: asyncio.AbstractEventLoop, process: Any, connection: Connection) -> None:
        """In a thread: bring what the worker says to the loop, until it has died."""
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                break
            except Exception:  # unpickling may raise anything; whoever waits for what was said would wait for ever
                log.exception("what a worker says cannot be read")
                process.kill()
                break
            if not _tell(loop, self._received, message):
                return
        process.join()
        _tell(loop, self._died, connection, process.exitcode)

    def _received(self, message: Ready | Step | Done | Broken) -> None:
        if isinstance(message, Step):
            self._on_step(message)
        elif isinstance(message, Ready):
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(message.device)
        elif self._end is not None and not self._end.done():
            self._end.set_result(message)

    def _died(self, connection: Connection, exitcode: int | None) -> None:
        connection.close()
        if self._connection is connection:
            self._process = self._connection = None
        for future in (self._ready, self._end):
            if future is not None and not future.done():
                future.set_exception(WorkerDied(exitcode))
                future.exception()  # retrieved here: nobody may be waiting
        self._on_death()


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> bool:
    """Call something on the loop, from another thread; False where the loop is closed."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        return False
    return True


# -- in the worker's process


def engine_painter(setup: Setup) -> Any:
    """The real painter."""
    from server.engine.catalog import Catalog
    from server.engine.diffusion import Painter, chosen_device
    from server.engine.speed import Speed

    device = chosen_device(setup.device)
    return Painter(Catalog(list(setup.models)), str(device), speed=Speed.from_environment(device))


def main(connection: Connection, setup: Setup) -> None:
    """The worker's process, from its start to its end."""
    machine.ignore_interrupts()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    running = _Running()
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks, running), daemon=True).start()
    module, _, function = setup.painter.partition(":")
    painter = getattr(importlib.import_module(module), function)(setup)
    _say(connection, Ready(str(getattr(painter, "device", "cpu"))))
    while (task := tasks.get()) is not None:
        end = _paint(task, painter, lambda step: _say(connection, step), running)
        running.ended(task.id)
        _say(connection, end)


@dataclass
class _Running:
    """Which tasks are here, and which of them are cancelled."""

    _cancelled: dict[str, bool] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def began(self, task_id: str) -> None:
        with self._lock:
            self._cancelled[task_id] = False

    def cancel(self, task_id: str) -> None:
        """A task that has ended, or another server's, is not here: then nothing happens."""
        with self._lock:
            if task_id in self._cancelled:
                self._cancelled[task_id] = True

    def is_cancelled(self, task_id: str) -> bool:
        return self._cancelled[task_id]

    def ended(self, task_id: str) -> None:
        with self._lock:
            del self._cancelled[task_id]


def _listen(connection: Connection, tasks: queue.SimpleQueue[Task | None], running: _Running) -> None:
    """In a thread, so that a cancel is heard while a task is painted."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            # The server has died, and nobody waits for what is being painted.
            os._exit(1)
        except Exception:  # a worker that hears nothing any more must not look like one that paints
            log.exception("what the server says cannot be read")
            os._exit(1)
        if message is None:
            os._exit(0)
        if isinstance(message, Cancel):
            running.cancel(message.id)
        else:
            # Known before it is queued: a cancel that follows at once must find it.
            running.began(message.id)
            tasks.put(message)


def _say(connection: Connection, message: object) -> None:
    try:
        connection.send(message)
    except OSError:
        os._exit(1)


def _paint(task: Task, painter: Any, say: Callable[[Step], None], running: _Running) -> Done | Broken:
    # Here and not above: the server's process starts quickly without them.
    from bridge_protocol import jobs
    from server import verbs
    from server.engine.errors import Cancelled, EngineError

    began: dict[str, float] = {}

    def on_progress(progress: Any) -> None:
        now = time.monotonic()
        first = began.setdefault(progress.phase, now)
        left = progress.total - progress.step
        # The first step warms caches up: it tells little about the others.
        eta = (now - first) / (progress.step - 1) * left if progress.step > 1 else None
        say(Step(task.id, progress.phase, progress.step, progress.total, eta, _preview(progress.preview)))

    say(Step(task.id, "starting"))
    try:
        job = jobs.job_from_plain(task.kind, task.job)
        arrays = {ref.digest: verbs.array_of(_map(path), ref.shape, ref.dtype) for ref, path in task.inputs.values()}
        made = verbs.verb(task.kind)(job, arrays, painter, on_progress, lambda: running.is_cancelled(task.id))
        return Done(task.id, [_write(out, task.output, i) for i, out in enumerate(made.outputs)], made.info)
    except Cancelled as error:
        return Broken(task.id, error.code, error.sentence, error.remedy, cancelled=True)
    except EngineError as error:
        log.info("job %s: %s", task.id, error)
        return Broken(task.id, error.code, error.sentence, error.remedy, error.retryable)
    except InvalidValue as error:
        return Broken(task.id, "invalid_value", str(error), error.remedy)
    except OSError as error:
        log.exception("job %s", task.id)
        sentence = f"The disk failed the job ({error.strerror})."
        return Broken(task.id, "disk", sentence, "Make room on it, and try again.", retryable=True)
    except Exception as error:  # whatever it is, the next job must find a worker
        log.exception("job %s", task.id)
        sentence = f"Painting failed in a way that nobody foresaw ({type(error).__name__})."
        return Broken(task.id, "internal_error", sentence, "The server's log has the details.")


def _preview(pixels: Any) -> tuple[int, int, int, bytes] | None:
    return None if pixels is None else (pixels.shape[1], pixels.shape[0], pixels.shape[2], pixels.tobytes())


def _map(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _write(made: Any, first: Path, index: int) -> Written:
    blob = Blob.of(made.array, color=made.color)
    path = first.with_name(f"{first.name}-{index}")
    path.write_bytes(blob.data)
    return Written(made.name, path, blob.ref, blob.part_digests, made.info)
