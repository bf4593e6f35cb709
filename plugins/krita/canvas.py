"""Pixels out of Krita's documents and into them: the only file that touches Krita's interface for pixels.

What is read keeps the document's own depth. Documents of model RGBA or GRAYA with sRGB's curve are read and written
byte by byte; all others (linear light, other primaries, CMYK, L*a*b*) are converted by Krita itself, in their own
depth, at the edge: what travels is sRGB. Krita reads as many bytes as a size says from whatever it is given, without
looking at the length: each length is checked here before and after.

Everything here must be called in Krita's main thread.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from krita import Krita, Selection

from . import pixels
from .bounds import Bounds
from .pixels import Picture
from .qt import QtCore

SRGB = "sRGB-elle-V2-srgbtrc.icc"
#: Profiles whose values are sRGB's already.
_SRGB_PROFILES = {
    "RGBA": {SRGB, "sRGB built-in"},
    "GRAYA": {"Gray-D50-elle-V2-srgbtrc.icc", "Gray-D50-elle-V4-srgbtrc.icc"},
}
_CHANNELS = {"RGBA": 4, "GRAYA": 2, "CMYKA": 5, "LABA": 4, "XYZA": 4, "YCbCrA": 4, "A": 1}
_SIZES = {"U8": 1, "U16": 2, "F16": 2, "F32": 4}
#: Layers that have a position of their own.
_ANCHORS = ("paintlayer", "grouplayer", "filelayer")
#: One read or write moves at most so many bytes, so that no slice of work holds up the brush.
BAND = 4 << 20


class CanvasError(Exception):
    """Pixels could not be read or written. sentence, remedy: for people."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(f"{sentence} {remedy}")
        self.sentence, self.remedy = sentence, remedy


@dataclass(frozen=True)
class Format:
    """How a document or a layer keeps its pixels: Krita's names of colour model, depth and profile."""

    model: str
    depth: str
    profile: str

    @property
    def travels_as_it_is(self) -> bool:
        """Whether its values are sRGB's, so that no conversion is needed."""
        return self.profile in _SRGB_PROFILES.get(self.model, ())

    @property
    def pixel(self) -> int:
        """Bytes of one pixel. Raises CanvasError for a colour model that is not known."""
        try:
            return _CHANNELS[self.model] * _SIZES[self.depth]
        except KeyError:
            raise CanvasError(
                f"This document's colours ({self.model}, {self.depth}) cannot be read.",
                "Convert it with Image ▸ Convert Image Color Space to RGB/Alpha.",
            ) from None


def format_of(source: Any) -> Format:
    """The format of a document or a layer."""
    return Format(source.colorModel(), source.colorDepth(), source.colorProfile())


@dataclass(frozen=True)
class Mask:
    """Where to paint: one byte a pixel of `bounds`, in the document's coordinates."""

    data: bytes
    bounds: Bounds

    def within(self, bounds: Bounds) -> bytes:
        """The mask of a rectangle that holds its bounds, 0 outside of them."""
        inside = self.bounds.relative_to(bounds)
        if bounds == self.bounds:
            return self.data
        empty = bytes(bounds.width)
        left, right = bytes(inside.x), bytes(bounds.width - inside.right)
        rows = [empty] * inside.y
        for y in range(inside.height):
            rows += (left, self.data[y * inside.width : (y + 1) * inside.width], right)
        rows += [empty] * (bounds.height - inside.bottom)
        return b"".join(rows)


