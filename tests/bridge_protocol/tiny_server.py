"""`TinyApp` behind a real socket, in a thread: what the client's tests connect to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from bridge_protocol import messages as m
from bridge_protocol.codec import MAX_FRAME
from tests.bridge_protocol.tiny_app import Socket, TinyApp


class TinyServer:
    """A server on a free port of this machine. By itself it finishes each job at once; see `on_accepted`.

    Everything of the application is touched in its event loop's thread alone: `call` goes there and waits.
    """

    def __init__(self, app: TinyApp) -> None:
        self.app = app
        self.app.on_accepted = app.finish
        self.port = 0
        self.connections: list[ServerConnection] = []
        #: Seen of each message that arrived, in order.
        self.heard: list[bytes] = []
        #: Whether it reads what clients say.
        self.reads = threading.Event()
        self.reads.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        """Where it listens; the same after a restart."""
        return f"ws://127.0.0.1:{self.port}"

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something in the loop's thread, and wait for what it gives."""

        async def run() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    def start(self) -> None:
        """Listen."""
        self._server: Server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(60)
        self.port = self._server.sockets[0].getsockname()[1]

    def kill(self) -> None:
        """What a SIGKILL leaves: the journal and the store."""
        self.cut()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)
        self.call(self.app.restart)

    def cut(self) -> None:
        """Break every connection, without a word."""
        for connection in list(self.connections):
            self.call(connection.transport.abort)

    def stop(self) -> None:
        """End everything."""
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _listen(self) -> Server:
        return await serve(
            self._talk, "127.0.0.1", self.port, subprotocols=[Subprotocol(m.SUBPROTOCOL)], compression=None,
            max_size=MAX_FRAME,
        )  # fmt: skip

    async def _close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, connection: ServerConnection) -> None:
        socket = Socket(self.app)
        ready = asyncio.Event()
        writer = asyncio.ensure_future(self._write(connection, socket, ready))
        self.connections.append(connection)
        try:
            async for data in connection:
                while not self.reads.is_set():
                    await asyncio.sleep(0.01)
                assert isinstance(data, bytes)
                self.heard.append(data)
                going_on = socket.receive(data)
                if socket.queue is not None:
                    socket.queue.on_ready = ready.set
                ready.set()
                if not going_on:
                    for refusal in socket.refusals:
                        await connection.send(refusal)
                    return
        except ConnectionClosed:
            pass
        finally:
            self.connections.remove(connection)
            socket.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writer

    async def _write(self, connection: ServerConnection, socket: Socket, ready: asyncio.Event) -> None:
        while True:
            await ready.wait()
            ready.clear()
            while socket.queue is not None and (frame := socket.queue.next_frame()) is not None:
                await connection.send(frame)


@contextlib.contextmanager
def tiny_server(**options: Any) -> Iterator[TinyServer]:
    """A running server, made with `TinyApp`'s options."""
    server = TinyServer(TinyApp(**options))
    try:
        yield server
    finally:
        server.stop()
