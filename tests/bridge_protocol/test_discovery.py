"""Where the server listens and where its token lies, and that both are its user's alone."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge_protocol import discovery, launch, machine
from bridge_protocol.discovery import Address

posix = pytest.mark.skipif(sys.platform == "win32", reason="file modes and owners are POSIX's")


@pytest.fixture
def runtime(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BRUSHWIRE_RUNTIME", str(tmp_path / "run"))
    return machine.runtime_folder()


def test_the_token_has_256_bits_and_stays(runtime):
    token = discovery.token()
    assert len(bytes.fromhex(token)) == 32
    assert discovery.token() == token == discovery.token(runtime)


@posix
def test_the_token_is_its_users_alone(runtime):
    discovery.token()
    assert stat.S_IMODE((runtime / "token").stat().st_mode) == 0o600
    (runtime / "token").chmod(0o644)
    discovery.token()
    assert stat.S_IMODE((runtime / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize("junk", [b"", b"short", b"\xff" * 64])
def test_a_token_file_that_holds_none_is_replaced(runtime, junk):
    (runtime / "token").write_bytes(junk)
    assert len(discovery.token()) == 64
    assert discovery.token() == discovery.token()


def test_all_who_make_the_token_at_once_get_the_same_one(runtime):
    for _ in range(20):
        (runtime / "token").unlink(missing_ok=True)
        with ThreadPoolExecutor(8) as pool:
            tokens = set(pool.map(lambda _: discovery.token(), range(8)))
        assert tokens == {discovery.token()}
    assert [file.name for file in runtime.iterdir()] == ["token"]


def test_a_file_system_without_hard_links_still_gets_a_token(runtime, monkeypatch):
    def no_links(*_args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert discovery.token() == discovery.token()
    assert [file.name for file in runtime.iterdir()] == ["token"]


def test_what_is_published_is_found_until_it_is_withdrawn(runtime):
    address = Address("ws://127.0.0.1:1234", 42)
    assert discovery.find() is None
    discovery.publish(address)
    assert discovery.find() == address
    discovery.withdraw(address)
    assert discovery.find() is None
    discovery.withdraw(address)


def test_a_server_never_withdraws_another_servers_address(runtime):
    old, new = Address("ws://127.0.0.1:1", 1), Address("ws://127.0.0.1:2", 2)
    discovery.publish(old)
    discovery.publish(new)
    discovery.withdraw(old)
    assert discovery.find() == new


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"{}", b'{"url": "x"}', b'{"url": "x", "pid": "y"}', b"\xff"])
def test_a_broken_address_file_is_no_server(runtime, junk):
    (runtime / "server.json").write_bytes(junk)
    assert discovery.find() is None


def test_whether_something_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(f"ws://127.0.0.1:{server.getsockname()[1]}", 1)
        assert discovery.listens(address)
    assert not discovery.listens(address)


@posix
def test_the_runtime_folder_is_made_private_and_kept_so(tmp_path, monkeypatch):
    monkeypatch.setenv("BRUSHWIRE_RUNTIME", str(tmp_path / "a" / "run"))
    folder = machine.runtime_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    assert stat.S_IMODE(machine.runtime_folder().stat().st_mode) == 0o700


@posix
def test_a_link_or_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="not a folder of this user's"):
        machine.private_folder(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        machine.private_folder(tmp_path / "file")


@posix
def test_somebody_elses_folder_is_refused(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: (tmp_path / "theirs").stat().st_uid + 1)
    with pytest.raises(PermissionError, match="not a folder of this user's"):
        machine.private_folder(tmp_path / "theirs")


@posix
def test_the_runtime_folder_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.delenv("BRUSHWIRE_RUNTIME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert machine.runtime_folder() == tmp_path / "brushwire"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr(machine.tempfile, "gettempdir", lambda: str(tmp_path))
    assert machine.runtime_folder() == tmp_path / f"brushwire-{os.getuid()}"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    machine.write_private(tmp_path / "file", b"old")
    machine.write_private(tmp_path / "file", b"new")
    machine.write_private_once(tmp_path / "file", b"later")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@posix
def test_a_server_that_is_started_is_found_where_it_says(tmp_path, monkeypatch):
    """A stand-in for the command: it does of `brushwire serve` what its starter waits for, and ends."""
    command = tmp_path / "bin" / "brushwire"
    command.parent.mkdir()
    source = (
        f"#!{sys.executable}\nimport os, sys, json, pathlib\nassert sys.argv[1:] == ['serve']\n"
        "folder = pathlib.Path(os.environ['BRUSHWIRE_RUNTIME'])\n"
        "(folder / 'new').write_text(json.dumps({'url': 'ws://127.0.0.1:7', 'pid': os.getpid()}))\n"
        "(folder / 'new').replace(folder / 'server.json')\nsys.stdin.read()\nimport time; time.sleep(1)\n"
    )
    command.write_text(source)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    runtime = machine.private_folder(tmp_path / "run")
    discovery.publish(Address("ws://127.0.0.1:6", 1), runtime)  # a killed server's
    address = launch.start_server(runtime)
    assert address is not None
    assert address.url == "ws://127.0.0.1:7"


@posix
def test_a_server_that_cannot_start_is_not_waited_for(tmp_path, monkeypatch):
    command = tmp_path / "brushwire"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.start_server(machine.private_folder(tmp_path / "run")) is None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(launch.sys, "executable", str(tmp_path / "empty" / "python"))
    assert launch.start_server(tmp_path / "run") is None


@posix
def test_a_named_command_starts_without_what_a_host_sets_for_its_own_python(tmp_path, monkeypatch):
    command = tmp_path / "brushwire"
    command.write_text(f"#!/bin/sh\nenv > {tmp_path / 'environment'}\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PYTHONHOME", "/of/the/host")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/of/the/host")
    assert launch.start_server(machine.private_folder(tmp_path / "run"), str(command)) is None
    environment = (tmp_path / "environment").read_text()
    assert "/of/the/host" not in environment
    assert f"BRUSHWIRE_RUNTIME={tmp_path / 'run'}" in environment


@posix
def test_whoever_gives_up_waiting_for_a_server_waits_no_longer(tmp_path):
    command = tmp_path / "brushwire"
    started = tmp_path / "started"
    command.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'part'}\nmv {tmp_path / 'part'} {started}\nexec sleep 600\n")
    command.chmod(0o755)
    began = time.monotonic()
    runtime = machine.private_folder(tmp_path / "run")
    assert launch.start_server(runtime, str(command), started.exists) is None
    waited = time.monotonic() - began
    os.kill(int(started.read_text()), signal.SIGKILL)  # it is still there: its end was not waited for
    assert waited < launch._TIMEOUT
