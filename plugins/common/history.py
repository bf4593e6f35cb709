"""What was asked and what came of it: settings to use again, thumbnails to look at, results to put in place later.

A folder for each job, so that a crash can spoil one of them at most; `entry.json` is written last of its files.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from bridge_protocol.blobs import Blob, InvalidBlob
from bridge_protocol.handle import JobResult

from .files import UnreadableFile, read_json, write_json
from .thumbnails import png, thumbnail

MAX_ENTRIES = 200
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Entry:
    """One job.

    id: the job's. values: its form's, to be used again. place: where its result belongs, in the host's own terms.
    state: open (asked, or never ended), finished, failed, cancelled. outputs: for each thing that was made its
    `name`, `info`, `shape`, `dtype` and `color`. placed: whether the host has put the result where it belongs.
    kept: whether its pixels lie here.
    """

    id: str
    kind: str
    title: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)
    asked: float = 0.0
    state: Literal["open", "finished", "failed", "cancelled"] = "open"
    sentence: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    placed: bool = False
    kept: bool = False

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it: for a document that carries its history."""
        return asdict(self)

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> Entry:
        """From what `to_plain` made; fields of other versions are passed over. Raises TypeError, KeyError."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


class History:
    """The entries under a folder, the newest first. May be used from several threads.

    max_entries, max_bytes: the oldest are forgotten beyond these; of results that were not put in place, none is.
    """

    def __init__(self, folder: Path, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._limits = (max_entries, max_bytes)
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        for path in sorted(folder.glob("*/entry.json")) if folder.is_dir() else ():
            try:
                entry = Entry.from_plain(read_json(path))
            except (UnreadableFile, TypeError, KeyError):
                continue  # another version's, or half written when the machine went down
            self._entries[entry.id] = entry

    @property
    def entries(self) -> list[Entry]:
        """All of them, the newest first."""
        with self._lock:
            return sorted(self._entries.values(), key=lambda entry: -entry.asked)

    def search(self, text: str = "", kind: str | None = None) -> list[Entry]:
        """Those whose title, prompt or other values hold every word of the text."""
        words = text.casefold().split()
        return [
            entry
            for entry in self.entries
            if kind in (None, entry.kind) and all(word in _searched(entry) for word in words)
        ]

    def get(self, job_id: str) -> Entry | None:
        """The entry of that job."""
        with self._lock:
            return self._entries.get(job_id)

    def add(self, entry: Entry) -> Entry:
        """Write down what was asked, before it is known what comes of it."""
        return self._put(entry if entry.asked else replace(entry, asked=time.time()))

    def change(self, job_id: str, **changes: Any) -> Entry | None:
        """Change fields of an entry; None where there is none."""
        entry = self.get(job_id)
        return None if entry is None else self._put(replace(entry, **changes))

    def finish(self, entry: Entry, result: JobResult, *, keep: bool = True) -> Entry:
        """Write down what a job made, with a thumbnail, and with its pixels if they are to be kept. Takes a while.

        Raises OSError where the disk is full; then nothing is kept of the result.
        """
        folder = self._folder_of(entry.id)
        folder.mkdir(parents=True, exist_ok=True)
        outputs = []
        for index, (output, blob) in enumerate(zip(result.outputs, result.blobs, strict=True)):
            ref = blob.ref
            described = {"shape": list(ref.shape), "dtype": ref.dtype, "color": ref.color}
            outputs.append({"name": output.name, "info": output.info, **described})
            if keep:
                (folder / f"{index}.raw").write_bytes(blob.data)
        for index, small in enumerate(small for small in map(thumbnail, result.blobs) if small is not None):
            (folder / _thumbnail_name(index)).write_bytes(png(small))
        entry = self._put(replace(entry, state="finished", outputs=outputs, info=result.info, kept=keep))
        self._prune()
        return entry

    def thumbnail(self, job_id: str, index: int = 0) -> Path | None:
        """The PNG file with a small picture of what the job made: of its first picture, or of a later one."""
        path = self._folder_of(job_id) / _thumbnail_name(index)
        return path if path.is_file() else None

    def blobs(self, entry: Entry) -> list[Blob] | None:
        """What the job made, if its pixels were kept; None where they were not, or are gone."""
        made = []
        for index, output in enumerate(entry.outputs):
            try:
                data = (self._folder_of(entry.id) / f"{index}.raw").read_bytes()
                shape = tuple(output["shape"])
                made.append(Blob.of(data, shape=shape, dtype=output["dtype"], color=output["color"]))
            except (OSError, InvalidBlob, KeyError):
                return None
        return made or None

    def adopt(self, entry: Entry, small: bytes = b"") -> None:
        """Take an entry that came from elsewhere, such as a document; small: its thumbnail as a PNG file."""
        if small:
            folder = self._folder_of(entry.id)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _thumbnail_name(0)).write_bytes(small)
        self._put(entry)

    def remove(self, job_id: str) -> None:
        """Forget a job and all that was kept of it."""
        with self._lock:
            self._entries.pop(job_id, None)
        shutil.rmtree(self._folder_of(job_id), ignore_errors=True)

    def _put(self, entry: Entry) -> Entry:
        write_json(self._folder_of(entry.id) / "entry.json", entry.to_plain())
        with self._lock:
            self._entries[entry.id] = entry
        return entry

    def _folder_of(self, job_id: str) -> Path:
        return self.folder / "".join(letter for letter in job_id if letter.isalnum() or letter in "-_")

    def _prune(self) -> None:
        entries = self.entries
        sizes = {entry.id: _size(self._folder_of(entry.id)) for entry in entries}
        total, count = sum(sizes.values()), len(entries)
        for entry in reversed(entries):
            if count <= self._limits[0] and total <= self._limits[1]:
                return
            if entry.state == "open" or (entry.state == "finished" and not entry.placed):
                continue
            self.remove(entry.id)
            total, count = total - sizes[entry.id], count - 1


def _thumbnail_name(index: int) -> str:
    return "thumbnail.png" if index == 0 else f"thumbnail-{index}.png"


def _searched(entry: Entry) -> str:
    return f"{entry.title} {entry.kind} {_texts(list(entry.values.values()))}".casefold()


def _texts(values: Sequence[Any]) -> str:
    return " ".join(str(value) for value in values)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0
