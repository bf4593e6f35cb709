"""The docker's widgets without Krita, with whichever Qt this Python has: run by test_krita_widgets.py.

Draws the form of every kind of job from the schema, the lists, the history; says which Qt it was, and saves a picture.
Every name of Qt's that the plugin writes, in files that need Krita too, must be there in this Qt.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge_protocol import jobs
from plugins.common.forms import Form
from plugins.common.history import Entry, History
from plugins.krita import qt, rasters, texts
from plugins.krita.form_view import FormView
from plugins.krita.history_view import HistoryView
from plugins.krita.modes import MODES
from plugins.krita.pixels import Picture
from plugins.krita.qt import QtWidgets
from plugins.krita.widgets import Message, ModeButtons, ProgressLine, Section, StateLine


class Studio:
    """As much of a studio as the history's widget looks at."""

    def __init__(self, folder: Path) -> None:
        self.history = History(folder)


def qt_names(source: str) -> Iterator[str]:
    """The names that a module takes out of Qt's modules: ``QtCore.Qt.AlignmentFlag.AlignLeft``."""
    for node in ast.walk(ast.parse(source)):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in ("QtCore", "QtGui", "QtWidgets"):
            yield ".".join([node.id, *reversed(parts)])


def is_there(name: str) -> bool:
    """Whether this Qt has it."""
    found: object = qt
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is not None


def main() -> None:
    folder = Path(sys.argv[1])
    sources = sorted(Path(qt.__file__).parent.glob("*.py"))
    names = {name for path in sources for name in qt_names(path.read_text("utf-8"))}
    assert len(names) > 100, "the plugin's use of Qt was not found"
    absent = sorted(name for name in names if not is_there(name))
    assert not absent, f"Qt {qt.QT} lacks {absent}"
    application = QtWidgets.QApplication(["widgets", "-platform", "offscreen"])
    complaints: list[str] = []
    schema = jobs.schema()
    for kind in schema:
        form = Form(kind, schema[kind])
        view = FormView(form, form.fields, lambda sentence, remedy: complaints.append(sentence))
        for edit in view._edits.values():
            if edit.value() is not None:  # a list that the server fills is empty here
                edit.changed.emit(edit.value())  # what a widget shows, the form must take
        view.show_values()
        view.fill_choices()
    assert not complaints, complaints
    form = Form("Generate", schema["Generate"])
    view = FormView(form, form.fields, lambda *_: None)
    view._edits["steps"].box.setValue(33)
    view._edits["seed"].text.setText("9007199254740991")
    view._edits["seamless"].setCurrentIndex(3)
    assert (form["steps"], form["seed"], form["seamless"]) == (33, 2**53 - 1, "both")

    lines = bytes([0, 0, 0, 255]) * 15 + bytes([255, 255, 255, 255]) * 210  # 15 pixels: rows that Qt pads
    control = rasters.control_picture(Picture(lines, 15, 15, 4, "uint8"), "scribble")
    assert bytes(control.data) == b"\xff" * 45 + bytes(630)

    studio = Studio(folder / "history")
    studio.history.add(Entry("a", "Generate", "a wall", outputs=[{"name": "image", "shape": [8, 8, 3], "dtype": "uint8",
                                                                 "info": {"seed": 3}}], state="finished"))  # fmt: skip
    history = HistoryView(studio)  # type: ignore[arg-type]
    history.here.setChecked(False)
    history.refresh()
    assert history.list.count() == 1
    assert texts.install("de")
    assert texts.tr("Paint") == "Malen"

    whole = QtWidgets.QWidget()
    column = QtWidgets.QVBoxLayout(whole)
    state, message, progress = StateLine(), Message(), ProgressLine()
    buttons = ModeButtons([(mode.key, texts.tr(mode.label), texts.tr(mode.hint)) for mode in MODES])
    buttons.show_chosen("fill")
    state.show_state("connected", "Connected.", "")
    message.say("Nothing is selected.", "Select what is to be painted.")
    progress.show_progress(0.4, "8/20")
    for widget in (state, buttons, view, Section("x", QtWidgets.QLabel("y"), opened=True), message, progress, history):
        column.addWidget(widget)
    whole.resize(420, 1000)
    whole.show()
    application.processEvents()
    whole.grab().save(str(folder / "widgets.png"))
    print(f"Qt {qt.QT}: {len(schema)} forms, {QtWidgets.QApplication.platformName()}")


if __name__ == "__main__":
    main()
