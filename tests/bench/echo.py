"""A process that gives every blob back, over the real frames and lanes, without hashing: what the wire alone costs."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image
from websockets.asyncio.server import ServerConnection, serve

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob
from bridge_protocol.codec import MAX_FRAME, decode, encode
from bridge_protocol.lanes import SharedFolder
from bridge_protocol.machine import bound_socket_buffers
from bridge_protocol.transfer import Incoming, Outgoing, SendQueue


@contextmanager
def echo_servers(folder: SharedFolder) -> Iterator[tuple[int, int, int]]:
    """Ports of: our frames, a plain websockets echo of whole messages, PNG over HTTP. In a process of their own."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_run, args=(child, folder.path), daemon=True)
    process.start()
    try:
        yield parent.recv()
    finally:
        process.kill()
        process.join()


def _run(pipe: Connection, path: Path) -> None:
    asyncio.run(_serve(pipe, SharedFolder(path)))


async def _serve(pipe: Connection, folder: SharedFolder) -> None:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _PngEcho)
    http.daemon_threads = True
    asyncio.get_running_loop().run_in_executor(None, http.serve_forever)

    async def ours(socket: ServerConnection) -> None:
        await _echo_frames(socket, folder)

    async with (
        serve(ours, "127.0.0.1", 0, compression=None, max_size=MAX_FRAME) as frames,
        serve(_echo_plain, "127.0.0.1", 0, compression=None, max_size=None) as plain,
    ):
        ports = [next(iter(server.sockets)).getsockname()[1] for server in (frames, plain)]
        pipe.send((*ports, http.server_address[1]))
        await asyncio.get_running_loop().create_future()


async def _echo_plain(socket: ServerConnection) -> None:
    async for data in socket:
        await socket.send(data)


async def _echo_frames(socket: ServerConnection, folder: SharedFolder) -> None:
    bound_socket_buffers(socket.transport.get_extra_info("socket"))
    queue = SendQueue()
    ready = asyncio.Event()
    queue.on_ready = ready.set

    async def write() -> None:
        while True:
            ready.clear()
            while (frame := queue.next_frame()) is not None:
                await socket.send(frame)
            await ready.wait()

    writer = asyncio.ensure_future(write())
    incoming: Incoming | None = None
    buffer = bytearray()
    ref = None
    async for data in socket:
        frame = decode(data)
        message = frame.message
        if isinstance(message, m.Offer):
            ref = message.blob
            if len(buffer) != ref.nbytes:
                buffer = bytearray(ref.nbytes)
            incoming = Incoming(ref, memoryview(buffer))
            queue.control(encode(incoming.need()))
        elif isinstance(message, m.Ping):
            queue.control(encode(m.Pong(message.id)))
        elif isinstance(message, m.Release):
            folder.released(message.file)
        elif isinstance(message, m.Chunk) and incoming is not None:
            incoming.write(message, frame.payload)
            if incoming.complete:
                blob = Blob(incoming.ref, memoryview(buffer), b"")
                queue.bulk(Outgoing(blob, m.Need(incoming.ref.digest)))
        elif isinstance(message, m.Mapped) and ref is not None:
            folder.read_into(message.file, memoryview(buffer))
            queue.control(encode(m.Release(message.file)))
            name = folder.put(memoryview(buffer))
            assert name is not None
            queue.control(encode(m.Mapped(message.digest, name)))
    writer.cancel()


class _PngEcho(BaseHTTPRequestHandler):
    """What bridges commonly do: decode the PNG that came, encode it again, answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Echo."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        image = Image.open(BytesIO(body))
        image.load()
        out = BytesIO()
        image.save(out, "PNG", compress_level=1)
        self.send_response(200)
        self.send_header("Content-Length", str(out.tell()))
        self.end_headers()
        self.wfile.write(out.getvalue())

    def log_message(self, *_args: object) -> None:
        """Say nothing."""
