"""Runs inside Blender: builds scenes, captures them, and writes figures and maps for the tests beside it to judge.

blender -b --factory-startup -P tests/hosts/blender_figures.py -- FOLDER
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import bpy
import mathutils
import numpy as np
from bpy_extras.object_utils import world_to_camera_view

sys.path.insert(0, str(Path(__file__).parents[2]))

from plugins.blender import cameras, capture, mannequin
from plugins.blender.maps import edges, maps_of, segmentation
from plugins.blender.palettes import distinct
from plugins.blender.skeletons import SKELETONS
from tests.hosts.blender_rna import differences, rna

OUT = Path(sys.argv[sys.argv.index("--") + 1])
figures: dict[str, object] = {"version": list(bpy.app.version)}


def fresh(size=(256, 192)):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    look(camera, (1.5, -6, 3), (0, 0, 0.5))
    return scene, camera


def look(camera, eye, target):
    eye, target = mathutils.Vector(eye), mathutils.Vector(target)
    camera.matrix_world = mathutils.Matrix.LocRotScale(eye, (target - eye).to_track_quat("-Z", "Y"), None)
    bpy.context.view_layer.update()


def graph():
    bpy.context.view_layer.update()
    return bpy.context.evaluated_depsgraph_get()


def seen(scene, camera):
    return capture.maps(scene, graph(), camera, cameras.camera_of(scene, camera))


def mesh_object(name, mesh, location=(0, 0, 0)):
    obj = bpy.data.objects.new(name, mesh)
    obj.location = location
    bpy.context.scene.collection.objects.link(obj)
    return obj


def cube(name, smooth=False, **place):
    bpy.ops.mesh.primitive_cube_add(size=2, **place)
    obj = bpy.context.object
    obj.name = name
    for polygon in obj.data.polygons:
        polygon.use_smooth = smooth
    return obj


def cycles_passes(scene, name=""):
    """Cycles' own depth and normals of the scene, of one sample at each pixel's centre, as an EXR file of that name.

    Returns how long it took, in seconds; without a name, without the writing of a file.
    """
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_normal = True
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):  # from Blender 5 on
        settings.media_type = "MULTI_LAYER_IMAGE"
    settings.file_format, settings.color_depth = "OPEN_EXR_MULTILAYER", "32"
    settings.exr_codec = "ZIP"
    scene.render.filepath = str(OUT / name)
    began = time.perf_counter()
    bpy.ops.render.render(write_still=bool(name))
    return time.perf_counter() - began


# -- normals and depth


def solids():
    scene, camera = fresh()
    bpy.ops.mesh.primitive_uv_sphere_add(segments=128, ring_count=64, radius=1.2, location=(-1.6, 0, 1))
    bpy.ops.object.shade_smooth()
    cube("Flat", location=(1.6, 0.4, 1), rotation=(0.2, 0.3, 0.5), scale=(0.7, 0.7, 0.7))
    cube("Smooth", smooth=True, location=(0.3, 1.8, 0.9), rotation=(0, 0, 0.6), scale=(0.6, 0.9, 0.6))
    bevelled = cube("Bevelled", smooth=True, location=(0.2, -1.6, 0.5), rotation=(0, 0, 0.3), scale=(0.5, 0.5, 0.5))
    bevel = bevelled.modifiers.new("Bevel", "BEVEL")
    bevel.width, bevel.segments, bevel.harden_normals = 0.25, 3, True
    mirrored = cube("Mirrored", smooth=True, location=(2.6, -1.4, 0.5))
    mirrored.scale = (-0.4, 0.3, 0.6)
    bpy.ops.mesh.primitive_plane_add(size=12)
    ours = seen(scene, camera)
    scene_triangles = capture.gather(graph())
    sphere = scene_triangles.objects.index("Sphere")
    np.savez(
        OUT / "solids.npz", depth=ours.depth, normal=ours.normal, object=ours.object, edges=edges(ours),
        segments=segmentation(ours.object, distinct(len(scene_triangles.objects))), sphere=sphere,
        world_to_camera=ours.camera.world_to_camera, centre=(-1.6, 0, 1),
        camera=np.frombuffer(json.dumps(ours.camera.to_dict()).encode(), np.uint8),
    )  # fmt: skip
    # Depth against Blender's own rays, through the centres of pixels.
    worst, misses = 0.0, 0
    rows, columns = np.random.default_rng(0).integers(0, (192, 256), (3000, 2)).T
    origin = mathutils.Vector(ours.camera.position)
    points = ours.camera.unproject(np.ones((192, 256)))
    for row, column in zip(rows, columns, strict=True):
        direction = mathutils.Vector(points[row, column]) - origin
        hit, location, *_ = scene.ray_cast(graph(), origin, direction.normalized())
        z = ours.camera.project(location)[1] if hit else math.inf
        if hit != bool(np.isfinite(ours.depth[row, column])):
            misses += 1
        elif hit:
            worst = max(worst, abs(z - float(ours.depth[row, column])) / z)
    figures["depth_against_rays"], figures["depth_misses"] = worst, misses
    figures["background_is_infinite"] = bool(np.isinf(ours.depth[0, 0]))
    cycles_passes(scene, "solids.exr")


# -- what belongs to a scene: instances, modifiers, child collections, hidden things, clipping


def contents():
    scene, camera = fresh((128, 96))
    look(camera, (0, -8, 0), (0, 0, 0))

    def names():
        triangles = capture.gather(graph())
        return sorted(triangles.objects), len(triangles.faces)

    cell = bpy.data.collections.new("Cell")
    child = bpy.data.collections.new("Child")
    cell.children.link(child)
    bpy.ops.mesh.primitive_cube_add(size=1)
    inner = bpy.context.object
    inner.name = "Inner"
    scene.collection.objects.unlink(inner)
    child.objects.link(inner)
    for x in (-2, 0, 2):
        empty = bpy.data.objects.new(f"Instance{x}", None)
        empty.instance_type, empty.instance_collection, empty.location = "COLLECTION", cell, (x, 0, 0)
        scene.collection.objects.link(empty)
    figures["instances"] = names()
    before = seen(scene, camera)
    figures["instances_seen"] = int(np.isfinite(before.depth[48, ::1]).sum())
    hidden = cube("Hidden", location=(0, 0, 3))
    hidden.hide_render = True
    figures["hidden"] = names()
    array = cube("Array", location=(0, 4, 0))
    array.modifiers.new("Array", "ARRAY").count = 5
    figures["modifier"] = names()
    bpy.ops.object.text_add(location=(0, 0, 2))
    figures["text"] = names()[0]
    camera.data.clip_start = 7.9
    figures["clipped"] = float(seen(scene, camera).depth.min())
    camera.data.clip_start, camera.data.clip_end = 0.1, 7.0
    figures["beyond"] = bool(np.isinf(seen(scene, camera).depth).all())


# -- cameras


def every_camera():
    worst = {}
    points = np.random.default_rng(1).uniform(-1.5, 1.5, (60, 3))
    for kind in ("PERSP", "ORTHO"):
        for fit in ("AUTO", "HORIZONTAL", "VERTICAL"):
            for size in ((256, 192), (192, 256)):
                for aspect in ((1, 1), (1.5, 1), (1, 2)):
                    for parented in (False, True):
                        scene, camera = fresh(size)
                        scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = aspect
                        data = camera.data
                        data.type, data.sensor_fit, data.ortho_scale = kind, fit, 5
                        data.sensor_width, data.sensor_height, data.lens = 30, 20, 28
                        data.shift_x, data.shift_y = 0.13, -0.21
                        if parented:
                            parent = bpy.data.objects.new("Parent", None)
                            scene.collection.objects.link(parent)
                            parent.location, parent.rotation_euler = (3, 2, 1), (0.3, 0.2, 1)
                            parent.scale = (2, 2, 2)
                            camera.parent = parent
                            bpy.context.view_layer.update()
                        ours = cameras.camera_of(scene, camera)
                        pixels, depth = ours.project(points)
                        for point, pixel, z in zip(points, pixels, depth, strict=True):
                            u, v, w = world_to_camera_view(scene, camera, mathutils.Vector(point))
                            off = math.hypot(u * size[0] - pixel[0], (1 - v) * size[1] - pixel[1])
                            key = f"{kind} {'parented' if parented else 'free'}"
                            worst[key] = max(worst.get(key, 0.0), off, abs(w - z))
                        # And back again: a camera object that is placed by ours sees the same.
                        again = bpy.data.objects.new("Again", bpy.data.cameras.new("Again"))
                        scene.collection.objects.link(again)
                        cameras.place(ours, scene, again)
                        bpy.context.view_layer.update()
                        back, _ = cameras.camera_of(scene, again).project(points)
                        worst["placed"] = max(worst.get("placed", 0.0), float(np.abs(back - pixels).max()))
    figures["camera_pixels"] = worst


# -- people


def rig_of(skeleton, prefix=""):
    """An armature with that family's names, roughly a person in a T pose, posed at random."""
    data = bpy.data.armatures.new("Rig")
    obj = bpy.data.objects.new("Rig", data)
    bpy.context.scene.collection.objects.link(obj)
    bpy.context.view_layer.objects.active = obj
    bpy.ops.object.mode_set(mode="EDIT")

    def bone(name, head, tail):
        made = data.edit_bones.new(prefix + name)
        made.head, made.tail = head, tail

    for side, x in ((0, 1), (1, -1)):
        names = skeleton.bones(side)
        bone(names["shoulder"], (0.2 * x, 0, 1.4), (0.5 * x, 0, 1.4))
        bone(names["elbow"], (0.5 * x, 0, 1.4), (0.75 * x, 0, 1.4))
        bone(names["wrist"], (0.75 * x, 0, 1.4), (0.83 * x, 0, 1.4))
        bone(names["hip"], (0.12 * x, 0, 0.95), (0.12 * x, 0, 0.5))
        bone(names["knee"], (0.12 * x, 0, 0.5), (0.12 * x, 0, 0.1))
        bone(names["ankle"], (0.12 * x, 0, 0.1), (0.12 * x, -0.15, 0.02))
        for finger, chain in enumerate(skeleton.finger_bones(side)):
            for joint, name in enumerate(chain):
                start = (0.83 + 0.03 * joint) * x
                bone(name, (start, 0.02 * finger, 1.4), (start + 0.03 * x, 0.02 * finger, 1.4))
    bone(skeleton.neck, (0, 0, 1.45), (0, 0, 1.55))
    bone(skeleton.head, (0, 0, 1.55), (0, 0, 1.8))
    if skeleton.crown:
        bone(skeleton.crown, (0, 0, 1.8), (0, 0, 1.85))
    bpy.ops.object.mode_set(mode="OBJECT")
    rng = np.random.default_rng(3)
    for posed in obj.pose.bones:
        posed.rotation_mode = "XYZ"
        posed.rotation_euler = rng.uniform(-0.4, 0.4, 3)
    obj.location, obj.rotation_euler = (0.2, 0.1, 0.05), (0, 0, 0.4)
    bpy.context.view_layer.update()
    return obj


