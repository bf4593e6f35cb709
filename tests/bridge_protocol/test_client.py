"""The one client against a real socket: it finds, asks, waits, resumes and never hangs its caller."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge_protocol import discovery, machine
from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient, BridgeError, JobCancelledError
from bridge_protocol.client_events import Finished, PreviewPixels
from bridge_protocol.codec import decode, encode
from bridge_protocol.jobs import Control, Generate
from bridge_protocol.lanes import SharedFolder
from bridge_protocol.records import InvalidValue
from tests.bridge_protocol.golden import pattern
from tests.bridge_protocol.tiny_app import picture_of
from tests.bridge_protocol.tiny_server import TinyServer, tiny_server

LARGE = Blob.of(pattern(1024 * 512), shape=(512, 1024))
WAIT = 20.0


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("BRUSHWIRE_RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(machine, "shared_root", lambda: machine.private_folder(tmp_path / "shared"))
    return tmp_path / "run"


@pytest.fixture
def server():
    with tiny_server() as running:
        yield running


@pytest.fixture
def client(server):
    with BridgeClient("test", url=server.url) as connected:
        yield connected


class Events:
    """What a callback was told, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list = []
        self._changed = threading.Condition()

    def __call__(self, event) -> None:
        with self._changed:
            self.all.append(event)
            self._changed.notify_all()

    def wait_for(self, cls: type):
        def found():
            return next((event for event in self.all if isinstance(event, cls)), None)

        with self._changed:
            assert self._changed.wait_for(found, WAIT), f"no {cls.__name__} in {self.all}"
            return found()


def hold(server: TinyServer) -> None:
    """Jobs are accepted, and end when the test says so."""
    server.app.on_accepted = lambda _job_id: None


def accepted(client: BridgeClient, job: Generate | None = None, **options):
    """A job that the server has accepted, and what its callback was told."""
    events = Events()
    handle = client.submit(job or Generate(), on_event=events, **options)
    events.wait_for(m.Accepted)
    return handle, events


def test_a_picture_goes_there_and_comes_back(client):
    result = client.run(Generate(image=LARGE, steps=7), timeout=WAIT)
    assert bytes(result.blobs[0].data) == bytes(LARGE.data)
    assert result.outputs[0].name == "image"
    assert result.outputs[0].blob == LARGE.ref
    assert result.info == {"steps": 7}


def test_through_the_shared_folder_not_one_pixel_goes_through_the_socket():
    with tiny_server(shares=True) as server, BridgeClient("test", url=server.url) as client:
        client.ping()  # the lane was negotiated before it was answered
        assert client.uses_shared_memory
        result = client.run(Generate(image=LARGE), timeout=WAIT)
        assert bytes(result.blobs[0].data) == bytes(LARGE.data)
        assert sum(map(len, server.heard)) < 4_096


def test_a_client_that_does_not_want_the_shared_folder_goes_inline():
    with tiny_server(shares=True) as server, BridgeClient("test", url=server.url, shared_memory=False) as client:
        assert bytes(client.run(Generate(image=LARGE), timeout=WAIT).blobs[0].data) == bytes(LARGE.data)
        assert not client.uses_shared_memory
        assert sum(map(len, server.heard)) > LARGE.ref.nbytes


def test_a_shared_folder_that_the_client_cannot_read_is_not_used(tmp_path):
    with tiny_server(shares=True) as server:
        server.app.folders = Elsewhere(tmp_path / "gone")
        with BridgeClient("test", url=server.url) as client:
            assert bytes(client.run(Generate(image=LARGE), timeout=WAIT).blobs[0].data) == bytes(LARGE.data)
            assert not client.uses_shared_memory


@pytest.mark.parametrize(("times", "ends"), [(1, "finished"), (9, "blob_broken")])
def test_a_result_whose_bytes_cannot_be_read_is_asked_for_again_and_its_job_ends(monkeypatch, times, ends):
    views, view = [], SharedFolder.view

    def released(*args):
        views.append(view(*args))
        if len(views) <= times:
            views[-1].release()
        return views[-1]

    monkeypatch.setattr(SharedFolder, "view", released)
    with tiny_server(shares=True) as server, BridgeClient("test", url=server.url) as client:
        client.ping()
        handle = client.submit(Generate(image=LARGE))
        if ends == "finished":
            assert bytes(handle.result(WAIT).blobs[0].data) == bytes(LARGE.data)
        else:
            with pytest.raises(BridgeError) as caught:
                handle.result(WAIT)
            assert caught.value.code == ends


