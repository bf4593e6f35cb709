"""The one client's connection: it finds its server, waits, resumes, and never hangs its caller."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge_protocol import discovery, machine
from bridge_protocol import messages as m
from bridge_protocol.client import BridgeClient, BridgeError
from bridge_protocol.client_events import Finished
from bridge_protocol.codec import decode, encode
from bridge_protocol.jobs import Generate
from tests.bridge_protocol.client_side import LARGE, WAIT, Events, accepted, hold

pytestmark = pytest.mark.usefixtures("runtime")


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
