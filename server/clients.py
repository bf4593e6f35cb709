"""The sessions that the server knows, with or without a socket, and who is told what of which job."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from websockets.asyncio.server import ServerConnection

from bridge_protocol import messages as m
from bridge_protocol.session import JobEvent, ServerSession
from server.exchange import Party
from server.ledger import Job, Ledger


@dataclass(eq=False)
class Client:
    """One session and what the server holds for it.

    socket: what carries it now; gone: since when nothing does. busy: what it asked for and is being worked on.
    name: what its client calls itself. watching: whether it is told of all jobs. reads_history: whether it has asked
    for what was painted, so that it may fetch it.
    """

    session: ServerSession
    party: Party
    socket: ServerConnection | None = None
    gone: float = 0.0
    busy: set[asyncio.Task[None]] = field(default_factory=set)
    name: str = ""
    watching: bool = False
    reads_history: bool = False


class Clients:
    """All sessions by their ids, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clients: dict[str, Client] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(self._clients.values())

    def get(self, session_id: str) -> Client | None:
        """The client of that session, if it is known."""
        return self._clients.get(session_id)

    def come(self, hello: m.Hello, ledger: Ledger) -> tuple[Client | None, bool]:
        """The session that a client comes back to, or a new one, and which of the two; None if there are too many."""
        wanted = hello.session or ""
        client = self._clients.get(wanted)
        if client is not None:
            return client, True
        self._forget_idle()
        if len(self._clients) >= self._limit:
            return None, False
        # A session of an earlier run of the server lives on in its jobs.
        resumed = bool(wanted) and bool(ledger.of_session(wanted))
        session = ServerSession(wanted if resumed else secrets.token_hex(16), secrets.token_hex(8))
        for end in ledger.ends_of(session.id):
            session.emit(end)
        client = self._clients[session.id] = Client(session, Party(session))
        return client, resumed

    def parties(self) -> list[Party]:
        """Those of all sessions, of those longest without a socket first."""
        return [client.party for client in sorted(self, key=lambda client: client.gone)]

    def is_connected(self, session_id: str) -> bool:
        """Whether a socket carries that session now."""
        client = self._clients.get(session_id)
        return client is not None and client.socket is not None

    def emit(self, session_id: str, event: JobEvent, payload: bytes) -> None:
        """Tell a session an event of its job, and those who watch how far it is."""
        client = self._clients.get(session_id)
        if client is not None:  # else the journal tells it when its client comes back
            client.session.emit(event, payload)
        if isinstance(event, (m.Progress, m.Preview)):
            for other in self:
                if other.watching and other is not client:
                    other.session.notice(event, payload)

    def notice(self, activity: m.Activity, job: Job | None) -> None:
        """Tell those who watch what has become of a job; None: it is not in the ledger any more."""
        told = self._signed(activity, job)
        for client in self:
            if client.watching:
                client.session.notice(told)

    def watch(self, client: Client, on: bool, ledger: Ledger) -> None:
        """Let a client be told of all jobs from now on, beginning with how each stands; or no more."""
        client.watching = on
        for job in list(ledger.jobs.values()) if on else ():
            client.session.notice(self._signed(job.activity(), job))
            if job.end is None and self._clients.get(job.record.session) is not client:
                if job.progress is not None:
                    client.session.notice(job.progress)
                if job.preview is not None:
                    client.session.notice(*job.preview)

    def _signed(self, activity: m.Activity, job: Job | None) -> m.Activity:
        owner = self._clients.get(job.record.session) if job is not None else None
        return replace(activity, client=owner.name if owner is not None else "")

    def _forget_idle(self) -> None:
        """Those without a socket are forgotten when there are too many, the longest gone first; their jobs are not."""
        idle = [client for client in self if client.socket is None and not client.busy]
        excess = len(self._clients) + 1 - self._limit
        for client in sorted(idle, key=lambda client: client.gone)[: max(0, excess)]:
            del self._clients[client.session.id]
