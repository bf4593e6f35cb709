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
    """The picture at each of the times; the timeline stands where it stood afterwards."""
    document = canvas.document
    stood = document.currentTime()
    try:
        for time in times:
            document.setCurrentTime(time)
            document.refreshProjection()
            document.waitForDone()
            into.append(canvas.picture(bounds))
            yield
    finally:
        if canvas.is_open:
            document.setCurrentTime(stood)


def place_frames(canvas: Canvas, frames: list[Picture], times: list[int], bounds: Bounds, name: str) -> Work:
    """The pictures as frames of one new animated layer, at the times that they were read at."""
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
