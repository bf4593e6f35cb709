"""Materials: node trees of what the server made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import bpy
from numpy.typing import NDArray

from .images import new_image

#: Where a material keeps the settings that made it, for making it again.
RECIPE = "brushwire_recipe"
#: Where a painted texture keeps the views that it was painted from.
VIEWS = "brushwire_views"
#: The maps that hold numbers and not colours.
DATA_MAPS = {"normal", "height", "roughness", "metallic", "ambient_occlusion"}
_PLACES = {
    "albedo": 300, "ambient_occlusion": 0, "metallic": -300, "roughness": -600, "normal": -900, "height": -1200,
}  # fmt: skip


def pbr_material(
    name: str, maps: Mapping[str, NDArray[Any]], recipe: Mapping[str, Any], *, relief: float = 0.05
) -> bpy.types.Material:
    """A material of Principled BSDF, with an image for each map, on the object's UVs.

    maps: albedo, normal (tangent space, green up), height, roughness, metallic, ambient_occlusion, each that there is.
    relief: what the height's 0 to 1 spans, in scene units.
    """
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material[RECIPE] = json.dumps(dict(recipe))
    tree = material.node_tree
    tree.nodes.clear()
    output = _node(tree, "ShaderNodeOutputMaterial", 700, 0)
    shader = _node(tree, "ShaderNodeBsdfPrincipled", 350, 0)
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    coordinates = _node(tree, "ShaderNodeTexCoord", -1100, 0)
    mapping = _node(tree, "ShaderNodeMapping", -900, 0)
    tree.links.new(coordinates.outputs["UV"], mapping.inputs["Vector"])
    textures = {}
    for which, pixels in maps.items():
        if which not in _PLACES:
            continue
        texture = _node(tree, "ShaderNodeTexImage", -650, _PLACES[which])
        texture.name = texture.label = which
        texture.image = new_image(f"{name} {which}", pixels, data=which in DATA_MAPS)
        tree.links.new(mapping.outputs["Vector"], texture.inputs["Vector"])
        textures[which] = texture
    colour = textures["albedo"].outputs["Color"] if "albedo" in textures else None
    if colour is not None and "ambient_occlusion" in textures:
        shade = _node(tree, "ShaderNodeMix", -250, 150)
        shade.data_type, shade.blend_type = "RGBA", "MULTIPLY"
        shade.inputs["Factor"].default_value = 0.5
        factor_a, factor_b = (socket for socket in shade.inputs if socket.type == "RGBA")
        tree.links.new(colour, factor_a)
        tree.links.new(textures["ambient_occlusion"].outputs["Color"], factor_b)
        colour = next(socket for socket in shade.outputs if socket.type == "RGBA")
    if colour is not None:
        tree.links.new(colour, shader.inputs["Base Color"])
    for which, socket in (("roughness", "Roughness"), ("metallic", "Metallic")):
        if which in textures:
            tree.links.new(textures[which].outputs["Color"], shader.inputs[socket])
    if "normal" in textures:
        bent = _node(tree, "ShaderNodeNormalMap", -250, -900)
        tree.links.new(textures["normal"].outputs["Color"], bent.inputs["Color"])
        tree.links.new(bent.outputs["Normal"], shader.inputs["Normal"])
    if "height" in textures:
        displaced = _node(tree, "ShaderNodeDisplacement", 350, -700)
        displaced.inputs["Midlevel"].default_value = 0.5
        displaced.inputs["Scale"].default_value = relief
        tree.links.new(textures["height"].outputs["Color"], displaced.inputs["Height"])
        tree.links.new(displaced.outputs["Displacement"], output.inputs["Displacement"])
    return material


def replace_map(material: bpy.types.Material, which: str, pixels: NDArray[Any]) -> None:
    """Another picture for one map of a material that was made here; the others stay. Raises KeyError."""
    texture = material.node_tree.nodes[which]
    old = texture.image
    texture.image = new_image(f"{material.name} {which}", pixels, data=which in DATA_MAPS)
    if old is not None and old.users == 0:
        bpy.data.images.remove(old)


def painted_material(name: str, image: bpy.types.Image, layer: str, base: tuple[float, ...]) -> bpy.types.Material:
    """A material that shows a painted texture by its UV layer, over a colour where nothing was painted."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = _node(tree, "ShaderNodeOutputMaterial", 700, 0)
    shader = _node(tree, "ShaderNodeBsdfPrincipled", 350, 0)
    shader.inputs["Roughness"].default_value = 0.7
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    coordinates = _node(tree, "ShaderNodeUVMap", -500, 0)
    coordinates.uv_map = layer
    texture = _node(tree, "ShaderNodeTexImage", -250, 0)
    texture.name = texture.label = "painted"
    texture.image = image
    tree.links.new(coordinates.outputs["UV"], texture.inputs["Vector"])
    mix = _node(tree, "ShaderNodeMix", 100, 0)
    mix.data_type = "RGBA"
    under, over = (socket for socket in mix.inputs if socket.type == "RGBA")
    under.default_value = (*base[:3], 1.0)
    tree.links.new(texture.outputs["Alpha"], mix.inputs["Factor"])
    tree.links.new(texture.outputs["Color"], over)
    tree.links.new(next(socket for socket in mix.outputs if socket.type == "RGBA"), shader.inputs["Base Color"])
    return material


def assign(obj: bpy.types.Object, material: bpy.types.Material) -> None:
    """Show a material on this object alone: in its own slots, so that the mesh keeps its materials."""
    if not obj.material_slots:
        obj.data.materials.append(None)
    for slot in obj.material_slots:
        slot.link = "OBJECT"
        slot.material = material


def painted_image(obj: bpy.types.Object | None) -> bpy.types.Image | None:
    """The texture that was painted onto an object from cameras; None where none was."""
    for slot in obj.material_slots if obj is not None else ():
        tree = slot.material.node_tree if slot.material is not None else None
        node = tree.nodes.get("painted") if tree is not None else None
        if node is not None and node.image is not None:
            return node.image
    return None


def views_of(image: bpy.types.Image | None) -> list[dict[str, Any]]:
    """The views that a texture was painted from: each with the name of its `image`, and its `camera`."""
    return json.loads(image[VIEWS]) if image is not None and VIEWS in image else []


def _node(tree: bpy.types.NodeTree, kind: str, x: float, y: float) -> Any:
    node = tree.nodes.new(kind)
    node.location = (x, y)
    return node
