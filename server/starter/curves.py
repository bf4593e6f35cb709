"""The loss curves of a training, as a picture."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw

_WIDTH, _HEIGHT, _MARGIN = 900, 420, 50
_COLORS = ("#c0392b", "#2471a3", "#1e8449", "#b7950b", "#7d3c98", "#555555")


def read(path: Path) -> dict[str, list[tuple[int, float]]]:
    """A training's log, `{"step", "kind", "loss"}` a line, as kind → (step, loss) in order."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        curves[entry["kind"]].append((entry["step"], entry["loss"]))
    return dict(curves)


def smoothed(curve: list[tuple[int, float]], points: int = 60) -> list[tuple[float, float]]:
    """At most `points` means of equal stretches."""
    span = max(1, -(-len(curve) // points))
    parts = [curve[at : at + span] for at in range(0, len(curve), span)]
    return [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in parts]


def plot(curves: dict[str, list[tuple[int, float]]], title: str) -> Image.Image:
    """Lines over steps, with a legend; the axes are linear, the lower one begins at 0."""
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    lines = {name: smoothed(curve) for name, curve in curves.items() if curve}
    last = max(step for line in lines.values() for step, _ in line) or 1
    top = max(loss for line in lines.values() for _, loss in line) * 1.4  # above the lines is room for the legend

    def place(step: float, loss: float) -> tuple[float, float]:
        x = _MARGIN + step / last * (_WIDTH - 2 * _MARGIN)
        return x, _HEIGHT - _MARGIN - loss / top * (_HEIGHT - 2 * _MARGIN)

    for tick in range(5):
        y = place(0, top * tick / 4)[1]
        draw.line([(_MARGIN, y), (_WIDTH - _MARGIN, y)], fill="#dddddd")
        draw.text((6, y - 6), f"{top * tick / 4:.2f}", fill="black")
        draw.text((place(last * tick / 4, 0)[0] - 12, _HEIGHT - _MARGIN + 8), f"{last * tick / 4:.0f}", fill="black")
    draw.text((_MARGIN, 14), title, fill="black")
    for number, (name, line) in enumerate(lines.items()):
        color = _COLORS[number % len(_COLORS)]
        if len(line) > 1:
            draw.line([place(*point) for point in line], fill=color, width=2)
        draw.text((_WIDTH - _MARGIN - 150, _MARGIN + 16 * number), name, fill=color)
    return picture


def diffusion_groups(curves: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """The diffusion's many kinds of steps gathered: crops and whole pictures of materials, and of all else."""
    groups: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for kind, curve in curves.items():
        names = {"materials": "materials", "stills": "stills and portraits", "portraits": "stills and portraits"}
        name = names.get(kind.partition("-")[0], "scenes and people")
        control = next((f", {word}" for word in ("depth", "normal", "pose") if kind.endswith(word)), "")
        if "-whole" not in kind:
            groups[name + control] += curve
    return {name: sorted(groups[name]) for name in sorted(groups)}
