"""The docker: what is asked, how far it is, what came of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from krita import DockWidget, Krita

from plugins.common.forms import Form
from plugins.common.tasks import Task

from . import rasters
from .canvas import Canvas, CanvasError
from .form_panel import FormPanel, mode_of
from .history_panel import PREVIEW_SIDE, HistoryPanel
from .live import Live
from .menu import DockerMenu
from .modes import BY_KEY, MODES, Mode
from .overlay import Overlay
from .places import Place
from .qt import QtCore, QtGui, QtWidgets
from .shared import shared
from .strokes import Strokes
from .texts import tr
from .widgets import Message, ModeButtons, Picture, ProgressLine, StateLine

log = logging.getLogger("brushwire.krita")

#: The document, its selection and its layers are looked at so often: Krita tells nobody that they change.
_LOOK = 500


class BrushwireDocker(DockWidget):
    """One window's docker. All windows share one workspace, and so one connection and one history."""

    def __init__(self) -> None:
        super().__init__()
        self.setWindowTitle("Brushwire")
        self.workspace = shared()
        self.studio = self.workspace.studio
        self.overlay = Overlay()
        self.live = Live(self.workspace, self._live_picture)
        self.strokes = Strokes(self.live.touched)
        self._current: Task | None = None
        self._build()
        self._listen()
        self.choose(self.panel.mode.key)
        self._show_state(self.studio.state)
        self._timer = QtCore.QTimer(self)
        self._timer.setInterval(_LOOK)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    # -- how it looks

    def _build(self) -> None:
        self.state = StateLine()
        self.menu = DockerMenu(self)
        self.message = Message()
        self.buttons = ModeButtons([(mode.key, tr(mode.label), tr(mode.hint)) for mode in MODES])
        self.panel = FormPanel(self.studio, self.complain, self._setting("mode", "generate"))
        self.steering = self.panel.steering
        more = QtWidgets.QMenu(self.steering.more)
        more.addAction(tr("Add a pose"), self.menu.add_pose)
        more.addAction(tr("Open captured maps…"), self.menu.ask_for_maps)
        self.steering.more.setMenu(more)
        self.generate = QtWidgets.QPushButton(tr("Paint"))
        self.generate.setToolTip(tr("Ask for it (Ctrl+Return in the text above)"))
        font = self.generate.font()
        font.setBold(True)
        self.generate.setFont(font)
        self.progress = ProgressLine()
        self.picture = Picture()
        self.history = HistoryPanel(self.workspace, self.overlay, self.complain)

        bottom = QtWidgets.QWidget()
        below = QtWidgets.QVBoxLayout(bottom)
        below.setContentsMargins(6, 2, 6, 6)
        below.setSpacing(6)
        below.addWidget(self.message)
        below.addWidget(self.generate)
        below.addWidget(self.progress)
        below.addWidget(self.picture)
        below.addWidget(self.history, 1)
        splitter = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self.panel)
        splitter.addWidget(bottom)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)

        top = QtWidgets.QHBoxLayout()
        top.addWidget(self.state, 1)
        top.addWidget(self.menu)
        whole = QtWidgets.QWidget()
        layout = QtWidgets.QVBoxLayout(whole)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        head = QtWidgets.QVBoxLayout()
        head.setContentsMargins(6, 4, 6, 0)
        head.addLayout(top)
        head.addWidget(self.buttons)
        layout.addLayout(head)
        layout.addWidget(splitter, 1)
        whole.setMinimumWidth(240)
        self.setWidget(whole)

    def _listen(self) -> None:
        self.buttons.chosen.connect(self.choose)
        self.panel.submitted.connect(self.paint)
        self.panel.changed.connect(self._form_changed)
        self.generate.clicked.connect(lambda _on: self.paint())
        self.progress.cancelled.connect(self.cancel)
        self.history.again.connect(self.use_again)
        self.studio.on_state.append(self._show_state)
        self.studio.on_task.append(self._task_changed)
        self.studio.on_lists.append(self.panel.fill_choices)
        self.workspace.on_problem.append(self.complain)
        self.workspace.on_placed.append(self._placed)
        self.workspace.on_file = self._ask_path

    def canvasChanged(self, canvas: Any) -> None:
        """Krita tells that another view is active, or none."""
        self._look()

    def leave(self) -> None:
        """Krita ends, or this window does: let go of everything that would be called later."""
        self._timer.stop()
        self.live.stop()
        self.strokes.stop()
        self.overlay.detach()
        self.steering.set_document(None)
        for listeners, own in (
            (self.studio.on_state, self._show_state),
            (self.studio.on_task, self._task_changed),
            (self.studio.on_lists, self.panel.fill_choices),
            (self.workspace.on_problem, self.complain),
            (self.workspace.on_placed, self._placed),
        ):
            if own in listeners:
                listeners.remove(own)

    # -- what is asked

    def choose(self, key: str) -> None:
        """Go over to another way of working; each keeps its own settings, and all share the words."""
        if self.live.on:
            self.toggle_live()
        self.studio.settings["mode"] = key
        self.buttons.show_chosen(key)
        self.panel.choose(BY_KEY[key])
        self.generate.setText(self._verb())

    @property
    def mode(self) -> Mode:
        """The present way of working."""
        return self.panel.mode

    @property
    def form(self) -> Form:
        """Its settings."""
        return self.panel.form

    def paint(self) -> None:
        """Ask for what the form says."""
        self.message.hide()
        if self.mode.key == "live":
            self.toggle_live()
            return
        if self.mode.needs_prompt and not str(self.form["prompt"]).strip():
            self.complain(tr("There are no words yet."), tr("Say above what to paint."))
            self.panel.prompt.setFocus()
            return
        if self.mode.key in ("seamless", "material"):
            self._wrap_around()
        self.history.list.setCurrentItem(None)
        self.workspace.ask(self.mode, self.form)

    def _wrap_around(self) -> None:
        """Krita's own way to look at what continues at its edges."""
        window = Krita.instance().activeWindow()
        view = window.activeView() if window is not None else None
        if view is not None and self.form["seamless"] != "none":
            view.canvas().setWrapAroundMode(True)

    def toggle_live(self) -> None:
        """Begin or end live painting."""
        if self.live.on:
            self.live.stop()
            self.strokes.stop()
            self.overlay.clear()
            self.picture.hide()
        else:
            try:
                self.live.start(self.form)
                self.strokes.start(Canvas(self.workspace.document))
            except CanvasError as error:
                self.workspace.failed(error)
        self.generate.setText(self._verb())

    def _verb(self) -> str:
        if self.mode.key == "live":
            return tr("Stop") if self.live.on else tr("Start live painting")
        if self.mode.becomes == "file":
            return tr("Make")
        return tr("Read") if self.mode.becomes == "control" else tr("Paint")

    def _form_changed(self) -> None:
        if self.live.on:
            self.live.changed_words()

    def cancel(self) -> None:
        """End the present job."""
        if self._current is not None:
            self.studio.cancel(self._current)

    def use_again(self, job_id: str) -> None:
        """Take an earlier job's settings into the form."""
        entry = self.studio.history.get(job_id) if self.studio.history is not None else None
        place = Place.from_plain(entry.place) if entry is not None else None
        if entry is None or place is None:
            return
        form, dropped = self.studio.use_again(entry)
        self.panel.keep_form(BY_KEY[place.mode], form, entry.values)
        self.choose(place.mode)
        self.panel.say_dropped(dropped)

    def load_values(self, kind: str, values: dict[str, Any]) -> None:
        """Take a preset's values."""
        if kind != self.mode.kind:
            self.choose(mode_of(kind).key)
        self.panel.load(values)

    def reset(self) -> None:
        """Forget the settings of the present way of working."""
        del self.panel.forms[self.mode.key]
        self.choose(self.mode.key)

    # -- what comes back

    def complain(self, sentence: str, remedy: str) -> None:
        """Show what went wrong, with its remedy."""
        self.message.say(sentence, remedy)

    def _show_state(self, state: Any) -> None:
        self.state.show_state(state.phase, state.sentence, state.remedy)

    def _task_changed(self, task: Task) -> None:
        place = Place.from_plain(task.place)
        if place is not None and place.mode == "live":
            return
        if task.ended:
            self._ended(task)
        elif self._current is None or self._current.ended or task is self._current:
            self._current = task
            if self.isVisible():
                self.progress.show_progress(task.fraction, tr_sentence(task))
                self._show_preview(task, place)
            else:
                self.progress.show_progress(task.fraction, tr_sentence(task))

    def _show_preview(self, task: Task, place: Place | None) -> None:
        small = task.preview
        if small is None or place is None:
            return
        image = rasters.image_of(small.pixels, small.width, small.height, small.channels)
        self.picture.show_image(image)
        document = self.workspace.documents.find(place.document)
        if document is not None and document == self.workspace.document:
            self.overlay.show_image(document, image, place.bounds, place.alpha)

    def _ended(self, task: Task) -> None:
        if task is self._current:
            running = [one for one in self.studio.tasks if not one.ended and one.place.get("mode") != "live"]
            self._current = running[0] if running else None
            if self._current is None:
                self.progress.hide()
                self.picture.hide()
                self.overlay.clear()
        if task.stage == "failed" and task.problem is not None:
            self.complain(task.problem.sentence, task.problem.remedy)
        self.history.job_ended(task.id)

    def _placed(self, job_id: str) -> None:
        self.overlay.clear()
        self.history.job_ended(job_id)
        if self.workspace.document is not None:
            self.steering.refresh()

    def _live_picture(self, task: Task) -> None:
        if task.stage == "failed" and task.problem is not None:
            self.complain(task.problem.sentence, task.problem.remedy)
        if task.stage == "finished" and task.result is not None and self.live.on:
            image = rasters.image_of_blob(task.result.blobs[0], PREVIEW_SIDE)
            if image is not None:
                self.overlay.show_image(self.workspace.document, image, self.live.bounds)
                self.picture.show_image(image)

    def _ask_path(self, name: str) -> Path | None:
        suffix = str(self.form["format"]) if "format" in self.form else "glb"
        path, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, tr("Save the mesh"), f"{name}.{suffix}", f"{suffix.upper()} (*.{suffix})"
        )
        return Path(path) if path else None

    def _look(self) -> None:
        """Notice that another document is worked in, or that layers are gone."""
        document = self.workspace.document
        self.history.follow(document, another=document != self.steering.document)
        if document != self.steering.document:
            self.steering.set_document(document)
        self.workspace.follow_poses()

    def _setting(self, name: str, fallback: str) -> str:
        value = self.studio.settings[name]
        return value if value in BY_KEY else fallback

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:
        """The docker is hidden: nothing of it stays on the canvas."""
        self.overlay.clear()
        super().closeEvent(event)


def tr_sentence(task: Task) -> str:
    """Where a task stands, in the artist's language."""
    progress = task.progress
    if task.stage != "painting" or progress is None:
        return tr(task.sentence)
    words = tr(progress.phase.replace("_", " ").capitalize() if progress.phase else "Painting")
    if progress.steps:
        words += f" {progress.step}/{progress.steps}"
    if progress.eta is not None:
        words += " · " + tr("{0} s left").replace("{0}", str(max(0, round(progress.eta))))
    return words
