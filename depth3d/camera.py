"""Cameras: where a point of the scene lands in a picture, and where a pixel's ray goes.

Conventions, everywhere in this project:

- Camera axes are OpenCV's: x right, y down, z forward. The scene's own axes are whatever the scene has.
- A pixel (i, j) of column i and row j covers the square from (i, j) to (i + 1, j + 1): its centre is at
  (i + 0.5, j + 0.5), and the principal point of an unshifted camera is at (width / 2, height / 2).
- Extrinsics are world-to-camera, 4×4 float64, applied to column vectors.
- Depth is z along the camera's axis (not along the ray), in scene units; for an equirectangular camera,
  which has no one axis, it is the radius.

numpy alone: this file also runs inside Blender.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Projection = Literal["perspective", "orthographic", "equirectangular"]
Float = NDArray[np.float64]

#: Turns OpenGL's (and Blender's and glTF's) camera axes, x right, y up, z backward, into OpenCV's, and back.
OPENGL_FLIP: Float = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera with its picture's size.

    fx, fy: for a perspective camera the focal lengths in pixels; for an orthographic one pixels per scene
    unit; for an equirectangular one pixels per radian.
    cx, cy: the principal point in pixels, half pixels at the centres (see the module's text).
    world_to_camera: (4, 4) float64.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    projection: Projection = "perspective"
    world_to_camera: Float = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"camera size is {self.width}×{self.height}; both must be at least 1 pixel")
        for name in ("fx", "fy"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"camera {name} is {value}; it must be a positive number of pixels")
        for name in ("cx", "cy"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"camera {name} is {getattr(self, name)}; it must be a finite number of pixels")
        if self.projection not in get_args(Projection):
            raise ValueError(f"camera projection is {self.projection!r}; use one of {get_args(Projection)}")
        matrix = np.asarray(self.world_to_camera, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"world_to_camera has shape {matrix.shape}; it must be a finite 4×4 matrix")
        object.__setattr__(self, "world_to_camera", matrix)

    # -- making one

    @classmethod
    def from_fov(
        cls,
        width: int,
        height: int,
        *,
        fov_x: float | None = None,
        fov_y: float | None = None,
        world_to_camera: ArrayLike | None = None,
    ) -> Camera:
        """A perspective camera with square pixels from one field of view in degrees, horizontal or vertical."""
        if (fov_x is None) == (fov_y is None):
            raise ValueError("give either fov_x or fov_y, in degrees")
        fov, side = (fov_x, width) if fov_x is not None else (fov_y, height)
        assert fov is not None
        if not 0 < fov < 180:
            raise ValueError(f"the field of view is {fov}°; it must lie between 0° and 180°")
        focal = side / 2 / math.tan(math.radians(fov) / 2)
        return cls(width, height, focal, focal, width / 2, height / 2, "perspective", _matrix(world_to_camera))

    @classmethod
    def from_focal_length(
        cls,
        width: int,
        height: int,
        *,
        focal_length: float,
        sensor_width: float = 36.0,
        sensor_height: float = 24.0,
        sensor_fit: Literal["auto", "horizontal", "vertical"] = "auto",
        shift_x: float = 0.0,
        shift_y: float = 0.0,
        pixel_aspect: float = 1.0,
        world_to_camera: ArrayLike | None = None,
    ) -> Camera:
        """A perspective camera from a lens in millimetres, with Blender's meaning of every term.

        sensor_fit: which side of the picture the sensor's size is laid along; ``auto`` takes the longer one
        (and then the sensor's width, as Blender does).
        shift_x, shift_y: in units of the fitted side, x to the right and y *up*.
        pixel_aspect: a pixel's height over its width.
        """
        horizontal = sensor_fit == "horizontal" or (sensor_fit == "auto" and width >= height * pixel_aspect)
        sensor = sensor_height if sensor_fit == "vertical" else sensor_width
        # The fitted side in pixels of the picture's width.
        view = float(width) if horizontal else height * pixel_aspect
        fx = focal_length / sensor * view
        cx = width / 2 - shift_x * view
        cy = height / 2 + shift_y * view / pixel_aspect
        return cls(width, height, fx, fx / pixel_aspect, cx, cy, "perspective", _matrix(world_to_camera))

    @classmethod
    def orthographic(cls, width: int, height: int, *, scale: float, world_to_camera: ArrayLike | None = None) -> Camera:
        """A parallel camera whose *longer* side spans `scale` scene units (Blender's orthographic scale)."""
        pixels_per_unit = max(width, height) / scale
        return cls(
            width,
            height,
            pixels_per_unit,
            pixels_per_unit,
            width / 2,
            height / 2,
            "orthographic",
            _matrix(world_to_camera),
        )

    @classmethod
    def equirectangular(cls, width: int, height: int, *, world_to_camera: ArrayLike | None = None) -> Camera:
        """A full panorama: longitude 0 (straight ahead) in the middle column, the zenith in the top row."""
        return cls(
            width,
            height,
            width / (2 * math.pi),
            height / math.pi,
            width / 2,
            height / 2,
            "equirectangular",
            _matrix(world_to_camera),
        )

    def looking_at(self, eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 1.0, 0.0)) -> Camera:
        """This camera moved to `eye` (3,), turned to `target` (3,), with `up` (3,) upward in the picture."""
        eye, target, up = (np.asarray(v, dtype=np.float64) for v in (eye, target, up))
        forward = _unit(target - eye)
        right = np.cross(forward, up)
        if np.linalg.norm(right) < 1e-9:
            raise ValueError("the camera looks along its up vector; give another `up`")
        right = _unit(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        return replace(self, world_to_camera=_rigid(rotation, -rotation @ eye))

    def resized(self, width: int, height: int) -> Camera:
        """The same view on another number of pixels; the aspect may change, the view does not."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
        )

    # -- points and pixels

    @property
    def camera_to_world(self) -> Float:
        """The inverse of `world_to_camera`, (4, 4)."""
        return np.asarray(np.linalg.inv(self.world_to_camera), dtype=np.float64)

    @property
    def position(self) -> Float:
        """Where the camera stands in the scene, (3,)."""
        return self.camera_to_world[:3, 3]

    def project(self, points: ArrayLike) -> tuple[Float, Float]:
        """Scene points (…, 3) to pixel positions (…, 2) and depths (…,).

        Points behind a perspective camera keep their negative depth; their pixel positions mean nothing.
        """
        world = np.asarray(points, dtype=np.float64)
        local = world @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        x, y, z = local[..., 0], local[..., 1], local[..., 2]
        if self.projection == "equirectangular":
            radius = np.linalg.norm(local, axis=-1)
            with np.errstate(divide="ignore", invalid="ignore"):
                u = np.arctan2(x, z) * self.fx + self.cx
                v = np.arcsin(np.clip(y / radius, -1, 1)) * self.fy + self.cy
            return np.stack([u, v], axis=-1), radius
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1.0 / z if self.projection == "perspective" else 1.0
            u = self.fx * x * scale + self.cx
            v = self.fy * y * scale + self.cy
        return np.stack([u, v], axis=-1), z

    def rays(self, dtype: Any = np.float64) -> NDArray[Any]:
        """For each pixel centre the point of *camera* space at depth 1, (height, width, 3).

        Perspective: (x, y, 1), to be multiplied by z. Equirectangular: unit directions, to be multiplied by
        the radius. Orthographic: (x, y, 1) where only the third component scales with z.
        """
        u = (np.arange(self.width) + 0.5 - self.cx) / self.fx
        v = (np.arange(self.height) + 0.5 - self.cy) / self.fy
        out = np.ones((self.height, self.width, 3), dtype=dtype)
        if self.projection == "equirectangular":
            out[..., 0] = np.cos(v)[:, None] * np.sin(u)[None, :]
            out[..., 1] = np.sin(v)[:, None]
            out[..., 2] = np.cos(v)[:, None] * np.cos(u)[None, :]
        else:
            out[..., 0] = u[None, :]
            out[..., 1] = v[:, None]
        return out

    def unproject(self, depth: ArrayLike) -> Float:
        """A depth map (height, width) to scene points (height, width, 3); infinite depth gives infinite points."""
        z = np.asarray(depth, dtype=np.float64)
        if z.shape != (self.height, self.width):
            raise ValueError(f"depth has shape {z.shape}; this camera's pictures are {(self.height, self.width)}")
        points = self.rays()
        if self.projection == "orthographic":
            points[..., 2] = z
        else:
            with np.errstate(invalid="ignore"):
                points *= z[..., None]
        inverse = self.camera_to_world
        with np.errstate(invalid="ignore"):
            world: Float = points @ inverse[:3, :3].T + inverse[:3, 3]
        return world

    # -- other conventions

    @classmethod
    def from_opengl(cls, camera: Camera, camera_to_world: ArrayLike) -> Camera:
        """`camera` placed by an OpenGL, Blender or glTF camera matrix: (4, 4) camera-to-world, y up, z backward.

        Blender's `matrix_world` of a camera (without its scale) and a glTF camera node's matrix are such.
        """
        matrix = np.asarray(camera_to_world, dtype=np.float64)
        return replace(camera, world_to_camera=np.asarray(np.linalg.inv(matrix @ OPENGL_FLIP)))

    def to_opengl(self) -> Float:
        """This camera's camera-to-world matrix (4, 4) in OpenGL's, Blender's and glTF's camera axes."""
        return np.asarray(self.camera_to_world @ OPENGL_FLIP, dtype=np.float64)

    def opengl_projection(self, near: float, far: float) -> Float:
        """The OpenGL projection matrix (4, 4), clip z from −1 (near) to 1 (far), shift and aspect included."""
        w, h = self.width, self.height
        matrix = np.zeros((4, 4))
        offset_x, offset_y = 1 - 2 * self.cx / w, 2 * self.cy / h - 1
        matrix[0, 0], matrix[1, 1] = 2 * self.fx / w, 2 * self.fy / h
        if self.projection == "perspective":
            matrix[0, 2], matrix[1, 2] = offset_x, offset_y
            matrix[2, 2], matrix[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
            matrix[3, 2] = -1
        elif self.projection == "orthographic":
            matrix[0, 3], matrix[1, 3] = -offset_x, -offset_y
            matrix[2, 2], matrix[2, 3] = -2 / (far - near), -(far + near) / (far - near)
            matrix[3, 3] = 1
        else:
            raise ValueError("an equirectangular camera has no projection matrix")
        return matrix

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as cameras travel on the wire; `from_dict` reads them."""
        return {
            "projection": self.projection,
            "width": self.width,
            "height": self.height,
            "fx": self.fx,
            "fy": self.fy,
            "cx": self.cx,
            "cy": self.cy,
            "world_to_camera": [float(v) for v in self.world_to_camera.ravel()],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Camera:
        """A camera from `to_dict`'s numbers. Raises ValueError with the field's name where one is wrong."""
        try:
            matrix = np.asarray(data.get("world_to_camera", np.eye(4)), dtype=np.float64).reshape(4, 4)
            return cls(
                int(data["width"]),
                int(data["height"]),
                float(data["fx"]),
                float(data["fy"]),
                float(data["cx"]),
                float(data["cy"]),
                data.get("projection", "perspective"),
                matrix,
            )
        except KeyError as missing:
            raise ValueError(f"the camera lacks its field {missing}") from None


def _matrix(value: ArrayLike | None) -> Float:
    return np.eye(4) if value is None else np.asarray(value, dtype=np.float64)


def _unit(vector: Float) -> Float:
    unit: Float = vector / np.linalg.norm(vector)
    return unit


def _rigid(rotation: Float, translation: Float) -> Float:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = translation
    return matrix
