"""What can enlarge pictures, and what is asked of it. No torch in here: the server's process lists what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.engine import esrgan_names, packages
from server.engine.errors import RefusedModel
from server.engine.headers import read_header
from server.engine.painting import Pixels
from server.engine.torus import Wraps

LANCZOS = "lanczos"
#: What the package ships, best for photographs first; each with its scale.
SHIPPED: dict[str, int] = {
    "realesrgan-x4plus": 4, "realesrgan-x4plus-anime": 4, "realesr-animevideov3-x4": 4, "realesr-animevideov3-x3": 3,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class UpscaleRequest:
    """image: (h, w, 3 or 4) of any dtype that `compositing.to_float` takes. scale: how much larger. upscaler: an id of
    `upscalers`, None for the best that is there. tile: the side in pixels of what the network sees at once, overlap:
    with its neighbours. wraps: (x, y), the axes on which the picture continues at its opposite edge.
    """

    image: Pixels
    scale: float = 2.0
    upscaler: str | None = None
    tile: int = 512
    overlap: int = 64
    wraps: Wraps = (False, False)


@dataclass(frozen=True, eq=False)
class Enlarged:
    """image: (round(h · scale), round(w · scale), c), the request's dtype. upscaler: the id of what enlarged it.
    fallbacks: sentences about what was done otherwise than asked.
    """

    image: Pixels
    upscaler: str
    fallbacks: list[str]


def upscalers(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What can enlarge: plain values with id, name, kind, available, and remedy where it is not available."""
    there = packages.there(packages.REALESRGAN, folders)
    remedy = "" if there else packages.REMEDY
    shipped = [
        {"id": name, "name": name, "kind": "upscaler", "scale": scale, "available": there, "remedy": remedy}
        for name, scale in SHIPPED.items()
    ]
    own = [
        {"id": name, "name": name, "kind": "upscaler", "scale": found.scale, "available": True, "remedy": ""}
        for name, (_, found) in sorted(files(folders).items())
    ]
    plain = {"id": LANCZOS, "name": "Lanczos", "kind": "upscaler", "scale": 0, "available": True, "remedy": ""}
    return [*own, *shipped, plain]


def files(folders: Sequence[Path]) -> dict[str, tuple[Path, esrgan_names.Architecture]]:
    """The .safetensors files under the folders that hold a network of the ESRGAN family, by their names."""
    found: dict[str, tuple[Path, esrgan_names.Architecture]] = {}
    for folder in folders:
        place = folder.resolve()
        for path in sorted(folder.rglob("*.safetensors")):
            if not path.resolve().is_relative_to(place):
                continue  # a link that leads out; the catalog says so
            try:
                architecture = esrgan_names.describe(read_header(path).shapes)
            except (RefusedModel, OSError):
                continue  # the catalog lists what is refused
            if architecture is not None:
                found.setdefault(path.stem, (path, architecture))
    return found
