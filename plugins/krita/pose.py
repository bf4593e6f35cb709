"""A pose as shapes of a vector layer: each joint a circle that Krita's tools move, and back to keypoints.

COCO-18, as OpenPose draws it. Joints keep their number in their shape's name; the limbs between them are shapes too,
and follow where joints were moved.
"""

from __future__ import annotations

import colorsys
import math
import re
import struct
from dataclasses import dataclass

#: COCO-18: nose, neck, right and left arm, right and left leg, eyes, ears.
NAMES = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
#: A person who stands, seen from the front, in a box of 1 by 2.
STANDING = (
    (0.50, 0.18), (0.50, 0.42), (0.30, 0.43), (0.22, 0.72), (0.18, 1.00), (0.70, 0.43), (0.78, 0.72), (0.82, 1.00),
    (0.38, 1.02), (0.36, 1.45), (0.35, 1.88), (0.62, 1.02), (0.64, 1.45), (0.65, 1.88), (0.46, 0.14), (0.54, 0.14),
    (0.41, 0.16), (0.59, 0.16),
)  # fmt: skip

_JOINT = re.compile(r"brushwire-joint-(\d+)-(\d+)")
LIMB = "brushwire-limb"

#: Where a limb begins and ends, in the document's pixels.
Limb = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Joint:
    """One keypoint. person, index: which; x, y: in the document's pixels."""

    person: int
    index: int
    x: float
    y: float

    @property
    def name(self) -> str:
        """The name of its shape."""
        return f"brushwire-joint-{self.person}-{self.index}"


def standing(x: float, y: float, width: float, height: float, person: int = 0) -> list[Joint]:
    """A person who stands, as large as fits into a rectangle of the document's pixels."""
    scale = min(width, height / 2) * 0.95
    left, top = x + (width - scale) / 2, y + (height - 2 * scale) / 2
    return [Joint(person, index, left + u * scale, top + v * scale) for index, (u, v) in enumerate(STANDING)]


def joint_of(name: str, x: float, y: float) -> Joint | None:
    """The joint that a shape of that name is, with its middle there; None for other shapes."""
    found = _JOINT.match(name)
    return Joint(int(found[1]), int(found[2]), x, y) if found and int(found[2]) < len(NAMES) else None


def limbs(joints: list[Joint]) -> dict[str, Limb]:
    """The limbs between joints that are there, by the names of their shapes, in the order in which they are drawn."""
    places = {(joint.person, joint.index): (joint.x, joint.y) for joint in joints}
    people = sorted({joint.person for joint in joints})
    return {
        f"{LIMB}-{person}-{number}": (places[person, a], places[person, b])
        for number, (a, b) in enumerate(LIMBS)
        for person in people
        if (person, a) in places and (person, b) in places
    }


def moved(old: Limb, new: Limb) -> tuple[float, float, float, float, float, float] | None:
    """The affine map (a, b, c, d, e, f) that brings one limb onto another: (x, y) to (ax + cy + e, bx + dy + f).

    It stretches along the limb alone, which stays as thick as it was. None where one of them is shorter than a pixel,
    and so has no direction.
    """
    (x1, y1), (x2, y2) = old
    (u1, v1), (u2, v2) = new
    length, wanted = math.hypot(x2 - x1, y2 - y1), math.hypot(u2 - u1, v2 - v1)
    if min(length, wanted) < 1:
        return None
    along, towards = ((x2 - x1) / length, (y2 - y1) / length), ((u2 - u1) / wanted, (v2 - v1) / wanted)
    stretch = wanted / length
    a = stretch * towards[0] * along[0] + towards[1] * along[1]
    c = stretch * towards[0] * along[1] - towards[1] * along[0]
    b = stretch * towards[1] * along[0] - towards[0] * along[1]
    d = stretch * towards[1] * along[1] + towards[0] * along[0]
    return a, b, c, d, u1 - a * x1 - c * y1, v1 - b * x1 - d * y1


def svg(joints: list[Joint]) -> str:
    """Joints and limbs as SVG, the limbs below; Krita takes a length without a unit as pixels of the document."""
    span = max((joint.y for joint in joints), default=1.0) - min((joint.y for joint in joints), default=0.0)
    radius = max(span / 80, 1.5)
    parts = []
    for name, ((x1, y1), (x2, y2)) in limbs(joints).items():
        colour = _colour(int(name.rpartition("-")[2]), 0.6)
        parts.append(
            f'<path id="{name}" d="M {x1:.3f} {y1:.3f} L {x2:.3f} {y2:.3f}" fill="none" '
            f'stroke="{colour}" stroke-width="{radius:.3f}" stroke-linecap="round"/>'
        )
    for joint in joints:
        parts.append(
            f'<circle id="{joint.name}" cx="{joint.x:.3f}" cy="{joint.y:.3f}" r="{radius:.3f}" '
            f'fill="{_colour(joint.index, 1.0)}" stroke="none"/>'
        )
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def keypoints(joints: list[Joint], dx: float = 0.0, dy: float = 0.0) -> tuple[bytes, int]:
    """float32 x, y, visibility, 18 for each person, moved by (-dx, -dy); and how many rows.

    Joints that are missing have the visibility 0.
    """
    places = {(joint.person, joint.index): joint for joint in joints}
    rows = []
    for person in sorted({joint.person for joint in joints}):
        for index in range(len(NAMES)):
            joint = places.get((person, index))
            rows.append(struct.pack("<3f", joint.x - dx, joint.y - dy, 1.0) if joint else struct.pack("<3f", 0, 0, 0))
    return b"".join(rows), len(rows)


def _colour(index: int, strength: float) -> str:
    """OpenPose's circle of hues: red for the first, on to magenta."""
    red, green, blue = colorsys.hsv_to_rgb(index / len(NAMES), 1.0, strength)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
