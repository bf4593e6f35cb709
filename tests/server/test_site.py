"""The page that the server shows, and how it comes in without the token."""

from __future__ import annotations

import http.client
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus

from bridge_protocol import messages as m
from server import site
from server.app import App
from server.invitations import LIFETIME_SECONDS, MAX_CODES, Invitations
from tests.server.conftest import RunningServer
from tests.server.raw import Raw


def get(server, path="/", **headers):
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def invitation(client):
    return client.query("invitation")["code"]


def come(server, **options):
    client = Raw(server, authorize=False, hello=False, **{k: v for k, v in options.items() if k == "headers"})
    client.say(m.Hello([1], "page", **{k: v for k, v in options.items() if k != "headers"}))
    return client


# -- files


def test_the_page_is_served_with_headers_that_keep_others_out(server):
    response, body = get(server)
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert b"<title>" in body
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/../guard.py", "/..%2fguard.py", "//etc/passwd", "/index.html/x", "/server.json"])
def test_nothing_but_the_sites_own_files_is_served(server, path):
    assert get(server, path)[0].status == 404


def test_a_page_of_another_origin_gets_no_file_and_a_link_may_lead_here(server):
    script = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"}
    assert get(server, **script)[0].status == 403
    assert get(server, **{**script, "Sec_Fetch_Site": "same-site"})[0].status == 403
    frame = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    assert get(server, **frame)[0].status == 403
    assert get(server, **{**frame, "Sec_Fetch_Dest": "document"})[0].status == 200
    assert get(server, Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")[0].status == 200


def test_a_name_that_was_rebound_to_this_machine_gets_no_file(server):
    assert get(server, Host="evil.example:80")[0].status == 403


def test_no_file_of_the_site_speaks_of_another_machine():
    for path in site.FOLDER.rglob("*.html"):
        text = path.read_text("utf-8")
        assert "http://" not in text
        assert "https://" not in text


# -- invitations


def test_an_invitation_opens_a_session_and_is_good_once(server, client):
    code = invitation(client)
    with come(server, invitation=code) as page:
        welcome = page.hear(m.Welcome)
        assert welcome.token
        assert welcome.token != page.token
        assert welcome.shared_folder is None
    assert come(server, invitation=code).hear(m.Error).code == "bad_token"


def test_the_pages_own_token_brings_it_back_to_its_session_and_to_no_other(server, client):
    with come(server, invitation=invitation(client)) as page:
        welcome = page.hear(m.Welcome)
    with come(server, session=welcome.session, token=welcome.token) as again:
        assert again.hear(m.Welcome).session == welcome.session
    assert come(server, session=client.session_id, token=welcome.token).hear(m.Error).code == "bad_token"
    assert come(server, token=welcome.token).hear(m.Error).code == "bad_token"


def test_the_pages_own_token_outlives_the_server(server):
    with server.client() as client, come(server, invitation=invitation(client)) as page:
        welcome = page.hear(m.Welcome)
    server.restart()
    with come(server, session=welcome.session, token=welcome.token) as again:
        back = again.hear(m.Welcome)
    with come(server, session=back.session, token=back.token) as again:
        again.hear(m.Welcome)


def test_the_servers_own_page_may_open_a_socket_and_no_other_page(server, client):
    own = server.url.replace("ws", "http")
    with come(server, invitation=invitation(client), headers={"Origin": own}) as page:
        page.hear(m.Welcome)
    for origin in ("http://evil.example", "null", own.replace("http", "https"), own[:-1]):
        with pytest.raises(InvalidStatus):
            Raw(server, headers={"Origin": origin})


def test_an_origin_that_the_server_was_started_with_may_connect_with_the_token(server):
    server.restart(origins=("https://tool.example",))
    with Raw(server, headers={"Origin": "https://tool.example"}):
        pass


def test_an_invitation_ends_with_its_time_and_of_too_many_the_oldest_go():
    now = [0.0]
    invitations = Invitations("ab" * 32, lambda: now[0])
    codes = [invitations.invite() for _ in range(MAX_CODES + 1)]
    assert not invitations.accept(codes[0])
    assert invitations.accept(codes[1])
    assert not invitations.accept(codes[1])
    now[0] = LIFETIME_SECONDS + 1
    assert not invitations.accept(codes[2])
    assert not invitations.accept(None)
    assert not invitations.accept("")


# -- the port


def test_a_server_takes_a_free_port_where_the_usual_one_is_taken_and_only_if_it_may(server, settings, tmp_path):
    (tmp_path / "other").mkdir()
    port = urlsplit(server.url).port
    there = replace(settings, data=tmp_path / "data2", runtime=tmp_path / "other", port=port)
    other = RunningServer(replace(there, any_port=True))
    try:
        assert urlsplit(other.url).port not in (0, port)
    finally:
        other.stop()
    with pytest.raises(OSError, match="address already in use"):
        RunningServer(there)


def test_the_page_and_the_socket_have_one_port(server):
    assert isinstance(server.app, App)
    assert get(server)[0].status == 200
    with Raw(server):
        pass
