"""The poses of people in a picture: body, hands and face, by the BlazePose, hand and face models of MediaPipe.

The models' files come out of the package `mediapipe` (see `server.engine.packages`) and are run by the package
`ai-edge-litert`; MediaPipe itself is not run. BlazePose: Bazarevsky et al. 2020 (https://arxiv.org/abs/2006.10204);
hands: Zhang et al. 2020 (https://arxiv.org/abs/2006.10214); face: Kartynnik et al. 2019
(https://arxiv.org/abs/1907.06724).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.engine import packages
from server.engine.annotators import ssd
from server.engine.annotators.ssd import Float, Region
from server.engine.errors import UnknownModel

#: MediaPipe's 33 keypoints as COCO-18; the neck is the middle of the shoulders, as OpenPose has it.
_BODY = (0, -1, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
#: MediaPipe's 468 points of the face as the 68 of iBUG's 300-W; the two pupils come from the iris model.
_FACE = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
#: The corners of the eyes on the right and on the left of the person, outer first.
_EYES = ((33, 133), (263, 362))

_POSES = ssd.Detector(224, (8, 16, 32, 32, 32), 4)
_PALMS = ssd.Detector(192, (8, 16, 16, 16), 7)
_FACES = ssd.Detector(128, (8, 16, 16, 16), 6)
_FOLDER = "mediapipe/modules/"
#: A keypoint that a model is less sure of is not there.
_LEAST_VISIBLE = 0.5
_LEAST_PRESENT = 0.5


@dataclass(frozen=True, eq=False)
class Person:
    """One person's keypoints, each x and y in pixels (centres at i + 0.5) and a visibility, 0 where there is none.

    body: (18, 3) COCO-18. left_hand, right_hand: (21, 3), the person's own left and right. face: (70, 3). None for
    a part that was not looked for or not found.
    """

    body: Float
    left_hand: Float | None = None
    right_hand: Float | None = None
    face: Float | None = None

    def keypoints(self) -> NDArray[np.float32]:
        """(130, 3): body, left hand, right hand, face; zeros for a part that is not there."""
        parts = ((self.body, 18), (self.left_hand, 21), (self.right_hand, 21), (self.face, 70))
        return np.concatenate([np.zeros((count, 3)) if part is None else part for part, count in parts]).astype(
            np.float32
        )


class Network:
    """One of the models: arrays in, arrays out."""

    def __init__(self, name: str, folders: Sequence[Path]) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UnknownModel(
                "Poses need the package ai-edge-litert, which runs their models.",
                'Install it: pip install "brushwire[pose]"',
            ) from error
        content = packages.read(packages.MEDIAPIPE, f"{_FOLDER}{name}.tflite", folders)
        if content is None:
            package = packages.MEDIAPIPE
            raise UnknownModel(
                f"The pose models are not there; the package {package.name} {package.version} ships them.",
                packages.REMEDY,
            )
        self._interpreter = Interpreter(model_content=content, num_threads=2)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [one["index"] for one in self._interpreter.get_output_details()]

    def __call__(self, picture: NDArray[np.float32]) -> list[Float]:
        """picture: (side, side, 3). The outputs in the model's order, each without its batch, float64."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(picture[None], np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0].astype(np.float64) for index in self._outputs]


