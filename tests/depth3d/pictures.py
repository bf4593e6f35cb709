"""The pictures of docs/depth.md: `python -m tests.depth3d.pictures docs/pictures`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from depth3d.pipeline import mesh_from_depth, orbited, overview, pictured
from depth3d.relief import relief
from depth3d.simplify import simplified
from tests.depth3d import scene

SIZE = 512


def main(folder: Path) -> None:
    """Write depth-side.png and depth-relief.png."""
    camera = scene.source_camera(SIZE)
    depth = scene.cast(camera)[0].astype(np.float32)
    picture = scene.picture(camera, 2)
    torn = mesh_from_depth(depth, camera, picture).mesh
    layered = mesh_from_depth(depth, camera, picture, layers=True).mesh
    shots = [pictured(torn, camera), *(pictured(mesh, orbited(camera, mesh, 8)) for mesh in (torn, layered))]
    save(np.concatenate(shots, axis=1), folder / "depth-side.png")
    plate = relief(depth, width=100, height=25, base=4)
    coarse = simplified(plate, len(plate.faces) // 20)
    views = [pictured(replace(mesh, uvs=None), overview(mesh, size=SIZE)) for mesh in (plate, coarse)]
    save(np.concatenate(views, axis=1), folder / "depth-relief.png")


def save(picture: np.ndarray, path: Path) -> None:
    """As a small PNG of 256 colours."""
    image = Image.fromarray(picture)
    image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.LANCZOS).quantize(256).save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
