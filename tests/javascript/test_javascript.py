"""The tests in JavaScript, run by the same command as all others. They need Node.js and `npm ci`, once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge_protocol import typescript

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
VITEST = ROOT / "node_modules/vitest/vitest.mjs"
TSC = ROOT / "node_modules/typescript/bin/tsc"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not VITEST.exists(), reason="Node.js is not here, or npm ci was not run"
)


def run(*command):
    environment = {**os.environ, "BRUSHWIRE_PYTHON": sys.executable, "NO_COLOR": "1"}
    done = subprocess.run(
        ["node", *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    print(done.stdout)


def test_the_types_are_those_of_the_messages_and_jobs():
    file = ROOT / "plugins/photoshop/client/protocol.ts"
    assert file.read_text("utf-8") == typescript.source(), f"run python -m bridge_protocol.typescript {file}"


def test_the_lock_file_names_no_host():
    assert "resolved" not in (ROOT / "package-lock.json").read_text("utf-8")


@needs_node
def test_the_sources_have_no_wrong_types():
    run(TSC, "--noEmit")


@needs_node
@pytest.mark.parametrize("file", sorted(path.name for path in HERE.glob("*.test.ts")))
def test_what_javascript_tests(file, tmp_path):
    """Where Vitest skips a group of tests, its name says why, and the file counts as skipped."""
    report = tmp_path / "report.json"
    reporters = ("--reporter=default", "--reporter=json", f"--outputFile.json={report}")
    run(VITEST, "run", *reporters, f"tests/javascript/{file}")
    groups = json.loads(report.read_text("utf-8"))["testResults"]
    tests = [one for group in groups for one in group["assertionResults"]]
    assert tests, "the file has no tests"
    skipped = [one for one in tests if one["status"] != "passed"]
    if skipped:
        reasons = "; ".join(dict.fromkeys(" ".join(one["ancestorTitles"]) or one["title"] for one in skipped))
        pytest.skip(f"{len(skipped)} of {len(tests)} tests: {reasons}")
