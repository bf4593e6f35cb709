"""When and where the brush was: Krita tells nobody, but its canvas gets the events of mouse and pen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from krita import Krita

from .bounds import Bounds
from .canvas import Canvas
from .overlay import canvas_widget, document_to_widget
from .qt import QtCore

_BEGIN = frozenset({QtCore.QEvent.Type.MouseButtonPress, QtCore.QEvent.Type.TabletPress})
_END = frozenset({QtCore.QEvent.Type.MouseButtonRelease, QtCore.QEvent.Type.TabletRelease})
_MOVE = frozenset({QtCore.QEvent.Type.MouseMove, QtCore.QEvent.Type.TabletMove})
#: Krita paints a stroke's last dabs after the event, in threads of its own.
_AFTER = (15, 60)


class Strokes(QtCore.QObject):
    """Tells the part of the document that a stroke went over, when it has ended.

    on_stroke: given bounds in the document's pixels, some room for the brush around the path.
    """

    def __init__(self, on_stroke: Callable[[Bounds], object]) -> None:
        super().__init__()
        self._on_stroke = on_stroke
        self._canvas: Canvas | None = None
        #: Where the present stroke went, and the widget that it is painted on.
        self._path: Bounds | None = None
        self._widget: QtCore.QObject | None = None

    def start(self, canvas: Canvas) -> None:
        """Watch the canvas of the active view."""
        self._canvas = canvas
        QtCore.QCoreApplication.instance().installEventFilter(self)

    def stop(self) -> None:
        """Watch no more."""
        if self._canvas is not None:
            QtCore.QCoreApplication.instance().removeEventFilter(self)
        self._canvas = self._path = self._widget = None

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """See the events of the canvas pass; none is kept."""
        # Every event of Krita's comes by here, those of a brush that hovers by the hundred: most must end at once.
        kind = event.type()
        if kind in _BEGIN:
            if self._canvas is not None and watched is canvas_widget():
                self._widget, self._path = watched, self._at(event)
        elif self._path is not None and watched is self._widget and (kind in _MOVE or kind in _END):
            self._path = self._path.unite(self._at(event))
            if kind in _END:
                path, self._path, self._widget = self._path, None, None
                for delay in _AFTER:
                    QtCore.QTimer.singleShot(delay, lambda: self._on_stroke(path))
        return False

    def _at(self, event: Any) -> Bounds:
        view = Krita.instance().activeWindow().activeView()
        position = _position(event)
        back, possible = document_to_widget(view).inverted()
        point = back.map(position) if possible else QtCore.QPointF()
        radius = int(view.brushSize() / 2) + 2 if hasattr(view, "brushSize") else 64
        return Bounds(int(point.x()), int(point.y()), 1, 1).pad(radius)


def _position(event: Any) -> QtCore.QPointF:
    """Where an event happened, in its widget: Qt 5 and 6 name it differently."""
    return event.position() if hasattr(event, "position") else QtCore.QPointF(event.pos())
