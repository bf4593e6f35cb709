"""The answers to clients' queries."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from bridge_protocol import jobs
from bridge_protocol import messages as m
from server import lists
from server.clients import Client
from server.engine.catalog import Catalog
from server.exchange import Exchange
from server.invitations import Invitations
from server.ledger import Ledger
from server.settings import Settings


class Answers:
    """What one server answers. status: how it stands now, for the query of that name."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        exchange: Exchange,
        invitations: Invitations,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._settings, self._ledger, self._exchange = settings, ledger, exchange
        self._invitations, self._status = invitations, status
        self._catalog: Catalog | None = None
        self._started = time.monotonic()

    async def answer(self, client: Client, query: m.Query) -> None:
        """Answer a query. Raises ProtocolError."""
        data: Any
        if query.what == "schema":
            data = jobs.schema()
        elif query.what == "jobs":
            data = self._ledger.listing()
        elif query.what == "history":
            client.reads_history = True
            data = await self._ledger.search(query)
        elif query.what == "invitation":
            code = self._invitations.invite()
            page = str(self._status()["address"]).replace("ws", "http", 1)
            data = {"code": code, "url": f"{page}/#invitation={code}"}
        elif query.what == "status":
            data = {**self._status(), "version": version(), "uptime": time.monotonic() - self._started}
        else:
            data = await self._exchange.in_pool(self._choices, query.what)
        client.session.answer(query.id, data)

    def _choices(self, what: str) -> list[dict[str, Any]]:
        """In the pool."""
        if self._catalog is None:
            self._catalog = Catalog(list(self._settings.models))
        else:
            self._catalog.rescan()
        return lists.choices(self._catalog, what)


def version() -> str:
    """Of this program."""
    try:
        return metadata.version("brushwire")
    except metadata.PackageNotFoundError:
        return "0"
