"""The studio and a procedure's dialog, with the test looking at the screen meanwhile."""

from pathlib import Path

from brushwire_plugin.gimp.modes import MODES
from brushwire_plugin.gimp.window import StudioWindow
from gi.repository import Gimp, GimpUi, GLib, Gtk

from .drive import meadow, new, state_of


def until(condition, timeout=90):
    """Let Gtk work until something is so."""
    ended = []
    GLib.timeout_add(int(timeout * 1000), lambda: ended.append(1))
    GLib.timeout_add(20, lambda: not ended)  # keeps the loop turning
    while not condition():
        assert not ended, "it has not come"
        Gtk.main_iteration()


def checkpoint(folder, name):
    """Tell the test that something is to be seen, and wait until it has looked."""
    (Path(folder) / f"{name}.ready").touch()
    until((Path(folder) / f"{name}.seen").exists)


def studio(folder, words, size, steps):
    """The studio on the real server: connected, painting, with its result in the image, and its history."""
    GimpUi.init("brushwire")
    image, _ = new(*size, data=meadow(*size), pixel_format="R'G'B'A u8")
    Gimp.Display.new(image)
    window = StudioWindow(image, start_server=False)
    window.show_all()
    window.move(820, 20)
    window.present()
    until(lambda: window.studio.state.connected)
    until(lambda: window.studio.lists)
    window.choose(MODES["generate"], {"prompt": words[0], "steps": steps, "seed": 7})
    checkpoint(folder, "connected")
    task = window.paint()
    until(lambda: task.preview is not None or task.ended)
    painting = [task.stage, task.preview is not None]
    checkpoint(folder, "painting")
    until(lambda: task.ended, 240)
    layers = [layer.get_name() for layer in image.get_layers()]
    image.select_ellipse(Gimp.ChannelOps.REPLACE, size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2)
    Gimp.Selection.feather(image, 8)
    window.choose(MODES["fill"], {"prompt": words[1], "steps": steps, "seed": 3})
    unfilled = state_of(image)
    filled = window.paint()
    until(lambda: filled.ended and len(window._thumbnails.get_children()) == 2, 240)
    checkpoint(folder, "finished")
    with_fill = len(image.get_layers())
    checkpoint(folder, "undo")
    until(lambda: len(image.get_layers()) < with_fill)
    undone = state_of(image) == unfilled
    window.use_again(window.studio.history.entries[-1])
    again = window.form_view.form.values
    inserted = window.insert_entry(window.studio.history.entries[-1])
    count = len(image.get_layers())
    # A result whose image was closed meanwhile waits in the history, and goes into another image.
    other, _ = new(*size)
    window._fill_images(other)
    late = window.paint()
    other.delete()
    until(lambda: late.ended, 240)
    told, placed = window._message.get_text(), late.placed
    window._fill_images(image)
    entry = window.studio.history.get(late.id)
    rescued = window.insert_entry(entry)
    window.destroy()
    return {"painting": painting, "layers": layers, "stage": task.stage, "fill": filled.stage,
            "again": again, "inserted": [inserted, count], "late": [late.stage, told, placed, rescued],
            "undone": undone}  # fmt: skip


def dialog(words, size, steps):
    """A procedure from the menu, with its dialog; the test presses its button."""
    image, layer = new(*size, data=meadow(*size), pixel_format="R'G'B'A u8")
    Gimp.Display.new(image)
    procedure = Gimp.get_pdb().lookup_procedure("brushwire-transform")
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.INTERACTIVE)
    config.set_property("image", image)
    config.set_core_object_array("drawables", [layer])
    config.set_property("prompt", words)
    config.set_property("steps", steps)
    values = procedure.run(config)
    names = [one.get_name() for one in image.get_layers()]
    return [values.index(0) == Gimp.PDBStatusType.SUCCESS, names]
