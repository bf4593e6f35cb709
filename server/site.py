"""The gallery's files, served over HTTP on the WebSocket's port to whoever calls the server by its own name.

The files are the same for everybody and hold no secret; what they show comes through the WebSocket, to clients that
have a token or an invitation. A page of another origin gets not even the files.
"""

from __future__ import annotations

import mimetypes
from http import HTTPStatus
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from server.guard import Refusal

FOLDER = Path(__file__).parent / "web" / "site"

#: Nothing from anywhere else, nothing inline; pictures and meshes come as blobs that the page makes itself. (Preact and
#: three.js set styles of elements, which needs no exception; a style attribute in a page's source would.)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}


def wants_page(request: Request) -> bool:
    """Whether that is a browser that asks for a file, and no WebSocket's handshake."""
    return "websocket" not in ", ".join(request.headers.get_all("Upgrade")).lower()


def check_page(request: Request) -> Refusal | None:
    """Why a browser's request is refused; None where a person or the page itself asks.

    Browsers say where a request comes from; what says nothing is no browser, and gets nothing that is secret. A link
    may lead here from anywhere: the page that opens cannot be seen or framed by the one that holds the link.
    """
    sites, modes, targets = (request.headers.get_all(f"Sec-Fetch-{name}") for name in ("Site", "Mode", "Dest"))
    is_link = modes == ["navigate"] and targets == ["document"]
    if not is_link and any(place not in ("none", "same-origin") for place in sites):
        return Refusal(HTTPStatus.FORBIDDEN, "Other pages may not use this server. Open it with `brushwire gallery`.\n")
    return None


class Site:
    """The files of a folder, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            "/" + path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
        }
        self._read: dict[str, bytes] = {}

    def respond(self, request: Request) -> Response:
        """The file that is asked for; `/` is index.html. The list of files is fixed, so no path leads elsewhere."""
        name = request.path.partition("?")[0]
        name = "/index.html" if name == "/" else name
        path = self._files.get(name)
        if path is None:
            return response(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"There is no such page.\n")
        if name not in self._read:
            self._read[name] = path.read_bytes()
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return response(HTTPStatus.OK, kind, self._read[name])


def response(status: HTTPStatus, kind: str, body: bytes) -> Response:
    """An answer with the headers that keep other pages out."""
    headers = Headers([("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")])
    headers.update(HEADERS)
    return Response(status.value, status.phrase, headers, body)
