"""The server's outside: its sockets. What comes through them is taken by conversation.py, jobs by dispatch.py.

Nothing here hashes, copies large arrays, or touches a disk on the event loop: one client's canvas must not delay
another one's cancel.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import ssl
import time
from typing import Any

from websockets.asyncio.server import Server as SocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from bridge_protocol import discovery
from bridge_protocol import messages as m
from bridge_protocol.codec import MAX_FRAME, ProtocolError
from bridge_protocol.machine import bound_socket_buffers
from bridge_protocol.session import ServerSession
from bridge_protocol.transfer import SendQueue
from server import guard, machine, site
from server.answers import Answers, version
from server.clients import Client, Clients
from server.conversation import Conversation, spawn
from server.dispatch import Dispatcher
from server.exchange import Exchange, remove_lane
from server.invitations import Invitations
from server.journal import Journal
from server.ledger import Ledger
from server.settings import Settings
from server.store import BlobStore
from server.worker import Setup

log = logging.getLogger("brushwire.app")

#: WebSocket close codes: the client broke a rule; another socket carries the session now.
POLICY, DISPLACED = 1008, 4001
#: How many things that one client asked for are worked on at a time before its socket is read further.
BUSY = 64


class App:
    """One server: `async with App(settings) as app` listens at `app.address` until it is left."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients = Clients(settings.limits.sessions)
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
        self._lock = machine.lock_folder(settings.data)
        machine.remove_orphaned_shared_folders()
        self._token = discovery.token(settings.runtime)
        self._invitations = Invitations(self._token)
        self._store = BlobStore(settings.data / "blobs", settings.store_bytes)
        self._exchange = Exchange(self._store, settings.limits)
        setups = [Setup(settings.painter, settings.models, device) for device in settings.devices]
        self._ledger = Ledger(Journal(settings.data / "journal.db"), self._store, self._clients.emit, self._notice)
        self._dispatcher = Dispatcher(self._ledger, settings.limits, setups, self._clients.emit, settings.grace)
        answers = Answers(settings, self._ledger, self._exchange, self._invitations, self._status)
        self._talk = Conversation(self._clients, self._ledger, self._dispatcher, self._exchange, answers)
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
        for client in self._clients:
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
        client, resumed = self._clients.come(hello, self._ledger)
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
            spawn(client, displaced.close(DISPLACED, "another socket carries this session now"))
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

    async def _read(self, client: Client, socket: ServerConnection) -> None:
        errors = 0
        async for data in socket:
            if client.socket is not socket:
                return  # what a displaced socket still says would be taken for the new one's
            try:
                if isinstance(data, str):
                    raise ProtocolError("bad_frame", "A text frame came; all frames are binary.")
                for said in client.session.receive(data):
                    self._talk.hear(client, said)
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

    async def _welcome(self, client: Client, socket: ServerConnection, resumed: bool, invited: bool) -> None:
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
                server=f"brushwire {version()}",
                resumed=resumed,
                shared_folder=folder,
                probe=probe,
                limits=self._settings.limits.to_plain(),
                token=self._invitations.token_for(client.session.id) if invited else None,
            )
        )
        client.session.resume()

    def _notice(self, activity: m.Activity) -> None:
        self._clients.notice(activity, self._ledger.jobs.get(activity.id))

    def _status(self) -> dict[str, Any]:
        return {
            **self._dispatcher.status(),
            "sessions": len(self._clients),
            "connections": self._connections,
            "store_bytes": self._store.nbytes,
            "store_quota": self._settings.store_bytes,
            "address": self.address.url,
        }


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
