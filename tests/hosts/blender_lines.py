"""Runs inside Blender: the lines of a scene's meshes, as the extension draws them and as Freestyle renders them.

blender -b --factory-startup -P tests/hosts/blender_lines.py -- FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy
import mathutils
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from plugins.blender import cameras, capture
from plugins.blender.lines import mesh_lines
from plugins.blender.maps import edges, maps_of
from tests.hosts.blender_rna import differences, rna

OUT = Path(sys.argv[sys.argv.index("--") + 1])
SIDE = 256


def black(name):
    """A material that gives no light back: what is rendered bright is lines."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    made.node_tree.nodes.clear()
    shader, output = (made.node_tree.nodes.new(f"ShaderNode{kind}") for kind in ("Emission", "OutputMaterial"))
    shader.inputs["Color"].default_value = (0, 0, 0, 1)
    made.node_tree.links.new(shader.outputs[0], output.inputs["Surface"])
    return made


def scene():
    """A cube with a marked ring and two materials, a sphere half behind it, a smooth cylinder, an open plane."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    made = bpy.context.scene
    made.render.resolution_x = made.render.resolution_y = SIDE
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    made.collection.objects.link(camera)
    made.camera = camera
    eye, target = mathutils.Vector((2.5, -6, 3.5)), mathutils.Vector((0, 0, 0.6))
    camera.matrix_world = mathutils.Matrix.LocRotScale(eye, (target - eye).to_track_quat("-Z", "Y"), None)
    materials = black("One"), black("Other")
    bpy.ops.mesh.primitive_cube_add(size=2, location=(0, 0, 1.01))
    cube = bpy.context.object
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.subdivide(number_cuts=1)
    bpy.ops.object.mode_set(mode="OBJECT")
    # The ring halfway up its sides; the other edges of the subdivision are not marked.
    ring = [all(abs(cube.data.vertices[i].co.z) < 1e-6 for i in edge.vertices) for edge in cube.data.edges]
    if "use_freestyle_mark" in bpy.types.MeshEdge.bl_rna.properties:  # before Blender 5
        cube.data.edges.foreach_set("use_freestyle_mark", ring)
    else:
        cube.data.attributes.new("freestyle_edge", "BOOLEAN", "EDGE").data.foreach_set("value", ring)
    cube.data.materials.append(materials[0])
    cube.data.materials.append(materials[1])
    for face in cube.data.polygons:
        face.material_index = int(face.center.x > 0 and face.center.z > 0)
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=0.9, location=(-1.7, 1.2, 0.95))
    bpy.ops.object.shade_smooth()
    bpy.context.object.data.materials.append(materials[0])
    bpy.ops.mesh.primitive_cylinder_add(vertices=48, radius=0.5, depth=1.4, location=(2, 0.4, 0.71))
    bpy.context.object.data.materials.append(materials[0])
    bpy.ops.mesh.primitive_plane_add(size=7)
    bpy.context.object.data.materials.append(materials[0])
    bpy.context.view_layer.update()
    return made, camera


def freestyle(made):
    """What Freestyle draws, (SIDE, SIDE) float32."""
    layer = made.view_layers[0]
    made.render.use_freestyle = layer.use_freestyle = True
    made.render.line_thickness_mode = "ABSOLUTE"
    every = layer.freestyle_settings.linesets
    lines = every[0] if len(every) else every.new("Lines")
    for kind in ("silhouette", "border", "crease", "edge_mark", "material_boundary"):
        setattr(lines, f"select_{kind}", True)
    if lines.linestyle is None:
        lines.linestyle = bpy.data.linestyles.new("Lines")
    lines.linestyle.color, lines.linestyle.thickness = (1, 1, 1), 1.0
    made.render.engine = "CYCLES"
    made.cycles.samples, made.cycles.use_denoising = 1, False
    made.view_settings.view_transform = "Raw"
    made.render.image_settings.file_format = "PNG"
    made.render.filepath = str(OUT / "freestyle.png")
    bpy.ops.render.render(write_still=True)


made, camera = scene()
before = rna()
triangles = capture.gather(bpy.context.evaluated_depsgraph_get(), marks=True)
seen = maps_of(triangles, cameras.camera_of(made, camera), near=0.1, far=100)
crease = capture.crease_of(bpy.context.view_layer)
ours = mesh_lines(triangles, seen, crease=crease, near=0.1)
changed = differences(before, rna())
unmarked = mesh_lines(capture.gather(bpy.context.evaluated_depsgraph_get()), seen, crease=crease, near=0.1)
freestyle(made)
np.savez(OUT / "lines.npz", ours=ours, unmarked=unmarked, picture=edges(seen))
(OUT / "lines.json").write_text(json.dumps({"changed": changed, "crease": crease, "marked": len(triangles.marked)}))
