"""The wire: a 2048² RGBA picture there and back on loopback, by both lanes, against memcpy, plain echo and PNG."""

from __future__ import annotations

import asyncio
import http.client
import statistics
import time
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import ClientConnection, connect

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob, Canvas, changed_parts
from bridge_protocol.codec import MAX_FRAME, decode, encode
from bridge_protocol.lanes import SharedFolder
from bridge_protocol.machine import bound_socket_buffers
from bridge_protocol.transfer import Incoming, Outgoing
from tests.bench.echo import echo_servers
from tests.bench.table import Row, at_most, in_turns

SIDE = 2048


def picture(side: int = SIDE) -> np.ndarray:
    """A painting-like picture, (side, side, 4) uint8: smooth colour with grain, as PNG meets it in practice."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    rng = np.random.default_rng(7)
    colour = np.stack([np.sin(9 * x + 3 * y), np.cos(7 * y), np.sin(5 * (x + y)), np.ones_like(x)], -1)
    grain = rng.normal(0, 3, colour.shape)
    return np.clip(colour * 100 + 128 + grain, 0, 255).astype(np.uint8)


def rows() -> Iterator[Row]:
    """All rows about the wire."""
    pixels = picture()
    blob = Blob.of(pixels, color="srgb")
    spare = bytearray(blob.data)
    folder = SharedFolder.create()
    client_side = SharedFolder(folder.path)

    def memcpy() -> None:
        spare[:] = blob.data

    with echo_servers(folder) as (frames_port, plain_port, http_port):
        try:
            with connect(f"ws://127.0.0.1:{frames_port}", compression=None, max_size=MAX_FRAME) as socket:
                ours, base = in_turns(lambda: mapped_echo(socket, blob, client_side), memcpy)
                yield at_most("2048² RGBA there and back, shared memory", ours, base, "one memcpy", 4)
                png = png_echo(http_port, pixels)
                yield at_most("… shared memory", ours, png, "PNG level 1 over HTTP and back", 0.1)
            yield from inline_rows(frames_port, plain_port, blob, png)
        finally:
            client_side.close()
            folder.close(remove=True)
    start = time.perf_counter()
    Blob.of(pixels)
    hashing = (time.perf_counter() - start) * 1e3
    yield Row("hashing a 2048² RGBA picture, once at each end", hashing, base, "one memcpy")
    yield canvas_row()


def mapped_echo(socket: ClientConnection, blob: Blob, folder: SharedFolder) -> memoryview:
    """There and back through the shared folder; the pixels that came back, where they lie."""
    socket.send(encode(m.Offer(blob.ref)))
    decode(socket.recv())  # Need
    name = folder.put(blob.data)
    assert name is not None
    socket.send(encode(m.Mapped(blob.ref.digest, name)))
    while True:
        message = decode(socket.recv()).message
        if isinstance(message, m.Release):
            folder.released(message.file)
        elif isinstance(message, m.Mapped):
            view = folder.view(message.file, blob.ref.nbytes, lambda: None)
            assert view[12345] == blob.data[12345]
            socket.send(encode(m.Release(message.file)))
            return view


def inline_rows(frames_port: int, plain_port: int, blob: Blob, png: float) -> Iterator[Row]:
    """The inline lane against plain websockets (both asyncio clients), and an event's round trip beside it."""

    async def measure() -> tuple[float, float, float, float]:
        options = {"compression": None, "max_size": None, "proxy": None}
        async with (
            connect_async(f"ws://127.0.0.1:{frames_port}", **options) as ours,
            connect_async(f"ws://127.0.0.1:{plain_port}", **options) as plain,
        ):
            bound_socket_buffers(ours.transport.get_extra_info("socket"))
            data = bytes(blob.data)
            into = bytearray(blob.ref.nbytes)
            times: tuple[list[float], list[float]] = ([], [])
            for index in range(9):
                start = time.perf_counter()
                await inline_echo(ours, blob, into)
                middle = time.perf_counter()
                await plain.send(data)
                await plain.recv()
                end = time.perf_counter()
                if index >= 2:
                    times[0].append((middle - start) * 1e3)
                    times[1].append((end - middle) * 1e3)
            assert bytes(into) == data
        async with connect_async(f"ws://127.0.0.1:{frames_port}", **options) as ours:
            idle = await event_round_trip(ours, None)
            bound_socket_buffers(ours.transport.get_extra_info("socket"))
            large = Blob.of(bytes(64 << 20))
            busy = await event_round_trip(ours, large)
        return statistics.median(times[0]), statistics.median(times[1]), idle, busy

    ours, plain, idle, busy = asyncio.run(measure())
    yield at_most("2048² RGBA there and back, inline", ours, plain, "plain websockets echo", 1)
    yield at_most("… inline", ours, png, "PNG level 1 over HTTP and back", 0.1)
    yield Row(
        "a 32-byte event's round trip while 64 MiB travel", busy, idle, "the same, nothing else", "< 5 ms", busy < 5
    )


