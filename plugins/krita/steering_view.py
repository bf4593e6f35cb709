"""The lists of control layers and regions in the docker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from bridge_protocol.painting import ControlKind

from . import canvas as canvases
from .form_view import PromptEdit
from .layers import ControlLayer, RegionLayer, SteeringLayers
from .qt import QtCore, QtWidgets, Signal
from .texts import tr

KINDS: tuple[str, ...] = get_args(ControlKind)
LABELS = {
    "depth": "Depth", "normal": "Normals", "pose": "Pose", "canny": "Canny edges", "softedge": "Soft edges",
    "lineart": "Line art", "scribble": "Scribble", "segmentation": "Segmentation", "mlsd": "Straight lines",
    "tile": "Tile", "inpaint": "Inpaint", "shuffle": "Shuffle", "color": "Colours", "face": "Face",
}  # fmt: skip


class SteeringView(QtWidgets.QWidget):
    """A row for each control layer and each region of a document, and buttons that add the active layer."""

    changed = Signal()

    def __init__(self, complain: Callable[[str, str], object]) -> None:
        super().__init__()
        self._complain = complain
        #: Whose layers are shown, or None.
        self.document: Any = None
        self._rows = QtWidgets.QVBoxLayout()
        self._rows.setSpacing(4)
        self.add_control = QtWidgets.QToolButton()
        self.add_control.setText("＋ " + tr("Control layer"))
        self.add_control.setToolTip(tr("The painting follows the active layer: its lines, depth, pose …"))
        self.add_region = QtWidgets.QToolButton()
        self.add_region.setText("＋ " + tr("Region"))
        self.add_region.setToolTip(tr("Where the active layer is painted, words of its own hold"))
        self.more = QtWidgets.QToolButton()
        self.more.setText("⋯")
        self.more.setToolTip(tr("Open captured maps, add a pose"))
        self.more.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        buttons = QtWidgets.QHBoxLayout()
        for button in (self.add_control, self.add_region, self.more):
            buttons.addWidget(button)
        buttons.addStretch(1)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(self._rows)
        layout.addLayout(buttons)
        self.add_control.clicked.connect(lambda _on: self._add(ControlLayer))
        self.add_region.clicked.connect(lambda _on: self._add(RegionLayer))

    def set_document(self, document: Any) -> None:
        """Show that document's layers."""
        self.document = document
        self.refresh()

    def refresh(self) -> None:
        """Show the lists as the document has them now."""
        while self._rows.count():
            widget = self._rows.takeAt(0).widget()
            widget.hide()
            widget.deleteLater()
        if self.document is None:
            return
        steering = SteeringLayers(self.document)
        steering.drop_missing(lambda layer: canvases.node_by_id(self.document, layer) is not None)
        for control in steering.controls:
            self._rows.addWidget(self._control_row(control))
        for region in steering.regions:
            self._rows.addWidget(self._region_row(region))

    def _add(self, cls: Any) -> None:
        node = self.document.activeNode() if self.document is not None else None
        if node is None:
            self._complain(tr("No layer is active."), tr("Choose one in the Layers docker."))
            return
        steering = SteeringLayers(self.document)
        layer = canvases.id_of(node)
        if any(one.layer == layer for one in (*steering.controls, *steering.regions)):
            self._complain(
                tr("The active layer is in the list already."), tr("Choose another one in the Layers docker.")
            )
            return
        if cls is ControlLayer:
            steering.set_control(ControlLayer(layer))
        else:
            steering.set_region(RegionLayer(layer))
        self.refresh()
        self.changed.emit()

    def _change(self, layer: str, **values: Any) -> None:
        SteeringLayers(self.document).change(layer, **values)
        self.changed.emit()

    def _remove(self, layer: str) -> None:
        SteeringLayers(self.document).remove(layer)
        self.refresh()
        self.changed.emit()

    def _frame(self, layer: str, what: str) -> tuple[QtWidgets.QFrame, QtWidgets.QHBoxLayout, QtWidgets.QVBoxLayout]:
        frame = QtWidgets.QFrame()
        frame.setFrameShape(QtWidgets.QFrame.Shape.StyledPanel)
        layout = QtWidgets.QVBoxLayout(frame)
        layout.setContentsMargins(6, 4, 4, 4)
        layout.setSpacing(3)
        top = QtWidgets.QHBoxLayout()
        node = canvases.node_by_id(self.document, layer)
        name = QtWidgets.QLabel(node.name())
        name.setToolTip(f"{what}: {node.name()}")
        name.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        remove = QtWidgets.QToolButton()
        remove.setText("✕")
        remove.setAutoRaise(True)
        remove.setToolTip(tr("Remove from the list; the layer stays"))
        remove.clicked.connect(lambda _on: self._remove(layer))
        top.addWidget(name, 1)
        top.addWidget(remove)
        layout.addLayout(top)
        return frame, top, layout

    def _control_row(self, control: ControlLayer) -> QtWidgets.QWidget:
        frame, top, layout = self._frame(control.layer, tr("Control layer"))
        kind = QtWidgets.QComboBox()
        for one in KINDS:
            kind.addItem(tr(LABELS.get(one, one)), one)
        kind.setCurrentIndex(kind.findData(control.kind))
        kind.currentIndexChanged.connect(lambda _index: self._change(control.layer, kind=kind.currentData()))
        top.insertWidget(1, kind)
        if control.exact:
            mark = QtWidgets.QLabel("⌖")
            mark.setToolTip(tr("Exact data from a scene belongs to this layer; it is sent as float."))
            top.insertWidget(1, mark)
        numbers = QtWidgets.QHBoxLayout()
        ranges = (("weight", tr("Weight"), 2.0), ("start", tr("from"), 1.0), ("end", tr("to"), 1.0))
        for name, label, most in ranges:
            box = QtWidgets.QDoubleSpinBox()
            box.setRange(0.0, most)
            box.setSingleStep(0.05)
            box.setKeyboardTracking(False)
            box.setValue(getattr(control, name))
            box.valueChanged.connect(lambda value, name=name: self._change(control.layer, **{name: round(value, 3)}))
            numbers.addWidget(QtWidgets.QLabel(label))
            numbers.addWidget(box, 1)
        layout.addLayout(numbers)
        return frame

    def _region_row(self, region: RegionLayer) -> QtWidgets.QWidget:
        frame, _top, layout = self._frame(region.layer, tr("Region"))
        prompt = PromptEdit(tr("What to paint there"), 1)
        prompt.setPlainText(region.prompt)
        # Written when typing pauses: each write goes into the document.
        pause = QtCore.QTimer(prompt)
        pause.setSingleShot(True)
        pause.setInterval(400)
        pause.timeout.connect(lambda: self._change(region.layer, prompt=prompt.toPlainText()))
        prompt.textChanged.connect(pause.start)
        layout.addWidget(prompt)
        return frame
