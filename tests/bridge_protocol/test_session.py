"""The session machines, one situation at a time; test_resume.py plays them all together."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob, verify
from bridge_protocol.client_events import Connected, Finished, MapFile, PreviewPixels, Refused
from bridge_protocol.client_session import MAX_BROKEN, MAX_KNOWN, ClientSession
from bridge_protocol.codec import ProtocolError, decode, encode
from bridge_protocol.session import Abandoned, Arrived, Offered, ServerSession
from bridge_protocol.transfer import Incoming

BLOB = Blob.of(b"pixels" * 100)
JOB = m.Submit("j", "Generate", {})
RESULT = m.Result(1, "j", [m.Output("image", BLOB.ref)])


def said(session) -> list[m.Message]:
    """What has been said since this was asked last."""
    out = []
    while (frame := session.queue.next_frame()) is not None:
        out.append(decode(frame).message)
    return out


def hear(session, message: m.Message, payload: bytes = b""):
    return session.receive(encode(message, payload))


def welcomed(client: ClientSession, *, resumed: bool = False, epoch: str = "e") -> list[m.Message]:
    """A new socket, as far as Welcome; gives what the client says then."""
    client.attach()
    client.connected()
    assert [type(message) for message in said(client)] == [m.Hello]
    assert isinstance(hear(client, m.Welcome(1, "s", epoch, resumed=resumed))[0], Connected)
    return said(client)


@pytest.fixture
def client() -> ClientSession:
    session = ClientSession("test")
    welcomed(session)
    return session


@pytest.fixture
def server() -> ServerSession:
    session = ServerSession("s", "e")
    greeted(session)
    return session


def greeted(server: ServerSession) -> list[m.Message]:
    """A new socket, as far as the server's Welcome; gives what it says then."""
    server.attach()
    server.send(m.Welcome(1, "s", "e"))
    server.resume()
    return said(server)


# -- the client


def test_nothing_is_said_before_the_server_has_answered_but_hello():
    client = ClientSession("test", "token")
    client.attach()
    client.connected()
    client.submit(JOB, [])
    client.acknowledge("x")
    client.claim("y")
    assert said(client) == [m.Hello([1], "test", "token")]
    hear(client, m.Welcome(1, "s", "e"))
    assert said(client) == [JOB, m.Claim("y")]


def test_a_server_that_speaks_another_version_is_no_server():
    client = ClientSession()
    client.attach()
    with pytest.raises(ProtocolError) as caught:
        hear(client, m.Welcome(2, "s", "e"))
    assert caught.value.code == "unknown_version"


def test_a_job_is_submitted_when_the_server_has_all_its_blobs(client):
    other = Blob.of(b"mask")
    client.submit(JOB, [BLOB, other])
    assert said(client) == [m.Offer(BLOB.ref), m.Offer(other.ref)]
    hear(client, m.Have(BLOB.ref.digest))
    assert said(client) == []
    hear(client, m.Have(other.ref.digest))
    assert said(client) == [JOB]


def test_a_server_that_does_not_know_the_session_is_told_everything_again(client):
    client.submit(JOB, [])
    said(client)
    hear(client, m.Accepted(1, "j"))
    assert welcomed(client, resumed=True) == []
    assert welcomed(client, resumed=False) == [JOB]


def test_a_result_whose_pixels_are_still_coming_is_given_up_with_its_session_and_not_told_twice(client):
    client.submit(JOB, [])
    hear(client, m.Accepted(1, "j"))
    assert hear(client, RESULT) == []
    assert m.Need(BLOB.ref.digest) in said(client)
    assert welcomed(client, resumed=False) == [JOB]
    assert client.arrived(BLOB) == []  # what was being verified meanwhile
    assert client._fetched == {}
    hear(client, RESULT)
    (arrived,) = hear(client, m.Chunk(BLOB.ref.digest), bytes(BLOB.data))
    (finished,) = client.arrived(verify(arrived.incoming.ref, arrived.incoming.into))
    assert isinstance(finished, Finished)


def test_a_job_whose_result_is_arriving_is_not_submitted_again(client):
    client.submit(JOB, [])
    hear(client, RESULT)  # its Accepted was lost with a socket
    assert welcomed(client, resumed=True) == [m.Need(BLOB.ref.digest)]


