"""Where the server listens and where its token lies: one small file in the user's runtime folder."""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from . import machine

_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Address:
    """A running server: its WebSocket's URL, and its process, so that a stale file is known for one."""

    url: str
    pid: int


def token(folder: Path | None = None) -> str:
    """The token of this user's server, 256 random bits in hex, made at the first call; in a file with mode 0600."""
    path = (folder or machine.runtime_folder()) / "token"
    found = _read_token(path)
    # Server and client may both be the first: whoever comes second takes the other's.
    for write in (machine.write_private_once, machine.write_private):  # the second only where something else stands
        if not found:
            write(path, secrets.token_hex(_TOKEN_BYTES).encode())
            found = _read_token(path)
    if os.name != "nt":
        path.chmod(0o600)
    return found


def publish(address: Address, folder: Path | None = None) -> None:
    """Tell clients where the server listens."""
    data = json.dumps({"url": address.url, "pid": address.pid}).encode()
    machine.write_private((folder or machine.runtime_folder()) / "server.json", data)


def find(folder: Path | None = None) -> Address | None:
    """Where a server says that it listens; None where none does. Whether it still does, connecting will tell."""
    path = (folder or machine.runtime_folder()) / "server.json"
    try:
        data = json.loads(path.read_text("utf-8"))
        return Address(str(data["url"]), int(data["pid"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def listens(address: Address) -> bool:
    """Whether something accepts connections there; a server that was killed leaves its file behind."""
    parts = urlsplit(address.url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1.0):
            return True
    except OSError:
        return False


def withdraw(address: Address, folder: Path | None = None) -> None:
    """The server ends: remove its file, unless another server has put its own there meanwhile."""
    if find(folder) == address:
        ((folder or machine.runtime_folder()) / "server.json").unlink(missing_ok=True)


def _read_token(path: Path) -> str:
    """What stands there, or an empty text where that is no token."""
    try:
        found = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
    return found if len(found) == 2 * _TOKEN_BYTES else ""
