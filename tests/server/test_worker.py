"""Jobs that are cancelled, and workers that die."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal

import psutil
import pytest

from bridge_protocol import messages as m
from bridge_protocol.answers import Answered
from bridge_protocol.jobs import Generate
from server import worker
from tests.server.raw import Raw


def job(prompt="", steps=1, **changes):
    return Generate(prompt=prompt, steps=steps, width=64, height=64, seed=1, preview_every=0, **changes)


def status(client):
    client.say(m.Query(1, "status"))
    return client.hear(Answered).data


def wait_for_worker(client):
    """The process of a worker that is ready."""
    client.submit(job())
    client.say(m.Ack(client.hear(m.Result).id))
    return status(client)["workers"][0]


def test_a_thousand_cancels_at_random_moments_never_stop_another_job(server):
    rng = random.Random(4)
    count, submitted, cancelled, ends = 1000, [], set(), {}
    with Raw(server) as client:
        while len(ends) < count:
            # So many in flight that cancels meet jobs at every point of their way, from not yet written down to done.
            while len(submitted) < count and len(submitted) - len(ends) < 8:
                submitted.append(client.submit(job(steps=rng.randint(1, 4))))
                if rng.random() < 0.4:
                    victim = rng.choice(submitted[-6:])
                    if victim not in cancelled and victim not in ends:
                        cancelled.add(victim)
                        client.say(m.Cancel(victim))
            end = client.hear(*m.TERMINAL)
            assert end.id not in ends, "an end was told twice"
            ends[end.id] = end
            client.say(m.Ack(end.id))
        assert set(ends) == set(submitted)
        for job_id, end in ends.items():
            assert isinstance(end, m.Result if job_id not in cancelled else (m.Result, m.Cancelled))
        stopped = [end for end in ends.values() if isinstance(end, m.Cancelled)]
        assert {end.reason for end in stopped} == {"cancelled"}
        assert len(stopped) > count // 10, "so few were stopped that little was tried"


def test_a_running_job_stops_within_one_step(server, tmp_path):
    with Raw(server) as client:
        job_id = client.submit(job(steps=150))
        client.hear(m.Progress)
        client.say(m.Cancel(job_id))
        assert client.hear(*m.TERMINAL) == m.Cancelled(client.heard[-1].seq, job_id, "cancelled")
        steps = [said.step for said in client.heard if isinstance(said, m.Progress)]
        assert max(steps) < 150


def test_cancelling_what_has_ended_changes_nothing(server):
    with Raw(server) as client:
        job_id = client.submit(job())
        client.hear(m.Result)
        client.say(m.Cancel(job_id))
        client.say(m.Ping(1))
        client.hear(m.Pong)
        assert not [said for said in client.heard if isinstance(said, (m.Cancelled, m.Error))]


def test_a_dead_worker_is_replaced_and_its_job_painted(server, tmp_path):
    with Raw(server) as client:
        first = wait_for_worker(client)
        job_id = client.submit(job(f"die-once {tmp_path / 'died'}"))
        assert client.hear(*m.TERMINAL).id == job_id
        assert isinstance(client.heard[-1], m.Result)
        assert status(client)["workers"][0] != first


def test_a_job_that_kills_its_worker_twice_is_reported_and_the_next_one_painted(server):
    with Raw(server) as client:
        killer, innocent = client.submit(job("die")), client.submit(job())
        ends = {end.id: end for end in (client.hear(*m.TERMINAL) for _ in range(2))}
        assert ends[killer].code == "worker_crashed"
        assert ends[killer].remedy
        assert isinstance(ends[innocent], m.Result)


def test_a_worker_that_says_what_cannot_be_read_is_a_dead_one(server):
    with Raw(server) as client:
        unreadable, innocent = client.submit(job("unreadable")), client.submit(job())
        ends = {end.id: end for end in (client.hear(*m.TERMINAL) for _ in range(2))}
        assert ends[unreadable].code == "worker_crashed"
        assert isinstance(ends[innocent], m.Result)


def test_a_worker_that_hears_what_cannot_be_read_ends():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    setup = worker.Setup("tests.server.small_painter:make", (), None)
    process = context.Process(target=worker.main, args=(theirs, setup), daemon=True)
    process.start()
    try:
        assert ours.recv() == worker.Ready("small")
        ours.send_bytes(b"nonsense")
        process.join(60)
        assert process.exitcode == 1
    finally:
        process.kill()


def test_a_job_is_painted_though_its_worker_was_killed_from_outside_while_it_waited_and_while_it_ran(server, tmp_path):
    gate = tmp_path / "gate"
    with Raw(server) as client:
        idle = wait_for_worker(client)
        os.kill(idle, signal.SIGKILL)
        job_id = client.submit(job(f"wait-for {gate}"))
        client.hear(m.Progress)
        os.kill(status(client)["workers"][0], signal.SIGKILL)
        gate.touch()
        assert client.hear(*m.TERMINAL).id == job_id
        assert isinstance(client.heard[-1], m.Result)


def test_a_cancelled_job_whose_worker_dies_is_cancelled(server, tmp_path):
    with Raw(server) as client:
        pid = wait_for_worker(client)
        job_id = client.submit(job(f"wait-for {tmp_path / 'never'}"))
        client.hear(m.Progress)
        os.kill(pid, signal.SIGSTOP)  # it will not hear the cancel
        client.say(m.Cancel(job_id))
        client.say(m.Ping(1))
        client.hear(m.Pong)
        os.kill(pid, signal.SIGKILL)
        assert isinstance(client.hear(*m.TERMINAL), m.Cancelled)


def test_a_painter_that_does_not_start_is_reported(server, monkeypatch):
    monkeypatch.setattr("server.dispatch.RESTART_WAITS", (0.0,))
    server.restart(painter="tests.server.small_painter:make_broken")
    with Raw(server) as client:
        client.submit(job())
        failed = client.hear(*m.TERMINAL)
        assert (failed.code, failed.retryable) == ("painter_unavailable", True)


def test_nothing_half_written_is_left_of_a_dead_worker(server, settings):
    with Raw(server) as client:
        client.submit(job("die"))
        client.hear(m.Failed)
    assert not list((settings.data / "blobs").glob("partial-*"))


def test_a_stopped_server_leaves_no_process(server, tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with Raw(server) as client:
        worker = wait_for_worker(client)
        client.submit(job(f"wait-for {tmp_path / 'never'}"))
        client.hear(m.Progress)
        assert worker in before | {worker}
        server.stop()
    assert not psutil.pid_exists(worker)
    server.start()


def test_a_stop_of_the_server_does_not_count_against_the_job_that_it_broke_off(server, tmp_path):
    gate = tmp_path / "gate"
    client = Raw(server)
    job_id = client.submit(job(f"wait-for {gate}"))
    for _ in range(3):  # more often than a job may crash
        client.hear(m.Progress)
        client.cut()
        server.restart()
        client = Raw(server, session=client.welcome.session)
    client.hear(m.Progress)
    gate.touch()
    assert client.hear(*m.TERMINAL).id == job_id
    assert isinstance(client.heard[-1], m.Result)
    client.close()


@pytest.mark.parametrize("priority", ["live", "interactive"])
def test_two_clients_take_turns(server, tmp_path, priority):
    gate = tmp_path / "gate"
    with Raw(server) as greedy, Raw(server) as modest:
        greedy.submit(job(f"wait-for {gate}"))
        greedy.hear(m.Progress)
        slots = [f"{number}" for number in range(5)]
        many = [greedy.submit(job(), priority=priority, slot=slot) for slot in slots]
        for _ in slots:
            greedy.hear(m.Accepted)
        one = modest.submit(job(), priority=priority)
        assert modest.hear(m.Accepted).position == 2
        gate.touch()
        assert modest.hear(m.Result).id == one
        for _ in range(6):
            greedy.hear(m.Result)
        assert many[-1] == greedy.heard[-1].id
