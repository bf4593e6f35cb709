"""A real Krita on a display of its own, driven from outside. See `krita/driver.py`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import textwrap
import time
from pathlib import Path

from tests.hosts.hosts import ROOT, answers

HERE = Path(__file__).parent
ENTER = HERE / "enter.sh"
DISPLAY = os.environ.get("BRUSHWIRE_KRITA_DISPLAY", ":72")
#: Krita's first start on a fresh profile takes 20 s alone, and more beside others.
START = 180.0


class KritaError(AssertionError):
    """What Python inside Krita raised."""


class Display:
    """An X server without a screen, inside the hosts' root; one that is there already is used as it is."""

    def __init__(self, log: Path) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        if answers(int(DISPLAY.removeprefix(":"))):
            return
        with log.open("wb") as out:
            command = ["Xvfb", DISPLAY, "-screen", "0", "1600x1000x24", "-nolisten", "tcp", "-noreset"]
            self.process = subprocess.Popen([str(ENTER), *command], stdout=out, stderr=out)
        deadline = time.monotonic() + 30
        while not answers(int(DISPLAY.removeprefix(":"))):
            assert self.process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, "the display did not come up"
            time.sleep(0.05)

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


class KritaHost:
    """Krita with the driver and, once installed, the plugin, in a home folder of its own."""

    def __init__(self, home: Path, environment: dict[str, str] | None = None, language: str = "") -> None:
        self.home = home
        self.environment = environment or {}
        self.language = language
        self.process: subprocess.Popen[bytes] | None = None
        pykrita = home / ".local/share/krita/pykrita"
        (pykrita / "brushwire_driver").mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "krita/driver.py", pykrita / "brushwire_driver/__init__.py")
        (pykrita / "brushwire_driver.desktop").write_text(
            "[Desktop Entry]\nType=Service\nServiceTypes=Krita/PythonPlugin\nX-KDE-Library=brushwire_driver\n"
            "X-Python-2-Compatible=false\nName=Driver of the tests\nComment=Lets tests drive Krita\n"
        )
        (home / ".config").mkdir(parents=True, exist_ok=True)
        rc = home / ".config/kritarc"
        if not rc.exists():
            rc.write_text("[python]\nenable_brushwire_driver=true\n")

    @property
    def log(self) -> str:
        return (self.home / "krita.log").read_text("utf-8", "replace")

    def start(self) -> KritaHost:
        port_file = self.home / "port"
        port_file.unlink(missing_ok=True)
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "LC_", "PYTHON"))},
            "BRUSHWIRE_HOSTS": str(ROOT),
            "HOME": str(self.home),
            "DISPLAY": DISPLAY,
            "BRUSHWIRE_TEST_PORT_FILE": str(port_file),
            "LANG": "C.UTF-8",
            "PYTHONFAULTHANDLER": "1",
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            **({"LANGUAGE": self.language} if self.language else {}),
            **self.environment,
        }
        (self.home / "run").mkdir(mode=0o700, exist_ok=True)
        with (self.home / "krita.log").open("wb") as out:
            self.process = subprocess.Popen(
                [str(ENTER), "krita", "--nosplash"], env=environment, stdout=out, stderr=out
            )
        deadline = time.monotonic() + START
        while not port_file.exists():
            assert self.process.poll() is None, f"Krita ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"Krita did not come up:\n{self.log}"
            time.sleep(0.1)
        self._connect(int(port_file.read_text()))
        return self

    def _connect(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rwb")

    def run(self, code: str, timeout: float = 60.0):
        """Run statements in Krita's main thread; the last expression's value, if there is one, comes back."""
        self.socket.settimeout(timeout)
        try:
            self.file.write(json.dumps({"code": textwrap.dedent(code)}).encode() + b"\n")
            self.file.flush()
            line = self.file.readline()
        except OSError:
            line = b""
        assert line, f"Krita has gone:\n{self.log[-3000:]}"
        answer = json.loads(line)
        if "error" in answer:
            raise KritaError(answer["error"])
        return answer["value"]

    def until(self, expression: str, timeout: float = 60.0):
        """Wait until an expression is true in Krita, asking again and again; its value."""
        deadline = time.monotonic() + timeout
        while not (value := self.run(expression)):
            assert time.monotonic() < deadline, f"still not true after {timeout} s: {expression}\n{self.log[-3000:]}"
            time.sleep(0.02)
        return value

    def screenshot(self, path: Path) -> Path:
        environment = {**os.environ, "DISPLAY": DISPLAY}
        subprocess.run([str(ENTER), "import", "-window", "root", str(path)], env=environment, check=True, timeout=60)
        return path

    def xdotool(self, *arguments: str) -> None:
        environment = {**os.environ, "DISPLAY": DISPLAY}
        subprocess.run([str(ENTER), "xdotool", *arguments], env=environment, check=True, timeout=60)

    def quit(self, timeout: float = 60.0) -> int:
        """Close Krita as its menu does, documents unsaved; its exit code."""
        # What the tests hold of Krita's must be gone before Krita is, as with any script of its own.
        self.run("""
            for name in [name for name, value in globals().items() if type(value).__module__.startswith("PyKrita")]:
                if name != "app": del globals()[name]
            for one in app.documents(): one.setModified(False)
            del one
        """)
        self.run("from PyQt5.QtCore import QTimer; QTimer.singleShot(0, app.action('file_quit').trigger)")
        code = self.process.wait(timeout)
        print(self.log[-3000:])  # shown where the test fails
        return code

    def close(self) -> None:
        """Make sure that it is gone."""
        with contextlib.suppress(Exception):
            self.socket.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
