"""Live painting: a picture that follows the brush. Only what a stroke touched is read, hashed and sent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bridge_protocol.blobs import DIGEST_SIZE, TILE, Blob, BlobRef, blob_digest, part_at
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
#: Pause between two looks over a canvas on which nothing changes, in milliseconds.
PAUSE = 30


class Bands:
    """A picture as bands of rows, one tile high, that change one at a time; and the blob that it is now.

    Of a band that changed, only the tiles that differ are hashed. `blob` may be called in another thread than `put`,
    but never at the same time.
    """

    def __init__(self, width: int, height: int, form: Format) -> None:
        self._form = form
        self._dtype = pixels.DTYPES[form.depth]
        self._shape = (height, width, 4)
        self._columns = -(-width // TILE)
        count = -(-height // TILE)
        self._bands: list[bytes] = [b""] * count
        self._digests = [b""] * count
        self._dirty: dict[int, bytes] = {}

    def put(self, index: int, band: bytes) -> None:
        """Krita's bytes of one band, which differ from what it was."""
        self._dirty[index] = band

    @property
    def whole(self) -> bool:
        """Whether every band has been put."""
        return all(band or index in self._dirty for index, band in enumerate(self._bands))

    def blob(self) -> tuple[Blob, int]:
        """The picture now, and how many tiles have changed since the last one."""
        dirty, self._dirty = self._dirty, {}
        changed = 0
        for index, raw in dirty.items():
            rows = len(raw) // (self._shape[1] * self._form.pixel)
            band = bytes(pixels.from_krita(raw, self._shape[1], rows, self._form.model, self._form.depth).data)
            changed += self._take(index, band, rows)
        digests = b"".join(self._digests)
        ref = BlobRef(blob_digest(digests, self._shape, self._dtype, "srgb"), self._shape, self._dtype, "srgb")
        return Blob(ref, memoryview(b"".join(self._bands)), digests), changed

    def _take(self, index: int, band: bytes, rows: int) -> int:
        old, kept = self._bands[index], self._digests[index]
        shape = (rows, *self._shape[1:])
        digests, changed = [], 0
        for column in range(self._columns):
            part = part_at(column, shape, self._dtype)
            data = part.read(memoryview(band))
            if old and part.read(memoryview(old)) == data:
                digests.append(kept[column * DIGEST_SIZE : (column + 1) * DIGEST_SIZE])
            else:
                digests.append(hashlib.sha256(data).digest())
                changed += 1
        self._bands[index], self._digests[index] = band, b"".join(digests)
        return changed


class Live:
    """Looks at the canvas while it is on, and asks for a new picture as soon as it has changed.

    Krita tells nobody that something was painted. A stroke's band is looked at first when the brush is lifted
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
        self._bands: Bands | None = None
        self._seen: list[bytes] = []
        #: Bands to look at: those of a stroke, after which a picture is asked for at once, and all in turn.
        self._near: list[int] = []
        self._queue: list[int] = []
        self._changed = False
        self._task: Task | None = None
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
        self._bands = Bands(self._bounds.width, self._bounds.height, own)
        self._seen = [b""] * -(-self._bounds.height // TILE)
        self._queue = list(range(len(self._seen)))
        self._changed = False
        self._timer.start(0)

    def stop(self) -> None:
        """Look no more; the picture that is on its way is given up."""
        self._timer.stop()
        self._form = self._canvas = self._bands = None
        if self._task is not None and not self._task.ended:
            self._workspace.studio.cancel(self._task)
        self._task = None

    def touched(self, bounds: Bounds) -> None:
        """Something was painted there: look there first."""
        if self._form is not None:
            inside = bounds.intersect(self._bounds).relative_to(self._bounds)
            first, last = inside.y // TILE, (inside.bottom - 1) // TILE
            self._near = [index for index in range(len(self._seen)) if first <= index <= last]
            self._timer.start(0)

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
        canvas, bands = self._canvas, self._bands
        if canvas is None or bands is None or self._form is None:
            return
        if self._making:  # the bands belong to the studio's worker for these few milliseconds
            self._timer.start(1)
            return
        if not canvas.is_open:
            self.stop()
            return
        end = time.perf_counter() + BUDGET
        try:
            stroke = bool(self._near)
            while self._near:
                self._look_at(self._near.pop(0), canvas, bands)
            while self._queue and not stroke and time.perf_counter() < end:
                self._look_at(self._queue.pop(0), canvas, bands)
        except CanvasError as error:  # the canvas was made smaller, or the document is about to close
            self._workspace.failed(error)
            self.stop()
            return
        if self._queue and not stroke:
            self._timer.start(0)
            return
        if (self._changed or self._stale) and bands.whole:
            self._changed = self._stale = False
            self._ask()
        self._queue = list(range(len(self._seen)))
        self._timer.start(PAUSE)

    def _look_at(self, index: int, canvas: Canvas, bands: Bands) -> None:
        top = self._bounds.y + index * TILE
        rows = min(TILE, self._bounds.bottom - top)
        reading = Reading(canvas.document, Bounds(self._bounds.x, top, self._bounds.width, rows), canvas.format)
        while not reading.advance():
            pass
        band = reading.data
        if band != self._seen[index]:
            self._seen[index] = band
            bands.put(index, band)
            self._changed = True

    def _ask(self) -> None:
        assert self._form is not None
        assert self._canvas is not None
        assert self._bands is not None
        studio, bounds = self._workspace.studio, self._bounds
        snapshot = studio.form(self._form.kind)
        snapshot.load(self._form.values)
        document = self._workspace.documents.id_of(self._canvas.document)
        place = Place(document, "live", bounds.x, bounds.y, bounds.width, bounds.height)
        self._making = True
        self._task = studio.submit(
            partial(self._make, snapshot, self._bands),
            snapshot,
            title=str(snapshot.values.get("prompt", "")),
            place=place.to_plain(),
            priority="live",
            slot=f"krita {document}",
            on_disconnect="cancel",
            on_change=self._heard,
        )

    def _make(self, form: Form, bands: Bands) -> Any:
        blob, changed = bands.blob()
        self.sent.append(changed)
        self._making = False
        return form.job({"image": blob})

    def _heard(self, task: Task) -> None:
        if task.ended:
            self._making = False
            if task in self._workspace.studio.tasks:
                self._workspace.studio.dismiss(task)
        if task is self._task or task.stage == "finished":
            self._on_picture(task)
