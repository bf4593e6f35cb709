"""Real hosts, and servers for them: in a process of their own, with the small painter or with the starter model.

Hosts live as long as the module that tests them; where they are not installed, the reason is printed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from server.settings import Settings
from tests.hosts.krita_host import ROOT, Display
from tests.server.process import ServerProcess
from tests.shipped import WEIGHTS


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


@pytest.fixture(scope="session")
def krita_display(tmp_path_factory):
    if not (ROOT / ".installed").exists():
        pytest.skip(f"Krita is not installed in {ROOT}: run tests/hosts/install.sh")
    display = Display(tmp_path_factory.mktemp("display") / "x.log")
    yield display
    display.close()
