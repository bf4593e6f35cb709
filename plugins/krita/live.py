"""Live painting: a picture that follows the brush. Only what a stroke touched is read, hashed and sent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from bridge_protocol.blobs import TILE, Blob, BlobRef, blob_digest, part_count, parts
from plugins.common.forms import Form
from plugins.common.tasks import Task

from . import pixels
from .bounds import Bounds
from .canvas import Canvas, CanvasError, Format, Reading
from .places import Place
from .qt import QtCore
from .workspace import Workspace

#: How long the canvas is looked at between two turns of Krita's event loop.
BUDGET = 0.004
#: Pause between two looks over a canvas on which nothing changes, in milliseconds, and between the slices of one: what
#: else Python does in Krita, such as the client's thread, would wait for a main thread that never rests.
PAUSE = 30
REST = 8
#: For so many seconds after a picture was asked for only strokes are looked at: it may come any moment, and would wait.
QUIET = 0.1


class Tiled(Blob):
    """A picture in tiles as a blob: a tile is at hand at once, and the whole is put together when it is asked for."""

    def __init__(self, ref: BlobRef, tiles: list[bytes], part_digests: bytes) -> None:
        for name, value in (("ref", ref), ("part_digests", part_digests), ("_tiles", tiles)):
            object.__setattr__(self, name, value)

    @cached_property
    def data(self) -> memoryview:
        """All rows."""
        whole = memoryview(bytearray(self.ref.nbytes))
        for where, tile in zip(parts(self.ref.shape, self.ref.dtype), self._tiles, strict=True):
            where.write(whole, memoryview(tile))
        return whole.toreadonly()

    def part(self, index: int) -> bytes:
        """One tile."""
        return self._tiles[index]


class Tiles:
    """A picture as tiles that change one at a time; and the blob that it is now.

    `blob` may be called in another thread than `put`, but never at the same time.
    """

    def __init__(self, width: int, height: int, form: Format) -> None:
        self._form = form
        self._dtype = pixels.DTYPES[form.depth]
        self._shape = (height, width, 4)
        columns = -(-width // TILE)
        #: Where each tile lies in the picture.
        self.bounds = [
            Bounds(0, 0, width, height).intersect(Bounds(index % columns * TILE, index // columns * TILE, TILE, TILE))
            for index in range(part_count(self._shape))
        ]
        self._tiles = [b""] * len(self.bounds)
        self._digests = [b""] * len(self.bounds)
        self._dirty: dict[int, bytes] = {}

    def put(self, index: int, tile: bytes) -> None:
        """Krita's bytes of one tile, which differ from what it was."""
        self._dirty[index] = tile

    @property
    def whole(self) -> bool:
        """Whether every tile has been put."""
        return all(tile or index in self._dirty for index, tile in enumerate(self._tiles))

    def blob(self) -> tuple[Blob, int]:
        """The picture now, and how many tiles have changed since the last one."""
        dirty, self._dirty = self._dirty, {}
        tiles = list(self._tiles)  # the blobs before have theirs
        for index, raw in dirty.items():
            width, height = self.bounds[index].width, self.bounds[index].height
            tiles[index] = pixels.from_krita(raw, width, height, self._form.model, self._form.depth).data
            self._digests[index] = hashlib.sha256(tiles[index]).digest()
        self._tiles = tiles
        digests = b"".join(self._digests)
        ref = BlobRef(blob_digest(digests, self._shape, self._dtype, "srgb"), self._shape, self._dtype, "srgb")
        return Tiled(ref, tiles, digests), len(dirty)


