"""Where hosts look for plugins: native installations and Flatpaks, on Linux, macOS and Windows."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from plugins.common.files import plugins_folder

FLATPAKS = {"gimp": "org.gimp.GIMP", "krita": "org.kde.krita", "blender": "org.blender.Blender"}


@dataclass(frozen=True)
class Place:
    """One installation of a host.

    folder: GIMP's configuration folder, or Krita's of resources. data: where the plugin keeps its own files. config:
    Krita's configuration file. command: runs the host. flatpak: whether it lives in a sandbox.
    """

    folder: Path
    data: Path
    config: Path | None = None
    command: tuple[str, ...] | None = None
    flatpak: bool = False


def places(host: str, folder: Path | None = None, home: Path | None = None) -> list[Place]:
    """Every installation of a host that was run once, or whose command is there; or the one folder that was named."""
    home = home or Path.home()
    if host == "gimp":
        return _gimp(home, folder)
    if host == "krita":
        return _krita(home, folder)
    if host == "blender":
        command = str(folder) if folder is not None else shutil.which("blender")
        native = [Place(home, plugins_folder(), command=(command,))] if command else []
        sandbox = home / ".var" / "app" / FLATPAKS["blender"]
        flatpak = Place(sandbox, _flatpak_data(sandbox), None, ("flatpak", "run", FLATPAKS["blender"]), True)
        return native + ([flatpak] if sandbox.is_dir() and folder is None else [])
    return []


def _gimp(home: Path, folder: Path | None) -> list[Place]:
    if folder is not None:
        return [Place(folder, plugins_folder())]
    chosen = os.environ.get("GIMP3_DIRECTORY")
    native = [Path(chosen)] if chosen else _versions(_config(home) / "GIMP")
    if not native and shutil.which("gimp-3.0"):
        native = [_config(home) / "GIMP" / "3.0"]
    sandbox = home / ".var" / "app" / FLATPAKS["gimp"]
    sandboxed = _versions(sandbox / "config" / "GIMP")
    return [Place(path, plugins_folder()) for path in native] + [
        Place(path, _flatpak_data(sandbox), flatpak=True) for path in sandboxed
    ]


def _versions(folder: Path) -> list[Path]:
    """GIMP 3's configuration folders; GIMP 2 has no such plug-ins."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if re.fullmatch(r"3\.\d+", path.name) and path.is_dir())


def _krita(home: Path, folder: Path | None) -> list[Place]:
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", str(home / "AppData" / "Local")))
        resources, config = _config(home) / "krita", local / "kritarc"
    elif sys.platform == "darwin":
        resources = home / "Library" / "Application Support" / "krita"
        config = home / "Library" / "Preferences" / "kritarc"
    else:
        resources = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "krita"
        config = _config(home) / "kritarc"
    if folder is not None:
        return [_krita_in(folder, config)]
    native = [Place(resources, plugins_folder(), config)] if resources.is_dir() or shutil.which("krita") else []
    sandbox = home / ".var" / "app" / FLATPAKS["krita"]
    flatpak = Place(sandbox / "data" / "krita", _flatpak_data(sandbox), sandbox / "config" / "kritarc", flatpak=True)
    return native + ([flatpak] if sandbox.is_dir() else [])


def _krita_in(folder: Path, config: Path) -> Place:
    """The Krita whose folder of resources was named; its settings lie where its sort of installation keeps them."""
    folder = folder.absolute()
    if folder.parts[-3:] == (FLATPAKS["krita"], "data", "krita"):
        sandbox = folder.parents[1]
        return Place(folder, _flatpak_data(sandbox), sandbox / "config" / "kritarc", flatpak=True)
    if folder.parts[-3:] == (".local", "share", "krita") and folder.parents[2].name.endswith(".home"):
        own = folder.parents[2]  # the folder beside an AppImage that it takes for its home
        return Place(folder, own / ".local" / "share" / "brushwire" / "plugins", own / ".config" / "kritarc")
    return Place(folder, plugins_folder(), config)


def _config(home: Path) -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", str(home / "AppData" / "Roaming")))
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")


def _flatpak_data(sandbox: Path) -> Path:
    return sandbox / "data" / "brushwire" / "plugins"
