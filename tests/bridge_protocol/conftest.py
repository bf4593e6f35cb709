"""A server and a client for the client's tests."""

from __future__ import annotations

import pytest

from bridge_protocol import machine
from bridge_protocol.client import BridgeClient
from tests.bridge_protocol.tiny_server import tiny_server


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("BRUSHWIRE_RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(machine, "shared_root", lambda: machine.private_folder(tmp_path / "shared"))
    return tmp_path / "run"


@pytest.fixture
def server(runtime):
    with tiny_server() as running:
        yield running


@pytest.fixture
def client(server):
    with BridgeClient("test", url=server.url) as connected:
        yield connected