def every_rig():
    out = {}
    cases = [(skeleton, "") for skeleton in SKELETONS]
    cases += [(SKELETONS[0], "DEF-"), (SKELETONS[1], "mixamorig:"), (SKELETONS[1], "mixamorig7:")]
    for skeleton, prefix in cases:
        scene, camera = fresh((512, 768))
        look(camera, (0.5, -5, 1.4), (0, 0, 1))
        obj = rig_of(skeleton, prefix)
        everyone = capture.people(graph())
        keypoints, points = capture.poses(everyone, cameras.camera_of(scene, camera))
        worst, hidden = 0.0, 0

        def off(index, world, keypoints=keypoints, scene=scene, camera=camera):
            u, v, _ = world_to_camera_view(scene, camera, world)
            x, y, visible = keypoints[index]
            return math.hypot(u * 512 - x, (1 - v) * 768 - y) if visible else math.inf

        for side, first in ((1, 2), (0, 5)):
            names = skeleton.bones(side)
            for number, joint in enumerate(("shoulder", "elbow", "wrist")):
                world = obj.matrix_world @ obj.pose.bones[prefix + names[joint]].head
                worst = max(worst, off(first + number, world))
            for number, joint in enumerate(("hip", "knee", "ankle")):
                world = obj.matrix_world @ obj.pose.bones[prefix + names[joint]].head
                worst = max(worst, off((8 if side else 11) + number, world))
            for finger, chain in enumerate(skeleton.finger_bones(side)):
                base = 18 + 21 * side + 1 + 4 * finger
                for joint, name in enumerate(chain):
                    world = obj.matrix_world @ obj.pose.bones[prefix + name].head
                    worst = max(worst, off(base + joint, world))
                world = obj.matrix_world @ obj.pose.bones[prefix + chain[2]].tail
                worst = max(worst, off(base + 3, world))
        hidden = int((keypoints[:, 2] == 0).sum())
        out[prefix + skeleton.name] = [everyone[0].rig, points, worst, hidden]
    figures["rigs"] = out
    # From behind the camera's back nothing is there.
    look(camera, (0.5, -5, 1.4), (0, -10, 1))
    keypoints, _ = capture.poses(capture.people(graph()), cameras.camera_of(scene, camera))
    figures["behind"] = int(keypoints[:, 2].sum())
    obj[capture.MAPPING] = {"nose": prefix + SKELETONS[1].head + ">"}
    world = obj.matrix_world @ obj.pose.bones[prefix + SKELETONS[1].head].tail
    figures["own_mapping"] = float(np.abs(capture.people(graph())[0].body[0] - np.array(world)).max())


