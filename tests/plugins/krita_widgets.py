"""The docker's widgets without Krita, with whichever Qt this Python has: run by test_krita_widgets.py.

Draws the form of every kind of job from the schema, the lists, the history; says which Qt it was, and saves a picture.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bridge_protocol import jobs
from plugins.common.forms import Form
from plugins.common.history import Entry, History
from plugins.krita import qt, texts
from plugins.krita.form_view import FormView
from plugins.krita.history_view import HistoryView
from plugins.krita.modes import MODES
from plugins.krita.qt import QtWidgets
from plugins.krita.widgets import Message, ModeButtons, ProgressLine, Section, StateLine


class Studio:
    """As much of a studio as the history's widget looks at."""

    def __init__(self, folder: Path) -> None:
        self.history = History(folder)


def main() -> None:
    folder = Path(sys.argv[1])
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
