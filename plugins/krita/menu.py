"""The docker's menu: presets, what is done with results, and the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from plugins.common.files import UnreadableFile
from plugins.common.settings import Preset, read_preset

from .canvas import CanvasError
from .layers import read_hand_over
from .qt import QtWidgets
from .texts import tr

_FILES = "Brushwire (*.json)"
_MAPS = "Brushwire (*.npz)"


class Docker(Protocol):
    """What the menu needs of the docker that it belongs to."""

    studio: Any
    workspace: Any
    steering: Any
    mode: Any
    form: Any

    def reset(self) -> None: ...

    def load_values(self, kind: str, values: dict[str, Any]) -> None: ...

    def complain(self, sentence: str, remedy: str) -> None: ...


class DockerMenu(QtWidgets.QToolButton):
    """A button with a menu that is made anew each time it opens, so that it shows the presets that there are."""

    def __init__(self, docker: Docker) -> None:
        super().__init__()
        self._docker = docker
        self.setText("☰")
        self.setToolTip(tr("Presets and settings"))
        self.setAutoRaise(True)
        self.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QtWidgets.QMenu(self)
        menu.aboutToShow.connect(lambda: self._fill(menu))
        self.setMenu(menu)

    def _fill(self, menu: QtWidgets.QMenu) -> None:
        menu.clear()
        studio = self._docker.studio
        menu.addSection(tr("Presets"))
        kind = self._docker.mode.kind
        for preset in studio.presets.all(kind):
            menu.addAction(preset.name, lambda preset=preset: self._docker.load_values(preset.kind, preset.values))
        menu.addAction(tr("Save as preset…"), self._save)
        menu.addAction(tr("Import a preset…"), self._import)
        menu.addAction(tr("Export these settings…"), self._export)
        remove = menu.addMenu(tr("Remove a preset"))
        remove.setEnabled(bool(studio.presets.all(kind)))
        for preset in studio.presets.all(kind):
            remove.addAction(preset.name, lambda preset=preset: studio.presets.remove(preset))
        menu.addAction(tr("Reset these settings"), self._docker.reset)
        menu.addSeparator()
        menu.addAction(tr("Add a pose"), self.add_pose)
        menu.addAction(tr("Open captured maps…"), self.ask_for_maps)
        at_once = menu.addAction(tr("Apply single results at once"))
        at_once.setCheckable(True)
        at_once.setChecked(studio.settings["apply_at_once"])
        at_once.toggled.connect(lambda on: studio.settings.__setitem__("apply_at_once", on))
        menu.addAction(tr("Ask the server for its models again"), studio.refresh)

    def _save(self) -> None:
        name, given = QtWidgets.QInputDialog.getText(self, tr("Save as preset"), tr("Name"))
        if given and name.strip():
            self.save_as(name.strip())

    def save_as(self, name: str) -> Path:
        """Keep the present settings under a name."""
        return self._docker.studio.presets.save(Preset(name, self._docker.mode.kind, self._docker.form.values))

    def _import(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self, tr("Import a preset"), "", _FILES)
        if path:
            self.import_from(Path(path))

    def import_from(self, path: Path) -> None:
        """Take a preset that somebody else has made, and keep it."""
        try:
            preset = read_preset(path)
        except UnreadableFile as error:
            self._docker.complain(error.sentence, error.remedy)
            return
        self._docker.studio.presets.save(preset)
        self._docker.load_values(preset.kind, preset.values)

    def _export(self) -> None:
        path, _ = QtWidgets.QFileDialog.getSaveFileName(self, tr("Export these settings"), "preset.json", _FILES)
        if path:
            made = self.save_as(Path(path).stem)
            Path(path).write_bytes(made.read_bytes())

    def add_pose(self) -> None:
        """A person who stands, to be moved with Krita's tools, as a control layer."""
        try:
            self._docker.workspace.add_pose()
        except CanvasError as error:
            self._docker.workspace.failed(error)
        self._docker.steering.refresh()

    def ask_for_maps(self) -> None:
        """Let the artist choose a hand-over file."""
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self, tr("Open captured maps"), "", _MAPS)
        if path:
            self.open_maps(Path(path))

    def open_maps(self, path: Path) -> None:
        """Add the exact maps of a hand-over file as control layers."""
        try:
            self._docker.workspace.add_maps(read_hand_over(path))
        except ValueError as error:
            self._docker.complain(str(error), tr("Save it again from Blender."))
        except CanvasError as error:
            self._docker.workspace.failed(error)
        self._docker.steering.refresh()
