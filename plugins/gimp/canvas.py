"""Pixels out of GIMP and back into it, straight between its GEGL buffers and bytes; never a file.

The only module that touches pixels. Everything here belongs to the main thread: libgimp is not safe in two threads.
Coordinates are the image's own, in pixels, x to the right and y down; layers may begin left of it or above it.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gi

gi.require_version("Babl", "0.1")

from gi.repository import Babl, Gegl, Gimp

#: Settings stand on a layer under this name, and are saved with the image.
PARASITE = "brushwire"

#: dtype → babl's name of the component type. A format without a space means sRGB: GEGL converts from and to the
#: document's profile.
_COMPONENTS = {"uint8": "u8", "uint16": "u16", "float32": "float"}
_BYTES = {"uint8": 1, "uint16": 2, "float32": 4}
_OPAQUE = {"uint8": b"\xff", "uint16": b"\xff\xff", "float32": b"\0\0\x80\x3f"}
_EIGHT_BIT = (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.U8_PERCEPTUAL)
_SIXTEEN_BIT = (Gimp.Precision.U16_NON_LINEAR, Gimp.Precision.U16_PERCEPTUAL)


class CanvasError(Exception):
    """The image cannot be read, or painted into. sentence, remedy: for people."""

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.sentence, self.remedy = sentence, remedy


@dataclass(frozen=True)
class Area:
    """A rectangle of the image."""

    x: int
    y: int
    width: int
    height: int

    def padded(self, left: int, top: int, right: int, bottom: int) -> Area:
        """The rectangle with so much more at each side."""
        return Area(self.x - left, self.y - top, self.width + left + right, self.height + top + bottom)

    def inside(self, other: Area) -> Area:
        """What of it lies in the other one; without pixels where they do not meet."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.width, other.x + other.width)
        bottom = min(self.y + self.height, other.y + other.height)
        return Area(x, y, max(0, right - x), max(0, bottom - y))


@dataclass(frozen=True)
class Pixels:
    """Pixels in rows from the top, without gaps. channels: 1 (grey), 3 or 4; colours are sRGB, alpha is straight."""

    data: bytes | memoryview
    width: int
    height: int
    channels: int
    dtype: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels

    @property
    def pixel_bytes(self) -> int:
        """The size of one pixel."""
        return self.channels * _BYTES[self.dtype]

    def cropped(self, width: int, height: int) -> Pixels:
        """Its upper left part of at most that size."""
        width, height = min(width, self.width), min(height, self.height)
        if (width, height) == (self.width, self.height):
            return self
        stride, wanted = self.width * self.pixel_bytes, width * self.pixel_bytes
        rows = [self.data[at : at + wanted] for at in range(0, height * stride, stride)]
        return Pixels(b"".join(rows), width, height, self.channels, self.dtype)

    def painted(self, mask: bytes, *, cut: bool) -> Pixels:
        """The same as RGBA, where the mask (a byte for each pixel) says that it was painted at least as opaque as that.

        cut: make it transparent where the mask is 0. Colours stay as they are, to the bit.
        """
        size = _BYTES[self.dtype]
        out = bytearray(self._with_alpha())
        planes = [bytes(out[3 * size + byte :: 4 * size]) for byte in range(size)]
        opaque = _OPAQUE[self.dtype]
        if any(plane.count(value) != len(plane) for plane, value in zip(planes, opaque, strict=True)):
            planes = _more_opaque(planes, mask, self.dtype)
        if cut:
            shown = int.from_bytes(mask.translate(b"\0" + b"\xff" * 255), "little")
            planes = [(int.from_bytes(plane, "little") & shown).to_bytes(len(mask), "little") for plane in planes]
        for byte, plane in enumerate(planes):
            out[3 * size + byte :: 4 * size] = plane
        return Pixels(bytes(out), self.width, self.height, 4, self.dtype)

    def _with_alpha(self) -> bytes | memoryview:
        if self.channels == 4:
            return self.data
        size, count = _BYTES[self.dtype], self.width * self.height
        out = bytearray(_OPAQUE[self.dtype] * (4 * count))
        for channel in range(3):
            source = channel if self.channels == 3 else 0
            for byte in range(size):
                out[channel * size + byte :: 4 * size] = self.data[source * size + byte :: self.channels * size]
        return bytes(out)


def check(image: Gimp.Image) -> None:
    """Raises CanvasError where nothing can be painted into that image."""
    if not image.is_valid():
        raise CanvasError("The image is closed.", "Open it again; the result waits in the studio.")
    if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
        raise CanvasError("The image has indexed colours.", "Convert it first: Image → Mode → RGB.")


def whole(image: Gimp.Image) -> Area:
    """The image's canvas."""
    return Area(0, 0, image.get_width(), image.get_height())


def selected(image: Gimp.Image) -> Area | None:
    """The smallest rectangle around the selection; None where nothing is selected."""
    _, there, left, top, right, bottom = Gimp.Selection.bounds(image)
    return Area(left, top, right - left, bottom - top) if there else None


