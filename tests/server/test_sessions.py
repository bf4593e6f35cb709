"""Sessions outlive sockets, and jobs outlive both."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from bridge_protocol import messages as m
from bridge_protocol.answers import Answered
from bridge_protocol.blobs import Blob
from bridge_protocol.jobs import Generate, job_to_plain
from server.journal import Journal, Record
from tests.server.raw import Raw

QUICK = Generate(steps=1, width=64, height=64, seed=1)
ENDS = m.TERMINAL


@pytest.fixture
def gate(tmp_path):
    """A file for which a job waits: `Generate(prompt=f"wait-for {gate}")`."""
    return tmp_path / "gate"


def waiting(gate, **changes):
    return Generate(prompt=f"wait-for {gate}", steps=1, width=64, height=64, seed=1, **changes)


def test_the_server_gives_the_session_its_id(server):
    with Raw(server, session="my-own-name") as client:
        assert client.welcome.session != "my-own-name"
        assert not client.welcome.resumed


def test_a_result_that_came_while_the_client_was_away_is_told_when_it_comes_back(server, gate):
    client = Raw(server)
    job_id = client.submit(waiting(gate))
    client.hear(m.Accepted)
    client.cut()
    gate.touch()
    with Raw(server, session=client.welcome.session) as again:
        assert again.welcome.resumed
        assert again.hear(m.Result).id == job_id


def test_an_end_is_told_until_it_is_acknowledged_and_not_after(server):
    client = Raw(server)
    job_id = client.submit(QUICK)
    first = client.hear(m.Result)
    client.cut()
    again = Raw(server, session=client.welcome.session)
    assert again.hear(*ENDS) == first
    again.say(m.Ack(job_id))
    again.say(m.Query(1, "jobs"))
    assert again.hear(Answered).data == []
    again.cut()
    with Raw(server, session=client.welcome.session) as third:
        third.say(m.Ping(1))
        third.hear(m.Pong)
        assert not [message for message in third.heard if isinstance(message, ENDS)]


def test_a_new_socket_displaces_the_old_one_and_the_old_ones_end_removes_nothing(server, gate):
    old = Raw(server)
    job_id = old.submit(waiting(gate), on_disconnect="cancel")
    old.hear(m.Accepted)
    with Raw(server, session=old.welcome.session) as new:
        assert old.hear_close() == 4001
        connections = 2
        while connections > 1:  # until the server has cleaned up behind the old one
            new.say(m.Query(1, "status"))
            connections = new.hear(Answered).data["connections"]
        new.say(m.Ping(1))
        new.hear(m.Pong)
        gate.touch()
        assert new.hear(m.Result).id == job_id


def test_the_same_id_submitted_again_is_one_job(server, gate):
    with Raw(server) as client:
        job_id = client.submit(waiting(gate))
        client.hear(m.Accepted)
        client.submit(waiting(gate), job_id)
        client.hear(m.Accepted)
        gate.touch()
        client.hear(m.Result)
        client.say(m.Query(1, "jobs"))
        assert len(client.hear(Answered).data) == 1
        assert len([message for message in client.heard if isinstance(message, m.Result)]) == 1


def test_another_job_under_a_known_id_is_refused(server):
    with Raw(server) as client:
        job_id = client.submit(QUICK)
        client.hear(m.Result)
        client.submit(Generate(steps=2, width=64, height=64), job_id)
        assert client.hear(m.Error).code == "id_in_use"


def test_a_delivered_job_is_not_painted_again(server):
    with Raw(server) as client:
        job_id = client.submit(QUICK)
        client.hear(m.Result)
        client.say(m.Ack(job_id))
        client.submit(QUICK, job_id)
        assert client.hear(m.Error).code == "already_delivered"


def test_a_job_whose_acceptance_broke_off_after_it_was_written_down_is_accepted_when_it_comes_again(server):
    # As the server leaves it behind: in the journal, and nowhere else.
    kind, fields = job_to_plain(QUICK)
    with closing(Journal(server.settings.data / "journal.db")) as journal:
        journal.accept(Record("broken-off", "another session", kind, fields))
    with Raw(server) as client:
        client.submit(Generate(steps=2, width=64, height=64), "broken-off")
        assert client.hear(m.Error).code == "id_in_use"
        client.submit(QUICK, "broken-off")
        client.hear(m.Accepted)
        assert client.hear(m.Result).id == "broken-off"


def test_finished_and_waiting_jobs_outlive_the_server(server, gate):
    client = Raw(server)
    finished = client.submit(QUICK)
    client.hear(m.Result)
    running = client.submit(waiting(gate))
    queued = client.submit(waiting(gate))
    for _ in range(2):
        client.hear(m.Accepted)
    client.cut()
    server.restart()
    gate.touch()
    with Raw(server, session=client.welcome.session) as again:
        assert again.welcome.resumed
        assert again.welcome.epoch != client.welcome.epoch
        assert {again.hear(m.Result).id for _ in range(3)} == {finished, running, queued}


def test_a_live_job_is_reported_after_a_restart_and_not_painted(server, gate):
    client = Raw(server)
    job_id = client.submit(waiting(gate), priority="live")
    client.hear(m.Accepted)
    client.cut()
    server.restart()
    with Raw(server, session=client.welcome.session) as again:
        failed = again.hear(*ENDS)
        assert (failed.id, failed.code, failed.retryable) == (job_id, "server_restarted", True)


def test_a_newer_live_job_replaces_the_waiting_and_the_running_one(server, gate):
    with Raw(server) as client:
        first, second, third = (client.submit(waiting(gate), priority="live", slot="canvas") for _ in range(3))
        ends = [client.hear(m.Cancelled) for _ in range(2)]
        assert {(end.id, end.reason) for end in ends} == {(first, "replaced"), (second, "replaced")}
        gate.touch()
        assert client.hear(m.Result).id == third


def test_a_job_that_goes_with_its_client_is_cancelled_soon_and_others_are_not(server, gate):
    client = Raw(server)
    with_it = client.submit(waiting(gate), on_disconnect="cancel")
    stays = client.submit(waiting(gate))
    for _ in range(2):
        client.hear(m.Accepted)
    client.cut()
    with Raw(server) as other:
        states = {with_it: "accepted"}
        while states[with_it] != "cancelled":
            other.say(m.Query(1, "jobs"))
            states = {job["id"]: job["state"] for job in other.hear(Answered).data}
    gate.touch()
    with Raw(server, session=client.welcome.session) as again:
        ends = {end.id: end for end in (again.hear(*ENDS) for _ in range(2))}
    assert ends[with_it].reason == "disconnected"
    assert isinstance(ends[stays], m.Result)


def test_a_client_that_comes_back_in_time_keeps_its_jobs(settings, server, gate):
    server.restart(grace=30.0)
    client = Raw(server)
    job_id = client.submit(waiting(gate), on_disconnect="cancel")
    client.hear(m.Accepted)
    client.cut()
    with Raw(server, session=client.welcome.session) as again:
        gate.touch()
        assert again.hear(*ENDS).id == job_id
        assert isinstance(again.heard[-1], m.Result)


def test_a_job_of_a_client_that_is_gone_can_be_claimed_and_one_of_a_present_client_not(server, gate):
    with Raw(server) as owner, Raw(server) as other:
        job_id = owner.submit(waiting(gate))
        owner.hear(m.Accepted)
        other.say(m.Claim(job_id))
        assert other.hear(m.Error).code == "not_free"
        owner.close()
        other.say(m.Claim(job_id))
        while not isinstance(other.hear(m.Accepted, m.Error), m.Accepted):
            other.say(m.Claim(job_id))  # the server has not noticed yet that its client is gone
        gate.touch()
        result = other.hear(m.Result)
        assert result.id == job_id
        other.say(m.Need(result.outputs[0].blob.digest))
        other.hear(m.Chunk, m.Mapped)


def test_a_job_of_another_session_cannot_be_cancelled(server, gate):
    with Raw(server) as owner, Raw(server) as other:
        job_id = owner.submit(waiting(gate))
        owner.hear(m.Accepted)
        other.say(m.Cancel(job_id))
        assert other.hear(m.Error).code == "unknown_job"
        gate.touch()
        assert isinstance(owner.hear(*ENDS), m.Result)


def test_a_blob_of_another_session_cannot_be_fetched(server):
    with Raw(server) as owner, Raw(server) as other:
        owner.submit(QUICK)
        digest = owner.hear(m.Result).outputs[0].blob.digest
        other.say(m.Need(digest))
        assert other.hear(m.Error).code == "unknown_blob"


def test_a_job_whose_arrays_are_not_here_is_refused(server):
    image = Blob.of(np.zeros((64, 64, 3), np.uint8), color="srgb")
    with Raw(server) as client:
        job_id = client.submit(Generate(image=image, steps=1))
        error = client.hear(m.Error)
        assert (error.code, error.about, error.retryable) == ("blob_missing", job_id, True)


def test_an_upload_goes_on_where_the_socket_was_cut(server):
    blob = Blob.of(np.random.default_rng(1).integers(0, 256, (300, 300, 4), np.uint8))
    client = Raw(server)
    client.say(m.Offer(blob.ref), blob.part_digests)
    assert client.hear(m.Need).offset == 0
    client.say(m.Chunk(blob.ref.digest, offset=0), blob.data[:100_000])
    client.say(m.Ping(1))
    client.hear(m.Pong)
    client.cut()
    with Raw(server, session=client.welcome.session) as again:
        again.say(m.Offer(blob.ref), blob.part_digests)
        assert again.hear(m.Need).offset == 100_000
        again.say(m.Chunk(blob.ref.digest, offset=100_000), blob.data[100_000:])
        assert again.hear(m.Have).digest == blob.ref.digest


def test_a_stroke_on_a_canvas_sends_the_parts_that_it_touched(server):
    pixels = np.zeros((1024, 1024, 4), np.uint8)
    before = Blob.of(pixels)
    pixels = pixels.copy()
    pixels[250:262, 250:262] = 255
    after = Blob.of(pixels)
    with Raw(server) as client:
        client.say(m.Offer(before.ref), before.part_digests)
        client.hear(m.Need)
        for start in range(0, before.ref.nbytes, 1 << 20):
            client.say(m.Chunk(before.ref.digest, offset=start), before.data[start : start + (1 << 20)])
        client.hear(m.Have)
        client.say(m.Offer(after.ref), after.part_digests)
        assert client.hear(m.Need).parts == [0, 1, 4, 5]


def test_wrong_bytes_are_refused_and_the_right_ones_taken_after(server):
    blob = Blob.of(np.arange(100, dtype=np.uint8))
    with Raw(server) as client:
        client.say(m.Offer(blob.ref))
        client.hear(m.Need)
        client.say(m.Chunk(blob.ref.digest), bytes(100))
        error = client.hear(m.Error)
        assert (error.code, error.about) == ("bad_blob", blob.ref.digest.hex())
        client.say(m.Offer(blob.ref))
        client.hear(m.Need)
        client.say(m.Chunk(blob.ref.digest), blob.data)
        client.hear(m.Have)


def test_a_shared_folder_that_was_not_proven_is_not_used(server):
    blob = Blob.of(np.zeros(200_000, np.uint8))
    with Raw(server) as client:
        client.say(m.LaneProof("0" * 32, "0" * 32, "0" * 32))
        assert client.hear(m.Error).code == "bad_proof"
        client.say(m.Offer(blob.ref))
        client.hear(m.Need)
        client.say(m.Mapped(blob.ref.digest, "0" * 32))
        assert client.hear(m.Error).code == "unexpected_mapped"


def test_nothing_is_left_in_shared_memory_when_the_client_is_gone(server, client):
    from pathlib import Path

    with Raw(server) as other:
        folder = Path(other.welcome.shared_folder)
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o077 == 0
    server.stop()
    assert not folder.exists()
    server.start()


def test_the_socket_is_closed_after_sixteen_errors_in_a_row_and_the_session_stays(server):
    client = Raw(server)
    for _ in range(16):
        client.socket.send(b"nonsense")
    assert client.hear_close() == 1008
    with Raw(server, session=client.welcome.session) as again:
        assert again.welcome.resumed
        for _ in range(40):  # not in a row
            again.socket.send(b"nonsense")
            again.say(m.Ping(1))
            again.hear(m.Pong)
    with pytest.raises(ConnectionClosed):
        client.say(m.Ping(1))
