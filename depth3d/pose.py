"""Poses: keypoints as data, and the one function that draws them for the OpenPose ControlNets.

Keypoints are COCO-18 for the body (OpenPose's order), 21 for each hand, 70 for the face; each is x, y and a
visibility. x and y are fractions of the picture, x to the right and y down, 0 to 1 inside it; visibility is 0 for a
keypoint that is not there, above 0 (a detector's confidence, or 1) for one that is.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .camera import Camera
from .drawing import fill_disc, fill_ellipse, thick_line

Float = NDArray[np.float64]

BODY_KEYPOINTS = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)

#: The limbs in the order in which they are drawn, later ones over earlier ones; indices into `BODY_KEYPOINTS`.
BODY_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip

#: Each finger is a chain from the wrist (0): thumb 1–4, index 5–8, middle 9–12, ring 13–16, little 17–20.
HAND_BONES = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)
)

#: RGB of each body keypoint; limb i has the colour of keypoint i, darkened.
BODY_COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pose:
    """One person. body: (18, 3), hands: (21, 3), face: (70, 3), each x, y, visibility; None for a part not there."""

    body: Float
    left_hand: Float | None = None
    right_hand: Float | None = None
    face: Float | None = None

    def __post_init__(self) -> None:
        for name, count in (("body", 18), ("left_hand", 21), ("right_hand", 21), ("face", 70)):
            value = getattr(self, name)
            if value is None and name != "body":
                continue
            points = np.asarray(value, dtype=np.float64)
            if points.shape != (count, 3):
                raise ValueError(f"pose {name} has shape {points.shape}; it must be ({count}, 3): x, y, visibility")
            if not np.isfinite(points).all():
                raise ValueError(f"pose {name} has NaN or infinite numbers; set the visibility of such points to 0")
            object.__setattr__(self, name, points)

    @classmethod
    def from_scene(
        cls,
        camera: Camera,
        body: ArrayLike,
        *,
        left_hand: ArrayLike | None = None,
        right_hand: ArrayLike | None = None,
        face: ArrayLike | None = None,
        depth: ArrayLike | None = None,
        thickness: float = 0.0,
    ) -> Pose:
        """The pose of joints in the scene as `camera` sees them.

        body, hands, face: (n, 3) scene points in the keypoints' order, NaN for a joint that the rig lacks.
        depth: this camera's depth map (h, w); a joint that lies more than `thickness` scene units behind the surface
        that it shows is hidden. Joints lie inside the body: give about half the thickness of its thickest limb.
        Joints behind the camera and outside the picture are hidden too.
        """
        z_map = None if depth is None else np.asarray(depth, dtype=np.float64)
        if z_map is not None and z_map.shape != (camera.height, camera.width):
            raise ValueError(f"depth has shape {z_map.shape}; the camera's is {(camera.height, camera.width)}")

        def seen(points: ArrayLike | None) -> Float | None:
            if points is None:
                return None
            pixels, z = camera.project(points)
            with np.errstate(invalid="ignore"):
                inside = (z > 0) & (pixels >= 0).all(-1) & (pixels < (camera.width, camera.height)).all(-1)
            column, row = np.where(inside[:, None], pixels, 0).astype(int).T
            if z_map is not None:
                inside &= np.where(inside, z, 0) <= z_map[row, column] + thickness
            place = np.where(inside[:, None], pixels / (camera.width, camera.height), 0)
            return np.column_stack([place, inside.astype(np.float64)])

        body_seen = seen(body)
        assert body_seen is not None
        return cls(body_seen, seen(left_hand), seen(right_hand), seen(face))

    def to_dict(self, width: int, height: int) -> dict[str, Any]:
        """OpenPose's JSON of one person, in pixels of a picture of the given size; an absent part is None."""

        def flat(points: Float | None) -> list[float] | None:
            return None if points is None else [float(v) for v in (points * (width, height, 1)).ravel()]

        return {
            "pose_keypoints_2d": flat(self.body),
            "hand_left_keypoints_2d": flat(self.left_hand),
            "hand_right_keypoints_2d": flat(self.right_hand),
            "face_keypoints_2d": flat(self.face),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], width: int, height: int) -> Pose:
        """A pose from OpenPose's JSON of one person, in pixels. Raises ValueError with the field that is wrong."""

        def points(key: str, count: int) -> Float | None:
            values = data.get(key)
            if not values:
                return None
            numbers = np.asarray(values, dtype=np.float64)
            if numbers.size != 3 * count:
                raise ValueError(f"{key} has {numbers.size} numbers; {count} keypoints need {3 * count}")
            return numbers.reshape(count, 3) / (width, height, 1)

        body = points("pose_keypoints_2d", 18)
        return cls(
            np.zeros((18, 3)) if body is None else body,
            points("hand_left_keypoints_2d", 21),
            points("hand_right_keypoints_2d", 21),
            points("face_keypoints_2d", 70),
        )


