"""Runs inside Blender, with the extension and the starter model: the tutorial's steps, and its pictures.

blender -b -P tests/hosts/blender_tutorial.py -- FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy
import mathutils
import numpy as np
from bl_ext.user_default.brushwire.blender import cameras, capture, images, link, mannequin, materials
from bl_ext.user_default.brushwire.blender.maps import edges, segmentation
from bl_ext.user_default.brushwire.blender.palettes import distinct

OUT = Path(sys.argv[sys.argv.index("--") + 1])
report: dict[str, object] = {}


def fresh():
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.preferences.addon_enable(module="bl_ext.user_default.brushwire")
    scene = bpy.context.scene
    scene.render.engine, scene.render.resolution_x, scene.render.resolution_y = "CYCLES", 320, 320
    scene.cycles.samples, scene.cycles.use_denoising = 12, False
    scene.world = bpy.data.worlds.new("World")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.8, 0.85, 1.0, 1.0)
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy, sun.rotation_euler = 2.5, (0.7, 0.2, 0.5)
    scene.collection.objects.link(sun)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.mesh.primitive_plane_add(size=30)
    return scene, camera


def look(camera, eye, target):
    eye, target = mathutils.Vector(eye), mathutils.Vector(target)
    camera.matrix_world = mathutils.Matrix.LocRotScale(eye, (target - eye).to_track_quat("-Z", "Y"), None)
    bpy.context.view_layer.update()


def rendered(name):
    bpy.context.scene.render.filepath = str(OUT / name)
    bpy.ops.render.render(write_still=True)


def painted_mesh():
    scene, camera = fresh()
    look(camera, (2.6, -4.6, 2.4), (0, 0, 0.95))
    bpy.ops.mesh.primitive_monkey_add(size=2, location=(0, 0, 1), rotation=(0, 0, 0.3))
    monkey = bpy.context.object
    bpy.ops.object.shade_smooth()
    monkey.modifiers.new("Subdivision", "SUBSURF").levels = 2
    own = scene.brushwire
    own.rig, own.rig_count, own.rig_size = "COVERAGE", 8, (256, 256)
    own.views.prompt, own.views.steps = "mossy stone wall", 8
    own.views.has_seed, own.views.seed = True, 4
    own.views.follow_depth = 0.0
    own.views.width = own.views.height = 1024
    report["views"] = sorted(bpy.ops.brushwire.paint_mesh())
    texture = images.pixels_of(bpy.data.images["Suzanne painted"])
    report["painted"] = float((texture[..., 3] > 0).mean())
    report["cameras"] = len(json.loads(bpy.data.images["Suzanne painted"]["brushwire_views"]))
    rendered("painted.png")


def material():
    scene, camera = fresh()
    look(camera, (0, -4.2, 1.6), (0, 0, 1))
    bpy.ops.mesh.primitive_uv_sphere_add(segments=96, ring_count=48, location=(0, 0, 1))
    bpy.ops.object.shade_smooth()
    own = scene.brushwire.texture
    own.prompt, own.steps = "red brick wall", 8
    own.has_seed, own.seed = True, 2
    own.has_width = own.has_height = True
    own.width = own.height = 256
    report["material"] = sorted(bpy.ops.brushwire.texture())
    made = bpy.context.object.active_material
    nodes = made.node_tree.nodes
    report["maps"] = sorted(node.name for node in nodes if node.type == "TEX_IMAGE")
    report["spaces"] = {n.name: n.image.colorspace_settings.name for n in nodes if n.type == "TEX_IMAGE"}
    report["linked"] = sorted(socket.name for socket in nodes["Principled BSDF"].inputs if socket.is_linked)
    report["recipe"] = json.loads(made[materials.RECIPE])
    rendered("material.png")
    kept = {name: nodes[name].image.name for name in report["maps"]}
    scene.brushwire.replace = "roughness"
    report["replaced"] = sorted(bpy.ops.brushwire.replace_map())
    report["renewed"] = sorted(name for name in kept if nodes[name].image.name != kept[name])
    report["again"] = sorted(bpy.ops.brushwire.texture_again())
    second = json.loads(bpy.context.object.active_material[materials.RECIPE])
    report["seeds"] = [report["recipe"]["seed"], second["seed"]]


def maps():
    scene, camera = fresh()
    scene.render.resolution_x = scene.render.resolution_y = 256
    look(camera, (1.4, -4.2, 1.5), (0.1, 0, 0.85))
    rig = mannequin.add(bpy.context)
    for bone, angle in (("upper_arm.L", 0.9), ("upper_arm.R", -0.5), ("thigh.L", -0.5), ("shin.L", 0.6)):
        rig.pose.bones[bone].rotation_mode = "XYZ"
        rig.pose.bones[bone].rotation_euler = (angle, 0, 0)
    bpy.ops.mesh.primitive_cube_add(size=0.7, location=(0.9, 0.6, 0.35), rotation=(0, 0, 0.5))
    graph = bpy.context.evaluated_depsgraph_get()
    shot = cameras.camera_of(scene, camera)
    seen = capture.maps(scene, graph, camera, shot)
    keypoints, _ = capture.poses(capture.people(graph), shot)
    names = capture.gather(graph).objects
    np.savez(
        OUT / "maps.npz", depth=seen.depth, normal=seen.normal, pose=keypoints, edges=edges(seen),
        segments=segmentation(seen.object, distinct(len(names))),
    )  # fmt: skip


for part in (maps, painted_mesh, material):
    part()
    print(part.__name__, flush=True)
link.close()
(OUT / "report.json").write_text(json.dumps(report, indent=1))
