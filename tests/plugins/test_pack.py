"""What goes into a host: one package that imports nothing from outside, on every Python that hosts have."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from plugins import pack, vendored
from plugins.imports import UnpackableImport, external_imports, imported_modules, made_relative
from tests.hosts import hosts

#: What each host's plugin may import besides the standard library.
ALLOWED = {
    "gimp": {"gi"},
    "krita": {"PyQt5", "PyQt6", "krita"},
    "blender": {"bpy", "bpy_extras", "bmesh", "gpu", "gpu_extras", "mathutils", "addon_utils", "numpy"},
}
#: What msgpack and websockets ask for only where it is there, and what is on no Python of today.
OPTIONAL = {"__pypy__", "python_socks", "_cmsgpack", "speedups", "_typeshed"}

HOSTS = [host for host in ALLOWED if (pack.ROOT / "plugins" / host).is_dir()]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    pack.unpack(pack.pack("gimp", folder / "archive"), folder)
    return folder


@pytest.mark.parametrize("host", HOSTS)
def test_a_plugin_imports_nothing_from_outside_and_is_small(host, tmp_path):
    for name, data in pack.files_of(host).items():
        if name.endswith(".py"):
            package = pack.LAYOUTS[host].package.rpartition("/")[2]
            outside = external_imports(data.decode()) - ALLOWED[host] - OPTIONAL - {package}
            assert not outside, f"{name} imports {outside}"
            ast.parse(data, feature_version=(3, 10))
    assert pack.pack(host, tmp_path).stat().st_size < 1_000_000


def test_the_same_sources_make_the_same_archive(tmp_path):
    first, second = (pack.pack("gimp", tmp_path / name).read_bytes() for name in "ab")
    assert first == second


def test_what_the_host_runs_is_executable(unpacked):
    assert stat.S_IMODE((unpacked / "brushwire" / "brushwire.py").stat().st_mode) == 0o755
    assert stat.S_IMODE((unpacked / "brushwire" / "brushwire_plugin" / "LICENSE").stat().st_mode) == 0o644


_JOB = """
import pathlib, sys, threading, time
sys.path.insert(0, sys.argv[1])
from other_name.common.studio import Studio
woken = threading.Event()
studio = Studio("x", "x", folder=pathlib.Path(sys.argv[2]), runtime=pathlib.Path(sys.argv[3]), wake=woken.set,
                start_server=False)
form = studio.form("Generate")
for name, value in dict(prompt="a boat", width=64, height=64, steps=3, seed=7).items():
    form[name] = value
task = studio.submit(form.job, form)
end = time.monotonic() + 60
while not task.ended and time.monotonic() < end:
    woken.wait(0.1)
    woken.clear()
    studio.pump()
assert task.stage == "finished", task.sentence
assert len(task.result.blobs[0].data) == 64 * 64 * 3
studio.close()
leaked = {"msgpack", "websockets", "bridge_protocol", "plugins"} & set(sys.modules)
assert not leaked, leaked
print("done on", sys.version_info[:2])
"""


def pythons():
    """This Python, and every other one of the machine that hosts may have, the hosts' own root included."""
    found = [(sys.executable,)]
    for version in ("3.10", "3.12", "3.13"):
        kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        found += [(str(path),) for path in (*kept, shutil.which(f"python{version}")) if path and _runs(path)][:1]
    if (hosts.ROOT / ".installed").is_file() and os.getuid() == 0:
        found.append((str(hosts.ENTER), "python3"))
    return found


def _runs(python):
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("python", pythons(), ids=lambda command: Path(command[-1]).name)
def test_a_job_is_done_by_an_isolated_python_from_the_unpacked_package(server, unpacked, tmp_path, python):
    shutil.copytree(unpacked / "brushwire" / "brushwire_plugin", tmp_path / "lib" / "other_name")
    script = tmp_path / "job.py"
    script.write_text(_JOB)
    arguments = (tmp_path / "lib", tmp_path / "files", server.settings.runtime)
    done = subprocess.run(
        [*python, "-S", "-I", str(script), *map(str, arguments)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done on" in done.stdout


INSIDE = {"plugins.common": "common", "bridge_protocol": "bridge_protocol", "msgpack": "msgpack"}


def test_imports_are_brought_inside_wherever_they_stand():
    source = textwrap.dedent(
        """
        import msgpack
        import os, sys
        from bridge_protocol import blobs
        from plugins.common.studio import (
            Studio,
        )
        from . import canvas
        if True:
            def f():
                from msgpack.ext import ExtType
        text = "from msgpack import nothing"
        """
    )
    made = made_relative(source, "gimp/deep/main.py", INSIDE)
    assert "from ... import msgpack\n" in made
    assert "import os, sys\n" in made
    assert "from ...bridge_protocol import blobs\n" in made
    assert "from ...common.studio import (\n" in made
    assert "from . import canvas\n" in made
    assert "        from ...msgpack.ext import ExtType\n" in made
    assert '"from msgpack import nothing"' in made


@pytest.mark.parametrize("source", ["import bridge_protocol.client", "import os, msgpack"])
def test_an_import_that_cannot_be_brought_inside_is_refused(source):
    with pytest.raises(UnpackableImport):
        made_relative(source, "gimp/main.py", INSIDE)


def test_the_modules_that_a_plugin_asks_for_are_found():
    source = "from depth3d.camera import Camera\nfrom depth3d import bake, pose\nfrom .depth import x\nimport numpy"
    assert sorted(imported_modules(source, "depth3d", inside=False)) == ["bake", "camera", "pose"]
    assert sorted(imported_modules(source, "depth3d", inside=True)) == ["bake", "camera", "depth", "pose"]


def test_a_wheel_with_another_content_is_not_taken(tmp_path):
    wheel = vendored.WHEELS[1]
    other = vendored.Wheel(wheel.name, wheel.version, "0" * 64, wheel.platform)
    with pytest.raises(vendored.VendoringFailed, match="not the file that was reviewed"):
        vendored.sources(other, tmp_path)
    assert not list(tmp_path.rglob("*.whl"))
