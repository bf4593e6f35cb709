"""The plug-in as GIMP sees it: its procedures."""

from __future__ import annotations

import sys
from typing import Any

import gi

for _name, _version in {"Gimp": "3.0", "Gegl": "0.4"}.items():
    gi.require_version(_name, _version)

from gi.repository import Gimp

from . import procedures


class Brushwire(Gimp.PlugIn):
    """GIMP asks for the names first, and keeps them; each run is a process of its own."""

    def do_set_i18n(self, _procedure: str) -> bool:
        """No translations."""
        return False

    def do_query_procedures(self) -> list[str]:
        """The names."""
        return procedures.names()

    def do_create_procedure(self, name: str) -> Any:
        """One of them."""
        return procedures.create(self, name)


def main() -> None:
    """Run as GIMP's plug-in."""
    Gimp.main(Brushwire.__gtype__, sys.argv)
