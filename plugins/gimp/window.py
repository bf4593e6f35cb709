"""The studio: a window that stays open while the artist paints.

At the left what is asked (the form of a mode), at the right what comes of it: the preview, the queue, the history.
GIMP is asked in the main thread alone; the socket lives in the studio's own.
"""

from __future__ import annotations

from typing import Any

import gi

for _name in ("Gtk", "Gdk", "GimpUi"):
    gi.require_version(_name, "3.0")

from gi.repository import Gdk, Gimp, GimpUi, GLib, Gtk, Pango

from bridge_protocol.handle import BridgeError

from ..common.connection import State
from ..common.history import Entry
from ..common.studio import Studio
from ..common.tasks import Task
from ..common.thumbnails import Picture, thumbnail
from . import work
from .canvas import CanvasError
from .formview import FormView
from .modes import MODES, Mode, form_of
from .rows import QueueRow, Thumbnail, fitting, pixbuf_of
from .work import Errand

#: What the studio offers; a mesh goes into a file, and has its own dialog.
STUDIO_MODES = [mode for mode in MODES.values() if mode.makes != "file"]
PREVIEW = 300
_DOTS = {
    "connected": "#4caf50",
    "searching": "#e0a030",
    "connecting": "#e0a030",
    "lost": "#e05050",
    "closed": "#888888",
}
_CSS = b"""
.brushwire-well { background-color: alpha(@theme_fg_color, 0.06); border-radius: 6px; }
.brushwire-title { font-weight: bold; }
.brushwire-paint { font-weight: bold; padding: 6px 18px; }
"""


