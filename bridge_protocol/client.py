"""The one client: blocking calls and event callbacks over one I/O thread.

    with BridgeClient("my tool 1.0") as client:
        result = client.run(Generate(prompt="a brick wall"))
        result.blobs[0].data  # the pixels; result.blobs[0].ref.shape tells how they lie

`run` blocks; `submit` returns a `Handle` at once. Everything may be called from a GUI's thread: nothing blocks but
`Handle.result`, `run`, `query` and `close`. Callbacks are called in the I/O thread: a host puts what they bring into
a queue of its own. The client reconnects and resumes by itself for as long as it is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from . import discovery, launch
from . import messages as m
from .answers import Answered
from .blobs import Blob, BlobRef, InvalidBlob, verify
from .client_events import Connected, Event, Fetched, Finished, MapFile, PreviewPixels, Refused, Unfetched
from .client_lane import ClientLane
from .client_session import ClientSession
from .codec import MAX_FRAME, ProtocolError, encode
from .handle import BridgeError, Handle, JobCancelledError, JobResult, call_back, error_of, problem_of
from .jobs import Priority, job_to_plain
from .machine import bound_socket_buffers
from .questions import Questions, promise, wait
from .records import blob_refs, check
from .session import Arrived
from .transfer import SendQueue

__all__ = ["BridgeClient", "BridgeError", "Handle", "JobCancelledError", "JobResult"]

log = logging.getLogger("brushwire.client")

#: Waits between attempts to reconnect, in seconds; the last one repeats.
_BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: A host that holds Python's lock for long (a render, a dialog) must not lose its socket to a missed ping.
_PING_TIMEOUT = 120


class BridgeClient:
    """A connection to the server that stays.

    name: what the server's log calls this client. url: where the server is; None: found through the runtime folder,
    again before each attempt. start_server: start one where none is running. session: the id of an earlier run of the
    host, whose unacknowledged results come again (through `on_orphan`). shared_memory: whether payloads may go through
    the shared folder. on_state: told "connecting: …", "connected" or "closed" as it changes; on_orphan: given the
    result of a job that this run of the host did not submit. runtime: the runtime folder, where it is not the user's.
    server_command: the `brushwire` command that starts a server, where it is not on the path.
    """

    def __init__(
        self,
        name: str = "python",
        *,
        url: str | None = None,
        token: str | None = None,
        start_server: bool = False,
        session: str | None = None,
        shared_memory: bool = True,
        on_state: Callable[[str], None] | None = None,
        on_orphan: Callable[[Event], None] | None = None,
        runtime: Path | None = None,
        server_command: str | None = None,
    ) -> None:
        self._name, self._url, self._token, self._runtime = name, url, token, runtime
        self._start_server, self._shared_memory = start_server, shared_memory
        self._server_command = server_command
        self._on_state, self._on_orphan = on_state, on_orphan
        self._session = ClientSession(name, session=session)
        self._lane = ClientLane()
        self._session.put = self._lane.put
        self._handles: dict[str, tuple[Handle, bool]] = {}
        self._questions = Questions()
        self._next_query = 0
        self._on_activity: Callable[[Event], None] | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._closed = False
        self._lock = threading.Lock()
        self._failures = 0
        self.state = "connecting"
        #: Set when the server has answered, and when it has refused us, which waiting would not change.
        self._answered = threading.Event()
        self._welcomed = False
        self._problem: BridgeError | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="brushwire-client", daemon=True)
        self._thread.start()

    # -- for the caller, from any thread

    @property
    def session_id(self) -> str | None:
        """The session's id, for a host that wants to come back to it after its own restart."""
        return self._session.id

    @property
    def problem(self) -> BridgeError | None:
        """Why there is no connection now; None while there is one, or before the first attempt has ended."""
        return self._problem

    @property
    def uses_shared_memory(self) -> bool:
        """Whether payloads go through the shared folder now."""
        return self._lane.ready

    def wait_connected(self, timeout: float = 60.0) -> BridgeClient:
        """Wait for the server's answer. Raises BridgeError with the reason where there is none in time."""
        if not self._answered.wait(timeout) or not self._welcomed:
            raise self._problem or BridgeError(
                "no_server", "No server answered.", "Start one with `brushwire serve`.", retryable=True
            )
        return self

    def submit(
        self,
        job: Any,
        *,
        priority: Priority = "interactive",
        slot: str = "",
        on_disconnect: str = "keep",
        on_event: Callable[[Event], None] | None = None,
        auto_acknowledge: bool = True,
    ) -> Handle:
        """Ask for a job; returns at once. Raises records.InvalidValue where the job itself is wrong, and BridgeError
        where it is too large for one message or the client is closed.

        Arrays in the job must be whole blobs (`Blob.of`). on_event is called in the I/O thread with each event.
        """
        kind, fields = job_to_plain(job)
        blobs = blob_refs(job)
        if not all(isinstance(blob, Blob) for blob in blobs):
            raise ValueError("a job's arrays must be given whole (Blob.of), not by reference")
        submit = check(m.Submit(str(uuid.uuid4()), kind, fields, priority, slot, on_disconnect))  # type: ignore[arg-type]  # `check` refuses other texts
        try:
            encode(submit)
        except ProtocolError as error:  # in the caller's thread, where it is heard
            raise BridgeError(error.code, error.sentence, "Shorten the prompts.") from None
        handle = Handle(self, submit.id, on_event)
        self._call(self._submit, submit, [blob for blob in blobs if isinstance(blob, Blob)], handle, auto_acknowledge)
        return handle

    def run(self, job: Any, timeout: float | None = None, **options: Any) -> JobResult:
        """Submit a job and wait for its result; takes `submit`'s options."""
        return self.submit(job, **options).result(timeout)

    def cancel(self, job_id: str) -> None:
        """Ask the server to end a job."""
        self._call(lambda: self._dispatch(self._session.cancel(job_id)))

    def acknowledge(self, job_id: str) -> None:
        """Tell the server that a job's end is safe here."""
        self._call(self._session.acknowledge, job_id)

    def claim(self, job_id: str) -> None:
        """Take over a job whose client is gone; its end comes through `on_orphan`."""
        self._call(self._session.claim, job_id)

    def query(self, what: str, timeout: float = 30.0, **narrowed: Any) -> Any:
        """One of the server's lists (see messages.Query). Raises InvalidValue, BridgeError or TimeoutError.

        narrowed: the fields of Query that ``history`` knows, such as ``search="boat", limit=20``.
        """
        return self._ask(check(m.Query(0, what, **narrowed)), timeout)  # type: ignore[arg-type]  # `check` refuses other texts

    def fetch(self, ref: BlobRef, timeout: float = 60.0) -> Blob:
        """A blob that the history lists; ask for ``history`` first. Raises BridgeError or TimeoutError."""
        future: Future[Blob] = promise()

        def ask() -> None:
            self._questions.fetch(ref.digest, future)
            self._dispatch(self._session.fetch(ref))

        self._call(ask)
        return wait(future, timeout, "the blob has not come")

    def watch(self, on_activity: Callable[[Event], None] | None) -> None:
        """Be told what becomes of all jobs, whosesoever they are (see messages.Watch); None: be told no more.

        on_activity is called in the I/O thread with `Activity`, `Progress` and `PreviewPixels`.
        """

        def watch() -> None:
            self._on_activity = on_activity
            self._session.send(m.Watch(on_activity is not None))

        self._call(watch)

    def forget(self, job_id: str) -> None:
        """Delete a job from the history, with what it made."""
        self._call(self._session.send, m.Forget(job_id))

    def ping(self, timeout: float = 30.0) -> None:
        """Wait for a Pong. Raises BridgeError or TimeoutError."""
        self._ask(m.Ping(0), timeout)

    def close(self) -> None:
        """End the connection and the thread; jobs go on, and their results wait on the server."""
        with contextlib.suppress(BridgeError):  # closed already
            self._call(self._stop)
        if threading.current_thread() is not self._thread:  # a callback may close the client that calls it
            self._thread.join()

    def __enter__(self) -> BridgeClient:
        """Connect, as `wait_connected`."""
        try:
            return self.wait_connected()
        except BridgeError:
            self.close()
            raise

    def __exit__(self, *_exc: object) -> None:
        """Close."""
        self.close()

    # -- in the I/O thread

    def _call(self, function: Callable[..., object], *args: object) -> None:
        with self._lock:  # what gets in before the lock closes the loop is still run: no handle is left hanging
            if self._closed:
                raise BridgeError("closed", "This client is closed.", "Make a new one.")
            self._loop.call_soon_threadsafe(function, *args)

    def _ask(self, question: m.Query | m.Ping, timeout: float) -> Any:
        future = promise()
        with self._lock:
            self._next_query += 1
            question = replace(question, id=self._next_query)

        def ask() -> None:
            self._questions.ask(question, future)
            self._session.send(question)

        def give_up() -> None:
            with contextlib.suppress(BridgeError):
                self._call(self._questions.give_up, question.id)

        self._call(ask)
        return wait(future, timeout, "the server has not answered", give_up)

    def _submit(self, submit: m.Submit, blobs: list[Blob], handle: Handle, auto_acknowledge: bool) -> None:
        self._handles[submit.id] = (handle, auto_acknowledge)
        self._session.submit(submit, blobs)

    def _stop(self) -> None:
        self._closing = True
        self._wake.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        finally:
            with self._lock:
                self._closed = True
            # Runs what was called meanwhile, too.
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            problem = BridgeError("closed", "The client was closed.", "The result waits on the server.")
            for handle, _ in self._handles.values():
                handle.future.set_exception(problem)
            self._questions.close(problem)
            self._handles.clear()
            self._set_state("closed")

    async def _live(self) -> None:
        while not self._closing:
            try:
                url, token = await self._loop.run_in_executor(None, self._find_server)
                async with connect(
                    url,
                    subprotocols=[Subprotocol(m.SUBPROTOCOL)],
                    additional_headers={"Authorization": f"Bearer {token}"},
                    compression=None,
                    max_size=MAX_FRAME,
                    ping_timeout=_PING_TIMEOUT,
                    proxy=None,
                ) as socket:
                    await self._converse(socket)
            except BridgeError as error:
                self._problem = error
            except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed, ProtocolError) as error:
                self._problem = problem_of(error)
                if isinstance(error, InvalidStatus) and error.response.status_code in (401, 403):
                    self._answered.set()
                log.debug("connection ended: %s", error)
            if self._closing:
                return
            self._set_state(f"connecting: {self._problem}" if self._problem else "connecting")
            self._wake.clear()  # it may be set for a socket that is gone, and the wait would be none
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _BACKOFF[min(self._failures, len(_BACKOFF) - 1)])
            self._failures += 1

    def _find_server(self) -> tuple[str, str]:
        token = self._token or discovery.token(self._runtime)
        if self._url:
            return self._url, token
        command = self._server_command
        address = launch.find(self._runtime, self._start_server, command, lambda: self._closing)
        if address is None:
            raise BridgeError("no_server", "No server is running.", "Start one with `brushwire serve`.", retryable=True)
        return address.url, token

    async def _converse(self, socket: ClientConnection) -> None:
        bound_socket_buffers(socket.transport.get_extra_info("socket"))
        queue = self._session.attach()

        def ready() -> None:
            self._wake.set()
            if queue.overflowed:  # the server has not read for long; what was dropped is said again by the next socket
                socket.transport.abort()

        queue.on_ready = ready
        self._session.connected()
        writer = asyncio.ensure_future(self._write(socket, queue))
        try:
            async for data in socket:
                if isinstance(data, str):
                    raise ProtocolError("bad_frame", "The server sent text.")
                try:
                    self._dispatch(self._session.receive(data))
                except ProtocolError as error:
                    if error.code != "unknown_message":
                        raise
                    self._session.send(error.message())  # a newer server's; what we do not know we can do without
        finally:
            self._session.disconnected(queue)
            self._lane.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer

    async def _write(self, socket: ClientConnection, queue: SendQueue) -> None:
        while True:
            self._wake.clear()
            while (frame := queue.next_frame()) is not None:
                await socket.send(frame)
            if self._closing:
                await socket.close()
                return
            await self._wake.wait()

    def _dispatch(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Connected):
                self._welcome(event.welcome)
            elif isinstance(event, Arrived):
                incoming = event.incoming
                self._verify(incoming.ref, incoming.into)
            elif isinstance(event, MapFile):
                self._map(event)
            elif isinstance(event, m.LaneReady):
                self._lane.ready = True
            elif isinstance(event, m.Release):
                self._lane.released(event.file)
            elif isinstance(event, (Answered, m.Pong, Fetched, Unfetched)):
                self._questions.take(event)
            elif isinstance(event, m.Error):
                problem = self._questions.refuse(event)
                if problem is not None:
                    self._problem = problem
                    log.warning("the server says %s: %s %s", event.code, event.sentence, event.remedy)
            else:
                self._tell(event)

    def _tell(self, event: Event) -> None:
        job_id = _job_id(event)
        if isinstance(event, (m.Activity, m.Progress, PreviewPixels)):
            call_back(self._on_activity, event)
        ends = isinstance(event, (Finished, m.Failed, m.Cancelled, Refused))
        found = self._handles.pop(job_id, None) if ends else self._handles.get(job_id)
        if found is None:
            if ends:
                call_back(self._on_orphan, event)
            return
        handle, auto_acknowledge = found
        handle.take(event)
        if not ends:
            return
        if isinstance(event, Finished):
            result = event.result
            blobs = [event.blobs[output.blob.digest] for output in result.outputs]
            handle.future.set_result(JobResult(job_id, result.outputs, blobs, result.info))
        else:
            handle.future.set_exception(error_of(event))
        # A failure holds nothing that could be lost; a result is acknowledged when its caller has it.
        if not isinstance(event, Refused) and (auto_acknowledge or not isinstance(event, Finished)):
            self._session.acknowledge(job_id)

    def _welcome(self, welcome: m.Welcome) -> None:
        self._problem, self._failures = None, 0
        self._set_state("connected")
        self._welcomed = True
        self._answered.set()
        for question in self._questions.unanswered:
            self._session.send(question)
        if self._on_activity is not None:
            self._session.send(m.Watch())
        proof = self._lane.prove(welcome) if self._shared_memory else None
        if proof is not None:
            self._session.send(proof)

    def _map(self, event: MapFile) -> None:
        def release() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the folder with it
                self._loop.call_soon_threadsafe(self._session.send, m.Release(event.file))

        try:
            view = self._lane.view(event, release)
        except (OSError, ValueError) as error:
            log.warning("a result in the shared folder cannot be read: %s", error)
            self._dispatch(self._session.arrived_broken(event.ref))
            return
        self._verify(event.ref, view)

    def _verify(self, ref: BlobRef, data: memoryview) -> None:
        """Hash off the loop, so that progress and cancel go on meanwhile."""
        future = self._loop.run_in_executor(None, verify, ref, data)

        def done(verified: asyncio.Future[Blob]) -> None:
            try:
                events = self._session.arrived(verified.result())
            except InvalidBlob as error:
                log.warning("a result arrived broken: %s", error)
                events = self._session.arrived_broken(ref)
            self._dispatch(events)

        future.add_done_callback(done)

    def _set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            call_back(self._on_state, state)


def _job_id(event: Event) -> str:
    if isinstance(event, PreviewPixels):
        return event.preview.id
    if isinstance(event, Finished):
        return event.result.id
    return str(getattr(event, "id", ""))
