"""For all tests."""

import os

# The tests' networks are tiny: a second thread of torch's costs more than it brings, and pytest-xdist uses the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
