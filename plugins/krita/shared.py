"""The one workspace of this run of Krita, and its end before Krita's own."""

from __future__ import annotations

import os
from pathlib import Path

from krita import Krita

from plugins.common.studio import Studio

from .qt import QtCore, Signal
from .workspace import Workspace

#: What the docker keeps besides the studio's own settings.
DEFAULTS = {"mode": "generate", "apply_at_once": True}


class _Waker(QtCore.QObject):
    """Brings news from the studio's threads to Krita's main thread, by a queued signal."""

    woken = Signal()


class _Shared:
    def __init__(self) -> None:
        runtime = os.environ.get("BRUSHWIRE_RUNTIME")
        self.waker = _Waker()
        self.studio = Studio(
            "krita",
            f"Krita {Krita.instance().version()}",
            wake=self.waker.woken.emit,
            runtime=Path(runtime) if runtime else None,
            defaults=DEFAULTS,
        )
        self.waker.woken.connect(self.studio.pump, QtCore.Qt.ConnectionType.QueuedConnection)
        self.workspace = Workspace(self.studio)
        notifier = Krita.instance().notifier()
        notifier.setActive(True)
        notifier.applicationClosing.connect(self.close)
        self.notifier = notifier

    def close(self) -> None:
        """Before Krita's objects go: no timer, no thread and no callback may outlive them."""
        for docker in Krita.instance().dockers():
            leave = getattr(docker, "leave", None)
            if leave is not None:
                leave()
        self.workspace.close()
        self.studio.close()


_made: list[_Shared] = []


def shared() -> Workspace:
    """The workspace, made at the first call."""
    if not _made:
        _made.append(_Shared())
    return _made[0].workspace
