"""A canvas that is painted on: each stroke costs what it touched, and no shortcut lets a wrong byte through."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pytest

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob, Canvas, part_at
from bridge_protocol.client_lane import ClientLane
from bridge_protocol.jobs import Generate
from server.journal import Journal
from tests.server.raw import Raw

SIDE = 1536
TILE_BYTES = 256 * 256 * 4


class Painting:
    """A canvas, and live jobs of it."""

    def __init__(self):
        self._pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), np.uint8)
        self._canvas = Canvas()

    def stroke(self, value, at=300):
        """Paint over a square that lies in one tile; returns what was there."""
        before = self._pixels[at : at + 64, at : at + 64].copy()
        self._pixels[at : at + 64, at : at + 64] = value
        return before

    def paint(self, client, prompt="dot"):
        job = Generate(prompt, image=self._canvas.update(self._pixels), steps=1)
        return client.run(job, timeout=60, priority="live", slot="canvas", on_disconnect="cancel")

    def comes_back(self, client):
        result = self.paint(client, "whole").blobs[0]
        return np.array_equal(np.frombuffer(result.data, np.uint8).reshape(self._pixels.shape), 255 - self._pixels)


class Hashed:
    """How many bytes this process has hashed: the client's part and the server's."""

    def __init__(self, monkeypatch):
        self.nbytes = 0
        sha256 = hashlib.sha256

        def counting(data=b"", **options):
            self.nbytes += len(data)
            return sha256(data, **options)

        monkeypatch.setattr(hashlib, "sha256", counting)

    def during(self, function, *args):
        self.nbytes = 0
        function(*args)
        return self.nbytes


def test_a_stroke_and_its_undo_hash_the_tile_that_they_touched_and_no_canvas(client, monkeypatch):
    painting, hashed = Painting(), Hashed(monkeypatch)
    assert hashed.during(painting.paint, client) >= 2 * SIDE * SIDE * 4, "the first time both sides hash all of it"
    # Once at each end, and a little for the digests of the whole and the small picture that comes back.
    for value in (1, 2, 3):
        before = painting.stroke(value)
        assert hashed.during(painting.paint, client) < 2.5 * TILE_BYTES
        painting.stroke(before)
        assert hashed.during(painting.paint, client) < 2.5 * TILE_BYTES


def test_strokes_on_a_canvas_do_not_fill_the_disk_with_canvases(server, client):
    painting = Painting()
    for value in range(8):
        painting.stroke(value, at=100 + 150 * value)
        painting.paint(client)
    sizes = [path.stat().st_size for path in (server.settings.data / "blobs").iterdir()]
    assert sum(size >= SIDE * SIDE * 4 for size in sizes) <= 2


def test_the_painter_is_given_the_canvas_bit_for_bit_after_every_stroke(client):
    painting = Painting()
    for value in range(4):
        painting.stroke(value, at=200 + 40 * value)
        assert painting.comes_back(client)


def test_a_live_picture_does_not_wait_until_its_end_is_written_down(client, monkeypatch):
    let_go, written, own = threading.Event(), threading.Event(), Journal.end

    def end(*arguments):
        let_go.wait(20)
        written.set()
        return own(*arguments)

    monkeypatch.setattr(Journal, "end", end)
    try:
        Painting().paint(client)
        assert not written.is_set()
    finally:
        let_go.set()
    assert written.wait(20)


def offered(client, blob):
    client.say(m.Offer(blob.ref), blob.part_digests)
    return client.hear(m.Need, m.Have)


def send_whole(client, blob):
    for start in range(0, blob.ref.nbytes, 1 << 20):
        client.say(m.Chunk(blob.ref.digest, offset=start), blob.data[start : start + (1 << 20)])


def send_part(client, blob, index, of=None):
    data = part_at(index, blob.ref.shape, blob.ref.dtype).read((of or blob).data)
    client.say(m.Chunk(blob.ref.digest, part=index), data)


@pytest.fixture
def canvas():
    """A picture of 2 × 2 parts before and after a stroke in its last part."""
    pixels = np.random.default_rng(1).integers(0, 256, (512, 512, 4), np.uint8)
    before = Blob.of(pixels.copy())
    pixels[300:310, 300:310] = 7
    return before, Blob.of(pixels)


def test_a_part_with_wrong_bytes_is_refused_and_the_right_one_taken_after(server, canvas):
    before, after = canvas
    with Raw(server) as client:
        assert isinstance(offered(client, before), m.Need)
        send_whole(client, before)
        client.hear(m.Have)
        assert offered(client, after).parts == [3]
        send_part(client, after, 3, of=before)
        error = client.hear(m.Error)
        assert (error.code, error.about) == ("bad_blob", after.ref.digest.hex())
        assert offered(client, after).parts == [3]
        send_part(client, after, 3)
        assert client.hear(m.Have).digest == after.ref.digest


def test_where_the_canvas_before_is_gone_meanwhile_the_whole_of_the_new_one_is_asked_for(server, canvas):
    before, after = canvas
    with Raw(server) as client:
        offered(client, before)
        send_whole(client, before)
        client.hear(m.Have)
        assert offered(client, after).parts == [3]
        (server.settings.data / "blobs" / before.ref.digest.hex()).unlink()
        send_part(client, after, 3)
        need = client.hear(m.Need, m.Error)
        assert (need.digest, need.offset, need.parts) == (after.ref.digest, 0, [])
        send_whole(client, after)
        assert client.hear(m.Have).digest == after.ref.digest


def test_a_part_cannot_be_answered_with_a_file_in_the_shared_folder(server, canvas):
    before, after = canvas
    with Raw(server) as client:
        lane = ClientLane()
        client.say(lane.prove(client.welcome))
        client.hear(m.LaneReady)
        lane.ready = True
        offered(client, before)
        send_whole(client, before)
        client.hear(m.Have)
        assert offered(client, after).parts == [3]
        client.say(m.Mapped(after.ref.digest, lane.put(before)))
        assert client.hear(m.Error).code == "unexpected_mapped"
        assert offered(client, after).parts == [3]
        send_part(client, after, 3)
        assert client.hear(m.Have).digest == after.ref.digest
        lane.close()
