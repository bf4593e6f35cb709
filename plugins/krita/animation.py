"""Frames out of Krita's timeline and back into it."""

from __future__ import annotations

from typing import Any

from krita import Krita

from .bounds import Bounds
from .canvas import Canvas, CanvasError, _write
from .pixels import Picture
from .slices import TURN, Work
from .texts import tr

MAX_FRAMES = 256
#: How many turns of the event loop a frame may take to be there.
_TURNS = 200


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
    """The picture at each of the times, as the document is now.

    Out of a copy that nobody sees: in the artist's own the timeline would run to and fro under their hand, and each of
    its moves would be a step of the undo history.
    """
    copy = canvas.document.clone()
    try:
        for time in times:
            copy.setCurrentTime(time)
            copy.refreshProjection()
            copy.waitForDone()
            into.append(Canvas(copy).picture(bounds))
            yield
    finally:
        copy.waitForDone()  # what Krita's threads still do to it must not outlive it
        copy.setModified(False)
        copy.close()


def place_frames(canvas: Canvas, frames: list[Picture], times: list[int], bounds: Bounds, name: str) -> Work:
    """The pictures as frames of one new animated layer, at the times that they were read at.

    Each frame is a step of the undo history, and each move of the timeline: there is no other way to add a frame but
    Krita's import of files. That would be one step, but Krita 5.2 crashes in it now and then.
    """
    document = canvas.document
    stood = document.currentTime()
    document.setCurrentTime(times[0])
    node = canvas.place(frames[0], bounds.x, bounds.y, name)
    node.enableAnimation()
    document.waitForDone()
    yield
    while document.activeNode() is None or document.activeNode().uniqueId() != node.uniqueId():
        document.setActiveNode(node)  # takes effect with a later turn of the event loop
        yield TURN
    blank = Krita.instance().action("add_blank_frame")
    for time, frame in zip(times, frames, strict=False):
        document.setCurrentTime(time)
        document.waitForDone()
        yield TURN
        # The action adds a frame where Krita's timeline stands, which follows the document's time in turns of the event
        # loop: one that came too early has added nothing here, and is asked for again.
        for turn in range(_TURNS):
            if node.hasKeyframeAtTime(time):
                break
            if turn % 10 == 0:
                blank.trigger()
                document.waitForDone()
            yield TURN
        else:
            raise CanvasError(
                tr("Krita did not add the frames."), tr("Unlock the layer, and apply the result from the history.")
            )
        _fill(canvas, node, frame, bounds)
    document.setCurrentTime(stood)
    document.refreshProjection()


def _fill(canvas: Canvas, node: Any, frame: Picture, bounds: Bounds) -> None:
    filled = canvas.layer(frame, 0, 0, "frame")
    data = bytes(filled.pixelData(0, 0, frame.width, frame.height))
    _write(node, data, Bounds(bounds.x, bounds.y, frame.width, frame.height))
