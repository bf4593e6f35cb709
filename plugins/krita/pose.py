"""A pose as shapes of a vector layer: each joint a circle that Krita's tools move, and back to keypoints.

COCO-18, as OpenPose draws it. Joints keep their number in their shape's name; the limbs between them are shapes too,
and are drawn anew where joints were moved.
"""

from __future__ import annotations

import colorsys
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


def svg(joints: list[Joint], *, with_joints: bool = True) -> str:
    """Joints and limbs as SVG, the limbs below; Krita takes a length without a unit as pixels of the document."""
    places = {(joint.person, joint.index): (joint.x, joint.y) for joint in joints}
    span = max((y for _, y in places.values()), default=1.0) - min((y for _, y in places.values()), default=0.0)
    radius = max(span / 80, 1.5)
    parts = []
    for number, (a, b) in enumerate(LIMBS):
        for person in sorted({joint.person for joint in joints}):
            if (person, a) in places and (person, b) in places:
                (x1, y1), (x2, y2) = places[person, a], places[person, b]
                parts.append(
                    f'<path id="{LIMB}-{person}-{number}" d="M {x1:.3f} {y1:.3f} L {x2:.3f} {y2:.3f}" fill="none" '
                    f'stroke="{_colour(number, 0.6)}" stroke-width="{radius:.3f}" stroke-linecap="round"/>'
                )
    if with_joints:
        for joint in joints:
            x, y = places[joint.person, joint.index]
            parts.append(
                f'<circle id="{joint.name}" cx="{x:.3f}" cy="{y:.3f}" r="{radius:.3f}" '
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
