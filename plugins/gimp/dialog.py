"""The dialog of a procedure that is called from the menu: its form, and where a mesh is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")

from gi.repository import Gimp, GimpUi, GLib, Gtk

from ..common.studio import Studio
from .formview import FormView
from .modes import Mode, form_of


def ask(mode: Mode, values: dict[str, Any], path: Path | None) -> tuple[dict[str, Any], Path | None] | None:
    """What the artist fills in, and the mesh's file; None where the dialog was closed.

    The server's lists (models, detectors, …) come into the form when they are here.
    """
    GimpUi.init("brushwire")
    dialog = GimpUi.Dialog(title=f"Brushwire: {mode.label}", role="brushwire", use_header_bar=False)
    dialog.add_buttons("_Cancel", Gtk.ResponseType.CANCEL, "_Paint", Gtk.ResponseType.OK)
    dialog.set_default_response(Gtk.ResponseType.OK)
    dialog.set_default_size(440, -1)
    form = form_of(mode)
    form.load(values)
    view = FormView(form)
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=8, border_width=12)
    box.pack_start(view, False, False, 0)
    chooser = None
    if mode.makes == "file":
        chooser = Gtk.FileChooserWidget(action=Gtk.FileChooserAction.SAVE)
        chooser.set_current_name(path.name if path else "mesh.glb")
        box.pack_start(chooser, True, True, 0)
    state = Gtk.Label(xalign=0, wrap=True)
    box.pack_start(state, False, False, 0)
    dialog.get_content_area().add(box)

    studio = Studio("gimp", "GIMP dialog", remembers=False, wake=lambda: GLib.idle_add(pump))

    def pump() -> bool:
        studio.pump()
        return False

    def lists() -> None:
        kept = view.form.values
        fresh = form_of(mode, studio.schema)
        fresh.lists = studio.lists
        fresh.load(kept)
        view.show_form(fresh)

    studio.on_lists.append(lists)
    studio.on_state.append(lambda now: state.set_text(f"{now.sentence} {now.remedy}".strip()))
    dialog.show_all()
    try:
        while True:
            if dialog.run() != Gtk.ResponseType.OK:
                return None
            if chooser is None:
                return view.form.values, None
            chosen = chooser.get_filename()
            if chosen:
                return view.form.values, Path(chosen)
    finally:
        studio.close()
        dialog.destroy()
        Gimp.displays_flush()
