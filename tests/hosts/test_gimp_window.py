"""The studio in real GIMP under a virtual display, with the real server and the starter model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.hosts import hosts
from tests.hosts.gimp_host import PROGRAM, GimpHost

pytestmark = [
    pytest.mark.skipif(bool(hosts.missing(PROGRAM)), reason=hosts.missing(PROGRAM)),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def screen(shared_folder):
    with hosts.display(71, shared_folder / "screen", "1700x860") as screen:
        yield screen


@pytest.fixture(scope="module")
def gimp(shared_folder, starter_server):
    return GimpHost(shared_folder / "gimp", starter_server)


def test_the_studio_paints_fills_and_keeps_what_it_painted(gimp, screen, shared_folder):
    pictures = hosts.PICTURES / "gimp"
    process, report = gimp.start_window(
        screen,
        "studio",
        folder=str(shared_folder),
        words=["a red brick wall", "a blue sphere"],
        size=[256, 192],
        steps=8,
    )  # fmt: skip
    try:
        for name in ("connected", "painting", "finished"):
            ready = shared_folder / f"{name}.ready"
            hosts.wait_until(lambda ready=ready: ready.exists() or report.exists(), 300, f"{name} has not come")
            assert ready.exists(), hosts.report_of(report, process, 1)
            screen.screenshot(pictures / f"{name}.png")
            (shared_folder / f"{name}.seen").touch()
        found = hosts.report_of(report, process, 300)
    finally:
        hosts.kill(process)
    assert "error" not in found, found["error"]
    found = found["value"]
    assert found["painting"] == ["painting", True]
    assert (found["stage"], found["fill"]) == ("finished", "finished")
    assert found["layers"] == ["Generated: a red brick wall", "painted by hand"]
    assert found["again"]["prompt"] == "a red brick wall"
    assert found["inserted"] == [True, 4]
    stage, told, placed, rescued = found["late"]
    assert (stage, placed, rescued) == ("finished", False, True)
    assert "was closed while it was being painted" in told
    shown = np.asarray(Image.open(pictures / "finished.png").convert("RGB"))
    assert shown.std() > 20
