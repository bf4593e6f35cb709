"""Lets the tests drive a running Krita: text that arrives at a local socket is run in its main thread.

One request is a line of JSON, {"code": text}; the answer is {"value": …} or {"error": traceback}. Code is run in one
name space that stays, and its last expression, if `value` is assigned, is what comes back.
"""

import ast
import json
import os
import traceback
from pathlib import Path

import krita

try:
    from PyQt6.QtCore import QTimer
    from PyQt6.QtNetwork import QHostAddress, QTcpServer
except ImportError:
    from PyQt5.QtCore import QTimer
    from PyQt5.QtNetwork import QHostAddress, QTcpServer


class Driver(krita.Extension):
    def setup(self):
        notifier = krita.Krita.instance().notifier()
        notifier.setActive(True)
        notifier.windowCreated.connect(lambda: QTimer.singleShot(0, self.listen))
        self.names = {"krita": krita, "app": krita.Krita.instance()}
        self.server = None

    def createActions(self, window):
        pass

    def listen(self):
        if self.server is not None or "BRUSHWIRE_TEST_PORT_FILE" not in os.environ:
            return
        self.server = QTcpServer()
        self.server.listen(QHostAddress("127.0.0.1"), 0)
        self.server.newConnection.connect(self.connected)
        file = Path(os.environ["BRUSHWIRE_TEST_PORT_FILE"])
        part = file.with_suffix(".part")
        part.write_text(str(self.server.serverPort()))
        part.rename(file)

    def connected(self):
        # Kept: PyQt's garbage collection would take a socket that only its own slot refers to, slot and all.
        self.socket = self.server.nextPendingConnection()
        self.socket.readyRead.connect(self.read)

    def read(self):
        socket = self.socket
        while socket.canReadLine():
            answer = self.run(json.loads(bytes(socket.readLine()))["code"])
            socket.write(json.dumps(answer).encode() + b"\n")

    def run(self, code):
        """Run statements; the value of the last one, if it is an expression, is the answer."""
        try:
            tree = ast.parse(code)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<test>", "exec"), self.names)
            value = eval(compile(ast.Expression(last.value), "<test>", "eval"), self.names) if last else None
            json.dumps(value)
            return {"value": value}
        except Exception:  # noqa: BLE001 - the test shows it
            return {"error": traceback.format_exc()}


krita.Krita.instance().addExtension(Driver(krita.Krita.instance()))
