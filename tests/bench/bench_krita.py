"""Krita: pixels to the server and back as a layer, how smooth its main thread stays, and live painting.

Krita draws its canvas without OpenGL, as where there is no graphics card: OpenGL that a CPU computes keeps its event
loop away after each stroke, for longer than all that is measured takes. ``BRUSHWIRE_KRITA_OPENGL=1`` leaves it on.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from server.settings import Settings
from tests.bench.table import Row, at_most
from tests.hosts.hosts import missing
from tests.hosts.krita.docker import PREPARE, install
from tests.hosts.krita_host import Display
from tests.server.process import ServerProcess

#: Pictures like paintings: smooth colours with grain, as PNG meets them in practice; and the same way through PNG, by
#: Qt's own encoder, both ways, without any transport between.
_MEASURES = """
import statistics, time

def painting(side):
    rng = random.Random(3)
    small = QtGui.QImage(16, 16, QtGui.QImage.Format_RGBA8888)
    for y in range(16):
        for x in range(16):
            small.setPixelColor(x, y, QtGui.QColor(rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    big = small.scaled(side, side, QtCore.Qt.IgnoreAspectRatio, QtCore.Qt.SmoothTransformation)
    big = big.convertToFormat(QtGui.QImage.Format_RGBA8888)
    bits = big.constBits(); bits.setsize(big.sizeInBytes())
    grain = random.Random(4).randbytes(len(bytes(bits)))
    low = bytes(value & 3 for value in range(256))
    top = bytes(min(value, 252) for value in range(256))
    mixed = (int.from_bytes(bytes(bits).translate(top), "little")
             + int.from_bytes(grain.translate(low), "little")).to_bytes(len(grain), "little")
    data = bytearray(mixed)
    data[3::4] = bytes([255]) * (side * side)
    return bytes(data)

def canvas_of(side):
    new(side, side)
    C._write(doc.rootNode().childNodes()[0], painting(side), Bounds(0, 0, side, side))
    doc.refreshProjection(); doc.waitForDone()

def through_png():
    canvas = C.Canvas(doc)
    picture = canvas.picture()
    for _ in range(2):
        image = QtGui.QImage(picture.data, picture.width, picture.height, QtGui.QImage.Format_RGBA8888)
        buffer = QtCore.QBuffer(); buffer.open(QtCore.QBuffer.ReadWrite)
        image.save(buffer, "PNG")
        back = QtGui.QImage.fromData(buffer.data()).convertToFormat(QtGui.QImage.Format_RGBA8888)
        bits = back.constBits(); bits.setsize(back.sizeInBytes())
        picture = P.Picture(bytes(bits), picture.width, picture.height, 4, "uint8")
    canvas.place(picture, 0, 0, "png")
    doc.waitForDone()

def timed(function):
    begin = time.perf_counter(); function(); return (time.perf_counter() - begin) * 1000

class Ticks(QtCore.QObject):
    "How long Krita's event loop was away, again and again, in milliseconds."
    def __init__(self):
        super().__init__()
        self.gaps, self.last = [], time.perf_counter()
        self.timer = QtCore.QTimer(); self.timer.setInterval(1); self.timer.timeout.connect(self.tick)
        self.timer.start()
    def tick(self):
        now = time.perf_counter(); self.gaps.append((now - self.last) * 1000); self.last = now
    def p95(self):
        return statistics.quantiles(self.gaps, n=20)[-1]

def settle():
    "What an earlier round has left for later is done before the next one."
    global settled
    settled = False
    QtCore.QTimer.singleShot(500, lambda: globals().update(settled=True))

def begin():
    global asked, placed
    placed = 0.0
    def done(job):
        global placed
        doc.waitForDone()
        placed = time.perf_counter()
    d.workspace.on_placed.append(done)
    asked = time.perf_counter()
    ask("refine", "echo image")
"""

_WITHOUT_OPENGL = "[General]\ncanvasState=OPENGL_FAILED\nOpenGLRenderer=none\n"


def rows() -> Iterator[Row]:
    """All rows about Krita; none where it is not installed."""
    reason = missing("krita")
    if reason:
        print(f"Krita is not measured: {reason}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="brushwire-bench-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "run").mkdir(mode=0o700)
        painter = "tests.hosts.krita.echo_painter:make"
        server = ServerProcess(Settings(data=folder / "data", runtime=folder / "run", painter=painter), folder).start()
        display = Display(folder / "x.log")
        krita = install(folder / "krita", folder)
        if os.environ.get("BRUSHWIRE_KRITA_OPENGL") != "1":
            (folder / "krita/.config/kritadisplayrc").write_text(_WITHOUT_OPENGL)
        try:
            krita.start()
            krita.run(PREPARE + _MEASURES)
            krita.until("d.studio.state.connected")
            yield from _there_and_back(krita)
            yield from _smooth(krita)
            yield from _live(krita)
        finally:
            krita.close()
            display.close()
            server.stop()


def _there_and_back(krita) -> Iterator[Row]:
    krita.run("canvas_of(2048)")
    ours, theirs = [], []
    for round_ in range(6):
        krita.run("settle()")
        krita.until("settled")
        krita.run("begin()")
        krita.until("placed and ended()")
        took = krita.run("(placed - asked) * 1000")
        png = krita.run("timed(through_png)", 120)
        if round_:  # the first one uploads into an empty store, and warms the worker
            ours.append(took)
            theirs.append(png)
    yield at_most("Krita: 2048² canvas → server → layer", _median(ours), _median(theirs), "by PNG, no transport", 0.1)


def _smooth(krita) -> Iterator[Row]:
    krita.run("ticks = Ticks()")
    idle = _settled(krita)
    krita.run("ticks.gaps.clear(); ask('refine', 'echo slowly', steps=3)")
    krita.until("ended()", 60)
    busy = krita.run("ticks.p95()")
    krita.run("ticks.timer.stop()")
    yield Row("Krita: event loop away, p95, while a job runs", busy, idle, "while none runs", "≤ 8 ms", busy <= 8)
    pings = krita.run("[timed(d.studio.client.ping) for _ in range(60)]")
    yield Row("Krita: event round trip, median", _median(pings), 5.0, "the bound", "≤ 5 ms", _median(pings) <= 5)


def _settled(krita) -> float:
    krita.run("ticks.gaps.clear()")
    krita.until("len(ticks.gaps) > 400", 120)
    return float(krita.run("ticks.p95()"))


def _live(krita) -> Iterator[Row]:
    for side in (1024, 4096):
        yield from _live_on(krita, side)


def _live_on(krita, side: int) -> Iterator[Row]:
    krita.run(f"canvas_of({side})")
    krita.run("""
        d.choose("live"); d.panel.prompt.setPlainText("echo small"); d.paint()
        lifted, looked, shown_at = 0.0, 0.0, []
        d.live.sent.clear()
        def on_picture(task):
            d._live_picture(task)
            if task.stage == "finished":
                shown_at.append(time.perf_counter())
        d.live._on_picture = on_picture
        own_look, own_ask = type(d.live)._look, type(d.live)._ask
        def look():
            global turn
            turn = time.perf_counter()
            own_look(d.live)
        def ask_now():
            global looked
            looked = turn
            own_ask(d.live)
        d.live._ask = ask_now
        d.live._timer.timeout.disconnect()
        connection = d.live._timer.timeout.connect(look)
        d.live._look = look
        class Lifted(QtCore.QObject):
            def eventFilter(self, widget, event):
                global lifted
                if event.type() == QtCore.QEvent.MouseButtonRelease and widget is O.canvas_widget():
                    lifted = time.perf_counter()
                return False
        lifting = Lifted()
        QtCore.QCoreApplication.instance().installEventFilter(lifting)
        def on_screen(x, y):
            at = O.document_to_widget(app.activeWindow().activeView()).map(QtCore.QPointF(x, y))
            at = O.canvas_widget().mapToGlobal(at.toPoint())
            return [at.x(), at.y()]
        None
    """)
    krita.until("len(shown_at) == 1 and len(d.live.sent) == 1", 120)
    whole, ours = [], []
    for index in range(9):
        x, y = krita.run(f"n = len(shown_at); on_screen({side * (3 + index) // 16}, {side * (4 + index) // 18})")
        krita.xdotool("mousemove", str(x), str(y), "mousedown", "1", "mousemove_relative", "6", "6", "mouseup", "1")
        krita.until("len(shown_at) > n")
        times = krita.run("[(shown_at[n] - since) * 1000 for since in (lifted, looked)]")
        whole.append(times[0])
        ours.append(times[1])
    tiles = max(krita.run("d.live.sent[1:]"))
    every = (side // 256) ** 2
    yield Row(f"Krita: tiles of a short stroke on {side}²", tiles, every, "all tiles", "≤ 4", tiles <= 4, unit="tiles")
    loop = _median(ours)
    yield Row(f"Krita: live loop on {side}² without painting", loop, 30, "the bound", "≤ 30 ms", loop <= 30)
    yield Row("… and from lifting the brush, with what Krita itself does then", _median(whole), loop, "the loop")
    krita.run("QtCore.QCoreApplication.instance().removeEventFilter(lifting); d.paint()")
    krita.run("del d.live._ask, d.live._look; d.live._timer.timeout.disconnect()")
    krita.run("connection = d.live._timer.timeout.connect(d.live._look); None")


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
