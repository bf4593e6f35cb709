"""Where plugins keep their files, and JSON files that are whole or not there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from bridge_protocol.machine import write_private


class UnreadableFile(Exception):
    """A file is there and is not what it should be. sentence, remedy: for people."""

    def __init__(self, path: Path, reason: str) -> None:
        self.sentence = f"{path} cannot be read: {reason}."
        self.remedy = "Repair the file, or remove it."
        super().__init__(f"{self.sentence} {self.remedy}")


def plugins_folder() -> Path:
    r"""The folder of this user's plugin files: settings, presets, histories.

    ``BRUSHWIRE_PLUGINS`` overrides it. Linux: ``$XDG_DATA_HOME/brushwire/plugins``; macOS: ``~/Library/Application
    Support/brushwire/plugins``; Windows: ``%APPDATA%\brushwire\plugins``.
    """
    chosen = os.environ.get("BRUSHWIRE_PLUGINS")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", str(Path.home() / "AppData" / "Roaming")))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "brushwire" / "plugins"


def read_json(path: Path) -> dict[str, Any]:
    """The map that a JSON file holds; an empty one where there is no file. Raises UnreadableFile."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UnreadableFile(path, str(error)) from None
    if not isinstance(data, dict):
        raise UnreadableFile(path, "it does not hold a map")
    return data


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a map as JSON: whole or not at all, for this user alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode())


def lock(path: Path) -> int | None:
    """Hold a lock file until the returned descriptor is closed or this process ends; None where another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
