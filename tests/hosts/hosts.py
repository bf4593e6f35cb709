"""Real hosts without a screen: they run inside the root that install.sh makes, the server and the tests outside.

    with display(71) as screen:
        process = screen.start("gimp", "--new-instance", …)
        screen.screenshot(path)
        screen.keys("ctrl+z")

Inside and outside share loopback, /tmp and /dev/shm: profiles, scripts and what they report lie under /tmp.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ENTER = Path(__file__).with_name("enter.sh")
ROOT = Path(os.environ.get("BRUSHWIRE_HOSTS") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            / "brushwire" / "hosts")  # fmt: skip
#: Where tests leave the pictures that the documentation shows; a run that is not asked for them leaves them under out/.
PICTURES = Path(os.environ.get("BRUSHWIRE_PICTURES") or Path(__file__).parents[2] / "out" / "hosts")
#: A Python that has the bpy wheel: where it is named, it stands for Blender (in all that needs no window).
BPY = os.environ.get("BRUSHWIRE_BPY", "")
#: What hosts must not inherit from the tests' own Python.
_NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR")


def missing(program: str) -> str:
    """Why tests with that program cannot run here; empty where they can."""
    if program == "blender" and BPY:
        return "" if shutil.which(BPY) else f"there is no Python {BPY}, which BRUSHWIRE_BPY names"
    if not (ROOT / ".installed").is_file():
        return f"the hosts are not installed under {ROOT} (tests/hosts/install.sh installs them)"
    if not (ROOT / "usr" / "bin" / program).exists():
        return f"{program} is not in the hosts' root {ROOT}"
    if os.geteuid() != 0:
        return "entering the hosts' root needs the rights of root"
    return ""


def words(program: str | Path) -> list[str]:
    """The command that runs a program: inside the root, or, for Blender, by the wheel where that stands for it."""
    if program == "blender" and BPY:
        return [BPY, str(Path(__file__).with_name("bpy_host.py"))]
    return [str(ENTER), str(program)]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A host's environment with a home of its own under `folder` (which lies under /tmp)."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    home = folder / "home"
    temporary = folder / "tmp"
    for path in (home, temporary):
        path.mkdir(parents=True, exist_ok=True)
    own = {"HOME": str(home), "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8", "NO_AT_BRIDGE": "1"}
    return {**inherited, **own, **more}


def run(*command: str | Path, env: Mapping[str, str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command inside, to its end; it and its children are killed where that takes longer."""
    process = start(*command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        out, _ = process.communicate()
        raise AssertionError(f"{command[0]} has not ended within {timeout:g} s:\n{out[-4000:]}") from None
    return subprocess.CompletedProcess(list(command), process.returncode, out, "")


def start(*command: str | Path, env: Mapping[str, str], **options: object) -> subprocess.Popen[str]:
    """Start a command inside, as a process group of its own."""
    return subprocess.Popen(
        [*words(command[0]), *map(str, command[1:])],
        env={**env, "BRUSHWIRE_HOSTS": str(ROOT)},
        text=True,
        start_new_session=True,
        **options,
    )  # type: ignore[call-overload,no-any-return]  # the options are Popen's own


def kill(process: subprocess.Popen[str]) -> None:
    """End a started command and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Screen:
    """A virtual display, and what a person does at it."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.env = environment(folder, DISPLAY=f":{number}")

    def start(self, *command: str | Path, env: Mapping[str, str] | None = None, **options: object) -> subprocess.Popen:
        """Start a host on this display."""
        return start(*command, env={**self.env, **(env or {})}, **options)

    def screenshot(self, path: Path, window: str = "root") -> Path:
        """Save what the display shows (or one window, by its id) as a PNG file."""
        temporary = Path(self.env["HOME"]) / "screenshot.png"
        done = run("import", "-window", window, temporary, env=self.env, timeout=60)
        assert done.returncode == 0, done.stdout
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(temporary, path)
        return path

    def xdotool(self, *arguments: str | int) -> str:
        """Act on the display; see xdotool(1)."""
        done = run("xdotool", *map(str, arguments), env=self.env, timeout=60)
        assert done.returncode == 0, f"xdotool {arguments}: {done.stdout}"
        return done.stdout.strip()

    def window(self, title: str, timeout: float = 60) -> str:
        """The id of a visible window whose title matches, as soon as it is there."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            done = run("xdotool", "search", "--onlyvisible", "--name", title, env=self.env, timeout=60)
            found = re.findall(r"^\d+$", done.stdout, re.MULTILINE)
            if found:
                return found[-1]
            time.sleep(0.2)
        raise AssertionError(f"no window with the title {title!r} has come")

    def title(self, window: str) -> str:
        """A window's title."""
        return self.xdotool("getwindowname", window)


@contextlib.contextmanager
def display(number: int, folder: Path, size: str = "1280x900") -> Iterator[Screen]:
    """A virtual display with that number; it ends with the block."""
    screen = Screen(number, folder)
    log = (folder / "xvfb.log").open("wb")
    server = start(
        "Xvfb", f":{number}", "-screen", "0", f"{size}x24", "-nolisten", "tcp", env=screen.env, stdout=log, stderr=log
    )
    try:
        wait_until(lambda: answers(number), 30, f"display :{number} does not start (see {folder / 'xvfb.log'})")
        yield screen
    finally:
        kill(server)
        log.close()
        for left in (Path(f"/tmp/.X{number}-lock"), Path(f"/tmp/.X11-unix/X{number}")):
            left.unlink(missing_ok=True)


def answers(number: int) -> bool:
    """Whether a display takes connections; the file of one that was killed stays behind."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(f"/tmp/.X11-unix/X{number}") == 0


def wait_until(condition: object, timeout: float, problem: str) -> None:
    """Wait for what another process does and tells nobody; for what it tells, wait for its report instead."""
    deadline = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, problem
        time.sleep(0.05)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Let the kernel (inotify) note every file that is created, written or moved below a folder meanwhile.

    Gives a function that returns their paths, relative to the folder, after the block.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0, "inotify is not there"
    created, modified, moved = 0x100, 0x2, 0x80
    watches = {}
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        watch = libc.inotify_add_watch(descriptor, os.fsencode(path), created | modified | moved)
        assert watch >= 0, f"{path} cannot be watched"
        watches[watch] = path
    seen: set[str] = set()

    def drain() -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(descriptor, 1 << 16):
                at = 0
                while at < len(data):
                    watch, _mask, _cookie, length = struct.unpack_from("iIII", data, at)
                    name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                    seen.add((watches[watch] / name).relative_to(folder).as_posix())
                    at += 16 + length

    try:
        yield lambda: sorted(seen)
        drain()
    finally:
        os.close(descriptor)


def report_of(path: Path, process: subprocess.Popen[str], timeout: float) -> dict:
    """The JSON that a script inside a host writes at its end (whole or not at all: written aside and renamed)."""

    def ended() -> bool:
        return path.exists() or process.poll() is not None

    wait_until(ended, timeout, f"{path.name} has not come within {timeout:g} s")
    wait_until(path.exists, 1.0, f"the host has ended with {process.returncode} and left no {path.name}")
    return json.loads(path.read_text("utf-8"))


def changed_paths(entry: Mapping[str, list[str]]) -> set[str]:
    """Which of Blender's properties are not as they were, by a report of tests/hosts/blender_rna.py."""
    return {line.split(":")[0] for line in entry["changed"]}
