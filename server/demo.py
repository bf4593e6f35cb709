"""A show of what works: a server of its own, pictures painted over its socket, and a sheet of all of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient, BridgeError, JobResult
from bridge_protocol.jobs import Control, Generate
from server import pictures, watching
from server.engine.catalog import Catalog
from server.engine.errors import EngineError
from server.temporary import TemporaryServer

SIZE = 256
STEPS = 20
PROMPTS = (
    "a red brick wall", "green moss", "blue tiles", "brown wood planks", "grey cobblestone", "gold scales",
)  # fmt: skip


@dataclass
class _Show:
    """What was painted so far: rows of titled pictures, and how long each part took in seconds."""

    client: BridgeClient
    console: Console
    rows: list[tuple[str, list[tuple[str, NDArray[np.uint8]]]]] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def paint(self, title: str, job: Generate) -> tuple[str, NDArray[np.uint8]]:
        """One picture under its title."""
        result = self._run(title, job)
        return title, watching.array_of(result.blobs[0])[:, :, :3]

    def _run(self, title: str, job: Generate) -> JobResult:
        if job.image is None:
            job = replace(job, width=SIZE, height=SIZE)
        began = time.perf_counter()
        result = watching.follow(self.client.submit(job), title)
        self.console.print(f"  {title}: {time.perf_counter() - began:.1f} s", highlight=False)
        for note in result.info.get("fallbacks", []):
            if note not in self.notes:
                self.notes.append(note)
        return result

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Take the time of a part."""
        began = time.perf_counter()
        yield
        self.times[name] = time.perf_counter() - began


def run(console: Console, out: Path, folders: Sequence[Path]) -> int:
    """Paint, write pictures and the sheet under `out`, and print what was done. Returns the exit code."""
    began = time.perf_counter()
    with TemporaryServer(folders) as server:
        console.print(f"A server listens (started in {time.perf_counter() - began:.1f} s).")
        try:
            with BridgeClient("brushwire demo", runtime=server.runtime) as client:
                show = _Show(client, console)
                _paint_all(show, by_depth=_has_depth_controlnet(folders))
        except BridgeError:
            console.print(server.log_tail(), markup=False)
            raise
    paths = [
        pictures.write(picture, out, re.sub(r"[^a-z0-9]+", "-", f"{row} {title}".lower()))
        for row, entries in show.rows
        for title, picture in entries
    ]
    sheet = pictures.write(contact_sheet(show.rows), out, "contact-sheet")
    table = Table("part", "seconds")
    for name, seconds in [*show.times.items(), ("all, with the server's start and stop", time.perf_counter() - began)]:
        table.add_row(name, f"{seconds:.1f}")
    console.print(table)
    for note in show.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    console.print(f"{len(paths)} pictures lie in {out}; all of them together: {sheet}", markup=False)
    return 0


def _paint_all(show: _Show, *, by_depth: bool) -> None:
    with show.part("first picture, with the loading of the model"):
        first = show.paint(PROMPTS[0], Generate(PROMPTS[0], seed=1, steps=STEPS))
    with show.part("text to picture"):
        words = [first, *(show.paint(prompt, Generate(prompt, seed=1, steps=STEPS)) for prompt in PROMPTS[1:])]
    show.rows.append(("Words", words))
    picture = first[1]
    with show.part("picture to picture"):
        image = Blob.of(np.ascontiguousarray(picture), color="srgb")
        repainted = [
            show.paint(f"half way to {words}", Generate(words, image=image, denoising_strength=strength, seed=2))
            for words, strength in (("grey cobblestone", 0.6),)
        ]
    with show.part("into a mask"):
        y, x = np.mgrid[:SIZE, :SIZE]
        inside = (np.hypot(x - SIZE / 2, y - SIZE / 2) < SIZE / 3.2).astype(np.uint8) * 255
        job = Generate("green moss", image=image, mask=Blob.of(inside), mask_feather=12, denoising_strength=1.0, seed=3)
        painted = show.paint("moss in a circle", job)
        outside = np.hypot(x - SIZE / 2, y - SIZE / 2) > SIZE / 3.2 + 14
        if not np.array_equal(painted[1][outside], picture[outside]):
            raise AssertionError("pixels outside of the mask have changed")
    with show.part("seamless"):
        _, tile = show.paint("seamless tiles", Generate("blue tiles", seamless="both", seed=4, steps=STEPS))
        shifted = np.roll(tile, (SIZE // 2, SIZE // 2), (0, 1))
    show.rows.append(("Pictures", [("before", picture), *repainted, painted, ("seamless, shifted by half", shifted)]))
    if not by_depth:
        show.notes.append("No ControlNet for depth is here: nothing was painted by depth.")
        return
    with show.part("by depth"):
        depth = _spheres()
        controls = [Control("depth", Blob.of(depth))]
        job = Generate("a red sphere, white background", controls=controls, seed=5, steps=STEPS)
        followed = show.paint("spheres by depth", job)
    show.rows[-1][1].extend([("depth", _shown(depth)), followed])


def _has_depth_controlnet(folders: Sequence[Path]) -> bool:
    """Whether the checkpoint that will paint has a ControlNet for depth."""
    catalog = Catalog(folders)
    try:
        catalog.controlnet("depth", catalog.default())
    except EngineError:
        return False
    return True


def _spheres() -> NDArray[np.float32]:
    """Depth in metres of three spheres in front of a wall, seen by a parallel camera; (SIZE, SIZE)."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    depth = np.full((SIZE, SIZE), 3.0)
    for cx, cy, radius in ((0.35, 0.4, 0.25), (0.7, 0.62, 0.22), (0.68, 0.22, 0.13)):
        height = radius**2 - (x - cx) ** 2 - (y - cy) ** 2
        depth = np.where(height > 0, np.minimum(depth, 2.0 - 2 * np.sqrt(np.maximum(height, 0))), depth)
    return depth.astype(np.float32)


def _shown(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Depth for the eye: near is bright."""
    near = (depth.max() - depth) / (depth.max() - depth.min())
    return np.repeat((40 + 200 * near).astype(np.uint8)[:, :, None], 3, 2)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[tuple[str, NDArray[np.uint8]]]]],
) -> NDArray[np.uint8]:
    """All pictures in rows under their titles, as (h, w, 3) uint8."""
    margin, caption = 16, 26
    columns = max(len(entries) for _, entries in rows)
    width = margin + columns * (SIZE + margin)
    height = margin + len(rows) * (SIZE + caption + margin)
    sheet = Image.new("RGB", (width, height), (28, 29, 32))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, (_, entries) in enumerate(rows):
        for column, (title, picture) in enumerate(entries):
            left, top = margin + column * (SIZE + margin), margin + row * (SIZE + caption + margin)
            tile = Image.fromarray(np.ascontiguousarray(picture)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (left, top))
            draw.text((left, top + SIZE + 5), title, (222, 222, 218), font)
    return np.asarray(sheet)
