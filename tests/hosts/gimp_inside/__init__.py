"""What the tests do inside of GIMP, in the process of python-fu-eval. Standard library and gi alone.

Each function that a test names takes what the test gave it and returns plain values, which come back as JSON.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

import gi

# Here, before any module of this folder takes them from `gi.repository`.
for _name, _version in {"Gimp": "3.0", "GimpUi": "3.0", "Gegl": "0.4", "Gtk": "3.0"}.items():
    gi.require_version(_name, _version)

sys.path.insert(0, os.environ["BRUSHWIRE_PLUGIN"])


def run(function, given, report):
    """Call a function ("pixels.ramp") and write what it returns, or what it raises, as JSON."""
    try:
        module, _, name = function.partition(".")
        module = importlib.import_module(f"{__name__}.{module}")
        found = {"value": getattr(module, name)(**json.loads(Path(given).read_text()))}
    except Exception:  # noqa: BLE001 - the test tells it
        found = {"error": traceback.format_exc()}
    part = Path(report + ".part")
    part.write_text(json.dumps(found))
    part.replace(report)
