"""A server in a process of its own, so that it can be killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from bridge_protocol import discovery

_SCRIPT = """
import asyncio, pickle, sys
from server import app
if __name__ == "__main__":
    settings = pickle.loads(bytes.fromhex(sys.argv[1]))
    asyncio.run(app.run(settings, lambda running: print("ready", running.address.url, flush=True)))
"""


class ServerProcess:
    """`start`, and `kill` as nothing can prepare for; the folders are the same each time."""

    def __init__(self, settings, script_folder: Path):
        self.settings = replace(settings)
        self._script, self._log = script_folder / "serve.py", script_folder / "server.log"
        self._script.write_text(_SCRIPT)
        self.process = None

    def start(self):
        root = str(Path(__file__).parents[2])
        log = self._log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, str(self._script), pickle.dumps(self.settings).hex()],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        line = self.process.stdout.readline()
        assert line.startswith("ready"), self.log
        return self

    @property
    def url(self):
        return discovery.find(self.settings.runtime).url

    @property
    def log(self):
        return self._log.read_text("utf-8", "replace")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        self.process.stdout.close()
