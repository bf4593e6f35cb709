"""A real server for tests in JavaScript, and a Python client beside it.

``python -m tests.javascript.serve FOLDER PAINTER [COUNT]`` serves with its data under FOLDER, with COUNT painted jobs
in its history, and prints a line of JSON with its url and token. Then it carries out commands, a line of JSON each, and
answers each with another line, until its input ends.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from bridge_protocol import discovery
from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient, BridgeError
from bridge_protocol.jobs import job_from_plain
from bridge_protocol.messages import Output, Result, to_plain
from depth3d.camera import Camera
from depth3d.export import export_mesh
from depth3d.pipeline import mesh_from_depth
from server import thumbnails
from server.history import Painted
from server.journal import Journal
from server.settings import Settings
from server.store import BlobStore
from tests.javascript.painter import landscape
from tests.server.conftest import RunningServer

PAINTERS = {"small": "tests.javascript.painter:make", "engine": "server.worker:engine_painter"}


#: From where the tests show the panel of a host.
ORIGINS = ("http://panel.test",)


class Commands:
    def __init__(self, server: RunningServer) -> None:
        self.server, self.handles = server, {}
        self.client = BridgeClient("krita 5.2", runtime=server.settings.runtime)

    def submit(self, kind, job, **options):
        handle = self.client.submit(job_from_plain(kind, job), **options)
        self.handles[handle.id] = handle
        return {"id": handle.id, "at": time.time()}

    def wait(self, id):  # noqa: A002 - the command's name for it
        try:
            return {"outputs": len(self.handles[id].result(120).outputs)}
        except BridgeError as error:
            return {"code": error.code}

    def query(self, what, **narrowed):
        return self.client.query(what, **narrowed)

    def invitation(self):
        return self.client.query("invitation")

    def add_mesh(self, prompt):
        y, x = np.mgrid[0:72, 0:96]
        depth = (4 - 0.8 * np.exp(-((x - 45) ** 2 + (y - 40) ** 2) / 700)).astype(np.float32)
        image = np.asarray(Image.fromarray(landscape(3, 512, 384)))
        camera = Camera.from_fov(96, 72, fov_x=50.0)
        path = self.server.settings.data / "hill.glb"
        export_mesh(replace(mesh_from_depth(depth, camera, image, sharpening="never").mesh, up="-y"), path)
        self._add(prompt, "Mesh", {"mesh": (np.frombuffer(path.read_bytes(), np.uint8), "data")})
        return {}

    def add_material(self, prompt):
        self._add(prompt, "Texture", bricks())
        return {}

    def _add(self, prompt, kind, made):
        """A painted job, written as if a worker had painted it; the journal belongs to the server's own thread."""
        ledger = self.server.app._ledger
        outputs = []
        for name, (array, color) in made.items():
            blob = Blob.of(np.ascontiguousarray(array), color=color)
            ledger._store.put(blob)
            ledger._store.keep(prompt, [blob.ref.digest])
            outputs.append(Output(name, blob.ref))
        result = to_plain(Result(0, prompt, outputs, {"model": "starter"}))
        painted = Painted(prompt, kind, {"prompt": prompt}, result, time.time(), [o.blob for o in outputs], [])
        ledger._journal_thread.submit(ledger._journal.history.add, painted, time.time()).result()

    def touch(self, path):
        Path(path).touch()
        return {}


def fill(data: Path, count: int) -> None:
    """Write `count` painted jobs into the folder of a server that does not run, with small pictures of their own."""
    data.mkdir(parents=True, exist_ok=True)
    journal = Journal(data / "journal.db")
    store = BlobStore(data / "blobs", 1 << 34)
    pictures = [landscape(seed) for seed in range(24)]
    blobs = [Blob.of(picture, color="srgb") for picture in pictures]
    small = [Blob.of(thumbnails.encode(picture, "srgb")) for picture in pictures]
    for blob in (*blobs, *small):
        store.put(blob)
    things = ("boat", "lighthouse", "stone wall", "forest", "teapot", "mountain lake", "harbour at dusk", "old oak")
    manners = ("in soft morning light", "as a watercolour", "with heavy snow", "in the rain", "seen from above")
    history = journal.history
    journal._db.execute("BEGIN")
    now = time.time()
    for i in range(count):
        n = i % len(blobs)
        thing, manner = things[i % len(things)], manners[(i // 8) % len(manners)]
        ref = blobs[n].ref
        output = {"name": "image", "blob": {"digest": ref.digest, "shape": list(ref.shape), "color": "srgb"}}
        result = {"type": "result", "seq": 0, "id": f"job-{i}", "outputs": [output], "info": {"model": "starter"}}
        job = {"prompt": f"a {thing} {manner}, number {i}", "steps": 12, "seed": i}
        ended = now - (count - i) * 400.0
        history.add(Painted(f"job-{i}", "Generate", job, result, ended - 4, [ref], []), ended)
        history.set_thumbnail(f"job-{i}", small[n].ref, ref.shape[1], ref.shape[0])
    journal._db.execute("COMMIT")
    journal.close()


def bricks(side: int = 256) -> dict:
    """Maps of a brick wall, drawn by rule."""
    y, x = np.mgrid[0:side, 0:side]
    row = y // 32
    u, v = (x + 32 * (row % 2)) % 64, y % 32
    edge = np.minimum.reduce([u, 63 - u, v, 31 - v]) / 6.0
    height = edge.clip(0, 1)
    noise = np.random.default_rng(1).normal(0, 1, (side, side))
    shade = 0.06 * noise + 0.15 * np.sin(((x + 32 * (row % 2)) // 64) * 12.9 + row * 78.2)
    brick = np.array([0.62, 0.28, 0.2]) * (1 + shade[..., None])
    albedo = np.where(height[..., None] > 0.5, brick, 0.62 + 0.03 * noise[..., None])
    dy, dx = np.gradient(height * 5)
    normal = np.dstack([-dx, dy, np.ones_like(dx)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)

    def levels(values):
        return (np.asarray(values).clip(0, 1) * 255).astype(np.uint8)

    return {
        "albedo": (levels(albedo), "srgb"), "normal": (levels(normal * 0.5 + 0.5), "data"),
        "height": (levels(height), "data"), "roughness": (levels(0.75 + 0.1 * noise), "data"),
        "metallic": (levels(np.zeros_like(height)), "data"), "ambient_occlusion": (levels(0.5 + 0.5 * height), "data"),
    }  # fmt: skip


def main() -> None:
    folder, painter = Path(sys.argv[1]), sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    (folder / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
    if count:
        fill(folder / "data", count)
    settings = Settings(
        data=folder / "data", runtime=folder / "run", painter=PAINTERS[painter], grace=0.2, origins=ORIGINS
    )
    known = discovery.find(folder / "run")  # a server that was killed comes back at its port
    port = int(known.url.rsplit(":", 1)[1]) if known else 0
    server = RunningServer(replace(settings, port=port, any_port=True))
    commands = Commands(server)
    while not commands.client.query("status")["devices"]:  # what a test waits for is its job, not Python's start
        time.sleep(0.05)
    print(json.dumps({"url": server.url, "token": discovery.token(settings.runtime)}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(commands, command.pop("do"))(**command), default=repr), flush=True)
    commands.client.close()
    server.stop()


if __name__ == "__main__":
    main()
