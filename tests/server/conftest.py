"""A server in this process, on its own event loop's thread, with a painter of its own process."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest

from bridge_protocol.client import BridgeClient
from server.app import App
from server.settings import Settings


class RunningServer:
    """`App` in a thread; `restart` leaves and enters it again with the same folders."""

    def __init__(self, settings):
        self.settings = settings
        self.start()

    def start(self, **changes):
        self.settings = replace(self.settings, **changes)
        started = threading.Event()
        self.problem = None

        def live():
            async def main():
                self.loop = asyncio.get_running_loop()
                self.stopped = asyncio.Event()
                async with App(self.settings) as self.app:
                    started.set()
                    await self.stopped.wait()

            try:
                asyncio.run(main())
            except BaseException as error:  # noqa: BLE001 - handed to the test
                self.problem = error
            started.set()

        self.thread = threading.Thread(target=live, daemon=True)
        self.thread.start()
        assert started.wait(120)
        if self.problem:
            raise self.problem

    def stop(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stopped.set)
            self.thread.join(120)
        assert not self.thread.is_alive()
        if self.problem:
            raise self.problem

    def restart(self, **changes):
        self.stop()
        self.start(**changes)

    def client(self, **options):
        return BridgeClient("test", runtime=self.settings.runtime, **options)

    @property
    def url(self):
        return self.app.address.url


def small_settings(folder):
    """Of a server with the small painter; its runtime folder is made."""
    (folder / "run").mkdir(mode=0o700)
    return Settings(
        data=folder / "data",
        runtime=folder / "run",
        painter="tests.server.small_painter:make",
        grace=0.2,
        store_bytes=1 << 28,
    )


@pytest.fixture
def settings(tmp_path):
    return small_settings(tmp_path)


@pytest.fixture
def server(settings):
    running = RunningServer(settings)
    yield running
    running.stop()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client
