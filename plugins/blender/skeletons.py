"""Which bones of which rig are the joints of a pose: COCO-18 bodies, 21 points a hand, 70 of the face. No bpy.

A joint is a bone's head (or its tail, written ``name>``). Nose, eyes and ears, which few rigs have, are placed on the
head by its size in the rest pose and are carried along by the head's bone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depth3d.pose import BODY_KEYPOINTS

Float = NDArray[np.float64]

FINGERS = ("thumb", "index", "middle", "ring", "little")


@dataclass(frozen=True)
class Skeleton:
    """A family of rigs, by the names of its bones, {side} standing for the side's own spelling.

    shoulder, elbow, …: the bone whose head is the joint. neck, head: the bones of neck and head; crown: the head's
    top, as a bone, or empty for the head bone's own tail. finger: bones of finger and joint 1 to 3, {finger} standing
    for a word of `fingers`, {joint} for the number. sides: how (left, right) are spelt. prefix: what may stand before
    every bone, as a regular expression.
    """

    name: str
    shoulder: str
    elbow: str
    wrist: str
    hip: str
    knee: str
    ankle: str
    neck: str
    head: str
    finger: str
    fingers: tuple[str, str, str, str, str]
    sides: tuple[str, str]
    crown: str = ""
    eye: str = ""
    ear: str = ""
    prefix: str = ""

    def bones(self, side: int) -> dict[str, str]:
        """The limbs' bones of one side (0 left, 1 right), by joint."""
        spelt = self.sides[side]
        names = {joint: getattr(self, joint) for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}
        return {joint: pattern.format(side=spelt) for joint, pattern in names.items()}

    def finger_bones(self, side: int) -> list[list[str]]:
        """For each finger from the thumb on the names of its three bones."""
        return [
            [self.finger.format(side=self.sides[side], finger=word, joint=joint) for joint in (1, 2, 3)]
            for word in self.fingers
        ]


