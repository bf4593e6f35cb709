"""Control maps from pictures, by the name of a detector: a drawing, and exact data where the detector knows it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from depth3d.pose import Pose, draw_openpose
from server.engine import detectors, relief, torus
from server.engine.annotators import plain
from server.engine.compositing import Float, from_float, resize, to_float
from server.engine.detectors import BEST, BY_ID, DEPTH_ORDER, AnnotateRequest, Annotation, Detector
from server.engine.errors import InvalidRequest, UnknownModel
from server.engine.materials import Estimates, Map
from server.engine.painting import IsCancelled, OnProgress, Progress
from server.engine.remembering import Remembered
from server.engine.sampling import raise_if
from server.engine.torus import Wraps


class Annotator:
    """Reads pictures on one device and keeps the last model loaded. folders: the model folders."""

    def __init__(self, folders: Sequence[Path], device: torch.device) -> None:
        self.folders = folders
        self.device = device
        self._loaded: dict[str, Any] = {}
        self._read = Remembered(4)

    def free(self) -> None:
        """Forget what is loaded and what was read."""
        self._loaded.clear()
        self._read = Remembered(self._read.most)

    def annotate(
        self, request: AnnotateRequest, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> Annotation:
        """Read a picture; what was read from the newest few is kept, so its arrays are not to be written to.

        Raises a subclass of `errors.EngineError`; its remedy says what a detector lacks.
        """
        detector = self._known(request.detector)
        if request.image.ndim != 3 or request.image.shape[2] not in (3, 4):
            raise InvalidRequest(f"image is {request.image.shape}; it must be (h, w, 3|4).", "Convert it.")
        report, stop = on_progress or (lambda progress: None), cancelled or (lambda: False)
        report(Progress("loading"))
        picture = from_float(to_float(request.image[..., :3]), np.dtype(np.uint8))
        asked = {field.name: getattr(request, field.name) for field in fields(request) if field.name != "image"}

        def read() -> Annotation:
            seen = _at(picture, request.resolution)
            model = self._model(detector)
            raise_if(stop)
            report(Progress("reading"))
            found = replace(_read(detector, model, seen, request, picture, stop), detector=detector.id)
            for array in (found.control, *found.exact.values()):
                array.flags.writeable = False
            return found

        digest = hashlib.sha256(np.ascontiguousarray(picture)).digest()
        key = (detector.id, *asked.items(), picture.shape, digest)
        found: Annotation = self._read.get_or_make(key, read)
        return found

    def depth(
        self, picture: NDArray[np.uint8], detector: str = ""
    ) -> tuple[NDArray[np.float32], Literal["metric", "relative"]]:
        """The depth of a (h, w, 3) picture and its kind, metric or relative; see `Annotation`.

        detector: empty takes the best that is there. Raises UnknownModel where none is.
        """
        found = self.annotate(AnnotateRequest(picture, detector or "depth"))
        if "depth" not in found.exact:
            if found.kind != "depth":
                raise InvalidRequest(f"{detector} reads no depth.", f"Take one of: {', '.join(DEPTH_ORDER)}.")
            return found.control[..., 0].astype(np.float32) / 255, "relative"
        return found.exact["depth"], found.depth_kind

    def estimates(
        self, picture: Float, wraps: Wraps, estimator: str = "", cancelled: IsCancelled | None = None
    ) -> Estimates:
        """What the models that are there tell of a material, (h, w, 3) in [0, 1].

        estimator: an id of `detectors.estimators`; empty takes all that are there, `analysis` none.
        """
        own = detectors.models(self.folders)
        ids = {name: model for model, (name, *_) in detectors.ESTIMATORS.items()}
        if estimator not in ("", "analysis", *ids):
            raise UnknownModel(f"There is no estimator {estimator!r}.", f"Take one of: analysis, {', '.join(ids)}.")
        if estimator in ids and ids[estimator] not in own:
            remedy = next(one["remedy"] for one in detectors.estimators(self.folders) if one["id"] == estimator)
            raise UnknownModel(f"{estimator} is not there.", remedy)
        wanted = [] if estimator == "analysis" else [name for name in ids if name == estimator or not estimator]
        found: dict[Map, Float] = {}
        by: dict[Map, str] = {}
        for name in wanted:
            if ids[name] in own:
                values = _material(self._marigold(ids[name]), name, picture, wraps, cancelled or (lambda: False))
                fresh = {key: value for key, value in values.items() if key not in found}
                found |= fresh
                by |= dict.fromkeys(fresh, f"{detectors.ESTIMATORS[ids[name]][1]} ({own[ids[name]].name})")
        return Estimates(**found, by=by)

    def _known(self, name: str) -> Detector:
        if name in BEST:
            return detectors.best(name, self.folders)
        detector = BY_ID.get(name)
        if detector is None:
            raise UnknownModel(f"There is no detector {name!r}.", f"Take one of: {', '.join([*BEST, *BY_ID])}.")
        return detector

    def _lacking(self, detector: Detector) -> str:
        return detectors.lacking(detector, self.folders, detectors.models(self.folders))

    def _model(self, detector: Detector) -> Any:
        if detector.source == "plain":
            return None
        lack = self._lacking(detector)
        if lack:
            raise UnknownModel(f"The detector {detector.name} cannot be used yet.", lack)
        if detector.source == "marigold":
            return self._marigold(detector.model)
        key = detector.source if detector.source == "pose" else detector.id
        if key not in self._loaded:
            self._loaded.clear()  # one at a time: the device is the painter's
            self._loaded[key] = self._load(detector)
        return self._loaded[key]

    def _load(self, detector: Detector) -> Any:
        # Each is imported with its first use: few need all of them.
        if detector.source == "pose":
            from server.engine.annotators.people import People

            return People(self.folders)
        if detector.source == "transformers":
            from server.engine.annotators.depth import DepthModel

            return DepthModel(detectors.models(self.folders)[detector.model], self.device)
        if detector.source == "segments":
            from server.engine.annotators.segments import Segments

            return Segments(detectors.models(self.folders)[detector.model], self.device)
        from server.engine.annotators.borrowed import AuxDetector

        return AuxDetector(detector, self.folders, self.device)

    def _marigold(self, name: str) -> Any:
        from server.engine.annotators.marigold import Marigold

        if name not in self._loaded:
            self._loaded.clear()
            self._loaded[name] = Marigold(detectors.models(self.folders)[name], name, self.device)
        return self._loaded[name]


def _read(
    detector: Detector, model: Any, seen: NDArray[np.uint8], request: AnnotateRequest, picture: NDArray[np.uint8],
    stop: IsCancelled,
) -> Annotation:  # fmt: skip
    if detector.source == "plain":
        return _finish(_plain(detector.id, seen, request), detector.control, picture)
    if detector.source == "pose":
        return _poses(model.find(seen, request.hands, True if detector.id == "face" else request.face),
                      seen, picture, detector.id == "face")  # fmt: skip
    if detector.source == "transformers":
        return _depth(model(seen), model.kind, picture)
    if detector.source == "segments":
        return _segments(model(seen, stop), picture)
    if detector.source == "marigold":
        return _marigold(model(to_float(seen), stop, seed=request.seed)[0], detector, picture)
    return _finish(model(seen, request.hands, request.face), detector.control, picture)


def _at(picture: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """The picture with that shorter side, sides being multiples of 8; as it is for 0."""
    if not resolution:
        return picture
    height, width = picture.shape[:2]
    scale = resolution / min(height, width)
    size = tuple(max(8, round(side * scale / 8) * 8) for side in (width, height))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _plain(name: str, picture: NDArray[np.uint8], request: AnnotateRequest) -> NDArray[np.uint8]:
    low = plain.LOW if request.low is None else request.low
    high = plain.HIGH if request.high is None else request.high
    if name == "canny":
        if low > high:
            raise InvalidRequest(f"low_threshold is {low} and high_threshold {high}.", "Take a lower low_threshold.")
        return plain.canny(picture, low, high)
    if name == "shuffle":
        return plain.shuffle(picture, request.seed)
    read = {"lineart_standard": plain.lineart, "scribble": plain.scribble, "softedge": plain.softedge,
            "color": plain.color, "tile": plain.tile}[name]  # fmt: skip
    return read(picture)


def _finish(control: NDArray[np.uint8], kind: str, picture: NDArray[np.uint8]) -> Annotation:
    """The control image at the picture's size."""
    height, width = picture.shape[:2]
    if control.shape[:2] != (height, width):
        hard = kind in ("segmentation", "color")  # a colour between two would be a third thing
        method = Image.Resampling.NEAREST if hard else Image.Resampling.LANCZOS
        control = np.asarray(Image.fromarray(control).resize((width, height), method))
    return Annotation(control, kind)