def people_and_mannequin():
    scene, camera = fresh((384, 512))
    look(camera, (1.2, -4, 1.3), (0, 0, 0.95))
    rig = mannequin.add(bpy.context)
    for side, angle in (("L", 0.9), ("R", -0.4)):
        arm = rig.pose.bones[f"upper_arm.{side}"]
        arm.rotation_mode = "XYZ"
        arm.rotation_euler = (angle, 0, 0)
    everyone = capture.people(graph())
    shot = cameras.camera_of(scene, camera)
    ours = seen(scene, camera)
    free, points = capture.poses(everyone, shot)
    screen = cube("Screen", location=(0.35, -1, 1.0), scale=(0.2, 0.02, 0.6))
    hidden, _ = capture.poses(everyone, shot, seen(scene, camera).depth, mannequin.THICKNESS)
    bpy.data.objects.remove(screen)
    alone, _ = capture.poses(everyone, shot, ours.depth, mannequin.THICKNESS)
    np.savez(OUT / "mannequin.npz", pose=free, depth=ours.depth, normal=ours.normal)
    figures["mannequin"] = {
        "points": points, "rig": everyone[0].rig, "free": int(free[:18, 2].sum()),
        "alone": int(alone[:18, 2].sum()), "hidden": int(hidden[:18, 2].sum()),
    }  # fmt: skip


