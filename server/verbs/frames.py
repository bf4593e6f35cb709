"""Frames: an animation painted picture by picture, with keyframes for words, strength and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from bridge_protocol.jobs import Frames, Generate, Keyframe
from bridge_protocol.records import InvalidValue
from server import provenance
from server.engine.painting import IsCancelled, OnProgress
from server.verbs import Arrays, Made, Painter, Yield, generate
from server.verbs.reading import controls_read
from server.verbs.several import merged, part_of_all


def run(job: Frames, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Paint a Frames job, one output "frame" for each picture, in order. Raises InvalidValue or an EngineError.

    The seed stays the same unless a keyframe changes it, so that still parts stay still.
    """
    if job.batch != 1:
        raise InvalidValue("batch", job.batch, "1", "Submit the frames once for each seed.")
    steady = job if job.seed is not None else replace(job, seed=generate.drawn_seed())
    outputs: list[Made] = []
    infos = []
    # Once for all frames: they share their controls.
    drawn, arrays = controls_read(steady, arrays, painter, on_progress, cancelled)
    for number, frame in enumerate(paintings(drawn)):
        told = part_of_all(on_progress, number, len(job.frames))
        made = generate.run(frame, arrays, painter, told, cancelled)
        # What is the same for all of them, or follows from the job, is not told a few hundred times.
        outputs += [replace(out, name="frame", info={"frame": number, "seed": frame.seed}) for out in made.outputs]
        infos.append(made.info)
    plain = provenance.plain(steady)
    plain["job"].pop("frames")
    return Yield(outputs, {**merged(infos), "job": plain})


def paintings(job: Frames) -> list[Generate]:
    """What is painted at each frame: its picture with the words, the strength and the seed that hold there.

    Words and seeds hold from their keyframe on. Strengths change evenly between the keyframes that name one, and stay
    before the first and after the last of them. Raises InvalidValue for a keyframe beyond the frames.
    """
    count = len(job.frames)
    for index, key in enumerate(job.keyframes):
        if key.frame >= count:
            raise InvalidValue(f"keyframes[{index}].frame", key.frame, f"at most {count - 1}, the last frame")
    keys = sorted(job.keyframes, key=lambda key: key.frame)
    strengths = {key.frame: key.denoising_strength for key in keys if key.denoising_strength is not None}
    shared = {field.name: getattr(job, field.name) for field in fields(Generate)}
    painted = []
    for number, picture in enumerate(job.frames):
        changed = {
            "image": picture,
            "prompt": _holding(keys, number, "prompt", job.prompt),
            "seed": _holding(keys, number, "seed", job.seed),
        }
        if strengths:
            changed["denoising_strength"] = float(np.interp(number, list(strengths), list(strengths.values())))
        painted.append(Generate(**{**shared, **changed}))
    return painted


def _holding(keys: Sequence[Keyframe], number: int, name: str, before: Any) -> Any:
    for key in keys:
        if key.frame <= number and getattr(key, name) is not None:
            before = getattr(key, name)
    return before
