"""Whatever comes through a socket is taken, or refused with an error that can be told; nothing else ever happens."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_protocol import codec
from bridge_protocol import messages as m
from bridge_protocol.client_session import ClientSession
from bridge_protocol.codec import ProtocolError
from bridge_protocol.records import InvalidValue
from tests.bridge_protocol.golden import EXAMPLES
from tests.bridge_protocol.mutate import SEEDS, mutate, mutated
from tests.bridge_protocol.tiny_app import Socket, TinyApp


def told(error: ProtocolError) -> m.Error:
    """The refusal as the other side reads it."""
    message = codec.decode(codec.encode(error.message())).message
    assert isinstance(message, m.Error)
    assert message.code
    assert message.sentence
    return message


@pytest.mark.parametrize("seed", range(4))
def test_mutated_frames_are_taken_or_refused_with_a_typed_error(seed):
    codes: dict[str, int] = {}
    for frame in mutated(random.Random(seed), 8_000):
        try:
            message = codec.decode(frame).message
        except ProtocolError as error:
            codes[told(error).code] = codes.get(error.code, 0) + 1
        else:
            assert codec.decode(codec.encode(message)).message is not None
            codes["taken"] = codes.get("taken", 0) + 1
    assert {"taken", "bad_frame", "unknown_message", "invalid_value"} <= set(codes), codes
    assert codes["taken"] > 400, codes  # else they are mutated beyond what gets anywhere


@pytest.mark.parametrize("seed", range(3))
def test_a_server_goes_on_after_any_frames_and_holds_a_bounded_amount_of_memory(seed):
    app = TinyApp()
    socket = _introduced(app)
    tracemalloc.start()
    for number, frame in enumerate(mutated(random.Random(seed), 4_000)):
        assert _receive(socket, frame)
        if number % 50 == 0:
            while socket.queue.next_frame() is not None:
                pass
            for digest in list(socket.session.incoming):  # a real server limits how much may be on its way
                socket.session.stop(digest)
            for job_id in app.running:
                app.fail(job_id)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 16 << 20
    assert _receive(socket, codec.encode(m.Ping(77)))
    frames = []
    while (frame := socket.queue.next_frame()) is not None:
        frames.append(codec.decode(frame).message)
    assert m.Pong(77) in frames


def _introduced(app: TinyApp) -> Socket:
    socket = Socket(app)
    assert socket.receive(codec.encode(m.Hello([1])))
    return socket


def _receive(socket: Socket, frame: bytes) -> bool:
    """A Hello in the middle of a conversation is refused like anything else; a socket is never closed for it.

    Offers of a gigabyte are what a real server's limits refuse before it allocates; here they are left out.
    """
    try:
        message = codec.decode(frame).message
    except ProtocolError:
        message = None
    if isinstance(message, m.Offer) and message.blob.nbytes > 1 << 22:
        return True
    if isinstance(message, m.Mapped):
        return True  # there is no shared folder here
    return socket.receive(frame)


@pytest.mark.parametrize("seed", range(3))
def test_a_client_goes_on_after_any_frames_or_gives_the_connection_up(seed):
    dice = random.Random(seed)
    for _ in range(60):
        client = ClientSession("test")
        client.attach()
        client.connected()
        for frame in (codec.encode(*EXAMPLES["welcome"]), *mutated(dice, 60)):
            try:
                client.receive(frame)
            except ProtocolError as error:
                told(error)
            for digest in [d for d, incoming in client.incoming.items() if incoming.ref.nbytes > 1 << 22]:
                client.stop(digest)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_taken_or_refused(data):
    try:
        codec.decode(data)
    except ProtocolError as error:
        told(error)


@settings(max_examples=400, deadline=None)
@given(dice=st.randoms(use_true_random=False), frame=st.sampled_from(SEEDS))
def test_what_hypothesis_mutates_is_taken_or_refused(dice, frame):
    try:
        codec.decode(mutate(dice, frame))
    except ProtocolError as error:
        told(error)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(m.TYPES)), data=st.data())
def test_any_values_in_any_fields_are_taken_or_refused(kind, data):
    names = sorted(m.TYPES[kind].__dataclass_fields__)
    header = {"type": kind, **{name: data.draw(plain) for name in names if data.draw(st.booleans())}}
    try:
        message = m.from_plain(header)
    except InvalidValue as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert all((refused.field, refused.allowed, refused.remedy))
    else:
        assert m.from_plain(m.to_plain(message)) == message or "nan" in repr(message)
