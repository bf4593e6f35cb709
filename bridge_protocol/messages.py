"""What is said on the wire: one dataclass for each message.

The header of a frame is a message's fields and its name under ``type``. Messages that carry payload bytes say so.
Either side may offer blobs: a client its pictures, a server its results.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from .blobs import BlobRef
from .jobs import Priority
from .records import decode, encode, param

VERSION = 1
SUBPROTOCOL = "brushwire.v1"

#: ``jobs``: all that are not delivered. ``history``: everything that was painted, the newest first. ``invitation``: a
#: code for one client that cannot read the token. The others are what a job's fields choose from.
ListName = Literal[
    "models", "loras", "controlnets", "vaes", "image_adapters", "upscalers", "detectors", "estimators",
    "jobs", "history", "schema", "status", "invitation",
]  # fmt: skip
#: What becomes of a job when its client's socket closes.
OnDisconnect = Literal["keep", "cancel"]
ActivityState = Literal["accepted", "running", "finished", "failed", "cancelled", "forgotten"]


# -- from the client


@dataclass(frozen=True)
class Hello:
    """The first message. With `session`, the client comes back to it and is told again what it did not acknowledge."""

    versions: list[int] = param(doc="The protocol versions that it speaks.", max_length=16)
    client: str = param("", "Its name and version, for people to read.", max_length=200)
    token: str | None = param(None, "For hosts that cannot send the Authorization header.", max_length=200)
    session: str | None = param(None, "The session to come back to.", max_length=64)
    invitation: str | None = param(
        None, "Instead of a token: a code of the query `invitation`, which is good once.", max_length=64
    )


@dataclass(frozen=True)
class LaneProof:
    """The nonce that the client read from the server's shared folder; the client's own probe lies there too."""

    nonce: str = param(doc="What stood in the server's probe.", max_length=128)
    probe: str = param(doc="The name of the client's probe file.", max_length=128)
    written: str = param(doc="The nonce that the client wrote into it.", max_length=128)


@dataclass(frozen=True)
class Submit:
    """Asks for a job. `id` is the client's own; the same id again is the same job, not a second one."""

    id: str = param(doc="A UUID of the client's.", max_length=64)
    kind: str = param(doc="The kind of job.", max_length=64)
    job: dict[str, Any] = param(doc="Its fields.")
    priority: Priority = param("interactive", "live before interactive before batch.")
    slot: str = param("", "For live jobs: a newer job in the same slot replaces an older one.", max_length=64)
    on_disconnect: OnDisconnect = param("keep", "What becomes of it when the client's socket closes.")


@dataclass(frozen=True)
class Cancel:
    """Ends one job, queued or running; the answer is its `Cancelled` (or its result, if that came first).

    A session that watches may end any session's job.
    """

    id: str = param(doc="The job's id.", max_length=64)


@dataclass(frozen=True)
class Ack:
    """The client holds the job's last word (result, failure or cancellation); the server may forget it."""

    id: str = param(doc="The job's id.", max_length=64)


@dataclass(frozen=True)
class Query:
    """Asks for a list. The fields from `job` on are for ``history`` alone, and narrow it."""

    id: int = param(doc="Comes back in the answer.", minimum=0)
    what: ListName = param(doc="Which list.")
    job: str = param("", "That job alone, with all that is known of it.", max_length=64)
    search: str = param("", "Words that its prompt or its model's name holds, all of them.", max_length=1_000)
    model: str = param("", "The model that painted it.", max_length=200)
    kind: str = param("", "The kind of job.", max_length=64)
    since: float | None = param(None, "Not before that time, counted from 1970.", unit="s")
    until: float | None = param(None, "Before that time.", unit="s")
    offset: int = param(0, "How many of the newest are skipped.", minimum=0)
    limit: int = param(100, "How many are told at most.", minimum=0, maximum=1000)


@dataclass(frozen=True)
class Claim:
    """Takes over another session's job, whose client is gone; its last word then comes to this session."""

    id: str = param(doc="The job's id.", max_length=64)


@dataclass(frozen=True)
class Watch:
    """Asks to be told what becomes of all jobs, whosesoever they are, as `Activity`, `Progress` and `Preview`.

    Those that have not been delivered are told at once. Watching ends with the socket.
    """

    on: bool = param(True, "Whether to watch from now on.")


