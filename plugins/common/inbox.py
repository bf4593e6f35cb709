"""News for the host's main thread: put in by any thread, taken out by the host when it has time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable

log = logging.getLogger("brushwire.plugin")


class Inbox:
    """A queue of calls that the host's main thread makes.

    wake: called in the thread that puts the first call into an empty queue, so that a host can ask its event loop for
    a `pump` (a Qt signal, GLib.idle_add); None: the host pumps by a timer.
    """

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        self.wake = wake
        self._lock = threading.Lock()
        self._calls: dict[Hashable, Callable[[], object]] = {}

    def put(self, call: Callable[[], object], key: Hashable = None) -> None:
        """Let the main thread make that call.

        With a key, it takes the place of the one of that key that still waits: of progress and previews only the
        newest counts, and a host that is busy for long finds one of each.
        """
        with self._lock:
            was_empty = not self._calls
            self._calls[object() if key is None else key] = call
        if was_empty and self.wake is not None:
            self.wake()

    def pump(self, budget_seconds: float = 0.008) -> int:
        """Make the calls that wait, until there are none or the time is used up; returns how many still wait.

        At least one is made. What a call raises is logged: one listener's mistake must not keep the others from theirs.
        """
        end = time.monotonic() + budget_seconds
        while True:
            with self._lock:
                if not self._calls:
                    return 0
                call = self._calls.pop(next(iter(self._calls)))
            try:
                call()
            except Exception:  # whatever it is: the listeners after it are still called
                log.exception("a listener failed")
            if time.monotonic() >= end:
                with self._lock:
                    left = len(self._calls)
                if left and self.wake is not None:
                    self.wake()
                return left
