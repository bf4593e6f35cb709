"""Blender's cameras as this project's, and back."""

from __future__ import annotations

import bpy
import mathutils
import numpy as np

from depth3d.camera import Camera


class CameraError(Exception):
    """A camera that cannot be captured. remedy: what to do."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.remedy = remedy


def picture_size(scene: bpy.types.Scene, data: bpy.types.Camera | None = None) -> tuple[int, int]:
    """Width and height of what is rendered, in pixels; a rig's camera may have a size of its own."""
    own = data.get("brushwire_size") if data is not None else None
    if own is not None:
        return int(own[0]), int(own[1])
    share = scene.render.resolution_percentage / 100
    return max(1, int(scene.render.resolution_x * share)), max(1, int(scene.render.resolution_y * share))


def camera_of(scene: bpy.types.Scene, camera: bpy.types.Object | None, size: tuple[int, int] | None = None) -> Camera:
    """A camera object as it renders this scene: lens, sensor fit, shift, pixel aspect, parents, without any scale.

    size: of the picture; None: the scene's. Raises CameraError.
    """
    if camera is None or camera.type != "CAMERA":
        raise CameraError("The scene has no camera.", "Add a camera, and make it the scene's.")
    data = camera.data
    if data.type not in ("PERSP", "ORTHO"):
        raise CameraError(f"{camera.name} is a panoramic camera.", "Use a perspective or an orthographic one.")
    width, height = size or picture_size(scene, data)
    aspect = scene.render.pixel_aspect_y / scene.render.pixel_aspect_x
    fit = data.sensor_fit.lower()
    if data.type == "PERSP":
        made = Camera.from_focal_length(
            width,
            height,
            focal_length=data.lens,
            sensor_width=data.sensor_width,
            sensor_height=data.sensor_height,
            sensor_fit=fit,
            shift_x=data.shift_x,
            shift_y=data.shift_y,
            pixel_aspect=aspect,
        )
    else:
        horizontal = fit == "horizontal" or (fit == "auto" and width >= height * aspect)
        side = float(width) if horizontal else height * aspect
        fx = side / data.ortho_scale
        made = Camera(
            width,
            height,
            fx,
            fx / aspect,
            width / 2 - data.shift_x * side,
            height / 2 + data.shift_y * side / aspect,
            "orthographic",
        )
    location, rotation, _ = camera.matrix_world.decompose()
    placed = mathutils.Matrix.LocRotScale(location, rotation, None)
    return Camera.from_opengl(made, np.array(placed, dtype=np.float64))


def place(camera: Camera, scene: bpy.types.Scene, obj: bpy.types.Object) -> None:
    """Give a camera object the place, the lens, the shift and the picture's size of `camera`."""
    data = obj.data
    obj.matrix_world = mathutils.Matrix(camera.to_opengl().tolist())
    data.sensor_fit = "HORIZONTAL"
    data["brushwire_size"] = (camera.width, camera.height)
    if camera.projection == "orthographic":
        data.type, data.ortho_scale = "ORTHO", camera.width / camera.fx
    else:
        data.type, data.lens = "PERSP", camera.fx * data.sensor_width / camera.width
    data.shift_x = (camera.width / 2 - camera.cx) / camera.width
    aspect = scene.render.pixel_aspect_y / scene.render.pixel_aspect_x
    data.shift_y = (camera.cy - camera.height / 2) * aspect / camera.width
