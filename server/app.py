"""The server's outside: sockets, sessions, and blobs that come and go. What jobs need is in dispatch.py.

Nothing here hashes, copies large arrays, or touches a disk on the event loop: one client's canvas must not delay
another one's cancel.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import ssl
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from websockets.asyncio.server import Server as SocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from bridge_protocol import discovery, jobs
from bridge_protocol import messages as m
from bridge_protocol.codec import MAX_FRAME, ProtocolError
from bridge_protocol.machine import bound_socket_buffers
from bridge_protocol.session import Abandoned, Arrived, JobEvent, Offered, ServerSession
from bridge_protocol.transfer import SendQueue
from server import guard, lists, machine, site
from server.dispatch import Dispatcher
from server.engine.catalog import Catalog
from server.exchange import Exchange, Party, remove_lane
from server.invitations import Invitations
from server.journal import Journal
from server.ledger import Job, Ledger
from server.settings import Settings
from server.store import BlobStore
from server.worker import Setup

log = logging.getLogger("brushwire.app")

#: WebSocket close codes: the client broke a rule; another socket carries the session now.
POLICY, DISPLACED = 1008, 4001
#: How many things that one client asked for are worked on at a time before its socket is read further.
BUSY = 64


@dataclass(eq=False)
class _Client:
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


class App:
    """One server: `async with App(settings) as app` listens at `app.address` until it is left."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[str, _Client] = {}
        self._connections = 0
        self._sockets: SocketServer | None = None
        self._hosts: frozenset[str] = frozenset()
        self._origins: frozenset[str] = frozenset()
        self._site = site.Site()
        self.address = discovery.Address("", os.getpid())

    async def __aenter__(self) -> App:
        """Start: raises ExposedWithoutTls, machine.FolderInUse, journal.NewerJournal, OSError."""
        settings = self._settings
        guard.check_address(settings.host, tls=settings.certificate is not None)
        self._started = time.monotonic()
        self._lock = machine.lock_folder(settings.data)
        machine.remove_orphaned_shared_folders()
        self._token = discovery.token(settings.runtime)
        self._invitations = Invitations(self._token)
        self._store = BlobStore(settings.data / "blobs", settings.store_bytes)
        self._exchange = Exchange(self._store, settings.limits)
        self._catalog: Catalog | None = None
        setups = [Setup(settings.painter, settings.models, device) for device in settings.devices]
        self._ledger = Ledger(Journal(settings.data / "journal.db"), self._store, self._emit, self._notice)
        self._dispatcher = Dispatcher(self._ledger, settings.limits, setups, self._emit, settings.grace)
        await self._dispatcher.open()
        self._sockets = await self._listen()
        port = self._sockets.sockets[0].getsockname()[1]
        self._hosts = guard.hosts(port, settings.names)
        own = guard.own_origins(self._hosts, tls=settings.certificate is not None)
        self._origins = own | frozenset(settings.origins)
        scheme = "ws" if settings.certificate is None else "wss"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
        host = f"[{host}]" if ":" in host else host
        self.address = discovery.Address(f"{scheme}://{host}:{port}", os.getpid())
        discovery.publish(self.address, settings.runtime)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop: sockets are closed, workers ended, and what was not finished waits in the journal."""
        discovery.withdraw(self.address, self._settings.runtime)
        if self._sockets is not None:
            self._sockets.close()
            await self._sockets.wait_closed()
        await self._dispatcher.close()
        await self._ledger.close()
        for client in self._clients.values():
            await self._exchange.drop_lane(client.party)
        self._exchange.close()
        self._lock.close()

    async def _listen(self) -> SocketServer:
        settings = self._settings
        for port in (settings.port, 0):
            try:
                return await serve(
                    self._converse,
                    settings.host,
                    port,
                    process_request=self._check_handshake,
                    subprotocols=[Subprotocol(m.SUBPROTOCOL)],
                    compression=None,
                    max_size=MAX_FRAME,
                    max_queue=8,
                    ssl=_tls(settings),
                    server_header=None,
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not settings.any_port or port == 0:
                    raise
                log.warning("port %d is taken; a free one is used, and hosts that need that port do not connect", port)
        raise AssertionError  # the second attempt returns or raises

    # -- one socket

    def _check_handshake(self, socket: ServerConnection, request: Request) -> Response | None:
        if site.wants_page(request):
            refused = guard.check_host(request.headers, self._hosts) or site.check_page(request)
            if refused is not None:
                return site.response(refused.status, "text/plain; charset=utf-8", refused.text.encode())
            return self._site.respond(request)
        refusal = guard.check_handshake(request.headers, self._hosts, self._token, self._origins)
        if refusal is None and self._connections >= self._settings.limits.connections:
            refusal = guard.TOO_MANY_CONNECTIONS
        if refusal is None:
            return None
        log.warning("a handshake was refused: %s", refusal.text.strip())
        return socket.respond(refusal.status, refusal.text)

    async def _converse(self, socket: ServerConnection) -> None:
        self._connections += 1
        try:
            heard = await self._hear_hello(socket)
            if heard is not None:
                await self._serve(socket, *heard)
        except ConnectionClosed:
            pass
        finally:
            self._connections -= 1

    async def _hear_hello(self, socket: ServerConnection) -> tuple[m.Hello, bool] | None:
        """The client's first message, its token checked, and whether it is here by invitation.

        None where the socket was closed instead.
        """
        stranger = ServerSession("", "")
        queue = stranger.attach()
        try:
            async with asyncio.timeout(self._settings.limits.hello_seconds):
                data = await socket.recv(decode=False)
            first = stranger.receive(data)
            if len(first) != 1 or not isinstance(first[0], m.Hello):
                raise ProtocolError("no_hello", "The first message was not a Hello.", "Begin with Hello.")
            hello = first[0]
            proven = socket.request is not None and bool(socket.request.headers.get_all("Authorization"))
            proven = proven or guard.is_token(hello.token, self._token)
            if not proven and not self._is_invited(hello):
                sentence = "The token or the invitation is missing or wrong."
                remedy = "Read the token from the runtime folder, or ask for another invitation: brushwire gallery."
                raise ProtocolError("bad_token", sentence, remedy)
            if m.VERSION not in hello.versions:
                versions = ", ".join(map(str, hello.versions[:16]))
                raise ProtocolError(
                    "bad_version", f"This server speaks version {m.VERSION}, the client {versions}.", "Update one."
                )
            return hello, not proven
        except TimeoutError:
            stranger.send(m.Error("no_hello", "No Hello came in time.", "Begin with Hello."))
        except ProtocolError as error:
            stranger.send(error.message())
        while (frame := queue.next_frame()) is not None:
            await socket.send(frame)
        await socket.close(POLICY, "no valid Hello")
        return None

    def _is_invited(self, hello: m.Hello) -> bool:
        if hello.session and guard.is_token(hello.token, self._invitations.token_for(hello.session)):
            return True
        return self._invitations.accept(hello.invitation)

    async def _serve(self, socket: ServerConnection, hello: m.Hello, invited: bool) -> None:
        client, resumed = self._client_of(hello)
        if client is None:
            await socket.close(POLICY, "too many sessions")
            return
        session = client.session
        displaced, client.socket = client.socket, socket
        client.name, client.watching = hello.client, False
        bound_socket_buffers(socket.transport.get_extra_info("socket"))
        queue = session.attach()
        self._dispatcher.connected(session.id)
        if displaced is not None:
            self._spawn(client, displaced.close(DISPLACED, "another socket carries this session now"))
            await self._exchange.drop_lane(client.party)
        writer = asyncio.create_task(self._write(socket, queue))
        try:
            await self._welcome(client, socket, resumed, invited)
            await self._read(client, socket)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer
            # A newer socket may have taken the session over: then nothing of it is ours to clean up.
            if session.detach(queue):
                client.socket, client.gone, client.watching = None, time.monotonic(), False
                self._dispatcher.disconnected(session.id)
                await self._exchange.drop_lane(client.party)

    async def _read(self, client: _Client, socket: ServerConnection) -> None:
        errors = 0
        async for data in socket:
            if client.socket is not socket:
                return  # what a displaced socket still says would be taken for the new one's
            try:
                if isinstance(data, str):
                    raise ProtocolError("bad_frame", "A text frame came; all frames are binary.")
                for said in client.session.receive(data):
                    self._hear(client, said)
                errors = 0
            except ProtocolError as error:
                client.session.send(error.message())
                errors += 1
                if errors >= self._settings.limits.errors:
                    await socket.close(POLICY, f"{errors} errors in a row")
                    return
            if len(client.busy) >= BUSY:
                await asyncio.wait(client.busy, return_when=asyncio.FIRST_COMPLETED)

    async def _write(self, socket: ServerConnection, queue: SendQueue) -> None:
        ready = asyncio.Event()

        def wake() -> None:
            ready.set()
            if queue.overflowed:
                # It has not read for so long that even what must arrive does not fit: it may come back.
                socket.transport.abort()

        queue.on_ready = wake
        with contextlib.suppress(ConnectionClosed):
            while True:
                ready.clear()
                while (frame := queue.next_frame()) is not None:
                    await socket.send(frame)
                await ready.wait()

    # -- sessions

    def _client_of(self, hello: m.Hello) -> tuple[_Client | None, bool]:
        """The session that a client comes back to, or a new one, and which of the two; None if there are too many."""
        wanted = hello.session or ""
        client = self._clients.get(wanted)
        if client is not None:
            return client, True
        self._forget_idle_sessions()
        if len(self._clients) >= self._settings.limits.sessions:
            return None, False
        # A session of an earlier run of the server lives on in its jobs.
        resumed = bool(wanted) and bool(self._ledger.of_session(wanted))
        session = ServerSession(wanted if resumed else secrets.token_hex(16), secrets.token_hex(8))
        for end in self._ledger.ends_of(session.id):
            session.emit(end)
        client = self._clients[session.id] = _Client(session, Party(session))
        return client, resumed

    def _forget_idle_sessions(self) -> None:
        """Those without a socket are forgotten when there are too many, the longest gone first; their jobs are not."""
        idle = [client for client in self._clients.values() if client.socket is None and not client.busy]
        excess = len(self._clients) + 1 - self._settings.limits.sessions
        for client in sorted(idle, key=lambda client: client.gone)[: max(0, excess)]:
            del self._clients[client.session.id]

    async def _welcome(self, client: _Client, socket: ServerConnection, resumed: bool, invited: bool) -> None:
        folder = probe = None
        # A page cannot read files, so no folder is made for it.
        if not invited and guard.is_loopback(str(socket.remote_address[0])):
            with contextlib.suppress(OSError):  # then payloads go inline
                lane, probe, nonce = await self._exchange.make_lane()
                folder = str(lane.path)
                if client.socket is not socket:
                    await self._exchange.in_pool(remove_lane, lane)
                    return
                client.party.lane, client.party.nonce = lane, nonce
        client.session.send(
            m.Welcome(
                version=m.VERSION,
                session=client.session.id,
                epoch=client.session.epoch,
                server=f"brushwire {_version()}",
                resumed=resumed,
                shared_folder=folder,
                probe=probe,
                limits=self._settings.limits.to_plain(),
                token=self._invitations.token_for(client.session.id) if invited else None,
            )
        )
        client.session.resume()

    def _emit(self, session_id: str, event: JobEvent, payload: bytes) -> None:
        client = self._clients.get(session_id)
        if client is not None:  # else the journal tells it when its client comes back
            client.session.emit(event, payload)
        if isinstance(event, (m.Progress, m.Preview)):
            for other in self._clients.values():
                if other.watching and other is not client:
                    other.session.notice(event, payload)

    def _notice(self, activity: m.Activity) -> None:
        job = self._ledger.jobs.get(activity.id)
        owner = self._clients.get(job.record.session) if job is not None else None
        activity = replace(activity, client=owner.name if owner is not None else "")
        for client in self._clients.values():
            if client.watching:
                client.session.notice(activity)

    # -- what clients say

    def _hear(self, client: _Client, said: m.Message | Offered | Arrived | Abandoned) -> None:
        """Raises ProtocolError. What takes time goes on by itself, so that a cancel never waits behind an upload."""
        session, party, exchange, dispatcher = client.session, client.party, self._exchange, self._dispatcher
        if isinstance(said, m.Hello):
            raise ProtocolError("unexpected_message", "Hello was said already.")
        if isinstance(said, m.Error):
            log.info("a client says %s: %s", said.code, said.sentence)
        elif isinstance(said, Abandoned):
            party.coming.pop(said.incoming.ref.digest, None)
        elif isinstance(said, m.Release):
            if party.lane is not None:
                party.lane.released(said.file)
        # Each of the others begins in the order in which it was said: a Cancel finds the job of the Submit before it.
        elif isinstance(said, m.Submit):
            self._spawn(client, dispatcher.submit(session.id, said))
        elif isinstance(said, m.Cancel):
            self._spawn(client, dispatcher.cancel(session.id, said.id, anyones=client.watching))
        elif isinstance(said, m.Ack):
            session.acknowledge(said.id)
            self._spawn(client, dispatcher.acknowledge(session.id, said.id))
        elif isinstance(said, m.Claim):
            self._spawn(client, self._claim(client, said.id))
        elif isinstance(said, m.Watch):
            self._watch(client, said.on)
        elif isinstance(said, m.Forget):
            self._spawn(client, self._forget(client, said.id))
        elif isinstance(said, m.Query):
            self._spawn(client, self._answer(client, said))
        elif isinstance(said, Offered):
            self._spawn(client, exchange.take_offer(party, said, self._parties()))
        elif isinstance(said, Arrived):
            self._spawn(client, exchange.store(party, said.incoming))
        elif isinstance(said, m.Mapped):
            self._spawn(client, exchange.read_mapped(party, said))
        elif isinstance(said, m.Need):
            self._spawn(client, self._send(client, said))
        elif isinstance(said, m.LaneProof):
            self._spawn(client, exchange.check_lane(party, said))

    def _spawn(self, client: _Client, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except ProtocolError as error:
                client.session.send(error.message())
            except ConnectionClosed:
                pass
            except Exception:
                log.exception("a client's request failed")
                client.session.send(m.Error("internal_error", "The request failed.", "The server's log tells why."))

        task = asyncio.create_task(run())
        client.busy.add(task)
        task.add_done_callback(client.busy.discard)

    def _parties(self) -> list[Party]:
        """All sessions, those longest without a socket first."""
        return [client.party for client in sorted(self._clients.values(), key=lambda client: client.gone)]

    async def _claim(self, client: _Client, job_id: str) -> None:
        owner = await self._dispatcher.claim(client.session.id, job_id, self._is_connected)
        if owner is not None and owner in self._clients:
            self._clients[owner].session.acknowledge(job_id)

    def _is_connected(self, session_id: str) -> bool:
        client = self._clients.get(session_id)
        return client is not None and client.socket is not None

    async def _send(self, client: _Client, need: m.Need) -> None:
        ref = self._ledger.output(client.session.id, need.digest)
        if ref is None and client.reads_history:
            ref = await self._ledger.painted(need.digest)
        await self._exchange.send(client.party, need, ref)

    def _watch(self, client: _Client, on: bool) -> None:
        client.watching = on
        for job in list(self._ledger.jobs.values()) if on else ():
            self._notice_one(client, job)

    def _notice_one(self, client: _Client, job: Job) -> None:
        """How a job stands, for a client that begins to watch."""
        owner = self._clients.get(job.record.session)
        client.session.notice(replace(job.activity(), client=owner.name if owner is not None else ""))
        if job.end is None and owner is not client:
            if job.progress is not None:
                client.session.notice(job.progress)
            if job.preview is not None:
                client.session.notice(*job.preview)

    async def _forget(self, client: _Client, job_id: str) -> None:
        await self._ledger.erase(job_id)
        if not client.watching:
            client.session.notice(m.Activity(0, job_id, "forgotten"))

    async def _answer(self, client: _Client, query: m.Query) -> None:
        data: Any
        if query.what == "schema":
            data = jobs.schema()
        elif query.what == "jobs":
            data = self._ledger.listing()
        elif query.what == "history":
            client.reads_history = True
            data = await self._ledger.search(query)
        elif query.what == "invitation":
            code = self._invitations.invite()
            page = self.address.url.replace("ws", "http", 1)
            data = {"code": code, "url": f"{page}/#invitation={code}"}
        elif query.what != "status":
            data = await self._exchange.in_pool(self._choices, query.what)
        else:
            data = {
                **self._dispatcher.status(),
                "sessions": len(self._clients),
                "connections": self._connections,
                "store_bytes": self._store.nbytes,
                "store_quota": self._settings.store_bytes,
                "version": _version(),
                "address": self.address.url,
                "uptime": time.monotonic() - self._started,
            }
        client.session.answer(query.id, data)

    def _choices(self, what: str) -> list[dict[str, Any]]:
        """In the pool."""
        if self._catalog is None:
            self._catalog = Catalog(list(self._settings.models))
        else:
            self._catalog.rescan()
        return lists.choices(self._catalog, what)


async def run(settings: Settings, on_ready: Any = None) -> None:
    """Serve until the process is asked to end. on_ready is called with the App when it listens."""
    stop = asyncio.Event()
    machine.on_stop(asyncio.get_running_loop(), stop.set)
    async with App(settings) as app:
        if on_ready is not None:
            on_ready(app)
        await stop.wait()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.certificate, settings.key)
    return context


def _version() -> str:
    try:
        return metadata.version("brushwire")
    except metadata.PackageNotFoundError:
        return "0"