class Elsewhere(dict):
    """Folders of another machine: their paths lead nowhere here."""

    def __init__(self, path) -> None:
        super().__init__()
        self._path = path

    def setdefault(self, key, folder):
        probe = folder.write_probe
        folder.path, folder.write_probe = self._path, lambda path=folder.path: _probe_in(folder, path, probe)
        return super().setdefault(key, folder)


def _probe_in(folder, path, probe):
    elsewhere, folder.path = folder.path, path
    written = probe()
    folder.path = elsewhere
    return written


def test_unchanged_input_costs_less_than_a_kilobyte(server, client):
    client.run(Generate(image=LARGE), timeout=WAIT)
    before = sum(map(len, server.heard))
    client.run(Generate(image=LARGE, seed=1), timeout=WAIT)
    assert sum(map(len, server.heard)) - before < 1_024


def test_a_stroke_costs_the_tiles_that_it_touches(server, client):
    client.run(Generate(image=LARGE), timeout=WAIT)
    stroke = bytearray(LARGE.data)
    stroke[100 * 1024 + 100 : 100 * 1024 + 164] = bytes(64)
    before = sum(map(len, server.heard))
    changed = Blob.of(bytes(stroke), shape=(512, 1024))
    assert bytes(client.run(Generate(image=changed), timeout=WAIT).blobs[0].data) == bytes(stroke)
    assert sum(map(len, server.heard)) - before < 256 * 256 + 2_048


def test_progress_and_previews_reach_the_callback_and_the_handle(server, client):
    hold(server)
    handle, events = accepted(client)
    server.call(server.app.progress, handle.id, 4)
    assert events.wait_for(m.Progress).step == 4
    assert events.wait_for(PreviewPixels).pixels == bytes([4] * 6)
    assert (handle.progress.step, handle.preview.preview.step, handle.done) == (4, 4, False)
    server.call(server.app.finish, handle.id)
    assert handle.result(WAIT).blobs[0].data == picture_of(handle.id)
    assert handle.done


def test_a_job_is_acknowledged_when_its_caller_holds_it(server, client):
    handle, _ = accepted(client)
    handle.result(WAIT)
    client.ping(WAIT)
    assert server.call(lambda: server.app.journal[handle.id].delivered)


def test_a_result_that_its_caller_wants_to_acknowledge_waits_on_the_server_until_then(server, client):
    handle = client.submit(Generate(), auto_acknowledge=False)
    handle.result(WAIT)
    client.ping(WAIT)
    assert not server.call(lambda: server.app.journal[handle.id].delivered)
    handle.acknowledge()
    client.ping(WAIT)
    assert server.call(lambda: server.app.journal[handle.id].delivered)


def test_cancelling_one_job_never_stops_another(server, client):
    hold(server)
    (first, _), (second, _) = accepted(client), accepted(client)
    first.cancel()
    with pytest.raises(JobCancelledError) as caught:
        first.result(WAIT)
    assert caught.value.code == "cancelled"
    assert not second.done
    server.call(server.app.finish, second.id)
    second.result(WAIT)


def test_a_newer_live_job_replaces_the_older_one_in_its_slot(server, client):
    hold(server)
    older, _ = accepted(client, priority="live", slot="canvas")
    other, _ = accepted(client, priority="live", slot="other")
    newer, _ = accepted(client, priority="live", slot="canvas")
    with pytest.raises(JobCancelledError, match="replaced"):
        older.result(WAIT)
    assert not other.done
    assert not newer.done


def test_a_failure_is_an_error_with_its_remedy(server, client):
    server.app.on_accepted = server.app.fail
    with pytest.raises(BridgeError) as caught:
        client.run(Generate(), timeout=WAIT)
    error = caught.value
    assert (error.code, error.sentence, error.remedy, error.retryable) == ("broken", "It broke.", "Try again.", True)


def test_a_wrong_value_is_refused_before_anything_is_sent(server, client):
    with pytest.raises(InvalidValue, match="steps is 0; it must be a whole number from 1 to 150"):
        client.submit(Generate(steps=0))
    with pytest.raises(InvalidValue, match="priority"):
        client.submit(Generate(), priority="now")
    with pytest.raises(InvalidValue, match="what is 'everything'"):
        client.query("everything")


