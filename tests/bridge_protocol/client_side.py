"""What the client's tests ask for, and how they wait for what they are told."""

from __future__ import annotations

import threading

from bridge_protocol import messages as m
from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient
from bridge_protocol.jobs import Generate
from tests.bridge_protocol.golden import pattern
from tests.bridge_protocol.tiny_server import TinyServer

LARGE = Blob.of(pattern(1024 * 512), shape=(512, 1024))
WAIT = 60.0


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
