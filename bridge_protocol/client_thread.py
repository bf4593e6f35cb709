"""The client's I/O thread: one socket after another for one session, and who is told what they bring."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from . import messages as m
from .answers import Answered
from .blobs import Blob, BlobRef, verify
from .client_events import Connected, Event, Fetched, Finished, MapFile, PreviewPixels, Refused, Unfetched
from .client_lane import ClientLane
from .client_session import ClientSession
from .codec import MAX_FRAME, ProtocolError
from .handle import BridgeError, Handle, JobResult, call_back, error_of, problem_of
from .machine import bound_socket_buffers
from .questions import Questions
from .session import Arrived
from .transfer import SendQueue

log = logging.getLogger("brushwire.client")

#: Waits between attempts to reconnect, in seconds; the last one repeats.
_BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: A host that holds Python's lock for long (a render, a dialog) must not lose its socket to a missed ping.
_PING_TIMEOUT = 120


class ClientThread:
    """Lives from `start` to `close`, and connects anew as often as the connection ends.

    session: what is said through the sockets. find_server: gives the server's URL and token, or raises BridgeError; it
    may block, since it has a thread of its own, and asks the function that it is given whether it shall give up.
    shared_memory, on_state, on_orphan: as `BridgeClient` has them.
    """

    def __init__(
        self,
        session: ClientSession,
        find_server: Callable[[Callable[[], bool]], tuple[str, str]],
        *,
        shared_memory: bool,
        on_state: Callable[[str], None] | None,
        on_orphan: Callable[[Event], None] | None,
    ) -> None:
        self.session = session
        self.state = "connecting"
        #: Why there is no connection now.
        self.problem: BridgeError | None = None
        #: Set when the server has answered, and where waiting for it would not change anything.
        self.answered = threading.Event()
        self.welcomed = False
        self._find_server = find_server
        self._shared_memory = shared_memory
        self._on_state, self._on_orphan = on_state, on_orphan
        self._lane = ClientLane()
        session.put = self._lane.put
        self._handles: dict[str, tuple[Handle, bool]] = {}
        self._questions = Questions()
        self._on_activity: Callable[[Event], None] | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._closed = False
        self._lock = threading.Lock()
        self._failures = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="brushwire-client", daemon=True)

    # -- from any thread

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    @property
    def uses_shared_memory(self) -> bool:
        """Whether payloads go through the shared folder now."""
        return self._lane.ready

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have something done in the I/O thread. Raises BridgeError where the client is closed."""
        with self._lock:  # what gets in before the lock closes the loop is still run: no handle is left hanging
            if self._closed:
                raise BridgeError("closed", "This client is closed.", "Make a new one.")
            self._loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """End the connection, tell everyone who waits, and wait for the thread to end."""
        with contextlib.suppress(BridgeError):  # closed already
            self.call(self._stop)
        if threading.current_thread() is not self._thread:  # a callback may close the client that calls it
            self._thread.join()

    # -- in the I/O thread, through `call`

    def submit(self, submit: m.Submit, blobs: list[Blob], handle: Handle, auto_acknowledge: bool) -> None:
        """Ask for a job; its handle is told what becomes of it."""
        self._handles[submit.id] = (handle, auto_acknowledge)
        self.session.submit(submit, blobs)

    def cancel(self, job_id: str) -> None:
        """Ask the server to end a job."""
        self._dispatch(self.session.cancel(job_id))

    def ask(self, question: m.Query | m.Ping, future: Future[Any]) -> None:
        """Ask, and again after each reconnect, until the answer resolves the future."""
        self._questions.ask(question, future)
        self.session.send(question)

    def give_up(self, question_id: int) -> None:
        """Nobody waits for that answer any more."""
        self._questions.give_up(question_id)

    def fetch(self, ref: BlobRef, future: Future[Blob]) -> None:
        """Ask for a blob, which resolves the future."""
        self._questions.fetch(ref.digest, future)
        self._dispatch(self.session.fetch(ref))

    def watch(self, on_activity: Callable[[Event], None] | None) -> None:
        """Ask to be told of all jobs, also after a reconnect; None: no more."""
        self._on_activity = on_activity
        self.session.send(m.Watch(on_activity is not None))

    # -- the thread's own

    def _stop(self) -> None:
        self._closing = True
        self._wake.set()

    def _given_up(self) -> bool:
        return self._closing

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        problem = BridgeError("closed", "The client was closed.", "The result waits on the server.")
        try:
            self._loop.run_until_complete(self._live())
        except Exception as error:  # whatever it is, everyone who waits must hear of it
            log.exception("the client's thread has failed")
            sentence = f"The client failed in a way that nobody foresaw ({type(error).__name__})."
            problem = BridgeError("client_failed", sentence, "Make a new one; its log has the details.")
        finally:
            with self._lock:
                self._closed = True
            # Runs what was called meanwhile, too.
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
            self.problem, self.welcomed = problem, False
            self.answered.set()
            for handle, _ in self._handles.values():
                handle.future.set_exception(problem)
            self._questions.close(problem)
            self._handles.clear()
            self._set_state("closed")

    async def _live(self) -> None:
        while not self._closing:
            try:
                socket = await self._connect()
                async with socket:
                    await self._converse(socket)
            except BridgeError as error:
                self.problem = error
                if error.code == "bad_address":
                    self.answered.set()
            except (OSError, InvalidHandshake, ConnectionClosed, ProtocolError) as error:
                self.problem = problem_of(error)
                if isinstance(error, InvalidStatus) and error.response.status_code in (401, 403):
                    self.answered.set()
                log.debug("connection ended: %s", error)
            if self._closing:
                return
            self._set_state(f"connecting: {self.problem}" if self.problem else "connecting")
            self._wake.clear()  # it may be set for a socket that is gone, and the wait would be none
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _BACKOFF[min(self._failures, len(_BACKOFF) - 1)])
            self._failures += 1

    async def _connect(self) -> ClientConnection:
        url, token = await self._loop.run_in_executor(None, self._find_server, self._given_up)
        try:
            return await connect(
                url,
                subprotocols=[Subprotocol(m.SUBPROTOCOL)],
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,
                max_size=MAX_FRAME,
                ping_timeout=_PING_TIMEOUT,
                proxy=None,
            )
        except (InvalidURI, ValueError) as error:
            raise BridgeError(
                "bad_address",
                f"{url!r} is not the address of a server ({error}).",
                "Give one like ws://127.0.0.1:4000, or none, and the server is found by itself.",
            ) from None

    async def _converse(self, socket: ClientConnection) -> None:
        bound_socket_buffers(socket.transport.get_extra_info("socket"))
        queue = self.session.attach()

        def ready() -> None:
            self._wake.set()
            if queue.overflowed:  # the server has not read for long; what was dropped is said again by the next socket
                socket.transport.abort()

        queue.on_ready = ready
        self.session.connected()
        writer = asyncio.ensure_future(self._write(socket, queue))
        try:
            async for data in socket:
                if isinstance(data, str):
                    raise ProtocolError("bad_frame", "The server sent text.")
                try:
                    self._dispatch(self.session.receive(data))
                except ProtocolError as error:
                    if error.code != "unknown_message":
                        raise
                    self.session.send(error.message())  # a newer server's; what we do not know we can do without
        finally:
            self.session.disconnected(queue)
            self._lane.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer

    async def _write(self, socket: ClientConnection, queue: SendQueue) -> None:
        try:
            while True:
                self._wake.clear()
                while (frame := queue.next_frame()) is not None:
                    await socket.send(frame)
                if self._closing:
                    await socket.close()
                    return
                await self._wake.wait()
        except Exception:  # whatever it is: the reader must not wait for answers to what was never sent
            socket.transport.abort()
            raise

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
                    self.problem = problem
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
            self.session.acknowledge(job_id)

    def _welcome(self, welcome: m.Welcome) -> None:
        self.problem, self._failures = None, 0
        self._set_state("connected")
        self.welcomed = True
        self.answered.set()
        for question in self._questions.unanswered:
            self.session.send(question)
        if self._on_activity is not None:
            self.session.send(m.Watch())
        proof = self._lane.prove(welcome) if self._shared_memory else None
        if proof is not None:
            self.session.send(proof)

    def _map(self, event: MapFile) -> None:
        def release() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the folder with it
                self._loop.call_soon_threadsafe(self.session.send, m.Release(event.file))

        try:
            view = self._lane.view(event, release)
        except (OSError, ValueError) as error:
            log.warning("a result in the shared folder cannot be read: %s", error)
            self._dispatch(self.session.arrived_broken(event.ref))
            return
        self._verify(event.ref, view)

    def _verify(self, ref: BlobRef, data: memoryview) -> None:
        """Hash off the loop, so that progress and cancel go on meanwhile."""
        future = self._loop.run_in_executor(None, verify, ref, data)

        def done(verified: asyncio.Future[Blob]) -> None:
            # Not only InvalidBlob: whatever keeps the bytes from being read, they are asked for again.
            error = verified.exception()
            if error is not None:
                log.warning("a result arrived broken: %r", error)
            self._dispatch(self.session.arrived_broken(ref) if error else self.session.arrived(verified.result()))

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
