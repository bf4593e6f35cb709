"""Widgets for a job's form: one for each field, drawn from what the server's schema says of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from bridge_protocol.records import InvalidValue
from plugins.common.forms import Field, Form

from .qt import QtCore, QtGui, QtWidgets, Signal
from .texts import tr

#: Texts of several lines.
_LONG = frozenset({"prompt", "negative_prompt"})
MAX_SEED = 2**53 - 1
#: Names that are no words.
_LABELS = {"loras": "LoRAs", "vae": "VAE", "clip_skip": "CLIP skip", "fov": "Field of view", "gltf": "glTF"}
_SLIDER_STEPS = 1000


class PromptEdit(QtWidgets.QPlainTextEdit):
    """A text of several lines that grows with what stands in it; Ctrl+Return submits."""

    submitted = Signal()

    def __init__(self, placeholder: str, lines: int) -> None:
        super().__init__()
        self.setPlaceholderText(placeholder)
        self.setTabChangesFocus(True)
        self._lines = lines
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.textChanged.connect(self._fit)
        self._fit()

    def _fit(self) -> None:
        metrics = QtGui.QFontMetrics(self.font())
        lines = min(max(self._lines, self.document().blockCount()), 8)
        self.setFixedHeight(lines * metrics.lineSpacing() + 2 * self.frameWidth() + 10)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        control = event.modifiers() & QtCore.Qt.KeyboardModifier.ControlModifier
        if event.key() in (QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter) and control:
            self.submitted.emit()
        else:
            super().keyPressEvent(event)


class NumberEdit(QtWidgets.QWidget):
    """A slider with a spin box for a number of a small range; the box alone for others.

    An optional number has one step below its range that stands for none.
    """

    changed = Signal(object)

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        whole = field.type == "integer"
        self._low = field.minimum if field.minimum is not None else -1e6
        self._high = field.maximum if field.maximum is not None else 1e6
        self._step = field.step or (1 if whole else 0.05)
        self.box = QtWidgets.QSpinBox() if whole else QtWidgets.QDoubleSpinBox()
        lowest = self._low - self._step if field.optional else self._low
        if whole:
            self.box.setRange(int(max(lowest, -(2**31))), int(min(self._high, 2**31 - 1)))
            self.box.setSingleStep(int(self._step))
        else:
            self.box.setDecimals(3 if self._step < 0.01 else 2)
            self.box.setRange(lowest, self._high)
            self.box.setSingleStep(self._step)
        if field.optional:
            self.box.setSpecialValueText(tr("Automatic"))
        if field.unit:
            self.box.setSuffix(f" {field.unit}")
        self.box.setKeyboardTracking(False)
        self.box.setMinimumWidth(76)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self.slider: QtWidgets.QSlider | None = None
        if not field.optional and field.minimum is not None and (self._high - self._low) / self._step <= _SLIDER_STEPS:
            self.slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
            self.slider.setRange(0, round((self._high - self._low) / self._step))
            self.slider.setMinimumWidth(48)
            self.slider.valueChanged.connect(self._slid)
            layout.addWidget(self.slider, 1)
            layout.addWidget(self.box)
        else:
            layout.addWidget(self.box, 1)
        self.box.valueChanged.connect(self._typed)

    def value(self) -> Any:
        """The number; None where an optional one is left to the server."""
        value = self.box.value()
        if self.field.optional and value < self._low:
            return None
        return value if self.field.type == "integer" else round(value, 6)

    def set_value(self, value: Any) -> None:
        """Show a value without telling of a change."""
        for widget in (self.box, self.slider):
            if widget is not None:
                widget.blockSignals(True)
        self.box.setValue(self.box.minimum() if value is None else value)
        if self.slider is not None:
            self.slider.setValue(round((self.box.value() - self._low) / self._step))
        for widget in (self.box, self.slider):
            if widget is not None:
                widget.blockSignals(False)

    def _slid(self, at: int) -> None:
        value = self._low + at * self._step
        self.set_value(int(value) if self.field.type == "integer" else value)
        self.changed.emit(self.value())

    def _typed(self, _value: float) -> None:
        value = self.value()
        if self.field.type == "integer" and value is not None and self.field.step:
            value = round(value / self._step) * int(self._step)  # the server refuses what is no multiple
        self.set_value(value)
        self.changed.emit(value)


class SeedEdit(QtWidgets.QWidget):
    """A seed up to 2⁵³ − 1, which no spin box holds; none lets the server draw one."""

    changed = Signal(object)

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.text = QtWidgets.QLineEdit()
        self.text.setPlaceholderText(tr("Random"))
        self.text.setValidator(QtGui.QRegularExpressionValidator(QtCore.QRegularExpression("[0-9]{0,16}")))
        self.text.setClearButtonEnabled(True)
        dice = QtWidgets.QToolButton()
        dice.setText("⚂")
        dice.setToolTip(tr("Draw a seed, and keep it"))
        dice.clicked.connect(lambda: self.text.setText(str(random.randrange(2**32))))
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.text, 1)
        layout.addWidget(dice)
        self.text.textChanged.connect(lambda _text: self.changed.emit(self.value()))

    def value(self) -> int | None:
        """The seed, or None."""
        return min(int(self.text.text()), MAX_SEED) if self.text.text() else None

    def set_value(self, value: int | None) -> None:
        """Show a seed."""
        self.text.blockSignals(True)
        self.text.setText("" if value is None else str(value))
        self.text.blockSignals(False)


class ChoiceEdit(QtWidgets.QComboBox):
    """One of several."""

    changed = Signal(object)

    def __init__(self, form: Form, field: Field) -> None:
        super().__init__()
        self._form, self.field = form, field
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.fill()
        self.currentIndexChanged.connect(lambda _index: self.changed.emit(self.value()))

    def fill(self) -> None:
        """Take the choices anew; what was chosen stays."""
        self.blockSignals(True)
        self.clear()
        for choice in self._form.choices(self.field):
            self.addItem(tr(choice.label), choice.value)
        if self.field.required and self._form[self.field.name] is None and self.count():
            self._form[self.field.name] = self.itemData(0)
        self.set_value(self._form[self.field.name])
        self.blockSignals(False)

    def value(self) -> Any:
        """What is chosen."""
        return self.currentData()

    def set_value(self, value: Any) -> None:
        """Choose."""
        self.setCurrentIndex(self.findData(value))


class ManyEdit(QtWidgets.QWidget):
    """Any number of several: a check box for each."""

    changed = Signal(object)

    def __init__(self, field: Field) -> None:
        super().__init__()
        assert field.items is not None
        layout = QtWidgets.QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._boxes = {}
        for index, choice in enumerate(field.items.choices):
            box = QtWidgets.QCheckBox(tr(choice.replace("_", " ").capitalize()))
            box.toggled.connect(lambda _on: self.changed.emit(self.value()))
            layout.addWidget(box, index // 2, index % 2)
            self._boxes[choice] = box

    def value(self) -> list[str]:
        """What is checked."""
        return [choice for choice, box in self._boxes.items() if box.isChecked()]

    def set_value(self, value: Iterable[str]) -> None:
        """Check those."""
        for choice, box in self._boxes.items():
            box.blockSignals(True)
            box.setChecked(choice in value)
            box.blockSignals(False)


class WeightsEdit(QtWidgets.QWidget):
    """A list of records of a choice and a number, such as LoRAs with their weights."""

    changed = Signal(object)

    def __init__(self, form: Form, field: Field) -> None:
        super().__init__()
        assert field.items is not None
        self._form, self.field = form, field
        self._choice, self._number = field.items.fields[:2]
        self._rows: list[tuple[QtWidgets.QComboBox, QtWidgets.QDoubleSpinBox, QtWidgets.QWidget]] = []
        self._layout = QtWidgets.QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        add = QtWidgets.QToolButton()
        add.setText("＋ " + tr("Add"))
        add.clicked.connect(lambda: (self._add(None, 1.0), self.changed.emit(self.value())))
        self._layout.addWidget(add)

    def _add(self, chosen: str | None, weight: float) -> None:
        row = QtWidgets.QWidget()
        layout = QtWidgets.QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        combo = QtWidgets.QComboBox()
        for choice in self._form.choices(self._choice):
            combo.addItem(choice.label, choice.value)
        if chosen is not None and combo.findData(chosen) < 0:
            combo.addItem(chosen, chosen)
        combo.setCurrentIndex(max(0, combo.findData(chosen)))
        box = QtWidgets.QDoubleSpinBox()
        box.setRange(self._number.minimum or 0.0, self._number.maximum or 1.0)
        box.setSingleStep(self._number.step or 0.05)
        box.setValue(weight)
        remove = QtWidgets.QToolButton()
        remove.setText("✕")
        remove.setToolTip(tr("Remove"))
        for widget, stretch in ((combo, 1), (box, 0), (remove, 0)):
            layout.addWidget(widget, stretch)
        entry = (combo, box, row)
        combo.currentIndexChanged.connect(lambda _index: self.changed.emit(self.value()))
        box.valueChanged.connect(lambda _value: self.changed.emit(self.value()))
        remove.clicked.connect(lambda: (self._remove(entry), self.changed.emit(self.value())))
        self._rows.append(entry)
        self._layout.insertWidget(self._layout.count() - 1, row)

    def _remove(self, entry: Any) -> None:
        self._rows.remove(entry)
        entry[2].deleteLater()

    def value(self) -> list[dict[str, Any]]:
        """The records."""
        names = self._choice.name, self._number.name
        return [{names[0]: combo.currentData(), names[1]: box.value()} for combo, box, _ in self._rows
                if combo.currentData()]  # fmt: skip

    def set_value(self, value: list[dict[str, Any]]) -> None:
        """Show those records."""
        for entry in list(self._rows):
            self._remove(entry)
        for one in value:
            self._add(one.get(self._choice.name), float(one.get(self._number.name, 1.0)))


class FlagEdit(QtWidgets.QCheckBox):
    """Yes or no."""

    changed = Signal(object)

    def __init__(self, field: Field) -> None:
        super().__init__(label_of(field))
        self.toggled.connect(self.changed.emit)

    def value(self) -> bool:
        """Whether it is checked."""
        return self.isChecked()

    def set_value(self, value: bool) -> None:
        """Check it or not."""
        self.blockSignals(True)
        self.setChecked(bool(value))
        self.blockSignals(False)


class TextEdit(QtWidgets.QLineEdit):
    """A text of one line."""

    changed = Signal(object)

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.textChanged.connect(self.changed.emit)

    def value(self) -> str:
        """The text."""
        return self.text()

    def set_value(self, value: str) -> None:
        """Show a text."""
        self.blockSignals(True)
        self.setText(value or "")
        self.blockSignals(False)


def label_of(field: Field) -> str:
    """A field's name in the artist's language."""
    return tr(_LABELS.get(field.name, field.label))


def edit_for(form: Form, field: Field) -> Any:
    """The widget for a field, or None where it needs a host's own."""
    if field.name == "seed":
        return SeedEdit(field)
    if field.type in ("integer", "number"):
        return NumberEdit(field)
    if field.type == "boolean":
        return FlagEdit(field)
    if field.type == "choice" or (field.type == "text" and field.choices_from):
        return ChoiceEdit(form, field)
    if field.type == "text":
        return TextEdit(field)
    if field.type == "list" and field.items is not None:
        if field.items.type == "choice":
            return ManyEdit(field)
        kinds = [one.type for one in field.items.fields]
        if kinds[:2] == ["text", "number"] and field.items.fields[0].choices_from:
            return WeightsEdit(form, field)
    return None


