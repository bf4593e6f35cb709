"""Measures an exported starter model: `python -m server.starter evaluate --weights DIR`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from server.starter import measures
from server.starter.judge import Judge
from server.starter.measures import Measure
from server.starter.pipelines import Pipelines
from server.starter.words import MATERIALS

WEIGHTS = Path(__file__).parent / "weights"
#: Seconds that a picture of 256² and 20 steps and the loading may take on a two-core CPU.
PICTURE_SECONDS, LOAD_SECONDS = 6.0, 2.0

#: The contact sheet's prompts beside the plain materials: coloured ones, solids, people.
SHEET = (
    "red brick wall", "blue tiles", "green marble", "purple scales", "black leather", "yellow stripes", "pink fabric",
    "teal checker", "white cobblestone", "orange wood planks", "old grey concrete", "brown leather texture",
    "a red sphere on grass under a blue sky", "a gold torus, black background", "a brick cube on sand",
    "a blue cone, white background", "a marble vase on wood planks", "green stairs on a grey floor",
    "a wood grain table in a white room", "an arch of cobblestone on grass at sunset", "a yellow cylinder on tiles",
    "a purple capsule, yellow background", "snow mountains under a blue sky", "a checker sphere, white background",
    "a person in a red shirt and blue trousers waving", "a person in a green dress standing on grass under a blue sky",
    "a figure with arms up, wearing a yellow shirt and black trousers, white background",
    "person, blue t-shirt, brown shorts, running, grey background", "a person sitting in a white room",
    "a person in a purple dress with arms spread at sunset",
    "a person in an orange shirt and white trousers walking on sand",
    "a figure jumping like a star on snow", "a person with hands on hips, teal background",
    "lava cube at night", "an ice cone on water",
)  # fmt: skip


def evaluate(
    weights: Annotated[Path, typer.Option(help="An exported model: Stable Diffusion's folder layout.")] = WEIGHTS,
    out: Annotated[Path, typer.Option(help="Where the table (JSON) and the contact sheet (PNG) go.")] = Path(
        "out/starter/evaluation"
    ),
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 256,
    steps: int = 20,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; the model's own where not given.")] = None,
    favor_controls: Annotated[bool, typer.Option(help="Let controls win over words, as a job may ask for.")] = False,
    seed: int = 70_000,
    each: Annotated[int, typer.Option(help="Pictures of each material; colours and fillings follow.")] = 3,
    figures: Annotated[int, typer.Option(help="Pictures with each ControlNet.")] = 32,
    textures: Annotated[int, typer.Option(help="Pictures for seams, image to image and inpainting, each.")] = 12,
    device: str = "cpu",
    threads: Annotated[int, typer.Option(help="Of torch; 0 leaves its own choice.")] = 0,
    only: Annotated[str, typer.Option(help="Some of the parts, with commas; all where empty.")] = "",
) -> None:
    """Print each measure against chance, shuffled conditions, and the judge's own accuracy."""
    if threads:
        torch.set_num_threads(threads)
    judge = Judge.load()
    scale = guidance if guidance is not None else own_guidance(weights)
    pipelines = Pipelines(weights, device, steps, scale, keep=out / "pictures", favor_controls=favor_controls)
    parts = _parts(pipelines, judge, out, size, seed, each, figures, textures)
    wanted = [name for name in only.split(",") if name] or list(parts)
    for name in wanted:
        if name not in parts:
            raise typer.BadParameter(f"only names {name!r}; choose from {', '.join(parts)}")
    out.mkdir(parents=True, exist_ok=True)
    # A file or a pipe has no width of its own, and eighty columns would cut the names.
    console, found = Console(width=None if sys.stdout.isatty() else 170), []
    for name in wanted:
        start = time.perf_counter()
        found += parts[name]()
        console.print(f"{name}: {time.perf_counter() - start:.0f} s", highlight=False)
        _save(out / "measures.json", found, judge, pipelines, size)
    console.print(table(found, judge, pipelines, size))


def own_guidance(weights: Path) -> float:
    """The guidance scale that a model's `brushwire.json` names; 4 where it names none."""
    hints = weights / "brushwire.json"
    return float(json.loads(hints.read_text(encoding="utf-8")).get("guidance_scale", 4.0)) if hints.exists() else 4.0


