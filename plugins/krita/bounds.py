"""Rectangles of pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """A rectangle of whole pixels: x and y of its upper left corner in the document, width and height of at least 0."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column behind it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.y + self.height

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.width <= 0 or self.height <= 0

    def pad(self, by: int) -> Bounds:
        """Larger by that many pixels on each side."""
        return Bounds(self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by)

    def intersect(self, other: Bounds) -> Bounds:
        """What both have in common; empty where that is nothing."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        return Bounds(x, y, max(0, min(self.right, other.right) - x), max(0, min(self.bottom, other.bottom) - y))

    def unite(self, other: Bounds) -> Bounds:
        """The smallest rectangle around both."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Bounds(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def relative_to(self, other: Bounds) -> Bounds:
        """The same rectangle counted from the other one's corner."""
        return Bounds(self.x - other.x, self.y - other.y, self.width, self.height)

    def at_least(self, side: int, within: Bounds) -> Bounds:
        """Grown to that many pixels a side around its middle, as far as `within` has them."""
        wide = min(max(self.width, side), within.width)
        high = min(max(self.height, side), within.height)
        x = min(max(self.x - (wide - self.width) // 2, within.x), within.right - wide)
        y = min(max(self.y - (high - self.height) // 2, within.y), within.bottom - high)
        return Bounds(x, y, wide, high)