@dataclass(frozen=True)
class Forget:
    """Deletes a job from the history, with what it made; the answer is an `Activity` of the state `forgotten`."""

    id: str = param(doc="The job's id.", max_length=64)


@dataclass(frozen=True)
class Ping:
    """Answered by Pong at once, however much payload is on its way."""

    id: int = param(doc="Comes back in the answer.", minimum=0)


# -- blobs, in both directions


@dataclass(frozen=True)
class Offer:
    """A blob that the sender has. Payload: the digests of its parts, or nothing."""

    blob: BlobRef = param(doc="The blob.")


@dataclass(frozen=True)
class Have:
    """The blob is here, whole and verified; nothing (more) of it need be sent."""

    digest: bytes = param(doc="The blob's digest.", max_length=32)


@dataclass(frozen=True)
class Need:
    """Send the blob: from byte `offset` on, or, where `parts` is not empty, those parts alone."""

    digest: bytes = param(doc="The blob's digest.", max_length=32)
    offset: int = param(0, "From which byte on; what lies before it has arrived.", minimum=0)
    parts: list[int] = param(default_factory=list, doc="Indices of parts.", max_length=16_384)


@dataclass(frozen=True)
class Chunk:
    """Bytes of a blob as payload: from byte `offset` on, or part `part`."""

    digest: bytes = param(doc="The blob's digest.", max_length=32)
    offset: int = param(0, "Where the payload begins in the blob.", minimum=0)
    part: int | None = param(None, "The part that the payload is.", minimum=0)


@dataclass(frozen=True)
class Mapped:
    """The whole blob lies in a file of the shared folder; `Release` gives the file back."""

    digest: bytes = param(doc="The blob's digest.", max_length=32)
    file: str = param(doc="The file's name in the shared folder.", max_length=128)


@dataclass(frozen=True)
class Release:
    """The receiver of a `Mapped` reads its file no more."""

    file: str = param(doc="The file's name.", max_length=128)


# -- from the server


@dataclass(frozen=True)
class Welcome:
    """The answer to Hello."""

    version: int = param(doc="The version that both speak from here on.")
    session: str = param(doc="The session's id; only servers make them.")
    epoch: str = param(doc="This run of the server; events are numbered anew with it.")
    server: str = param("", "The server's name and version.")
    resumed: bool = param(False, "Whether the session that was asked for goes on.")
    shared_folder: str | None = param(None, "Where payloads can lie for this session, if on the same machine.")
    probe: str | None = param(None, "The name of the server's probe file in it.")
    limits: dict[str, Any] = param(default_factory=dict, doc="Of this server, by name.")
    token: str | None = param(
        None,
        "For a client that came by invitation: the token with which it comes back to this session, and to no other.",
    )


@dataclass(frozen=True)
class LaneReady:
    """Both sides have read each other's probe: payloads may go through the shared folder."""


@dataclass(frozen=True)
class Accepted:
    """The job is in the journal and will not be lost. Or is known already, if it was submitted before."""

    seq: int = param(doc="The event's number.")
    id: str = param(doc="The job's id.")
    position: int = param(0, "How many jobs are before it.")


@dataclass(frozen=True)
class Progress:
    """How far a job is. Of several that wait, only the newest is sent."""

    seq: int = param(doc="The event's number.")
    id: str = param(doc="The job's id.")
    phase: str = param("", "queued, loading, encoding, sampling, decoding, …")
    step: int = param(0, "Steps done.")
    steps: int = param(0, "Steps in all; 0 where that is not known.")
    eta: float | None = param(None, "Time left.", unit="s")


@dataclass(frozen=True)
class Preview:
    """A small picture of what is being painted. Payload: its uint8 sRGB pixels. Only the newest is sent."""

    seq: int = param(doc="The event's number.")
    id: str = param(doc="The job's id.")
    step: int = param(doc="After how many steps.")
    width: int = param(doc="Its width.", unit="px", minimum=1, maximum=512)
    height: int = param(doc="Its height.", unit="px", minimum=1, maximum=512)
    channels: int = param(3, "3 or 4.", minimum=3, maximum=4)


