"""What a client has asked and waits for: answers to queries, pongs, and blobs of the history."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from . import messages as m
from .answers import Answered
from .blobs import Blob
from .client_events import Fetched, Unfetched
from .handle import BridgeError

T = TypeVar("T")


def promise() -> Future[Any]:
    """A future that only the answer resolves."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


def wait(future: Future[T], timeout: float, what: str, on_timeout: Callable[[], object] = lambda: None) -> T:
    """The answer. Raises BridgeError, or TimeoutError with a sentence about `what` has not come."""
    try:
        return future.result(timeout)
    except FutureTimeout:
        on_timeout()
        raise TimeoutError(f"{what} within {timeout} s") from None


class Questions:
    """To be used in the I/O thread alone."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[Future[Any], m.Query | m.Ping]] = {}
        self._fetches: dict[bytes, list[Future[Blob]]] = {}

    @property
    def unanswered(self) -> list[m.Query | m.Ping]:
        """What is to be asked again after a reconnect."""
        return [question for _, question in self._asked.values()]

    def ask(self, question: m.Query | m.Ping, future: Future[Any]) -> None:
        """Expect the answer to a question; its id must be new."""
        self._asked[question.id] = (future, question)

    def give_up(self, question_id: int) -> None:
        """Nobody waits for that answer any more."""
        self._asked.pop(question_id, None)

    def fetch(self, digest: bytes, future: Future[Blob]) -> None:
        """Expect a blob."""
        self._fetches.setdefault(digest, []).append(future)

    def take(self, event: Answered | m.Pong | Fetched | Unfetched) -> None:
        """An answer, or a blob, or why there is none."""
        if isinstance(event, Fetched):
            for future in self._fetches.pop(event.blob.ref.digest, []):
                future.set_result(event.blob)
        elif isinstance(event, Unfetched):
            for future in self._fetches.pop(event.digest, []):
                future.set_exception(_problem(event.error))
        elif event.id in self._asked:
            asked, _ = self._asked.pop(event.id)
            asked.set_result(event.data if isinstance(event, Answered) else None)

    def refuse(self, error: m.Error) -> BridgeError | None:
        """A question was answered with an error; returns the error itself where it is about none of them."""
        problem = _problem(error)
        asked = self._asked.pop(int(error.about), None) if error.about.isdecimal() else None
        if asked is None:
            return problem
        asked[0].set_exception(problem)
        return None

    def close(self, problem: BridgeError) -> None:
        """No answer will come any more."""
        waiting = [future for future, _ in self._asked.values()]
        waiting += [future for futures in self._fetches.values() for future in futures]
        for future in waiting:
            future.set_exception(problem)


def _problem(error: m.Error) -> BridgeError:
    return BridgeError(error.code, error.sentence, error.remedy, retryable=error.retryable)
