"""Blender: a captured depth map from its array to the server, against the file that it would be otherwise."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from plugins import pack
from server.settings import Settings
from tests.bench.table import Row, at_most
from tests.hosts import hosts
from tests.server.process import ServerProcess

#: Runs inside Blender, with the extension in place: times of both ways, in turns, in milliseconds.
_MEASURES = """
import json, os, statistics, sys, threading, time
import bpy, numpy as np
from bl_ext.user_default.brushwire.blender import errands, link

out, side = sys.argv[sys.argv.index("--") + 1], 1024
studio = link.studio()
while not studio.state.connected:
    studio.pump(0.05)
rows, columns = np.mgrid[:side, :side] / side
base = (4 + np.sin(9 * rows) * np.cos(7 * columns) + 0.3 * (columns > rows)).astype(np.float32)
base[rows < 0.2] = np.inf
form = studio.form("Generate")
form["prompt"], form["steps"] = "a room", 1

def sent(depth, priority):
    accepted = threading.Event()
    began = time.perf_counter()
    blob = errands.Blob.of(depth)
    job = form.job({"width": 64, "height": 64, "controls": [{"kind": "depth", "image": blob}]})
    handle = studio.client.submit(job, priority=priority, slot="depth", on_event=lambda event: accepted.set())
    assert accepted.wait(30)
    took = (time.perf_counter() - began) * 1000
    handle.result(30)
    return took

def written(depth, number):
    pixels = np.repeat(depth[..., None], 4, axis=2)
    image = bpy.data.images.new("depth", side, side, float_buffer=True)
    began = time.perf_counter()
    image.pixels.foreach_set(pixels.ravel())
    image.filepath_raw, image.file_format = f"{out}.{number}.exr", "OPEN_EXR"
    image.save()
    took = (time.perf_counter() - began) * 1000
    with open(image.filepath_raw, "rb") as file:
        os.fsync(file.fileno())
    kept = (time.perf_counter() - began) * 1000
    bpy.data.images.remove(image)
    return took, kept

times = {"sent": [], "accepted": [], "written": [], "kept": []}
for number in range(12):
    depths = [base * np.float32(1 + 1e-4 * (2 * number + more)) for more in (0, 1)]  # the server keeps what it has
    times["sent"].append(sent(depths[0], "live"))
    times["accepted"].append(sent(depths[1], "interactive"))
    both = written(depths[0], number)
    times["written"].append(both[0])
    times["kept"].append(both[1])
link.close()
figures = {name: statistics.median(every[2:]) for name, every in times.items()}
open(out, "w").write(json.dumps(figures))
"""


def rows() -> Iterator[Row]:
    """All rows about Blender; none where it is not installed."""
    reason = hosts.missing("blender")
    if reason:
        print(f"Blender is not measured: {reason}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="brushwire-bench-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "run").mkdir(mode=0o700)
        settings = Settings(data=folder / "data", runtime=folder / "run", painter="tests.server.small_painter:make")
        server = ServerProcess(settings, folder).start()
        env = hosts.environment(
            folder, BRUSHWIRE_RUNTIME=str(folder / "run"), BLENDER_USER_RESOURCES=str(folder / "resources"),
            BRUSHWIRE_PLUGINS=str(folder / "plugins"),
        )  # fmt: skip
        script, out = folder / "measures.py", folder / "figures.json"
        script.write_text(_MEASURES)
        try:
            archive = pack.pack("blender", folder)
            for command in (
                ("--command", "extension", "install-file", "-r", "user_default", "-e", archive),
                ("-b", "--python-exit-code", "9", "-P", script, "--", out),
            ):
                done = hosts.run("blender", *command, env=env)
                if done.returncode:
                    raise RuntimeError(done.stdout)
        finally:
            server.stop()
        figures = json.loads(out.read_text())
    # A live job is accepted when the server has its arrays, has checked them and has it in its queue; any other when
    # all of that would outlive a loss of power, too, which is the disk's time and not the wire's.
    what, kept = "Blender: 1024² depth, encoded and at the server", "Blender: the same, on the server's disk for good"
    yield Row(what, figures["sent"], 20, "the bound", "≤ 20 ms", figures["sent"] <= 20)
    yield at_most(what, figures["sent"], figures["written"], "an EXR file", 1)
    yield at_most(kept, figures["accepted"], figures["kept"], "an EXR file with fsync", 1)
