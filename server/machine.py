"""What differs between operating systems on the server's side: folders, locks, signals and processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import platformdirs
import psutil

from bridge_protocol.machine import private_folder, shared_root

#: The file in a shared folder that names the process that made it.
_OWNER = "owner"


class FolderInUse(Exception):
    """Another server works in that folder."""


def data_folder() -> Path:
    """Where this user's journal and blobs lie unless another folder is chosen; ``BRUSHWIRE_DATA`` overrides it."""
    chosen = os.environ.get("BRUSHWIRE_DATA")
    return Path(chosen) if chosen else platformdirs.user_data_path("brushwire", appauthor=False)


def models_folder() -> Path:
    """Where this user's models lie unless other folders are chosen."""
    return data_folder() / "models"


def lock_folder(folder: Path) -> IO[bytes]:
    """Claim a folder for this process until the returned file is closed, or the process ends in whatever way.

    Raises FolderInUse.
    """
    private_folder(folder)
    file = (folder / "lock").open("a+b")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise FolderInUse(
            f"Another server works in {folder}. Use that one, stop it, or give this one another folder with --data."
        ) from None
    return file


def on_stop(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` on the loop when the process is asked to end (Ctrl-C, SIGTERM, a closed console)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is None:
            continue
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows' loops have none
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def end_process(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a server's process to end, and make it end if it does not within that time."""
    if sys.platform == "win32":
        process.send_signal(signal.CTRL_BREAK_EVENT)
    else:
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ignore_interrupts() -> None:
    """A worker outlives the Ctrl-C that its terminal sends to every process: the server tells it when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def own_shared_folder(folder: Path) -> None:
    """Write down that this process made a shared folder, so that it can be known for an orphan one day."""
    (folder / _OWNER).write_text(str(os.getpid()))


def remove_orphaned_shared_folders() -> None:
    """Remove the shared folders of servers that died without doing so: they hold memory."""
    for folder in shared_root().iterdir():
        with contextlib.suppress(OSError, ValueError):  # another server's, being made or removed right now
            if not psutil.pid_exists(int((folder / _OWNER).read_text())):
                shutil.rmtree(folder, ignore_errors=True)
