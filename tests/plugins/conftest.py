"""Studios on a real server with the small painter."""

from __future__ import annotations

import threading
import time

import pytest

from plugins.common.studio import Studio
from tests.server.conftest import RunningServer, small_settings


class Host:
    """What a host is for a studio: a main thread that pumps when it is woken."""

    def __init__(self, folder, runtime, **options):
        self.woken = threading.Event()
        self.seen = []
        self.studio = Studio(
            "tests", "tests", folder=folder, runtime=runtime, wake=self.woken.set, start_server=False, **options
        )
        self.studio.on_task.append(lambda task: self.seen.append(task.stage))

    def pump_until(self, condition, timeout=60):
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, self.studio.state
            self.woken.wait(0.05)
            self.woken.clear()
            self.studio.pump()

    def connect(self):
        self.pump_until(lambda: self.studio.state.connected)
        return self

    def form(self, **values):
        form = self.studio.form("Generate")
        for name, value in {"width": 64, "height": 64, "steps": 1, "seed": 1, **values}.items():
            form[name] = value
        return form

    def submit(self, hosted=None, *, options=None, **values):
        form = self.form(**values)
        return self.studio.submit(lambda: form.job(hosted), form, **(options or {}))

    def run(self, *args, **kwargs):
        task = self.submit(*args, **kwargs)
        self.pump_until(lambda: task.ended)
        return task


@pytest.fixture
def settings(tmp_path):
    return small_settings(tmp_path)


@pytest.fixture
def server(settings):
    running = RunningServer(settings)
    yield running
    running.stop()


@pytest.fixture
def make_host(tmp_path, settings):
    hosts = []

    def make(**options):
        hosts.append(Host(tmp_path / "plugins", settings.runtime, **options))
        return hosts[-1]

    yield make
    for host in hosts:
        host.studio.close()


@pytest.fixture
def host(server, make_host):
    return make_host().connect()
