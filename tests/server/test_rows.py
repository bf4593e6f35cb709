"""Parts written into an array's file: exactly their own bytes change, in few calls, and a full disk is heard of."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from bridge_protocol.blobs import part_at, part_count
from server import rows

SHAPES = [(300, 700, 4), (512, 512, 3), (300, 200), (70_000,), (256, 1024, 4)]


class Counted(io.FileIO):
    """A file that counts how often it is written to, and takes `most` bytes a time."""

    calls = 0
    most = 1 << 30

    def write(self, data):
        type(self).calls += 1
        return super().write(memoryview(data)[: self.most])


@pytest.fixture
def counted(monkeypatch):
    plain = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", buffering=-1: plain(path, mode) if buffering else Counted(path, "r+")
    )
    Counted.calls, Counted.most = 0, 1 << 30
    return Counted


def written(path, shape, indices):
    """Write random parts into a file of zeros; the file's bytes, and what they should be."""
    rng = np.random.default_rng(3)
    expected = np.zeros(shape, np.uint8)
    path.write_bytes(expected.tobytes())
    whole = memoryview(bytearray(expected.tobytes()))
    parts = []
    for index in indices:
        part = part_at(index, shape, "uint8")
        parts.append((part, rng.integers(1, 256, part.nbytes, np.uint8).tobytes()))
        part.write(whole, memoryview(parts[-1][1]))
    rows.overwrite(path, parts)
    return path.read_bytes(), bytes(whole)


@pytest.mark.parametrize("shape", SHAPES)
def test_whichever_parts_are_written_their_own_bytes_change_and_no_others(tmp_path, shape):
    count = part_count(shape)
    for indices in itertools.chain.from_iterable(itertools.combinations(range(count), n) for n in range(1, count + 1)):
        got, expected = written(tmp_path / "file", shape, indices)
        assert got == expected, indices


def test_neighbours_are_written_together_and_a_whole_band_at_once(tmp_path, counted):
    written(tmp_path / "file", (512, 1024, 4), [1, 2, 5, 6])
    assert counted.calls == 512, "one for each row of each pair"
    counted.calls = 0
    written(tmp_path / "file", (512, 1024, 4), [0, 1, 2, 3])
    assert counted.calls == 1


def test_a_file_that_takes_less_than_it_is_given_gets_the_rest(tmp_path, counted):
    counted.most = 100
    got, expected = written(tmp_path / "file", (300, 300, 4), [0, 3])
    assert got == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_raises():
    part = part_at(0, (70_000,), "uint8")
    with pytest.raises(OSError, match="No space left"):
        rows.overwrite(Path("/dev/full"), [(part, bytes(part.nbytes))])
