"""What a client's caller holds: a job on its way, its result, and why there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.exceptions import InvalidHandshake

from . import messages as m
from .blobs import Blob
from .client_events import Event, PreviewPixels, Refused

log = logging.getLogger("brushwire.client")


class BridgeError(Exception):
    """A job made nothing, or the server could not be reached.

    code: stable, for programs. sentence, remedy: for people. retryable: whether the same may succeed later.
    field: the job's field that was wrong, if one was.
    """

    def __init__(self, code: str, sentence: str, remedy: str = "", *, retryable: bool = False, field: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.code, self.sentence, self.remedy, self.retryable, self.field = code, sentence, remedy, retryable, field


class JobCancelledError(BridgeError):
    """The job was cancelled, or a newer one took its slot."""


@dataclass(frozen=True)
class JobResult:
    """What a job made: `outputs` in their order, with their bytes in `blobs`, and what is to be told about all."""

    id: str
    outputs: list[m.Output]
    blobs: list[Blob]
    info: dict[str, Any]


class Handle:
    """A job that was submitted: its progress, its newest preview, its result."""

    def __init__(self, client: _Client, job_id: str, on_event: Callable[[Event], None] | None) -> None:
        self.id = job_id
        #: The newest of each, or None.
        self.progress: m.Progress | None = None
        self.preview: PreviewPixels | None = None
        #: Resolves to a JobResult, or raises BridgeError.
        self.future: Future[JobResult] = Future()
        self.future.set_running_or_notify_cancel()  # from here on only the job's end resolves it, no `cancel()` of its
        self._client = client
        self._on_event = on_event

    @property
    def done(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self.future.done()

    def result(self, timeout: float | None = None) -> JobResult:
        """Wait for the job's end. Raises BridgeError where it failed, JobCancelledError, or TimeoutError."""
        try:
            return self.future.result(timeout)
        except FutureTimeout:
            raise TimeoutError(f"job {self.id} has not ended within {timeout} s; it goes on") from None

    def cancel(self) -> None:
        """Ask the server to end this job; its end comes as JobCancelledError, or as its result if that was first."""
        self._client.cancel(self.id)

    def acknowledge(self) -> None:
        """Tell the server that the result is safe here; only for jobs submitted with ``auto_acknowledge=False``."""
        self._client.acknowledge(self.id)

    def take(self, event: Event) -> None:
        """The client's I/O thread tells what happened to the job."""
        if isinstance(event, m.Progress):
            self.progress = event
        elif isinstance(event, PreviewPixels):
            self.preview = event
        call_back(self._on_event, event)


class _Client(Protocol):
    def cancel(self, job_id: str) -> None: ...

    def acknowledge(self, job_id: str) -> None: ...


def call_back(callback: Callable[[Any], None] | None, news: Any) -> None:
    """Tell a caller some news; what its callback raises is logged."""
    if callback is not None:
        try:
            callback(news)
        except Exception:  # the caller's mistake must not end the connection
            log.exception("a callback failed")


def error_of(event: Event) -> BridgeError:
    """Why a job that ended so has no result."""
    if isinstance(event, Refused):
        error = event.error
        return BridgeError(error.code, error.sentence, error.remedy, retryable=error.retryable, field=error.field)
    if isinstance(event, m.Cancelled):
        return JobCancelledError(event.reason, f"The job was {event.reason}.")
    assert isinstance(event, m.Failed)
    return BridgeError(event.code, event.sentence, event.remedy, retryable=event.retryable)


def problem_of(error: Exception) -> BridgeError:
    """Why a connection ended, or did not come about."""
    if isinstance(error, ConnectionRefusedError):
        return BridgeError(
            "no_server", "No server answers at its address.", "Start one with `brushwire serve`.", retryable=True
        )
    if isinstance(error, InvalidHandshake):
        return BridgeError(
            "handshake_refused",
            f"The server refused the connection ({error}).",
            "Check that client and server share the runtime folder and its token.",
        )
    return BridgeError("connection_lost", f"The connection ended ({error}).", retryable=True)
