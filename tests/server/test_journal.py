from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from server import journal as statements
from server.journal import Journal, NewerJournal, Record


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


def record(job_id="1", **changes):
    job = {"prompt": "a boat", "digest": b"\x00\xff"}
    return Record(job_id, changes.pop("session", "s"), "Generate", job, **changes)


def test_a_job_comes_back_as_it_was_written(journal):
    journal.accept(record(priority="live", slot="x", on_disconnect="cancel"))
    found = journal.get("1")
    assert found.job == {"prompt": "a boat", "digest": b"\x00\xff"}
    assert (found.priority, found.slot, found.on_disconnect, found.state) == ("live", "x", "cancel", "accepted")


def test_the_first_last_word_stands(journal):
    journal.accept(record())
    journal.start("1")
    assert journal.end("1", "finished", {"outputs": []})
    assert not journal.end("1", "cancelled", {})
    assert journal.get("1").state == "finished"


def test_a_job_is_delivered_once_and_only_after_its_end(journal):
    journal.accept(record())
    assert not journal.deliver("1")
    journal.end("1", "finished", {})
    assert journal.deliver("1")
    assert not journal.deliver("1")
    assert journal.undelivered() == []


def test_the_same_id_is_refused_and_the_first_job_stays(journal):
    journal.accept(record())
    with pytest.raises(sqlite3.IntegrityError):
        journal.accept(record(session="other"))
    assert journal.get("1").session == "s"


def test_a_crash_counts_as_an_attempt_and_a_stop_does_not(journal):
    journal.accept(record())
    journal.start("1")
    journal.restart("1")
    journal.start("1")
    assert journal.get("1").attempts == 2
    journal.put_back("1")
    assert (journal.get("1").attempts, journal.get("1").state) == (1, "accepted")


def test_a_moved_job_belongs_to_its_new_session(journal):
    journal.accept(record())
    journal.move("1", "t")
    assert journal.of_session("s") == []
    assert [found.id for found in journal.of_session("t")] == ["1"]


def test_only_old_delivered_jobs_are_forgotten(tmp_path):
    now = [1000.0]
    journal = Journal(tmp_path / "journal.db", clock=lambda: now[0])
    for job_id in "12":
        journal.accept(record(job_id))
    journal.end("1", "finished", {})
    journal.deliver("1")
    now[0] += 100
    assert journal.prune(200) == 0
    assert journal.prune(50) == 1
    assert journal.get("1") is None
    assert journal.get("2") is not None


def test_what_was_committed_survives_the_death_of_the_process(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from server.journal import *;"
        "j = Journal(Path(sys.argv[1])); j.accept(Record('1', 's', 'Generate', {}));"
        "j.start('1'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "journal.db")], check=False)
    found = Journal(tmp_path / "journal.db").undelivered()
    assert [(one.id, one.state, one.attempts) for one in found] == [("1", "running", 1)]


def test_only_what_is_written_without_waiting_is_not_synced(journal):
    def level():
        return journal._db.execute("PRAGMA synchronous").fetchone()[0]

    normal, full = 1, 2
    assert journal.without_waiting(level) == normal
    assert level() == full
    with pytest.raises(ZeroDivisionError):
        journal.without_waiting(lambda: 1 // 0)
    assert level() == full


def test_a_journal_of_a_newer_program_is_refused_with_a_remedy(tmp_path):
    path = tmp_path / "journal.db"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerJournal, match="--data"):
        Journal(path)


def test_the_oldest_schema_is_brought_to_the_newest(tmp_path):
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as db:
        db.executescript(statements.MIGRATIONS[0] + "; PRAGMA user_version = 1;")
    journal = Journal(path)
    journal.accept(record())
    assert journal.get("1").state == "accepted"


@pytest.mark.parametrize(
    ("statement", "values", "uses"),
    [
        (statements.GET, ["1"], "PRIMARY KEY"),
        (statements.START, [0, "1"], "PRIMARY KEY"),
        (statements.END, ["finished", b"", 0, "1"], "PRIMARY KEY"),
        (statements.DELIVER, [0, "1"], "PRIMARY KEY"),
        (statements.MOVE, ["t", 0, "1"], "PRIMARY KEY"),
        (statements.OF_SESSION, ["s"], "INDEX undelivered (session=?)"),
        (statements.UNDELIVERED, [], "INDEX undelivered"),
        (statements.PRUNE, [0], "INDEX delivered (changed<?)"),
    ],
)
def test_no_hot_statement_reads_the_whole_table_or_sorts(journal, statement, values, uses):
    plan = journal.plan(statement, values)
    assert uses in plan
    assert "TEMP B-TREE" not in plan
