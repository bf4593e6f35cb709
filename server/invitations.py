"""How clients come in that cannot read the token's file: a web page, or a host that keeps its plugins from the disk.

Someone who has the token asks for an invitation: a code that is good once and not for long. Who brings it gets a
token of their own, which is good for one session alone. Nothing of it need be kept: it is derived from the session's
id and the user's token, so that it outlives the server's process and ends with the user's token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from server import guard

#: A browser may take its time to start.
LIFETIME_SECONDS = 600.0
#: Of more codes that nobody has used, the oldest are forgotten.
MAX_CODES = 16


class Invitations:
    """The codes that nobody has used yet. clock: seconds that only go on."""

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token, self._clock = token, clock
        self._codes: dict[str, float] = {}

    def invite(self) -> str:
        """A new code, 192 random bits as text that needs no quoting in a URL."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = self._clock() + LIFETIME_SECONDS
        while len(self._codes) > MAX_CODES:
            del self._codes[next(iter(self._codes))]
        return code

    def accept(self, code: str | None) -> bool:
        """Whether that is a code that is still good; it is not afterwards."""
        found = next((known for known in self._codes if guard.is_token(code, known)), None)
        return found is not None and self._codes.pop(found) >= self._clock()

    def token_for(self, session: str) -> str:
        """The token with which that session comes back."""
        return hmac.new(self._token.encode(), f"session {session}".encode(), hashlib.sha256).hexdigest()
