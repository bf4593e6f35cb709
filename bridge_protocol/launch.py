"""Starting the server where none is running: as a process of its own that outlives its client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import discovery

#: The server listens before it loads anything, so this is the time for Python to start.
_TIMEOUT = 60.0


#: What a host sets for its own Python and libraries, and would break the server's.
_HOSTS_OWN = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH")


def find(
    runtime: Path | None, start: bool, command: str | None, given_up: Callable[[], bool]
) -> discovery.Address | None:
    """Where a server listens; where none does, one is started if `start` says so. See `start_server`."""
    address = discovery.find(runtime)
    if start and (address is None or not discovery.listens(address)):
        address = start_server(runtime, command, given_up)
    return address


def start_server(
    runtime: Path | None = None, command: str | None = None, given_up: Callable[[], bool] = lambda: False
) -> discovery.Address | None:
    """Run ``brushwire serve`` detached and wait until it has told where it listens; None where that fails.

    command: the `brushwire` command, where it is not on the path. given_up: asked while it waits; the server goes on.
    """
    command = command or shutil.which("brushwire") or str(Path(sys.executable).with_name("brushwire"))
    if not Path(command).exists():
        return None
    environment = dict(os.environ)
    # A virtual environment's command finds its own packages; this process's settings are only for itself.
    if Path(command).parent != Path(sys.executable).parent:
        for name in _HOSTS_OWN:
            environment.pop(name, None)
    if runtime is not None:
        environment["BRUSHWIRE_RUNTIME"] = str(runtime)
    stale = discovery.find(runtime)
    process = subprocess.Popen(
        [command, "serve"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline and process.poll() is None and not given_up():
        address = discovery.find(runtime)
        if address is not None and address != stale:
            return address
        time.sleep(0.05)
    return None
