"""Real hosts, and servers for them: in a process of their own, with the small painter or with the starter model.

Hosts live as long as the module that tests them; where they are not installed, the reason is printed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from PIL import Image

from plugins import pack
from server.settings import Settings
from tests.hosts import hosts
from tests.hosts.krita.docker import PREPARE, install
from tests.hosts.krita_host import ROOT, Display
from tests.server.process import ServerProcess
from tests.shipped import WEIGHTS


def pytest_collection_modifyitems(items):
    """A host's start, and all that its window is asked, count for the first test that looks at it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="module")
def shared_folder():
    """A folder under /tmp, which hosts see at the same place."""
    folder = Path(tempfile.mkdtemp(prefix="brushwire-hosts-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _server(folder: Path, painter: str, models: tuple[Path, ...] = ()) -> ServerProcess:
    (folder / "run").mkdir(mode=0o700, parents=True)
    settings = Settings(
        data=folder / "data", runtime=folder / "run", painter=painter, store_bytes=1 << 30, models=models
    )
    return ServerProcess(settings, folder).start()


@pytest.fixture(scope="module")
def small_server(shared_folder):
    """A server whose pictures cost nothing; see tests/server/small_painter.py for what its prompts do."""
    process = _server(shared_folder / "small", "tests.server.small_painter:make")
    yield process
    process.stop()


@pytest.fixture(scope="module")
def starter_server(shared_folder):
    """A server with the real engine, the model that ships with the project, and what reads poses where it is there."""
    models = shared_folder / "models"
    models.mkdir()
    for wheel in WEIGHTS.glob("mediapipe-*.whl"):
        shutil.copy(wheel, models)
    process = _server(shared_folder / "starter", Settings.painter, (models,))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def blender(shared_folder, small_server):
    """Runs Blender with the extension in place: blender(*arguments) → output, where 0 is its end."""
    reason = hosts.missing("blender")
    if reason:
        pytest.skip(reason)
    folder = shared_folder / "blender"
    folder.mkdir()
    archive = pack.pack("blender", folder)
    env = hosts.environment(
        folder,
        BRUSHWIRE_HOSTS=str(hosts.ROOT),
        BRUSHWIRE_RUNTIME=str(small_server.settings.runtime),
        BRUSHWIRE_PLUGINS=str(folder / "plugins"),
        BLENDER_USER_RESOURCES=str(folder / "resources"),
    )
    assert archive.stat().st_size < 1_000_000
    checked = hosts.run("blender", "--command", "extension", "validate", archive, env=env)
    assert checked.returncode == 0, checked.stdout
    installing = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", archive)
    installed = hosts.run(*installing, env=env)
    assert installed.returncode == 0, installed.stdout

    def run(*arguments, expect=0, **more):
        done = hosts.run("blender", "-b", *arguments, env={**env, **more}, timeout=200)
        assert done.returncode == expect, done.stdout[-6000:]
        return done.stdout

    run.env, run.folder = env, folder
    return run


@pytest.fixture(scope="module")
def brushwire(blender):
    """Runs `brushwire blender` on a file: brushwire(*arguments) → its end, whatever it is."""
    wrapper = blender.folder / "blender.sh"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(hosts.words("blender"))} "$@"\n')
    wrapper.chmod(0o755)

    def run(*arguments):
        command = [sys.executable, "-m", "server.cli", "blender", *map(str, arguments), "--blender", str(wrapper)]
        env = {**os.environ, **blender.env, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture(scope="session")
def krita_display(tmp_path_factory):
    if not (ROOT / ".installed").exists():
        pytest.skip(f"Krita is not installed in {ROOT}: run tests/hosts/install.sh")
    display = Display(tmp_path_factory.mktemp("display") / "x.log")
    yield display
    display.close()


@pytest.fixture(scope="module")
def echo_server(shared_folder):
    """A server with the real engine and words that give back what was sent; see krita/echo_painter.py."""
    process = _server(shared_folder / "echo", "tests.hosts.krita.echo_painter:make")
    yield process
    process.stop()


@pytest.fixture(scope="module")
def krita(krita_display, shared_folder, echo_server):
    """A Krita with the packed plugin, connected, and the words of `PREPARE`."""
    host = install(shared_folder / "krita", shared_folder / "echo")
    host.start()
    host.run(PREPARE)
    host.until("d.studio.state.connected")
    yield host
    host.close()


@pytest.fixture
def picture(krita, tmp_path):
    """Saves a screenshot under a name, for the docs where that is asked for, else with the test's own files."""
    wanted = os.environ.get("BRUSHWIRE_PICTURES")

    def save(name: str) -> Path:
        folder = Path(wanted) if wanted else tmp_path
        krita.run("arrange()")
        time.sleep(0.3)  # for Krita's canvas to be drawn; nobody tells when it is
        path = krita.screenshot(folder / f"krita-{name}.png")
        if wanted:  # a page's pictures need no more colours than these, and a repository no larger files
            Image.open(path).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, kmeans=2).save(path, optimize=True)
        return path

    return save
