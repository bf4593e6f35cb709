"""A surface's height, and what follows from it exactly: its normals, and how much of the sky each point sees.

Heights are (h, w) float32 in [0, 1], 1 nearest to the viewer. `relief` is how far apart 0 and 1 lie, over the width of
the texture. Normals are (h, w, 3) unit float32 in tangent space: x right, y up (OpenGL's green), z out of the surface.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from server.engine import torus
from server.engine.compositing import Float
from server.engine.torus import Wraps

#: Directions in which the horizon is looked for, and steps along each.
_DIRECTIONS, _STEPS = 8, 8
#: How far, over the width of the texture: what is farther away darkens nothing.
_REACH = 1 / 16


def normals(height: Float, relief: float, wraps: Wraps) -> Float:
    """The height's own normals, by central differences."""
    across, down = torus.gradient(height, wraps)
    pixels = relief * height.shape[1]  # the height in pixels
    field = np.stack([-across * pixels, down * pixels, np.ones_like(height)], axis=-1)
    return (field / np.linalg.norm(field, axis=-1, keepdims=True)).astype(np.float32)


def height_of(field: Float, wraps: Wraps) -> tuple[Float, float]:
    """The height whose normals come nearest to the given ones, and its relief; see `torus.integrated`."""
    z = np.maximum(field[..., 2], 0.05)  # a surface that turns away has no height; steeper than 87° is not believed
    surface = torus.integrated(-field[..., 0] / z, field[..., 1] / z, wraps)
    low, high = float(surface.min()), float(surface.max())
    span = high - low
    return (surface - low) / np.float32(max(span, 1e-9)), span / field.shape[1]


def encoded(field: Float, convention: str = "opengl") -> NDArray[np.uint8]:
    """Normals as a picture, (h, w, 3) uint8. convention: opengl's green points up, directx's down."""
    picture = np.rint((field * 0.5 + 0.5) * 255).astype(np.uint8)
    if convention == "directx":  # after rounding, so that one convention is the other exactly
        picture[..., 1] = 255 - picture[..., 1]
    return picture


def decoded(picture: NDArray[np.uint8], convention: str = "opengl") -> Float:
    """What `encoded` made, as it is: not made unit length again."""
    signs = np.array([1, -1 if convention == "directx" else 1, 1], np.float32)
    return (picture.astype(np.float32) / 255 * 2 - 1) * signs


def openness(height: Float, relief: float, wraps: Wraps) -> Float:
    """Ambient occlusion: the part of the light of an even sky that reaches each point, (h, w) in [0, 1].

    For each direction the horizon is the steepest line to what stands around (Bavoil and Sainz 2008, "Screen space
    ambient occlusion", horizon-based); a horizon at the angle a lets cos² a of that direction's light through.
    """
    rows, columns = height.shape
    margin = max(2, min(round(columns * _REACH), rows - 1, columns - 1))
    padded = torus.pad(height, margin, wraps)
    pixels = relief * columns
    total = np.zeros_like(height)
    # Steps that grow: what is near shades most, and must not be stepped over.
    distances = np.unique(np.rint(np.geomspace(1, margin, _STEPS)).astype(int))
    for angle in np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS):
        steepest = np.zeros_like(height)
        for distance in distances:
            dy, dx = round(float(np.sin(angle) * distance)), round(float(np.cos(angle) * distance))
            there = padded[margin + dy : margin + dy + rows, margin + dx : margin + dx + columns]
            away = float(np.hypot(dx, dy))
            # What lies at the edge of the reach fades out, so that no circle shows.
            slope = (there - height) * np.float32(pixels / away * (1 - (away / (margin + 1)) ** 2))
            np.maximum(steepest, slope, out=steepest)
        total += 1 / (1 + steepest**2)  # cos² of the angle whose tangent this is
    return total / _DIRECTIONS
