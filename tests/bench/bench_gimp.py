"""Pixels out of real GIMP, read and framed by the plug-in, against the PNG export that other plug-ins go through."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.table import Row, at_most
from tests.hosts import hosts
from tests.hosts.gimp_host import PROGRAM, GimpHost


def rows() -> list[Row]:
    """None where GIMP is not installed."""
    reason = hosts.missing(PROGRAM)
    if reason:
        print(f"GIMP is not measured: {reason}", file=sys.stderr)
        return []
    folder = Path(tempfile.mkdtemp(prefix="brushwire-bench-", dir="/tmp"))
    try:
        gimp = GimpHost(folder, folder / "run")
        times = gimp.console("pixels.speed", side=2048, folder=str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        at_most("GIMP: 2048² read and framed", times["ours"], times["png"], "GIMP's PNG export", 0.1),
        Row("GIMP: 2048² read and framed", times["ours"], 250.0, "the bound", "≤ 1", times["ours"] <= 250),
    ]
