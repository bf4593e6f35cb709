"""Runs inside Blender, with the extension and the starter model: pictures and meshes that follow the scene's maps.

blender -b -P tests/hosts/blender_controls.py -- FOLDER
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import bpy
import mathutils
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from bl_ext.user_default.brushwire.blender import cameras, capture, errands, images, link, mannequin, placing, remedies
from blender_rna import differences, rna

OUT = Path(sys.argv[sys.argv.index("--") + 1])
report: dict[str, object] = {}
infos: list[dict[str, object]] = []
_placed = placing.placed


def placed(context, task):
    infos.append(task.result.info)
    return _placed(context, task)


placing.placed = placed


def fresh():
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.preferences.addon_enable(module="bl_ext.user_default.brushwire")
    scene = bpy.context.scene
    scene.render.resolution_x = scene.render.resolution_y = 128
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    own = scene.brushwire
    own.generate.steps = own.views.steps = 4
    for group in (own.generate, own.views):
        group.has_seed, group.seed = True, 5
    own.use_depth = False
    return scene, own


def look(camera, eye, target):
    eye, target = mathutils.Vector(eye), mathutils.Vector(target)
    camera.matrix_world = mathutils.Matrix.LocRotScale(eye, (target - eye).to_track_quat("-Z", "Y"), None)
    bpy.context.view_layer.update()


def attempt(name, operator):
    before = rna()
    ended = sorted(operator())
    report[name] = {
        "ended": ended, "changed": differences(before, rna(), new=False), "fallbacks": infos[-1]["fallbacks"],
    }  # fmt: skip


def painted(name, **controls):
    """A picture that follows those maps alone, in the order of the images that are made."""
    own = bpy.context.scene.brushwire
    for kind in ("depth", "normal", "pose"):
        setattr(own, f"use_{kind}", kind in controls)
        setattr(own, f"weight_{kind}", controls.get(kind, 1.0))
    before = set(bpy.data.images)
    attempt(name, bpy.ops.brushwire.picture)
    (made,) = set(bpy.data.images) - before
    return images.pixels_of(made)[..., :3]


def seen(scene):
    """Where the camera sees a surface."""
    shot = cameras.camera_of(scene, scene.camera)
    return np.isfinite(capture.maps(scene, bpy.context.evaluated_depsgraph_get(), scene.camera, shot).depth)


def view():
    scene, own = fresh()
    look(scene.camera, (0, -5, 1), (0, 0, 1))
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, location=(-0.6, 0, 1), radius=0.8)
    bpy.ops.object.shade_smooth()
    own.generate.prompt = "a red sphere, white background"
    pictures = {"nothing": painted("nothing")}
    for kind in ("depth", "normal"):
        pictures[kind] = painted(kind, **{kind: 1.0})
    pictures["both"] = painted("both", depth=0.8, normal=0.8)
    np.savez(OUT / "view.npz", seen=seen(scene), **pictures)


def other_model():
    """A model that is not there: what was asked for is asked for again with the server's own."""
    _, own = fresh()
    own.generate.prompt, own.generate.model = "a red ball", "nothing"
    try:
        bpy.ops.brushwire.picture()
    except RuntimeError as error:
        report["no_model"] = str(error)
    failed = link.studio().tasks[-1]
    offered = remedies.of_problem(failed.problem, failed.values, known=failed in errands.asked)
    report["offered"] = [one.operator for one in offered]
    attempt("other_model", partial(bpy.ops.brushwire.other_model, task=failed.id))


def person():
    scene, own = fresh()
    look(scene.camera, (0.8, -3.4, 1.1), (0.5, 0, 0.95))
    mannequin.add(bpy.context)
    own.generate.prompt = "a person in a blue shirt and blue trousers, white background"
    np.savez(OUT / "person.npz", seen=seen(scene), nothing=painted("nobody"), pose=painted("pose", pose=1.0))


def mesh():
    scene, own = fresh()
    look(scene.camera, (2.6, -4.6, 2.4), (0, 0, 0.9))
    bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=24, location=(0, 0, 1))
    own.rig_size, own.rig_count = (128, 128), 3
    own.views.prompt = "mossy stone"
    own.views.width = own.views.height = 256
    textures = {}
    for name, depth, normal in (("free", 0.0, 0.0), ("views_depth", 1.0, 0.0), ("views_both", 0.8, 0.8)):
        own.views.follow_depth, own.views.follow_normal = depth, normal
        attempt(name, bpy.ops.brushwire.paint_mesh)
        textures[name] = images.pixels_of(bpy.data.images["Sphere painted"])
    own.mode = "grid"
    attempt("views_grid", bpy.ops.brushwire.paint_mesh)
    textures["views_grid"] = images.pixels_of(bpy.data.images["Sphere painted"])
    np.savez(OUT / "mesh.npz", **textures)


for part in (view, other_model, person, mesh):
    part()
    print(part.__name__, flush=True)
link.close()
(OUT / "report.json").write_text(json.dumps(report, indent=1))
