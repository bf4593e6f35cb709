"""Puts a plugin where its host looks for it, and enables it: ``brushwire plugins install HOST``.

Native installations and Flatpaks are found by their folders; AppImages use the native ones.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from plugins import pack
from plugins.common.files import read_json, write_json
from plugins.places import FLATPAKS, Place, places
from plugins.vendored import VendoringFailed


class NotInstalled(Exception):
    """The plugin could not be put in place. remedy: what to do."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.remedy = remedy


@dataclass(frozen=True)
class Installed:
    """Where a plugin was put, and what its user must still do, if anything."""

    where: str
    then: str = ""


def install(host: str, found: list[Place], command: str | None = None) -> Iterator[Installed]:
    """Install a host's plugin into every place. Raises NotInstalled, VendoringFailed.

    command: the `brushwire` command that the plugin starts the server with.
    """
    if not found and host != "photoshop":
        remedy = f"Start {host} once, so that its folders are there, or name its folder with --folder."
        raise NotInstalled(f"No {host} was found.", remedy)
    with tempfile.TemporaryDirectory() as temporary:
        archive = pack.pack(host, Path(temporary))
        if host == "photoshop":
            kept = Path.cwd() / archive.name
            shutil.copyfile(archive, kept)
            yield Installed(str(kept), "Open this file: Creative Cloud installs it.")
            return
        for place in found:
            made = _INSTALLERS[host](archive, place)
            _settings(host, place, command)
            yield made


def _gimp(archive: Path, place: Place) -> Installed:
    folder = place.folder / "plug-ins"
    _replace(folder / "brushwire", archive, "brushwire")
    return Installed(str(folder / "brushwire"), "Restart GIMP; the plug-in is in the menu Filters → Brushwire.")


def _krita(archive: Path, place: Place) -> Installed:
    folder = place.folder / "pykrita"
    _replace(folder / "brushwire", archive, "brushwire")
    with tempfile.TemporaryDirectory() as temporary:
        pack.unpack(archive, Path(temporary))
        for path in Path(temporary).glob("*.desktop"):
            shutil.copyfile(path, folder / path.name)
    assert place.config is not None
    place.config.parent.mkdir(parents=True, exist_ok=True)
    text = place.config.read_text("utf-8") if place.config.is_file() else ""
    place.config.write_text(enabled_in(text), "utf-8")
    return Installed(str(folder / "brushwire"), "Restart Krita; the docker is in Settings → Dockers → Brushwire.")


def _blender(archive: Path, place: Place) -> Installed:
    if place.command is None:
        raise NotInstalled(
            "Blender's command was not found.",
            f"In Blender: Preferences → Add-ons → Install from Disk → {archive.name}.",
        )
    asked = [*place.command, "--command", "extension", "install-file", "-r", "user_default", "-e", str(archive)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip()
        raise NotInstalled(f"Blender did not take the extension: {reason}", "Blender 4.2 or later is needed.")
    return Installed(" ".join(place.command), "The panel is in the 3D view's sidebar (N), tab Brushwire.")


_INSTALLERS: dict[str, Callable[[Path, Place], Installed]] = {"gimp": _gimp, "krita": _krita, "blender": _blender}


def enabled_in(kritarc: str) -> str:
    """Krita's configuration with the plugin enabled; everything else as it was."""
    lines = [line for line in kritarc.splitlines() if not line.startswith("enable_brushwire=")]
    if "[python]" not in lines:
        lines += ["[python]"] if not lines else ["", "[python]"]
    lines.insert(lines.index("[python]") + 1, "enable_brushwire=true")
    return "\n".join(lines) + "\n"


def _replace(target: Path, archive: Path, inner: str) -> None:
    """The archive's folder in place of an older one; a plugin is there whole, or the old one is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".brushwire-") as temporary:
        pack.unpack(archive, Path(temporary))
        if target.exists():
            target.replace(Path(temporary) / "old")
        (Path(temporary) / inner).replace(target)


def _settings(host: str, place: Place, command: str | None) -> None:
    """What the plugin must know of this installation. In a Flatpak it cannot start the server, but it can reach it."""
    path = place.data / host / "settings.json"
    settings = read_json(path)
    if place.flatpak:
        settings["start_server"] = False
        if shutil.which("flatpak"):
            shared = ["--filesystem=xdg-run/brushwire", "--share=network", "--device=shm"]
            subprocess.run(["flatpak", "override", "--user", *shared, FLATPAKS[host]], check=True)
    elif command:
        settings["server_command"] = command
    write_json(path, settings)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="brushwire plugins install", description="Install a plugin into its host.")
    parser.add_argument("host", choices=sorted(pack.LAYOUTS))
    parser.add_argument("--folder", type=Path, help="the host's own folder, where it is not found by itself")
    arguments = parser.parse_args()
    beside = Path(sys.executable).with_name("brushwire" + (".exe" if os.name == "nt" else ""))
    command = str(beside) if beside.exists() else shutil.which("brushwire")
    try:
        for made in install(arguments.host, places(arguments.host, arguments.folder), command):
            print(f"{made.where}\n{made.then}".strip())
    except VendoringFailed as error:
        print(error, file=sys.stderr)
        return 1
    except NotInstalled as error:
        print(f"{error}\n{error.remedy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
