"""Where the connection stands, in words for the artist; and which session a run of the host comes back to."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bridge_protocol.handle import BridgeError

from .files import lock

Phase = Literal["searching", "connecting", "connected", "lost", "closed"]


@dataclass(frozen=True)
class State:
    """Where the connection stands.

    phase: searching (no server is running), connecting (one is said to be there), connected, lost (there was a
    connection, or the server refused it; it is tried again), closed. sentence, remedy: for people.
    """

    phase: Phase
    sentence: str
    remedy: str = ""

    @property
    def connected(self) -> bool:
        """Whether what is asked now goes to the server at once."""
        return self.phase == "connected"


SEARCHING = State("searching", "Looking for the server.")
CLOSED = State("closed", "The connection is closed.")


def state_of(said: str, problem: BridgeError | None, was_connected: bool, *, starts_server: bool) -> State:
    """What the client's state ("connected", "connecting: …", "closed") means for the artist.

    was_connected: whether there was a connection before, in this run of the host.
    """
    if said == "connected":
        return State("connected", "Connected.")
    if said == "closed":
        return CLOSED
    if was_connected:
        refused = problem is not None and problem.code == "handshake_refused"
        sentence = "The connection to the server is lost; what was asked goes on when it is back."
        remedy = "It is tried again by itself; start the server if it has ended."
        return State("lost", sentence, problem.remedy if problem is not None and refused else remedy)
    if problem is None:
        return SEARCHING if starts_server else State("connecting", "Connecting to the server.")
    if problem.code == "no_server":
        if starts_server:
            remedy = "Install Brushwire, or say in the settings where its command lies."
            return State("searching", "No server is running, and none could be started.", remedy)
        return State("searching", problem.sentence, problem.remedy)
    return State("lost", problem.sentence, problem.remedy or "It is tried again by itself.")


class SessionFile:
    """The session that this run of the host has on the server, kept for its next run.

    A host that was closed or killed comes back to its session, and the server tells it again what it did not
    acknowledge. Several runs of one host at a time have a session each: a file is held by a lock, which ends with its
    process.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._lock = _first_free(folder)
        self.id: str | None = self._path.read_text("ascii").strip() or None if self._path.is_file() else None

    def remember(self, session_id: str | None) -> None:
        """Keep the id for the next run."""
        if session_id and session_id != self.id:
            self.id = session_id
            self._path.write_text(session_id, "ascii")

    def close(self) -> None:
        """Let another run have the session."""
        with contextlib.suppress(OSError):  # closed already
            os.close(self._lock)


def _first_free(folder: Path) -> tuple[Path, int]:
    number = 0
    while True:
        held = lock(folder / f"session-{number}.lock")
        if held is not None:
            return folder / f"session-{number}", held
        number += 1
