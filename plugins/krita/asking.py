"""What of a document becomes part of a job."""

from __future__ import annotations

from typing import Any

from plugins.common.forms import Form

from . import pixels
from .bounds import Bounds
from .canvas import Canvas, CanvasError, Mask
from .pixels import Picture
from .texts import tr

_SMALLEST, _LARGEST, _STEP = 64, 8192, 8


def job_of(form: Form, hosted: dict[str, Any]) -> Any:
    """The job, its pictures hashed; in the studio's worker thread."""
    return form.job(_blobs(hosted))


def _blobs(value: Any) -> Any:
    if isinstance(value, Picture):
        return value.blob()
    if isinstance(value, dict):
        return {name: _blobs(one) for name, one in value.items()}
    return [_blobs(one) for one in value] if isinstance(value, list) else value


def size_for(bounds: Bounds) -> dict[str, int]:
    """What a picture for a rectangle is asked as: a little larger where the server paints in steps."""
    return {
        name: min(_LARGEST, max(_SMALLEST, -(-side // _STEP) * _STEP))
        for name, side in (("width", bounds.width), ("height", bounds.height))
    }


def transparent_part(canvas: Canvas, within: Mask | None) -> Mask:
    """The picture's transparent part, inside of the selection if there is one."""
    picture = canvas.picture(depth="U8")
    data = pixels.inverted(bytes(picture.data[3::4]))
    if within is not None:
        selected = within.within(canvas.bounds)
        data = bytes(map(min, data, selected))
    if data.count(0) == len(data):
        raise CanvasError(
            tr("Nothing is transparent."),
            tr("Enlarge the canvas (Image ▸ Resize Canvas), or erase what is to be painted."),
        )
    return Mask(data, canvas.bounds)
