"""Blender's images and arrays: rows from the top here, from the bottom there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from bridge_protocol.blobs import Blob


def array_of(blob: Blob) -> NDArray[Any]:
    """A result's array, in its shape and dtype."""
    return np.frombuffer(blob.data, np.dtype(blob.ref.dtype).newbyteorder("<")).reshape(blob.ref.shape)


def new_image(name: str, pixels: NDArray[Any], *, data: bool = False) -> bpy.types.Image:
    """A new image of (h, w), (h, w, 3) or (h, w, 4), packed into the file.

    Integers become 8 bits a channel, floats stay 32. data: the numbers are not colours.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, channels = pixels.shape
    floating = pixels.dtype.kind == "f" or pixels.dtype.itemsize > 1
    image = bpy.data.images.new(name, width, height, alpha=channels == 4, float_buffer=floating)
    fill(image, pixels, data=data)
    return image


def fill(image: bpy.types.Image, pixels: NDArray[Any], *, data: bool = False) -> None:
    """Put pixels into an image of their size, and pack it."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, channels = pixels.shape
    image.colorspace_settings.name = "Non-Color" if data else "sRGB"
    out = np.ones((height, width, 4), np.float32)
    values = pixels.astype(np.float32)
    if pixels.dtype.kind in "ui":
        values /= np.iinfo(pixels.dtype).max
        if image.is_float and not data:
            values = linear(values)
    out[..., : 3 if channels == 1 else channels] = values
    image.pixels.foreach_set(out[::-1].ravel())
    image.update()
    image.pack()


def pixels_of(image: bpy.types.Image) -> NDArray[np.uint8]:
    """An image as it is seen, (h, w, 4) uint8 sRGB."""
    width, height = image.size
    if not width or not height:
        raise ValueError(f"the image {image.name} has no pixels")
    flat = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(flat)
    out = flat.reshape(height, width, 4)[::-1]
    if image.is_float and image.colorspace_settings.name not in ("sRGB", "Non-Color"):
        out = np.concatenate([encoded(out[..., :3]), out[..., 3:]], axis=2)
    return np.ascontiguousarray(np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8))


def last_render(scene: bpy.types.Scene) -> NDArray[np.uint8] | None:
    """The last render as it is shown, with the scene's view transform, (h, w, 4) uint8; None before the first one."""
    result = bpy.data.images.get("Render Result")
    if result is None:
        return None
    settings = scene.render.image_settings
    # Blender 5 asks first whether it is a picture, layers or a film, and knows the formats of that alone.
    medium = getattr(settings, "media_type", None)
    kept = settings.file_format, settings.color_mode, settings.color_depth, settings.compression
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "render.png"
        try:
            if medium is not None:
                settings.media_type = "IMAGE"
            settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGBA", "8"
            result.save_render(str(path), scene=scene)
        except RuntimeError:
            return None
        finally:
            if medium is not None:
                settings.media_type = medium
            settings.file_format = kept[0]
            settings.color_mode, settings.color_depth, settings.compression = kept[1:]
        loaded = bpy.data.images.load(str(path))
        try:
            return pixels_of(loaded)
        finally:
            bpy.data.images.remove(loaded)


def linear(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """SRGB of 0 to 1 to linear light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def encoded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light to sRGB of 0 to 1."""
    clipped = np.clip(values, 0, 1)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055).astype(np.float32)
