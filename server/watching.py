"""Watching a job from a terminal: its progress on one line, its arrays at the end."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeError, Handle, JobResult

err = Console(stderr=True)


def follow(handle: Handle, title: str, timeout: float | None = None) -> JobResult:
    """Wait for a job and show how far it is; Ctrl-C cancels it. Raises BridgeError, TimeoutError."""
    deadline = None if timeout is None else time.monotonic() + timeout
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[phase]}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task(escape(title[:40]), total=None, phase="queued")
        while True:
            try:
                return handle.future.result(0.1)
            except FutureTimeout:
                now = handle.progress
                if now is not None:
                    progress.update(bar, completed=now.step, total=now.steps or None, phase=now.phase)
            except KeyboardInterrupt:
                handle.cancel()
                raise
            if deadline is not None and time.monotonic() > deadline:
                handle.cancel()
                raise BridgeError("timeout", f"The job has not ended within {timeout:g} s, and was cancelled.")


def array_of(blob: Blob) -> Any:
    """A blob as an array."""
    return np.frombuffer(blob.data, blob.ref.dtype).reshape(blob.ref.shape)
