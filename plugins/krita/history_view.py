"""The history in the docker: thumbnails to look at, to apply, and to go on from."""

from __future__ import annotations

from typing import Any

from plugins.common.history import Entry
from plugins.common.studio import Studio

from .qt import QtCore, QtGui, QtWidgets, Signal
from .texts import tr

SIDE = 72
_ENTRY = QtCore.Qt.ItemDataRole.UserRole
_INDEX = QtCore.Qt.ItemDataRole.UserRole + 1


class HistoryView(QtWidgets.QWidget):
    """A grid of results, the newest first, with a line to search in.

    chosen: a result is to be seen on the canvas (entry id, index of its output). left: none is. applied: one is to be
    put in place. again: its settings are wanted.
    """

    chosen = Signal(str, int)
    left = Signal()
    applied = Signal(str, int)
    again = Signal(str)

    def __init__(self, studio: Studio) -> None:
        super().__init__()
        self._studio = studio
        self._document = ""
        self._icons: dict[tuple[str, int], QtGui.QIcon] = {}
        self.search = QtWidgets.QLineEdit()
        self.search.setPlaceholderText(tr("Search the history"))
        self.search.setClearButtonEnabled(True)
        self.here = QtWidgets.QToolButton()
        self.here.setText(tr("This document"))
        self.here.setCheckable(True)
        self.here.setChecked(True)
        self.here.setToolTip(tr("Only what was painted for the document that is open"))
        self.list = QtWidgets.QListWidget()
        self.list.setViewMode(QtWidgets.QListView.ViewMode.IconMode)
        self.list.setIconSize(QtCore.QSize(SIDE, SIDE))
        self.list.setGridSize(QtCore.QSize(SIDE + 12, SIDE + 12))
        self.list.setResizeMode(QtWidgets.QListView.ResizeMode.Adjust)
        self.list.setMovement(QtWidgets.QListView.Movement.Static)
        self.list.setUniformItemSizes(True)
        self.list.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setContextMenuPolicy(QtCore.Qt.ContextMenuPolicy.CustomContextMenu)
        self.empty = QtWidgets.QLabel(tr("What is painted is kept here: to look at, to apply, and to go on from."))
        self.empty.setWordWrap(True)
        self.empty.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.empty.setEnabled(False)
        self.apply = QtWidgets.QPushButton(tr("Apply"))
        self.apply.setToolTip(tr("Put the result into the document as a new layer"))
        self.use = QtWidgets.QPushButton(tr("Use again"))
        self.use.setToolTip(tr("Take these settings into the form"))
        self.hide_preview = QtWidgets.QPushButton(tr("Hide"))
        self.hide_preview.setToolTip(tr("Show the document without the preview"))
        for button in (self.apply, self.use, self.hide_preview):
            button.setEnabled(False)

        top = QtWidgets.QHBoxLayout()
        top.addWidget(self.search, 1)
        top.addWidget(self.here)
        bottom = QtWidgets.QHBoxLayout()
        bottom.addWidget(self.apply, 2)
        bottom.addWidget(self.use, 2)
        bottom.addWidget(self.hide_preview, 1)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        self.stack = QtWidgets.QStackedWidget()
        self.stack.addWidget(self.list)
        self.stack.addWidget(self.empty)
        layout.addWidget(self.stack, 1)
        layout.addLayout(bottom)

        self.search.textChanged.connect(lambda _text: self.refresh())
        self.here.toggled.connect(lambda _on: self.refresh())
        self.list.currentItemChanged.connect(lambda _new, _old: self._selected())
        self.list.itemDoubleClicked.connect(lambda _item: self._apply())
        self.list.customContextMenuRequested.connect(self._menu)
        self.apply.clicked.connect(lambda _on: self._apply())
        self.use.clicked.connect(lambda _on: self.again.emit(self._current()[0]))
        self.hide_preview.clicked.connect(lambda _on: self.list.setCurrentItem(None))

    def set_document(self, document_id: str) -> None:
        """Show what was painted for that document first."""
        if document_id != self._document:
            self._document = document_id
            self.refresh()

    def refresh(self) -> None:
        """Show the entries as they are now; what was selected stays selected."""
        current = self._current()
        self.list.blockSignals(True)
        self.list.clear()
        for entry in self._entries():
            for index in range(max(1, len(_pictures(entry)))):
                item = QtWidgets.QListWidgetItem(self._icon(entry, index), "")
                item.setData(_ENTRY, entry.id)
                item.setData(_INDEX, index)
                item.setToolTip(_tooltip(entry, index))
                item.setSizeHint(QtCore.QSize(SIDE + 8, SIDE + 8))
                self.list.addItem(item)
                if (entry.id, index) == current:
                    self.list.setCurrentItem(item)
        self.list.blockSignals(False)
        self.stack.setCurrentIndex(0 if self.list.count() else 1)
        self._enable()

    def _entries(self) -> list[Entry]:
        if self._studio.history is None:
            return []
        found = self._studio.history.search(self.search.text())
        if self.here.isChecked():
            found = [entry for entry in found if entry.place.get("document") == self._document]
        return [entry for entry in found if entry.state == "finished"][:200]

    def _icon(self, entry: Entry, index: int) -> QtGui.QIcon:
        key = (entry.id, index)
        if key not in self._icons:
            path = self._studio.history.thumbnail(entry.id, index)
            image = QtGui.QPixmap(str(path)) if path is not None else QtGui.QPixmap()
            self._icons[key] = QtGui.QIcon(_framed(image, entry.placed))
        return self._icons[key]

    def forget_icon(self, job_id: str) -> None:
        """Draw a job's thumbnails anew."""
        for key in [key for key in self._icons if key[0] == job_id]:
            del self._icons[key]

    def _current(self) -> tuple[str, int]:
        item = self.list.currentItem()
        return ("", 0) if item is None else (str(item.data(_ENTRY)), int(item.data(_INDEX)))

    def _selected(self) -> None:
        self._enable()
        job_id, index = self._current()
        if job_id:
            self.chosen.emit(job_id, index)
        else:
            self.left.emit()

    def _enable(self) -> None:
        for button in (self.apply, self.use, self.hide_preview):
            button.setEnabled(self.list.currentItem() is not None)

    def _apply(self) -> None:
        job_id, index = self._current()
        if job_id:
            self.applied.emit(job_id, index)

    def _menu(self, at: QtCore.QPoint) -> None:
        item = self.list.itemAt(at)
        if item is None:
            return
        menu = QtWidgets.QMenu(self)
        menu.addAction(tr("Apply"), self._apply)
        menu.addAction(tr("Use again"), lambda: self.again.emit(self._current()[0]))
        menu.addSeparator()
        menu.addAction(tr("Remove from the history"), lambda: self._remove(str(item.data(_ENTRY))))
        menu.popup(self.list.viewport().mapToGlobal(at))

    def _remove(self, job_id: str) -> None:
        if self._studio.history is not None:
            self._studio.history.remove(job_id)
        self.refresh()


