"""Where a result belongs, kept with it in the history."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

from .bounds import Bounds
from .modes import BY_KEY


def packed(mask: bytes) -> str:
    """A mask's bytes as a place holds them."""
    return base64.b64encode(zlib.compress(mask, 1)).decode()


@dataclass(frozen=True)
class Place:
    """Where a result belongs: plain values, kept with the history.

    document: its id. mode: the way of working. x, y, width, height: of the document's pixels. mask: base64 of the
    deflated mask of that rectangle, or empty. anchors: layers with their positions when it was asked, which tell
    whether the canvas was cropped or enlarged at its left or upper edge since.
    """

    document: str
    mode: str
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0
    mask: str = ""
    anchors: tuple[tuple[str, int, int], ...] = ()
    times: tuple[int, ...] = ()

    @property
    def bounds(self) -> Bounds:
        """The rectangle."""
        return Bounds(self.x, self.y, self.width, self.height)

    @property
    def alpha(self) -> bytes | None:
        """The mask's bytes."""
        return zlib.decompress(base64.b64decode(self.mask)) if self.mask else None

    def to_plain(self) -> dict[str, Any]:
        """As the history keeps it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> Place | None:
        """From what `to_plain` made; None where it is no place in Krita."""
        if not {"document", "mode"} <= data.keys() or data["mode"] not in BY_KEY:
            return None
        known = {name: value for name, value in data.items() if name in cls.__dataclass_fields__}
        known["anchors"] = tuple((str(layer), int(x), int(y)) for layer, x, y in known.get("anchors", ()))
        known["times"] = tuple(known.get("times", ()))
        return cls(**known)
