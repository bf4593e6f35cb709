"""How an object looks now, as a texture in another layout: what painting over it begins with. No bpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from depth3d.render import sample
from depth3d.texels import dilated, texels

#: Texels around the islands that get their borders' colours, so that none of the ground shows at a seam.
_AROUND = 8


@dataclass(frozen=True, eq=False)
class Coat:
    """What one material shows. pixels: (3,) uint8 sRGB, one colour; or a picture, (h, w, 3 or 4).

    uvs: (3·m, 2) for each corner of all triangles, where in the picture it lies, u to the right and v up. repeats:
    whether the picture goes on beyond its borders as a tile; else its borders do.
    """

    pixels: NDArray[np.uint8]
    uvs: NDArray[np.float32] | None = None
    repeats: bool = True


def texture_of(
    layout: NDArray[np.float32], slots: NDArray[np.int32], coats: Sequence[Coat], width: int, height: int
) -> NDArray[np.uint8]:
    """The coats of a mesh in a layout, (height, width, 4) uint8 sRGB, alpha 0 where no triangle lies.

    layout: (3·m, 2) for each corner, u to the right and v up. slots: (m,) which coat each triangle wears.
    """
    out = np.zeros((height * width, 4), np.uint8)
    corners = layout.reshape(-1, 3, 2) * (1, -1) + (0, 1)
    for number, coat in enumerate(coats):
        chosen = np.flatnonzero(np.clip(slots, 0, len(coats) - 1) == number)
        if not len(chosen):
            continue
        # Where each texel lies in the picture is found as where it would lie in a scene.
        places = np.zeros((3 * len(chosen), 3))
        if coat.uvs is not None:
            places[:, :2] = coat.uvs.reshape(-1, 3, 2)[chosen].reshape(-1, 2)
        found = texels(places, np.arange(len(places)), corners[chosen], width, height)
        out[found.index, :3] = coat.pixels if coat.uvs is None else _seen(coat, found.points[:, :2])
        out[found.index, 3] = 255
    return dilated(out.reshape(height, width, 4), _AROUND)


def _seen(coat: Coat, places: NDArray[np.float64]) -> NDArray[np.uint8]:
    pixels, places = coat.pixels[..., :3], places * (1, -1) + (0, 1)
    if coat.repeats:
        # A frame of its other side around the tile: between its last pixel and its first lies a mean of both.
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="wrap")
        places = (places % 1 * (width, height) + 1) / (width + 2, height + 2)
    return np.rint(sample(pixels, places)).astype(np.uint8)
