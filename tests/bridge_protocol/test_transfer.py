"""What leaves first, what is dropped, what memory a reader that stalls can cost, and how a blob resumes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_protocol import blobs, transfer
from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob, part_count, verify
from bridge_protocol.codec import ProtocolError, decode, encode
from bridge_protocol.transfer import Incoming, Outgoing, SendQueue
from tests.bridge_protocol.golden import pattern


def blob_of(nbytes: int, seed: int = 0) -> Blob:
    return Blob.of(bytes([seed]) + pattern(nbytes)[1:])


def drain(queue: SendQueue) -> list[m.Message]:
    out = []
    while (frame := queue.next_frame()) is not None:
        out.append(decode(frame).message)
    return out


def test_control_leaves_before_progress_and_progress_before_payload():
    queue = SendQueue()
    queue.bulk(Outgoing(blob_of(10), m.Need(blob_of(10).ref.digest)))
    queue.newest("p", encode(m.Progress(1, "j")))
    queue.control(encode(m.Ping(1)))
    queue.control(encode(m.Ping(2)))
    assert drain(queue) == [m.Ping(1), m.Ping(2), m.Progress(1, "j"), m.Chunk(blob_of(10).ref.digest)]


def test_a_cancel_waits_behind_one_chunk_at_most():
    queue = SendQueue()
    blob = blob_of(5 * transfer.CHUNK_BYTES)
    queue.bulk(Outgoing(blob, m.Need(blob.ref.digest)))
    assert isinstance(decode(queue.next_frame()).message, m.Chunk)
    queue.control(encode(m.Cancel("j")))
    assert decode(queue.next_frame()).message == m.Cancel("j")
    assert len(drain(queue)) == 4


def test_of_several_with_one_key_only_the_newest_leaves():
    queue = SendQueue()
    for step in range(100):
        queue.newest(("progress", "a"), encode(m.Progress(step, "a", step=step)))
        queue.newest(("progress", "b"), encode(m.Progress(step, "b", step=step)))
    assert drain(queue) == [m.Progress(99, "a", step=99), m.Progress(99, "b", step=99)]


def test_what_is_forgotten_does_not_leave():
    queue = SendQueue()
    queue.newest("a", encode(m.Ping(1)))
    queue.forget("a")
    queue.forget("never there")
    assert drain(queue) == []


def test_blobs_take_turns():
    queue = SendQueue()
    small, large = blob_of(10, 1), blob_of(3 * transfer.CHUNK_BYTES, 2)
    queue.bulk(Outgoing(large, m.Need(large.ref.digest)))
    queue.bulk(Outgoing(small, m.Need(small.ref.digest)))
    assert [message.digest for message in drain(queue)] == [
        large.ref.digest, small.ref.digest, large.ref.digest, large.ref.digest,
    ]  # fmt: skip


def test_a_second_request_for_a_blob_replaces_the_first():
    queue = SendQueue()
    blob = blob_of(3 * transfer.CHUNK_BYTES)
    queue.bulk(Outgoing(blob, m.Need(blob.ref.digest)))
    queue.next_frame()
    queue.bulk(Outgoing(blob, m.Need(blob.ref.digest, transfer.CHUNK_BYTES)))
    assert [message.offset for message in drain(queue)] == [transfer.CHUNK_BYTES, 2 * transfer.CHUNK_BYTES]


def test_a_reader_that_stalls_costs_a_bounded_amount_of_memory():
    queue = SendQueue(max_control_bytes=100_000)
    blob = blob_of(10 << 20)
    preview = encode(m.Preview(1, "j", 1, 256, 256), bytes(256 * 256 * 3))
    held = 0
    for number in range(20_000):
        queue.control(encode(m.Pong(number)))
        queue.newest("preview", preview)
        queue.bulk(Outgoing(blob, m.Need(blob.ref.digest)))
        held = max(held, queue.nbytes)
    assert held <= 100_000 + len(preview)
    assert queue.overflowed


def test_a_queue_that_overflowed_stays_so_because_frames_were_dropped():
    queue = SendQueue(max_control_bytes=100)
    while not queue.overflowed:
        queue.control(encode(m.Ping(1)))
    drain(queue)
    queue.control(encode(m.Ping(2)))
    assert queue.overflowed
    assert drain(queue) == []


def test_whoever_writes_is_woken_by_every_addition():
    queue, woken = SendQueue(), []
    queue.on_ready = lambda: woken.append(1)
    blob = blob_of(1)
    queue.control(b"")
    queue.newest("a", b"")
    queue.bulk(Outgoing(blob, m.Need(blob.ref.digest)))
    assert len(woken) == 3


@pytest.mark.parametrize("nbytes", [1, transfer.CHUNK_BYTES - 1, transfer.CHUNK_BYTES, 2 * transfer.CHUNK_BYTES + 1])
def test_a_blob_arrives_whole(nbytes):
    blob = blob_of(nbytes)
    incoming = Incoming(blob.ref, memoryview(bytearray(nbytes)))
    deliver(blob, incoming)
    assert verify(blob.ref, incoming.into).part_digests == blob.part_digests


def deliver(blob: Blob, incoming: Incoming, at_most: int | None = None) -> None:
    outgoing = Outgoing(blob, incoming.need())
    while at_most is None or at_most > 0:
        data = outgoing.next_frame()
        if data is None:
            return
        frame = decode(data)
        incoming.write(frame.message, frame.payload)
        at_most = None if at_most is None else at_most - 1


def test_a_blob_resumes_at_every_byte():
    blob = blob_of(300)
    for offset in range(301):
        incoming = Incoming(blob.ref, memoryview(bytearray(300)))
        incoming.write(m.Chunk(blob.ref.digest), blob.data[:offset])
        assert incoming.need() == m.Need(blob.ref.digest, offset)
        assert incoming.complete == (offset == 300)
        deliver(blob, incoming)
        assert incoming.complete
        assert bytes(incoming.into) == bytes(blob.data)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_set_of_parts_resumes_after_any_number_of_them(data):
    shape = (600, 700)
    old = bytearray(pattern(600 * 700))
    blob = Blob.of(bytes(255 - byte for byte in old), shape=shape)
    missing = data.draw(st.lists(st.integers(0, part_count(shape) - 1), min_size=1, unique=True))
    for index in set(range(part_count(shape))) - set(missing):
        part = blobs.part_at(index, shape, "uint8")
        part.write(memoryview(old), memoryview(part.read(blob.data)))
    incoming = Incoming(blob.ref, memoryview(old), missing)
    for _ in range(3):
        deliver(blob, incoming, at_most=data.draw(st.integers(0, 3)))
        if incoming.complete:
            break
        assert set(incoming.need().parts) <= set(missing)
    else:
        deliver(blob, incoming)
    assert incoming.complete
    verify(blob.ref, incoming.into)


@pytest.mark.parametrize(
    ("chunk", "nbytes"),
    [
        (m.Chunk(bytes(32), 1), 1),  # leaves a hole
        (m.Chunk(bytes(32), 0), 11),  # too much
        (m.Chunk(bytes(32), part=0), 10),  # a part, where the whole was asked for
    ],
)
def test_a_chunk_that_nobody_asked_for_is_refused_and_changes_nothing(chunk, nbytes):
    blob = blob_of(10)
    incoming = Incoming(blob.ref, memoryview(bytearray(10)))
    with pytest.raises(ProtocolError) as caught:
        incoming.write(chunk, bytes(b"x" * nbytes))
    assert caught.value.code == "unexpected_chunk"
    assert incoming.need() == m.Need(blob.ref.digest)
    assert bytes(incoming.into) == bytes(10)


def test_a_part_is_taken_once_and_only_as_large_as_it_is():
    blob = Blob.of(pattern(300 * 300), shape=(300, 300))
    incoming = Incoming(blob.ref, memoryview(bytearray(300 * 300)), [1, 2])
    part = blobs.part_at(1, (300, 300), "uint8").read(blob.data)
    for chunk, payload in [
        (m.Chunk(b"", part=1), part[:-1]), (m.Chunk(b"", part=1), part + b"x"), (m.Chunk(b"", part=0), part),
        (m.Chunk(b"", part=4), part), (m.Chunk(b"", offset=0), part),
    ]:  # fmt: skip
        with pytest.raises(ProtocolError):
            incoming.write(chunk, payload)
    incoming.write(m.Chunk(b"", part=1), part)
    with pytest.raises(ProtocolError):
        incoming.write(m.Chunk(b"", part=1), part)
    assert incoming.need().parts == [2]


def test_asking_for_nothing_is_the_owners_mistake():
    with pytest.raises(ValueError, match="no part is missing"):
        Incoming(blob_of(10).ref, memoryview(bytearray(10)), [])


@pytest.mark.parametrize("need", [m.Need(b"", 11), m.Need(b"", parts=[1]), m.Need(b"", parts=[0, -1])])
def test_a_need_for_what_a_blob_does_not_have_is_refused(need):
    with pytest.raises(ProtocolError) as caught:
        Outgoing(blob_of(10), need)
    assert caught.value.code == "bad_need"


def test_a_part_that_is_asked_for_a_thousand_times_is_sent_once():
    blob = blob_of(10)
    outgoing = Outgoing(blob, m.Need(blob.ref.digest, parts=[0] * 1_000))
    assert outgoing.next_frame() is not None
    assert outgoing.next_frame() is None


def test_every_part_fits_a_frame():
    blob = Blob.of(bytes(256 * 256 * 16), shape=(256, 256, 4), dtype="float32")
    assert Outgoing(blob, m.Need(blob.ref.digest, parts=[0])).next_frame() is not None