class Live:
    """Looks at the canvas while it is on, and asks for a new picture as soon as it has changed.

    Krita tells nobody that something was painted. A stroke's tiles are looked at first when the brush is lifted
    (`touched`), all others in turn, a few milliseconds at a time. on_picture: given the task of each picture.
    """

    def __init__(self, workspace: Workspace, on_picture: Callable[[Task], object]) -> None:
        self._workspace = workspace
        self._on_picture = on_picture
        self._timer = QtCore.QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._look)
        self._form: Form | None = None
        self._canvas: Canvas | None = None
        self._bounds = Bounds(0, 0, 0, 0)
        self._tiles: Tiles | None = None
        self._seen: list[bytes] = []
        #: Tiles to look at: those of a stroke, after which a picture is asked for at once, and all in turn.
        self._near: list[int] = []
        self._queue: list[int] = []
        self._changed = False
        self._task: Task | None = None
        self._asked_at = 0.0
        self._making = False
        self._stale = False
        #: Of each picture that was asked for: how many tiles had changed. What the tests and benchmarks read.
        self.sent: list[int] = []

    @property
    def on(self) -> bool:
        """Whether it looks at the canvas."""
        return self._form is not None

    def start(self, form: Form) -> None:
        """Begin with the document that is worked in, in its selection if there is one. Raises CanvasError."""
        canvas = self._workspace.canvas()
        own = canvas.format
        if not own.travels_as_it_is:
            raise CanvasError(
                f"Live painting needs a document in sRGB; this one has the profile {own.profile}.",
                "Convert it with Image ▸ Convert Image Color Space.",
            )
        mask = canvas.mask()
        self._form, self._canvas = form, canvas
        self._bounds = canvas.bounds if mask is None else mask.bounds.at_least(64, canvas.bounds)
        self._tiles = Tiles(self._bounds.width, self._bounds.height, own)
        self._seen = [b""] * len(self._tiles.bounds)
        self._near = []
        self._queue = list(range(len(self._seen)))
        self._changed = False
        self._timer.start(0)

    def stop(self) -> None:
        """Look no more; the picture that is on its way is given up."""
        self._timer.stop()
        self._form = self._canvas = self._tiles = None
        if self._task is not None and not self._task.ended:
            self._workspace.studio.cancel(self._task)
        self._task = None

    def touched(self, bounds: Bounds) -> None:
        """Something was painted there: look there first."""
        if self._tiles is not None:
            inside = bounds.intersect(self._bounds).relative_to(self._bounds)
            touched = [index for index, tile in enumerate(self._tiles.bounds) if not tile.intersect(inside).is_empty]
            self._near += [index for index in touched if index not in self._near]
            self._look()  # now: until Krita's event loop comes round again it may redraw the whole view

    def changed_words(self) -> None:
        """The form has changed: ask again with the same pixels."""
        self._stale = True
        if self.on:
            self._timer.start(0)

    @property
    def bounds(self) -> Bounds:
        """What is looked at."""
        return self._bounds

    def _look(self) -> None:
        canvas, tiles = self._canvas, self._tiles
        if canvas is None or tiles is None or self._form is None:
            return
        if self._making:  # the tiles belong to the studio's worker for these few milliseconds
            self._timer.start(1)
            return
        if not canvas.is_open:
            self.stop()
            return
        now = time.perf_counter()
        end, stroke = now + BUDGET, bool(self._near)
        waited_for = self._task is not None and not self._task.ended
        if waited_for and not stroke and tiles.whole and now < self._asked_at + QUIET:
            self._timer.start(PAUSE)
            return
        try:
            while self._near:
                self._look_at(self._near.pop(0), canvas, tiles)
            while self._queue and not stroke and time.perf_counter() < end:
                self._look_at(self._queue.pop(0), canvas, tiles)
        except CanvasError as error:  # the canvas was made smaller, or the document is about to close
            self._workspace.failed(error)
            self.stop()
            return
        if self._queue and not stroke:
            self._timer.start(PAUSE if waited_for else REST if tiles.whole else 0)
            return
        if (self._changed or self._stale) and tiles.whole:
            self._changed = self._stale = False
            self._ask()
        self._queue = self._queue or list(range(len(self._seen)))
        self._timer.start(PAUSE)

    def _look_at(self, index: int, canvas: Canvas, tiles: Tiles) -> None:
        inside = tiles.bounds[index]
        bounds = Bounds(self._bounds.x + inside.x, self._bounds.y + inside.y, inside.width, inside.height)
        reading = Reading(canvas.document, bounds, canvas.format)
        while not reading.advance():
            pass
        tile = reading.data
        if tile != self._seen[index]:
            self._seen[index] = tile
            tiles.put(index, tile)
            self._changed = True

    def _ask(self) -> None:
        assert self._form is not None
        assert self._canvas is not None
        assert self._tiles is not None
        studio, bounds = self._workspace.studio, self._bounds
        snapshot = studio.form(self._form.kind)
        snapshot.load(self._form.values)
        document = self._workspace.documents.id_of(self._canvas.document)
        place = Place(document, "live", bounds.x, bounds.y, bounds.width, bounds.height)
        self._making, self._asked_at = True, time.perf_counter()
        self._task = studio.submit(
            partial(self._make, snapshot, self._tiles),
            snapshot,
            title=str(snapshot.values.get("prompt", "")),
            place=place.to_plain(),
            priority="live",
            slot=f"krita {document}",
            on_disconnect="cancel",
            on_change=self._heard,
        )

    def _make(self, form: Form, tiles: Tiles) -> Any:
        blob, changed = tiles.blob()
        self.sent.append(changed)
        self._making = False
        return form.job({"image": blob})

    def _heard(self, task: Task) -> None:
        if task.ended:
            self._making = False
        if task is self._task or task.stage == "finished":
            self._on_picture(task)  # first: telling the server that it is here can wait
        if task.ended and task in self._workspace.studio.tasks:
            self._workspace.studio.dismiss(task)