def _pictures(entry: Entry) -> list[dict[str, Any]]:
    return [output for output in entry.outputs if len(output.get("shape", ())) > 1]


def _tooltip(entry: Entry, index: int) -> str:
    lines = [entry.title]
    outputs = _pictures(entry)
    if index < len(outputs):
        output = outputs[index]
        height, width = output["shape"][:2]
        lines.append(f"{output['name']}, {width}×{height}, {output['dtype']}")
        if "seed" in output["info"]:
            lines.append(f"{tr('Seed')} {output['info']['seed']}")
    if entry.info.get("model"):
        lines.append(str(entry.info["model"]))
    lines += [str(fallback) for fallback in entry.info.get("fallbacks", [])]
    return "\n".join(lines)


def _framed(image: QtGui.QPixmap, placed: bool) -> QtGui.QPixmap:
    """A thumbnail in a square, with a mark where it is in the document."""
    out = QtGui.QPixmap(SIDE, SIDE)
    out.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(out)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    if not image.isNull():
        keep, smooth = QtCore.Qt.AspectRatioMode.KeepAspectRatio, QtCore.Qt.TransformationMode.SmoothTransformation
        small = image.scaled(SIDE, SIDE, keep, smooth)
        painter.drawPixmap((SIDE - small.width()) // 2, (SIDE - small.height()) // 2, small)
    else:
        painter.setPen(QtGui.QColor(128, 128, 128))
        painter.drawRoundedRect(QtCore.QRectF(8.5, 8.5, SIDE - 17, SIDE - 17), 4, 4)
    if placed:
        painter.setBrush(QtGui.QColor(61, 174, 233))
        painter.setPen(QtGui.QPen(QtGui.QColor(255, 255, 255), 1.5))
        painter.drawEllipse(QtCore.QRectF(SIDE - 17, SIDE - 17, 13, 13))
        check = [QtCore.QPointF(SIDE - 14, SIDE - 10.5), QtCore.QPointF(SIDE - 11.5, SIDE - 8),
                 QtCore.QPointF(SIDE - 7.5, SIDE - 13)]  # fmt: skip
        painter.drawPolyline(QtGui.QPolygonF(check))
    painter.end()
    return out
