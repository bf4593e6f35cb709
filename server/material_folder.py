"""A material as a folder of files, by the names that Blender, Unreal, Unity and Godot tell maps by."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bridge_protocol.client import JobResult
from server import pictures, watching

#: Each map's file name behind the material's own.
NAMES = {
    "albedo": "basecolor", "height": "height", "roughness": "roughness", "metallic": "metallic",
    "ambient_occlusion": "ao",
}  # fmt: skip
_LONGEST = 48


def save(result: JobResult, folder: Path) -> list[Path]:
    """Write a Texture job's maps into a new folder of their own under `folder`, and return the paths.

    The normal map is written in both conventions, whichever was asked for: the other one's green is turned around.
    """
    name = slug(result.info.get("prompt", ""))
    place = _new_folder(folder, name)
    paths = []
    for output, blob in zip(result.outputs, result.blobs, strict=True):
        array = watching.array_of(blob)
        if "suffix" in output.info:
            paths.append(pictures.write_file(array, place, name, output.info["suffix"]))
        elif output.name == "normal":
            asked = result.info["normals"]
            other = array.copy()
            other[..., 1] = 255 - other[..., 1]
            for convention, normals in ((asked, array), ({"opengl": "directx", "directx": "opengl"}[asked], other)):
                paths.append(pictures.write(np.ascontiguousarray(normals), place, f"{name}_normal_{convention}"))
        else:
            paths.append(pictures.write(array, place, f"{name}_{NAMES[output.name]}"))
    return paths


def slug(words: str) -> str:
    """Words as a file name: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower())[:_LONGEST].strip("-") or "material"


def _new_folder(parent: Path, name: str) -> Path:
    for number in range(1, 1_000_000):
        place = parent / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            continue
        return place
    raise FileExistsError(f"{parent} holds too many folders called {name}")
