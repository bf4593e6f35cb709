"""What an object's materials show: a plain colour, or a picture that lies on a UV map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from . import images, materials
from .looks import Coat


def colour_of(material: bpy.types.Material | None, notes: list[str]) -> tuple[float, float, float]:
    """A material's base colour, linear; where nodes make it, the colour that the viewport shows."""
    if material is None:
        return (0.8, 0.8, 0.8)
    base = _base(material)
    if base is not None:
        if not base.is_linked:
            return tuple(base.default_value[:3])
        notes.append(f"The albedo of {material.name} is its viewport colour: nodes make the real one.")
    return tuple(material.diffuse_color[:3])


def coats_of(obj: bpy.types.Object, uvs: dict[str, NDArray[np.float32]], notes: list[str]) -> list[Coat]:
    """What each material slot of an object shows.

    uvs: of each UV layer (3·m, 2), for each corner of the object's triangles. Only what is a picture by itself counts
    as one: one image on a UV map, through a mapping at most, or the albedo of a material that was made here.
    """
    shown = next((layer.name for layer in obj.data.uv_layers if layer.active_render), "")
    coats = []
    for slot in obj.material_slots or [None]:
        material = slot.material if slot is not None else None
        found = _picture_of(material) if material is not None else None
        layer = uvs.get((found.layer or shown) if found is not None else "")
        if found is None or layer is None:
            linear = np.array(colour_of(material, notes), np.float32)
            coats.append(Coat(np.rint(images.encoded(linear) * 255).astype(np.uint8)))
            continue
        places = layer @ found.matrix[:, :2].T + found.matrix[:, 2]
        coats.append(Coat(images.pixels_of(found.image), places.astype(np.float32), repeats=found.repeats))
    return coats


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image on a UV layer ("": the one that is rendered). matrix: (2, 3), from UVs to places in the image."""

    image: bpy.types.Image
    layer: str
    matrix: NDArray[np.float64]
    repeats: bool


def _base(material: bpy.types.Material) -> Any:
    if not material.use_nodes or material.node_tree is None:
        return None
    shader = next((node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    return None if shader is None else shader.inputs["Base Color"]


def _picture_of(material: bpy.types.Material) -> _Picture | None:
    base = _base(material)
    if base is None or not base.is_linked:
        return None
    node = base.links[0].from_node
    if materials.RECIPE in material:
        node = material.node_tree.nodes.get("albedo", node)  # its ambient occlusion is no part of its look
    if node.type != "TEX_IMAGE" or node.projection != "FLAT" or node.extension not in ("REPEAT", "EXTEND"):
        return None
    image = node.image
    if image is None or image.source not in ("FILE", "GENERATED") or not all(image.size):
        return None
    lies = _lies(node.inputs["Vector"])
    return None if lies is None else _Picture(image, *lies, node.extension == "REPEAT")


def _lies(socket: Any) -> tuple[str, NDArray[np.float64]] | None:
    """The UV layer and the mapping that a socket is fed by; None where it is anything else."""
    if not socket.is_linked:
        return "", np.eye(2, 3)
    link = socket.links[0]
    node = link.from_node
    if node.type == "UVMAP":
        return node.uv_map, np.eye(2, 3)
    if node.type == "TEX_COORD" and link.from_socket.name == "UV":
        return "", np.eye(2, 3)
    if node.type != "MAPPING" or node.vector_type != "POINT":
        return None
    inputs = {name: node.inputs[name] for name in ("Location", "Rotation", "Scale")}
    before = _lies(node.inputs["Vector"])
    if before is None or any(one.is_linked for one in inputs.values()):
        return None
    turn = np.array(inputs["Rotation"].default_value.to_matrix()) @ np.diag(inputs["Scale"].default_value)
    layer, first = before
    matrix = turn[:2, :2] @ first
    matrix[:, 2] += np.array(inputs["Location"].default_value)[:2]
    return layer, matrix
