"""Real GIMP with the plug-in installed: runs a function of gimp_inside/ inside, in the console or with the window."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from plugins import pack
from tests.hosts import hosts

PROGRAM = "gimp-console-3.0"
_SIDE = Path(__file__).parent


class GimpHost:
    """One profile with the plug-in in it. folder: under /tmp. runtime: the folder where it finds the server."""

    def __init__(self, folder: Path, runtime: Path):
        self.folder = folder
        self.plugin = folder / "profile" / "plug-ins" / "brushwire"
        pack.unpack(pack.pack("gimp", folder / "archive"), self.plugin.parent)
        (folder / "profile" / "gimprc").write_text(
            '(config-version "3.0.4")\n(show-welcome-dialog no)\n(check-updates no)\n(undo-levels 50)\n'
        )
        (folder / "files" / "gimp").mkdir(parents=True)
        (folder / "files" / "gimp" / "settings.json").write_text('{"start_server": false}')
        self.more = {
            "GIMP3_DIRECTORY": str(folder / "profile"),
            "BRUSHWIRE_PLUGINS": str(folder / "files"),
            "BRUSHWIRE_RUNTIME": str(runtime),
            "BRUSHWIRE_PLUGIN": str(self.plugin),
        }
        self._count = 0

    def _command(self, function: str, arguments: dict) -> tuple[str, Path]:
        self._count += 1
        report = self.folder / f"report-{self._count}.json"
        given = self.folder / f"arguments-{self._count}.json"
        given.write_text(json.dumps(arguments))
        return (
            f"import sys; sys.path.insert(0, {str(_SIDE)!r}); import gimp_inside; "
            f"gimp_inside.run({function!r}, {str(given)!r}, {str(report)!r})"
        ), report

    def console(self, function: str, timeout: float = 120, **arguments):
        """What a function of gimp_inside/ ("pixels.ramp") returns, run in a GIMP without a window."""
        process, report = self.start_console(function, **arguments)
        try:
            found = hosts.report_of(report, process, timeout)
            process.wait(120)
        finally:
            hosts.kill(process)
        assert "error" not in found, found["error"]
        return found["value"]

    def start_console(self, function: str, **arguments):
        """The same, still running: its process, and the report that it will write."""
        command, report = self._command(function, arguments)
        log = (self.folder / "gimp.log").open("ab")
        process = hosts.start(
            PROGRAM, "-i", "-d", "-f", "--batch-interpreter", "python-fu-eval", "-b", command, "--quit",
            env=hosts.environment(self.folder, **self.more), stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        return process, report

    def start_window(self, screen: hosts.Screen, function: str, **arguments):
        """A GIMP with its window, which runs a function and goes on until it is ended."""
        command, report = self._command(function, arguments)
        log = (self.folder / "gimp.log").open("ab")
        process = screen.start(
            "gimp", "--new-instance", "--no-splash", "-d", "-f", "--batch-interpreter", "python-fu-eval", "-b", command,
            env=self.more, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        return process, report

    def log(self) -> str:
        """The end of what GIMP has printed."""
        return (self.folder / "gimp.log").read_text("utf-8", "replace")[-3000:]

    def plug_in_process(self) -> int | None:
        """The process of the plug-in that runs now."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.plugin / "brushwire.py").encode() in words and b"-run" in words:
                return int(path.parent.name)
        return None

    def kill_plug_in(self) -> None:
        """End the plug-in's process as GIMP's Cancel does."""
        found: list[int] = []

        def runs() -> bool:
            found[:] = [pid for pid in [self.plug_in_process()] if pid]
            return bool(found)

        hosts.wait_until(runs, 90, "the plug-in does not run")
        os.kill(found[0], signal.SIGKILL)
