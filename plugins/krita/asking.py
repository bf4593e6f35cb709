"""What of a document becomes part of a job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bridge_protocol.blobs import Blob
from plugins.common.forms import Form

from . import pixels
from .bounds import Bounds
from .canvas import Canvas, CanvasError, Mask, Reading
from .pixels import Picture
from .texts import tr

_SMALLEST, _LARGEST, _STEP = 64, 8192, 8


@dataclass(frozen=True)
class Read:
    """Pixels that were read and have not been rearranged yet: that is done in the studio's worker thread."""

    reading: Reading
    without_alpha: bool = False

    def blob(self) -> Blob:
        """As the payload that travels."""
        picture = self.reading.picture()
        return (pixels.opaque(picture) if self.without_alpha else picture).blob()


def without_alpha(image: Picture | Read) -> Picture | Read:
    """The same colours without alpha."""
    return replace(image, without_alpha=True) if isinstance(image, Read) else pixels.opaque(image)


def job_of(form: Form, hosted: dict[str, Any]) -> Any:
    """The job, its pictures hashed; in the studio's worker thread."""
    return form.job(_blobs(hosted))


def _blobs(value: Any) -> Any:
    if isinstance(value, (Picture, Read)):
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
