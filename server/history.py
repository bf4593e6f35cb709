"""Everything that was painted, for people to find again: a table of the journal's file, and a way to search it.

A job comes here when it has ended well, and stays when its client has fetched it. The blobs that it speaks of lie in
the blob store, which drops the oldest of them when it needs room; the entries of those are removed then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

from bridge_protocol import messages as m
from bridge_protocol.blobs import BlobRef
from bridge_protocol.records import encode

#: Entries are small, but not nothing: beyond this many the oldest go, whatever room the blobs have.
MAX_ENTRIES = 100_000

INSERT = """INSERT OR REPLACE INTO history (id, kind, model, created, ended, words, entry, job, result)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_BLOB = "INSERT OR IGNORE INTO history_blobs (job, digest, made, ref) VALUES (?, ?, ?, ?)"
BLOB = "SELECT ref FROM history_blobs WHERE digest = ? LIMIT 1"
OVERFLOW = "SELECT id FROM history ORDER BY ended DESC LIMIT -1 OFFSET ?"


@dataclass(frozen=True)
class Painted:
    """A job that has ended well. job: its fields; result: its last word; both as plain values. created: seconds.

    outputs, inputs: the blobs that it made, and those that it was made from.
    """

    id: str
    kind: str
    job: dict[str, Any]
    result: dict[str, Any]
    created: float
    outputs: list[BlobRef]
    inputs: list[BlobRef]

    @property
    def model(self) -> str:
        """The name of the model that painted it, or the id of the one that was asked for."""
        return str(self.result.get("info", {}).get("model") or self.job.get("model", ""))


class History:
    """The table of what was painted. Belongs to the journal, and to its thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, painted: Painted, ended: float) -> None:
        """Write a job down, without a thumbnail yet."""
        prompt = prompt_of(painted.job)
        entry = {
            "id": painted.id, "kind": painted.kind, "prompt": prompt[:200], "model": painted.model,
            "created": painted.created, "ended": ended, "outputs": len(painted.outputs),
        }  # fmt: skip
        words = f"{prompt}\n{painted.model}".casefold()
        self._db.execute(
            INSERT,
            (
                painted.id, painted.kind, painted.model, painted.created, ended, words, msgpack.packb(entry),
                msgpack.packb(painted.job), msgpack.packb(painted.result),
            ),
        )  # fmt: skip
        for ref in painted.outputs:
            self._add_blob(painted.id, ref, made=True)
        for ref in painted.inputs:
            self._add_blob(painted.id, ref, made=False)

    def set_thumbnail(self, job_id: str, ref: BlobRef, width: int, height: int) -> None:
        """ref: an encoded picture; width, height: of the picture that it shows."""
        row = self._db.execute("SELECT entry FROM history WHERE id = ?", (job_id,)).fetchone()
        if row is not None:
            entry = {**msgpack.unpackb(row[0]), "thumbnail": encode(ref), "width": width, "height": height}
            self._db.execute("UPDATE history SET entry = ? WHERE id = ?", (msgpack.packb(entry), job_id))
            self._add_blob(job_id, ref, made=False)

    def search(self, query: m.Query) -> dict[str, Any]:
        """``{"total": how many there are, "jobs": entries}``, the newest first, as the query narrows them."""
        where, values = _where(query)
        (total,) = self._db.execute(f"SELECT count(*) FROM history{where}", values).fetchone()
        page = f"SELECT entry FROM history{where} ORDER BY ended DESC, id LIMIT ? OFFSET ?"
        rows = self._db.execute(page, (*values, query.limit, query.offset))
        return {"total": total, "jobs": [msgpack.unpackb(entry) for (entry,) in rows]}

    def get(self, job_id: str) -> dict[str, Any] | None:
        """A job's entry with its fields under `job` and its last word under `result`; None where there is none."""
        row = self._db.execute("SELECT entry, job, result FROM history WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            return None
        entry, job, result = (msgpack.unpackb(value) for value in row)
        return {**entry, "job": job, "result": result}

    def models(self) -> list[str]:
        """The names of the models that painted something."""
        return [model for (model,) in self._db.execute("SELECT DISTINCT model FROM history ORDER BY model") if model]

    def blob(self, digest: bytes) -> BlobRef | None:
        """The blob of that digest that some job speaks of; whether it is still here, the store knows."""
        row = self._db.execute(BLOB, (digest,)).fetchone()
        return None if row is None else BlobRef.from_plain(msgpack.unpackb(row[0]))

    def digests(self) -> dict[str, list[tuple[bytes, bool]]]:
        """Each job's blobs, the oldest job first, and whether each is a result of it."""
        jobs: dict[str, list[tuple[bytes, bool]]] = {
            job_id: [] for (job_id,) in self._db.execute("SELECT id FROM history ORDER BY ended, id")
        }
        for job_id, digest, made in self._db.execute("SELECT job, digest, made FROM history_blobs"):
            jobs.setdefault(job_id, []).append((digest, bool(made)))
        return jobs

    def overflow(self) -> list[str]:
        """The ids of the jobs beyond MAX_ENTRIES."""
        return [job_id for (job_id,) in self._db.execute(OVERFLOW, (MAX_ENTRIES,))]

    def remove(self, job_ids: Iterable[str]) -> int:
        """Delete these jobs' entries; returns how many there were."""
        removed = 0
        for job_id in job_ids:
            removed += self._db.execute("DELETE FROM history WHERE id = ?", (job_id,)).rowcount
            self._db.execute("DELETE FROM history_blobs WHERE job = ?", (job_id,))
        return removed

    def _add_blob(self, job_id: str, ref: BlobRef, *, made: bool) -> None:
        self._db.execute(INSERT_BLOB, (job_id, ref.digest, made, msgpack.packb(encode(ref))))


def prompt_of(job: dict[str, Any]) -> str:
    """A job's words; those of the job inside of it for a grid."""
    inner = job.get("job")
    return str(job.get("prompt") or (inner.get("prompt", "") if isinstance(inner, dict) else ""))


def _where(query: m.Query) -> tuple[str, tuple[Any, ...]]:
    clauses: list[str] = []
    values: list[str | float] = []
    for word in query.search.casefold().split():
        clauses.append("instr(words, ?)")
        values.append(word)
    for clause, value in (
        ("model = ?", query.model or None),
        ("kind = ?", query.kind or None),
        ("ended >= ?", query.since),
        ("ended < ?", query.until),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    return (" WHERE " + " AND ".join(clauses) if clauses else ""), tuple(values)
