"""Registers the docker with Krita."""

from __future__ import annotations

from krita import DockWidgetFactory, DockWidgetFactoryBase, Krita

from . import texts
from .docker import BrushwireDocker

ID = "brushwire"


def register() -> None:
    """Let Krita make the docker in each of its windows."""
    texts.install()
    factory = DockWidgetFactory(ID, DockWidgetFactoryBase.DockRight, BrushwireDocker)
    Krita.instance().addDockWidgetFactory(factory)
