"""Which document is which: ids that stay with documents, and what is kept inside of them."""

from __future__ import annotations

import json
import uuid
import zlib
from typing import Any

from krita import Krita

from .qt import QtCore

_ID = "brushwire/document"
_PREFIX = "brushwire/"


class Documents:
    """The open documents by their ids.

    An id is kept in the document, so that a result finds it after a restart. Krita copies it with "Open a copy": of two
    open documents with one id, the one that was seen later gets an id of its own.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[str, Any]] = []

    def id_of(self, document: Any) -> str:
        """The document's id; given to it at the first call."""
        self._forget_closed()
        for known, other in self._seen:
            if other == document:
                return known
        kept = read(document, _ID)
        if not isinstance(kept, str) or any(known == kept for known, _ in self._seen):
            kept = uuid.uuid4().hex
            modified = document.modified()
            write(document, _ID, kept)
            document.setModified(modified)
        self._seen.append((kept, document))
        return kept

    def find(self, document_id: str) -> Any:
        """The open document of that id, or None."""
        for document in Krita.instance().documents():
            if self.id_of(document) == document_id:
                return document
        return None

    def forget(self) -> None:
        """Let go of every document, before Krita does."""
        self._seen.clear()

    def _forget_closed(self) -> None:
        opened = Krita.instance().documents()
        self._seen = [(known, document) for known, document in self._seen if document in opened]


def read(document: Any, name: str) -> Any:
    """A plain value that is kept in the document; None where there is none."""
    data = bytes(document.annotation(name))
    if not data:
        return None
    try:
        return json.loads(zlib.decompress(data))
    except (zlib.error, ValueError):
        return None


def write(document: Any, name: str, value: Any) -> None:
    """Keep a plain value in the document; it is saved with it."""
    data = zlib.compress(json.dumps(value, ensure_ascii=False).encode(), 6)
    document.setAnnotation(name, "Brushwire", QtCore.QByteArray(data))


def read_bytes(document: Any, name: str) -> bytes | None:
    """Bytes that are kept in the document; None where there are none."""
    data = bytes(document.annotation(_PREFIX + name))
    return zlib.decompress(data) if data else None


def write_bytes(document: Any, name: str, data: bytes) -> None:
    """Keep bytes in the document."""
    document.setAnnotation(_PREFIX + name, "Brushwire", QtCore.QByteArray(zlib.compress(data, 1)))
