"""kill -9 of the server, in every phase of a job: what was accepted is delivered once, or reported."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from bridge_protocol import messages as m
from bridge_protocol.answers import Answered
from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient
from bridge_protocol.client_events import Finished, Refused
from bridge_protocol.jobs import Generate
from tests.server.process import ServerProcess
from tests.server.raw import Raw


@pytest.fixture
def process(settings, tmp_path):
    process = ServerProcess(settings, tmp_path).start()
    yield process
    process.stop()


def job(prompt="", steps=1, image=None, **changes):
    size = {} if image is not None else {"width": 64, "height": 64}
    return Generate(prompt=prompt, steps=steps, seed=1, image=image, **size, **changes)


@pytest.mark.parametrize("phase", ["queued", "loading", "sampling"])
def test_a_job_outlives_its_server_in_every_phase(process, tmp_path, phase):
    gate = tmp_path / "gate"
    client = Raw(process)  # it does not submit its job again, as BridgeClient would
    if phase == "queued":
        client.submit(job(f"wait-for {gate}"))
        client.hear(m.Accepted)
    prompt = f"wait-for {gate}" if phase == "loading" else ""
    job_id = client.submit(job(prompt, steps=100 if phase == "sampling" else 1))
    if phase == "queued":
        client.hear(m.Accepted)
    else:
        while client.hear(m.Progress).phase != phase:
            pass
    process.kill()
    client.cut()
    gate.touch()
    process.start()
    with Raw(process, session=client.welcome.session) as again:
        ends = [again.hear(*m.TERMINAL)]
        if phase == "queued":
            ends.append(again.hear(*m.TERMINAL))
        # In any order: the second is painted while the first one's result is on its way to the disk.
        assert job_id in {end.id for end in ends}
        assert all(isinstance(end, m.Result) for end in ends)


def test_a_finished_job_that_was_not_acknowledged_is_told_again_and_not_painted_again(process, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    client = Raw(process)
    job_id = client.submit(job(f"wait-for {gate}"))
    digest = client.hear(m.Result).outputs[0].blob.digest
    gate.unlink()  # if it were painted again, it would never end
    process.kill()
    client.cut()
    process.start()
    with Raw(process, session=client.welcome.session) as again:
        result = again.hear(*m.TERMINAL)
        assert (result.id, result.outputs[0].blob.digest) == (job_id, digest)
        again.say(m.Need(digest))
        assert len(again.hear_frame().payload) == 64 * 64 * 3


def test_an_acknowledged_job_is_not_told_again(process):
    client = Raw(process)
    job_id = client.submit(job())
    client.hear(m.Result)
    client.say(m.Ack(job_id))
    client.say(m.Query(1, "jobs"))
    assert client.hear(Answered).data == []
    stays = client.submit(job())
    client.hear(m.Result)
    process.kill()
    client.cut()
    process.start()
    with Raw(process, session=client.welcome.session) as again:
        again.say(m.Ping(1))
        again.hear(m.Pong)
        assert [said.id for said in again.heard if isinstance(said, m.TERMINAL)] == [stays]


def test_a_job_that_takes_the_server_down_twice_is_reported(process, tmp_path):
    client = Raw(process)
    job_id = client.submit(job(f"wait-for {tmp_path / 'never'}"))
    for _ in range(2):
        while client.hear(m.Progress).phase != "loading":
            pass
        # The painting has begun; that it has is written down behind the worker's back, before the history is read.
        client.say(m.Query(1, "history"))
        client.hear(Answered)
        process.kill()
        client.cut()
        process.start()
        client = Raw(process, session=client.welcome.session)
    failed = client.hear(*m.TERMINAL)
    assert (failed.id, failed.code) == (job_id, "worker_crashed")
    client.close()


def test_the_worker_of_a_killed_server_ends_by_itself(process, tmp_path):
    with Raw(process) as client:
        client.submit(job(f"wait-for {tmp_path / 'never'}"))
        client.hear(m.Progress)
        client.say(m.Query(1, "status"))
        worker = psutil.Process(client.hear(Answered).data["workers"][0])
    process.kill()
    worker.wait(60)
    process.start()


def test_shared_memory_of_a_killed_server_is_freed_by_the_next(process):
    client = Raw(process)
    folder = Path(client.welcome.shared_folder)
    process.kill()
    client.cut()
    assert folder.exists()
    process.start()
    assert not folder.exists()


def test_every_accepted_job_is_delivered_exactly_once_whenever_the_server_is_killed(process):
    rng = random.Random(11)
    ends: dict[str, int] = {}
    done = threading.Event()
    count = 60

    def on_event(event):
        if isinstance(event, (Finished, m.Failed, m.Cancelled, Refused)):
            job_id = event.result.id if isinstance(event, Finished) else event.id
            ends[job_id] = ends.get(job_id, 0) + 1
            if len(ends) == count:
                done.set()

    with BridgeClient("test", runtime=process.settings.runtime) as client:
        image = rng.randbytes(96 * 96 * 4)
        handles = []
        for number in range(count):
            pixels = np.frombuffer(image, np.uint8).reshape(96, 96, 4).copy()
            pixels[0, 0, 0] = number
            picture = Blob.of(pixels, color="srgb") if number % 2 else None
            handles.append(client.submit(job(steps=rng.randint(1, 60), image=picture), on_event=on_event))
        for _ in range(4):
            time.sleep(rng.uniform(0.0, 0.6))  # the moment of the kill is what is drawn here
            process.kill()
            process.start()
        # Hundreds of commits to the disk, whose time is not ours: long, and what is missing is said.
        assert done.wait(240), (
            f"{client.state}; {[(handle.id, handle.progress) for handle in handles if not handle.done]}; "
            f"the server: {client.query('status')}, {client.query('jobs')}; its log: {process.log[-4000:]}"
        )
        assert [handle.done for handle in handles] == [True] * count
        assert ends == {handle.id: 1 for handle in handles}
        failed = [handle.future.exception() for handle in handles if handle.future.exception()]
        # Only a job that was being painted at two of the kills may be reported instead.
        assert {error.code for error in failed} <= {"worker_crashed"}
        assert len(failed) <= 2
        client.ping()
        assert client.query("jobs") == []
