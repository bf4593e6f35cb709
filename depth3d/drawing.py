"""Integer drawing that gives OpenCV's pixels: filled convex polygons, discs and lines, without antialiasing.

The pose ControlNets were trained on pictures drawn by OpenCV, so their control images are drawn by its rules:
outlines by Bresenham, fills between edges in 16-bit fixed point, discs by the midpoint circle. The rules are
those of `modules/imgproc/src/drawing.cpp` of OpenCV 3 and 4, 8-connected lines. (OpenCV 5 differs by a pixel in
lines that leave the canvas.)

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.uint8]
Point = tuple[int, int]
Colour = Sequence[int]

_SHIFT = 16
_ONE = 1 << _SHIFT
_HALF = _ONE >> 1

# OpenCV holds its sines as float32 with seven decimals; an exact sine rounds some outlines to other pixels.
_SINE = np.round(np.sin(np.deg2rad(np.arange(451))), 7).astype(np.float32).astype(np.float64)


def fill_disc(canvas: Canvas, centre: Point, radius: int, colour: Colour) -> None:
    """A disc on a (h, w, 3) uint8 canvas, in place, cut off at the canvas's border."""
    x, y = centre
    error, dx, dy, plus, minus = 0, radius, 0, 1, 2 * radius - 1
    while dx >= dy:
        for row in (y - dy, y + dy):
            _span(canvas, row, x - dx, x + dx, colour)
        for row in (y - dx, y + dx):
            _span(canvas, row, x - dy, x + dy, colour)
        dy += 1
        error += plus
        plus += 2
        if error > 0:
            error -= minus
            dx -= 1
            minus -= 2


def fill_ellipse(canvas: Canvas, centre: Point, axes: tuple[int, int], angle: int, colour: Colour) -> None:
    """An ellipse as the polygon of its whole degrees. axes: the half axes in pixels; angle: degrees, clockwise."""
    fill_convex(canvas, ellipse_polygon(centre, axes, angle), colour)


def ellipse_polygon(centre: Point, axes: tuple[int, int], angle: int) -> NDArray[np.int64]:
    """The corners (n, 2) of an ellipse, one for each degree, repeated ones left out."""
    turn = angle % 360 if angle != 360 else 360
    cosine, sine = _SINE[450 - turn], _SINE[turn]
    degrees = np.arange(361)
    x, y = axes[0] * _SINE[450 - degrees], axes[1] * _SINE[degrees]
    corners = np.rint(np.stack([centre[0] + x * cosine - y * sine, centre[1] + x * sine + y * cosine], axis=1)).astype(
        np.int64
    )
    moved = (np.diff(corners, axis=0) != 0).any(axis=1)
    return np.concatenate([corners[:1], corners[1:][moved]])


def fill_convex(canvas: Canvas, corners: NDArray[np.int64], colour: Colour) -> None:
    """A convex polygon with its outline. corners: (n, 2) integer pixels, x and y."""
    points = [(int(x), int(y)) for x, y in corners]
    for start, end in zip([points[-1], *points[:-1]], points, strict=True):
        _line(canvas, start, end, colour)
    _fill_between_edges(canvas, [(x << _SHIFT, y) for x, y in points], [y for _, y in points], colour)


def thick_line(canvas: Canvas, start: Point, end: Point, thickness: int, colour: Colour) -> None:
    """A line of an even thickness in pixels with round ends, between integer pixels."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = float(x0 - x1), float(y1 - y0)
    length = math.hypot(dx, dy) if dx or dy else 0.0
    half = thickness << (_SHIFT - 1)
    if length > 0:
        r = half / math.sqrt(dx * dx + dy * dy)
        ox, oy = round(dy * r), round(dx * r)
        a, b = (x0 << _SHIFT, y0 << _SHIFT), (x1 << _SHIFT, y1 << _SHIFT)
        quad = [(a[0] + ox, a[1] + oy), (a[0] - ox, a[1] - oy), (b[0] - ox, b[1] - oy), (b[0] + ox, b[1] + oy)]
        for p, q in zip([quad[-1], *quad[:-1]], quad, strict=True):
            _fixed_line(canvas, p, q, colour)
        rows = [(y + _HALF) >> _SHIFT for _, y in quad]
        _fill_between_edges(canvas, quad, rows, colour)
    for centre in (start, end):
        fill_disc(canvas, centre, (half + _HALF) >> _SHIFT, colour)


def _fill_between_edges(canvas: Canvas, corners: list[Point], rows: list[int], colour: Colour) -> None:
    """Spans between the left and the right chain of edges. corners' x in fixed point; rows: their pixel rows."""
    height, width = canvas.shape[:2]
    count = len(corners)
    columns = [(x + _HALF) >> _SHIFT for x, _ in corners]
    top, bottom = min(rows), min(max(rows), height - 1)
    if count < 3 or max(columns) < 0 or max(rows) < 0 or min(columns) >= width or top >= height:
        return
    first = min(range(count), key=lambda i: (corners[i][1], i))
    left = count  # Edges that no chain has taken yet.
    index, step = [first, first], [1, count - 1]
    until, x, slope = [top, top], [-_ONE, -_ONE], [0, 0]
    for y in range(top, bottom + 1):
        for i in range(2):
            if y < until[i]:
                continue
            here = index[i]
            there = (here + step[i]) % count
            while left > 0:
                left -= 1
                if rows[there] > y:
                    rise = rows[there] - y
                    x[i], until[i], index[i] = corners[here][0], rows[there], there
                    slope[i] = _quotient((corners[there][0] - corners[here][0]) * 2 + rise, 2 * rise)
                    break
                here, there = there, (there + step[i]) % count
            else:
                left -= 1
        if left < 0:
            break
        low, high = min(x), max(x)
        _span(canvas, y, (low + _HALF) >> _SHIFT, (high + _HALF) >> _SHIFT, colour)
        x[0] += slope[0]
        x[1] += slope[1]