def dtype_of(image: Gimp.Image) -> str:
    """The dtype that holds the image's pixels exactly.

    Floats where they are linear, wider than 16 bits, or in another colour space than sRGB: there integers would round
    on the way, and colours outside of sRGB would be cut off.
    """
    profile = image.get_color_profile()
    if profile is None or profile.is_equal(_srgb(image)):
        if image.get_precision() in _EIGHT_BIT:
            return "uint8"
        if image.get_precision() in _SIXTEEN_BIT:
            return "uint16"
    return "float32"


def read(image: Gimp.Image, area: Area, dtype: str | None = None) -> Pixels:
    """What is seen of that part of the image, as straight RGBA in sRGB. Raises CanvasError.

    dtype: None is the image's own. Beyond the canvas, its edge pixels go on.
    """
    check(image)
    dtype = dtype or dtype_of(image)
    pixel_format = f"R'G'B'A {_COMPONENTS[dtype]}"
    inside = area.inside(whole(image))
    if inside.width == 0 or inside.height == 0:
        raise CanvasError("That part lies outside of the image.", "Choose a part of the image.")
    copy = image.duplicate()
    try:
        copy.crop(inside.width, inside.height, inside.x, inside.y)
        if not any(layer.get_visible() for layer in copy.get_layers()):
            data = bytes(area.width * area.height * 4 * _BYTES[dtype])
            return Pixels(data, area.width, area.height, 4, dtype)
        layer = copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
        _, left, top = layer.get_offsets()
        rectangle = Gegl.Rectangle.new(area.x - inside.x - left, area.y - inside.y - top, area.width, area.height)
        buffer, profile = layer.get_buffer(), _wide_profile(image)
        if profile is not None:
            buffer, own = _float_buffer(layer.get_width(), layer.get_height()), buffer
            _convert(own, profile, buffer, _srgb(image))
        data = buffer.get(rectangle, 1.0, pixel_format, Gegl.AbyssPolicy.CLAMP)
    finally:
        copy.delete()
    return Pixels(data, area.width, area.height, 4, dtype)


def depth_layer(image: Gimp.Image) -> Gimp.Layer | None:
    """The chosen layer, if it shows depth: one that was read as that, or whose name says so."""
    for layer in image.get_selected_layers():
        values = (recall(layer) or {}).get("values") or {}
        if "depth" in f"{values.get('detector', '')} {values.get('shows', '')} {layer.get_name()}".casefold():
            return layer
    return None


def read_beneath(image: Gimp.Image, layer: Gimp.Layer, area: Area) -> tuple[Pixels, Pixels]:
    """What is seen without a layer, as RGBA, and that layer alone, as grey of 16 bits. Raises CanvasError."""
    copy = image.duplicate()
    try:
        at = [one.get_id() for one in image.get_layers()].index(layer.get_id())
        copy.get_layers()[at].set_visible(False)
        picture = read(copy, area)
    finally:
        copy.delete()
    _, left, top = layer.get_offsets()
    rectangle = Gegl.Rectangle.new(area.x - left, area.y - top, area.width, area.height)
    data = layer.get_buffer().get(rectangle, 1.0, "Y' u16", Gegl.AbyssPolicy.CLAMP)
    return picture, Pixels(data, area.width, area.height, 1, "uint16")


def read_selection(image: Gimp.Image, area: Area) -> bytes:
    """How much each pixel of that part is selected, 0 … 255, with every step of a feathered edge as it is."""
    rectangle = Gegl.Rectangle.new(area.x, area.y, area.width, area.height)
    # "Y'" would take the selection for colours and bend its ramp.
    return image.get_selection().get_buffer().get(rectangle, 1.0, "Y u8", Gegl.AbyssPolicy.NONE)


@contextlib.contextmanager
def one_undo_step(image: Gimp.Image) -> Iterator[None]:
    """What is done inside is undone by one Ctrl+Z. Only around the writing: nothing waits in here."""
    image.undo_group_start()
    try:
        yield
    finally:
        image.undo_group_end()


def add_layer(
    image: Gimp.Image,
    name: str,
    pixels: Pixels,
    x: int,
    y: int,
    *,
    settings: dict[str, Any] | None = None,
    parent: Gimp.GroupLayer | None = None,
) -> Gimp.Layer:
    """A new layer above all others (or at the top of a group), its upper left corner at (x, y). Raises CanvasError.

    settings: kept on the layer, and saved with the image.
    """
    check(image)
    if len(pixels.data) != pixels.width * pixels.height * pixels.pixel_bytes:
        raise CanvasError(f"A layer of {pixels.width}×{pixels.height} pixels cannot have {len(pixels.data)} bytes.")
    grey = image.get_base_type() == Gimp.ImageBaseType.GRAY
    kind = Gimp.ImageType.GRAYA_IMAGE if grey else Gimp.ImageType.RGBA_IMAGE
    mode = image.get_default_new_layer_mode()
    layer = Gimp.Layer.new(image, name, pixels.width, pixels.height, kind, 100.0, mode)
    layer.set_offsets(x, y)
    if settings is not None:
        remember(layer, settings)
    buffer, profile = layer.get_buffer(), _wide_profile(image)
    given = buffer if profile is None else _float_buffer(pixels.width, pixels.height)
    # Bytes, not a view: PyGObject copies a view item by item, thirty times slower.
    given.set(Gegl.Rectangle.new(0, 0, pixels.width, pixels.height), _format(pixels), bytes(pixels.data))
    if profile is not None:
        _convert(given, _srgb(image), buffer, profile)
    buffer.flush()
    layer.update(0, 0, pixels.width, pixels.height)
    image.insert_layer(layer, parent, 0)
    return layer


