"""The shared folder: proven before it is used, private, and never able to hurt the side that reads."""

from __future__ import annotations

import gc
import mmap
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bridge_protocol import lanes, machine
from bridge_protocol.lanes import MIN_BYTES, SharedFolder

DATA = memoryview(os.urandom(MIN_BYTES * 5))

posix = pytest.mark.skipif(sys.platform == "win32", reason="file modes and links are POSIX's")


@pytest.fixture(autouse=True)
def _runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("BRUSHWIRE_RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(machine, "shared_root", lambda: machine.private_folder(tmp_path / "shared"))


@pytest.fixture
def server():
    folder = SharedFolder.create(quota=20 * MIN_BYTES)
    yield folder
    folder.close(remove=True)


@pytest.fixture
def client(server):
    folder = SharedFolder(server.path, quota=15 * MIN_BYTES)
    yield folder
    folder.close()


def read(folder: SharedFolder, name: str, nbytes: int) -> bytes:
    into = bytearray(nbytes)
    folder.read_into(name, memoryview(into))
    return bytes(into)


def test_each_side_reads_the_others_nonce(server, client):
    for writer, reader in [(server, client), (client, server)]:
        name, nonce = writer.write_probe()
        assert reader.read_probe(name) == nonce


def test_another_folder_of_the_same_name_proves_nothing(server, tmp_path):
    name, _ = server.write_probe()
    with pytest.raises(OSError, match=name):
        SharedFolder(tmp_path).read_probe(name)


@posix
def test_folders_and_files_are_their_owners_alone(server, client):
    name, _ = client.write_probe()
    slot = client.put(DATA)
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.path / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((server.path / slot).stat().st_mode) == 0o600


def test_what_one_side_puts_the_other_reads(server, client):
    name = client.put(DATA)
    assert read(server, name, DATA.nbytes) == bytes(DATA)
    name = server.put(DATA)
    assert bytes(client.view(name, DATA.nbytes, lambda: None)) == bytes(DATA)


def test_a_slot_is_used_again_once_it_is_released(client):
    first = client.put(DATA)
    second = client.put(DATA)
    assert second != first
    client.released(first)
    client.released(first)
    assert client.put(DATA[: DATA.nbytes // 2]) == first
    assert client.put(DATA) not in (first, second, None)


def test_a_slot_is_not_used_for_something_much_smaller(client):
    name = client.put(memoryview(bytes(MIN_BYTES * 5)))
    client.released(name)
    assert client.put(DATA[:MIN_BYTES]) != name


def test_beyond_the_quota_nothing_is_put_until_something_is_released(client):
    first, second, third = client.put(DATA), client.put(DATA), client.put(DATA)
    assert None not in (first, second, third)
    assert client.put(DATA) is None
    client.released(first)
    assert client.put(memoryview(bytes(MIN_BYTES))) is not None  # the free slot gives way to one that fits
    assert not (client.path / first).exists()


def test_what_is_small_goes_inline(client):
    assert client.put(memoryview(bytes(MIN_BYTES - 1))) is None


def test_a_machine_without_memory_for_a_slot_sends_inline(client, monkeypatch):
    def full(_descriptor: int, _nbytes: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine, "allocate", full)
    assert client.put(DATA) is None
    assert list(client.path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="only Linux tells beforehand whether there is room")
def test_a_slot_has_its_memory_before_it_is_written(tmp_path):
    """The limit on a file's size stands in for a full disk; it is set in a process of its own."""
    source = (
        "import pathlib, resource, sys\n"
        "from bridge_protocol.lanes import SharedFolder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "folder = SharedFolder(pathlib.Path(sys.argv[1]))\n"
        "assert folder.put(memoryview(bytes(2 << 20))) is None\n"
        "assert not any(folder.path.iterdir())\n"
        "assert folder.put(memoryview(bytes(1 << 19))) is not None\n"
    )
    subprocess.run([sys.executable, "-c", source, str(tmp_path)], check=True, cwd=Path(lanes.__file__).parents[1])


def test_allocating_without_the_systems_help_writes_every_byte(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with (tmp_path / "slot").open("wb") as file:
        machine.allocate(file.fileno(), (2 << 20) + 5)
    assert (tmp_path / "slot").stat().st_size == (2 << 20) + 5


@pytest.mark.parametrize(
    "name", ["", "..", "../" + "0" * 29, "0" * 31, "0" * 33, "G" * 32, "0" * 31 + "/", "0" * 32 + "\n"]
)
def test_names_outside_the_pattern_are_refused(server, name):
    for use in (
        lambda: server.read_probe(name),
        lambda: server.read_into(name, memoryview(bytearray(1))),
        lambda: server.view(name, 1, lambda: None),
    ):
        with pytest.raises(ValueError, match="not the name of a shared file"):
            use()


@posix
def test_a_symbolic_link_is_not_followed(server, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (server.path / ("0" * 32)).symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match=r"0{32}"):
        read(server, "0" * 32, 6)


@posix
def test_a_named_pipe_is_refused_and_waited_for_by_nobody(server):
    os.mkfifo(server.path / ("0" * 32))
    with pytest.raises(PermissionError, match="not a regular file"):
        read(server, "0" * 32, 6)


def test_a_folder_is_no_slot(server):
    (server.path / ("0" * 32)).mkdir()
    with pytest.raises(PermissionError):
        read(server, "0" * 32, 6)


def test_a_file_that_was_shortened_is_refused_and_kills_nobody(server, client):
    name = client.put(DATA)
    os.truncate(client.path / name, 100)
    with pytest.raises(ValueError, match=f"100 bytes; {DATA.nbytes} were expected"):
        read(server, name, DATA.nbytes)
    with pytest.raises(ValueError, match=f"100 bytes; {DATA.nbytes} were expected"):
        server.view(name, DATA.nbytes, lambda: None)


def test_a_probe_that_is_no_text_is_refused(server):
    (server.path / ("0" * 32)).write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="ascii"):
        server.read_probe("0" * 32)


def test_a_view_stays_valid_until_it_is_dropped_and_then_says_so(server, client):
    dropped = []
    name = server.put(DATA)
    view = client.view(name, DATA.nbytes, lambda: dropped.append(name))
    part = view[10:20]
    server.close(remove=True)
    assert not server.path.exists()
    assert bytes(view) == bytes(DATA)
    del view
    gc.collect()
    assert dropped == []  # a part of it is still held
    assert bytes(part) == bytes(DATA[10:20])
    del part
    gc.collect()
    assert dropped == [name]


def test_a_view_cannot_be_written(server, client):
    name = server.put(DATA)
    assert client.view(name, DATA.nbytes, lambda: None).readonly


def test_closing_gives_this_sides_slots_back_and_leaves_the_others(server, client):
    mine, theirs = client.put(DATA), server.put(DATA)
    client.close()
    assert not (server.path / mine).exists()
    assert (server.path / theirs).exists()


def test_the_end_of_a_session_removes_whatever_lies_in_its_folder(server):
    (server.path / "a folder of somebody's").mkdir()
    server.put(DATA)
    server.close(remove=True)
    assert not server.path.exists()


def test_putting_into_a_folder_that_is_gone_goes_inline(server, client):
    server.close(remove=True)
    assert client.put(DATA) is None


def test_slots_are_whole_pages(client):
    name = client.put(memoryview(bytes(MIN_BYTES + 1)))
    assert (client.path / name).stat().st_size % mmap.PAGESIZE == 0
