"""From measured depth, normals and poses to the pictures that ControlNets were trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from depth3d.depth import depth_to_controlnet
from depth3d.normals import normals_to_controlnet
from depth3d.pose import Pose, draw_openpose
from server.engine.compositing import Float, Region, resize, to_float
from server.engine.errors import InvalidRequest
from server.engine.painting import ControlInput


def control_image(control: ControlInput, name: str, width: int, height: int, region: Region) -> Float:
    """What the ControlNet sees of a control: (paint_height, paint_width, 3) float32 in [0, 1].

    name: the field's, for errors. width, height: the whole picture's pixels; the control is brought to them first.
    region: the part of it that is painted.
    """
    try:
        drawn = _drawn(control, width, height)
    except ValueError as error:
        remedy = "Correct it, or give a control image."
        raise InvalidRequest(f"{name}.array cannot be used: {error}.", remedy) from error
    pixels = to_float(drawn)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    # Classes and drawn limbs have no values between them.
    resample = Image.Resampling.NEAREST if control.kind == "segmentation" else Image.Resampling.BILINEAR
    return region.cut(resize(pixels[..., :3], width, height, resample), resample)


def _drawn(control: ControlInput, width: int, height: int) -> NDArray[np.generic]:
    if not control.metric:
        return control.array
    if control.kind == "depth":
        return depth_to_controlnet(control.array, control.near, control.far)
    if control.kind == "normal":
        return normals_to_controlnet(control.array)
    return draw_openpose([_pose(points, control.size or (width, height)) for points in control.array], height, width)


def _pose(points: NDArray[np.floating], size: tuple[int, int]) -> Pose:
    """Keypoints in pixels to a pose, whose coordinates are fractions of the picture."""
    relative = points.astype(np.float64) / (*size, 1)
    hands = len(points) >= 60
    return Pose(
        body=relative[:18],
        left_hand=relative[18:39] if hands else None,
        right_hand=relative[39:60] if hands else None,
        face=relative[60:] if len(points) == 130 else None,
    )
