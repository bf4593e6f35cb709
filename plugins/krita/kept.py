"""The history that a document carries: what was painted for it, to be found again on another machine."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from plugins.common.history import Entry, History

from . import documents

_NAME = "brushwire/history"
#: A document carries so many of its newest entries, each with a thumbnail of some ten kilobytes.
MAX_ENTRIES = 40


def keep(document: Any, history: History, document_id: str) -> None:
    """Write the newest finished entries of a document into it."""
    own = [entry for entry in history.entries if entry.place.get("document") == document_id]
    kept = []
    for entry in [entry for entry in own if entry.state == "finished"][:MAX_ENTRIES]:
        path = history.thumbnail(entry.id)
        small = base64.b64encode(path.read_bytes()).decode() if path is not None else ""
        kept.append({"entry": entry.to_plain(), "thumbnail": small})
    if kept and [one["entry"]["id"] for one in kept] != [one.get("entry", {}).get("id") for one in _read(document)]:
        documents.write(document, _NAME, kept)


def adopt(document: Any, history: History) -> int:
    """Bring entries that a document carries, and that this machine does not have, into the history; how many."""
    count = 0
    for one in _read(document):
        try:
            entry = Entry.from_plain(one["entry"])
            small = base64.b64decode(one.get("thumbnail", ""))
        except (TypeError, KeyError, ValueError):
            continue  # another version's
        if history.get(entry.id) is None:
            history.adopt(replace(entry, kept=False), small)
            count += 1
    return count


def _read(document: Any) -> list[dict[str, Any]]:
    kept = documents.read(document, _NAME)
    return [one for one in kept if isinstance(one, dict)] if isinstance(kept, list) else []
