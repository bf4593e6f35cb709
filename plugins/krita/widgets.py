"""Small widgets that the docker is put together from."""

from __future__ import annotations

from .qt import QtCore, QtGui, QtWidgets, Signal
from .texts import tr

GREEN, AMBER, RED, GREY = "#4caf50", "#ffb300", "#e5534b", "#8a8a8a"


class Section(QtWidgets.QWidget):
    """A heading that shows and hides what is below it."""

    def __init__(self, title: str, body: QtWidgets.QWidget, *, opened: bool = False) -> None:
        super().__init__()
        self.body = body
        self.head = QtWidgets.QToolButton()
        self.head.setText(title)
        self.head.setCheckable(True)
        self.head.setChecked(opened)
        self.head.setAutoRaise(True)
        self.head.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.head)
        holder = QtWidgets.QHBoxLayout()
        holder.setContentsMargins(10, 0, 0, 4)
        holder.addWidget(body)
        layout.addLayout(holder)
        self.head.toggled.connect(self._show)
        self._show(opened)

    def _show(self, opened: bool) -> None:
        self.head.setArrowType(QtCore.Qt.ArrowType.DownArrow if opened else QtCore.Qt.ArrowType.RightArrow)
        self.body.setVisible(opened)


class StateLine(QtWidgets.QWidget):
    """Where the connection stands: a dot and a sentence, always there."""

    def __init__(self) -> None:
        super().__init__()
        self._dot = QtWidgets.QLabel("●")
        self.text = QtWidgets.QLabel()
        self.text.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(self._dot)
        layout.addWidget(self.text, 1)

    def show_state(self, phase: str, sentence: str, remedy: str) -> None:
        """Show a state of `plugins.common.connection`."""
        colour = {"connected": GREEN, "connecting": AMBER, "searching": AMBER, "lost": RED}.get(phase, GREY)
        self._dot.setStyleSheet(f"color: {colour};")
        self.text.setText(tr(sentence))
        self.setToolTip(f"{tr(sentence)} {tr(remedy)}".strip())


class Message(QtWidgets.QFrame):
    """A sentence with its remedy, until it is closed or something else is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("message")
        self.setStyleSheet(
            f"#message {{ border: 1px solid {RED}; border-radius: 4px; background: rgba(229, 83, 75, 40); }}"
        )
        self.text = QtWidgets.QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(QtCore.Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        close = QtWidgets.QToolButton()
        close.setText("✕")
        close.setAutoRaise(True)
        close.clicked.connect(lambda _on: self.hide())
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self.text, 1)
        layout.addWidget(close, 0, QtCore.Qt.AlignmentFlag.AlignTop)
        self.hide()

    def say(self, sentence: str, remedy: str) -> None:
        """Show it."""
        sentence, remedy = (_escaped(tr(text)) for text in (sentence, remedy))
        self.text.setText(f"<b>{sentence}</b>" + (f"<br>{remedy}" if remedy else ""))
        self.show()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


class ModeButtons(QtWidgets.QWidget):
    """The ways of working, one of them chosen: buttons in rows that are as many as the width has room for."""

    chosen = Signal(str)

    def __init__(self, modes: list[tuple[str, str, str]], columns: int = 4) -> None:
        super().__init__()
        self._group = QtWidgets.QButtonGroup(self)
        self._group.setExclusive(True)
        self._buttons: dict[str, QtWidgets.QToolButton] = {}
        layout = QtWidgets.QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.setStyleSheet("QToolButton:checked { background: palette(highlight); color: palette(highlighted-text); }")
        for index, (key, label, hint) in enumerate(modes):
            button = QtWidgets.QToolButton()
            button.setText(label)
            button.setToolTip(hint)
            button.setCheckable(True)
            button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
            button.setMinimumWidth(30)
            button.clicked.connect(lambda _on, key=key: self.chosen.emit(key))
            self._group.addButton(button)
            self._buttons[key] = button
            layout.addWidget(button, index // columns, index % columns)

    def show_chosen(self, key: str) -> None:
        """Choose without telling."""
        self._buttons[key].setChecked(True)


class ProgressLine(QtWidgets.QWidget):
    """How far the present job is, and what ends it."""

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.bar = QtWidgets.QProgressBar()
        self.bar.setTextVisible(True)
        self.bar.setMinimumWidth(60)
        self.bar.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.cancel = QtWidgets.QToolButton()
        self.cancel.setText("✕")
        self.cancel.setToolTip(tr("Cancel this job"))
        self.cancel.clicked.connect(lambda _on: self.cancelled.emit())
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.cancel)
        self.hide()

    def show_progress(self, fraction: float | None, sentence: str) -> None:
        """Show it; a fraction of None is a bar that only moves."""
        self.bar.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self.bar.setValue(round(fraction * 1000))
        self.bar.setFormat(sentence)
        self.bar.setToolTip(sentence)
        self.show()


class Picture(QtWidgets.QLabel):
    """The newest preview, as wide as the docker; hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        self.hide()

    def show_image(self, image: QtGui.QImage, height: int = 128) -> None:
        """Show a picture."""
        smooth = QtCore.Qt.TransformationMode.SmoothTransformation
        self.setPixmap(QtGui.QPixmap.fromImage(image).scaledToHeight(height, smooth))
        self.setFixedHeight(height)
        self.show()
