r"""Payloads: arrays of pixels and other bytes, named by what is in them.

A blob is an array of little-endian numbers in row-major order with a shape, a dtype and a colour space. It is cut
into *parts*, tiles of 256×256 pixels (row by row; those at the right and lower edge are smaller), or, for arrays of
one dimension, runs of 65,536 items. Its *digest*, by which everyone names it, is

    SHA-256("brushwire blob 1\n" dtype "\n" shape joined by "x" "\n" color "\n" digests of its parts)

with each part's digest the SHA-256 of the part's own bytes. So a brush stroke on a large canvas changes a few parts'
digests, and only those parts have to travel; and the same bytes with another shape are another blob.

Standard library alone: arrays come in as anything with a buffer (numpy arrays, bytes, Krita's QByteArray).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, get_args

DType = Literal["uint8", "uint16", "uint32", "float16", "float32"]
#: ``srgb`` and ``linear`` are colour (RGB primaries of sRGB); ``data`` is depth, normals, masks, files.
ColorSpace = Literal["srgb", "linear", "data"]

ITEM_SIZE: dict[str, int] = {"uint8": 1, "uint16": 2, "uint32": 4, "float16": 2, "float32": 4}
TILE = 256
RUN = TILE * TILE
DIGEST_SIZE = 32
#: A part never exceeds this, so that each fits one frame: 256 × 256 × 4 channels × 4 bytes.
MAX_PART_BYTES = 1 << 20
MAX_BLOB_BYTES = 1 << 30
MAX_SIDE = 1 << 15
#: From here on a blob is hashed by two threads; for less than this, starting one costs more than it saves.
_MIN_BYTES_FOR_TWO = 1 << 20

#: struct format characters of buffers → our names. Native order is little-endian on every machine that we run on.
_FORMATS: dict[str, DType] = {
    "B": "uint8", "<B": "uint8", "?": "uint8", "H": "uint16", "<H": "uint16",
    "I": "uint32", "<I": "uint32",
    "e": "float16", "<e": "float16", "f": "float32", "<f": "float32",
}  # fmt: skip


class InvalidBlob(ValueError):
    """A blob's description is impossible, or its bytes are not what the description says."""