def test_a_result_resumes_where_its_bytes_stopped(client):
    hear(client, RESULT)
    hear(client, m.Chunk(BLOB.ref.digest), bytes(BLOB.data[:100]))
    assert welcomed(client, resumed=True) == [m.Need(BLOB.ref.digest, 100)]


def test_the_pixels_of_a_result_that_was_told_before_the_welcome_are_asked_for_after_it():
    session = ClientSession("test", session="s")
    session.attach()
    session.connected()
    said(session)
    hear(session, RESULT)
    assert said(session) == []
    hear(session, m.Welcome(1, "s", "e", resumed=True))
    assert said(session) == [m.Need(BLOB.ref.digest)]


def test_a_refused_job_whose_acceptance_was_lost_is_cancelled_and_its_end_is_not_told(client):
    client.submit(JOB, [BLOB])
    hear(client, m.Have(BLOB.ref.digest))
    welcomed(client, resumed=True)
    assert isinstance(hear(client, m.Error("store_full", "Full.", about=BLOB.ref.digest.hex()))[0], Refused)
    assert said(client) == [m.Cancel("j")]
    assert hear(client, m.Cancelled(2, "j")) == []
    assert said(client) == [m.Ack("j")]


def test_a_refusal_of_a_job_that_was_never_said_needs_no_cancel(client):
    client.submit(JOB, [BLOB])
    said(client)
    (refused,) = hear(client, m.Error("too_large", "Too large.", about=BLOB.ref.digest.hex()))
    assert (refused.id, refused.error.code) == ("j", "too_large")
    assert said(client) == []


def test_a_job_whose_blobs_were_dropped_is_offered_again_with_digests_but_not_for_ever(client):
    client.submit(JOB, [BLOB])
    for _ in range(MAX_BROKEN):
        hear(client, m.Have(BLOB.ref.digest))
        said(client)
        assert hear(client, m.Error("blob_missing", "Gone.", about="j")) == []
        frame = decode(client.queue.next_frame())
        assert (frame.message, bytes(frame.payload)) == (m.Offer(BLOB.ref), BLOB.part_digests)
    hear(client, m.Have(BLOB.ref.digest))
    assert isinstance(hear(client, m.Error("blob_missing", "Gone.", about="j"))[0], Refused)


def test_a_cancelled_job_is_not_offered_again(client):
    client.submit(JOB, [BLOB])
    hear(client, m.Have(BLOB.ref.digest))
    client.cancel("j")
    said(client)
    assert hear(client, m.Error("blob_missing", "Gone.", about="j")) == []
    assert said(client) == []
    (cancelled,) = hear(client, m.Error("unknown_job", "No.", about="j"))
    assert cancelled == m.Cancelled(0, "j")
    assert client.pending == []


def test_a_job_that_the_server_never_heard_of_is_cancelled_here_and_now(client):
    client.submit(JOB, [BLOB])
    said(client)
    assert client.cancel("j") == [m.Cancelled(0, "j")]
    assert said(client) == []
    assert client.cancel("j") == []


def test_a_blob_that_nobody_has_a_use_for_any_more_is_said_to_be_gone(client):
    client.submit(JOB, [BLOB])
    client.cancel("j")
    said(client)
    hear(client, m.Need(BLOB.ref.digest))
    (error,) = said(client)
    assert (error.code, error.about) == ("blob_gone", BLOB.ref.digest.hex())


def test_a_result_for_which_there_is_no_memory_fails_its_job():
    pytest.importorskip("resource", reason="this system cannot bound a process's memory")
    # In a process of its own, whose other half needs no more memory than it has.
    subprocess.run([sys.executable, "-c", _WITHOUT_MEMORY], check=True, timeout=240)


_WITHOUT_MEMORY = """
import resource
from bridge_protocol.blobs import BlobRef
from tests.bridge_protocol.test_session import *

client = ClientSession("test")
welcomed(client)
large = BlobRef(bytes(32), (1 << 29,))
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
(failed,) = hear(client, m.Result(1, "j", [m.Output("small", BLOB.ref), m.Output("large", large)]))
assert (failed.id, failed.code) == ("j", "no_memory"), failed
assert "512 MiB" in failed.sentence
(unfetched,) = client.fetch(large)
assert (unfetched.digest, unfetched.error.code) == (large.digest, "no_memory"), unfetched
assert hear(client, m.Failed(2, "k", "c", "s")) == [m.Failed(2, "k", "c", "s")]
"""


