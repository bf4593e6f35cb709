"""A client that says exactly what a test wants, frame by frame."""

from __future__ import annotations

import contextlib
import uuid

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bridge_protocol import discovery
from bridge_protocol import messages as m
from bridge_protocol.answers import Answered, Pages
from bridge_protocol.codec import MAX_FRAME, decode, encode
from bridge_protocol.jobs import job_to_plain


class Raw:
    """`say` sends a message, `hear` waits for the next one of some types and keeps what came before it."""

    def __init__(self, server, *, hello=True, authorize=True, session=None, uri=None, **options):
        self.token = discovery.token(server.settings.runtime)
        headers = {"Authorization": f"Bearer {self.token}"} if authorize else {}
        self._connecting = connect(
            uri or server.url,
            subprotocols=[m.SUBPROTOCOL],
            additional_headers={**headers, **options.pop("headers", {})},
            compression=None,
            max_size=MAX_FRAME,
            proxy=None,
            **options,
        )
        self.socket = self._connecting.__enter__()
        self.heard: list[m.Message | Answered] = []
        self._pages = Pages()
        if hello:
            self.say(m.Hello([1], "raw", session=session))
            self.welcome = self.hear(m.Welcome)

    def say(self, message, payload=b""):
        self.socket.send(encode(message, payload))

    def hear(self, *types, timeout=60.0):
        while True:
            frame = decode(self.socket.recv(timeout))
            message = frame.message
            if isinstance(message, m.Answer):
                message = self._pages.take(message, frame.payload) or message
            self.heard.append(message)
            if isinstance(message, types):
                return message

    def hear_frame(self, timeout=60.0):
        return decode(self.socket.recv(timeout))

    def submit(self, job, job_id=None, **options):
        kind, fields = job_to_plain(job)
        submit = m.Submit(job_id or str(uuid.uuid4()), kind, fields, **options)
        self.say(submit)
        return submit.id

    def hear_close(self, timeout=60.0):
        """The code with which the server closed the socket, after whatever it said before."""
        try:
            while True:
                self.heard.append(decode(self.socket.recv(timeout)).message)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def cut(self):
        """The socket is gone, without a word."""
        with contextlib.suppress(OSError):
            self.socket.socket.shutdown(2)
        self.socket.socket.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()
