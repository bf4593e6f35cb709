"""Annotate: a control map read from a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from bridge_protocol.jobs import Annotate
from bridge_protocol.records import InvalidValue
from server.engine.detectors import AnnotateRequest
from server.engine.painting import IsCancelled, OnProgress
from server.verbs import Arrays, Made, Painter, Yield, picture_of


def run(job: Annotate, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Read a picture. Raises InvalidValue, or an EngineError of the painter."""
    if not job.detector:
        raise InvalidValue("detector", "", "the name of a detector", "Take edges, pose, depth, normal, …")
    request = AnnotateRequest(
        picture_of("image", job.image, arrays), job.detector, job.resolution, job.low_threshold, job.high_threshold,
        job.hands, job.face, job.seed,
    )  # fmt: skip
    read = painter.annotate(request, on_progress, cancelled)
    made = [Made("control", np.ascontiguousarray(read.control), "srgb", {"control": read.kind})]
    for name, array in read.exact.items():
        info: dict[str, Any] = {"control": read.kind}
        if name == "depth":
            info["depth"] = read.depth_kind
        elif name == "keypoints":
            info["points"] = 130
            info["people"] = int((array.reshape(-1, 130, 3)[:, :18, 2] > 0).any(-1).sum())
        made.append(Made(name, np.ascontiguousarray(array, np.float32), "data", info))
    return Yield(made, {"detector": read.detector, "control": read.kind, "fallbacks": []})
