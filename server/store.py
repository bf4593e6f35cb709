"""The blobs that the server holds: clients' pictures and its own results, as files named by their content.

One folder of raw files `<digest in hex>`, written beside their place and renamed into it once their bytes have the
digest that names them, so that a file with such a name is whole. Readers map them. The least recently used make room
for new ones, never those that a job still needs.

A canvas that is painted on comes again and again with a few parts changed. The file of a blob that nobody needs any
more is taken for the next one: it loses its name, gets the new parts, and then the new name. So a stroke costs what was
touched, whatever the size of the canvas.

Every method may be called from any thread; those that touch the disk say so, and do not belong on an event loop.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import threading
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge_protocol.blobs import DIGEST_SIZE, Blob, BlobRef, InvalidBlob, changed_parts, part_at, verify
from server.rows import overwrite

#: What a small file takes on a disk; counting it bounds the number of files too.
BLOCK = 4096
#: How many blobs of one shape are looked at for the one that a new blob differs least from.
CANDIDATES = 16
#: Of how many blobs whose files went on to others the digests of their parts are remembered: an undo brings them again.
REMEMBERED = 64
_PARTIAL = "partial-"


class StoreFull(Exception):
    """There is no room, and nothing that may go. sentence, remedy: for people."""

    def __init__(self, nbytes: int, quota: int) -> None:
        self.sentence = f"There is no room for {nbytes} bytes: the jobs that are not delivered fill the {quota} bytes."
        self.remedy = "Fetch finished jobs (brushwire jobs), cancel waiting ones, or raise --store."
        super().__init__(self.sentence)


@dataclass
class _Entry:
    """A blob's file. blob: description and part digests, None until its bytes were checked in this run.

    spent: the jobs that needed it have ended, and nobody has asked for it since. maps: those that are still read.
    """

    size: int
    blob: tuple[BlobRef, bytes] | None = None
    synced: bool = False
    spent: bool = False
    maps: weakref.WeakSet[mmap.mmap] = field(default_factory=weakref.WeakSet)


class BlobStore:
    """The blobs in `folder`, which holds nothing else, up to `quota` bytes."""

    def __init__(self, folder: Path, quota: int) -> None:
        self._folder, self._quota = folder, quota
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()  # the least recently used first
        self._like: dict[tuple[object, ...], deque[bytes]] = {}
        self._bytes = 0
        self._held: dict[str, list[bytes]] = {}
        self._holders: Counter[bytes] = Counter()
        #: What is kept for as long as there is room, the oldest first, and by how many each blob is kept.
        self._kept: OrderedDict[str, list[bytes]] = OrderedDict()
        self._keepers: Counter[bytes] = Counter()
        self._given_up: list[str] = []
        self._gone: OrderedDict[bytes, tuple[BlobRef, bytes]] = OrderedDict()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._find_files()

    @property
    def nbytes(self) -> int:
        """What all blobs take on the disk."""
        return self._bytes

    def path(self, digest: bytes) -> Path:
        """Where the blob of that digest lies or would lie."""
        return self._folder / digest.hex()

    def has(self, ref: BlobRef) -> bool:
        """Whether the blob is here; does not touch the disk. A file of an earlier run counts once `find` saw it."""
        with self._lock:
            entry = self._entries.get(ref.digest)
            here = entry is not None and entry.blob is not None and entry.blob[0] == ref
            if entry is not None and here:
                entry.spent = False
            return here

    def may_have(self, ref: BlobRef) -> bool:
        """Whether there is a file of that name, in which `find` may find the blob; does not touch the disk."""
        with self._lock:
            return ref.digest in self._entries

    def find(self, ref: BlobRef) -> Blob | None:
        """The blob, mapped from its file, if it is here. Touches the disk; may hash the whole file."""
        with self._lock:
            entry = self._entries.get(ref.digest)
            if entry is None:
                return None
            self._entries.move_to_end(ref.digest)
            entry.spent = False
            known = entry.blob
            # Under the lock: a file that is about to be taken for another blob must not be mapped as this one.
            data = self._map(ref, entry)
        if data is None:
            self.discard(ref.digest)
            return None
        if known is None:
            try:
                found = verify(ref, data)
            except InvalidBlob:
                # Written in part before a loss of power, or not by us: the name lies.
                data.release()
                self.discard(ref.digest)
                return None
            self._remember(ref, found.part_digests)
            return found
        return Blob(ref, data, known[1]) if known[0] == ref else None

    def read(self, ref: BlobRef) -> Blob | None:
        """As `find`, and every page of it is in memory: reading the blob will not wait for the disk."""
        blob = self.find(ref)
        if blob is not None:
            bytes(blob.data[:: mmap.PAGESIZE])
        return blob

    def put(self, blob: Blob) -> None:
        """Write a blob whose bytes are known to be right. Touches the disk. Raises StoreFull."""
        if self.has(blob.ref):
            return
        path = self.partial()
        try:
            path.write_bytes(blob.data)
            self.adopt(path, blob.ref, blob.part_digests)
        finally:
            path.unlink(missing_ok=True)

    def partial(self, owner: str = "") -> Path:
        """A name for a file that is to become a blob by `adopt`; `sweep(owner)` removes what never did."""
        return self._folder / f"{_PARTIAL}{owner}-{secrets.token_hex(8)}"

    def adopt(self, path: Path, ref: BlobRef, part_digests: bytes) -> None:
        """Take over a file of `partial` whose bytes are known to be the blob's. Touches the disk. Raises StoreFull."""
        size = max(ref.nbytes, BLOCK)
        with self._lock:
            entry = self._entries.get(ref.digest)
            if entry is not None and entry.blob is None:  # an earlier run's, which nobody has checked yet
                self._drop(ref.digest)
            if ref.digest in self._entries:
                path.unlink()
            else:
                self._make_room(size)
                path.replace(self.path(ref.digest))
                self._entries[ref.digest] = _Entry(size)
                self._bytes += size
            self._entries.move_to_end(ref.digest)
        self._remember(ref, part_digests)

    def sweep(self, owner: str) -> None:
        """Remove the files that `owner` began and did not live to end. Touches the disk."""
        for path in self._folder.glob(f"{_PARTIAL}{owner}-*"):
            path.unlink(missing_ok=True)

    def base_for(self, ref: BlobRef, part_digests: bytes) -> tuple[BlobRef, list[int]] | None:
        """The blob here that differs least from a new one of those part digests, and the parts that differ.

        None where no blob of that shape, dtype and colour has a part in common with it. Nothing keeps it here.
        """
        best: tuple[BlobRef, list[int]] | None = None
        with self._lock:
            for found, digests in self._alike(ref):
                changed = changed_parts(digests, part_digests)
                if len(changed) * DIGEST_SIZE < len(part_digests) and (best is None or len(changed) < len(best[1])):
                    best = found, changed
        return best

    def part_digests_of(self, ref: BlobRef) -> bytes:
        """The part digests of a blob whose file went on to another one not long ago; nothing where it is unknown."""
        with self._lock:
            found = self._gone.get(ref.digest)
            return found[1] if found is not None and found[0] == ref else b""

    def amend(self, base: BlobRef, ref: BlobRef, part_digests: bytes, parts: Mapping[int, bytes]) -> bool:
        """Store a blob that is `base` but for these parts, whose bytes and digests are known to be right.

        Returns False where `base` is not here any more. Touches the disk. Raises StoreFull.
        """
        if self.has(ref):
            return True
        path = self.partial()
        with self._lock:
            entry = self._entries.get(base.digest)
            if entry is None or entry.blob is None or entry.blob[0] != base:
                return False
            old = self._take_spent(ref, part_digests, path)
            # Where the base's own file was taken, all that differs is in `parts`, and nothing is read of it.
            taken = base.digest not in self._entries
            data = memoryview(b"") if taken else self._map(base, entry)
        try:
            if data is None:
                self.discard(base.digest)
                return False
            if old is None:
                old = entry.blob[1]
                path.write_bytes(data)
            changed = [(index, part_at(index, ref.shape, ref.dtype)) for index in changed_parts(old, part_digests)]
            overwrite(path, ((part, parts[i] if i in parts else part.read(data)) for i, part in changed))
            self.adopt(path, ref, part_digests)
        finally:
            path.unlink(missing_ok=True)
        return True

    def sync(self, digests: Iterable[bytes]) -> None:
        """Return when these blobs will survive a loss of power. Touches the disk."""
        with self._lock:
            waiting = [d for d in digests if d in self._entries and not self._entries[d].synced]
        for digest in waiting:
            _sync(self.path(digest))
            self._entries[digest].synced = True
        if waiting and os.name == "posix":
            _sync(self._folder)

    def hold(self, owner: str, digests: Iterable[bytes]) -> None:
        """These blobs stay until `release(owner)`; further calls add to them."""
        with self._lock:
            mine = self._held.setdefault(owner, [])
            for digest in digests:
                mine.append(digest)
                self._holders[digest] += 1

    def release(self, owner: str) -> None:
        """`owner` needs its blobs no more; they may make room for others."""
        with self._lock:
            mine = self._held.pop(owner, ())
            self._holders.subtract(mine)
            self._holders += Counter()  # forgets the zeros
            for digest in mine:
                if digest in self._entries and not self._holders[digest]:
                    self._entries[digest].spent = True

    def keep(self, owner: str, digests: Iterable[bytes]) -> bool:
        """These blobs stay for as long as there is room: those of the owner that was first here go first, together.

        Further calls add to them. Returns whether all of them are here.
        """
        with self._lock:
            mine = self._kept.setdefault(owner, [])
            for digest in digests:
                mine.append(digest)
                self._keepers[digest] += 1
            return all(digest in self._entries for digest in mine)

    def drop_kept(self, owner: str) -> None:
        """`owner` is to be forgotten: its blobs are removed, but for those that others need. Touches the disk."""
        with self._lock:
            self._drop_kept(owner)

    def take_given_up(self) -> list[str]:
        """The owners whose blobs had to make room since the last call."""
        with self._lock:
            given_up, self._given_up = self._given_up, []
            return given_up

    def discard(self, digest: bytes) -> None:
        """Forget a blob and its file. Touches the disk."""
        with self._lock:
            self._drop(digest)

    def _remember(self, ref: BlobRef, part_digests: bytes) -> None:
        with self._lock:
            entry = self._entries.get(ref.digest)
            if entry is not None and entry.blob is None:
                entry.blob = (ref, part_digests)
                self._like.setdefault(_shape_of(ref), deque(maxlen=CANDIDATES)).append(ref.digest)

    def _alike(self, ref: BlobRef) -> list[tuple[BlobRef, bytes]]:
        """The verified blobs of one shape, dtype and colour with their part digests, the newest first."""
        entries = [self._entries.get(digest) for digest in reversed(self._like.get(_shape_of(ref), ()))]
        return [entry.blob for entry in entries if entry is not None and entry.blob is not None]

    def _take_spent(self, ref: BlobRef, part_digests: bytes, path: Path) -> bytes | None:
        """Move the file of the blob that differs least, of those that nobody needs or reads, to `path`.

        Returns its part digests; None where there is none. From here on it is a blob no more.
        """
        spent = [
            found
            for found in self._alike(ref)
            if (entry := self._entries[found[0].digest]).spent
            and not self._holders[found[0].digest]
            and not self._keepers[found[0].digest]
            and not entry.maps
        ]
        if not spent:
            return None
        old, digests = min(spent, key=lambda found: len(changed_parts(found[1], part_digests)))
        try:
            self.path(old.digest).replace(path)
            whole = path.stat().st_size == old.nbytes
        except OSError:  # Windows, while something else has it open; or somebody has removed it
            return None
        self._drop(old.digest)
        if not whole:
            path.unlink()
            return None
        self._gone[old.digest] = old, digests
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
        return digests

    def _map(self, ref: BlobRef, entry: _Entry) -> memoryview | None:
        """A blob's file, known to be read until the last view of it is gone; None where it is not as it was."""
        try:
            with self.path(ref.digest).open("rb") as file:
                if os.fstat(file.fileno()).st_size != ref.nbytes:
                    return None
                mapped = mmap.mmap(file.fileno(), ref.nbytes, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            return None
        entry.maps.add(mapped)
        return memoryview(mapped)

    def _make_room(self, nbytes: int) -> None:
        for digest in list(self._entries):
            if self._bytes + nbytes <= self._quota:
                return
            if not self._holders[digest] and not self._keepers[digest]:
                self._drop(digest)
        for owner in list(self._kept):
            if self._bytes + nbytes <= self._quota:
                return
            if not any(self._holders[digest] for digest in self._kept[owner]):
                self._drop_kept(owner)
                self._given_up.append(owner)
        if self._bytes + nbytes > self._quota:
            raise StoreFull(nbytes, self._quota)

    def _drop_kept(self, owner: str) -> None:
        for digest in self._kept.pop(owner, ()):
            self._keepers[digest] -= 1
            if self._keepers[digest] <= 0:
                del self._keepers[digest]
                if not self._holders[digest]:
                    self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.get(digest)
        if entry is None:
            return
        try:
            self.path(digest).unlink(missing_ok=True)
        except PermissionError:  # Windows keeps files that are mapped; it is tried again when room is needed
            return
        del self._entries[digest]
        self._bytes -= entry.size
        if entry.blob is not None:
            alike = self._like.get(_shape_of(entry.blob[0]), deque())
            with contextlib.suppress(ValueError):  # a full list has forgotten it already
                alike.remove(digest)
            if not alike:
                self._like.pop(_shape_of(entry.blob[0]), None)

    def _find_files(self) -> None:
        found = []
        for path in self._folder.iterdir():
            if path.name.startswith(_PARTIAL):
                path.unlink()
            elif len(path.name) == 2 * DIGEST_SIZE and path.is_file() and not path.is_symlink():
                stat = path.stat()
                found.append((stat.st_mtime, max(stat.st_size, BLOCK), bytes.fromhex(path.name)))
        for _, size, digest in sorted(found):
            self._entries[digest] = _Entry(size)
            self._bytes += size


def _shape_of(ref: BlobRef) -> tuple[object, ...]:
    return (*ref.shape, ref.dtype, ref.color)


def _sync(path: Path) -> None:
    # Windows flushes only files that are open for writing; a folder can be opened for reading alone.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
