"""What clients say, and what is done about it. Sockets are in app.py, the answers to queries in answers.py.

What takes time goes on by itself, so that a cancel never waits behind an upload.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed

from bridge_protocol import messages as m
from bridge_protocol.codec import ProtocolError
from bridge_protocol.session import Abandoned, Arrived, Offered
from server.answers import Answers
from server.clients import Client, Clients
from server.dispatch import Dispatcher
from server.exchange import Exchange
from server.ledger import Ledger

log = logging.getLogger("brushwire.app")


def spawn(client: Client, work: Coroutine[Any, Any, None], about: str = "") -> None:
    """Let something that a client asked for go on by itself; what goes wrong is told to the client.

    about: the job that would wait forever if what nobody foresaw were not said to be about it.
    """

    async def run() -> None:
        try:
            await work
        except ProtocolError as error:
            client.session.send(error.message())
        except ConnectionClosed:
            pass
        except Exception:  # a task's error is seen by nobody: what no one foresaw is logged, and the client told
            log.exception("a client's request failed")
            remedy = "The server's log tells why."
            client.session.send(m.Error("internal_error", "The request failed.", remedy, about=about))

    task = asyncio.create_task(run())
    client.busy.add(task)
    task.add_done_callback(client.busy.discard)


@dataclass(frozen=True)
class Conversation:
    """With all clients of one server."""

    clients: Clients
    ledger: Ledger
    dispatcher: Dispatcher
    exchange: Exchange
    answers: Answers

    def hear(self, client: Client, said: m.Message | Offered | Arrived | Abandoned) -> None:
        """Take one thing that a client says. Raises ProtocolError."""
        session, party, exchange, dispatcher = client.session, client.party, self.exchange, self.dispatcher
        if isinstance(said, m.Hello):
            raise ProtocolError("unexpected_message", "Hello was said already.")
        if isinstance(said, m.Error):
            log.info("a client says %s: %s", said.code, said.sentence)
        elif isinstance(said, Abandoned):
            party.coming.pop(said.incoming.ref.digest, None)
        elif isinstance(said, m.Release):
            if party.lane is not None:
                party.lane.released(said.file)
        elif isinstance(said, m.Watch):
            self.clients.watch(client, said.on, self.ledger)
        # Each of the others begins in the order in which it was said: a Cancel finds the job of the Submit before it.
        elif isinstance(said, m.Submit):
            spawn(client, dispatcher.submit(session.id, said), about=said.id)
        elif isinstance(said, m.Cancel):
            spawn(client, dispatcher.cancel(session.id, said.id, anyones=client.watching))
        elif isinstance(said, m.Ack):
            session.acknowledge(said.id)
            spawn(client, dispatcher.acknowledge(session.id, said.id))
        elif isinstance(said, m.Claim):
            spawn(client, self._claim(client, said.id))
        elif isinstance(said, m.Forget):
            spawn(client, self._forget(client, said.id))
        elif isinstance(said, m.Query):
            spawn(client, self.answers.answer(client, said))
        elif isinstance(said, Offered):
            spawn(client, exchange.take_offer(party, said, self.clients.parties()))
        elif isinstance(said, Arrived):
            spawn(client, exchange.store(party, said.incoming))
        elif isinstance(said, m.Mapped):
            spawn(client, exchange.read_mapped(party, said))
        elif isinstance(said, m.Need):
            spawn(client, self._send(client, said))
        elif isinstance(said, m.LaneProof):
            spawn(client, exchange.check_lane(party, said))

    async def _claim(self, client: Client, job_id: str) -> None:
        owner = await self.dispatcher.claim(client.session.id, job_id, self.clients.is_connected)
        known = self.clients.get(owner) if owner is not None else None
        if known is not None:
            known.session.acknowledge(job_id)

    async def _send(self, client: Client, need: m.Need) -> None:
        ref = self.ledger.output(client.session.id, need.digest)
        if ref is None and client.reads_history:
            ref = await self.ledger.painted(need.digest)
        await self.exchange.send(client.party, need, ref)

    async def _forget(self, client: Client, job_id: str) -> None:
        await self.ledger.erase(job_id)
        if not client.watching:
            client.session.notice(m.Activity(0, job_id, "forgotten"))
