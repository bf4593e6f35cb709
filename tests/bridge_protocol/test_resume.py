"""Nothing is lost and nothing is told twice, whatever is cut, killed or restarted, and whenever.

Hypothesis plays a client against a server, one frame at a time: frames wait in pipes, sockets are cut with what is in
them, either side notices before the other, processes are killed, blobs are evicted, jobs end when they like.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge_protocol import messages as m
from bridge_protocol import transfer
from bridge_protocol.blobs import Blob, InvalidBlob, verify
from bridge_protocol.client_events import Event, Finished, PreviewPixels, Refused
from bridge_protocol.client_session import ClientSession
from bridge_protocol.codec import decode
from bridge_protocol.jobs import Generate, job_to_plain
from bridge_protocol.session import Arrived
from bridge_protocol.transfer import SendQueue
from tests.bridge_protocol.golden import pattern
from tests.bridge_protocol.tiny_app import Socket, TinyApp, picture_of

#: Several parts each, and chunks of one socket's life: large enough to be cut in the middle, small enough to be fast.
PICTURES = [
    Blob.of(b"tiny"),
    Blob.of(pattern(300 * 300), shape=(300, 300)),
    Blob.of(pattern(300 * 300)[:-1] + b"!", shape=(300, 300)),  # one part of it is another
    *[Blob.of(bytes([n]) * 90_000) for n in range(12)],
]

RARELY = st.sampled_from([False, False, False, True])


@dataclass
class Wire:
    """A socket: two pipes, and who has noticed that it is cut."""

    server: Socket
    client_queue: SendQueue | None
    to_server: deque[bytes] = field(default_factory=deque)
    to_client: deque[bytes] = field(default_factory=deque)
    server_open: bool = True


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.app = TinyApp()
        self.wires: list[Wire] = []  # the client's present one last; the others are cut, and the server may not know
        self.client = ClientSession("test")
        self.connected = False
        self.number = 0
        #: Of this run of the client: submitted, and the end that the caller was told.
        self.submitted: dict[str, Blob | None] = {}
        self.ends: dict[str, Event] = {}
        self.unacknowledged: list[str] = []
        self.arrived: list[Arrived] = []
        self.everything: dict[str, Blob | None] = {}
        self.acknowledged_at_server: set[str] = set()

    # -- the client's side

    @initialize()
    def welcome(self) -> None:
        self.connect()
        self.everything_flows(2)

    @rule()
    @precondition(lambda self: not self.connected)
    def connect(self) -> None:
        self.wires.append(Wire(Socket(self.app), self.client.attach()))
        self.connected = True
        self.client.connected()

    @rule(image=st.sampled_from([None, *PICTURES]), live=st.booleans(), flows=st.integers(0, 8))
    def submit(self, image: Blob | None, live: bool, flows: int) -> None:
        self.number += 1
        job_id = f"job {self.number}"
        kind, fields = job_to_plain(Generate(image=image))
        submit = m.Submit(job_id, kind, fields, "live" if live else "interactive", "slot" if live else "")
        self.submitted[job_id] = self.everything[job_id] = image
        self.client.submit(submit, [] if image is None else [image])
        if self.connected:
            self.everything_flows(flows)

    @rule(pick=st.integers(0, 20))
    @precondition(lambda self: self.client.pending)
    def cancel(self, pick: int) -> None:
        self.told(self.client.cancel(self.client.pending[pick % len(self.client.pending)]))

    @rule()
    @precondition(lambda self: self.unacknowledged)
    def acknowledge(self) -> None:
        self.client.acknowledge(self.unacknowledged.pop(0))

    @rule(broken=st.booleans())
    @precondition(lambda self: self.arrived)
    def verify(self, broken: bool) -> None:
        incoming = self.arrived.pop(0).incoming
        if broken:
            incoming.into[0] ^= 1
        try:
            events = self.client.arrived(verify(incoming.ref, incoming.into))
        except InvalidBlob:
            events = self.client.arrived_broken(incoming.ref)
        self.told(events)

    @rule(really=RARELY)
    def kill_the_client(self, really: bool) -> None:
        """Its process dies; the next one knows nothing but the session's id."""
        if not really:
            return
        self.cut(reconnects=False)
        self.client = ClientSession("test", session=self.client.id)
        self.submitted, self.ends, self.unacknowledged, self.arrived = {}, {}, [], []

    # -- frames, one at a time

    @rule(paths=st.lists(st.sampled_from(["out", "read", "back", "verify", "acknowledge"]), max_size=30))
    @precondition(lambda self: self.connected)
    def frames_flow(self, paths: list[str]) -> None:
        for path in paths:
            if path == "out" and self.connected:
                self.frames_go_out(3)
            elif path == "read":
                self.server_reads(3, 0)
            elif path == "back" and self.connected:
                self.frames_come_back(3)
            elif path == "verify" and self.arrived:
                self.verify(broken=False)
            elif path == "acknowledge" and self.unacknowledged:
                self.acknowledge()

    @rule(rounds=st.integers(1, 6))
    @precondition(lambda self: self.connected)
    def everything_flows(self, rounds: int) -> None:
        self.frames_flow(["out", "read", "back", "back"] * rounds)

    @rule(rounds=st.integers(1, 6))
    @precondition(lambda self: self.connected)
    def the_server_only_hears(self, rounds: int) -> None:
        self.frames_flow(["out", "read"] * rounds)

    @rule(count=st.integers(1, 20))
    @precondition(lambda self: self.connected)
    def frames_go_out(self, count: int) -> None:
        wire = self.wires[-1]
        for _ in range(count):
            if (frame := wire.client_queue.next_frame()) is not None:
                wire.to_server.append(frame)

    @rule(count=st.integers(1, 20))
    @precondition(lambda self: self.connected)
    def frames_come_back(self, count: int) -> None:
        wire = self.wires[-1]
        for _ in range(count):
            self.server_writes(wire)
            if wire.to_client and self.connected:
                self.told(self.client.receive(wire.to_client.popleft()))

    @rule(count=st.integers(1, 20), which=st.integers(0, 3))
    @precondition(lambda self: self.wires)
    def server_reads(self, count: int, which: int) -> None:
        """Also from sockets that its client has given up already."""
        wire = self.wires[-1 - which % len(self.wires)]
        for _ in range(count):
            if wire.to_server and wire.server_open:
                data = wire.to_server.popleft()
                message = decode(data).message
                if not wire.server.receive(data):
                    wire.server_open = False
                elif isinstance(message, m.Ack):
                    self.acknowledged_at_server.add(message.id)

    def server_writes(self, wire: Wire) -> None:
        queue = wire.server.queue
        if queue is not None and wire.server_open and (frame := queue.next_frame()) is not None:
            wire.to_client.append(frame)

    # -- what goes wrong

    @rule(reconnects=st.booleans())
    @precondition(lambda self: self.connected)
    def cut(self, reconnects: bool) -> None:
        """The client notices at once, the server when it next looks; what was under way to the client is lost."""
        if self.connected:
            wire = self.wires[-1]
            self.client.disconnected(wire.client_queue)
            wire.to_client.clear()
            self.connected = False
            if reconnects:
                self.connect()

    @rule()
    @precondition(lambda self: self.wires)
    def server_notices_a_cut(self) -> None:
        """What it had not read by then is lost too."""
        wire = self.wires[0]
        if self.connected and len(self.wires) == 1:
            self.cut(reconnects=False)
        wire.server.close()
        del self.wires[0]

    @rule(really=RARELY)
    def kill_the_server(self, really: bool) -> None:
        if not really:
            return
        self.cut(reconnects=False)
        self.wires.clear()
        self.app.restart()

    @rule(blob=st.sampled_from(PICTURES))
    def evict(self, blob: Blob) -> None:
        self.app.evict(blob.ref.digest)

    # -- what the painter does

    @rule(pick=st.integers(0, 20), how=st.sampled_from(["progress", "finish", "fail"]))
    @precondition(lambda self: self.app.running)
    def paint(self, pick: int, how: str) -> None:
        job_id = self.app.running[pick % len(self.app.running)]
        if how == "progress":
            self.app.progress(job_id, 3)
        else:
            getattr(self.app, how)(job_id)

    # -- what must hold

    def told(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Arrived):
                self.arrived.append(event)
            elif isinstance(event, (Finished, m.Failed, m.Cancelled, Refused)):
                self.told_end(event)
            elif isinstance(event, (m.Accepted, m.Progress, PreviewPixels)):
                job_id = event.preview.id if isinstance(event, PreviewPixels) else event.id
                assert job_id not in self.ends, f"{job_id} goes on after its end"
            else:
                assert not isinstance(event, m.Error), event

    def told_end(self, event: Event) -> None:
        job_id = event.result.id if isinstance(event, Finished) else event.id
        assert job_id not in self.ends, f"{job_id} ended twice: {self.ends[job_id]}, {event}"
        assert job_id not in self.acknowledged_at_server, f"{job_id} was acknowledged, and is told again"
        self.ends[job_id] = event
        if isinstance(event, Finished):
            (output,), image = event.result.outputs, self.everything[job_id]
            assert bytes(event.blobs[output.blob.digest].data) == (image.data if image else picture_of(job_id))
        if isinstance(event, Refused):
            assert event.error.code == "blob_missing", event  # evicted again and again: the only ground for refusal
        else:
            self.unacknowledged.append(job_id)

    @invariant()
    def queues_are_bounded(self) -> None:
        for session in [self.client, *self.app.sessions.values()]:
            if session.queue is not None:
                assert not session.queue.overflowed
                assert session.queue.nbytes < 100_000

    @invariant()
    def what_the_server_accepted_is_in_its_journal(self) -> None:
        for session in self.app.sessions.values():
            assert all(job_id in self.app.journal for job_id in session.unacknowledged)

    def teardown(self) -> None:
        """Everything calms down: then every job has ended once, and neither side waits for anything."""
        for wire in self.wires[: len(self.wires) - self.connected]:
            wire.server.close()
        self.wires = self.wires[len(self.wires) - self.connected :]
        for _ in range(3):
            if not self.connected:
                self.connect()
            self.calm()
            for job_id in self.app.running:
                self.app.finish(job_id)
            self.calm()
        # Of jobs whose client was killed before its session had an id, nobody will ever ask.
        session = self.app.sessions[self.client.id]
        mine = {job_id: entry for job_id, entry in self.app.journal.items() if entry.session == self.client.id}
        assert set(self.submitted) <= set(self.ends)
        assert all(entry.delivered for entry in mine.values()), mine
        assert session.unacknowledged == self.client.pending == []
        assert session.incoming == self.client.incoming == {}
        assert session.queue.nbytes == self.client.queue.nbytes == 0
        for left in (self.client._results, self.client._fetched, self.client._broken, self.client._claims):
            assert not left

    def calm(self) -> None:
        for _ in range(2_000):
            before = self.activity()
            self.frames_go_out(20)
            self.server_reads(20, 0)
            if not self.wires[-1].server_open:
                self.cut(reconnects=True)
            self.frames_come_back(20)
            while self.arrived:
                self.verify(broken=False)
            while self.unacknowledged:
                self.acknowledge()
            if before == self.activity() == 0:
                return
        raise AssertionError("it never calms down")

    def activity(self) -> int:
        wire = self.wires[-1]
        queues = [queue for queue in (wire.client_queue, wire.server.queue) if queue is not None]
        waiting = sum(bool(queue._control or queue._newest or queue._bulk) for queue in queues)
        return len(wire.to_server) + len(wire.to_client) + waiting


