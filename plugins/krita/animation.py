"""Frames out of Krita's timeline and back into it.

Both ways go through a document that nobody sees: in the artist's own the timeline would run to and fro under their
hand, and each of its moves would be a step of the undo history.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from krita import Krita

from .bounds import Bounds
from .canvas import Canvas, CanvasError, _convert, _write, format_of
from .pixels import Picture
from .qt import QtGui
from .slices import Work
from .texts import tr

MAX_FRAMES = 256


def frame_times(canvas: Canvas) -> list[int]:
    """The frames of the playback range. Raises CanvasError where there are too many."""
    document = canvas.document
    times = list(range(document.playBackStartTime(), document.playBackEndTime() + 1))
    if not 1 <= len(times) <= MAX_FRAMES:
        raise CanvasError(
            tr("The animation's range has too many frames."),
            tr("Set a range of 256 frames at most in the Animation Timeline docker."),
        )
    return times


def read_frames(canvas: Canvas, times: list[int], bounds: Bounds, into: list[Picture]) -> Work:
    """The picture at each of the times, as the document is now; its timeline stands where it stands."""
    with _unseen(canvas.document.clone()) as copy:
        for time in times:
            _go_to(copy, time)
            into.append(Canvas(copy).picture(bounds))
            yield


def place_frames(canvas: Canvas, frames: list[Picture], times: list[int], bounds: Bounds, name: str) -> Work:
    """The pictures as frames of one new animated layer, at the times that they were read at: one undo step."""
    document, own = canvas.document, canvas.format
    size = document.width(), document.height()
    made = Krita.instance().createDocument(*size, name, own.model, own.depth, own.profile, document.resolution())
    with _unseen(made) as helper:
        node = _blank_frames(helper, times[0], len(frames))
        if format_of(node) != own:
            _convert(node, own)
        for time, frame in zip(times, frames, strict=False):
            _go_to(helper, time)
            filled = canvas.layer(frame, 0, 0, "frame")
            data = bytes(filled.pixelData(0, 0, frame.width, frame.height))
            _write(node, data, Bounds(bounds.x, bounds.y, frame.width, frame.height))
            yield
        layer = node.duplicate()
        layer.setName(name)
        if not canvas.is_open:
            raise CanvasError(
                tr("The document is closed."), tr("Open it again, and apply the result from the history.")
            )
        document.rootNode().addChildNode(layer, None)


def _blank_frames(document: Any, first: int, count: int) -> Any:
    """A new layer with so many frames: Krita adds frames to a layer that is not seen from files alone."""
    with tempfile.TemporaryDirectory(prefix="brushwire-") as folder:
        path = Path(folder) / "frame.png"
        image = QtGui.QImage(1, 1, QtGui.QImage.Format.Format_ARGB32)
        image.fill(0)
        image.save(str(path))
        # Not in batch mode: Krita would run the event loop meanwhile, and the timers that this is called by.
        if not document.importAnimation([str(path)] * count, first, 1):
            raise CanvasError(tr("Krita did not add the frames."), tr("Apply the result again from the history."))
    document.waitForDone()
    return document.rootNode().childNodes()[-1]


def _go_to(document: Any, time: int) -> None:
    document.setCurrentTime(time)
    document.refreshProjection()
    document.waitForDone()


@contextlib.contextmanager
def _unseen(document: Any) -> Iterator[Any]:
    """A document without a view, until the block ends."""
    try:
        yield document
    finally:
        document.setModified(False)
        document.close()
