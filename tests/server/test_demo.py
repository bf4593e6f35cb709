"""The demo and the doctor, each with a server of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from rich.console import Console

from bridge_protocol.client import BridgeError
from server import demo, doctor
from server.temporary import TemporaryServer
from tests import tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.sd(folder / "sd", seed=0)
    tiny_models.controlnet(folder / "sd", folder / "sd-controlnet-depth", seed=1)
    return folder


def test_the_demo_paints_every_part_and_a_sheet_and_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "STEPS", 1)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    said = io.StringIO()
    assert demo.run(Console(file=said, width=120), tmp_path / "out", []) == 0
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert {"contact-sheet.png", "pictures-moss-in-a-circle.png"} <= names
    sheet = Image.open(tmp_path / "out" / "contact-sheet.png")
    assert sheet.width > 6 * demo.SIZE
    for part in ("text to picture", "picture to picture", "into a mask", "seamless", "by depth"):
        assert part in said.getvalue()
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_the_sheet_shows_every_picture_in_its_place():
    rows = [
        ("row", [("a", np.full((64, 64, 3), 200, np.uint8)), ("b", np.full((demo.SIZE, demo.SIZE, 3), 90, np.uint8))])
    ]
    sheet = demo.contact_sheet(rows)
    assert sheet[16 + 100, 16 + 100].tolist() == [200] * 3
    assert sheet[16 + 100, 32 + demo.SIZE + 100].tolist() == [90] * 3


def test_the_doctor_tells_versions_places_and_the_timings_of_a_job_but_not_the_token(models):
    said = io.StringIO()
    doctor.run(Console(file=said, width=200), [models])
    for words in ("torch", "diffusers", "token", "models", "first, with the loading", "second, warm", "sampling"):
        assert words in said.getvalue()
    token = doctor.runtime_folder() / "token"
    assert not token.exists() or token.read_text() not in said.getvalue()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM that a program hears")
def test_a_temporary_server_ends_with_a_program_that_is_terminated():
    program = """if True:
        from server.temporary import TemporaryServer
        with TemporaryServer([]) as server:
            print(server.process.pid, server.runtime, flush=True)
            input()
    """
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asked:
        pid, runtime = asked.stdout.readline().decode().split()
        assert psutil.pid_exists(int(pid))
        asked.terminate()
        assert asked.wait(60) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(int(pid))
    assert not Path(runtime).parent.exists()


def test_a_server_that_does_not_start_is_told_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "websockets.py").write_text("raise RuntimeError('broken on purpose')")
    with pytest.raises(BridgeError) as error, TemporaryServer([]):
        pass
    assert error.value.code == "no_server"
