"""The one client against a real socket: what is asked, how it goes there, and what comes back."""

from __future__ import annotations

import pytest

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient, BridgeError, JobCancelledError
from bridge_protocol.client_events import PreviewPixels
from bridge_protocol.jobs import Control, Generate
from bridge_protocol.lanes import SharedFolder
from bridge_protocol.records import InvalidValue
from tests.bridge_protocol.client_side import LARGE, WAIT, accepted, hold
from tests.bridge_protocol.tiny_app import picture_of
from tests.bridge_protocol.tiny_server import tiny_server

pytestmark = pytest.mark.usefixtures("runtime")


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
