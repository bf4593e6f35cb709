"""A form as Gtk widgets: one for each field, by its type and range; those for whoever asks for more in an expander."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gi

gi.require_version("Gtk", "3.0")

from gi.repository import Gtk, Pango

from bridge_protocol.records import InvalidValue

from ..common.forms import Field, Form

#: Texts that are written in sentences get a box of so many lines.
_LINES = {"prompt": 4, "negative_prompt": 2}
#: What a number that may be left out begins with when it is switched on and has no minimum to begin with.
_FIRST = {"guidance_scale": 7.5, "width": 512, "height": 512}


class FormView(Gtk.Box):
    """The form's widgets; what is changed in them is changed in the form.

    on_change: called after each change.
    """

    def __init__(self, form: Form, on_change: Callable[[], object] = lambda: None) -> None:
        super().__init__(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        self._on_change = on_change
        self.form = form
        self.problem = Gtk.Label(xalign=0, wrap=True, no_show_all=True)
        self.problem.get_style_context().add_class("error")
        self.show_form(form)

    def show_form(self, form: Form) -> None:
        """Draw another form, or the same one anew (its values, or the server's lists, have changed)."""
        expanded = any(isinstance(child, Gtk.Expander) and child.get_expanded() for child in self.get_children())
        for child in self.get_children():
            self.remove(child)
        self.form = form
        if form.essential:
            self.pack_start(self._grid(form.essential), False, False, 0)
        if form.advanced:
            expander = Gtk.Expander(label="More options", expanded=expanded, margin_top=4)
            expander.add(self._grid(form.advanced))
            self.pack_start(expander, False, False, 0)
        self.pack_start(self.problem, False, False, 0)
        self.show_all()

    def _grid(self, fields: tuple[Field, ...]) -> Gtk.Grid:
        grid = Gtk.Grid(column_spacing=8, row_spacing=6, margin_top=2)
        for row, field in enumerate(fields):
            widget = self._widget(field)
            if widget is None:
                continue
            widget.set_tooltip_text(field.doc)
            widget.set_hexpand(True)
            if field.name in _LINES:
                label = Gtk.Label(label=field.label, xalign=0)
                box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=2)
                box.pack_start(label, False, False, 0)
                box.pack_start(widget, True, True, 0)
                grid.attach(box, 0, row, 2, 1)
                continue
            unit = f" ({field.unit})" if field.unit else ""
            label = Gtk.Label(label=field.label + unit, xalign=0, valign=Gtk.Align.CENTER)
            label.set_ellipsize(Pango.EllipsizeMode.END)
            grid.attach(label, 0, row, 1, 1)
            grid.attach(widget, 1, row, 1, 1)
        return grid

    def _widget(self, field: Field) -> Gtk.Widget | None:
        if field.type == "text":
            if field.choices_from:
                return self._combo(self.form.choices(field), self.form[field.name], self._setter(field.name))
            return self._text(field)
        if field.type == "choice":
            return self._combo(self.form.choices(field), self.form[field.name], self._setter(field.name))
        if field.type == "boolean":
            check = Gtk.CheckButton(active=self.form[field.name], halign=Gtk.Align.START)
            check.connect("toggled", lambda button: self._set(field.name, button.get_active()))
            return check
        if field.type in ("integer", "number"):
            return self._number(field)
        if field.type == "list" and field.items is not None and field.items.type == "choice":
            return self._several(field)
        if field.type == "list" and field.items is not None and field.items.type == "record":
            return self._rows(field)
        return None

    # -- widgets

    def _text(self, field: Field) -> Gtk.Widget:
        if field.name not in _LINES:
            entry = Gtk.Entry(text=self.form[field.name] or "")
            entry.connect("changed", lambda one: self._set(field.name, one.get_text()))
            return entry
        view = Gtk.TextView(wrap_mode=Gtk.WrapMode.WORD_CHAR, left_margin=6, right_margin=6, top_margin=4)
        view.set_accepts_tab(False)
        buffer = view.get_buffer()
        buffer.set_text(self.form[field.name] or "")
        buffer.connect("changed", lambda one: self._set(field.name, one.get_text(*one.get_bounds(), True)))
        frame = Gtk.ScrolledWindow(shadow_type=Gtk.ShadowType.IN, hscrollbar_policy=Gtk.PolicyType.NEVER)
        frame.set_size_request(-1, 20 * _LINES[field.name] + 8)
        frame.add(view)
        return frame

    def _combo(self, choices: list[Any], value: Any, changed: Callable[[Any], None]) -> Gtk.ComboBoxText:
        combo = Gtk.ComboBoxText()
        for choice in choices:
            combo.append(choice.value, choice.label)
        combo.set_active_id(value if value is not None else "")
        combo.get_cells()[0].set_property("ellipsize", Pango.EllipsizeMode.END)
        combo.connect("changed", lambda one: changed(one.get_active_id() or ""))
        return combo

    def _number(self, field: Field) -> Gtk.Widget:
        value = self.form[field.name]
        shown = value if value is not None else _first(field)
        spin = _spin(field, shown)
        bounded = field.type == "number" and field.minimum is not None and field.maximum is not None
        box = Gtk.Box(spacing=6)
        if bounded:
            scale = Gtk.Scale(adjustment=spin.get_adjustment(), draw_value=False)
            box.pack_start(scale, True, True, 0)
            box.pack_start(spin, False, False, 0)
        else:
            box.pack_start(spin, True, True, 0)
        whole = field.type == "integer"
        spin.connect(
            "value-changed", lambda one: self._set(field.name, round(one.get_value()) if whole else one.get_value())
        )
        if not field.optional:
            return box
        box.set_sensitive(value is not None)
        check = Gtk.CheckButton(active=value is not None, tooltip_text="Set it; else the server chooses.")

        def toggled(button: Gtk.CheckButton) -> None:
            box.set_sensitive(button.get_active())
            number = round(spin.get_value()) if whole else spin.get_value()
            self._set(field.name, number if button.get_active() else None)

        check.connect("toggled", toggled)
        outer = Gtk.Box(spacing=4)
        outer.pack_start(check, False, False, 0)
        outer.pack_start(box, True, True, 0)
        return outer

    def _several(self, field: Field) -> Gtk.Widget:
        box = Gtk.FlowBox(selection_mode=Gtk.SelectionMode.NONE, max_children_per_line=3, column_spacing=4)
        assert field.items is not None
        chosen = list(self.form[field.name])
        for choice in field.items.choices:
            check = Gtk.CheckButton(label=choice.replace("_", " "), active=choice in chosen)

            def toggled(button: Gtk.CheckButton, choice: str = choice) -> None:
                now = [one for one in self.form[field.name] if one != choice]
                self._set(field.name, [*now, choice] if button.get_active() else now)

            check.connect("toggled", toggled)
            box.add(check)
        return box

    def _rows(self, field: Field) -> Gtk.Widget:
        """A list of records, such as LoRAs: a row for each, and a button for one more."""
        assert field.items is not None
        items = field.items.fields
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=4)
        rows: list[dict[str, Any]] = [dict(row) for row in self.form[field.name]]

        def store() -> None:
            self._set(field.name, [row for row in rows if all(row.get(one.name) for one in items if one.required)])

        def draw(row: dict[str, Any]) -> None:
            line = Gtk.Box(spacing=4)
            for one in items:
                if one.type == "text":

                    def chosen(value: Any, name: str = one.name) -> None:
                        row[name] = value
                        store()

                    line.pack_start(self._combo(self.form.choices(one), row.get(one.name), chosen), True, True, 0)
                elif one.type in ("number", "integer"):
                    spin = _spin(one, row.get(one.name, one.default))

                    def changed(button: Gtk.SpinButton, name: str = one.name) -> None:
                        row[name] = button.get_value()
                        store()

                    spin.connect("value-changed", changed)
                    line.pack_start(spin, False, False, 0)
            remove = Gtk.Button.new_from_icon_name("list-remove-symbolic", Gtk.IconSize.BUTTON)

            def removed(_button: Gtk.Button) -> None:
                rows.remove(row)
                box.remove(line)
                store()

            remove.connect("clicked", removed)
            line.pack_start(remove, False, False, 0)
            box.pack_start(line, False, False, 0)
            line.show_all()

        for row in rows:
            draw(row)
        add = Gtk.Button(label="Add", halign=Gtk.Align.START)
        add.set_sensitive(all(self.form.choices(one) for one in items if one.choices_from))

        def added(_button: Gtk.Button) -> None:
            row: dict[str, Any] = {}
            rows.append(row)
            draw(row)
            box.reorder_child(add, -1)

        add.connect("clicked", added)
        box.pack_start(add, False, False, 0)
        return box

    # -- values

    def _setter(self, name: str) -> Callable[[Any], None]:
        return lambda value: self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        try:
            self.form[name] = value
        except InvalidValue as error:
            self.problem.set_text(str(error))
            self.problem.show()
            return
        self.problem.hide()
        self._on_change()


def _spin(field: Field, value: float) -> Gtk.SpinButton:
    whole = field.type == "integer"
    low = field.minimum if field.minimum is not None else -1e9
    high = field.maximum if field.maximum is not None else 1e9
    step = field.step or (1 if whole else 0.05)
    adjustment = Gtk.Adjustment(value=value, lower=low, upper=high, step_increment=step, page_increment=step * 10)
    spin = Gtk.SpinButton(adjustment=adjustment, digits=0 if whole else 2, width_chars=7)
    spin.set_snap_to_ticks(whole and bool(field.step) and (field.step or 1) > 1)
    return spin


def _first(field: Field) -> float:
    return _FIRST.get(field.name, field.minimum if field.minimum is not None else 0)
