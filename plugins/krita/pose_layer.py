"""Poses in Krita's vector layers."""

from __future__ import annotations

from typing import Any

from . import pose
from .canvas import Canvas
from .pose import Joint, Limb
from .qt import QtGui
from .texts import tr

_POINTS = 72.0


def add_pose(canvas: Canvas) -> Any:
    """A new vector layer with a person who stands; returns the layer."""
    bounds = canvas.bounds
    return _add(canvas, pose.standing(bounds.x, bounds.y, bounds.width, bounds.height))


def add_people(canvas: Canvas, points: list[tuple[float, float, float]], of_one: int) -> Any:
    """A new vector layer with people out of keypoints (x, y, visibility), `of_one` rows each; returns the layer."""
    joints = [
        Joint(row // of_one, row % of_one, x, y)
        for row, (x, y, seen) in enumerate(points)
        if seen > 0 and row % of_one < len(pose.NAMES)
    ]
    return _add(canvas, joints)


def _add(canvas: Canvas, joints: list[Joint]) -> Any:
    layer = canvas.document.createVectorLayer(tr("Pose"))
    # Shapes are a step of the undo history of their own wherever they are added: before the layer is, so that one step
    # back takes all of it away.
    layer.addShapesFromSvg(pose.svg(joints))
    canvas.document.rootNode().addChildNode(layer, None)
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


def move_limbs(canvas: Canvas, layer: Any, joints: list[Joint], drawn: dict[str, Limb]) -> None:
    """Bring the limbs to where their joints lie now, without a step of the undo history: the move of a joint is one.

    drawn: where each limb lies, which is changed with it.
    """
    wanted, scale = pose.limbs(joints), canvas.document.resolution() / _POINTS
    for shape in layer.shapes():
        name = shape.name()
        if name not in drawn or drawn[name] == wanted.get(name):
            continue
        before = shape.boundingBox()
        shape.setVisible(name in wanted)
        change = pose.moved(drawn[name], wanted[name]) if name in wanted else None
        if change is not None:
            a, b, c, d, e, f = change
            shape.setTransformation(shape.transformation() * QtGui.QTransform(a, b, c, d, e / scale, f / scale))
            drawn[name] = wanted[name]
        shape.updateAbsolute(before)
        shape.update()
