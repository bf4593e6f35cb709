"""Which job is painted next. Pure: no clock, no disk, no sockets.

Jobs of a higher priority go first; within a priority the clients take turns, however many jobs each has waiting, and
each client's own jobs keep their order. A `live` job takes the place of the older ones in its slot.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bridge_protocol.jobs import Priority

PRIORITIES: tuple[Priority, ...] = ("live", "interactive", "batch")


@dataclass(frozen=True)
class Entry:
    """A job as the queue sees it. nbytes: of its input arrays."""

    id: str
    session: str
    priority: Priority = "interactive"
    slot: str = ""
    nbytes: int = 0


class QueueFull(Exception):
    """No more jobs are taken for now. sentence, remedy: for people."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = "Wait until a job has finished, or cancel one."


class Queue:
    """The jobs that wait and those that are being painted.

    jobs_each, bytes_each: how much may wait for one client. jobs: how much may wait in all.
    """

    def __init__(self, jobs_each: int = 64, bytes_each: int = 1 << 31, jobs: int = 1024) -> None:
        self._limits = (jobs_each, bytes_each, jobs)
        #: For each priority the clients in the order of their turns, and each one's jobs in their order.
        self._waiting: dict[str, OrderedDict[str, deque[Entry]]] = {name: OrderedDict() for name in PRIORITIES}
        self._entries: dict[str, Entry] = {}
        #: Jobs that are being written down and will be submitted when that is done.
        self._admitted: dict[str, Entry] = {}
        self._running: dict[str, Entry] = {}

    def __len__(self) -> int:
        """How many jobs wait."""
        return len(self._entries)

    @property
    def running(self) -> list[Entry]:
        """The jobs that are being painted."""
        return list(self._running.values())

    def admit(self, entry: Entry) -> None:
        """Keep a place for a job that is about to be submitted; it counts from here on.

        Raises QueueFull; a live job that will take another's place always fits.
        """
        jobs_each, bytes_each, jobs = self._limits
        if not _older(entry, self._entries.values()):
            counted = [*self._entries.values(), *self._admitted.values()]
            mine = [e for e in counted if e.session == entry.session]
            if len(counted) >= jobs:
                raise QueueFull(f"{jobs} jobs are waiting, and the server takes no more.")
            if len(mine) >= jobs_each:
                raise QueueFull(f"{jobs_each} jobs of this client are waiting; the server takes no more of one client.")
            if mine and sum(e.nbytes for e in mine) + entry.nbytes > bytes_each:
                raise QueueFull(f"The waiting jobs of this client hold {bytes_each} bytes; the server takes no more.")
        self._admitted[entry.id] = entry

    def dismiss(self, job_id: str) -> None:
        """A job that was admitted will not be submitted."""
        self._admitted.pop(job_id, None)

    def submit(self, entry: Entry) -> tuple[list[Entry], list[Entry]]:
        """Let a job wait for its turn.

        Returns the waiting jobs whose place it took (they are gone from the queue) and the running ones that it
        replaces (they are the caller's to cancel).
        """
        if entry.id in self:
            raise ValueError(f"job {entry.id} is in the queue already")
        self._admitted.pop(entry.id, None)
        replaced = _older(entry, self.order())
        if replaced:  # in the first one's place: or whoever paints faster than the server would never have a turn
            entries = self._waiting[entry.priority][entry.session]
            entries[entries.index(replaced[0])] = entry
            self._entries[entry.id] = entry
            del self._entries[replaced[0].id]
            for older in replaced[1:]:
                self._remove(older)
        else:
            self._append(entry)
        return replaced, _older(entry, self._running.values())

    def next(self) -> Entry | None:
        """The job whose turn it is; from here on it is running."""
        for turns in self._waiting.values():
            if turns:
                session, entries = next(iter(turns.items()))
                entry = entries.popleft()
                if entries:
                    turns.move_to_end(session)
                else:
                    del turns[session]
                del self._entries[entry.id]
                self._running[entry.id] = entry
                return entry
        return None

    def finish(self, job_id: str) -> None:
        """A running job has ended, in whatever way."""
        self._running.pop(job_id, None)

    def requeue(self, job_id: str) -> None:
        """A running job begins anew, before all others of its priority."""
        entry = self._running.pop(job_id)
        turns = self._waiting[entry.priority]
        turns.setdefault(entry.session, deque()).appendleft(entry)
        turns.move_to_end(entry.session, last=False)
        self._entries[entry.id] = entry

    def withdraw(self, job_id: str) -> bool:
        """Take a waiting job out; False if it does not wait (it may be running)."""
        entry = self._entries.get(job_id)
        if entry is None:
            return False
        self._remove(entry)
        return True

    def move(self, job_id: str, session: str) -> None:
        """A job becomes another client's; a waiting one goes to the end of that client's, and replaces none there."""
        if job_id in self._running:
            self._running[job_id] = _of(self._running[job_id], session)
        elif job_id in self._entries:
            entry = self._entries[job_id]
            self._remove(entry)
            self._append(_of(entry, session))

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._entries or job_id in self._running

    def position(self, job_id: str) -> int:
        """How many jobs are before it, those that are being painted included."""
        if job_id in self._running:
            return 0
        order = [entry.id for entry in self.order()]
        return len(self._running) + (order.index(job_id) if job_id in order else 0)

    def order(self) -> Iterator[Entry]:
        """The waiting jobs in the order in which they will be painted if nothing else comes."""
        for turns in self._waiting.values():
            rest = deque(deque(entries) for entries in turns.values())
            while rest:
                entries = rest.popleft()
                yield entries.popleft()
                if entries:
                    rest.append(entries)

    def _append(self, entry: Entry) -> None:
        self._waiting[entry.priority].setdefault(entry.session, deque()).append(entry)
        self._entries[entry.id] = entry

    def _remove(self, entry: Entry) -> None:
        turns = self._waiting[entry.priority]
        entries = turns[entry.session]
        entries.remove(entry)
        if not entries:
            del turns[entry.session]
        del self._entries[entry.id]


def _older(entry: Entry, among: Iterable[Entry]) -> list[Entry]:
    """The live jobs in a live job's slot, in their order."""
    if entry.priority != "live":
        return []
    place = (entry.session, entry.slot)
    return [e for e in among if e.priority == "live" and (e.session, e.slot) == place]


def _of(entry: Entry, session: str) -> Entry:
    return Entry(entry.id, session, entry.priority, entry.slot, entry.nbytes)
