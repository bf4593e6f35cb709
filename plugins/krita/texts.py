"""The docker's texts in the artist's language, through Qt's translation.

A catalogue is a JSON map from the English text to the other. It is made into Qt's own format in memory, so that Qt
finds the texts itself, and neither a compiler nor a file of Qt's version is needed.
"""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

from .qt import QtCore

CONTEXT = "Brushwire"
FOLDER = Path(__file__).parent / "translations"

_MAGIC = bytes.fromhex("3cb86418caef9c95cd211cbf60a1bddd")
_HASHES, _MESSAGES = 0x42, 0x69
_END, _TRANSLATION, _SOURCE, _CONTEXT, _COMMENT = 1, 3, 6, 7, 8

#: With their data: Qt reads the texts out of the very bytes that it is given.
_installed: list[tuple[QtCore.QTranslator, bytes]] = []


def tr(text: str) -> str:
    """The text in the artist's language; the text itself where there is no translation."""
    return QtCore.QCoreApplication.translate(CONTEXT, text)


def install(language: str | None = None) -> bool:
    """Give Qt the catalogue of that language (``de``, ``zh_CN``); None: the one of Krita. Whether there is one."""
    uninstall()
    for name in [language] if language else _wanted():
        path = FOLDER / f"{name}.json"
        if not path.is_file():
            continue
        translator = QtCore.QTranslator()
        data = compiled(json.loads(path.read_text("utf-8")))
        load = translator.loadFromData if hasattr(translator, "loadFromData") else translator.load
        if load(data) and QtCore.QCoreApplication.installTranslator(translator):
            _installed.append((translator, data))
            return True
    return False


def uninstall() -> None:
    """Take the catalogue back."""
    while _installed:
        QtCore.QCoreApplication.removeTranslator(_installed.pop()[0])


def _wanted() -> list[str]:
    """Names of catalogues for the user's languages, the best first; nothing where English comes first."""
    wanted: list[str] = []
    # Krita puts the language that was chosen in its own menu there, whatever the system's is.
    chosen = [one for one in os.environ.get("LANGUAGE", "").split(":") if one]
    for language in chosen or QtCore.QLocale.system().uiLanguages():
        parts = re.split("[-_.@]", language)
        if parts[0] in ("en", "C"):
            break
        if parts[0] == "zh" and not {"TW", "HK", "Hant"} & set(parts):
            wanted.append("zh_CN")
        wanted.append(parts[0])
    return wanted


def compiled(texts: dict[str, str]) -> bytes:
    """A catalogue in the format of Qt's .qm files: a table of hashes, and for each text its translation.

    The format is that of qtbase/src/corelib/kernel/qtranslator.cpp: big-endian, an ELF hash of source and comment.
    """
    messages, hashes = bytearray(), []
    for source, translation in sorted(texts.items()):
        key = source.encode()
        hashes.append((_elf_hash(key), len(messages)))
        encoded = translation.encode("utf-16-be")
        for tag, data in ((_TRANSLATION, encoded), (_COMMENT, b""), (_SOURCE, key), (_CONTEXT, CONTEXT.encode())):
            messages += struct.pack(">BI", tag, len(data)) + data
        messages.append(_END)
    table = b"".join(struct.pack(">II", *entry) for entry in sorted(hashes))
    sections = ((_HASHES, table), (_MESSAGES, bytes(messages)))
    return _MAGIC + b"".join(struct.pack(">BI", tag, len(data)) + data for tag, data in sections)


def _elf_hash(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value or 1