def test_a_job_that_does_not_fit_a_message_is_refused_and_not_left_waiting(client):
    with pytest.raises(BridgeError) as caught:
        client.submit(Generate(prompt="😀" * 10_000, negative_prompt="😀" * 10_000))
    assert caught.value.code == "header_too_large"
    client.run(Generate(prompt="😀" * 10_000), timeout=WAIT)


def test_arrays_must_be_given_whole(client):
    with pytest.raises(ValueError, match="given whole"):
        client.submit(Generate(controls=[Control("depth", LARGE.ref)]))


def test_what_the_server_refuses_names_the_field(server, client):
    client._thread.call(client._session.submit, m.Submit("j", "Generate", {"steps": 0}), [])
    client.ping(WAIT)
    assert "j" not in server.app.journal
    assert "j" not in client._session.pending


def test_lists_are_answered(client):
    assert client.query("status") == {"ok": True}
    assert "Generate" in client.query("schema")


def test_a_query_while_the_server_is_away_is_answered_when_it_is_back(server, client):
    server.kill()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.query, "status", WAIT)
        server.start()
        assert answer.result(WAIT) == {"ok": True}


def test_a_result_that_came_while_the_client_was_away_is_not_lost(server, client):
    hold(server)
    handle, _ = accepted(client, Generate(image=LARGE))
    server.cut()
    server.call(server.app.finish, handle.id)
    assert bytes(handle.result(WAIT).blobs[0].data) == bytes(LARGE.data)


def test_a_job_outlives_the_servers_process(server, client):
    hold(server)
    handle, _ = accepted(client, Generate(image=LARGE))
    server.kill()
    server.start()
    client.ping(WAIT)
    server.call(server.app.finish, handle.id)
    assert bytes(handle.result(WAIT).blobs[0].data) == bytes(LARGE.data)


def test_a_job_that_was_submitted_while_the_server_was_away_is_painted_when_it_is_back(server, client):
    server.kill()
    handle = client.submit(Generate(image=LARGE))
    server.start()
    assert bytes(handle.result(WAIT).blobs[0].data) == bytes(LARGE.data)


def test_a_client_of_the_same_session_gets_what_the_one_before_did_not_acknowledge(server):
    with BridgeClient("before", url=server.url) as before:
        handle = before.submit(Generate(image=LARGE), auto_acknowledge=False)
        handle.result(WAIT)
        session = before.session_id
    orphans = Events()
    with BridgeClient("after", url=server.url, session=session, on_orphan=orphans) as after:
        finished = orphans.wait_for(Finished)
        assert finished.result.id == handle.id
        assert bytes(finished.blobs[LARGE.ref.digest].data) == bytes(LARGE.data)
        after.acknowledge(handle.id)
        after.ping(WAIT)
    assert server.app.journal[handle.id].delivered


def test_a_job_of_a_client_that_is_gone_can_be_claimed(server):
    hold(server)
    with BridgeClient("gone", url=server.url) as gone:
        handle, _ = accepted(gone)
    orphans = Events()
    with BridgeClient("heir", url=server.url, on_orphan=orphans) as heir:
        heir.claim(handle.id)
        heir.ping(WAIT)
        server.call(server.app.finish, handle.id)
        assert orphans.wait_for(Finished).result.id == handle.id


def test_callbacks_that_fail_do_not_end_the_connection(server):
    def fails(_news: object) -> None:
        raise RuntimeError("the caller's mistake")

    with BridgeClient("test", url=server.url, on_state=fails, on_orphan=fails) as client:
        client.submit(Generate(), on_event=fails).result(WAIT)
        server.cut()
        client.run(Generate(), timeout=WAIT)


def test_a_caller_that_cancels_the_future_does_not_end_the_connection(server, client):
    hold(server)
    handle, _ = accepted(client)
    assert not handle.future.cancel()
    server.call(server.app.finish, handle.id)
    handle.result(WAIT)


def test_closing_tells_everyone_who_waits(server):
    hold(server)
    client = BridgeClient("test", url=server.url).wait_connected(WAIT)
    handle, _ = accepted(client)
    client.close()
    with pytest.raises(BridgeError, match="The result waits on the server"):
        handle.result(WAIT)
    client.close()
    for use in (lambda: client.submit(Generate()), client.ping, lambda: client.cancel("j")):
        with pytest.raises(BridgeError, match="This client is closed"):
            use()


