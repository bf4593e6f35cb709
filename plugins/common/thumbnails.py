"""Small pictures of large ones, and PNG files of them: for the history. Standard library alone."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from bridge_protocol.blobs import Blob

SIDE = 160


@dataclass(frozen=True)
class Picture:
    """uint8 sRGB pixels, rows from the top. channels: 3 or 4."""

    width: int
    height: int
    channels: int
    pixels: bytes


def thumbnail(blob: Blob, side: int = SIDE) -> Picture | None:
    """A picture with `side` pixels at its longer side at most; None where the blob is no picture, (h, w[, 1, 3 or 4]).

    Each pixel is the mean of four samples: the whole costs the same for every size of the picture.
    """
    shape = blob.ref.shape
    if len(shape) == 1 or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        return None
    height, width = shape[:2]
    channels = shape[2] if len(shape) == 3 else 1
    scale = max(1.0, max(width, height) / side)
    out_width, out_height = max(1, int(width / scale)), max(1, int(height / scale))
    rows = []
    for y in range(out_height):
        samples = []
        for dy in (0.25, 0.75):
            row = _row_as_bytes(blob, min(height - 1, int((y + dy) * height / out_height)))
            for dx in (0.25, 0.75):
                columns = [min(width - 1, int((x + dx) * width / out_width)) * channels for x in range(out_width)]
                samples.append(b"".join([row[at : at + channels] for at in columns]))
        rows.append(bytes([(a + b + c + d + 2) >> 2 for a, b, c, d in zip(*samples, strict=True)]))
    pixels = b"".join(rows)
    if channels == 1:
        return Picture(out_width, out_height, 3, bytes(value for value in pixels for _ in range(3)))
    return Picture(out_width, out_height, channels, pixels)


def png(picture: Picture) -> bytes:
    """The picture as a PNG file (ISO/IEC 15948)."""
    stride = picture.width * picture.channels
    rows = b"".join(b"\0" + picture.pixels[at : at + stride] for at in range(0, len(picture.pixels), stride))
    kind = {3: 2, 4: 6}[picture.channels]
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _row_as_bytes(blob: Blob, y: int) -> bytes:
    """A row's samples as 0…255; floats are taken to lie in 0…1."""
    stride = blob.ref.nbytes // blob.ref.shape[0]
    row = bytes(blob.data[y * stride : (y + 1) * stride])
    if blob.ref.dtype == "uint8":
        return row
    if blob.ref.dtype in ("uint16", "uint32"):  # the most significant byte of each, little-endian
        size = 2 if blob.ref.dtype == "uint16" else 4
        return row[size - 1 :: size]
    letter = "e" if blob.ref.dtype == "float16" else "f"
    values = struct.unpack(f"<{len(row) // struct.calcsize(letter)}{letter}", row)
    return bytes([0 if not value > 0 else 255 if value >= 1 else int(value * 255 + 0.5) for value in values])