class StudioWindow(Gtk.Window):
    """The window. image: what is painted into first. options: the Studio's own."""

    def __init__(self, image: Gimp.Image | None, **options: Any) -> None:
        super().__init__(title="Brushwire Studio", role="brushwire-studio", default_width=860, default_height=720)
        self.studio = Studio("gimp", "GIMP studio", wake=lambda: GLib.idle_add(self._pump),
                             defaults={"insert": True, "mode": "generate"}, **options)  # fmt: skip
        self._errands: dict[Task, Errand] = {}
        self._rows: dict[Task, QueueRow] = {}
        self._kinds: dict[str, str] = {}
        self._mode = MODES.get(self.studio.settings["mode"], MODES["generate"])
        self._style()
        self._build()
        self._fill_images(image)
        self.studio.on_state.append(self._show_state)
        self.studio.on_task.append(self._show_task)
        self.studio.on_lists.append(self._redraw_form)
        self.studio.on_history.append(self._show_history)
        self._show_state(self.studio.state)
        self._show_history()
        self.connect("focus-in-event", lambda *_: self._fill_images(self.image))
        self.connect("destroy", lambda *_: self.studio.close())

    # -- what is asked

    @property
    def image(self) -> Gimp.Image | None:
        """The image that is painted into."""
        chosen = self._images.get_active_id()
        found = Gimp.Image.get_by_id(int(chosen)) if chosen else None
        return found if found is not None and found.is_valid() else None

    def choose(self, mode: Mode, values: dict[str, Any] | None = None) -> None:
        """Show a mode's form, with values of an earlier time."""
        self._mode = mode
        self.studio.settings["mode"] = mode.name
        self._modes.set_active_id(mode.name)
        form = form_of(mode, self.studio.schema)
        form.lists = self.studio.lists
        dropped = form.load(values or {})
        self.form_view.show_form(form)
        self._about.set_text(mode.doc)
        self._say(" ".join(dropped))

    def paint(self) -> Task | None:
        """Ask for what the form says; None, and a sentence in the window, where the image does not allow it."""
        form = self.form_view.form
        try:
            errand = work.gather(self._mode, self.image, form.values)
        except CanvasError as error:
            self._say(str(error))
            return None
        self._say("")
        title = str(form.values.get("prompt", "")) or self._mode.label
        task = self.studio.submit(errand.make, form, title=title, place=errand.place)
        self._errands[task] = errand
        self._show_task(task)
        return task

    def insert(self, task: Task) -> bool:
        """Put a task's result into its image, or into the chosen one where that is closed."""
        if task.result is None:
            return False
        errand = self._errands.get(task) or _errand_of(task.place, task.kind or self._kinds.get(task.id, "Generate"))
        target = self.image if task.from_before else None
        try:
            delivered = work.deliver(errand, task.result, target)
        except (CanvasError, OSError) as error:
            self._say(str(error))
            return False
        self.studio.placed(task)
        self._after(delivered)
        return True

    def insert_entry(self, entry: Entry) -> bool:
        """Put a result of the history into the chosen image."""
        result = self.studio.result_of(entry)
        if result is None:
            self._say("The pixels of that result were not kept; paint it again with its settings.")
            return False
        try:
            delivered = work.deliver(_errand_of(entry.place, entry.kind), result, self.image)
        except (CanvasError, OSError) as error:
            self._say(str(error))
            return False
        if self.studio.history is not None:
            self.studio.history.change(entry.id, placed=True)
        self._after(delivered)
        self._show_history()
        return True

    def _after(self, delivered: work.Delivered) -> None:
        if delivered.fresh and delivered.image is not None:
            Gimp.Display.new(delivered.image)
            self._fill_images(delivered.image)
        Gimp.displays_flush()
        self._say("")

    # -- what comes

    def _pump(self) -> bool:
        self.studio.pump()
        return False

    def _show_state(self, state: State) -> None:
        color = _DOTS[state.phase]
        text = GLib.markup_escape_text(f"{state.sentence} {state.remedy}".strip())
        self._state.set_markup(f'<span foreground="{color}">●</span>  {text}')
        if state.connected:
            self.studio.find_waiting(self._show_waiting)

    def _show_task(self, task: Task) -> None:
        row = self._rows.get(task)
        if row is None:
            row = self._rows[task] = QueueRow(task, self.studio, self.insert)
            self._queue.insert(row, 0)
            row.show_all()
        row.show_task()
        if task.preview is not None and not task.ended:
            self._show_picture(task.preview)
        if task.stage == "finished" and not task.placed and not row.tried:
            row.tried = True
            assert task.result is not None
            made = next((small for blob in task.result.blobs if (small := thumbnail(blob, PREVIEW)) is not None), None)
            if made is not None:
                self._show_picture(made)
            if self.studio.settings["insert"] and not task.from_before:
                self.insert(task)
            row.show_task()

    def _show_picture(self, picture: Picture) -> None:
        self._preview.set_from_pixbuf(fitting(pixbuf_of(picture), PREVIEW))

    def _show_history(self) -> None:
        for child in self._thumbnails.get_children():
            self._thumbnails.remove(child)
        history = self.studio.history
        for entry in (history.search(self._search.get_text()) if history is not None else [])[:60]:
            path = history.thumbnail(entry.id) if history is not None else None
            if path is not None:
                self._thumbnails.add(Thumbnail(entry, str(path)))
        self._thumbnails.show_all()

    def _show_waiting(self, listing: list[dict[str, Any]]) -> None:
        self._waiting.set_visible(bool(listing))
        self._kinds.update({job["id"]: job["kind"] for job in listing})
        count = len(listing)
        words = "A result waits" if count == 1 else f"{count} results wait"
        self._waiting.set_label(f"{words} on the server: fetch")

    def _fetch_waiting(self, _button: Gtk.Button) -> None:
        for job_id in self._kinds:
            self.studio.claim(job_id)
        self._waiting.hide()

    def _say(self, sentence: str) -> None:
        self._message.set_text(sentence)
        self._message.set_visible(bool(sentence))

    # -- the widgets

    def _build(self) -> None:
        self._state = Gtk.Label(xalign=0, wrap=True, hexpand=True)
        self._waiting = Gtk.Button(no_show_all=True)
        self._waiting.connect("clicked", self._fetch_waiting)
        top = Gtk.Box(spacing=8)
        top.pack_start(self._state, True, True, 0)
        top.pack_end(self._waiting, False, False, 0)
        panes = Gtk.Paned(orientation=Gtk.Orientation.HORIZONTAL, wide_handle=True)
        panes.pack1(self._left(), True, False)
        panes.pack2(self._right(), False, False)
        panes.set_position(470)
        outer = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=10, border_width=12)
        outer.pack_start(top, False, False, 0)
        outer.pack_start(panes, True, True, 0)
        self.add(outer)

    def _left(self) -> Gtk.Widget:
        self._modes = Gtk.ComboBoxText(hexpand=True)
        for mode in STUDIO_MODES:
            self._modes.append(mode.name, mode.label)
        self._images = Gtk.ComboBoxText(hexpand=True)
        self._images.get_cells()[0].set_property("ellipsize", Pango.EllipsizeMode.MIDDLE)
        chosen = Gtk.Grid(column_spacing=8, row_spacing=6)
        for row, (label, combo) in enumerate((("What", self._modes), ("Image", self._images))):
            chosen.attach(Gtk.Label(label=label, xalign=0, width_chars=8), 0, row, 1, 1)
            chosen.attach(combo, 1, row, 1, 1)
        self._about = Gtk.Label(xalign=0, wrap=True)
        self._about.get_style_context().add_class("dim-label")
        self.form_view = FormView(form_of(self._mode))
        scrolled = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER)
        inner = Gtk.Box(border_width=2)
        inner.pack_start(self.form_view, True, True, 4)
        scrolled.add(inner)
        self._message = Gtk.Label(xalign=0, wrap=True, no_show_all=True)
        self._message.get_style_context().add_class("error")
        insert = Gtk.CheckButton(label="Insert results by themselves", active=self.studio.settings["insert"])
        insert.connect("toggled", lambda button: self.studio.settings.__setitem__("insert", button.get_active()))
        self.button = Gtk.Button(label="Paint", halign=Gtk.Align.END)
        for name in ("suggested-action", "brushwire-paint"):
            self.button.get_style_context().add_class(name)
        self.button.connect("clicked", lambda _button: self.paint())
        bottom = Gtk.Box(spacing=8)
        bottom.pack_start(insert, True, True, 0)
        bottom.pack_end(self.button, False, False, 0)
        left = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=8, margin_end=10)
        for widget, grows in (
            (chosen, False),
            (self._about, False),
            (scrolled, True),
            (self._message, False),
            (bottom, False),
        ):
            left.pack_start(widget, grows, grows, 0)
        self.choose(self._mode)
        self._modes.connect("changed", lambda combo: self._mode_chosen(combo.get_active_id()))
        return left

    def _right(self) -> Gtk.Widget:
        self._preview = Gtk.Image.new_from_icon_name("image-x-generic-symbolic", Gtk.IconSize.DIALOG)
        well = Gtk.Box()
        well.get_style_context().add_class("brushwire-well")
        well.set_size_request(PREVIEW + 16, PREVIEW + 16)
        well.pack_start(self._preview, True, True, 8)
        self._queue = Gtk.ListBox(selection_mode=Gtk.SelectionMode.NONE)
        nothing = Gtk.Label(label="Nothing was asked yet.", margin=8)
        nothing.get_style_context().add_class("dim-label")
        nothing.show()
        self._queue.set_placeholder(nothing)
        queue = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER, min_content_height=110)
        queue.add(self._queue)
        self._search = Gtk.SearchEntry(placeholder_text="Search the history")
        self._search.connect("search-changed", lambda _entry: self._show_history())
        self._thumbnails = Gtk.FlowBox(
            min_children_per_line=3, max_children_per_line=6, selection_mode=Gtk.SelectionMode.SINGLE,
            row_spacing=4, column_spacing=4, valign=Gtk.Align.START, homogeneous=True,
        )  # fmt: skip
        self._thumbnails.connect("child-activated", lambda _box, child: self.insert_entry(child.entry))
        self._thumbnails.connect("button-press-event", self._pressed)
        history = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER, min_content_height=120)
        history.add(self._thumbnails)
        right = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6, margin_start=10)
        right.pack_start(well, False, False, 0)
        right.pack_start(_title("Queue"), False, False, 0)
        right.pack_start(queue, False, True, 0)
        right.pack_start(_title("History"), False, False, 0)
        right.pack_start(self._search, False, False, 0)
        right.pack_start(history, True, True, 0)
        return right

    def _pressed(self, box: Gtk.FlowBox, event: Gdk.EventButton) -> bool:
        child = box.get_child_at_pos(int(event.x), int(event.y))
        if event.button != Gdk.BUTTON_SECONDARY or child is None:
            return False
        menu = Gtk.Menu()
        for label, act in (
            ("Insert into the image", lambda: self.insert_entry(child.entry)),
            ("Use these settings again", lambda: self.use_again(child.entry)),
            ("Forget", lambda: self._forget(child.entry)),
        ):
            item = Gtk.MenuItem(label=label)
            item.connect("activate", lambda _item, act=act: act())
            menu.append(item)
        menu.show_all()
        menu.attach_to_widget(box)
        menu.popup_at_pointer(event)
        return True

    def use_again(self, entry: Entry) -> None:
        """Bring an entry's settings into the form."""
        self.choose(_errand_of(entry.place, entry.kind).mode, entry.values)

    def _forget(self, entry: Entry) -> None:
        if self.studio.history is not None:
            self.studio.history.remove(entry.id)
        self._show_history()

    def _mode_chosen(self, name: str | None) -> None:
        if name and name != self._mode.name:
            # What both forms know stays: the prompt, above all.
            kept = self.form_view.form.values
            fresh = form_of(MODES[name], self.studio.schema)
            self.choose(MODES[name], {key: value for key, value in kept.items() if key in fresh and key in _KEPT})

    def _redraw_form(self) -> None:
        self.choose(self._mode, self.form_view.form.values)

    def _fill_images(self, chosen: Gimp.Image | None) -> bool:
        images = [image for image in Gimp.get_images() if image.is_valid()]
        self._images.remove_all()
        if not images:
            self._images.append("", "none is open: a new one is made")
        for image in images:
            self._images.append(str(image.get_id()), f"{image.get_name()}-{image.get_id()}")
        self._images.set_active_id(str(chosen.get_id()) if chosen is not None and chosen.is_valid() else None)
        if self._images.get_active() < 0:
            self._images.set_active(0)
        return False

    def _style(self) -> None:
        provider = Gtk.CssProvider()
        provider.load_from_data(_CSS)
        screen = Gdk.Screen.get_default()
        Gtk.StyleContext.add_provider_for_screen(screen, provider, Gtk.STYLE_PROVIDER_PRIORITY_APPLICATION)


#: What stays in the form when another mode is chosen.
_KEPT = {"prompt", "negative_prompt", "model", "loras", "seed", "steps", "guidance_scale", "sampler"}


def _title(text: str) -> Gtk.Label:
    label = Gtk.Label(label=text, xalign=0, margin_top=4)
    label.get_style_context().add_class("brushwire-title")
    return label


def _errand_of(place: dict[str, Any], kind: str) -> Errand:
    """What is known of a result that this window did not ask for.

    Its image is not: another one may have that number now.
    """
    mode = MODES.get(str(place.get("mode"))) or next((one for one in MODES.values() if one.kind == kind), None)
    mode = mode or MODES["generate"]

    def make() -> Any:
        raise BridgeError("host_error", "A result that is here already is not asked for again.")

    known = {name: value for name, value in place.items() if name not in ("image", "image_name")}
    return Errand(mode, make, {"values": {}, **known, "mode": mode.name})


def open_studio(image: Gimp.Image | None) -> None:
    """Show the window until it is closed."""
    GimpUi.init("brushwire")
    window = StudioWindow(image)
    window.connect("destroy", lambda *_: Gtk.main_quit())
    window.show_all()
    window.present()
    Gtk.main()