def test_a_result_that_arrives_broken_is_fetched_again_and_fails_in_the_end(client):
    hear(client, RESULT)
    said(client)
    for _ in range(MAX_BROKEN - 1):
        hear(client, m.Chunk(BLOB.ref.digest), bytes(BLOB.ref.nbytes))
        assert client.arrived_broken(BLOB.ref) == []
        assert said(client) == [m.Need(BLOB.ref.digest)]
    hear(client, m.Chunk(BLOB.ref.digest), bytes(BLOB.ref.nbytes))
    (failed,) = client.arrived_broken(BLOB.ref)
    assert (failed.id, failed.code, failed.retryable) == ("j", "blob_broken", True)
    assert client.arrived_broken(BLOB.ref) == []


def test_a_result_whose_blob_the_server_has_lost_is_a_failure(client):
    hear(client, RESULT)
    (failed,) = hear(client, m.Error("unknown_blob", "No.", about=BLOB.ref.digest.hex()))
    assert (failed.id, failed.code) == ("j", "unknown_blob")
    assert client.incoming == {}


def test_two_results_of_one_picture_fetch_it_once(client):
    hear(client, RESULT)
    hear(client, m.Result(2, "k", RESULT.outputs))
    assert said(client) == [m.Need(BLOB.ref.digest)]
    hear(client, m.Chunk(BLOB.ref.digest), bytes(BLOB.data))
    assert [event.result.id for event in client.arrived(BLOB)] == ["j", "k"]
    assert client._fetched == {}


def test_a_blob_in_the_shared_folder_is_mapped_if_it_was_asked_for_and_released_if_not(client):
    hear(client, RESULT)
    assert hear(client, m.Mapped(BLOB.ref.digest, "f")) == [MapFile(BLOB.ref, "f")]
    said(client)
    assert hear(client, m.Mapped(BLOB.ref.digest, "g")) == []
    assert said(client) == [m.Release("g")]


def test_a_whole_blob_goes_through_the_shared_folder_and_a_part_of_it_inline(client):
    client.put = lambda _blob: "file"
    client.submit(JOB, [BLOB])
    said(client)
    hear(client, m.Need(BLOB.ref.digest))
    hear(client, m.Need(BLOB.ref.digest, 10))
    assert said(client) == [m.Mapped(BLOB.ref.digest, "file"), m.Chunk(BLOB.ref.digest, 10)]


def test_what_is_remembered_of_the_servers_blobs_is_bounded(client):
    for number in range(MAX_KNOWN + 10):
        hear(client, m.Have(number.to_bytes(32, "big")))
    assert len(client._known) == MAX_KNOWN


def test_a_preview_is_as_large_as_it_says(client):
    preview = m.Preview(1, "j", 1, 2, 1)
    assert hear(client, preview, bytes(6)) == [PreviewPixels(preview, bytes(6))]
    with pytest.raises(ProtocolError) as caught:
        hear(client, preview, bytes(5))
    assert caught.value.code == "bad_preview"


def test_what_only_clients_say_is_refused_by_a_client(client):
    for message in (m.Hello([1]), JOB, m.Offer(BLOB.ref), m.Ping(1)):
        with pytest.raises(ProtocolError) as caught:
            hear(client, message)
        assert caught.value.code == "unexpected_message"


def test_the_late_end_of_an_old_socket_does_not_take_the_new_one_away(client):
    old = client.queue
    welcomed(client, resumed=True)
    client.disconnected(old)
    assert client.ready
    client.submit(JOB, [])
    assert said(client) == [JOB]


# -- the server


def test_a_ping_is_answered_before_payload_that_waits(server):
    server.serve(m.Need(BLOB.ref.digest), BLOB)
    hear(server, m.Ping(5))
    assert said(server) == [m.Pong(5), m.Chunk(BLOB.ref.digest)]