def table(found: Sequence[Measure], judge: Judge, pipelines: Pipelines, size: int) -> Table:
    """The measures as a table for the terminal."""
    title = f"starter at {size}², {pipelines.steps} steps, guidance {pipelines.guidance_scale:g}"
    grid = Table(title=title, caption=f"judge on fresh pictures: {_words(judge.accuracy)}")
    for column in ("measure", "value", "target", "chance", "shuffled", "truth", "n", "seed", "remarks"):
        grid.add_column(column, justify="left" if column in ("measure", "remarks") else "right")
    for m in found:
        sign = "≤" if m.at_most else "≥"
        mark = {True: " ✓", False: " ✗", None: ""}[m.reached]
        target = "" if m.target is None else f"{sign} {m.target:.2f}"
        numbers = ("" if v is None else f"{v:.3f}" for v in (m.chance, m.shuffled, m.truth))
        grid.add_row(m.name, f"{m.value:.3f}{mark}", target, *numbers, str(m.samples), str(m.seed), m.note)
    return grid


def contact_sheet(pipelines: Pipelines, size: int, seed: int) -> tuple[Image.Image, list[str]]:
    """64 pictures, eight in a row, and their prompts: every material, colours, solids, people."""
    prompts = [*MATERIALS, *SHEET]
    pictures = pipelines.paint(prompts, [seed + i for i in range(len(prompts))], size)
    return tiled(pictures, 8), prompts


def tiled(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures (n, 3, h, w) in [0, 1] in rows of `columns`."""
    n, _, h, w = pictures.shape
    sheet = np.full((-(-n // columns) * h, columns * w, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * h, i % columns * w
        sheet[y : y + h, x : x + w] = (picture.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(sheet)


def _parts(
    pipelines: Pipelines, judge: Judge, out: Path, size: int, seed: int, each: int, figures: int, textures: int
) -> dict[str, Callable[[], list[Measure]]]:
    """What can be measured, by name; a ControlNet that the model lacks is left out, and said so."""

    def sheet() -> list[Measure]:
        picture, prompts = contact_sheet(pipelines, size, seed)
        picture.save(out / "contact-sheet.png")
        (out / "contact-sheet.txt").write_text("\n".join(prompts), encoding="utf-8")
        return []

    def times() -> list[Measure]:
        start = time.perf_counter()
        pipelines.paint_now(["red brick wall"], [seed], 256)
        spent = time.perf_counter() - start
        threads = f"{torch.get_num_threads()} threads"
        return [
            Measure("seconds to load", pipelines.load_seconds, LOAD_SECONDS, at_most=True, samples=1, note=threads),
            Measure("seconds for 256²", spent, PICTURE_SECONDS, at_most=True, samples=1, note=threads),
        ]

    def silhouettes(kind: str) -> list[Measure]:
        return [measures.silhouettes(pipelines, judge, kind, figures, size, seed)]

    parts: dict[str, Callable[[], list[Measure]]] = {
        "times": times,
        "materials": lambda: measures.materials(pipelines, judge, each, size, seed),
        "typical": lambda: [
            measure(pipelines, judge, figures, size, seed)
            for measure in (measures.named_solids, measures.named_actions)
        ],
    }
    for kind in ("depth", "normal"):
        if kind in pipelines.controlled:
            parts[kind] = partial(silhouettes, kind)
    if "pose" in pipelines.controlled:
        parts["pose"] = lambda: [measures.limbs(pipelines, judge, figures, size, seed)]
    for kind in {"depth", "normal", "pose"} - set(pipelines.controlled):
        typer.echo(f"{kind}: the model has no such ControlNet; not measured")
    return parts | {
        "seams": lambda: measures.seams(pipelines, textures, size, seed),
        "strengths": lambda: [measures.strengths(pipelines, textures, size, seed)],
        "filling": lambda: [measures.filling(pipelines, judge, 2 * textures, size, seed)],
        "sheet": sheet,
    }


def _save(path: Path, found: Sequence[Measure], judge: Judge, pipelines: Pipelines, size: int) -> None:
    about = {"size": size, "steps": pipelines.steps, "guidance_scale": pipelines.guidance_scale}
    rows = [asdict(m) | {"reached": m.reached} for m in found]
    path.write_text(json.dumps(about | {"judge": judge.accuracy, "measures": rows}, indent=1), encoding="utf-8")


def _words(accuracy: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in accuracy.items())


if __name__ == "__main__":
    typer.run(evaluate)
