"""What a client session tells its shell: the server's messages as they are, and these where more is to be told."""

from __future__ import annotations

from dataclasses import dataclass

from . import messages as m
from .answers import Answered
from .blobs import Blob, BlobRef
from .session import Arrived


@dataclass(frozen=True)
class Connected:
    """The server has answered; `welcome.resumed` tells whether it knows the session still."""

    welcome: m.Welcome


@dataclass(frozen=True)
class PreviewPixels:
    """A preview with its uint8 sRGB pixels, `height × width × channels` bytes."""

    preview: m.Preview
    pixels: bytes


@dataclass(frozen=True)
class Finished:
    """A job has ended well, and all that it made is here: its blobs by their digests."""

    result: m.Result
    blobs: dict[bytes, Blob]


@dataclass(frozen=True)
class Refused:
    """The server did not take a job; nothing of it runs."""

    id: str
    error: m.Error


@dataclass(frozen=True)
class Fetched:
    """A blob that was asked for by `fetch` is here, verified."""

    blob: Blob


@dataclass(frozen=True)
class Unfetched:
    """A blob that was asked for by `fetch` cannot be had."""

    digest: bytes
    error: m.Error


@dataclass(frozen=True)
class MapFile:
    """A blob lies in the shared folder: the shell maps it, verifies it, and calls `arrived` or `arrived_broken`."""

    ref: BlobRef
    file: str


Event = (
    Connected | m.Accepted | m.Progress | PreviewPixels | Finished | m.Failed | m.Cancelled | Refused
    | Fetched | Unfetched | m.Activity | Answered | m.Pong | m.Error | m.LaneReady | m.Release | Arrived | MapFile
)  # fmt: skip
