"""Pixels as Krita has them in memory and as they travel: bytes rearranged, never computed with.

Krita keeps integer RGBA as blue, green, red, alpha, and floating-point RGBA as red, green, blue, alpha. What travels is
red, green, blue, alpha, in the same depth. Everything here works on whole planes by slices and tables, since hosts have
no numpy: 2048² pixels of 8 bits take some ten milliseconds.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Any

from bridge_protocol.blobs import ITEM_SIZE, Blob, DType

#: Krita's names of depths, and what travels.
DTYPES: dict[str, DType] = {"U8": "uint8", "U16": "uint16", "F16": "float16", "F32": "float32"}
DEPTHS: dict[str, str] = {dtype: depth for depth, dtype in DTYPES.items()}

_CODES = {1: "B", 2: "H", 4: "I"}
_FORMATS = {"uint8": "B", "uint16": "H", "float16": "e", "float32": "f"}
_INTEGERS = ("uint8", "uint16")


@dataclass(frozen=True)
class Picture:
    """Pixels as they travel: rows from the top, tightly packed, red first. data: height × width × channels items."""

    data: Any
    width: int
    height: int
    channels: int
    dtype: DType

    def __post_init__(self) -> None:
        expected = self.width * self.height * self.channels * ITEM_SIZE[self.dtype]
        if len(self.data) != expected:
            raise ValueError(
                f"a picture of {self.width}×{self.height} with {self.channels} channels of {self.dtype} has "
                f"{expected} bytes, not {len(self.data)}"
            )

    def blob(self) -> Blob:
        """As the payload that travels; hashes it."""
        shape = (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)
        return Blob.of(self.data, shape=shape, dtype=self.dtype, color="data" if self.channels == 1 else "srgb")

    @classmethod
    def of_blob(cls, blob: Blob) -> Picture:
        """A picture that came; (h, w) or (h, w, c). Raises ValueError where the blob is none."""
        shape = blob.ref.shape
        if len(shape) not in (2, 3) or blob.ref.dtype not in DEPTHS:
            raise ValueError(f"a blob of {blob.ref.dtype} and shape {shape} is no picture")
        return cls(blob.data, shape[1], shape[0], shape[2] if len(shape) == 3 else 1, blob.ref.dtype)


def from_krita(data: Any, width: int, height: int, model: str, depth: str) -> Picture:
    """A picture of four channels out of Krita's bytes of model RGBA or GRAYA."""
    dtype = DTYPES[depth]
    items = _items(data, dtype)
    if model == "GRAYA":
        out = _empty(width * height * 4, dtype)
        for channel in range(3):
            out[channel::4] = items[0::2]
        out[3::4] = items[1::2]
    elif model == "RGBA":
        out = _red_first(items, dtype)
    else:
        raise ValueError(f"pixels of {model} must be converted by Krita first")
    return Picture(out.tobytes(), width, height, 4, dtype)


def to_krita(picture: Picture, alpha: Any = None) -> bytes:
    """Krita's bytes, model RGBA and the picture's own depth.

    One channel becomes grey, and what has no alpha is opaque. alpha: a mask of one byte a pixel to take instead.
    """
    dtype, count = picture.dtype, picture.width * picture.height
    items = _items(picture.data, dtype)
    if picture.channels == 4:
        out = array(items.typecode, items)
    elif picture.channels in (1, 3):
        out = _empty(count * 4, dtype)
        for channel in range(3):
            out[channel::4] = items[channel::3] if picture.channels == 3 else items
        out[3::4] = _plane(count, dtype, 255)
    else:
        raise ValueError(f"a picture of {picture.channels} channels cannot become a layer")
    if alpha is not None:
        out[3::4] = _of_mask(alpha, dtype, count)
    return _red_first(out, dtype).tobytes()


def grey_of(picture: Picture) -> bytes | None:
    """Krita's bytes of model GRAYA where red, green and blue are the same everywhere, else None."""
    items = _items(picture.data, picture.dtype)
    step = picture.channels
    red = items[0::step]
    if step >= 3 and not (red == items[1::step] == items[2::step]):
        return None
    out = _empty(len(red) * 2, picture.dtype)
    out[0::2] = red
    out[1::2] = items[3::4] if step == 4 else _plane(len(red), picture.dtype, 255)
    return out.tobytes()


