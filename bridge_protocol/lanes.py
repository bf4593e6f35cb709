"""How payload bytes travel between two programs on one machine: through files of memory, mapped by both.

The server makes a folder for each session, with mode 0700, and names it in Welcome. Both sides write a nonce into a
probe file there and read the other's: only then do they share more than a file system's name, and only then does the
lane carry pictures. Whoever cannot prove it, or finds the folder full, sends inline chunks instead.

A sender writes a blob into a *slot*, a file of its own that it uses again once the receiver has released it, so that
its pages are warm; that is where the lane's speed comes from.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import secrets
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

from . import machine

#: Below this size a chunk in the socket is faster than a file.
MIN_BYTES = 64 * 1024
DEFAULT_QUOTA = 512 << 20
_NAME = re.compile(r"[0-9a-f]{32}")


class SharedFolder:
    """One side's view of a session's shared folder.

    path: the folder. quota: how many bytes this side's slots may take in all.
    """

    def __init__(self, path: Path, quota: int = DEFAULT_QUOTA) -> None:
        self.path = path
        self._quota = quota
        self._slots: dict[str, mmap.mmap] = {}
        self._free: list[str] = []

    @classmethod
    def create(cls, quota: int = DEFAULT_QUOTA) -> SharedFolder:
        """A new folder for one session (the server's side)."""
        return cls(machine.private_folder(machine.shared_root() / secrets.token_hex(16)), quota)

    # -- proving that both sides see it

    def write_probe(self) -> tuple[str, str]:
        """Write a nonce; returns the file's name and the nonce."""
        name, nonce = secrets.token_hex(16), secrets.token_hex(16)
        machine.write_private(self.path / name, nonce.encode())
        return name, nonce

    def read_probe(self, name: str) -> str:
        """What stands in the other side's probe. Raises OSError or ValueError where there is none."""
        descriptor = machine.open_own(self._path_of(name))
        try:
            return os.read(descriptor, 64).decode("ascii")
        finally:
            os.close(descriptor)

    # -- sending

    def put(self, data: memoryview) -> str | None:
        """Copy `data` into a slot and return the file's name.

        None where it is too small to be worth it, the quota is used up, or the machine has no memory for the file.
        """
        if data.nbytes < MIN_BYTES:
            return None
        name = self._fitting_slot(data.nbytes)
        if name is None:
            return None
        self._slots[name][: data.nbytes] = data
        return name

    def released(self, name: str) -> None:
        """The other side reads that slot no more."""
        if name in self._slots and name not in self._free:
            self._free.append(name)

    # -- receiving

    def read_into(self, name: str, into: memoryview) -> None:
        """Copy a slot's first bytes into a buffer. Raises OSError or ValueError where it has fewer.

        By reading, not by mapping: a sender that shortens its file must not be able to kill the reader.
        """
        descriptor = machine.open_own(self._path_of(name))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            done = 0
            while done < into.nbytes:
                count = file.readinto(into[done:])
                if not count:
                    raise ValueError(f"the shared file has {done} bytes; {into.nbytes} were expected")
                done += count

    def view(self, name: str, nbytes: int, on_unused: Callable[[], None]) -> memoryview:
        """A slot's first bytes without a copy, for a receiver that trusts the sender (a client its server).

        on_unused is called, in whatever thread drops the last view of it, when nobody holds the bytes any more.
        """
        descriptor = machine.open_own(self._path_of(name))
        try:
            if os.fstat(descriptor).st_size < nbytes:
                raise ValueError(f"the shared file has {os.fstat(descriptor).st_size} bytes; {nbytes} were expected")
            mapped = mmap.mmap(descriptor, nbytes, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        weakref.finalize(mapped, on_unused).atexit = False
        return memoryview(mapped)

    def close(self, *, remove: bool = False) -> None:
        """Give this side's slots back; with `remove`, the whole folder (the server, when the session ends)."""
        for name in list(self._slots):
            self._drop(name)
        self._free.clear()
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)  # Windows keeps what is still mapped

    def _path_of(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is not the name of a shared file")
        return self.path / name

    def _fitting_slot(self, nbytes: int) -> str | None:
        for name in self._free:
            if nbytes <= len(self._slots[name]) <= 4 * nbytes:
                self._free.remove(name)
                return name
        capacity = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        while self._used() + capacity > self._quota and self._free:
            self._drop(self._free.pop(0))
        if self._used() + capacity > self._quota:
            return None
        return self._new_slot(capacity)

    def _new_slot(self, capacity: int) -> str | None:
        name = secrets.token_hex(16)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self.path / name, flags, 0o600)
        except OSError:  # the folder is gone, or the machine has no room for one more file
            return None
        try:
            machine.allocate(descriptor, capacity)
            self._slots[name] = mmap.mmap(descriptor, capacity)
        except OSError:
            self._unlink(name)
            return None
        finally:
            os.close(descriptor)
        return name

    def _used(self) -> int:
        return sum(map(len, self._slots.values()))

    def _drop(self, name: str) -> None:
        self._slots.pop(name).close()
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):  # gone already, or Windows, while the other side still maps it
            (self.path / name).unlink()
