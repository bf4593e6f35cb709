"""The command line, as a terminal of 80 columns in some folder runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def brushwire(folder: Path, runtime: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command, whose server listens where `runtime` says; it must end with that code."""
    done = subprocess.run(
        [sys.executable, "-m", "server.cli", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BRUSHWIRE_RUNTIME": str(runtime), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done
