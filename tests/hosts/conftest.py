"""Hosts live as long as the module that tests them; where they are not installed, the reason is printed."""

from __future__ import annotations

import pytest

from tests.hosts.krita_host import ROOT, Display


@pytest.fixture(scope="session")
def krita_display(tmp_path_factory):
    if not (ROOT / ".installed").exists():
        pytest.skip(f"Krita is not installed in {ROOT}: run tests/hosts/install.sh")
    display = Display(tmp_path_factory.mktemp("display") / "x.log")
    yield display
    display.close()