def _poses(people: list[Any], seen: NDArray[np.uint8], picture: NDArray[np.uint8], face_alone: bool) -> Annotation:
    height, width = picture.shape[:2]
    scale = np.array([width / seen.shape[1], height / seen.shape[0], 1], np.float32)
    parts = [one.keypoints() * scale for one in people]
    poses = [_pose(part / np.array([width, height, 1], np.float32)) for part in parts]
    control = draw_openpose(poses, height, width, body=not face_alone, hands=not face_alone)
    keypoints = np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)
    # An array on the wire has no side of 0: nobody is one person whose every keypoint is invisible.
    exact = keypoints if len(keypoints) else np.zeros((130, 3), np.float32)
    return Annotation(control, "face" if face_alone else "pose", {"keypoints": exact.astype(np.float32)})


def _pose(points: NDArray[np.float32]) -> Pose:
    parts = [points[:18], points[18:39], points[39:60], points[60:]]
    return Pose(parts[0], *(part if (part[:, 2] > 0).any() else None for part in parts[1:]))


def _depth(depth: NDArray[np.float32], kind: str, picture: NDArray[np.uint8]) -> Annotation:
    depth = resize(depth, picture.shape[1], picture.shape[0])
    inverse = 1 / np.maximum(depth, 1e-3) if kind == "metric" else depth
    return Annotation(_white_is_most(inverse), "depth", {"depth": depth.astype(np.float32)}, kind)


