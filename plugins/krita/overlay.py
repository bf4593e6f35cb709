"""A preview over Krita's canvas: seen at its place, and not in the document."""

from __future__ import annotations

from typing import Any

from krita import Krita

from .bounds import Bounds
from .qt import QtCore, QtGui, QtWidgets

_CANVASES = ("KisOpenGLCanvas2", "KisQPainterCanvas")


class Overlay(QtWidgets.QWidget):
    """A picture over the canvas of the active view; it follows zoom and rotation, and lets all input pass."""

    def __init__(self) -> None:
        super().__init__()
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_NoSystemBackground)
        self.hide()
        self._image: QtGui.QImage | None = None
        self._bounds = Bounds(0, 0, 0, 0)
        self._document: Any = None
        self._host: QtWidgets.QWidget | None = None
        self._shown_at: Any = None
        # Krita tells nobody when a view scrolls or zooms.
        self._follow = QtCore.QTimer()
        self._follow.setInterval(40)
        self._follow.timeout.connect(self._look)

    def show_image(self, document: Any, image: QtGui.QImage, bounds: Bounds, mask: bytes | None = None) -> None:
        """Show a picture over a rectangle of the document, where the mask is (one byte a pixel of the rectangle)."""
        self._document, self._bounds = document, bounds
        self._image = image if mask is None else _masked(image, mask, bounds)
        self._shown_at = None
        self._look()
        self._follow.start()

    def clear(self) -> None:
        """Show the document alone."""
        self._follow.stop()
        self._image = None
        self.hide()

    def detach(self) -> None:
        """Leave Krita's widgets, before they are gone."""
        self.clear()
        self._document = None
        self.setParent(None)
        self._host = None

    @property
    def shows(self) -> bool:
        """Whether a picture is shown."""
        return self._image is not None

    def _attach(self) -> None:
        host = canvas_widget()
        if host is not self._host:
            if self._host is not None:
                self._host.destroyed.disconnect(self._gone)
            self._host = host
            self.setParent(host)
            if host is not None:
                host.destroyed.connect(self._gone)

    def _gone(self) -> None:
        self._host = None

    def _look(self) -> None:
        """Follow the view; hide where another document is shown."""
        window = Krita.instance().activeWindow()
        view = window.activeView() if window is not None else None
        if view is None or self._image is None or view.document() != self._document:
            self.hide()
            return
        self._attach()
        if self._host is None:
            return
        self.setGeometry(self._host.rect())
        transform = document_to_widget(view)
        if transform != self._shown_at:
            self._shown_at = transform
            self.update()
        if not self.isVisible():
            self.show()
            self.raise_()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        if self._image is None or self._shown_at is None:
            return
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform)
        painter.setTransform(self._shown_at)
        place = QtCore.QRectF(self._bounds.x, self._bounds.y, self._bounds.width, self._bounds.height)
        painter.drawImage(place, self._image)
        pen = QtGui.QPen(QtGui.QColor(61, 174, 233), 0, QtCore.Qt.PenStyle.DashLine)
        painter.setPen(pen)
        painter.drawRect(place)
        painter.end()


def document_to_widget(view: Any) -> QtGui.QTransform:
    """From the document's pixels to the canvas widget's. Flake is Krita's layer of shapes, which lies between them."""
    back, _possible = view.flakeToImageTransform().inverted()
    return back * view.flakeToCanvasTransform()


#: The sub-window that was looked into last, and its canvas: looking takes a millisecond.
_found: list[Any] = [None, None]


def canvas_widget() -> QtWidgets.QWidget | None:
    """The widget that the active view paints on: Krita's interface has no way to it."""
    window = Krita.instance().activeWindow()
    main = window.qwindow() if window is not None else None
    area = main.findChild(QtWidgets.QMdiArea) if main is not None else None
    sub = area.activeSubWindow() if area is not None else None
    if sub is None:
        _found[:] = None, None
    elif sub is not _found[0] or not _is_shown(_found[1]):
        widgets = (one for one in sub.findChildren(QtWidgets.QWidget) if one.metaObject().className() in _CANVASES)
        _found[:] = sub, next(widgets, None)
    return _found[1]


def _is_shown(widget: QtWidgets.QWidget | None) -> bool:
    """Whether it is there still; Krita makes another canvas when its graphics are set up anew."""
    try:
        return widget is not None and widget.isVisible()
    except RuntimeError:  # it is gone
        return False


def _masked(image: QtGui.QImage, mask: bytes, bounds: Bounds) -> QtGui.QImage:
    alpha = QtGui.QImage(mask, bounds.width, bounds.height, bounds.width, QtGui.QImage.Format.Format_Alpha8)
    out = image.convertToFormat(QtGui.QImage.Format.Format_ARGB32_Premultiplied)
    painter = QtGui.QPainter(out)
    painter.setCompositionMode(QtGui.QPainter.CompositionMode.CompositionMode_DestinationIn)
    painter.drawImage(QtCore.QRectF(0, 0, out.width(), out.height()), alpha)
    painter.end()
    return out
