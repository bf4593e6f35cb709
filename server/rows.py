"""Parts of an array, written where they lie in the array's file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from bridge_protocol.blobs import Part


def overwrite(path: Path, parts: Iterable[tuple[Part, bytes]]) -> None:
    """Write parts with their own bytes into the whole array's file. Raises OSError.

    parts: in the order of their indices. A call to the system costs more than the kilobyte that it writes, and so
    neighbours in a row of tiles are written together. Not through a map, since a full disk must raise.
    """
    with path.open("r+b", buffering=0) as file:
        for band in _bands(parts):
            first = band[0][0]
            rows = _rows(band)
            if sum(part.row_bytes for part, _ in band) == first.stride:
                rows = [b"".join(rows)]
            at = first.offset
            for row in rows:
                file.seek(at)
                if file.write(row) != len(row):  # what is left of it says why
                    _write_rest(file, at, row)
                at += first.stride


def _bands(parts: Iterable[tuple[Part, bytes]]) -> Iterator[list[tuple[Part, bytes]]]:
    """The parts, those together that continue each other's rows."""
    band: list[tuple[Part, bytes]] = []
    for part, data in parts:
        last = band[-1][0] if band else None
        # The next tile of the row below may lie where this one's first row ends, too; its end is past the row's.
        ends = last is not None and (last.offset % last.stride) + last.row_bytes
        if last is not None and (ends == last.stride or part.offset != last.offset + last.row_bytes):
            yield band
            band = []
        band.append((part, data))
    if band:
        yield band


def _rows(band: list[tuple[Part, bytes]]) -> list[bytes]:
    cut = [[data[at : at + part.row_bytes] for at in range(0, part.nbytes, part.row_bytes)] for part, data in band]
    return cut[0] if len(cut) == 1 else [b"".join(pieces) for pieces in zip(*cut, strict=True)]


def _write_rest(file: BinaryIO, at: int, row: bytes) -> None:
    """Write a row of which the disk has taken a part at most. Raises OSError where it is full."""
    done = file.tell() - at
    while done < len(row):
        done += file.write(row[done:])
