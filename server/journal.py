"""What must outlive the server: every job that was accepted, and every last word that was not yet delivered.

SQLite in WAL mode with synchronous=FULL: a commit has reached the disk before anyone is told of it, so a loss of power
costs nothing either; a job commits four times, which is milliseconds beside its painting. Live jobs, which need not
survive that, do not wait for the disk. The journal is used by one thread alone, which is not the event loop's.

A job's life: accepted → running → finished, failed or cancelled → delivered. Its blobs lie in the blob store.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgpack

from bridge_protocol.jobs import Priority
from server.history import History, Painted

T = TypeVar("T")
State = Literal["accepted", "running", "finished", "failed", "cancelled", "delivered"]
#: A job's last word is here and has not been acknowledged.
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled")

#: Each brings the schema one version further; user_version says how many have run.
MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        session TEXT NOT NULL,
        kind TEXT NOT NULL,
        job BLOB NOT NULL,
        priority TEXT NOT NULL,
        slot TEXT NOT NULL,
        on_disconnect TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        result BLOB,
        created REAL NOT NULL,
        changed REAL NOT NULL
    ) WITHOUT ROWID;
    -- What a restart and a returning client ask for; delivered jobs, which are most, are not in it.
    CREATE INDEX undelivered ON jobs (session, created) WHERE state != 'delivered';
    CREATE INDEX delivered ON jobs (changed) WHERE state = 'delivered';
    """,
    # What was painted, for people to find again. `words` is what a search looks at; the long columns stand last, since
    # a search reads past the others.
    """
    CREATE TABLE history (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        model TEXT NOT NULL,
        created REAL NOT NULL,
        ended REAL NOT NULL,
        words TEXT NOT NULL,
        entry BLOB NOT NULL,
        job BLOB NOT NULL,
        result BLOB NOT NULL
    );
    CREATE INDEX history_by_time ON history (ended);
    -- made: whether it is a result; the others are what the job was made from, and its thumbnail.
    CREATE TABLE history_blobs (
        job TEXT NOT NULL,
        digest BLOB NOT NULL,
        made INTEGER NOT NULL,
        ref BLOB NOT NULL,
        PRIMARY KEY (job, digest)
    ) WITHOUT ROWID;
    CREATE INDEX history_blob ON history_blobs (digest);
    """,
)

ACCEPT = """INSERT INTO jobs (id, session, kind, job, priority, slot, on_disconnect, state, created, changed)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'accepted', ?, ?)"""
GET = "SELECT * FROM jobs WHERE id = ?"
START = "UPDATE jobs SET state = 'running', attempts = attempts + 1, changed = ? WHERE id = ? AND state = 'accepted'"
RESTART = "UPDATE jobs SET state = 'accepted', changed = ? WHERE id = ? AND state = 'running'"
#: Without an attempt: the server was asked to stop, which is no fault of the job.
PUT_BACK = """UPDATE jobs SET state = 'accepted', attempts = attempts - 1, changed = ?
    WHERE id = ? AND state = 'running'"""
END = "UPDATE jobs SET state = ?, result = ?, changed = ? WHERE id = ? AND state IN ('accepted', 'running')"
DELIVER = """UPDATE jobs SET state = 'delivered', job = x'', result = NULL, changed = ?
    WHERE id = ? AND state IN ('finished', 'failed', 'cancelled')"""
MOVE = "UPDATE jobs SET session = ?, changed = ? WHERE id = ? AND state != 'delivered'"
OF_SESSION = "SELECT * FROM jobs WHERE session = ? AND state != 'delivered' ORDER BY created"
UNDELIVERED = "SELECT * FROM jobs INDEXED BY undelivered WHERE state != 'delivered' ORDER BY session, created"
PRUNE = "DELETE FROM jobs WHERE state = 'delivered' AND changed < ?"


@dataclass(frozen=True)
class Record:
    """One job as the journal holds it.

    job: its fields as plain values. attempts: how often its painting has begun. result: what `end` was given.
    created, changed: seconds since the epoch.
    """

    id: str
    session: str
    kind: str
    job: dict[str, Any]
    priority: Priority = "interactive"
    slot: str = ""
    on_disconnect: str = "keep"
    state: State = "accepted"
    attempts: int = 0
    result: dict[str, Any] = field(default_factory=dict)
    created: float = 0.0
    changed: float = 0.0


