"""What the studio's lists hold: a row for each job in the queue, a picture for each entry of the history."""

from __future__ import annotations

from collections.abc import Callable

import gi

gi.require_version("Gtk", "3.0")

from gi.repository import GdkPixbuf, GLib, Gtk, Pango

from ..common.history import Entry
from ..common.studio import Studio
from ..common.tasks import Task
from ..common.thumbnails import Picture

THUMBNAIL = 96


class QueueRow(Gtk.ListBoxRow):
    """One job in the queue: its title, how far it is, and what can be done with it."""

    def __init__(self, task: Task, studio: Studio, insert: Callable[[Task], object]) -> None:
        super().__init__(activatable=False)
        self._task, self._studio, self._insert = task, studio, insert
        #: Whether the finished result was looked at.
        self.tried = False
        self._title = Gtk.Label(xalign=0, ellipsize=Pango.EllipsizeMode.END)
        self._state = Gtk.Label(xalign=0, wrap=True, max_width_chars=36)
        self._state.get_style_context().add_class("dim-label")
        self._bar = Gtk.ProgressBar(no_show_all=True)
        self._act = Gtk.Button(valign=Gtk.Align.CENTER, relief=Gtk.ReliefStyle.NONE)
        self._act.connect("clicked", self._acted)
        words = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=2)
        for widget in (self._title, self._state, self._bar):
            words.pack_start(widget, False, False, 0)
        box = Gtk.Box(spacing=6, border_width=4)
        box.pack_start(words, True, True, 0)
        box.pack_end(self._act, False, False, 0)
        self.add(box)

    def show_task(self) -> None:
        """Draw the task as it is now."""
        task = self._task
        self._title.set_text(task.title)
        remedy = f" {task.problem.remedy}" if task.problem is not None and task.stage == "failed" else ""
        place = " In the image." if task.placed else ""
        self._state.set_text(f"{task.sentence}{remedy}{place}")
        self._bar.set_visible(not task.ended)
        if task.fraction is None:
            self._bar.pulse()
        else:
            self._bar.set_fraction(task.fraction)
        self._act.set_visible(not (task.ended and task.stage == "cancelled"))
        self._act.set_label("Insert" if task.stage == "finished" else "Remove" if task.ended else "Cancel")

    def _acted(self, _button: Gtk.Button) -> None:
        if not self._task.ended:
            self._studio.cancel(self._task)
        elif self._task.stage == "finished":
            self._insert(self._task)
            self.show_task()
        else:
            self._studio.dismiss(self._task)
            self.destroy()


class Thumbnail(Gtk.FlowBoxChild):
    """One entry of the history."""

    def __init__(self, entry: Entry, path: str) -> None:
        super().__init__()
        self.entry = entry
        pixbuf = GdkPixbuf.Pixbuf.new_from_file(path)
        image = Gtk.Image.new_from_pixbuf(fitting(pixbuf, THUMBNAIL))
        image.set_size_request(THUMBNAIL, THUMBNAIL)
        self.set_tooltip_text(f"{entry.title}\nDouble click inserts it, right click offers more.")
        self.add(image)


def pixbuf_of(picture: Picture) -> GdkPixbuf.Pixbuf:
    stride = picture.width * picture.channels
    data = GLib.Bytes.new(picture.pixels)
    return GdkPixbuf.Pixbuf.new_from_bytes(
        data, GdkPixbuf.Colorspace.RGB, picture.channels == 4, 8, picture.width, picture.height, stride
    )


def fitting(pixbuf: GdkPixbuf.Pixbuf, side: int) -> GdkPixbuf.Pixbuf:
    scale = side / max(pixbuf.get_width(), pixbuf.get_height())
    size = (max(1, round(pixbuf.get_width() * scale)), max(1, round(pixbuf.get_height() * scale)))
    return pixbuf.scale_simple(*size, GdkPixbuf.InterpType.BILINEAR)
