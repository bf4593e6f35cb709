"""What differs between operating systems on the client's side: where private files lie, and how they are kept so."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from pathlib import Path


def runtime_folder() -> Path:
    r"""The folder for this user's sockets, tokens and the like, made with mode 0700 if it is not there.

    ``BRUSHWIRE_RUNTIME`` overrides it. Linux: ``$XDG_RUNTIME_DIR/brushwire``, or one under the temporary folder where
    there is none; macOS: the user's own temporary folder; Windows: ``%LOCALAPPDATA%\brushwire\run``.
    Raises PermissionError where the folder belongs to somebody else.
    """
    chosen = os.environ.get("BRUSHWIRE_RUNTIME")
    if chosen:
        return private_folder(Path(chosen))
    if sys.platform == "win32":
        return private_folder(Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "brushwire" / "run")
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return private_folder(Path(base) / "brushwire")
    return private_folder(Path(tempfile.gettempdir()) / f"brushwire-{os.getuid()}")


def shared_root() -> Path:
    """Where shared folders are made: a folder of memory where the system has one, else the runtime folder."""
    memory = Path("/dev/shm")
    if sys.platform == "linux" and os.access(memory, os.W_OK):
        return private_folder(memory / f"brushwire-{os.getuid()}")
    return private_folder(runtime_folder() / "shared")


def private_folder(path: Path) -> Path:
    """That folder, made for this user alone. Raises PermissionError where others own it or may write to it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":  # there the folder inherits the user's profile's rights
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
            raise PermissionError(f"{path} is not a folder of this user's; remove it and start again")
        if stat.S_IMODE(info.st_mode) != 0o700:
            path.chmod(0o700)
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, whole or not at all."""
    _temporary(path, data).replace(path)


def write_private_once(path: Path, data: bytes) -> None:
    """As `write_private`, but a file that is there already stays: of several that write at once, one wins."""
    temporary = _temporary(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links: the last one wins
        temporary.replace(path)
    temporary.unlink(missing_ok=True)


def allocate(descriptor: int, nbytes: int) -> None:
    """Make a new file `nbytes` large with all its memory behind it. Raises OSError where there is not enough.

    A file that was only stretched (ftruncate) would kill whoever writes into its mapping once the memory runs out.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, nbytes)
        return
    zeros = memoryview(bytes(1 << 20))
    while nbytes > 0:
        nbytes -= os.write(descriptor, zeros[:nbytes])


def open_own(path: Path) -> int:
    """A descriptor of a regular file of this user's, for reading; symbolic links are not followed.

    Raises OSError for everything else; never waits, as opening a named pipe would.
    """
    flags = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")]
    descriptor = os.open(path, os.O_RDONLY | flags[0] | flags[1] | flags[2])
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or (sys.platform != "win32" and info.st_uid != os.getuid()):
        os.close(descriptor)
        raise PermissionError(f"{path} is not a regular file of this user's")
    return descriptor


def bound_socket_buffers(transport_socket: socket.socket | None, nbytes: int = 128 * 1024) -> None:
    """Keep the system from queueing megabytes of payload in a socket, behind which every event would wait."""
    if transport_socket is not None:
        transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, nbytes)
        transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, nbytes)


def _temporary(path: Path, data: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return Path(name)