class Reading:
    """A rectangle of pixels being read, band by band, so that Krita goes on painting in between."""

    def __init__(self, source: Any, bounds: Bounds, form: Format, *, raw: bool = False) -> None:
        if bounds.is_empty:
            raise CanvasError("There are no pixels to read.", "Select a part of the picture, or nothing.")
        self.bounds, self.format = bounds, form
        composite = not raw and hasattr(source, "projectionPixelData")
        self._read = source.projectionPixelData if composite else source.pixelData
        self._rows = max(1, BAND // (bounds.width * form.pixel))
        self._bands: list[bytes] = []
        self._y = bounds.y

    @property
    def done(self) -> bool:
        """Whether all has been read."""
        return self._y >= self.bounds.bottom

    def advance(self, budget: float = 0.004) -> bool:
        """Read on for that many seconds, at least one band; whether all has been read."""
        end = time.perf_counter() + budget
        while not self.done:
            rows = min(self._rows, self.bounds.bottom - self._y)
            self._bands.append(self._band(self._y, rows))
            self._y += rows
            if time.perf_counter() >= end:
                break
        return self.done

    def _band(self, y: int, rows: int) -> bytes:
        band = bytes(self._read(self.bounds.x, y, self.bounds.width, rows))
        expected = rows * self.bounds.width * self.format.pixel
        if len(band) != expected:
            raise CanvasError(
                f"Krita gave {len(band)} bytes of pixels instead of {expected}.",
                "The document or layer may have been closed meanwhile: ask again.",
            )
        return band

    @property
    def data(self) -> bytes:
        """All bytes, in the source's own format."""
        return self._bands[0] if len(self._bands) == 1 else b"".join(self._bands)

    def picture(self) -> Picture:
        """What was read, as it travels. May be called in any thread where the format travels as it is."""
        bounds, form = self.bounds, self.format
        return pixels.from_krita(self.data, bounds.width, bounds.height, form.model, form.depth)


class Canvas:
    """One document's pixels. Two canvases are equal where their documents are the same; they have no hash."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Canvas) and bool(self.document == other.document)

    @property
    def is_open(self) -> bool:
        """Whether the document is still open."""
        return any(document == self.document for document in Krita.instance().documents())

    @property
    def format(self) -> Format:
        """How the document keeps its pixels."""
        return format_of(self.document)

    @property
    def bounds(self) -> Bounds:
        """The whole picture."""
        return Bounds(0, 0, self.document.width(), self.document.height())

    # -- out

    def mask(self, grow: int = 0, feather: int = 0) -> Mask | None:
        """The selection inside of the picture, grown (or shrunk) and feathered as Krita does it; None without one."""
        selection = self.document.selection()
        if selection is None:
            return None
        if grow or feather:
            selection = selection.duplicate()  # the artist's own stays as it is
            if grow > 0:
                selection.grow(grow, grow)
            elif grow < 0:
                selection.shrink(-grow, -grow, False)
            if feather:
                selection.feather(feather)
        bounds = Bounds(selection.x(), selection.y(), selection.width(), selection.height()).intersect(self.bounds)
        if bounds.is_empty:
            return None
        data = bytes(selection.pixelData(bounds.x, bounds.y, bounds.width, bounds.height))
        if len(data) != bounds.width * bounds.height:
            raise CanvasError("Krita did not give the selection.", "Select again.")
        return Mask(data, bounds) if data.count(0) != len(data) else None

    def read(self, bounds: Bounds | None = None, node: Any = None, *, raw: bool = False) -> Reading:
        """Begin to read the composite, or one layer with all that it contains (`raw`: its own pixels alone).

        Raises CanvasError where there is nothing to read.
        """
        source = self.document if node is None else node
        return Reading(source, self.bounds if bounds is None else bounds, format_of(source), raw=raw)

    def picture(
        self,
        bounds: Bounds | None = None,
        node: Any = None,
        *,
        hidden: Sequence[Any] = (),
        depth: str | None = None,
    ) -> Picture:
        """Read at once, as it travels. hidden: layers that are left out of the composite. depth: as `to_travel`."""
        with self.leaving_out(hidden):
            reading = self.read(bounds, node)
            while not reading.advance():
                pass
        return self.to_travel(reading, depth)

    def to_travel(self, reading: Reading, depth: str | None = None) -> Picture:
        """What was read, as it travels, converted by Krita where its format does not travel as it is.

        depth: one of Krita's to convert to; none: the reading's own.
        """
        form, bounds = reading.format, reading.bounds
        depth = depth or form.depth
        if form.travels_as_it_is and depth == form.depth:
            return reading.picture()
        node = self._detached("conversion", form)
        _write(node, reading.data, Bounds(0, 0, bounds.width, bounds.height))
        _convert(node, Format("RGBA", depth, SRGB))
        converted = Reading(node, Bounds(0, 0, bounds.width, bounds.height), format_of(node), raw=True)
        while not converted.advance():
            pass
        return converted.picture()

    @contextlib.contextmanager
    def leaving_out(self, nodes: Sequence[Any]) -> Iterator[None]:
        """The composite without those layers: Krita has no other way than to hide them, read, and show them again."""
        shown = [node for node in nodes if node.visible()]
        if not shown:
            yield
            return
        modified = self.document.modified()
        try:
            for node in shown:
                node.setVisible(False)
            self._settle()
            yield
        finally:
            for node in shown:
                node.setVisible(True)
            self._settle()
            self.document.setModified(modified)

    def _settle(self) -> None:
        self.document.refreshProjection()
        self.document.waitForDone()

    def anchors(self) -> tuple[tuple[str, int, int], ...]:
        """Some layers with their positions, from which `moved_since` tells whether the canvas was moved."""
        nodes = [node for node in self.document.rootNode().childNodes() if node.type() in _ANCHORS][:8]
        return tuple((id_of(node), node.position().x(), node.position().y()) for node in nodes)

    def moved_since(self, anchors: Sequence[tuple[str, int, int]]) -> tuple[int, int]:
        """How far cropping or enlarging the canvas has moved everything: what all anchors that are left moved by."""
        moves = set()
        for layer, x, y in anchors:
            node = node_by_id(self.document, layer)
            if node is not None:
                moves.add((node.position().x() - x, node.position().y() - y))
        return moves.pop() if len(moves) == 1 else (0, 0)

    # -- in

    def place(
        self,
        picture: Picture,
        x: int,
        y: int,
        name: str,
        *,
        alpha: bytes | None = None,
        above: Any = None,
        parent: Any = None,
        as_data: bool = False,
    ) -> Any:
        """The picture as one new layer with its corner at (x, y): one undo step. Returns the layer.

        alpha: a mask of one byte a pixel of the picture that becomes the layer's alpha. above: the layer to put it on;
        none: on top. as_data: the values are kept as they are, whatever the document's profile says about colour.
        """
        self._must_be_open()
        node = self.layer(picture, x, y, name, alpha=alpha, as_data=as_data)
        root = self.document.rootNode() if parent is None else parent
        if not root.addChildNode(node, above):
            raise CanvasError("Krita did not take the new layer.", "Unlock the layer's group, and apply again.")
        return node

    def place_group(self, layers: Sequence[Any], name: str) -> Any:
        """Layers made by `layer`, the lowest first, as one new group: one undo step. Returns the group."""
        self._must_be_open()
        group = self.document.createGroupLayer(name)
        for layer in layers:
            group.addChildNode(layer, None)
        self.document.rootNode().addChildNode(group, None)
        return group

    def layer(
        self, picture: Picture, x: int, y: int, name: str, *, alpha: bytes | None = None, as_data: bool = False
    ) -> Any:
        """A new layer that is not in the document yet; filling it now makes adding it the one undo step."""
        own = self.format
        bounds = Bounds(x, y, picture.width, picture.height)
        depth = pixels.DEPTHS[picture.dtype]
        if as_data and own.model == "RGBA" and own.depth == depth:
            node = self._detached(name, own)
            _write(node, pixels.to_krita(picture, alpha), bounds)
            return node
        grey = pixels.grey_of(picture) if own.model == "GRAYA" and own.travels_as_it_is and own.depth == depth else None
        if grey is not None:
            node = self._detached(name, own)
            _write(node, grey if alpha is None else pixels.with_alpha(grey, picture.dtype, 2, alpha), bounds)
            return node
        travelled = Format("RGBA", depth, SRGB)
        node = self._detached(name, travelled)
        _write(node, pixels.to_krita(picture, alpha), bounds)
        if own != travelled:
            _convert(node, own)
        return node

    def restore(self, reading: Reading, name: str) -> Any:
        """What was read in the document's own format, as one new layer at its place, bit for bit."""
        self._must_be_open()
        node = self._detached(name, reading.format)
        _write(node, reading.data, reading.bounds)
        self.document.rootNode().addChildNode(node, None)
        return node

    def _detached(self, name: str, form: Format) -> Any:
        node = self.document.createNode(name, "paintlayer")
        if node is None:
            raise CanvasError("Krita could not make a layer.", "Open the document again.")
        if format_of(node) != form:
            _convert(node, form)
        return node

    def _must_be_open(self) -> None:
        if not self.is_open:
            raise CanvasError("The document is closed.", "Open it again, and apply the result from the history.")


def _convert(node: Any, form: Format) -> None:
    if not node.setColorSpace(form.model, form.depth, form.profile) or format_of(node) != form:
        raise CanvasError(
            f"Krita cannot convert to {form.model} {form.depth} with the profile {form.profile}.",
            "Convert the document with Image ▸ Convert Image Color Space to RGB/Alpha.",
        )


def _write(node: Any, data: bytes, bounds: Bounds) -> None:
    """Fill a rectangle of a layer that is not in the document yet."""
    pixel = format_of(node).pixel
    if len(data) != bounds.width * bounds.height * pixel:
        raise CanvasError(
            f"A layer of {bounds.width}×{bounds.height} needs {bounds.width * bounds.height * pixel} bytes, "
            f"not {len(data)}.",
            "Paint it again; the server and this plugin may be of different versions.",
        )
    rows = max(1, BAND // (bounds.width * pixel))
    view = memoryview(data)
    for first in range(0, bounds.height, rows):
        count = min(rows, bounds.height - first)
        band = bytes(view[first * bounds.width * pixel : (first + count) * bounds.width * pixel])
        node.setPixelData(QtCore.QByteArray(band), bounds.x, bounds.y + first, bounds.width, count)


def select(document: Any, mask: Mask | None) -> None:
    """Make the mask the document's selection; None: select nothing."""
    if mask is None:
        document.setSelection(None)
        return
    selection = Selection()
    bounds = mask.bounds
    if len(mask.data) != bounds.width * bounds.height:
        raise CanvasError("The mask's bytes do not fit its size.", "Select again.")
    selection.select(bounds.x, bounds.y, bounds.width, bounds.height, 255)
    selection.setPixelData(QtCore.QByteArray(mask.data), bounds.x, bounds.y, bounds.width, bounds.height)
    document.setSelection(selection)


def node_by_id(document: Any, unique_id: str) -> Any:
    """The layer of that id (as `id_of` gives it), or None."""
    return document.nodeByUniqueID(QtCore.QUuid(unique_id)) if unique_id else None


def id_of(node: Any) -> str:
    """A layer's id, which stays with it."""
    return str(node.uniqueId().toString())