def test_the_first_last_word_stands_and_nothing_comes_after_it(server):
    server.emit(m.Progress(0, "j"))
    server.emit(m.Cancelled(0, "j"))
    server.emit(RESULT)
    server.emit(m.Progress(0, "j"))
    server.emit(m.Accepted(0, "j"))
    assert said(server) == [m.Cancelled(2, "j")]
    assert server.unacknowledged == ["j"]


def test_a_last_word_is_said_to_every_new_socket_until_it_is_acknowledged(server):
    server.emit(m.Cancelled(0, "j"))
    for _ in range(2):
        assert greeted(server)[1:] == [m.Cancelled(1, "j")]
    assert server.acknowledge("j") == m.Cancelled(1, "j")
    assert server.acknowledge("j") is None
    assert greeted(server)[1:] == []


def test_a_half_arrived_blob_is_asked_for_again_through_a_new_socket_and_once_through_each(server):
    server.begin(Incoming(BLOB.ref, memoryview(bytearray(BLOB.ref.nbytes))))
    hear(server, m.Chunk(BLOB.ref.digest), bytes(BLOB.data[:7]))
    server.begin(server.incoming[BLOB.ref.digest])
    assert said(server) == [m.Need(BLOB.ref.digest)]
    assert greeted(server)[1:] == [m.Need(BLOB.ref.digest, 7)]
    (arrived,) = hear(server, m.Chunk(BLOB.ref.digest, 7), bytes(BLOB.data[7:]))
    assert isinstance(arrived, Arrived)
    assert bytes(arrived.incoming.into) == bytes(BLOB.data)
    assert server.incoming == {}


def test_a_blob_that_will_not_come_is_not_waited_for(server):
    incoming = Incoming(BLOB.ref, memoryview(bytearray(BLOB.ref.nbytes)))
    server.begin(incoming)
    error = m.Error("blob_gone", "Gone.", about=BLOB.ref.digest.hex())
    assert hear(server, error) == [Abandoned(incoming, error)]
    assert server.incoming == {}
    assert hear(server, error) == [error]


def test_before_the_welcome_a_server_says_nothing_and_after_it_all(server):
    server.begin(Incoming(BLOB.ref, memoryview(bytearray(BLOB.ref.nbytes))))
    server.attach()
    server.begin(server.incoming[BLOB.ref.digest])
    server.emit(m.Accepted(0, "other"))
    server.emit(m.Progress(0, "other", "sampling"))
    server.emit(RESULT)
    server.serve(m.Need(BLOB.ref.digest), BLOB)
    assert said(server) == []
    server.send(m.Welcome(1, "s", "e"))
    server.resume()
    assert [type(message) for message in said(server)] == [m.Welcome, m.Result, m.Need]


def test_an_offers_digests_are_checked(server):
    assert hear(server, m.Offer(BLOB.ref), BLOB.part_digests) == [Offered(BLOB.ref, BLOB.part_digests)]
    assert hear(server, m.Offer(BLOB.ref)) == [Offered(BLOB.ref, b"")]
    for wrong in (bytes(32), BLOB.part_digests + bytes(32), b"x"):
        with pytest.raises(ProtocolError) as caught:
            hear(server, m.Offer(BLOB.ref), wrong)
        assert (caught.value.code, caught.value.about) == ("bad_offer", BLOB.ref.digest.hex())


def test_a_chunk_that_nobody_asked_for_is_refused(server):
    with pytest.raises(ProtocolError) as caught:
        hear(server, m.Chunk(bytes(32)), b"x")
    assert caught.value.code == "unexpected_chunk"


def test_what_only_servers_say_is_refused_by_a_server(server):
    for message in (m.Welcome(1, "s", "e"), m.Accepted(1, "j"), RESULT, m.Pong(1), m.LaneReady()):
        with pytest.raises(ProtocolError) as caught:
            hear(server, message)
        assert caught.value.code == "unexpected_message"


def test_an_old_socket_that_ends_does_not_detach_the_new_one(server):
    old = server.queue
    server.attach()
    assert not server.detach(old)
    assert server.queue is not None


def test_without_a_socket_nothing_is_said_and_ends_are_kept(server):
    server.detach(server.queue)
    server.emit(m.Progress(0, "j"))
    server.emit(m.Cancelled(0, "j"))
    assert greeted(server)[1:] == [m.Cancelled(2, "j")]
