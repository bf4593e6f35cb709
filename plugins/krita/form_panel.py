"""What is asked, in the docker: the words, the settings of each way of working, control layers and regions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bridge_protocol.records import InvalidValue
from plugins.common.forms import Form
from plugins.common.studio import Studio

from .form_view import FormView, PromptEdit
from .modes import BY_KEY, MODES, Mode
from .qt import QtCore, QtWidgets, Signal
from .steering_view import SteeringView
from .texts import tr
from .widgets import Section


class FormPanel(QtWidgets.QScrollArea):
    """The form of one way of working at a time; each keeps its own settings, and all share the words.

    complain: told a sentence and its remedy. key: of the way of working that is shown first.
    """

    #: Something of what would be asked is another now.
    changed = Signal()
    submitted = Signal()

    def __init__(self, studio: Studio, complain: Callable[[str, str], object], key: str) -> None:
        super().__init__()
        self._studio, self._complain = studio, complain
        self.mode: Mode = BY_KEY[key]
        #: The forms that were shown, by the keys of their ways of working.
        self.forms: dict[str, Form] = {}
        self.essential: FormView | None = None
        self.advanced: FormView | None = None
        self.hint = QtWidgets.QLabel()
        self.hint.setWordWrap(True)
        self.hint.setEnabled(False)
        self.prompt = PromptEdit(tr("What to paint"), 3)
        self.negative = PromptEdit(tr("What to keep out"), 1)
        self._words = {"prompt": self.prompt, "negative_prompt": self.negative}
        self._essential_place = QtWidgets.QVBoxLayout()
        advanced_place = QtWidgets.QWidget()
        self._advanced_place = QtWidgets.QVBoxLayout(advanced_place)
        self._advanced_place.setContentsMargins(0, 0, 0, 0)
        self.steering = SteeringView(complain)
        self._steering_section = Section(tr("Control layers and regions"), self.steering)
        self._advanced_section = Section(tr("More options"), advanced_place)

        inner = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(inner)
        column.setContentsMargins(6, 2, 6, 2)
        column.setSpacing(6)
        column.addWidget(self.hint)
        column.addWidget(self.prompt)
        column.addWidget(self.negative)
        column.addLayout(self._essential_place)
        column.addWidget(self._steering_section)
        column.addWidget(self._advanced_section)
        column.addStretch(1)
        self.setWidgetResizable(True)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inner)
        for name, edit in self._words.items():
            edit.submitted.connect(self.submitted)
            edit.textChanged.connect(partial(self._text_changed, name, edit))
        self.steering.changed.connect(self.changed)

    @property
    def form(self) -> Form:
        """The settings of the present way of working."""
        key = self.mode.key
        if key not in self.forms:
            form = self._studio.form(self.mode.kind)
            for name, value in self.mode.preset.items():
                if name in form:
                    form[name] = value
            self.forms[key] = form
        return self.forms[key]

    def choose(self, mode: Mode) -> None:
        """Go over to another way of working."""
        self.mode = mode
        self.hint.setText(tr(mode.hint))
        form = self.form
        for name, edit in self._words.items():
            edit.setVisible(name in form)
            if name in form:
                form[name] = edit.toPlainText()
        self._draw()

    def keep_form(self, mode: Mode, form: Form, values: dict[str, Any]) -> None:
        """What `choose` will show next of that way of working: a form filled elsewhere, and the words of `values`."""
        self.forms[mode.key] = form
        for name, edit in self._words.items():
            edit.setPlainText(str(values.get(name, "")))

    def load(self, values: dict[str, Any]) -> None:
        """Take a preset's values into the present form; words that it lacks stay."""
        words = {name: self.form[name] for name in self._words if name in self.form}
        dropped = self.form.load(values)
        for name, edit in self._words.items():
            if name in self.form:
                self.form[name] = values.get(name, words[name])
                edit.setPlainText(self.form[name])
        self._draw()
        self.say_dropped(dropped)

    def say_dropped(self, dropped: list[str]) -> None:
        """Tell which settings were not taken."""
        if dropped:
            self._complain(tr("Some of these settings are not known here any more."), " ".join(dropped))

    def fill_choices(self) -> None:
        """The server's lists are others now."""
        for form in self.forms.values():
            form.lists = self._studio.lists
        for view in (self.essential, self.advanced):
            if view is not None:
                view.fill_choices()

    def _draw(self) -> None:
        form, hidden = self.form, self.mode.hidden
        fields = [field for field in form if field.name not in hidden]
        essential = [field for field in fields if field.essential or field.required]
        for old in (self.essential, self.advanced):
            if old is not None:
                # It stays Qt's: what Python owns alone may be destroyed by whichever thread collects its garbage.
                old.hide()
                old.deleteLater()
        self.essential = FormView(form, essential, self._complain)
        self.advanced = FormView(form, [field for field in fields if field not in essential], self._complain)
        self._essential_place.addWidget(self.essential)
        self._advanced_place.addWidget(self.advanced)
        self._advanced_section.setVisible(not self.advanced.is_empty)
        steered = {field.name for field in form.hosted}
        self._steering_section.setVisible(bool({"controls", "regions"} & steered))
        for view in (self.essential, self.advanced):
            view.changed.connect(self.changed)

    def _text_changed(self, name: str, edit: PromptEdit) -> None:
        if name in self.form:
            try:
                self.form[name] = edit.toPlainText()
            except InvalidValue as error:
                self._complain(str(error), error.remedy)
        self.changed.emit()


def mode_of(kind: str) -> Mode:
    """The first way of working that makes that kind of job."""
    return next(mode for mode in MODES if mode.kind == kind)
