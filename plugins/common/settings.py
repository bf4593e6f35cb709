"""What the artist has set, for one host; and presets, named sets of form values that can be shared as files."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .files import UnreadableFile, read_json, write_json

FORMAT = 1


class Settings:
    """Values by name in a JSON file, written at each change.

    defaults: what holds where nothing was set; a value of another type than its default's is not taken.
    problem: what was wrong with the file when it was read; it was then moved aside, and the defaults hold.
    """

    def __init__(self, path: Path, defaults: dict[str, Any]) -> None:
        self.path = path
        self.problem: UnreadableFile | None = None
        self._defaults = dict(defaults)
        try:
            self._values = read_json(path)
        except UnreadableFile as problem:
            self.problem = problem
            self._values = {}
            path.replace(path.with_suffix(".broken"))

    def __getitem__(self, name: str) -> Any:
        default = self._defaults[name]
        value = self._values.get(name, default)
        return value if default is None or _same_kind(value, default) else default

    def __setitem__(self, name: str, value: Any) -> None:
        """Set and save. Raises KeyError for an unknown name, TypeError for a value of another type."""
        default = self._defaults[name]
        if default is not None and not _same_kind(value, default):
            raise TypeError(f"{name} is {value!r}; it must be of the type of {default!r}")
        if self._values.get(name, default) != value:
            self._values[name] = value
            write_json(self.path, self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._defaults


def _same_kind(value: object, default: object) -> bool:
    if isinstance(default, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(default)


@dataclass(frozen=True)
class Preset:
    """A named set of a form's values. kind: of job."""

    name: str
    kind: str
    values: dict[str, Any] = field(default_factory=dict)


class Presets:
    """The presets in one folder, a JSON file each; a file from somebody else is put there and is a preset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self, kind: str | None = None) -> list[Preset]:
        """All of them (of one kind of job), by name; files that are no presets are left out."""
        found = []
        for path in self.folder.glob("*.json") if self.folder.is_dir() else ():
            try:
                preset = read_preset(path)
            except UnreadableFile:
                continue
            if kind in (None, preset.kind):
                found.append(preset)
        return sorted(found, key=lambda preset: preset.name.casefold())

    def save(self, preset: Preset) -> Path:
        """Write a preset; one of the same name and kind is replaced."""
        path = self._path(preset)
        data = {"brushwire_preset": FORMAT, "name": preset.name, "kind": preset.kind, "values": preset.values}
        write_json(path, data)
        return path

    def remove(self, preset: Preset) -> None:
        """Forget a preset; nothing happens where there is none."""
        self._path(preset).unlink(missing_ok=True)

    def _path(self, preset: Preset) -> Path:
        # A name may be in any language; what file systems refuse is replaced, and so is what is not ASCII: Krita runs
        # its Python with the locale C, where no other file name can be written. The name itself stands in the file.
        stem = re.sub(r'[^\x20-\x7e]+|[<>:"/\\|?*.]+', "_", preset.name)[:60].strip()
        if stem != preset.name:
            stem += f"-{zlib.crc32(preset.name.encode()):08x}"
        return self.folder / f"{preset.kind}-{stem}.json"


def read_preset(path: Path) -> Preset:
    """A preset from a file. Raises UnreadableFile."""
    data = read_json(path)
    name, kind, values = data.get("name"), data.get("kind"), data.get("values")
    if data.get("brushwire_preset") != FORMAT:
        raise UnreadableFile(path, f"it is not a preset of format {FORMAT}")
    if not isinstance(name, str) or not isinstance(kind, str) or not isinstance(values, dict):
        raise UnreadableFile(path, "it lacks a name, a kind or values")
    return Preset(name, kind, values)