# -- one point from two cameras


def agreement():
    scene, camera = fresh((320, 240))
    bpy.ops.mesh.primitive_plane_add(size=12)
    cube("Box", location=(0, 0, 1))
    first = seen(scene, camera)
    look(camera, (-4, -4, 2.5), (0, 0, 0.5))
    second = seen(scene, camera)
    points = first.camera.unproject(first.depth)[np.isfinite(first.depth)]
    origin = first.raster.face[np.isfinite(first.depth)]
    pixels, z = second.camera.project(points)
    x, y = pixels[:, 0] - 0.5, pixels[:, 1] - 0.5
    inside = (x > 1) & (y > 1) & (x < 317) & (y < 237) & (z > 0)
    x, y, z, origin = x[inside], y[inside], z[inside], origin[inside]
    c, r = np.floor(x).astype(int), np.floor(y).astype(int)
    around = np.stack([second.depth[r + i, c + j] for i in (0, 1) for j in (0, 1)])
    faces = np.stack([second.raster.face[r + i, c + j] for i in (0, 1) for j in (0, 1)])
    one = (faces == origin).all(axis=0)
    fx, fy = x - c, y - r
    weights = np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
    found = 1 / (weights / around).sum(axis=0)
    figures["agreement"] = [float(np.abs(found / z - 1)[one].max()), int(one.sum())]


# -- speed, and what is left behind


def speed():
    scene, camera = fresh((1024, 1024))
    bpy.ops.mesh.primitive_uv_sphere_add(segments=512, ring_count=245, radius=2, location=(0, 0, 1))
    bpy.ops.mesh.primitive_plane_add(size=20)
    before = rna()
    graph()
    captures, renders, after = [], [], []
    for _ in range(3):  # in turns, so that what else the machine does meets both
        began = time.perf_counter()
        triangles = capture.gather(graph())
        ours = maps_of(triangles, cameras.camera_of(scene, camera), near=0.1, far=1000)
        captures.append(time.perf_counter() - began)
        after.append(differences(before, rna()))
        renders.append(cycles_passes(scene))
        before = rna()
    figures["left_by_capture"] = [line for lines in after for line in lines]
    figures["speed"] = {
        "triangles": len(triangles.faces), "capture": min(captures), "cycles": min(renders),
        "seen": float(np.isfinite(ours.depth).mean()),
    }  # fmt: skip


for part in (solids, contents, every_camera, every_rig, people_and_mannequin, agreement, speed):
    began = time.perf_counter()
    part()
    print(f"{part.__name__}: {time.perf_counter() - began:.1f} s", flush=True)
(OUT / "figures.json").write_text(json.dumps(figures, indent=1))