def _segments(numbers: NDArray[np.float32], picture: NDArray[np.uint8]) -> Annotation:
    from server.engine.annotators.segments import coloured

    if numbers.shape != picture.shape[:2]:
        size = (picture.shape[1], picture.shape[0])
        numbers = np.asarray(Image.fromarray(numbers).resize(size, Image.Resampling.NEAREST))
    return Annotation(coloured(numbers), "segmentation", {"segments": numbers.copy()})


def _marigold(values: NDArray[np.float32], detector: Detector, picture: NDArray[np.uint8]) -> Annotation:
    height, width = picture.shape[:2]
    if detector.control == "normal":
        field_ = resize(values, width, height)
        field_ = field_ / np.maximum(np.linalg.norm(field_, axis=-1, keepdims=True), 1e-6)
        return Annotation(relief.encoded(field_), "normal", {"normal": field_.astype(np.float32)})
    far = np.clip(resize(values[..., 0], width, height), 0, 1)
    # Affine-invariant depth has no zero: between 1 and 3 is a room seen from its door.
    return _depth(1 + 2 * far, "metric", picture)


def _material(model: Any, name: str, picture: Float, wraps: Wraps, stop: IsCancelled) -> dict[Map, Float]:
    height, width = picture.shape[:2]

    def sized(values: Float) -> Float:
        return torus.scaled(np.ascontiguousarray(values, np.float32), width, height, wraps)

    if name == "marigold_normals":
        field_ = sized(model(picture, stop, wraps)[0])
        return {"normal": field_ / np.maximum(np.linalg.norm(field_, axis=-1, keepdims=True), 1e-6)}
    if name == "marigold_depth":
        depth = sized(model(picture, stop, wraps)[0, ..., 0])
        return {"height": 1 - (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)}
    read = model.intrinsics(picture, stop, wraps)
    names = {"albedo": "albedo", "roughness": "roughness", "metallicity": "metallic"}
    return {ours: np.clip(sized(read[theirs]), 0, 1) for theirs, ours in names.items() if theirs in read}


def _white_is_most(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    grey = np.rint((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, -1)
