"""One job from its start to its end, for a procedure that waits for it: with GIMP's progress bar, or without."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from gi.repository import Gimp

from bridge_protocol.records import InvalidValue

from ..common.studio import Studio
from ..common.tasks import Task
from . import modes, work
from .modes import Mode
from .work import Delivered, Errand

#: How long a procedure waits for a server before it says that there is none. Starting one takes some seconds.
CONNECT_SECONDS = 90.0
#: The same where no server is to be started.
FIND_SECONDS = 5.0
_TICK = 0.05


class JobError(Exception):
    """A job has made nothing. sentence, remedy: for people."""

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.sentence, self.remedy = sentence, remedy


class Run:
    """A connection for one procedure's run, closed with the block.

    It remembers nothing: no file is written, and a result that cannot be put in place stays with the server. progress:
    whether GIMP's progress bar is shown; its Cancel kills this process, and the server ends the job of a client that
    is gone. on_tick: called in the main thread while it waits.
    """

    def __init__(self, *, progress: bool, on_tick: Callable[[], object] = lambda: None, **studio: Any) -> None:
        self._woken = threading.Event()
        self._progress, self._on_tick = progress, on_tick
        if progress:
            Gimp.progress_init("Brushwire")
        self._listed = False
        self.studio = Studio("gimp", "GIMP", remembers=False, wake=self._woken.set, **studio)
        self.studio.on_lists.append(self._lists_came)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.studio.close()

    def connect(self) -> Run:
        """Wait for the server. Raises JobError where there is none."""
        starts = self.studio.starts_server
        deadline = time.monotonic() + (CONNECT_SECONDS if starts else FIND_SECONDS)
        self._show("Connecting to Brushwire", None)
        while not self.studio.state.connected:
            state = self.studio.state
            if time.monotonic() > deadline or (starts and state.remedy and state.phase == "searching"):
                raise JobError(state.sentence, state.remedy or "Start one with `brushwire serve`.")
            self._wait()
        return self

    def check(self, mode: Mode, values: dict[str, Any]) -> None:
        """Raises InvalidValue for a value that the server would pass over: it has no such field."""
        if modes.unknown(mode, values, self.studio.schema):  # to this version; a newer server may know it
            deadline = time.monotonic() + CONNECT_SECONDS
            while not self._listed and self.studio.state.connected and time.monotonic() < deadline:
                self._wait()
            for name in modes.unknown(mode, values, self.studio.schema):
                allowed = f"left out: this server's {mode.kind} has no such field"
                raise InvalidValue(f"options.{name}", values[name], allowed, "Correct its name, or leave it out.")

    def job(self, errand: Errand) -> Task:
        """Submit an errand and wait for its end. Raises JobError where it made nothing."""
        form = self.studio.form(errand.mode.kind)
        task = self.studio.submit(errand.make, form, title=errand.mode.label, on_disconnect="cancel")
        while not task.ended:
            self._show(task.sentence, task.fraction)
            self._wait()
        if task.result is None:
            problem = task.problem
            raise JobError(problem.sentence if problem else task.sentence, problem.remedy if problem else "")
        return task

    def deliver(self, errand: Errand, task: Task, image: Gimp.Image | None = None) -> Delivered:
        """Put the result in place; only then the server may forget it. Raises CanvasError, OSError."""
        assert task.result is not None
        delivered = work.deliver(errand, task.result, image)
        self.studio.placed(task)
        return delivered

    def _lists_came(self) -> None:
        self._listed = True

    def _wait(self) -> None:
        self._woken.wait(_TICK)
        self._woken.clear()
        self.studio.pump()
        self._on_tick()

    def _show(self, text: str, fraction: float | None) -> None:
        if not self._progress:
            return
        Gimp.progress_set_text(text)
        if fraction is None:
            Gimp.progress_pulse()
        else:
            Gimp.progress_update(fraction)


def paint(
    mode: Mode, image: Gimp.Image | None, values: dict[str, Any], file: Any = None, *, progress: bool = False,
    **options: Any,
) -> Delivered:  # fmt: skip
    """Read, ask, wait, and put in place. Raises CanvasError, InvalidValue, JobError, OSError."""
    errand = work.gather(mode, image, values, file)
    with Run(progress=progress, **options) as run:
        run.connect()
        run.check(mode, values)
        return run.deliver(errand, run.job(errand))
