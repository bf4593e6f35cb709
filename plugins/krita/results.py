"""What a job made, as layers take it."""

from __future__ import annotations

from typing import Any

from bridge_protocol.handle import JobResult

from .bounds import Bounds
from .modes import Mode
from .pixels import Picture, cut
from .texts import tr

#: How many pixels more than asked a picture may have because the server paints in steps.
_STEP = 64


def cropped(picture: Picture, bounds: Bounds) -> Picture:
    """Without what was painted beyond the rectangle because the server paints in steps."""
    if (picture.width, picture.height) == (bounds.width, bounds.height):
        return picture
    if picture.width - bounds.width not in range(_STEP) or picture.height - bounds.height not in range(_STEP):
        return picture
    pixel = len(picture.data) // (picture.width * picture.height)
    data = cut(picture.data, picture.width, 0, 0, bounds.width, bounds.height, pixel)
    return Picture(data, bounds.width, bounds.height, picture.channels, picture.dtype)


def pictures_of(result: JobResult) -> list[tuple[Any, Picture]]:
    """The pictures among what a job made, each with its output."""
    return [
        (output, Picture.of_blob(blob))
        for output, blob in zip(result.outputs, result.blobs, strict=True)
        if len(blob.ref.shape) > 1
    ]


def layer_name(mode: Mode, result: JobResult, index: int) -> str:
    """What a result's layer is called: the way of working and the seed."""
    seed = result.outputs[index].info.get("seed")
    return tr(mode.label) if seed is None else f"{tr(mode.label)} {seed}"