def with_alpha(data: bytes, dtype: DType, channels: int, mask: Any) -> bytes:
    """Krita's bytes with their alpha, the last of `channels`, taken from a mask of one byte a pixel."""
    items = _items(data, dtype)
    items[channels - 1 :: channels] = _of_mask(mask, dtype, len(items) // channels)
    return items.tobytes()


def opaque(picture: Picture) -> Picture:
    """The same colours in three channels, without alpha."""
    if picture.channels != 4:
        return picture
    items = _items(picture.data, picture.dtype)
    out = _empty(picture.width * picture.height * 3, picture.dtype)
    for channel in range(3):
        out[channel::3] = items[channel::4]
    return Picture(out.tobytes(), picture.width, picture.height, 3, picture.dtype)


def mask_of(data: Any, width: int, height: int) -> Picture:
    """A mask of one byte a pixel as it travels."""
    return Picture(bytes(data), width, height, 1, "uint8")


def hard(mask: bytes) -> bytes:
    """The mask with all that it touches at its maximum."""
    return mask.translate(bytes([0]) + bytes([255]) * 255)


def inverted(mask: bytes) -> bytes:
    """What the mask leaves out."""
    return mask.translate(bytes(range(255, -1, -1)))


def cut(data: Any, stride: int, x: int, y: int, width: int, height: int, pixel: int) -> bytes:
    """A rectangle out of rows of `stride` pixels of `pixel` bytes each."""
    view = memoryview(data)
    first = (y * stride + x) * pixel
    step, length = stride * pixel, width * pixel
    return b"".join(view[start : start + length] for start in range(first, first + height * step, step))


def rolled(picture: Picture, dx: int, dy: int) -> Picture:
    """The picture moved by (dx, dy) pixels around its own edges: what leaves on one side comes in at the other."""
    pixel = picture.channels * ITEM_SIZE[picture.dtype]
    row = picture.width * pixel
    view = memoryview(picture.data)
    at = (-dx % picture.width) * pixel
    rows = []
    for y in range(picture.height):
        start = ((y - dy) % picture.height) * row
        rows += (view[start + at : start + row], view[start : start + at])
    return Picture(b"".join(rows), picture.width, picture.height, picture.channels, picture.dtype)


def stretched(picture: Picture) -> Picture:
    """One channel of float32 brought to 0…65535 between its least and largest finite value, to be looked at.

    What is not finite becomes 0. Takes a second for four million pixels.
    """
    values = array("f")
    values.frombytes(bytes(picture.data))
    finite = [value for value in values if value - value == 0]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = 65535 / (high - low) if high > low else 0.0
    out = array("H", [round((value - low) * scale) if value - value == 0 else 0 for value in values])
    return Picture(out.tobytes(), picture.width, picture.height, 1, "uint16")


def _items(data: Any, dtype: str) -> array[int]:
    """The items as unsigned integers of the same size: floats are moved about, never read."""
    out = array(_CODES[ITEM_SIZE[dtype]])
    out.frombytes(data)
    return out


def _empty(count: int, dtype: str) -> array[int]:
    return array(_CODES[ITEM_SIZE[dtype]], bytes(count * ITEM_SIZE[dtype]))


def _plane(count: int, dtype: str, value: int) -> array[int]:
    """The mask value everywhere."""
    return array(_CODES[ITEM_SIZE[dtype]], _table(dtype)[value]) * count


def _of_mask(mask: Any, dtype: str, count: int) -> array[int]:
    """A mask of one byte a pixel in another depth: 0 is none, 255 is the depth's one."""
    if len(mask) != count:
        raise ValueError(f"a mask of {count} pixels has {count} bytes, not {len(mask)}")
    table, size = _table(dtype), ITEM_SIZE[dtype]
    out = bytearray(count * size)
    for byte in range(size):
        out[byte::size] = bytes(mask).translate(bytes(item[byte] for item in table))
    return _items(out, dtype)


def _table(dtype: str) -> list[bytes]:
    """For each mask value its bytes in that depth."""
    scale = {"uint8": 1, "uint16": 257}.get(dtype)
    form = "<" + _FORMATS[dtype]
    return [struct.pack(form, value * scale if scale else value / 255) for value in range(256)]


def _red_first(items: array[int], dtype: str) -> array[int]:
    """Blue first to red first and back; floats have red first in Krita too."""
    if dtype not in _INTEGERS:
        return items
    out = array(items.typecode, items)
    out[0::4], out[2::4] = items[2::4], items[0::4]
    return out
