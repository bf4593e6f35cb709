"""Who may talk to the server, and how much of it anyone may take.

A WebSocket on the loopback interface can be reached by every web page that the user opens. So a client must know the
token, must call the host by one of its own names (which stops DNS rebinding), and must not be a web page, unless it is
the server's own or its origin is allowed.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Protocol

from bridge_protocol.blobs import BlobRef
from bridge_protocol.codec import ProtocolError

_CONNECT = "Connect to 127.0.0.1, localhost or [::1] with the port on which it listens."


@dataclass(frozen=True)
class Limits:
    """How much of the server anyone may take.

    connections, sessions: in all. hello_seconds: until a new connection has introduced itself. waiting_jobs,
    waiting_bytes: of one client in the queue. all_waiting_jobs: of all. job_bytes: inputs of one job.
    incoming_bytes: blobs of one client that are on their way, which lie in memory. all_incoming_bytes: of all.
    pixels: of one picture, and of all pictures of a batch together. errors: in a row, before the connection is closed.
    """

    connections: int = 32
    sessions: int = 128
    hello_seconds: float = 5.0
    waiting_jobs: int = 64
    waiting_bytes: int = 4 << 30
    all_waiting_jobs: int = 1024
    job_bytes: int = 2 << 30
    incoming_bytes: int = 1 << 30
    all_incoming_bytes: int = 2 << 30
    pixels: int = 1 << 26
    errors: int = 16

    def to_plain(self) -> dict[str, Any]:
        """As clients are told at Welcome."""
        return asdict(self)


class ExposedWithoutTls(ValueError):
    """The server was asked to listen to other machines without encryption."""


@dataclass(frozen=True)
class Refusal:
    """Why a handshake is refused, as plain text."""

    status: HTTPStatus
    text: str


TOO_MANY_CONNECTIONS = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many clients are connected. Close one of them.\n")


class _Headers(Protocol):
    def get_all(self, key: str, /) -> list[str]: ...


def check_address(host: str, *, tls: bool) -> None:
    """Raises ExposedWithoutTls where the address can be reached from other machines and nothing is encrypted."""
    if not tls and not is_loopback(host):
        raise ExposedWithoutTls(
            f"Listening on {host} would send token and pictures unencrypted over the network. "
            "Listen on 127.0.0.1, tunnel through SSH, or give --certificate and --key."
        )


def is_loopback(host: str) -> bool:
    """Whether an address (or the name localhost, nothing else is resolved) is this machine's own alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hosts(port: int, names: Iterable[str] = ()) -> frozenset[str]:
    """The Host headers by which this server may be called. Compared as text: a name is never resolved."""
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", *names))


def own_origins(allowed_hosts: Iterable[str], *, tls: bool) -> frozenset[str]:
    """The origins of the page that this server itself shows."""
    return frozenset(f"{'https' if tls else 'http'}://{host}" for host in allowed_hosts)


def check_host(headers: _Headers, allowed_hosts: frozenset[str]) -> Refusal | None:
    """Why a request that calls the server by that name is refused; None lets it in."""
    called = headers.get_all("Host")
    if len(called) != 1 or called[0].lower() not in allowed_hosts:
        return Refusal(HTTPStatus.FORBIDDEN, f"This server is not called that. {_CONNECT}\n")
    return None


def check_handshake(
    headers: _Headers, allowed_hosts: frozenset[str], token: str, origins: frozenset[str] = frozenset()
) -> Refusal | None:
    """Why a handshake with these headers is refused; None lets it in.

    A handshake without an Authorization header is let in, and must bring the token in its first message.
    """
    refusal = check_host(headers, allowed_hosts)
    if refusal is not None:
        return refusal
    if any(origin not in origins for origin in headers.get_all("Origin")):
        return Refusal(HTTPStatus.FORBIDDEN, "Web pages may not use this server. Use a plugin or the command line.\n")
    credentials = headers.get_all("Authorization")
    if credentials and not (len(credentials) == 1 and is_token(credentials[0].removeprefix("Bearer "), token)):
        return Refusal(HTTPStatus.UNAUTHORIZED, "The token is wrong; `brushwire doctor` tells where it lies.\n")
    return None


def is_token(given: str | None, token: str) -> bool:
    """Whether that is the token, in a time that does not tell how much of it is right."""
    return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def check_job(job: Any, refs: Iterable[BlobRef], limits: Limits, job_id: str) -> None:
    """Raises ProtocolError where a job, valid in itself, asks for more than one client may take."""
    refs = list(refs)
    for ref in refs:
        if len(ref.shape) > 1 and math.prod(ref.shape[:2]) > limits.pixels:
            raise _too_large(job_id, "image", f"{ref.shape[1]}×{ref.shape[0]} pixels", f"{limits.pixels} pixels")
    nbytes = sum({ref.digest: ref.nbytes for ref in refs}.values())
    if nbytes > limits.job_bytes:
        raise _too_large(job_id, "job", f"{nbytes} bytes of arrays", f"{limits.job_bytes} bytes")
    asked = [getattr(job, name, None) for name in ("width", "height")]
    image = getattr(job, "image", None)
    if image is not None and len(image.shape) < 2:
        raise ProtocolError(
            "invalid_value", f"image has the shape {image.shape}; it must be (h, w, 3 or 4).",
            "Send the picture with its height, width and channels.", about=job_id, field="image",
        )  # fmt: skip
    height, width = image.shape[:2] if image is not None else (512, 512)
    pixels = (asked[0] or width) * (asked[1] or height) * getattr(job, "batch", 1)
    if pixels > limits.pixels:
        raise _too_large(job_id, "batch", f"{pixels} pixels in all pictures together", f"{limits.pixels} pixels")


def _too_large(job_id: str, field: str, value: str, allowed: str) -> ProtocolError:
    return ProtocolError(
        "too_large",
        f"{field} is {value}; it must be at most {allowed}.",
        f"Make {field} smaller, or start the server with a higher limit.",
        about=job_id,
        field=field,
    )
