"""The client's end of the shared folder: proven by a nonce each way, then used for whole blobs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from . import messages as m
from .blobs import Blob
from .client_events import MapFile
from .lanes import SharedFolder

log = logging.getLogger("brushwire.client")


class ClientLane:
    """For one socket at a time. ready: whether the server has seen the proof, and blobs may go this way."""

    def __init__(self) -> None:
        self.ready = False
        self._folder: SharedFolder | None = None

    def prove(self, welcome: m.Welcome) -> m.LaneProof | None:
        """What shows the server that its folder is this machine's; None where there is none or it cannot be used."""
        if not welcome.shared_folder or not welcome.probe:
            return None
        try:
            folder = SharedFolder(Path(welcome.shared_folder))
            nonce = folder.read_probe(welcome.probe)
            probe, written = folder.write_probe()
        except (OSError, ValueError) as error:
            log.info("payloads go inline: the shared folder cannot be used (%s)", error)
            return None
        self._folder = folder
        return m.LaneProof(nonce, probe, written)

    def put(self, blob: Blob) -> str | None:
        """Lay a blob into the folder; returns its file's name, or None where it has to go inline."""
        return self._folder.put(blob.data) if self.ready and self._folder is not None else None

    def released(self, file: str) -> None:
        """The server reads that file no more."""
        if self._folder is not None:
            self._folder.released(file)

    def view(self, mapped: MapFile, release: Callable[[], None]) -> memoryview:
        """The bytes of a result; `release` is called when nobody holds them any more. Raises OSError, ValueError."""
        if self._folder is None:
            raise ValueError("no shared folder was agreed on")
        return self._folder.view(mapped.file, mapped.ref.nbytes, release)

    def close(self) -> None:
        """The socket is gone; so is the folder."""
        self.ready = False
        if self._folder is not None:
            self._folder.close()
            self._folder = None
