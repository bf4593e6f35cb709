"""Depth edges: which neighbours belong to one surface, and how to make a blurred edge a step again.

Everything here works on disparity q = 1 / z, in which planes are affine (for an orthographic camera on z itself).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .normals import CUT_RATIO

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: The share of strong steps that must continue in the next pixel before a map counts as soft.
SOFT_SHARE = 0.3

#: How far off the middle of its neighbourhood, as a fraction of the range, a pixel must lie to be snapped.
#: On a plane every pixel lies in the middle, however steep it is.
_OFF_MIDDLE = 0.02


def links(q: Values, *, ratio: float = CUT_RATIO, valid: Mask | None = None) -> tuple[Mask, Mask]:
    """Which neighbours are on one surface: to the right (h, w − 1) and downward (h − 1, w).

    q: (h, w) float32 disparity, positive where `valid` (everywhere without it). Two pixels are linked if the farther
    is at most `ratio` farther than the nearer, or if the step between them is the one that the pixels before and
    after make too: a steep plane, not an edge.
    """
    return _links_along(q, ratio, valid), _links_along(q.T, ratio, None if valid is None else valid.T).T


def softness(q: Values, *, ratio: float = CUT_RATIO) -> float:
    """The share, 0 to 1, of steps above `ratio` that go on in the same direction at the next pixel, but bend.

    Near 0 for measured and rendered maps, above one half for maps that a network predicted.
    """
    strong = going_on = 0
    for values in (q, q.T):
        step = np.diff(values, axis=1)
        edge = np.abs(step) > ratio * np.minimum(values[:, 1:], values[:, :-1])
        a, b = step[:, :-1], step[:, 1:]
        bends = np.abs(a - b) > 0.05 * np.maximum(np.abs(a), np.abs(b))
        strong += int(edge.sum())
        going_on += int((edge[:, :-1] & edge[:, 1:] & (a * b > 0) & bends).sum())
    return going_on / strong if strong else 0.0


def sharpen(q: Values, *, ratio: float = CUT_RATIO, passes: int = 3) -> Values:
    """Soft edges made steps: a toggle map over 3×3 pixels, `passes` times. Returns (h, w) float32.

    Where the neighbourhood's range is above `ratio`, a pixel goes to its smallest or its largest value, whichever is
    nearer (Kramer and Bruckner 1975). Pixels in the middle of their range stay: a plane is left as it is.
    """
    out = np.array(q, dtype=np.float32)
    for _ in range(passes):
        low, high = extreme(out, np.minimum), extreme(out, np.maximum)
        span = high - low
        above = 2 * out - low - high
        snap = (span > ratio * low) & (np.abs(above) > 2 * _OFF_MIDDLE * span)
        out = np.where(snap, np.where(above > 0, high, low), out)
    return out


def extreme(values: Values, choose: np.ufunc) -> Values:
    """The smallest or largest value of each 3×3 neighbourhood."""
    out = values.copy()
    choose(out[:, 1:], values[:, :-1], out=out[:, 1:])
    choose(out[:, :-1], values[:, 1:], out=out[:, :-1])
    rows = out.copy()
    choose(out[1:], rows[:-1], out=out[1:])
    choose(out[:-1], rows[1:], out=out[:-1])
    return out


def _links_along(q: Values, ratio: float, valid: Mask | None) -> Mask:
    a, b = q[:, :-1], q[:, 1:]
    step = b - a
    linked: Mask = np.abs(step) <= np.float32(ratio) * np.minimum(a, b)
    if valid is not None:
        linked &= valid[:, :-1] & valid[:, 1:]
    rows, columns = np.nonzero(~linked)
    last = step.shape[1] - 1
    if len(rows) and last:
        # At the border the only neighbouring step stands for both.
        before, after = np.where(columns > 0, columns - 1, 1), np.where(columns < last, columns + 1, last - 1)
        here = step[rows, columns]
        sides = np.stack([step[rows, before], step[rows, after]])
        same = np.abs(here - sides) <= 0.25 * np.abs(here)
        # A real edge right beside a steep plane does not make the plane's last step one.
        steep = same.any(axis=0) & (same | (np.abs(sides) > 4 * np.abs(here))).all(axis=0)
        if valid is not None:
            for column in (columns, columns + 1, before, before + 1, after, after + 1):
                steep &= valid[rows, column]
        linked[rows[steep], columns[steep]] = True
    return linked
