"""Wildcard files: `wildcards/NAME.txt` in a model folder, one choice a line. No torch in here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: A list of choices is small; what is larger is something else.
MAX_BYTES = 4 << 20


def read(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The lines of each file by its name (`place/city` for `wildcards/place/city.txt`).

    Empty lines and lines that begin with # are left out; of two files of one name, the first folder's counts. Links
    that lead out of the folders, and files of more than `MAX_BYTES`, are passed over.
    """
    found: dict[str, list[str]] = {}
    allowed = [folder.resolve() for folder in folders]
    for folder in folders:
        root = folder / "wildcards"
        for path in sorted(root.rglob("*.txt")):
            inside = any(path.resolve().is_relative_to(place) for place in allowed)
            if not inside or not path.is_file() or path.stat().st_size > MAX_BYTES:
                continue
            lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            choices = [line for line in lines if line and not line.startswith("#")]
            if choices:
                found.setdefault(path.relative_to(root).with_suffix("").as_posix(), choices)
    return found
