"""Each plugin's installable archive: ``python -m plugins.pack blender|krita|gimp|photoshop -o FOLDER``.

An archive holds one package in which everything that the plugin needs lies, with relative imports:

    common/ bridge_protocol/ msgpack/ websockets/   what every plugin carries
    depth3d/                                        for Blender: those of its files that the plugin asks for
    HOST/                                           plugins/HOST

and around it what the host wants to find, from plugins/HOST/archive: ``package`` there stands for the package itself
(its ``__init__.py`` is the package's), everything else keeps its place; ``@VERSION@`` becomes the project's version.
"""

from __future__ import annotations

import argparse
import json
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from plugins import vendored
from plugins.imports import imported_modules, made_relative

ROOT = Path(__file__).resolve().parent.parent
#: Of the wire, what makes reference pages is not needed in a host.
_NOT_CARRIED = {"bridge_protocol/reference.py", "bridge_protocol/typescript.py"}
#: Every file in an archive has this time, so that the same sources make the same archive.
_TIME = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Layout:
    """Where things lie in a host's archive.

    package: the package's folder, empty for the archive's root. suffix: of the archive's name. executable: which file
    the host runs. carries: whether it is Python, and so carries what every plugin does.
    """

    package: str
    suffix: str = ".zip"
    executable: str = ""
    carries: bool = True
    depth3d: bool = field(default=False)


LAYOUTS = {
    "gimp": Layout("brushwire/brushwire_plugin", executable="brushwire/brushwire.py"),
    "krita": Layout("brushwire"),
    "blender": Layout("", depth3d=True),
    "photoshop": Layout("", suffix=".ccx", carries=False),
}


def version() -> str:
    """The project's, as it is installed."""
    try:
        return metadata.version("brushwire")
    except metadata.PackageNotFoundError:
        return "0"


def licence() -> bytes:
    """The project's licence, which lies beside the sources, or with what pip knows of an installed project."""
    beside = ROOT / "LICENSE"
    if beside.is_file():
        return beside.read_bytes()
    return next(file.read_binary() for file in metadata.files("brushwire") or () if file.name == "LICENSE")


def files_of(host: str, cache: Path | None = None) -> dict[str, bytes]:
    """Every file of a host's archive by its path. Raises VendoringFailed, imports.UnpackableImport."""
    layout = LAYOUTS[host]
    outside = {name: data.replace(b"@VERSION@", version().encode()) for name, data in
               _files(ROOT / "plugins" / host / "archive")}  # fmt: skip
    if not layout.carries:
        return {**outside, "LICENSE": licence()}
    package = {name.removeprefix("package/"): data for name, data in outside.items() if name.startswith("package/")}
    package.setdefault("__init__.py", b"")
    package |= {f"{host}/{name}": data for name, data in _files(ROOT / "plugins" / host) if not _is_archive(name)}
    package |= {f"common/{name}": data for name, data in _files(ROOT / "plugins" / "common")}
    package |= {f"bridge_protocol/{name}": data for name, data in _files(ROOT / "bridge_protocol")
                if name.endswith(".py") and f"bridge_protocol/{name}" not in _NOT_CARRIED}  # fmt: skip
    if layout.depth3d:
        package |= _geometry(package, host)
    inside = {"plugins.common": "common", f"plugins.{host}": host, "bridge_protocol": "bridge_protocol",
              "depth3d": "depth3d", **{wheel.name: wheel.name for wheel in vendored.WHEELS}}  # fmt: skip
    package = {
        name: made_relative(data.decode("utf-8"), name, inside).encode() if name.endswith(".py") else data
        for name, data in package.items()
    }
    for wheel in vendored.WHEELS:
        package |= vendored.sources(wheel, cache)
    package["LICENSE"] = licence()
    package["version.json"] = json.dumps({"version": version()}).encode()
    prefix = f"{layout.package}/" if layout.package else ""
    around = {name: data for name, data in outside.items() if not name.startswith("package/")}
    return {**{prefix + name: data for name, data in package.items()}, **around}


def pack(host: str, folder: Path, cache: Path | None = None) -> Path:
    """Write a host's archive into a folder and return its path. Raises what `files_of` does."""
    layout = LAYOUTS[host]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"brushwire-{host}-{version()}{layout.suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(files_of(host, cache).items()):
            info = zipfile.ZipInfo(name, _TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if name == layout.executable else 0o644
            info.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(info, data)
    return path


def unpack(archive: Path, folder: Path) -> None:
    """Lay an archive's files into a folder, with the rights that the archive gives them."""
    with zipfile.ZipFile(archive) as files:
        for info in files.infolist():
            target = Path(files.extract(info, folder))
            target.chmod(stat.S_IMODE(info.external_attr >> 16) or 0o644)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and "__pycache__" not in name and not path.name.startswith("."):
            yield name, path.read_bytes()


def _is_archive(name: str) -> bool:
    return name.startswith("archive/")


def _geometry(package: Mapping[str, bytes], host: str) -> dict[str, bytes]:
    """The files of depth3d that a plugin's own files ask for, with all that these ask for."""
    waiting: list[str] = []
    for own, data in package.items():
        if own.endswith(".py") and own.startswith(f"{host}/"):
            waiting += imported_modules(data.decode("utf-8"), "depth3d", inside=False)
    found: dict[str, bytes] = {}
    while waiting:
        name = waiting.pop()
        path = ROOT / "depth3d" / f"{name}.py"
        if f"depth3d/{name}.py" not in found and path.is_file():
            found[f"depth3d/{name}.py"] = path.read_bytes()
            waiting += imported_modules(path.read_text("utf-8"), "depth3d", inside=True)
    if found:
        found["depth3d/__init__.py"] = (ROOT / "depth3d" / "__init__.py").read_bytes()
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the plugins' installable archives.")
    parser.add_argument("host", nargs="+", choices=sorted(LAYOUTS), help="which host's")
    parser.add_argument("-o", "--out", type=Path, default=Path("dist"), help="where they go")
    arguments = parser.parse_args()
    try:
        for host in arguments.host:
            path = pack(host, arguments.out)
            print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)")
    except vendored.VendoringFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
