"""A server of one's own for a while: on a free port, with its own folders, gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from bridge_protocol import discovery
from bridge_protocol.client import BridgeError
from server import machine

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class TemporaryServer:
    """``with TemporaryServer(models) as server``: a server process; its clients take `server.runtime`.

    Raises BridgeError where it does not start, with the end of its log.
    """

    def __init__(self, models: Sequence[Path]) -> None:
        self._models = models

    def __enter__(self) -> TemporaryServer:
        """Start it and wait until it listens."""
        # SIGTERM ends a Python without a word to its `with` blocks; the server would live on.
        self._on_term = signal.signal(signal.SIGTERM, _leave) if _in_main_thread() else None
        # Sockets and their like have short paths; the system's temporary folder is one.
        self._folder = tempfile.TemporaryDirectory(prefix="brushwire-")
        folder = Path(self._folder.name)
        self.runtime, self._log = folder / "run", folder / "log"
        command = [sys.executable, "-m", "server.cli", "serve", "--port", "0", "--data", str(folder / "data")]
        for models in self._models:
            command += ["--models", str(models)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "BRUSHWIRE_RUNTIME": str(self.runtime)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        deadline = time.monotonic() + START_SECONDS
        while discovery.find(self.runtime) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log_tail()
                self.__exit__()
                raise BridgeError("no_server", "The server did not start.", tail)
            time.sleep(0.02)
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop it, and remove its folders."""
        machine.end_process(self.process, STOP_SECONDS)
        self._folder.cleanup()
        if _in_main_thread():
            signal.signal(signal.SIGTERM, self._on_term)

    def log_tail(self, lines: int = 20) -> str:
        """The end of the server's log."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
