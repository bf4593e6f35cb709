"""Layers that steer the painting: controls and regions, kept with their document."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bridge_protocol.blobs import Blob

from . import documents
from .bounds import Bounds
from .pixels import Picture, cut

#: What a hand-over file may hold; see docs/krita.md. Each with its channels; poses are lists of points.
EXACT = {"depth": 1, "normal": 3, "pose": 3}


@dataclass(frozen=True)
class ControlLayer:
    """A layer that the painting follows. layer: its id. exact: the name under which exact data is kept, or empty."""

    layer: str
    kind: str = "scribble"
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    exact: str = ""


@dataclass(frozen=True)
class RegionLayer:
    """A layer whose painted part has words of its own. layer: its id."""

    layer: str
    prompt: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Exact:
    """Exact data from a scene: little-endian float32 of that shape, and the camera that saw it (see jobs.Camera)."""

    kind: str
    shape: tuple[int, ...]
    data: bytes
    camera: dict[str, Any] | None = None

    def blob(self, bounds: Bounds, whole: Bounds) -> Blob | None:
        """The part inside of a rectangle of the picture `whole`; None where the data is not of its size."""
        if self.kind == "pose":
            points = list(struct.iter_unpack("<3f", self.data))
            moved = b"".join(struct.pack("<3f", x - bounds.x, y - bounds.y, seen) for x, y, seen in points)
            return Blob.of(moved, shape=(len(points), 3), dtype="float32", color="data")
        if self.shape[:2] != (whole.height, whole.width):
            return None
        channels = EXACT[self.kind]
        data = cut(self.data, whole.width, bounds.x, bounds.y, bounds.width, bounds.height, 4 * channels)
        shape = (bounds.height, bounds.width) if channels == 1 else (bounds.height, bounds.width, channels)
        return Blob.of(data, shape=shape, dtype="float32", color="data")

    def to_bytes(self) -> bytes:
        """As it is kept in a document."""
        head = json.dumps({"kind": self.kind, "shape": self.shape, "camera": self.camera}).encode()
        return struct.pack("<I", len(head)) + head + self.data

    @classmethod
    def from_bytes(cls, data: bytes) -> Exact:
        """From what `to_bytes` made."""
        (length,) = struct.unpack_from("<I", data)
        head = json.loads(data[4 : 4 + length])
        return cls(head["kind"], tuple(head["shape"]), data[4 + length :], head["camera"])

    def picture(self) -> Picture | None:
        """As a picture of float32, one or three channels; None for poses."""
        if self.kind == "pose":
            return None
        return Picture(self.data, self.shape[1], self.shape[0], EXACT[self.kind], "float32")


class SteeringLayers:
    """One document's control layers and regions."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self.controls = _load(document, "brushwire/controls", ControlLayer)
        self.regions = _load(document, "brushwire/regions", RegionLayer)

    def save(self) -> None:
        """Keep them in the document."""
        documents.write(self._document, "brushwire/controls", [asdict(one) for one in self.controls])
        documents.write(self._document, "brushwire/regions", [asdict(one) for one in self.regions])

    def set_control(self, control: ControlLayer) -> None:
        """Add a control, or change the one of the same layer."""
        self.controls = [*(one for one in self.controls if one.layer != control.layer), control]
        self.save()

    def set_region(self, region: RegionLayer) -> None:
        """Add a region, or change the one of the same layer."""
        self.regions = [*(one for one in self.regions if one.layer != region.layer), region]
        self.save()

    def change(self, layer: str, **values: Any) -> None:
        """Change fields of what belongs to that layer."""
        self.controls = [replace(one, **values) if one.layer == layer else one for one in self.controls]
        self.regions = [replace(one, **values) if one.layer == layer else one for one in self.regions]
        self.save()

    def remove(self, layer: str) -> None:
        """Let go of a layer; the layer itself stays."""
        self.controls = [one for one in self.controls if one.layer != layer]
        self.regions = [one for one in self.regions if one.layer != layer]
        self.save()

    def drop_missing(self, exists: Callable[[str], bool]) -> bool:
        """Forget those whose layers are gone; whether there were any."""
        gone = [one.layer for one in (*self.controls, *self.regions) if not exists(one.layer)]
        for layer in gone:
            self.remove(layer)
        return bool(gone)


def _load(document: Any, name: str, cls: Any) -> list[Any]:
    known = {one.name for one in fields(cls)}
    kept = documents.read(document, name) or []
    return [cls(**{key: value for key, value in one.items() if key in known}) for one in kept if "layer" in one]


def read_hand_over(path: Path) -> list[Exact]:
    """The exact maps in a hand-over file: an .npz with depth, normal or pose (float32), and camera (JSON as uint8).

    Raises ValueError with the reason where it is not one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name.removesuffix(".npy"): _npy(archive.read(name)) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} cannot be read: {error}.") from None
    camera = json.loads(arrays["camera"][2]) if "camera" in arrays else None
    found = []
    for kind, channels in EXACT.items():
        if kind not in arrays:
            continue
        dtype, shape, data = arrays[kind]
        fits = len(shape) == (3 if kind == "normal" else 2) and (channels == 1 or shape[-1] == channels)
        if dtype != "<f4" or not fits or len(data) != 4 * math.prod(shape):
            raise ValueError(
                f"{kind} in {path.name} is {dtype} of shape {shape}; it must be float32 as docs/krita.md says."
            )
        found.append(Exact(kind, shape, data, camera))
    if not found:
        raise ValueError(f"{path.name} holds no depth, normal or pose.")
    return found


def _npy(data: bytes) -> tuple[str, tuple[int, ...], bytes]:
    """dtype, shape and bytes of an .npy file of version 1 or 2 (numpy/lib/format.py), rows first."""
    if data[:6] != b"\x93NUMPY" or data[6] not in (1, 2):
        raise ValueError("an array in it is not an .npy file of version 1 or 2.")
    form, start = ("<H", 10) if data[6] == 1 else ("<I", 12)
    (length,) = struct.unpack_from(form, data, 8)
    import ast

    head = ast.literal_eval(data[start : start + length].decode("latin-1"))
    if head["fortran_order"]:
        raise ValueError("an array in it is not stored row by row.")
    return head["descr"], tuple(head["shape"]), data[start + length :]