def test_jobs_that_are_submitted_while_the_client_closes_never_hang(server):
    for _ in range(10):
        client = BridgeClient("test", url=server.url).wait_connected(WAIT)
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(client.close)
            handles = []
            with contextlib.suppress(BridgeError):
                while True:
                    handles.append(client.submit(Generate()))
            closing.result(WAIT)
        for handle in handles:
            assert handle.done


def test_a_callback_may_close_its_client(server):
    client = BridgeClient("test", url=server.url).wait_connected(WAIT)
    done = threading.Event()

    def close(_event: object) -> None:
        client.close()
        done.set()

    client.submit(Generate(), on_event=close)
    assert done.wait(WAIT)
    client._thread._thread.join(WAIT)
    assert client.state == "closed"


def test_waiting_for_a_job_can_be_limited(server, client):
    hold(server)
    handle, _ = accepted(client)
    with pytest.raises(TimeoutError, match="it goes on"):
        handle.result(0.01)


def test_a_server_that_does_not_answer_in_time_is_told_so(server, client):
    server.reads.clear()
    with pytest.raises(TimeoutError, match=r"not answered within 0.05 s"):
        client.ping(0.05)
    server.reads.set()
    client.ping(WAIT)
    assert client._thread._questions.unanswered == []


def test_the_server_is_found_through_the_runtime_folder(server, runtime):
    discovery.publish(discovery.Address(server.url, 1), machine.runtime_folder())
    with BridgeClient("test") as client:
        client.run(Generate(), timeout=WAIT)


def test_without_a_server_the_remedy_says_how_to_start_one():
    client = BridgeClient("test")
    with pytest.raises(BridgeError) as caught:
        client.wait_connected(0.3)
    client.close()
    assert (caught.value.code, caught.value.remedy) == ("no_server", "Start one with `brushwire serve`.")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ws://[::1", "ws://127.0.0.1:99999", f"ws://{'a' * 70}:1", "x"])
def test_an_address_that_is_none_is_said_to_be_none_at_once(url):
    with pytest.raises(BridgeError) as caught:
        BridgeClient("test", url=url).__enter__()
    assert caught.value.code == "bad_address"
    assert repr(url) in caught.value.sentence
    assert "ws://" in caught.value.remedy


def test_whatever_ends_the_clients_thread_is_told_to_everyone_who_waits(monkeypatch):
    begin = threading.Event()
    monkeypatch.setattr(BridgeClient, "_find_server", lambda *_: begin.wait() and 1 / 0)
    client = BridgeClient("test")
    handle = client.submit(Generate())
    begin.set()
    for wait in (handle.result, client.wait_connected):
        with pytest.raises(BridgeError, match=r"nobody foresaw \(ZeroDivisionError\)"):
            wait(WAIT)
    client.close()
    assert client.state == "closed"


def test_a_client_whose_server_is_away_waits_between_its_attempts(server, monkeypatch):
    attempts = []
    find = BridgeClient._find_server
    monkeypatch.setattr(BridgeClient, "_find_server", lambda *args: attempts.append(1) or find(*args))
    with BridgeClient("test", url=server.url) as client:
        handle = client.submit(Generate())
        handle.result(WAIT)
        server.kill()
        client._thread.call(client._thread._wake.set)  # as a frame does that is queued while its socket dies
        with pytest.raises(TimeoutError):
            client.ping(0.6)
    assert len(attempts) < 9  # one, one for the frame, and then after 0.05, 0.1, 0.2, 0.5 s


def test_a_message_of_a_newer_server_is_answered_and_does_not_end_the_connection(server, client):
    (connection,) = server.connections
    unknown = encode(m.Pong(1)).replace(b"pong", b"pang")
    server.call(lambda: server._loop.create_task(connection.send(unknown)))
    client.run(Generate(), timeout=WAIT)
    client.ping(WAIT)
    errors = [message for message in (decode(data).message for data in server.heard) if isinstance(message, m.Error)]
    assert [error.code for error in errors] == ["unknown_message"]
    assert server.connections == [connection]


def test_frames_that_are_none_end_the_connection_and_it_is_made_anew(server, client):
    (connection,) = server.connections
    server.call(lambda: server._loop.create_task(connection.send(b"nonsense")))
    client.run(Generate(), timeout=WAIT)
    client.ping(WAIT)
    handle = client.submit(Generate())
    handle.result(WAIT)
