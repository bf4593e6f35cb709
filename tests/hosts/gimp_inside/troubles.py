"""What goes wrong while something is painted."""

from pathlib import Path

from brushwire_plugin.gimp import running, work
from brushwire_plugin.gimp.canvas import CanvasError
from brushwire_plugin.gimp.modes import MODES
from gi.repository import Gimp

from .drive import call, failed, new, opaque, state_of, succeeded


def killed(gate):
    """A job whose plug-in is killed while it is painted."""
    image, layer = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    before = state_of(image)
    status, *_ = call("transform", image, [layer], prompt=f"wait-for {gate}", steps=1)
    same = state_of(image) == before
    image.delete()
    return [status != Gimp.PDBStatusType.SUCCESS, same]


def image_closed(gate):
    """The image goes while it is being painted; the result goes into another one, later and by another client."""
    image, _ = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    errand = work.gather(MODES["transform"], image, {"prompt": f"wait-for {gate}", "steps": 1})
    with running.Run(progress=False, on_tick=meanwhile(gate, image.delete)) as run:
        task = run.connect().job(errand)
        try:
            run.deliver(errand, task)
            told = ""
        except CanvasError as error:
            told = str(error)
    other, _ = new(64, 64)
    with running.Run(progress=False) as later:
        later.connect().studio.claim(task.id)
        while not later.studio.waiting:
            later._wait()
        [found] = later.studio.waiting
        delivered = later.deliver(errand, found, other)
        later.studio.client.ping()
    size = [delivered.layer.get_width(), len(other.get_layers())]
    other.delete()
    return {"told": told, "job": task.id, "later": size}


def layer_deleted(gate):
    """The layer that was painted over goes; the result comes all the same, as a layer of its own."""
    image, layer = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    errand = work.gather(MODES["transform"], image, {"prompt": f"wait-for {gate}", "steps": 1})
    with running.Run(progress=False, on_tick=meanwhile(gate, lambda: image.remove_layer(layer))) as run:
        task = run.connect().job(errand)
        run.deliver(errand, task)
    names = [one.get_name() for one in image.get_layers()]
    image.delete()
    return names


def outlasts(gate):
    """A job whose server is killed while it is painted, and started again."""
    image, layer = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    succeeded("transform", image, [layer], prompt=f"wait-for {gate}", steps=1)
    count = len(image.get_layers())
    image.delete()
    return count


def without_server():
    """What is told where no server runs."""
    image, layer = new(64, 64)
    error = failed("transform", image, [layer])
    image.delete()
    return error


def meanwhile(gate, do):
    """Something that is done once while a job is painted, which goes on after it."""
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 5:
            do()
            Path(gate).touch()

    return tick