def shown(value: object, length: int = 80) -> str:
    """A value as an error message shows it: never so long that the message itself could not be sent."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


@dataclass(frozen=True)
class BlobRef:
    """A blob's name and description, without its bytes.

    digest: 32 bytes (see the module's text). shape: (h, w), (h, w, c) or (n,). dtype, color: as named above.
    """

    digest: bytes
    shape: tuple[int, ...]
    dtype: DType = "uint8"
    color: ColorSpace = "data"

    def __post_init__(self) -> None:
        check_shape(self.shape, self.dtype, self.color)
        if len(self.digest) != DIGEST_SIZE:
            raise InvalidBlob(f"its digest has {len(self.digest)} bytes, not {DIGEST_SIZE}")

    @property
    def nbytes(self) -> int:
        """The size of the blob's data in bytes."""
        return math.prod(self.shape) * ITEM_SIZE[self.dtype]

    @classmethod
    def from_plain(cls, data: Any) -> BlobRef:
        """From a map as it travels in a header. Raises InvalidBlob."""
        if not isinstance(data, dict):
            raise InvalidBlob("it is not a map with digest, shape, dtype and color")
        digest, shape = data.get("digest"), data.get("shape")
        if not isinstance(digest, bytes) or not isinstance(shape, (list, tuple)):
            raise InvalidBlob("it lacks its digest (bytes) or its shape (a list)")
        return cls(digest, tuple(shape), data.get("dtype", "uint8"), data.get("color", "data"))


@dataclass(frozen=True, eq=False)
class Blob:
    """A blob with its bytes: `data` is a flat, read-only view of `ref.nbytes` bytes."""

    ref: BlobRef
    data: memoryview
    part_digests: bytes

    @classmethod
    def of(
        cls,
        buffer: Any,
        *,
        shape: tuple[int, ...] | None = None,
        dtype: DType | None = None,
        color: ColorSpace = "data",
    ) -> Blob:
        """A blob over any C-contiguous buffer, without a copy; do not write into the buffer afterwards.

        shape and dtype are taken from the buffer (a numpy array has both) unless they are given.
        Raises InvalidBlob where size, shape and dtype do not fit together.
        """
        view = memoryview(buffer)
        if not view.c_contiguous:
            raise InvalidBlob("its rows are not contiguous; copy the array first (numpy.ascontiguousarray)")
        dims, found = _described(view, shape, dtype, color)
        flat = view.cast("B").toreadonly()
        digests = hash_parts(flat, dims, found)
        return cls(BlobRef(blob_digest(digests, dims, found, color), dims, found, color), flat, digests)

    def part(self, index: int) -> bytes:
        """The own bytes of one part."""
        return part_at(index, self.ref.shape, self.ref.dtype).read(self.data)


def _described(
    view: memoryview, shape: tuple[int, ...] | None, dtype: DType | None, color: ColorSpace
) -> tuple[tuple[int, ...], DType]:
    """The shape and dtype of a buffer, its own or as given, if its bytes fit them. Raises InvalidBlob."""
    found = dtype or _FORMATS.get(view.format)
    if found is None or view.format[0] in ">!":
        raise InvalidBlob(f"its buffer's format is {view.format!r}; use little-endian {', '.join(get_args(DType))}")
    dims = tuple(shape if shape is not None else view.shape or (view.nbytes,))
    check_shape(dims, found, color)
    expected = math.prod(dims) * ITEM_SIZE[found]
    if view.nbytes != expected:
        raise InvalidBlob(f"it has {view.nbytes} bytes; shape {dims} of {found} needs {expected}")
    return dims, found


def check_shape(shape: tuple[int, ...], dtype: str, color: str) -> None:
    """Refuse what cannot be a blob, before a byte is allocated for it. Raises InvalidBlob."""
    if dtype not in get_args(DType):
        raise InvalidBlob(f"its dtype is {shown(dtype)}; use {', '.join(ITEM_SIZE)}")
    if color not in get_args(ColorSpace):
        raise InvalidBlob(f"its color is {shown(color)}; use {', '.join(get_args(ColorSpace))}")
    if not 1 <= len(shape) <= 3 or not all(type(side) is int and side >= 1 for side in shape):
        raise InvalidBlob(f"its shape is {shown(shape)}; use (h, w), (h, w, c) or (n,) with sides of at least 1")
    if len(shape) > 1 and max(shape[:2]) > MAX_SIDE:
        raise InvalidBlob(f"its sides are {shape[0]}×{shape[1]}; at most {MAX_SIDE} pixels each")
    if math.prod(shape) * ITEM_SIZE[dtype] > MAX_BLOB_BYTES:
        raise InvalidBlob(f"it has {math.prod(shape) * ITEM_SIZE[dtype]} bytes; at most {MAX_BLOB_BYTES}")
    if len(shape) == 3 and shape[2] * ITEM_SIZE[dtype] > MAX_PART_BYTES // RUN:
        raise InvalidBlob(f"its pixels have {shape[2]} channels of {dtype}; at most 16 bytes a pixel")


@dataclass(frozen=True)
class Part:
    """Where one part lies in a blob's bytes: `rows` runs of `row_bytes` bytes, `stride` bytes apart."""

    offset: int
    rows: int
    row_bytes: int
    stride: int

    @property
    def nbytes(self) -> int:
        """The part's size in bytes."""
        return self.rows * self.row_bytes

    def read(self, data: memoryview) -> bytes:
        """The part's own bytes out of the whole blob's."""
        start, width, stride = self.offset, self.row_bytes, self.stride
        if self.rows == 1 or width == stride:
            return bytes(data[start : start + self.nbytes])
        return b"".join([data[at : at + width] for at in range(start, start + self.rows * stride, stride)])

    def write(self, into: memoryview, part: memoryview) -> None:
        """Lay the part's own bytes into the whole blob's."""
        start, width, stride = self.offset, self.row_bytes, self.stride
        for row in range(self.rows):
            into[start + row * stride : start + row * stride + width] = part[row * width : (row + 1) * width]


def part_count(shape: tuple[int, ...]) -> int:
    """How many parts a blob of that shape has."""
    if len(shape) == 1:
        return -(-shape[0] // RUN)
    return -(-shape[0] // TILE) * -(-shape[1] // TILE)


def part_at(index: int, shape: tuple[int, ...], dtype: str) -> Part:
    """Where part `index` of a blob of that shape and dtype lies."""
    size = ITEM_SIZE[dtype]
    if len(shape) == 1:
        length = min(RUN, shape[0] - index * RUN) * size
        return Part(index * RUN * size, 1, length, length)
    pixel = size * (shape[2] if len(shape) == 3 else 1)
    row, column = divmod(index, -(-shape[1] // TILE))
    stride = shape[1] * pixel
    return Part(
        offset=row * TILE * stride + column * TILE * pixel,
        rows=min(TILE, shape[0] - row * TILE),
        row_bytes=min(TILE, shape[1] - column * TILE) * pixel,
        stride=stride,
    )


def parts(shape: tuple[int, ...], dtype: str) -> Iterator[Part]:
    """All parts in their order."""
    return (part_at(index, shape, dtype) for index in range(part_count(shape)))


def hash_parts(data: memoryview, shape: tuple[int, ...], dtype: str) -> bytes:
    """The digests of all parts, one after the other, 32 bytes each."""

    def digests(indices: range) -> bytes:
        return b"".join(hashlib.sha256(part_at(index, shape, dtype).read(data)).digest() for index in indices)

    count = part_count(shape)
    if data.nbytes < _MIN_BYTES_FOR_TWO:
        return digests(range(count))
    # hashlib lets go of Python's lock: a second thread hashes the second half meanwhile.
    with ThreadPoolExecutor(1) as second:
        rest = second.submit(digests, range(count // 2, count))
        return digests(range(count // 2)) + rest.result()


def blob_digest(part_digests: bytes, shape: tuple[int, ...], dtype: str, color: str) -> bytes:
    """The digest that names a blob (see the module's text)."""
    head = f"brushwire blob 1\n{dtype}\n{'x'.join(map(str, shape))}\n{color}\n"
    return hashlib.sha256(head.encode() + part_digests).digest()


def verify(ref: BlobRef, data: memoryview) -> Blob:
    """The blob that `ref` names, if `data` is its bytes; raises InvalidBlob if not."""
    if data.nbytes != ref.nbytes:
        raise InvalidBlob(f"it has {data.nbytes} bytes; its description needs {ref.nbytes}")
    digests = hash_parts(data, ref.shape, ref.dtype)
    if blob_digest(digests, ref.shape, ref.dtype, ref.color) != ref.digest:
        raise InvalidBlob("its bytes do not have the digest that names it")
    return Blob(ref, data.toreadonly(), digests)


def changed_parts(old: bytes, new: bytes) -> list[int]:
    """The indices at which two lists of part digests of the same shape differ."""
    at = range(0, len(new), DIGEST_SIZE)
    return [i // DIGEST_SIZE for i in at if old[i : i + DIGEST_SIZE] != new[i : i + DIGEST_SIZE]]


class Canvas:
    """Pixels that change a little at a time: remembers the parts' digests and hashes only what changed.

    Hashing a 4096² canvas takes many times as long as comparing it with what it was.
    """

    def __init__(self, color: ColorSpace = "srgb") -> None:
        self._color: ColorSpace = color
        self._pixels = b""
        self._last: Blob | None = None

    def update(self, buffer: Any, *, shape: tuple[int, ...] | None = None, dtype: DType | None = None) -> Blob:
        """The canvas as a blob now. The pixels are copied, so the caller may go on painting into its buffer.

        Takes what `Blob.of` takes, and arrays whose rows are not contiguous besides. Raises InvalidBlob.
        """
        view = memoryview(buffer)
        dims, found = _described(view, shape, dtype, self._color)
        pixels = view.tobytes()
        last = self._last
        if last is None or last.ref.shape != dims or last.ref.dtype != found:
            blob = Blob.of(pixels, shape=dims, dtype=found, color=self._color)
        else:
            data = memoryview(pixels)
            digests = bytearray(last.part_digests)
            for index in _dirty_parts(self._pixels, data, dims, found):
                part = part_at(index, dims, found).read(data)
                digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE] = hashlib.sha256(part).digest()
            kept = bytes(digests)
            ref = BlobRef(blob_digest(kept, dims, found, self._color), dims, found, self._color)
            blob = Blob(ref, data, kept)
        # Together: digests that belong to other pixels would stay wrong for good.
        self._pixels, self._last = pixels, blob
        return blob


def _dirty_parts(old: bytes, new: memoryview, shape: tuple[int, ...], dtype: DType) -> list[int]:
    """The parts in which two arrays differ; bands of rows are compared first, since most are equal."""
    columns = 1 if len(shape) == 1 else -(-shape[1] // TILE)
    dirty = []
    for first in range(0, part_count(shape), columns):
        band = part_at(first, shape, dtype)
        # startswith compares by memcmp, without copying either side.
        if not old.startswith(new[band.offset : band.offset + band.rows * band.stride], band.offset):
            for index in range(first, first + columns):
                part = part_at(index, shape, dtype)
                if part.read(memoryview(old)) != part.read(new):
                    dirty.append(index)
    return dirty
