"""One job as a host sees it: where it stands, what is seen of it, what it made. Changed in the main thread alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge_protocol import messages as m
from bridge_protocol.client_events import PreviewPixels
from bridge_protocol.handle import BridgeError, Handle, JobCancelledError, JobResult

from .thumbnails import Picture

Stage = Literal["preparing", "waiting", "painting", "finished", "failed", "cancelled"]

ENDED: tuple[Stage, ...] = ("finished", "failed", "cancelled")


@dataclass(eq=False)
class Task:
    """A job on its way, or its end.

    kind: of job. title: for people. values: its form's. place: where its result belongs, in the host's own terms;
    plain values, kept with the history. stage: preparing (its arrays are hashed), waiting (for the server, or for its
    turn), painting, and how it ended. preview: the newest. result: what it made. problem: why it made nothing.
    from_before: whether an earlier run of the host asked for it. placed: whether the result is where it belongs.
    """

    kind: str
    title: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    stage: Stage = "preparing"
    position: int = 0
    progress: m.Progress | None = None
    preview: Picture | None = None
    result: JobResult | None = None
    problem: BridgeError | None = None
    from_before: bool = False
    placed: bool = False
    #: Called with the task at each change, in the main thread.
    on_change: Callable[[Task], object] | None = None

    handle: Handle | None = field(default=None, repr=False)
    cancelled: bool = False
    acknowledged: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.stage in ENDED

    @property
    def fraction(self) -> float | None:
        """How much of the steps are done, 0…1; None where that is not known."""
        progress = self.progress
        if self.stage == "finished":
            return 1.0
        return progress.step / progress.steps if progress is not None and progress.steps else None

    @property
    def sentence(self) -> str:
        """Where it stands, for people."""
        if self.stage == "painting" and self.progress is not None:
            return progress_sentence(self.progress)
        if self.stage == "waiting" and self.position > 0:
            return f"Waiting; {self.position} before it."
        if self.problem is not None and self.stage == "failed":
            return self.problem.sentence
        return _SENTENCES[self.stage]

    def take(self, event: object) -> None:
        """The server has told something on the way."""
        if self.ended:
            return
        if isinstance(event, m.Accepted):
            self.stage, self.position = "waiting", event.position
        elif isinstance(event, m.Progress):
            self.stage, self.progress = "painting", event
        elif isinstance(event, PreviewPixels):
            shown = event.preview
            self.preview = Picture(shown.width, shown.height, shown.channels, event.pixels)
        self.changed()

    def end(self, result: JobResult | None, problem: BridgeError | None) -> None:
        """The job has ended, one way or another."""
        self.result, self.problem = result, problem
        if result is not None:
            self.stage = "finished"
        else:
            self.stage = "cancelled" if isinstance(problem, JobCancelledError) else "failed"
        self.changed()

    def changed(self) -> None:
        """Tell the host."""
        if self.on_change is not None:
            self.on_change(self)


def progress_sentence(progress: m.Progress) -> str:
    """How far a job is: ``Sampling, step 3 of 20, 12 s left.``"""
    words = (progress.phase or "painting").replace("_", " ").capitalize()
    if progress.steps:
        words += f", step {progress.step} of {progress.steps}"
    if progress.eta is not None:
        words += f", {duration(progress.eta)} left"
    return words + "."


def duration(seconds: float) -> str:
    """Seconds as people read them: ``8 s``, ``2 min 5 s``."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


_SENTENCES: dict[str, str] = {
    "preparing": "Preparing.",
    "waiting": "Waiting.",
    "painting": "Painting.",
    "finished": "Finished.",
    "failed": "Failed.",
    "cancelled": "Cancelled.",
}
