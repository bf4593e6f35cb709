"""What a server is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from server import machine
from server.guard import Limits

GIB = 1 << 30
#: Where `brushwire serve` listens unless it is taken: hosts such as Photoshop name the port in their plugin's manifest.
PORT = 47263


@dataclass(frozen=True)
class Settings:
    """Everything that one server needs to know.

    host, port: where it listens; port 0 takes a free one. any_port: whether to take a free one where `port` is taken.
    models: folders with models. devices: one worker process for
    each; None is the best device there is. data: where its journal and its blobs lie. runtime: where its address and
    token lie; None is the user's runtime folder. store_bytes: of the blob store. names: further names by which clients
    may call this host. certificate, key: PEM files for TLS, without which only this machine is listened to.
    grace: seconds that a client has to come back before its jobs with on_disconnect "cancel" are cancelled.
    painter: where the worker finds its painter, as module:function.
    """

    host: str = "127.0.0.1"
    port: int = 0
    any_port: bool = False
    models: tuple[Path, ...] = ()
    devices: tuple[str | None, ...] = (None,)
    data: Path = field(default_factory=machine.data_folder)
    runtime: Path | None = None
    store_bytes: int = 16 * GIB
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    limits: Limits = field(default_factory=Limits)
    grace: float = 0.5
    painter: str = "server.worker:engine_painter"