class NewerJournal(Exception):
    """The file was written by a newer version of the program."""


class Journal:
    """The journal in the file `path`. clock: seconds since the epoch."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # The thread that uses it is not the one that closes it at the end; it is never two at once.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._migrate(path)
        self.history = History(self._db)

    def accept(self, record: Record) -> float:
        """Write down a new job; returns when that was. A job of that id must not be there yet (IntegrityError)."""
        now = self._clock()
        self._db.execute(
            ACCEPT,
            (
                record.id, record.session, record.kind, msgpack.packb(record.job), record.priority, record.slot,
                record.on_disconnect, now, now,
            ),
        )  # fmt: skip
        return now

    def without_waiting(self, write: Callable[..., T], *args: Any) -> T:
        """Call one of the methods here, and do not wait for the disk: what it writes survives the end of this process
        in whatever way, but perhaps not a loss of power. The file itself stays whole in either case.
        """
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            return write(*args)
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def get(self, job_id: str) -> Record | None:
        """The job of that id, delivered ones included while they are remembered."""
        row = self._db.execute(GET, (job_id,)).fetchone()
        return _record(row) if row else None

    def start(self, job_id: str) -> None:
        """Its painting begins; this counts as an attempt."""
        self._db.execute(START, (self._clock(), job_id))

    def restart(self, job_id: str) -> None:
        """Its painting broke off and will begin anew; the attempt stays counted."""
        self._db.execute(RESTART, (self._clock(), job_id))

    def put_back(self, job_id: str) -> None:
        """Its painting was broken off by a stop of the server; the attempt does not count."""
        self._db.execute(PUT_BACK, (self._clock(), job_id))

    def end(self, job_id: str, state: State, result: dict[str, Any], painted: Painted | None = None) -> bool:
        """Write down its last word; False if it has one already, which then stands.

        painted: what goes into the history by the same commit.
        """
        if state not in ENDED:
            raise ValueError(f"{state} does not end a job")
        now = self._clock()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            first = self._db.execute(END, (state, msgpack.packb(result), now, job_id)).rowcount == 1
            if first and painted is not None:
                self.history.add(painted, now)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return first

    def deliver(self, job_id: str) -> bool:
        """The client holds the last word; False if there was none to deliver."""
        return self._db.execute(DELIVER, (self._clock(), job_id)).rowcount == 1

    def move(self, job_id: str, session: str) -> None:
        """Its last word goes to another session."""
        self._db.execute(MOVE, (session, self._clock(), job_id))

    def of_session(self, session: str) -> list[Record]:
        """The jobs of a session that are not delivered, in the order in which they came."""
        return [_record(row) for row in self._db.execute(OF_SESSION, (session,))]

    def undelivered(self) -> list[Record]:
        """All jobs that are not delivered, in the order in which they came."""
        return sorted((_record(row) for row in self._db.execute(UNDELIVERED)), key=lambda record: record.created)

    def prune(self, age: float) -> int:
        """Forget jobs that were delivered more than `age` seconds ago; returns how many."""
        return self._db.execute(PRUNE, (self._clock() - age,)).rowcount

    def close(self) -> None:
        """No call may follow."""
        self._db.close()

    def plan(self, statement: str, values: Iterable[Any]) -> str:
        """How SQLite will carry out a statement, for the tests."""
        rows = self._db.execute("EXPLAIN QUERY PLAN " + statement, tuple(values)).fetchall()
        return "; ".join(row["detail"] for row in rows)

    def _migrate(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise NewerJournal(
                f"The journal {path} has version {version}; this program knows versions up to {len(MIGRATIONS)}. "
                "Start the newer program, or give this one another folder with --data."
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            # One transaction, so that a crash between leaves the version that the tables really have.
            self._db.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")


def _record(row: sqlite3.Row) -> Record:
    values = dict(row)
    values["job"] = msgpack.unpackb(values["job"]) if values["job"] else {}
    values["result"] = msgpack.unpackb(values["result"]) if values["result"] else {}
    return Record(**values)
