"""Controls whose picture is read by a detector first: `Control.detector`."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from bridge_protocol.blobs import Blob
from bridge_protocol.jobs import Painting
from bridge_protocol.records import InvalidValue
from server.engine.detectors import BY_ID, AnnotateRequest
from server.engine.painting import IsCancelled, OnProgress
from server.verbs import Arrays, Painter, picture_of

AnyPainting = TypeVar("AnyPainting", bound=Painting)


def controls_read(
    job: AnyPainting, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled
) -> tuple[AnyPainting, Arrays]:
    """The job with control images where it had pictures to read them from, and the arrays with these.

    Raises InvalidValue for a detector that reads another kind of control, or an EngineError of the painter.
    """
    if not any(control.detector for control in job.controls):
        return job, arrays
    controls, known = [], dict(arrays)
    for index, control in enumerate(job.controls):
        if not control.detector:
            controls.append(control)
            continue
        field = f"controls[{index}]"
        detector = BY_ID.get(control.detector)
        if detector is not None and detector.control != control.kind:
            remedy = f"Take the kind {detector.control}, or another detector."
            raise InvalidValue(f"{field}.detector", control.detector, f"one that reads {control.kind}", remedy)
        picture = picture_of(f"{field}.image", control.image, arrays)
        read = painter.annotate(AnnotateRequest(picture, control.detector), on_progress, cancelled)
        drawn = np.ascontiguousarray(read.control)
        blob = Blob.of(drawn, color="srgb")
        known[blob.ref.digest] = drawn
        controls.append(replace(control, image=blob.ref, detector=""))
    return replace(job, controls=controls), known