class People:
    """Finds people. folders: where wheels with the models may lie."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._networks: dict[str, Network] = {}

    def find(self, picture: NDArray[np.uint8], hands: bool = True, face: bool = True) -> list[Person]:
        """Everybody in a (h, w, 3) sRGB picture, the surest first."""
        frame = ssd.whole(picture)
        detections = _POSES.found(*self._detections("pose_detection/pose_detection", frame.cut(picture, 224) * 2 - 1))
        people: list[Person] = []
        for one in detections:
            reach = float(np.hypot(*(one.keypoints[1] - one.keypoints[0])))
            region = ssd.around(
                frame, one.keypoints[0], 2 * reach, one.keypoints[0], one.keypoints[1], np.pi / 2
            ).scaled(1.25)
            points = self._body(picture, region)
            if points is None or any(_same(points, known) for known in people):
                continue
            body = _coco(points, picture.shape)
            left, right = self._hands(picture, points, body) if hands else (None, None)
            people.append(Person(body, left, right, self._face(picture, points) if face else None))
        return people

    def hand(self, picture: NDArray[np.uint8], frame: Region, wrist: Float) -> Float | None:
        """The hand in a part of the picture whose palm is nearest to a point (2,); (21, 3), or None."""
        palms = _PALMS.found(*self._detections("palm_detection/palm_detection_full", frame.cut(picture, 192)))
        if not palms:
            return None
        palm = min(palms, key=lambda one: np.hypot(*(frame.to_picture(one.keypoints[:1])[0] - wrist)))
        region = (
            ssd.around(frame, palm.centre, float(palm.size.max()), palm.keypoints[0], palm.keypoints[2], np.pi / 2)
            .scaled(1.0, up=0.5)
            .scaled(2.6)
        )
        raw, present, *_rest = self._network("hand_landmark/hand_landmark_full")(region.cut(picture, 224))
        if present.item() < _LEAST_PRESENT:
            return None
        places = region.to_picture(raw.reshape(21, 3)[:, :2] / 224)
        return np.column_stack([places, np.full(21, present.item())])

    def _network(self, name: str) -> Network:
        if name not in self._networks:
            self._networks[name] = Network(name, self._folders)
        return self._networks[name]

    def _detections(self, name: str, picture: NDArray[np.float32]) -> tuple[Float, Float]:
        boxes, logits = self._network(name)(picture)
        return boxes, logits[:, 0]

    def _body(self, picture: NDArray[np.uint8], region: Region) -> Float | None:
        """(33, 3) in pixels with visibility; None where there is no body after all."""
        points = None
        for _ in range(2):  # the second look is at the region that the first one found, as in a film
            network = self._network("pose_landmark/pose_landmark_full")
            raw, present, *_rest = network(region.cut(picture, 256))
            if present.item() < _LEAST_PRESENT:
                return None
            values = raw.reshape(39, 5)
            places = values[:, :2] / 256
            visible = 1 / (1 + np.exp(-values[:, 3:5].min(-1)))
            points = np.column_stack([region.to_picture(places), visible])
            reach = 2 * float(np.hypot(*(places[34] - places[33])))
            region = ssd.around(region, places[33], reach, places[33], places[34], np.pi / 2).scaled(1.25)
        assert points is not None
        return points[:33]

    def _hands(self, picture: NDArray[np.uint8], points: Float, body: Float) -> tuple[Float | None, Float | None]:
        """The person's left and right hand, (21, 3) each."""
        found: list[Float | None] = []
        for wrist, elbow, tips in ((15, 13, (17, 19, 21)), (16, 14, (18, 20, 22))):
            if points[wrist, 2] < _LEAST_VISIBLE / 2:
                found.append(None)
                continue
            hand = points[list(tips), :2].mean(0)
            arm = float(np.hypot(*(points[wrist, :2] - points[elbow, :2])))
            shoulders = float(np.hypot(*(points[11, :2] - points[12, :2])))
            # A forearm that points at the camera is short: the shoulders then say how large a hand is.
            side = 2.2 * max(arm, 0.6 * shoulders)
            found.append(self.hand(picture, Region(float(hand[0]), float(hand[1]), side), points[wrist, :2]))
        return found[0], found[1]

    def _face(self, picture: NDArray[np.uint8], points: Float) -> Float | None:
        """(70, 3) of the person's face."""
        head = points[:11, :2]
        centre = head.mean(0)
        side = 4 * float(np.ptp(head, axis=0).max())
        frame = Region(float(centre[0]), float(centre[1]), max(side, 16.0))
        faces = _FACES.found(
            *self._detections("face_detection/face_detection_short_range", frame.cut(picture, 128) * 2 - 1)
        )
        if not faces:
            return None
        one = min(faces, key=lambda face: np.hypot(*(frame.to_picture(face.keypoints[2:3])[0] - points[0, :2])))
        region = ssd.around(frame, one.centre, float(one.size.max()), one.keypoints[0], one.keypoints[1], 0).scaled(1.5)
        raw, present = self._network("face_landmark/face_landmark")(region.cut(picture, 192))
        if 1 / (1 + np.exp(-present.item())) < _LEAST_PRESENT:
            return None
        mesh = region.to_picture(raw.reshape(468, 3)[:, :2] / 192)
        pupils = [
            self._pupil(picture, mesh, corners, mirrored)
            for corners, mirrored in zip(_EYES, (True, False), strict=True)
        ]
        places = np.concatenate([mesh[list(_FACE)], pupils])
        return np.column_stack([places, np.ones(70)])

    def _pupil(self, picture: NDArray[np.uint8], mesh: Float, corners: tuple[int, int], mirrored: bool) -> Float:
        """The middle of an eye's iris. The model knows left eyes: right ones are shown to it mirrored."""
        outer, inner = mesh[corners[0]], mesh[corners[1]]
        middle, across = (outer + inner) / 2, (outer - inner) * (-1 if mirrored else 1)
        turn = float(np.arctan2(across[1], across[0]))
        region = Region(float(middle[0]), float(middle[1]), 2.3 * float(np.hypot(*across)), turn)
        eye = region.cut(picture, 64)
        _, iris = self._network("iris_landmark/iris_landmark")(eye[:, ::-1] if mirrored else eye)
        place = iris.reshape(5, 3)[:1, :2] / 64
        if mirrored:
            place[:, 0] = 1 - place[:, 0]
        return region.to_picture(place)[0]


def _coco(points: Float, shape: tuple[int, ...]) -> Float:
    """COCO-18 of MediaPipe's 33; what is unsure or outside of the picture is not there."""
    body = points[list(_BODY)]
    body[1] = (points[11] + points[12]) / 2
    body[1, 2] = points[[11, 12], 2].min()
    inside = ((body[:, :2] >= 0) & (body[:, :2] < (shape[1], shape[0]))).all(-1)
    body[~inside | (body[:, 2] < _LEAST_VISIBLE)] = 0
    return body


def _same(points: Float, known: Person) -> bool:
    """Whether two detections are one person: their trunks are nearer than a part of its length."""
    body, other = _coco(points, (10**9, 10**9)), known.body
    both = (body[:, 2] > 0) & (other[:, 2] > 0)
    if not both.any():
        return False
    apart: Any = np.hypot(*(body[both, :2] - other[both, :2]).T).mean()
    return bool(apart < 0.25 * np.ptp(other[other[:, 2] > 0, :2], axis=0).max())
