"""Finding bodies, faces and palms: anchors, boxes and regions, as MediaPipe's single-shot detectors define them.

Their source: https://github.com/google-ai-edge/mediapipe (Apache-2.0), modules/*_detection, and the papers on BlazeFace
(Bazarevsky et al. 2019) and BlazePose (Bazarevsky et al. 2020). Pixels have their centres at (i + 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """A square of the picture, turned. x, y: its centre in pixels. side: in pixels. turn: radians, clockwise."""

    x: float
    y: float
    side: float
    turn: float = 0.0

    def scaled(self, factor: float, up: float = 0.0) -> Region:
        """A larger one; its centre is moved up by that part of its own side, along its own axis."""
        x = self.x + up * self.side * float(np.sin(self.turn))
        y = self.y - up * self.side * float(np.cos(self.turn))
        return Region(x, y, self.side * factor, self.turn)

    def to_picture(self, points: Float) -> Float:
        """Points (n, 2) in [0, 1] of the region, in pixels of the picture."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        u, v = ((points - 0.5) * self.side).T
        return np.stack([self.x + cos * u - sin * v, self.y + sin * u + cos * v], -1)

    def cut(self, picture: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
        """The region of a (h, w, 3) picture as (size, size, 3) float32 in [0, 1], black beyond the picture."""
        step = self.side / size
        image, factor = Image.fromarray(picture), max(1, int(step))
        reduced = image.reduce(factor) if factor > 1 else image  # or fine patterns would become coarse ones
        cos, sin = np.cos(self.turn) * step / factor, np.sin(self.turn) * step / factor
        # Pillow asks for the picture's point of each of the region's, both with pixel centres at (i + 0.5).
        x = self.x / factor - (cos - sin) * size / 2
        y = self.y / factor - (sin + cos) * size / 2
        cut = reduced.transform(
            (size, size), Image.Transform.AFFINE, (cos, -sin, x, sin, cos, y), Image.Resampling.BILINEAR
        )
        return np.asarray(cut, np.float32) / 255


@dataclass(frozen=True)
class Detector:
    """How a detector's numbers are read. side: of its input. strides: of its layers, those of equal stride together.
    keypoints: that it finds in each box. least: the score of what is found.
    """

    side: int
    strides: tuple[int, ...]
    keypoints: int
    least: float = 0.5

    def anchors(self) -> Float:
        """The centre (x, y) of each anchor in [0, 1]; two for each layer, and all of one size."""
        out = []
        for stride in dict.fromkeys(self.strides):
            cells = self.side // stride
            y, x = (np.mgrid[:cells, :cells] + 0.5) / cells
            out.append(np.repeat(np.stack([x.ravel(), y.ravel()], -1), 2 * self.strides.count(stride), 0))
        return np.concatenate(out)

    def found(self, boxes: Float, logits: Float) -> list[Detection]:
        """What was found, best first. boxes: (n, 4 + 2 · keypoints), logits: (n,), as the network gives them."""
        scores = 1 / (1 + np.exp(-np.clip(logits, -100, 100)))
        best = np.flatnonzero(scores >= self.least)
        anchors = self.anchors()[best]
        values = boxes[best].reshape(len(best), 2 + self.keypoints, 2) / self.side
        values[:, 0] += anchors
        values[:, 2:] += anchors[:, None]
        return _merged(values, scores[best])


@dataclass(frozen=True, eq=False)
class Detection:
    """centre, size: (2,) of its box, keypoints: (n, 2), all in [0, 1] of the detector's input."""

    score: float
    centre: Float
    size: Float
    keypoints: Float


def around(region: Region, centre: Float, side: float, start: Float, end: Float, upright: float) -> Region:
    """A region of the picture for what was found in another one.

    centre, start, end: points (2,) in [0, 1] of `region`; side: in parts of its side. The line from start to end
    comes to point as `upright` says: 0 to the right, π/2 up.
    """
    x, y = end - start
    turn = upright - np.arctan2(-y, x)
    (place,) = region.to_picture(centre[None])
    total = region.turn + turn
    return Region(float(place[0]), float(place[1]), side * region.side, float((total + np.pi) % (2 * np.pi) - np.pi))


def whole(picture: NDArray[np.uint8]) -> Region:
    """The smallest square around the picture."""
    height, width = picture.shape[:2]
    return Region(width / 2, height / 2, max(width, height))


def _merged(values: Float, scores: Float, overlap: float = 0.3) -> list[Detection]:
    """Those that overlap become one, their mean by score."""
    out = []
    left = np.argsort(-scores)
    while len(left):
        near = _overlap(values[left[0]], values[left]) > overlap
        near[0] = True
        group, left = left[near], left[~near]
        weights = scores[group] / scores[group].sum()
        mean = (values[group] * weights[:, None, None]).sum(0)
        out.append(Detection(float(scores[group].max()), mean[0], mean[1], mean[2:]))
    return out


def _overlap(one: Float, many: Float) -> Float:
    """Intersection over union of a box (centre, size) with others."""
    low = np.maximum(one[0] - one[1] / 2, many[:, 0] - many[:, 1] / 2)
    high = np.minimum(one[0] + one[1] / 2, many[:, 0] + many[:, 1] / 2)
    shared = np.clip(high - low, 0, None).prod(-1)
    return shared / (one[1].prod() + many[:, 1].prod(-1) - shared + 1e-12)
