"""Pixels as Krita has them in memory and as they travel: bytes rearranged, never computed with.

Krita keeps integer RGBA as blue, green, red, alpha, and floating-point RGBA as red, green, blue, alpha. What travels is
red, green, blue, alpha, in the same depth. Everything here works on whole planes of bytes by slices and tables, since
hosts have no numpy: 2048² pixels of 8 bits take some twenty milliseconds, a fifth of what an `array` of items takes.
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
    data = _contiguous(data)
    if model == "GRAYA":
        grey, alpha = _channel(data, 0, 2, dtype), _channel(data, 1, 2, dtype)
        out: Any = bytearray(2 * len(data))
        for channel, planes in enumerate((grey, grey, grey, alpha)):
            _put(out, channel, 4, planes)
    elif model == "RGBA":
        out = _red_first(data, dtype)
    else:
        raise ValueError(f"pixels of {model} must be converted by Krita first")
    return Picture(out, width, height, 4, dtype)


def to_krita(picture: Picture, alpha: Any = None) -> bytes | bytearray:
    """Krita's bytes, model RGBA and the picture's own depth.

    One channel becomes grey, and what has no alpha is opaque. alpha: a mask of one byte a pixel to take instead.
    """
    dtype, count = picture.dtype, picture.width * picture.height
    data = _contiguous(picture.data)
    if picture.channels == 4:
        out = _red_first(data, dtype)
    elif picture.channels in (1, 3):
        out = bytearray(4 * count * ITEM_SIZE[dtype])
        order = (2, 1, 0) if dtype in _INTEGERS else (0, 1, 2)
        for channel, place in enumerate(order):
            _put(out, place, 4, _channel(data, channel if picture.channels == 3 else 0, picture.channels, dtype))
        if alpha is None:
            _put(out, 3, 4, _plane(count, dtype, 255))
    else:
        raise ValueError(f"a picture of {picture.channels} channels cannot become a layer")
    return out if alpha is None else with_alpha(out, dtype, 4, alpha)


def grey_of(picture: Picture) -> bytes | bytearray | None:
    """Krita's bytes of model GRAYA where red, green and blue are the same everywhere, else None."""
    dtype, channels, data = picture.dtype, picture.channels, _contiguous(picture.data)
    grey = _channel(data, 0, channels, dtype)
    if channels >= 3 and any(_channel(data, channel, channels, dtype) != grey for channel in (1, 2)):
        return None
    count = picture.width * picture.height
    out = bytearray(2 * count * ITEM_SIZE[dtype])
    _put(out, 0, 2, grey)
    _put(out, 1, 2, _channel(data, 3, 4, dtype) if channels == 4 else _plane(count, dtype, 255))
    return out


def with_alpha(data: Any, dtype: DType, channels: int, mask: Any) -> bytearray:
    """Krita's bytes with their alpha, the last of `channels`, taken from a mask of one byte a pixel."""
    out = bytearray(data)
    _put(out, channels - 1, channels, _of_mask(mask, dtype, len(out) // (channels * ITEM_SIZE[dtype])))
    return out


def opaque(picture: Picture) -> Picture:
    """The same colours in three channels, without alpha."""
    if picture.channels != 4:
        return picture
    data = _contiguous(picture.data)
    out = bytearray(len(data) // 4 * 3)
    for channel in range(3):
        _put(out, channel, 3, _channel(data, channel, 4, picture.dtype))
    return Picture(out, picture.width, picture.height, 3, picture.dtype)


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


def _contiguous(data: Any) -> bytes | bytearray:
    """Bytes whose slices are fast."""
    return data if isinstance(data, (bytes, bytearray)) else bytes(data)


def _channel(data: bytes | bytearray, channel: int, channels: int, dtype: str) -> list[bytes | bytearray]:
    """One channel's planes: its items' first bytes, their second ones, and so on. Floats are moved, never read."""
    size = ITEM_SIZE[dtype]
    return [data[channel * size + byte :: channels * size] for byte in range(size)]


def _put(out: bytearray, channel: int, channels: int, planes: list[bytes | bytearray]) -> None:
    """Lay one channel's planes where they belong."""
    size = len(planes)
    for byte, plane in enumerate(planes):
        out[channel * size + byte :: channels * size] = plane


def _plane(count: int, dtype: str, value: int) -> list[bytes | bytearray]:
    """The mask value everywhere."""
    return [bytes([byte]) * count for byte in _table(dtype)[value]]


def _of_mask(mask: Any, dtype: str, count: int) -> list[bytes | bytearray]:
    """A mask of one byte a pixel in another depth: 0 is none, 255 is the depth's one."""
    if len(mask) != count:
        raise ValueError(f"a mask of {count} pixels has {count} bytes, not {len(mask)}")
    table = _table(dtype)
    return [bytes(mask).translate(bytes(item[byte] for item in table)) for byte in range(ITEM_SIZE[dtype])]


def _table(dtype: str) -> list[bytes]:
    """For each mask value its bytes in that depth."""
    scale = {"uint8": 1, "uint16": 257}.get(dtype)
    form = "<" + _FORMATS[dtype]
    return [struct.pack(form, value * scale if scale else value / 255) for value in range(256)]


def _red_first(data: bytes | bytearray, dtype: str) -> bytes | bytearray:
    """Blue first to red first and back; floats have red first in Krita too."""
    if dtype not in _INTEGERS:
        return data
    out = bytearray(data)
    _put(out, 0, 4, _channel(data, 2, 4, dtype))
    _put(out, 2, 4, _channel(data, 0, 4, dtype))
    return out