SKELETONS: tuple[Skeleton, ...] = (
    Skeleton(
        "Rigify", "upper_arm.{side}", "forearm.{side}", "hand.{side}", "thigh.{side}", "shin.{side}", "foot.{side}",
        "spine.004", "spine.006", "{finger}.0{joint}.{side}",
        ("thumb", "f_index", "f_middle", "f_ring", "f_pinky"), ("L", "R"), prefix="(DEF-|ORG-)?",
    ),
    Skeleton(
        "Mixamo", "{side}Arm", "{side}ForeArm", "{side}Hand", "{side}UpLeg", "{side}Leg", "{side}Foot",
        "Neck", "Head", "{side}Hand{finger}{joint}", ("Thumb", "Index", "Middle", "Ring", "Pinky"), ("Left", "Right"),
        crown="HeadTop_End", prefix=r"(mixamorig\d*:)?",
    ),
    Skeleton(
        "Daz Genesis 8", "{side}ShldrBend", "{side}ForearmBend", "{side}Hand", "{side}ThighBend", "{side}Shin",
        "{side}Foot", "neckLower", "head", "{side}{finger}{joint}", ("Thumb", "Index", "Mid", "Ring", "Pinky"),
        ("l", "r"), eye="{side}Eye", ear="{side}Ear",
    ),
    Skeleton(
        "MakeHuman", "upperarm01.{side}", "lowerarm01.{side}", "wrist.{side}", "upperleg01.{side}",
        "lowerleg01.{side}", "foot.{side}", "neck01", "head", "finger{finger}-{joint}.{side}",
        ("1", "2", "3", "4", "5"), ("L", "R"), eye="eye.{side}",
    ),
    Skeleton(
        "Unreal mannequin", "upperarm_{side}", "lowerarm_{side}", "hand_{side}", "thigh_{side}", "calf_{side}",
        "foot_{side}", "neck_01", "head", "{finger}_0{joint}_{side}",
        ("thumb", "index", "middle", "ring", "pinky"), ("l", "r"),
    ),
    Skeleton(
        "Brushwire mannequin", "upper_arm.{side}", "forearm.{side}", "hand.{side}", "thigh.{side}", "shin.{side}",
        "foot.{side}", "neck", "head", "{finger}.0{joint}.{side}",
        ("thumb", "index", "middle", "ring", "little"), ("L", "R"),
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone in its armature's space. rest, posed: (4, 4) without and with the pose. length: at rest."""

    rest: Float
    posed: Float
    length: float

    @property
    def head(self) -> Float:
        """Where it begins, posed."""
        return self.posed[:3, 3]

    @property
    def tail(self) -> Float:
        """Where it ends, posed; bones lie along their y axis."""
        return np.asarray((self.posed @ (0, self.length, 0, 1))[:3])

    def carries(self, point: Float) -> Float:
        """Where the pose brings a point (3,) that is fixed to this bone at rest."""
        moved = self.posed @ np.linalg.inv(self.rest) @ np.append(point, 1)
        return np.asarray(moved[:3])


@dataclass(frozen=True, eq=False)
class Joints:
    """A person's joints in the armature's space, NaN where the rig lacks one. body: (18, 3), hands: (21, 3),
    face: (70, 3).
    """

    rig: str
    body: Float
    left_hand: Float | None
    right_hand: Float | None
    face: Float | None


def recognise(names: Iterable[str]) -> tuple[Skeleton, dict[str, str]] | None:
    """The family that has the most of its bones among the names, and its names to the armature's; None for a rig that
    is no person's. At least the arms and the legs must be there.
    """
    names = list(names)
    best: tuple[int, Skeleton, dict[str, str]] | None = None
    for skeleton in SKELETONS:
        known: dict[str, str] = {}
        pattern = re.compile(f"^{skeleton.prefix}(?P<bone>.+)$")
        # Deform bones before others: they are what the mesh follows.
        for name in sorted(names, key=lambda one: (not one.startswith("DEF-"), one)):
            match = pattern.match(name)
            if match:
                known.setdefault(match["bone"], name)
        limbs = [bone for side in (0, 1) for bone in skeleton.bones(side).values()]
        if not all(bone in known for bone in limbs):
            continue
        wanted = [*limbs, skeleton.neck, skeleton.head, skeleton.crown]
        wanted += [bone for side in (0, 1) for finger in skeleton.finger_bones(side) for bone in finger]
        count = sum(bone in known for bone in wanted if bone)
        if best is None or count > best[0]:
            best = (count, skeleton, known)
    return None if best is None else best[1:]


def joints_of(bones: Mapping[str, Bone], mapping: Mapping[str, str] | None = None) -> Joints | None:
    """The joints of a posed armature; None where it is no person's.

    mapping: one's own names, from a keypoint of `BODY_KEYPOINTS` to a bone (``bone>`` for its tail); it goes before
    what is recognised.
    """
    found = recognise(bones)
    if found is None and not mapping:
        return None
    body = np.full((18, 3), np.nan)
    hands: list[Float | None] = [None, None]
    face, rig = None, "own mapping"
    if found is not None:
        skeleton, names = found
        rig = skeleton.name
        for side, word in ((1, "right"), (0, "left")):
            for joint, bone in skeleton.bones(side).items():
                body[BODY_KEYPOINTS.index(f"{word}_{joint}")] = bones[names[bone]].head
            hands[side] = _hand(bones, names, skeleton, side)
        body[1] = (body[2] + body[5]) / 2
        if skeleton.head in names:
            marks, face = _head(bones, names, skeleton)
            for keypoint, place in marks.items():
                body[BODY_KEYPOINTS.index(keypoint)] = place
    for keypoint, bone in (mapping or {}).items():
        name = bone.removesuffix(">")
        if keypoint in BODY_KEYPOINTS and name in bones:
            body[BODY_KEYPOINTS.index(keypoint)] = bones[name].tail if bone.endswith(">") else bones[name].head
    if np.isnan(body[1]).any():
        body[1] = (body[2] + body[5]) / 2
    return Joints(rig, body, hands[0], hands[1], face)


def _hand(bones: Mapping[str, Bone], names: Mapping[str, str], skeleton: Skeleton, side: int) -> Float | None:
    """The 21 points of one hand, or None where the rig has no fingers."""
    out = np.full((21, 3), np.nan)
    out[0] = bones[names[skeleton.bones(side)["wrist"]]].head
    for finger, chain in enumerate(skeleton.finger_bones(side)):
        for joint, bone in enumerate(chain):
            if bone in names:
                out[1 + 4 * finger + joint] = bones[names[bone]].head
                if joint == 2:
                    out[4 + 4 * finger] = bones[names[bone]].tail
    return None if np.isnan(out[1:]).all() else out


def _head(bones: Mapping[str, Bone], names: Mapping[str, str], skeleton: Skeleton) -> tuple[dict[str, Float], Float]:
    """Nose, eyes and ears, and the 70 points of the face, by the head's size at rest, carried by its bone."""
    head = bones[names[skeleton.head]]
    base = head.rest[:3, 3]
    crown = bones[names[skeleton.crown]].rest[:3, 3] if skeleton.crown in names else None
    top = (head.rest @ (0, head.length, 0, 1))[:3] if crown is None else crown
    right, left = (bones[names[skeleton.bones(side)["shoulder"]]].rest[:3, 3] for side in (1, 0))
    up = (top - base) / np.linalg.norm(top - base)
    across = left - right
    across -= up * (across @ up)
    across /= np.linalg.norm(across)
    forward = np.cross(across, up)
    size = float(np.linalg.norm(top - base))

    def place(x: float, y: float, z: float) -> Float:
        """X to the person's left, y up, z forward, in heights of the head from its base."""
        return head.carries(base + size * (x * across + y * up + z * forward))

    marks = {
        "nose": place(0, 0.38, 0.52),
        "right_eye": place(-0.15, 0.5, 0.43),
        "left_eye": place(0.15, 0.5, 0.43),
        "right_ear": place(-0.35, 0.42, 0.05),
        "left_ear": place(0.35, 0.42, 0.05),
    }
    for side, word in ((0, "left"), (1, "right")):
        for mark, pattern in (("eye", skeleton.eye), ("ear", skeleton.ear)):
            bone = pattern.format(side=skeleton.sides[side]) if pattern else ""
            if bone in names:
                marks[f"{word}_{mark}"] = bones[names[bone]].head
    return marks, np.array([place(*point) for point in FACE])


def _face_template() -> list[tuple[float, float, float]]:
    """The 68 points of iBUG's mark-up and two pupils on a mean face, from the person's right to its left:
    x to the person's left, y up, z forward, in heights of the head from its base.
    """

    def arc(count: int, x: float, y: float, rx: float, ry: float, start: float, end: float, z: float, curve: float):
        for angle in np.radians(np.linspace(start, end, count)):
            px, py = x + rx * np.cos(angle), y + ry * np.sin(angle)
            yield (float(px), float(py), float(z - curve * px * px))

    points = [*arc(17, 0, 0.46, 0.31, 0.40, 180, 360, 0.46, 3.4)]
    points += [
        *arc(5, -0.16, 0.53, 0.10, 0.06, 165, 15, 0.48, 1.6),
        *arc(5, 0.16, 0.53, 0.10, 0.06, 165, 15, 0.48, 1.6),
    ]
    points += [(0, 0.51 - 0.045 * i, 0.47 + 0.02 * i) for i in range(4)]
    points += [(0.035 * i, 0.33 - 0.01 * (2 - abs(i)), 0.49) for i in range(-2, 3)]
    for x in (-0.15, 0.15):
        points += arc(6, x, 0.5, 0.055, 0.025, 180, -120, 0.45, 1.0)
    points += [*arc(12, 0, 0.2, 0.12, 0.055, 180, -150, 0.48, 1.6), *arc(8, 0, 0.2, 0.09, 0.025, 180, -135, 0.48, 1.6)]
    points += [(-0.15, 0.5, 0.45), (0.15, 0.5, 0.45)]
    return points


FACE = _face_template()