def _span(canvas: Canvas, y: int, x0: int, x1: int, colour: Colour) -> None:
    if 0 <= y < canvas.shape[0] and x1 >= 0 and x0 < canvas.shape[1]:
        canvas[y, max(x0, 0) : x1 + 1] = colour


def _line(canvas: Canvas, start: Point, end: Point, colour: Colour) -> None:
    """Bresenham's line between integer pixels, from left to right."""
    clipped = _clip(canvas.shape[1], canvas.shape[0], start, end)
    if clipped is None:
        return
    (x0, y0), (x1, y1) = clipped
    if x1 < x0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    dx, dy, down = x1 - x0, abs(y1 - y0), 1 if y1 >= y0 else -1
    major, minor = max(dx, dy), min(dx, dy)
    along = np.arange(major + 1)
    # The minor steps made before pixel k: as many as keep Bresenham's error from being negative.
    across = -((major - 2 * minor * along) // (2 * major)) if major else along
    if dy > dx:
        canvas[y0 + down * along, x0 + across] = colour
    else:
        canvas[y0 + down * across, x0 + along] = colour


def _fixed_line(canvas: Canvas, start: Point, end: Point, colour: Colour) -> None:
    """A line between fixed-point positions, one pixel for each step of the longer axis."""
    height, width = canvas.shape[:2]
    clipped = _clip(width << _SHIFT, height << _SHIFT, start, end)
    if clipped is None:
        return
    (x0, y0), (x1, y1) = clipped
    flat = abs(x1 - x0) > abs(y1 - y0)
    if (x1 < x0) if flat else (y1 < y0):
        x0, y0, x1, y1 = x1, y1, x0, y0
    dx, dy = x1 - x0, y1 - y0
    k = np.arange(((dx if flat else dy) >> _SHIFT) + 1)
    if flat:
        xs, ys = ((x0 + _HALF) >> _SHIFT) + k, (y0 + _HALF + k * _quotient(dy << _SHIFT, dx | 1)) >> _SHIFT
    else:
        xs, ys = (x0 + _HALF + k * _quotient(dx << _SHIFT, dy | 1)) >> _SHIFT, ((y0 + _HALF) >> _SHIFT) + k
    xs, ys = np.append(xs, (x1 + _HALF) >> _SHIFT), np.append(ys, (y1 + _HALF) >> _SHIFT)
    inside = (xs >= 0) & (xs < width) & (ys >= 0) & (ys < height)
    canvas[ys[inside], xs[inside]] = colour


def _clip(width: int, height: int, start: Point, end: Point) -> tuple[Point, Point] | None:
    """Cohen and Sutherland's clipping to 0 … size − 1, in integers; None where nothing is left."""
    (x0, y0), (x1, y1) = start, end
    right, bottom = width - 1, height - 1

    def code(x: int, y: int) -> int:
        return (x < 0) + (x > right) * 2 + (y < 0) * 4 + (y > bottom) * 8

    c0, c1 = code(x0, y0), code(x1, y1)
    if c0 & c1 == 0 and c0 | c1:
        if c0 & 12:
            edge = 0 if c0 < 8 else bottom
            x0, y0 = x0 + _quotient((edge - y0) * (x1 - x0), y1 - y0), edge
            c0 = code(x0, 0)
        if c1 & 12:
            edge = 0 if c1 < 8 else bottom
            x1, y1 = x1 + _quotient((edge - y1) * (x1 - x0), y1 - y0), edge
            c1 = code(x1, 0)
        if c0 & c1 == 0 and c0 | c1:
            if c0:
                edge = 0 if c0 == 1 else right
                x0, y0 = edge, y0 + _quotient((edge - x0) * (y1 - y0), x1 - x0)
                c0 = 0
            if c1:
                edge = 0 if c1 == 1 else right
                x1, y1 = edge, y1 + _quotient((edge - x1) * (y1 - y0), x1 - x0)
                c1 = 0
    return ((x0, y0), (x1, y1)) if c0 | c1 == 0 else None


def _quotient(numerator: int, denominator: int) -> int:
    """C's integer division, toward zero."""
    magnitude = abs(numerator) // abs(denominator)
    return magnitude if (numerator >= 0) == (denominator >= 0) else -magnitude
