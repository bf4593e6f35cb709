"""A Krita with the packed plugin, and words to drive its docker with."""

from __future__ import annotations

import json
from pathlib import Path

from plugins import pack
from plugins.install import enabled_in
from tests.hosts.krita_host import KritaHost

PREPARE = """
import array, random, struct, sys
from PyQt5 import QtCore, QtGui, QtWidgets
from PyQt5.QtWidgets import QApplication
import brushwire.krita.canvas as C, brushwire.krita.pixels as P, brushwire.krita.overlay as O
import brushwire.krita.layers as L
from brushwire.krita.bounds import Bounds

d = next(one for one in app.dockers() if one.objectName() == "brushwire")
d.setVisible(True)
d.raise_()
window = app.activeWindow().qwindow()
window.setGeometry(0, 0, 1600, 1000)
doc = None

def arrange():
    "What a picture in the docs shows: the canvas, the layers, the docker."
    for other in app.dockers():
        if other.objectName() not in ("brushwire", "ToolBox", "KisLayerBox"):
            other.setVisible(False)
    window.resizeDocks([d], [400], QtCore.Qt.Horizontal)
    window.resizeDocks([d], [760], QtCore.Qt.Vertical)
    area = window.findChild(QtWidgets.QMdiArea)
    for bar in area.findChildren(QtWidgets.QTabBar):
        bar.hide()

def new(width=256, height=256, model="RGBA", depth="U8", profile="sRGB-elle-V2-srgbtrc.icc"):
    global doc
    doc = app.createDocument(width, height, "test", model, depth, profile, 72.0)
    app.activeWindow().addView(doc)
    app.setActiveDocument(doc)
    doc.waitForDone()
    d.message.hide()

def fill(seed=1, layer=0):
    "Opaque noise that every depth has."
    form = C.format_of(doc)
    rng = random.Random(seed)
    width, height = doc.width(), doc.height()
    rgba = bytearray(rng.randbytes(width * height * 4))
    rgba[3::4] = bytes([255]) * (width * height)
    node = C.Canvas(doc).layer(P.Picture(bytes(rgba), width, height, 4, "uint8"), 0, 0, "x")
    data = bytes(node.pixelData(0, 0, width, height))
    C._write(doc.rootNode().childNodes()[layer], data, Bounds(0, 0, width, height))
    del node
    doc.refreshProjection(); doc.waitForDone()

def shown():
    doc.refreshProjection(); doc.waitForDone()
    return bytes(doc.pixelData(0, 0, doc.width(), doc.height()))

def select(x, y, width, height, value=255):
    selection = krita.Selection()
    selection.select(x, y, width, height, value)
    doc.setSelection(selection)

def names():
    return [n.name() for n in doc.rootNode().childNodes() if n.type() != "selectionmask"]

def ask(mode, prompt="", **values):
    global first, complaint
    d.message.hide()
    d.choose(mode)
    d.form.load({**{k: v for k, v in d.mode.preset.items() if k in d.form}, "steps": 4} if "steps" in d.form else {})
    d.panel.prompt.setPlainText(prompt)
    for name, value in values.items():
        d.form[name] = value
    first = len(d.studio.tasks)
    d.paint()

def mine():
    return [t for t in d.studio.tasks[first:]]

def ended():
    tasks = mine()
    return (d.message.isVisible() or bool(tasks) and all(t.ended for t in tasks)) and d.workspace.slices.idle

def said():
    return d.message.text.text() if d.message.isVisible() else ""
"""


def install(folder: Path, server_folder: Path, language: str = "") -> KritaHost:
    """A Krita with the packed plugin, in a home of its own."""
    host = KritaHost(
        folder,
        {"BRUSHWIRE_RUNTIME": str(server_folder / "run"), "BRUSHWIRE_PLUGINS": str(folder / "plugins")},
        language,
    )
    pykrita = folder / ".local/share/krita/pykrita"
    pack.unpack(pack.pack("krita", folder / "archive"), pykrita)
    rc = folder / ".config/kritarc"
    rc.write_text(enabled_in(rc.read_text()))
    (folder / "plugins/krita").mkdir(parents=True, exist_ok=True)
    (folder / "plugins/krita/settings.json").write_text(json.dumps({"start_server": False}))
    return host


def ask(krita: KritaHost, mode: str, prompt: str = "", timeout: float = 120, **values: object) -> None:
    """Ask for something and wait for its end; it must end well."""
    arguments = "".join(f", {name}={value!r}" for name, value in values.items())
    krita.run(f"ask({mode!r}, {prompt!r}{arguments})")
    krita.until("ended()", timeout)
    assert krita.run("said()") == ""
    assert krita.run("[t.stage for t in mine()]") == ["finished"]


def mean(krita: KritaHost, x: int = 0, y: int = 0, width: int = 256, height: int = 256) -> list[float]:
    """The mean red, green and blue of a part of the document."""
    data = bytes(krita.run(f"list(bytes(doc.pixelData({x}, {y}, {width}, {height})))"))
    return [sum(data[channel::4]) / (width * height) for channel in (2, 1, 0)]
