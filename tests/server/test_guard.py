"""Every line of what a local server must withstand."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import struct
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus

from bridge_protocol import discovery
from bridge_protocol import messages as m
from bridge_protocol.answers import Answered
from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.client import BridgeClient, BridgeError
from bridge_protocol.codec import ProtocolError
from bridge_protocol.jobs import Generate
from server import guard, pictures
from server.app import App
from server.guard import Limits
from tests import tiny_models
from tests.server.raw import Raw

TOKEN = "5" * 64
HOSTS = guard.hosts(8000)


def refused(**headers):
    names = {"host": "Host", "origin": "Origin", "authorization": "Authorization"}
    given = Headers([("Host", "127.0.0.1:8000")] if "host" not in headers else [])
    for name, value in headers.items():
        for one in value if isinstance(value, list) else [value]:
            given[names[name]] = one
    refusal = guard.check_handshake(given, HOSTS, TOKEN)
    return None if refusal is None else int(refusal.status)


# -- 1: the token


def test_the_token_is_long_private_and_the_same_at_the_next_start(server, settings):
    token = discovery.token(settings.runtime)
    assert len(bytes.fromhex(token)) >= 32
    assert stat.S_IMODE((settings.runtime / "token").stat().st_mode) == 0o600
    server.restart()
    assert discovery.token(settings.runtime) == token


def test_a_wrong_token_is_refused_at_the_handshake():
    assert refused(authorization=f"Bearer {TOKEN}") is None
    assert refused(authorization=f"Bearer {TOKEN[:-1]}6") == 401
    assert refused(authorization="Bearer ") == 401
    assert refused(authorization=f"Bearer {TOKEN}\u00e9") == 401
    assert refused(authorization=[f"Bearer {TOKEN}", f"Bearer {TOKEN}"]) == 401


def test_a_client_with_a_wrong_token_is_told_so_at_once(server):
    client = BridgeClient("test", url=server.url, token="0" * 64)
    try:
        with pytest.raises(BridgeError) as caught:
            client.wait_connected(timeout=240)
    finally:
        client.close()
    assert caught.value.code == "handshake_refused"
    assert "token" in caught.value.remedy


def test_a_client_without_the_header_brings_the_token_in_its_first_message(server):
    with Raw(server, authorize=False, hello=False) as client:
        client.say(m.Hello([1], token=client.token))
        client.hear(m.Welcome)


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_a_client_without_the_token_is_told_so_and_closed(server, token):
    client = Raw(server, authorize=False, hello=False)
    client.say(m.Hello([1], token=token))
    assert client.hear_close() == 1008
    assert [error.code for error in client.heard] == ["bad_token"]


def test_a_client_that_says_nothing_is_closed(server):
    server.restart(limits=Limits(hello_seconds=0.05))
    client = Raw(server, authorize=False, hello=False)
    assert client.hear_close() == 1008
    assert [error.code for error in client.heard] == ["no_hello"]


def test_nothing_but_hello_is_heard_before_hello(server):
    client = Raw(server, authorize=False, hello=False)
    client.say(m.Query(1, "jobs"))
    assert client.hear_close() == 1008
    assert [error.code for error in client.heard] == ["no_hello"]


def test_the_token_is_in_no_log_no_error_and_no_address(server, settings, caplog):
    token = discovery.token(settings.runtime)
    with caplog.at_level(logging.INFO):
        with pytest.raises(InvalidStatus) as error:
            Raw(server, authorize=False, headers={"Authorization": f"Bearer {token}x"})
        with Raw(server) as client:
            client.submit(Generate(prompt="break", steps=1, width=64, height=64))
            failed = client.hear(m.Failed)
        server.restart()
    assert token not in caplog.text
    assert token not in str(failed)
    assert token not in error.value.response.body.decode()
    assert token not in (settings.runtime / "server.json").read_text()
    assert token not in " ".join(sys.argv)


# -- 2 and 3: Host and Origin


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST:8000"])
def test_the_hosts_own_names_are_let_in(host):
    assert refused(host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.com:8000", "127.0.0.1", "127.0.0.1:8001", "127.0.0.1.evil.com:8000", "0.0.0.0:8000", "127.1:8000", ""],
)
def test_any_other_name_is_refused_without_being_resolved(host):
    assert refused(host=host) == 403


def test_a_missing_or_double_host_is_refused():
    assert refused(host=[]) == 403
    assert refused(host=["127.0.0.1:8000", "127.0.0.1:8000"]) == 403


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://127.0.0.1:8000", "file://", ""])
def test_no_web_page_is_let_in(origin):
    assert refused(origin=origin) == 403


def test_an_allowed_origin_is_let_in_only_as_it_is_written():
    headers = Headers({"Host": "127.0.0.1:8000", "Origin": "https://studio.example"})
    assert guard.check_handshake(headers, HOSTS, TOKEN, frozenset({"https://studio.example"})) is None
    assert guard.check_handshake(headers, HOSTS, TOKEN, frozenset({"https://studio.example.com"})) is not None


def test_a_web_page_is_refused_by_the_live_server_with_a_remedy(server):
    with pytest.raises(InvalidStatus) as error:
        Raw(server, headers={"Origin": "http://evil.com"})
    assert error.value.response.status_code == 403
    assert b"Web pages" in error.value.response.body


def test_a_rebound_name_is_refused_by_the_live_server(server):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(InvalidStatus) as error:
        # As a browser would after a rebinding: the name is the page's, the address is ours.
        Raw(server, uri=f"ws://evil.com:{port}", address=("127.0.0.1", port))
    assert error.value.response.status_code == 403


# -- 4: other machines


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_an_address_that_others_can_reach_needs_tls(host):
    with pytest.raises(guard.ExposedWithoutTls, match="--certificate"):
        guard.check_address(host, tls=False)
    guard.check_address(host, tls=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_the_loopback_needs_none(host):
    guard.check_address(host, tls=False)


def test_the_server_refuses_to_start_exposed(settings):
    async def start():
        async with App(replace(settings, host="0.0.0.0")):
            pytest.fail("it started")

    with pytest.raises(guard.ExposedWithoutTls):
        asyncio.run(start())


# -- 5: sessions (the rest is in test_sessions.py)


def test_session_ids_cannot_be_guessed(server):
    ids = set()
    for _ in range(3):
        with Raw(server) as client:
            ids.add(client.welcome.session)
    assert len(ids) == 3
    assert all(len(bytes.fromhex(session)) >= 16 for session in ids)


def test_there_is_room_for_so_many_connections_and_no_more(server):
    server.restart(limits=Limits(connections=2))
    with Raw(server), Raw(server):
        with pytest.raises(InvalidStatus) as error:
            Raw(server)
        assert error.value.response.status_code == 503


def test_sessions_without_a_socket_make_room_for_new_ones(server):
    server.restart(limits=Limits(sessions=3))
    for _ in range(10):
        Raw(server).close()
    with Raw(server) as client:
        client.say(m.Query(1, "status"))
        assert client.hear(Answered).data["sessions"] <= 3


# -- 6: sizes


def check(job, limits=None):
    refs = [blob.ref if isinstance(blob, Blob) else blob for blob in (job.image, job.mask) if blob is not None]
    guard.check_job(job, refs, limits or Limits(), "id")


def ref(height, width, channels=4, dtype="uint8"):
    return BlobRef(b"\0" * 32, (height, width, channels), dtype, "srgb")


def test_a_job_within_the_limits_passes():
    check(Generate(width=4096, height=4096, batch=2))
    check(Generate(image=ref(8192, 8192)))


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (Generate(width=8192, height=8192, batch=2), "batch"),
        (Generate(width=4096, height=4096, batch=16), "batch"),
        (Generate(image=ref(8192, 8200)), "image"),
        (Generate(image=ref(8192, 8192), batch=2), "batch"),
    ],
)
def test_pictures_beyond_the_limits_are_refused_with_field_value_range_and_remedy(job, field):
    with pytest.raises(ProtocolError) as error:
        check(job)
    assert (error.value.code, error.value.field) == ("too_large", field)
    assert str(1 << 26) in error.value.sentence
    assert error.value.remedy


def test_arrays_beyond_the_limits_are_refused():
    with pytest.raises(ProtocolError, match="bytes of arrays"):
        check(Generate(image=ref(1024, 1024)), Limits(job_bytes=1 << 20))


def test_too_many_waiting_jobs_are_refused_even_when_they_come_all_at_once(server, tmp_path):
    server.restart(limits=Limits(waiting_jobs=3))
    job = Generate(prompt=f"wait-for {tmp_path / 'gate'}", steps=1, width=64, height=64)
    with Raw(server) as client:
        for _ in range(10):
            client.submit(job)
        codes = [client.hear(m.Accepted, m.Error) for _ in range(10)]
        full = [error for error in codes if isinstance(error, m.Error)]
        assert {error.code for error in full} == {"queue_full"}
        assert 6 <= len(full) <= 7  # one may be running already
        (tmp_path / "gate").touch()


def test_uploads_beyond_the_limit_are_refused_before_anything_is_allocated(server):
    server.restart(limits=Limits(incoming_bytes=1 << 20))
    huge = BlobRef(b"\1" * 32, (1 << 30,))
    with Raw(server) as client:
        client.say(m.Offer(huge))
        error = client.hear(m.Error)
        assert (error.code, error.about) == ("too_much_incoming", huge.digest.hex())


# -- 7: encoded images, which the command line alone reads


def test_only_listed_formats_are_decoded(tmp_path):
    gif = tmp_path / "picture.png"
    gif.write_bytes(b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00;")
    with pytest.raises(ValueError, match="PNG, JPEG"):
        pictures.read_picture(gif, "image")


def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = tmp_path / "bomb.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0))
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(ValueError, match=r"10000×10000 pixels"):
        pictures.read_picture(bomb, "image")


def test_an_array_file_with_a_pickle_is_refused(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="npy file"):
        pictures.read_array(tmp_path / "evil.npy", "image")


# -- 8 and 9 are the engine's: tests/engine. What reaches clients is this:


def test_clients_never_learn_a_path_of_a_model(server):
    folder = server.settings.data.parent / "secret-models"
    tiny_models.sd(folder / "sd", seed=0)
    (folder / "evil.ckpt").write_bytes(b"pickle")
    server.restart(models=(folder,))
    with Raw(server) as client:
        client.say(m.Query(1, "models"))
        listed = client.hear(Answered).data
    assert "secret-models" not in json.dumps(listed)
    assert {model["kind"] for model in listed} >= {"checkpoint", "refused"}
    assert any("convert" in model.get("remedy", "").lower() for model in listed)


# -- 10: errors


def test_what_broke_is_told_without_a_traceback_or_a_path(server):
    with Raw(server) as client:
        client.submit(Generate(prompt="break", steps=1, width=64, height=64))
        failed = client.hear(m.Failed)
    assert failed.code == "internal_error"
    assert "ZeroDivisionError" in failed.sentence
    assert "/a/secret/path" not in str(failed)
    assert "Traceback" not in str(failed)


def test_what_the_engine_says_reaches_the_client_as_it_is(server):
    with Raw(server) as client:
        client.submit(Generate(prompt="memory", steps=1, width=64, height=64))
        failed = client.hear(m.Failed)
    assert (failed.code, failed.sentence, failed.remedy) == ("out_of_memory", "It does not fit.", "Take 512×512.")