def draw_openpose(
    poses: Pose | Sequence[Pose],
    height: int,
    width: int,
    *,
    body: bool = True,
    hands: bool = True,
    face: bool = True,
) -> NDArray[np.uint8]:
    """The control image of the OpenPose ControlNets, (height, width, 3) uint8, RGB on black.

    Pixel for pixel what controlnet-aux draws for the same keypoints: limbs as ellipses 8 pixels wide at 60 % of
    their colours, joints as discs of 4 pixels' radius, fingers as lines 2 pixels wide, face points as white discs of
    3 pixels' radius. As there, hand and face points in the first row or column are left out.
    """
    if height < 1 or width < 1:
        raise ValueError(f"the picture is {width}×{height}; both sides must be at least 1 pixel")
    canvas = np.zeros((height, width, 3), np.uint8)
    for pose in [poses] if isinstance(poses, Pose) else poses:
        if body:
            _draw_body(canvas, pose.body)
        if hands:
            for hand in (pose.left_hand, pose.right_hand):
                if hand is not None:
                    _draw_hand(canvas, hand)
        if face and pose.face is not None:
            for point in _pixels(canvas, pose.face):
                if point is not None and min(point) > 0:
                    fill_disc(canvas, point, 3, (255, 255, 255))
    return canvas


def _draw_body(canvas: NDArray[np.uint8], points: Float) -> None:
    height, width = canvas.shape[:2]
    for (first, second), colour in zip(BODY_LIMBS, BODY_COLOURS, strict=False):
        a, b = points[first], points[second]
        if not (a[2] > 0 and b[2] > 0):
            continue
        x, y = np.array([a[0], b[0]]) * float(width), np.array([a[1], b[1]]) * float(height)
        length = float(((y[0] - y[1]) ** 2 + (x[0] - x[1]) ** 2) ** 0.5)
        angle = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
        dark = [int(c * 0.6) for c in colour]
        fill_ellipse(canvas, (int(np.mean(x)), int(np.mean(y))), (int(length / 2), 4), int(angle), dark)
    for point, colour in zip(_pixels(canvas, points), BODY_COLOURS, strict=True):
        if point is not None:
            fill_disc(canvas, point, 4, colour)


def _draw_hand(canvas: NDArray[np.uint8], points: Float) -> None:
    pixels = _pixels(canvas, points)
    for i, (first, second) in enumerate(HAND_BONES):
        a, b = pixels[first], pixels[second]
        if a is not None and b is not None and min(*a, *b) > 0:
            colour = [round(c * 255) for c in colorsys.hsv_to_rgb(i / len(HAND_BONES), 1.0, 1.0)]
            thick_line(canvas, a, b, 2, colour)
    for point in pixels:
        if point is not None and min(point) > 0:
            fill_disc(canvas, point, 4, (0, 0, 255))


def _pixels(canvas: NDArray[np.uint8], points: Float) -> list[tuple[int, int] | None]:
    """Each keypoint's pixel (cut off toward zero, as int() does), None where it is not there."""
    height, width = canvas.shape[:2]
    return [(int(x * width), int(y * height)) if seen > 0 else None for x, y, seen in points.tolist()]
