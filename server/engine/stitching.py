"""A photograph made to continue at its opposite edges: a part of it that repeats well, cut and joined so that no
joint shows.

For each axis a period is looked for at which the picture resembles itself. Where the two ends then overlap, one gives
way to the other along the path of least difference (Efros and Freeman 2001, "Image quilting"), and brightness that
does not meet is evened out in the gradient domain (Pérez et al. 2003, "Poisson image editing"), on the ring itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.engine import torus
from server.engine.compositing import Float
from server.engine.torus import Wraps

#: The period over the picture's side: what is left out is the overlap in which the ends are joined.
_LEAST, _MOST = 0.6, 0.875
#: Pixels of the longer side at which periods are looked for before they are refined.
_COARSE = 256


def stitched(picture: Float, wraps: Wraps) -> tuple[Float, Wraps]:
    """A part of the picture that continues along the axes of `wraps`, and the axes that were joined for it.

    picture: (h, w, c) float32 in [0, 1], at least 16 pixels on each axis that is to wrap. An axis along which it
    continues already is left alone; with none to join, the picture itself comes back.
    """
    rings = torus.continues(picture)
    wanted = [axis for axis, wrap, ring in zip((1, 0), wraps, rings, strict=True) if wrap and not ring]
    if not wanted:
        return picture, (False, False)
    work = _Field(picture, _forward(picture, 1), _forward(picture, 0))
    share: float | None = None
    for axis in wanted:
        period = _period(picture, axis, share)
        share = period / picture.shape[axis]
        # A joint must meet itself where the other axis goes around already.
        other = 1 - axis
        around = wraps[axis] and (other not in wanted or wanted.index(other) < wanted.index(axis))
        work = _joined(work, axis, period, around)
    return np.clip(_from_gradients(work, wraps), 0, 1), (1 in wanted, 0 in wanted)


@dataclass(frozen=True, eq=False)
class _Field:
    """A picture with its forward differences along x and y; they are cut with it, so that no cut is among them."""

    picture: Float
    across: Float
    down: Float


def _forward(picture: Float, axis: int) -> Float:
    return np.diff(picture, axis=axis, append=np.take(picture, [-1], axis))


def _period(picture: Float, axis: int, share: float | None) -> int:
    """The shift along an axis at which the picture's end is most like its beginning.

    share: the period over the side that the other axis has; a like one is preferred, so that the part keeps its
    proportions.
    """
    factor = max(1, max(picture.shape[:2]) // _COARSE)
    coarse = picture[:: factor, :: factor] if factor == 1 else ndimage.uniform_filter(picture, (factor, factor, 0))[
        ::factor, ::factor
    ]  # fmt: skip
    side = coarse.shape[axis]
    found = min(
        range(int(side * _LEAST), int(side * _MOST) + 1), key=lambda shift: _mismatch(coarse, axis, shift, share)
    )
    if factor == 1:
        return found
    near = range(max(1, (found - 1) * factor), min(picture.shape[axis] - 8, (found + 1) * factor) + 1)
    return min(near, key=lambda shift: _mismatch(picture, axis, shift, share))


def _mismatch(picture: Float, axis: int, shift: int, share: float | None) -> float:
    side = picture.shape[axis]
    begin = np.take(picture, range(side - shift), axis)
    end = np.take(picture, range(shift, side), axis)
    # Means are taken off: brightness that does not meet is evened out later, shapes that do not meet are not.
    difference = begin - end - (begin.mean((0, 1)) - end.mean((0, 1)))
    apart = 0.0 if share is None else abs(shift / side - share)
    return float((difference**2).mean()) * (1 + apart)


def _joined(work: _Field, axis: int, period: int, around: bool) -> _Field:
    """One axis made a ring of that many pixels."""
    if axis == 0:  # as along x, with the picture on its side
        sides = _joined(_Field(*(_turned(part) for part in (work.picture, work.down, work.across))), 1, period, around)
        return _Field(_turned(sides.picture), _turned(sides.down), _turned(sides.across))
    overlap = work.picture.shape[1] - period
    begin, end = work.picture[:, :overlap], work.picture[:, period:]
    difference = ((begin - end) ** 2).sum(-1) + ((work.across[:, :overlap] - work.across[:, period:]) ** 2).sum(-1)
    path = _least_path(difference, around)
    from_end = (np.arange(overlap)[None, :] < path[:, None]).astype(np.float32)[..., None]

    def mixed(part: Float, share: Float) -> Float:
        out = part[:, :period].copy()
        out[:, :overlap] = share * part[:, period:] + (1 - share) * part[:, :overlap]
        return out

    # A difference belongs to two pixels; across the cut it is half from either side.
    beside = np.concatenate([from_end[:, 1:], np.zeros_like(from_end[:, :1])], 1)
    below = np.concatenate([from_end[1:], from_end[:1] if around else from_end[-1:]], 0)
    return _Field(
        mixed(work.picture, from_end),
        mixed(work.across, (from_end + beside) / 2),
        mixed(work.down, (from_end + below) / 2),
    )


def _turned(part: Float) -> Float:
    return part.transpose(1, 0, 2)


def _least_path(cost: Float, around: bool) -> NDArray[np.int64]:
    """For each row the column at which a path from the top to the bottom crosses it, of the least sum of costs.

    Its columns differ by one at most from row to row; with `around`, also from the last row to the first.
    """
    rows, columns = cost.shape
    padded = np.zeros((rows, columns))
    origin = np.zeros((rows, columns), np.int64)  # where the best path to here comes from, in the row above
    # Never at the edge of the overlap: there one of the two has no neighbour.
    blocked = cost.astype(np.float64).copy()
    rim = max(1, columns // 16)
    blocked[:, :rim] = blocked[:, -rim:] = blocked.max() * rows + 1
    start: int | None = None
    for turn in range(2 if around else 1):
        padded[0] = blocked[0]
        if turn:
            # A path that goes around begins where it ends: where the best free one is half way.
            start = int(_traced(padded, origin)[rows // 2])
            blocked = np.roll(blocked, -(rows // 2), axis=0)
            padded[0] = np.where(np.arange(columns) == start, blocked[0], np.inf)
        for row in range(1, rows):
            above = padded[row - 1]
            options = np.stack([np.r_[np.inf, above[:-1]], above, np.r_[above[1:], np.inf]])
            best = options.argmin(axis=0)
            origin[row] = np.arange(columns) + best - 1
            padded[row] = blocked[row] + np.take_along_axis(options, best[None], 0)[0]
    if start is None:
        return _traced(padded, origin)
    last = np.abs(np.arange(columns) - start) <= 1
    padded[-1] = np.where(last, padded[-1], np.inf)
    return np.roll(_traced(padded, origin), rows // 2)


def _traced(costs: NDArray[np.float64], origin: NDArray[np.int64]) -> NDArray[np.int64]:
    path = np.empty(len(costs), np.int64)
    path[-1] = int(costs[-1].argmin())
    for row in range(len(costs) - 1, 0, -1):
        path[row - 1] = origin[row, path[row]]
    return path


def _from_gradients(work: _Field, wraps: Wraps) -> Float:
    """The picture that has these differences as nearly as can be, and is near to the cut one where that leaves it free.

    Screened Poisson (Bhat et al. 2008): solved exactly by the Fourier transform, since a ring is what that works on.
    An axis that does not wrap is mirrored.
    """
    rows, columns = work.picture.shape[:2]
    value, across, down = work.picture, work.across, work.down
    if not wraps[0]:
        # The last difference of an axis that ends is none; mirrored, differences turn around and move by one.
        across = np.concatenate([across[:, :-1], 0 * across[:, :1], -across[:, -2::-1], 0 * across[:, :1]], 1)
        value, down = (np.concatenate([part, part[:, ::-1]], 1) for part in (value, down))
    if not wraps[1]:
        down = np.concatenate([down[:-1], 0 * down[:1], -down[-2::-1], 0 * down[:1]], 0)
        value, across = (np.concatenate([part, part[::-1]], 0) for part in (value, across))
    height, width = value.shape[:2]
    u = (np.exp(2j * np.pi * np.fft.rfftfreq(width)) - 1)[None, :, None]
    v = (np.exp(2j * np.pi * np.fft.fftfreq(height)) - 1)[:, None, None]
    hold = (4 / max(rows, columns)) ** 2  # beyond a quarter of the picture a joint evens nothing out
    planes = [np.fft.rfft2(part, axes=(0, 1)) for part in (value, across, down)]
    spectrum = (hold * planes[0] + u.conj() * planes[1] + v.conj() * planes[2]) / (hold + abs(u) ** 2 + abs(v) ** 2)
    return np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))[:rows, :columns].astype(np.float32)