def add_group(image: Gimp.Image, name: str) -> Gimp.GroupLayer:
    """A new, empty group above all layers."""
    check(image)
    group = Gimp.GroupLayer.new(image, name)
    image.insert_layer(group, None, 0)
    return group


def new_image(width: int, height: int, dtype: str) -> Gimp.Image:
    """An empty RGB image in sRGB whose precision holds that dtype."""
    precision = {
        "uint8": Gimp.Precision.U8_NON_LINEAR,
        "uint16": Gimp.Precision.U16_NON_LINEAR,
        "float32": Gimp.Precision.FLOAT_NON_LINEAR,
    }[dtype]
    return Gimp.Image.new_with_precision(width, height, Gimp.ImageBaseType.RGB, precision)


def extend(image: Gimp.Image, left: int, top: int, right: int, bottom: int) -> None:
    """Make the canvas larger; what is in it keeps its place."""
    image.resize(image.get_width() + left + right, image.get_height() + top + bottom, left, top)


def remember(item: Gimp.Item, settings: dict[str, Any]) -> None:
    """Keep settings on a layer, so that they can be used again after a save and a load."""
    data = json.dumps(settings, ensure_ascii=False).encode()
    item.attach_parasite(Gimp.Parasite.new(PARASITE, Gimp.PARASITE_PERSISTENT, data))


def recall(item: Gimp.Item) -> dict[str, Any] | None:
    """The settings that stand on a layer; None where there are none, or none that can be read."""
    parasite = item.get_parasite(PARASITE)
    if parasite is None:
        return None
    try:
        found = json.loads(bytes(parasite.get_data()))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _more_opaque(planes: list[bytes], mask: bytes, dtype: str) -> list[bytes]:
    """The bytes of an alpha channel, each value raised to the mask's where that is larger."""
    size = len(planes)
    interleaved = bytearray(size * len(mask))
    for byte, plane in enumerate(planes):
        interleaved[byte::size] = plane
    code, steps = {"uint8": ("B", range(256)), "uint16": ("H", range(0, 65536, 257)),
                   "float32": ("f", [step / 255 for step in range(256)])}[dtype]  # fmt: skip
    raised = array.array(code, map(max, array.array(code, interleaved), map(steps.__getitem__, mask))).tobytes()
    return [raised[byte::size] for byte in range(size)]


def _format(pixels: Pixels) -> str:
    return {1: "Y'", 3: "R'G'B'", 4: "R'G'B'A"}[pixels.channels] + f" {_COMPONENTS[pixels.dtype]}"


def _wide_profile(image: Gimp.Image) -> Gimp.ColorProfile | None:
    """The profile of a colour document of more than 8 bits in another space than sRGB; None for all others.

    Near black, GEGL's conversion of a power curve is off by 1.6e-5 of linear light. That is nothing at 8 bits, and
    315 of 65535 at 16.
    """
    profile = image.get_color_profile()
    if profile is None or image.get_base_type() != Gimp.ImageBaseType.RGB or image.get_precision() in _EIGHT_BIT:
        return None
    return None if profile.is_equal(_srgb(image)) else profile


def _float_buffer(width: int, height: int) -> Gegl.Buffer:
    return Gegl.Buffer.new("R'G'B'A float", 0, 0, width, height)


def _convert(
    source: Gegl.Buffer, profile: Gimp.ColorProfile, target: Gegl.Buffer, target_profile: Gimp.ColorProfile
) -> None:
    """Convert all of a buffer between two profiles in floats, by Little CMS. Raises CanvasError."""
    # GIMP would leave it to GEGL otherwise.
    os.environ["GIMP_COLOR_TRANSFORM_DISABLE_BABL"] = "1"
    floats = Babl.format("R'G'B'A float")
    intent, flags = Gimp.ColorRenderingIntent.RELATIVE_COLORIMETRIC, Gimp.ColorTransformFlags.NOOPTIMIZE
    transform = Gimp.ColorTransform.new(profile, floats, target_profile, floats, intent, flags)
    if transform is None:
        remedy = "Convert it: Image → Color Management → Convert to Color Profile."
        raise CanvasError("The image's colour profile cannot be converted.", remedy)
    extent = source.get_extent()
    transform.process_buffer(source, extent, target, extent)


def _srgb(image: Gimp.Image) -> Gimp.ColorProfile:
    if image.get_base_type() == Gimp.ImageBaseType.GRAY:
        return Gimp.ColorProfile.new_d50_gray_srgb_trc()
    return Gimp.ColorProfile.new_rgb_srgb()
