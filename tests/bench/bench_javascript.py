"""The JavaScript client: a 2048² picture read, hashed, framed and sent, against the peers' PNG in base64 in JSON."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.bench.table import Row, at_most

ROOT = Path(__file__).parents[2]
VITE = ROOT / "node_modules/vite/bin/vite.js"


def rows() -> Iterator[Row]:
    """One row; none where Node.js is not here or `npm ci` was not run."""
    if shutil.which("node") is None or not VITE.exists():
        return
    out = ROOT / "build" / "bench"
    build = ["node", VITE, "build", "--ssr", "tests/bench/javascript.ts", "--outDir", out, "--logLevel", "error"]
    subprocess.run(build, cwd=ROOT, check=True)
    done = subprocess.run(["node", out / "javascript.js"], cwd=ROOT, check=True, capture_output=True, text=True)
    times = json.loads(done.stdout)
    ours, theirs = statistics.median(times["ours"]), statistics.median(times["theirs"])
    yield at_most("JavaScript: 2048² read, framed and sent", ours, theirs, "PNG and base64", 0.1)