async def inline_echo(socket: AsyncConnection, blob: Blob, into: bytearray) -> None:
    """There and back in chunks, both directions at once as they come."""
    await socket.send(encode(m.Offer(blob.ref)))
    need = decode(await socket.recv(decode=False)).message
    assert isinstance(need, m.Need)

    async def upload() -> None:
        outgoing = Outgoing(blob, need)
        while (frame := outgoing.next_frame()) is not None:
            await socket.send(frame)

    sending = asyncio.ensure_future(upload())
    incoming = Incoming(blob.ref, memoryview(into))
    while not incoming.complete:
        frame = decode(await socket.recv(decode=False))
        assert isinstance(frame.message, m.Chunk)
        incoming.write(frame.message, frame.payload)
    await sending


async def event_round_trip(socket: AsyncConnection, large: Blob | None) -> float:
    """The median round trip of a Ping in ms, with `large` on its way up and down again if it is given."""
    done = asyncio.Event()
    pongs: asyncio.Queue[int] = asyncio.Queue()
    tasks = []

    async def read() -> None:
        incoming = Incoming(large.ref, memoryview(bytearray(large.ref.nbytes))) if large else None
        while True:
            frame = decode(await socket.recv(decode=False))
            if isinstance(frame.message, m.Pong):
                pongs.put_nowait(frame.message.id)
            elif isinstance(frame.message, m.Need) and large is not None:
                tasks.append(asyncio.ensure_future(upload(frame.message, large)))
            elif isinstance(frame.message, m.Chunk) and incoming is not None:
                incoming.write(frame.message, frame.payload)
                if incoming.complete:
                    done.set()

    async def upload(need: m.Need, blob: Blob) -> None:
        outgoing = Outgoing(blob, need)
        while (frame := outgoing.next_frame()) is not None:
            await socket.send(frame)

    reader = asyncio.ensure_future(read())
    if large is not None:
        await socket.send(encode(m.Offer(large.ref)))
    times = []
    for number in range(200):
        start = time.perf_counter()
        await socket.send(encode(m.Ping(number)))
        await pongs.get()
        times.append((time.perf_counter() - start) * 1e3)
        if done.is_set():
            break
        if large is not None:
            await asyncio.sleep(0.002)
    if large is not None:
        await done.wait()
    reader.cancel()
    return statistics.median(times)


def png_echo(port: int, pixels: np.ndarray) -> float:
    """The median time in ms of what bridges commonly do: PNG over HTTP, both ways, decoded at both ends."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        out = BytesIO()
        Image.fromarray(pixels).save(out, "PNG", compress_level=1)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/", out.getvalue())
        back = np.asarray(Image.open(BytesIO(connection.getresponse().read())))
        assert (back == pixels).all()
        connection.close()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def canvas_row() -> Row:
    """A 64-pixel brush stroke on a 4096² canvas: the parts that travel."""
    pixels = np.zeros((4096, 4096, 4), np.uint8)
    canvas = Canvas()
    before = canvas.update(pixels)
    pixels[1000:1064, 2030:2094] = 255
    after = canvas.update(pixels)
    changed = len(changed_parts(before.part_digests, after.part_digests))
    everything = len(after.part_digests) // 32
    return Row(
        "a 64-pixel stroke on a 4096² canvas", changed, everything, "all its tiles", "≤ 4 tiles", changed <= 4, "tiles"
    )