@dataclass(frozen=True)
class Output:
    """One thing that a job made."""

    name: str = param(doc="What it is: image, albedo, mesh, …")
    blob: BlobRef = param(doc="Its bytes; they are fetched with Need.")
    info: dict[str, Any] = param(default_factory=dict, doc="What belongs to it alone, such as its seed.")


@dataclass(frozen=True)
class Result:
    """A job's end: what it made. Kept until it is acknowledged."""

    seq: int = param(doc="The event's number.")
    id: str = param(doc="The job's id.")
    outputs: list[Output] = param(default_factory=list, doc="What it made.")
    info: dict[str, Any] = param(default_factory=dict, doc="Model, timings, fallbacks, …")


@dataclass(frozen=True)
class Failed:
    """A job's end: why it made nothing. Kept until it is acknowledged."""

    seq: int = param(doc="The event's number.")
    id: str = param(doc="The job's id.")
    code: str = param(doc="Stable, for programs.")
    sentence: str = param(doc="What went wrong, for people.")
    remedy: str = param("", "What to do about it.")
    retryable: bool = param(False, "Whether the same job may succeed later.")


@dataclass(frozen=True)
class Cancelled:
    """A job's end: it was cancelled, or a newer one took its slot. Kept until it is acknowledged."""

    seq: int = param(doc="The event's number.")
    id: str = param(doc="The job's id.")
    reason: str = param("cancelled", "cancelled, replaced or disconnected.")


@dataclass(frozen=True)
class Activity:
    """What became of any session's job, for those that watch. Of several that wait, only the newest is sent."""

    seq: int = param(doc="The event's number.")
    id: str = param(doc="The job's id.")
    state: ActivityState = param(doc="What has become of it.")
    kind: str = param("", "The kind of job.")
    prompt: str = param("", "The beginning of its prompt.")
    model: str = param("", "The model that it names.")
    priority: Priority = param("interactive", "As it was submitted.")
    client: str = param("", "The name of the client that submitted it, while it is known.")
    created: float = param(0.0, "When it was accepted, counted from 1970.", unit="s")
    sentence: str = param("", "Failed: what went wrong.")
    remedy: str = param("", "Failed: what to do about it.")


@dataclass(frozen=True)
class Answer:
    """A page of the answer to a Query. Payload: the next bytes of the list, which is msgpack."""

    id: int = param(doc="The query's id.", minimum=0)
    more: bool = param(False, "Whether another page follows.")


@dataclass(frozen=True)
class Pong:
    """The answer to a Ping."""

    id: int = param(doc="The ping's id.")


@dataclass(frozen=True)
class Error:
    """Something that was said could not be taken. `about` names the job, query or blob that it was about."""

    code: str = param(doc="Stable, for programs.")
    sentence: str = param(doc="What went wrong, for people.")
    remedy: str = param("", "What to do about it.")
    retryable: bool = param(False, "Whether the same may succeed later.")
    about: str = param("", "The id of the job or query, or the digest of the blob in hex.")
    field: str = param("", "The field that was wrong.")


Message = (
    Hello | LaneProof | Submit | Cancel | Ack | Query | Claim | Watch | Forget | Ping | Offer | Have | Need | Chunk
    | Mapped | Release | Welcome | LaneReady | Accepted | Progress | Preview | Result | Failed | Cancelled | Activity
    | Answer | Pong | Error
)  # fmt: skip

#: A job's last word: exactly one of these ends it.
TERMINAL = (Result, Failed, Cancelled)


def type_name(cls: type) -> str:
    """How a message is named on the wire: ``LaneProof`` → ``lane_proof``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


TYPES: dict[str, type[Any]] = {type_name(cls): cls for cls in Message.__args__}


def to_plain(message: Message) -> dict[str, Any]:
    """A message as the map that a frame's header holds."""
    return {"type": type_name(type(message)), **encode(message)}


def from_plain(header: dict[str, Any]) -> Message:
    """The message that a header holds. Raises KeyError for an unknown type, InvalidValue for a wrong field."""
    message: Message = decode(TYPES[header["type"]], header)
    return message
