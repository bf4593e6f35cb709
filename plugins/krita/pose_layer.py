"""Poses in Krita's vector layers."""

from __future__ import annotations

from typing import Any

from . import pose
from .canvas import Canvas
from .pose import Joint
from .texts import tr

_POINTS = 72.0


def add_pose(canvas: Canvas) -> Any:
    """A new vector layer with a person who stands; returns the layer."""
    document = canvas.document
    layer = document.createVectorLayer(tr("Pose"))
    document.rootNode().addChildNode(layer, None)
    bounds = canvas.bounds
    layer.addShapesFromSvg(pose.svg(pose.standing(bounds.x, bounds.y, bounds.width, bounds.height)))
    return layer


def add_people(canvas: Canvas, points: list[tuple[float, float, float]], of_one: int) -> Any:
    """A new vector layer with people out of keypoints (x, y, visibility), `of_one` rows each; returns the layer."""
    layer = canvas.document.createVectorLayer(tr("Pose"))
    canvas.document.rootNode().addChildNode(layer, None)
    joints = [
        Joint(row // of_one, row % of_one, x, y)
        for row, (x, y, seen) in enumerate(points)
        if seen > 0 and row % of_one < len(pose.NAMES)
    ]
    layer.addShapesFromSvg(pose.svg(joints))
    return layer


def joints_in(canvas: Canvas, layer: Any) -> list[Joint]:
    """The joints in a vector layer, where Krita's tools have moved them to; empty where it is no pose."""
    if layer.type() != "vectorlayer":
        return []
    scale = canvas.document.resolution() / _POINTS
    found = []
    for shape in layer.shapes():
        middle = shape.boundingBox().center()
        joint = pose.joint_of(shape.name(), middle.x() * scale, middle.y() * scale)
        if joint is not None:
            found.append(joint)
    return found


def redraw_limbs(canvas: Canvas, layer: Any, joints: list[Joint]) -> None:
    """Draw the limbs between the joints as they lie now."""
    for shape in layer.shapes():
        if shape.name().startswith(pose.LIMB):
            shape.remove()
    for shape in layer.addShapesFromSvg(pose.svg(joints, with_joints=False)):
        shape.setZIndex(-1)
