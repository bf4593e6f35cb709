"""Grid: one job painted many times with a field or two changed, and a labelled sheet of all of it."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bridge_protocol import jobs
from bridge_protocol.jobs import Axis, Generate, Grid
from bridge_protocol.records import InvalidValue
from server import provenance
from server.engine import compositing, prompts
from server.engine.painting import IsCancelled, OnProgress
from server.verbs import Arrays, Made, Painter, Yield, generate
from server.verbs.several import merged, part_of_all

#: Pictures of one grid.
MOST = 128
#: The longer side of the sheet in pixels; larger grids show their pictures smaller.
SHEET = 8192
#: Options of one prompt matrix: each doubles it.
MOST_OPTIONS = 6


@dataclass(frozen=True)
class Cell:
    """One picture of a grid: where it stands, and the job that paints it."""

    x: int
    y: int
    job: Generate


def run(job: Grid, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Paint a Grid job: an output "grid", the labelled sheet, and a "cell" for each picture, row by row.

    All cells share one seed, unless it is the field that changes. Raises InvalidValue or an EngineError.
    """
    if job.job.batch != 1:
        raise InvalidValue("job.batch", job.job.batch, "1", "Let the seed be one axis of the grid.")
    steady = job if job.job.seed is not None else replace(job, job=replace(job.job, seed=generate.drawn_seed()))
    columns, rows, found = cells(steady)
    outputs: list[Made] = []
    infos = []
    for number, cell in enumerate(found):
        made = generate.run(cell.job, arrays, painter, part_of_all(on_progress, number, len(found)), cancelled)
        for out in made.outputs:
            outputs.append(replace(out, name="cell", info={"x": cell.x, "y": cell.y, "seed": out.info["seed"]}))
        infos.append(made.info)
    pictures = [out.array for out in outputs]
    drawn = Made("grid", sheet(pictures, columns, rows), "srgb", {"columns": columns, "rows": rows})
    return Yield([drawn, *outputs], {**merged(infos), "job": provenance.plain(steady)})


def cells(job: Grid) -> tuple[list[str], list[str], list[Cell]]:
    """The labels of the columns and of the rows, and the cells row by row. Raises InvalidValue."""
    across, down = _values("x", job.x), _values("y", job.y) if job.y is not None else [""]
    if len(across) * len(down) > MOST:
        raise InvalidValue(
            "x", f"{len(across)} × {len(down)} pictures", f"at most {MOST} together", "Ask for several grids."
        )
    found = []
    for row, below in enumerate(down):
        for column, beside in enumerate(across):
            one = _changed("x", job.job, job.x.field, beside)
            if job.y is not None:
                one = _changed("y", one, job.y.field, below)
            found.append(Cell(column, row, one))
    rows = [] if job.y is None else [_label(job.y, value) for value in down]
    return [_label(job.x, value) for value in across], rows, found


def matrix(prompt: str) -> list[str]:
    """A prompt with options, `base|one|two`, as all that it can be: base, base with one, with two, with both."""
    base, *options = (part.strip() for part in prompts.split(prompt, "|"))
    chosen = [some for count in range(len(options) + 1) for some in combinations(options, count)]
    return [", ".join(part for part in (base, *some) if part) for some in chosen]


def sheet(pictures: list[NDArray[Any]], columns: list[str], rows: list[str]) -> NDArray[np.uint8]:
    """(h, w, 3) uint8: the pictures row by row on white, each as large as the largest, with labels above and beside."""
    across, down = len(columns), max(1, len(rows))
    wide, high = (max(picture.shape[side] for picture in pictures) for side in (1, 0))
    scale = min(1.0, SHEET / (across * wide), SHEET / (down * high))
    wide, high = max(1, int(wide * scale)), max(1, int(high * scale))
    font = ImageFont.load_default(max(12, min(wide // 16, 48)))
    gap = max(2, wide // 64)
    above = [_wrapped(label, font, wide) for label in columns]
    beside = [_wrapped(label, font, max(wide // 2, 64)) for label in rows]
    top = max(_extent(label, font)[1] for label in above) + 2 * gap
    left = max((_extent(label, font)[0] for label in beside), default=0) + (2 * gap if rows else gap)
    page = Image.new("RGB", (left + across * (wide + gap), top + down * (high + gap)), "white")
    draw = ImageDraw.Draw(page)
    for column, label in enumerate(above):
        x = left + column * (wide + gap) + wide / 2
        draw.multiline_text((x, top - gap), label, "black", font, anchor="md", align="center")
    for row, label in enumerate(beside):
        y = top + row * (high + gap) + high / 2
        draw.multiline_text((left - gap, y), label, "black", font, anchor="rm", align="right")
    for number, picture in enumerate(pictures):
        small = compositing.to_float(picture[..., :3])
        size = max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale))
        pixels = compositing.from_float(np.clip(compositing.resize(small, *size), 0, 1), np.dtype(np.uint8))
        place = left + number % across * (wide + gap), top + number // across * (high + gap)
        page.paste(Image.fromarray(pixels), place)
    return np.asarray(page)


def _values(name: str, axis: Axis) -> list[str]:
    if not axis.values:
        raise InvalidValue(f"{name}.values", axis.values, "at least one value")
    if axis.field != "prompt":
        return axis.values
    for index, value in enumerate(axis.values):
        if len(prompts.split(value, "|")) > MOST_OPTIONS + 1:
            raise InvalidValue(f"{name}.values[{index}]", value, f"a prompt with at most {MOST_OPTIONS} options")
    return [prompt for value in axis.values for prompt in matrix(value)]


def _label(axis: Axis, value: str) -> str:
    return value or "(nothing)" if axis.field in ("prompt", "negative_prompt") else f"{axis.field}: {value}"


def _changed(name: str, job: Generate, path: str, text: str) -> Generate:
    """The job with the field at a path (`steps`, `controls[0].weight`) set to what the text says."""
    _, fields = jobs.job_to_plain(job)
    plain: Any = copy.deepcopy(fields)
    kind: dict[str, Any] = {"type": "record", "fields": jobs.schema()["Generate"]["fields"]}
    place, last = plain, None
    for part in re.findall(r"[^.\[\]]+", path):
        if last is not None:
            place = place[last] if isinstance(last, int) else place.setdefault(last, {})
        if kind["type"] == "list" and part.isdigit() and int(part) < len(place):
            kind, last = kind["items"], int(part)
            continue
        found = [field for field in kind.get("fields", []) if field["name"] == part]
        if kind["type"] != "record" or not found:
            raise InvalidValue(f"{name}.field", path, "a field of Generate, such as steps or controls[0].weight")
        kind, last = found[0], part
    if kind["type"] in ("record", "list", "array") or last is None:
        raise InvalidValue(f"{name}.field", path, "a field that a text can say, such as steps or controls[0].weight")
    place[last] = _value(kind["type"], text)
    changed: Generate = jobs.job_from_plain("Generate", plain)
    return changed


def _value(kind: str, text: str) -> Any:
    """The text as a value of that kind; what cannot be one stays a text, and is refused by the field itself."""
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in ("integer", "number"):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _wrapped(text: str, font: Any, width: int) -> str:
    """The text in lines that are no wider than that, as far as its words allow, and three at most."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > 3:
        lines = [*lines[:2], lines[2] + " …"]
    return "\n".join(lines)


def _extent(text: str, font: Any) -> tuple[int, int]:
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    return int(box[2] + 1), int(box[3] + 1)
