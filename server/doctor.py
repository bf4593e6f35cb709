"""What is installed, where things lie, and whether a job can be painted: what a report of a problem needs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bridge_protocol import discovery
from bridge_protocol.client import BridgeClient, BridgeError
from bridge_protocol.jobs import Generate
from bridge_protocol.machine import runtime_folder, shared_root
from server import machine
from server.engine.catalog import Catalog
from server.temporary import TemporaryServer

PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "numpy", "pillow", "msgpack",
    "websockets",
)  # fmt: skip


def run(out: Console, folders: Sequence[Path]) -> None:
    """Print the whole examination. The token itself is not shown, only where it lies."""
    table = Table(show_header=False, box=None)
    for name, value in [*_versions(), *_devices(), *_places(folders)]:
        table.add_row(name, value)
    out.print(table, highlight=False, soft_wrap=True)
    catalog = Catalog(list(folders))
    if not any(model.kind == "checkpoint" for model in catalog.models()):
        out.print("No model can paint: put a checkpoint into the models' folder, or give another with --models.")
        return
    _test_job(out, folders)


def _versions() -> list[tuple[str, str]]:
    rows = [("python", f"{platform.python_version()} on {platform.platform()}")]
    for package in ("brushwire", *PACKAGES):
        try:
            rows.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    return rows


def _devices() -> list[tuple[str, str]]:
    import torch

    memory = psutil.virtual_memory()
    rows = [("cpu", f"{os.cpu_count()} threads, {memory.total / 1e9:.0f} GB, {memory.available / 1e9:.0f} GB free")]
    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        rows.append((f"cuda:{index}", f"{name}, {torch.cuda.get_device_properties(index).total_memory / 1e9:.0f} GB"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "Apple's GPU, which shares the memory above"))
    return rows


def _places(folders: Sequence[Path]) -> list[tuple[str, str]]:
    runtime = runtime_folder()
    address = discovery.find()
    running = address is not None and discovery.listens(address)
    return [
        ("token", str(runtime / "token")),
        ("shared memory", str(shared_root())),
        ("data", str(machine.data_folder())),
        *(("models", f"{folder}{'' if folder.is_dir() else ' (not there)'}") for folder in folders),
        ("server", f"{address.url}, process {address.pid}" if running and address else "none is running"),
    ]


def _test_job(out: Console, folders: Sequence[Path]) -> None:
    out.print("A test job, 4 steps at 256², on a server of its own:")
    began = time.perf_counter()
    with TemporaryServer(folders) as server:
        try:
            with BridgeClient("brushwire doctor", runtime=server.runtime) as client:
                job = Generate("a red brick wall", seed=1, steps=4, width=256, height=256)
                for name in ("first, with the loading of the model", "second, warm"):
                    before = time.perf_counter()
                    result = client.run(job)
                    phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in result.info["timings"].items())
                    out.print(f"  {name}: {time.perf_counter() - before:.2f} s ({phases})", highlight=False)
                lane = "the shared folder" if client.uses_shared_memory else "the socket"
                out.print(f"  pixels came through {lane}; {client.query('status')['devices']} painted", markup=False)
        except BridgeError:
            out.print(server.log_tail(), markup=False)
            raise
    out.print(f"  all, with the server's start and stop: {time.perf_counter() - began:.1f} s", highlight=False)
