"""The one client: blocking calls and event callbacks over one I/O thread.

    with BridgeClient("my tool 1.0") as client:
        result = client.run(Generate(prompt="a brick wall"))
        result.blobs[0].data  # the pixels; result.blobs[0].ref.shape tells how they lie

`run` blocks; `submit` returns a `Handle` at once. Everything may be called from a GUI's thread: nothing blocks but
`Handle.result`, `run`, `query` and `close`. Callbacks are called in the I/O thread: a host puts what they bring into
a queue of its own. The client reconnects and resumes by itself for as long as it is open.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import discovery, launch
from . import messages as m
from .blobs import Blob, BlobRef
from .client_events import Event
from .client_session import ClientSession
from .client_thread import ClientThread
from .codec import ProtocolError, encode
from .handle import BridgeError, Handle, JobCancelledError, JobResult
from .jobs import Priority, job_to_plain
from .questions import promise, wait
from .records import blob_refs, check

__all__ = ["BridgeClient", "BridgeError", "Handle", "JobCancelledError", "JobResult"]


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
        self._url, self._token, self._runtime = url, token, runtime
        self._start_server, self._server_command = start_server, server_command
        self._session = ClientSession(name, session=session)
        self._thread = ClientThread(
            self._session,
            self._find_server,
            shared_memory=shared_memory,
            on_state=on_state,
            on_orphan=on_orphan,
        )
        self._query_ids = itertools.count(1)  # `next` is one step, whatever the threads
        self._thread.start()

    @property
    def session_id(self) -> str | None:
        """The session's id, for a host that wants to come back to it after its own restart."""
        return self._session.id

    @property
    def state(self) -> str:
        """What `on_state` was told last; "connecting" before it was told anything."""
        return self._thread.state

    @property
    def problem(self) -> BridgeError | None:
        """Why there is no connection now; None while there is one, or before the first attempt has ended."""
        return self._thread.problem

    @property
    def uses_shared_memory(self) -> bool:
        """Whether payloads go through the shared folder now."""
        return self._thread.uses_shared_memory

    def wait_connected(self, timeout: float = 60.0) -> BridgeClient:
        """Wait for the server's answer. Raises BridgeError with the reason where there is none in time."""
        if not self._thread.answered.wait(timeout) or not self._thread.welcomed:
            raise self._thread.problem or BridgeError(
                "no_server", "No server answered.", "Start one with `brushwire serve`.", retryable=True
            )
        return self

    def submit(
        self,
        job: Any,
        *,
        priority: Priority = "interactive",
        slot: str = "",
        on_disconnect: m.OnDisconnect = "keep",
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
        submit = check(m.Submit(str(uuid.uuid4()), kind, fields, priority, slot, on_disconnect))
        try:
            encode(submit)
        except ProtocolError as error:  # in the caller's thread, where it is heard
            raise BridgeError(error.code, error.sentence, "Shorten the prompts.") from None
        handle = Handle(self, submit.id, on_event)
        whole = [blob for blob in blobs if isinstance(blob, Blob)]
        self._thread.call(self._thread.submit, submit, whole, handle, auto_acknowledge)
        return handle

    def run(self, job: Any, timeout: float | None = None, **options: Any) -> JobResult:
        """Submit a job and wait for its result; takes `submit`'s options."""
        return self.submit(job, **options).result(timeout)

    def cancel(self, job_id: str) -> None:
        """Ask the server to end a job."""
        self._thread.call(self._thread.cancel, job_id)

    def acknowledge(self, job_id: str) -> None:
        """Tell the server that a job's end is safe here."""
        self._thread.call(self._session.acknowledge, job_id)

    def claim(self, job_id: str) -> None:
        """Take over a job whose client is gone; its end comes through `on_orphan`."""
        self._thread.call(self._session.claim, job_id)

    def query(self, what: m.ListName, timeout: float = 30.0, **narrowed: Any) -> Any:
        """One of the server's lists (see messages.Query). Raises InvalidValue, BridgeError or TimeoutError.

        narrowed: the fields of Query that ``history`` knows, such as ``search="boat", limit=20``.
        """
        return self._ask(check(m.Query(next(self._query_ids), what, **narrowed)), timeout)

    def fetch(self, ref: BlobRef, timeout: float = 60.0) -> Blob:
        """A blob that the history lists; ask for ``history`` first. Raises BridgeError or TimeoutError."""
        future = promise()
        self._thread.call(self._thread.fetch, ref, future)
        blob: Blob = wait(future, timeout, "the blob has not come")
        return blob

    def watch(self, on_activity: Callable[[Event], None] | None) -> None:
        """Be told what becomes of all jobs, whosesoever they are (see messages.Watch); None: be told no more.

        on_activity is called in the I/O thread with `Activity`, `Progress` and `PreviewPixels`.
        """
        self._thread.call(self._thread.watch, on_activity)

    def forget(self, job_id: str) -> None:
        """Delete a job from the history, with what it made."""
        self._thread.call(self._session.send, m.Forget(job_id))

    def ping(self, timeout: float = 30.0) -> None:
        """Wait for a Pong. Raises BridgeError or TimeoutError."""
        self._ask(m.Ping(next(self._query_ids)), timeout)

    def close(self) -> None:
        """End the connection and the thread; jobs go on, and their results wait on the server."""
        self._thread.close()

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

    def _ask(self, question: m.Query | m.Ping, timeout: float) -> Any:
        future = promise()

        def give_up() -> None:
            with contextlib.suppress(BridgeError):
                self._thread.call(self._thread.give_up, question.id)

        self._thread.call(self._thread.ask, question, future)
        return wait(future, timeout, "the server has not answered", give_up)

    def _find_server(self, given_up: Callable[[], bool]) -> tuple[str, str]:
        token = self._token or discovery.token(self._runtime)
        if self._url:
            return self._url, token
        address = launch.find(self._runtime, self._start_server, self._server_command, given_up)
        if address is None:
            raise BridgeError("no_server", "No server is running.", "Start one with `brushwire serve`.", retryable=True)
        return address.url, token