@pytest.fixture(autouse=True, scope="module")
def _small_chunks():
    """So that a picture takes several frames, and can be cut between them."""
    chunk_bytes, transfer.CHUNK_BYTES = transfer.CHUNK_BYTES, 20_000
    yield
    transfer.CHUNK_BYTES = chunk_bytes


class TestConversation(Conversation.TestCase):  # type: ignore[name-defined]
    """Any interleaving; what fails is made as short as it can be."""

    settings = settings(
        max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.parametrize("seed", range(80))
def test_long_conversations_lose_nothing(seed):
    """What hypothesis does not reach: two hundred steps each, with everything going wrong now and then."""
    dice = random.Random(seed)
    conversation = Conversation()
    conversation.welcome()
    for _ in range(200):
        _step(conversation, dice)
        conversation.queues_are_bounded()
        conversation.what_the_server_accepted_is_in_its_journal()
    conversation.teardown()


def _step(it: Conversation, dice: random.Random) -> None:
    action = dice.choices(
        ["submit", "cancel", "paint", "flow", "cut", "lost", "kill client", "kill server", "evict", "broken", "late"],
        [20, 4, 10, 40, 4, 2, 1, 1, 4, 1, 4],
    )[0]
    if action == "submit":
        it.submit(dice.choice([None, *PICTURES]), dice.random() < 0.3, dice.choice([0, 0, 1, 8]))
    elif action == "cancel" and it.client.pending:
        it.cancel(dice.randrange(100))
    elif action == "paint" and it.app.running:
        it.paint(dice.randrange(100), dice.choice(["progress", "finish", "finish", "fail"]))
    elif action == "flow":
        if not it.connected:
            it.connect()
        it.frames_flow(dice.choices(["out", "read", "back", "verify", "acknowledge"], [4, 4, 4, 1, 1], k=15))
    elif action == "cut" and it.connected:
        it.cut(dice.random() < 0.7)
    elif action == "lost" and it.wires:
        it.server_notices_a_cut()
    elif action.startswith("kill"):
        getattr(it, f"kill_the_{action[5:]}")(True)
    elif action == "evict":
        it.evict(dice.choice(PICTURES))
    elif action == "broken" and it.arrived:
        it.verify(True)
    elif action == "late" and it.wires:
        it.server_reads(5, dice.randrange(4))
