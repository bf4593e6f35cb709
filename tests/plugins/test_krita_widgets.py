"""The docker's widgets outside of Krita, with PyQt6 or PyQt5 where one of them is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("krita_widgets.py")
#: A Python with PyQt6 in an environment of its own; the project's own environment has no Qt.
PYTHON = os.environ.get("BRUSHWIRE_QT_PYTHON", sys.executable)


def test_every_form_is_drawn_and_read_back(tmp_path):
    if sys.executable == PYTHON and not any(importlib.util.find_spec(name) for name in ("PyQt6", "PyQt5")):
        pytest.skip("neither PyQt6 nor PyQt5 is installed here; name a Python that has one in BRUSHWIRE_QT_PYTHON")
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [PYTHON, str(SCRIPT), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Qt ")
    assert (tmp_path / "widgets.png").stat().st_size > 5000