class FormView(QtWidgets.QWidget):
    """The fields of a form in two columns: their names, and what changes them."""

    changed = Signal()

    def __init__(self, form: Form, fields: Iterable[Field], complain: Callable[[str, str], object]) -> None:
        super().__init__()
        self.form = form
        self._complain = complain
        self._edits: dict[str, Any] = {}
        layout = QtWidgets.QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setHorizontalSpacing(8)
        layout.setVerticalSpacing(4)
        layout.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.setLabelAlignment(QtCore.Qt.AlignmentFlag.AlignLeft)
        for field in fields:
            edit = None if field.name in _LONG else edit_for(form, field)
            if edit is None:
                continue
            edit.setToolTip(field.doc)
            self._edits[field.name] = edit
            edit.set_value(form[field.name])
            edit.changed.connect(lambda value, name=field.name: self._set(name, value))
            if isinstance(edit, FlagEdit):
                layout.addRow("", edit)
            else:
                label = QtWidgets.QLabel(label_of(field))
                label.setToolTip(field.doc)
                layout.addRow(label, edit)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to set."""
        return not self._edits

    def show_values(self) -> None:
        """Show the form's values, after they were changed elsewhere."""
        for name, edit in self._edits.items():
            edit.set_value(self.form[name])

    def fill_choices(self) -> None:
        """Take the server's lists anew."""
        for edit in self._edits.values():
            if isinstance(edit, ChoiceEdit):
                edit.fill()

    def _set(self, name: str, value: Any) -> None:
        try:
            self.form[name] = value
        except InvalidValue as error:
            self._complain(str(error), error.remedy)
            self._edits[name].set_value(self.form[name])
        self.changed.emit()
