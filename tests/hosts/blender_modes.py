"""Runs inside Blender, with the extension installed: paints over and in a grid, and ranges of frames, for the tests.

blender -b -P tests/hosts/blender_modes.py -- FOLDER        asks for everything, and reports
blender -b FILE -P tests/hosts/blender_modes.py -- FOLDER NAME  writes down what the file's cube looks like
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from bl_ext.user_default.brushwire.blender import images, link, materials
from blender_rna import differences, rna
from blender_scene import fresh, scene_with_cube

OUT, *NAME = map(Path, sys.argv[sys.argv.index("--") + 1 :])
report: dict[str, object] = {}


def attempt(name, operator):
    before = rna()
    try:
        ended, said = sorted(operator()), ""
    except RuntimeError as error:
        ended, said = ["ERROR"], str(error).strip()
    report[name] = {"ended": ended, "said": said, "changed": differences(before, rna(), new=ended != ["FINISHED"])}


def dump(name):
    """The painted cube: its texture, its faces' corners in the world and on the texture, and its views' pictures."""
    cube = bpy.data.objects["Cube"]
    mesh, layer = cube.data, cube.data.uv_layers["Brushwire"]
    texture = materials.painted_image(cube)
    views = materials.views_of(texture)
    np.savez(
        OUT / f"{name}.npz",
        texture=images.pixels_of(texture),
        corners=[[cube.matrix_world @ mesh.vertices[i].co for i in face.vertices] for face in mesh.polygons],
        uvs=[[layer.uv[i].vector for i in face.loop_indices] for face in mesh.polygons],
        own_uvs=[[mesh.uv_layers[0].uv[i].vector for i in face.loop_indices] for face in mesh.polygons],
        pictures=[images.pixels_of(bpy.data.images[view["image"]]) for view in views],
        cameras=json.dumps([view["camera"] for view in views]),
    )


# -- meshes


def meshes():
    """All at once with ramps, then over it, which inverts; the command line does the same to a file."""
    _, cube = scene_with_cube(plane=False)
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "plain.blend"))
    own = bpy.context.scene.brushwire
    own.rig, own.mode, own.views.prompt = "CUBE", "grid", "ramps"
    attempt("grid", bpy.ops.brushwire.paint_mesh)
    dump("grid")
    attempt("rebake", bpy.ops.brushwire.rebake)
    dump("rebaked")
    own.mode, own.views.prompt = "refine", "rust"
    bpy.context.view_layer.objects.active = cube
    attempt("refine", bpy.ops.brushwire.paint_mesh)
    dump("refined")


def first_time():
    """Over what is there, on a cube that was never painted: one face wears a plain colour, the others a picture."""
    _, cube = scene_with_cube(plane=False)
    rows, columns = np.mgrid[:64, :64] / 64 + 1 / 128
    picture = np.stack([columns * 255, (1 - rows) * 255, np.full_like(rows, 60)], axis=-1)
    material = cube.data.materials[0]
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    texture, mapping, place = (nodes.new(f"ShaderNode{kind}") for kind in ("TexImage", "Mapping", "UVMap"))
    texture.image = images.new_image("Own", np.rint(picture).astype(np.uint8))
    mapping.inputs["Scale"].default_value = (0.5, 0.5, 1)
    mapping.inputs["Location"].default_value = (0.25, 0.125, 0)
    place.uv_map = cube.data.uv_layers[0].name
    links.new(place.outputs["UV"], mapping.inputs["Vector"])
    links.new(mapping.outputs["Vector"], texture.inputs["Vector"])
    links.new(texture.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    plain = bpy.data.materials.new("Plain")
    plain.use_nodes = True
    plain.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (1, 0, 0, 1)
    cube.data.materials.append(plain)
    cube.data.polygons[2].material_index = 1
    own = bpy.context.scene.brushwire
    own.rig, own.mode, own.views.prompt = "CUBE", "refine", "rust"
    attempt("first_time", bpy.ops.brushwire.paint_mesh)
    dump("first_time")


# -- frames


def animated(folder, last):
    """A scene whose seed, strength and words are animated, and whose frames go to a folder."""
    scene = fresh()
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    own = scene.brushwire
    own.use_depth, own.folder = False, str(OUT / folder)
    own.generate.prompt, own.generate.steps, own.generate.has_seed = "a room", 2, True
    scene.frame_start, scene.frame_end = 1, last
    scene.frame_set(2)
    return scene, own


def told():
    """The values with which each job of this run was asked for."""
    return [task.values for task in link.studio().tasks]


def keyframes():
    scene, own = animated("animated", 5)
    for frame, seed, strength in ((1, 10, 1.0), (2, 25, 0.4), (3, 7, 0.4), (4, 7, 0.2), (5, 7, 0.8)):
        own.generate.seed, own.generate.denoising_strength = seed, strength
        own.generate.keyframe_insert("seed", frame=frame)
        own.generate.keyframe_insert("denoising_strength", frame=frame)
    scene.timeline_markers.new("prompt: strength", frame=4)
    scene.frame_set(2)
    attempt("keyframes", bpy.ops.brushwire.frames)
    report["seed_after"] = own.generate.seed


def broken_off():
    """A range whose third frame fails: asked for again, it goes on with what is missing, and nothing else."""
    _, own = animated("broken", 5)
    own.generate.seed = 3
    scene = bpy.context.scene
    once = OUT.parents[1] / "once"  # a marker's name has 63 letters
    scene.timeline_markers.new(f"prompt: break-once {once}", frame=3)
    scene.timeline_markers.new("prompt: a room", frame=4)
    attempt("broken", bpy.ops.brushwire.frames)
    there = {path.name: path.stat().st_mtime_ns for path in (OUT / "broken").iterdir()}
    asked = len(told())
    attempt("resumed", bpy.ops.brushwire.frames)
    after = {path.name: path.stat().st_mtime_ns for path in (OUT / "broken").iterdir()}
    report["broken_files"], report["resumed_files"] = sorted(there), sorted(after)
    report["kept"] = all(after[name] == at for name, at in there.items())
    report["asked_again"] = len(told()) - asked
    attempt("nothing_to_do", bpy.ops.brushwire.frames)
    report["asked_at_last"] = len(told()) - asked
    report["sequences"] = [image.name for image in bpy.data.images if image.source == "SEQUENCE"]
    report["groups"] = [group.name for group in bpy.data.node_groups]


def compositor_of(scene):
    """The scene's compositor, made if need be: its tree, and the socket that takes what is rendered."""
    if not hasattr(scene, "compositing_node_group"):  # before Blender 5
        scene.use_nodes = True
        return scene.node_tree, next(node for node in scene.node_tree.nodes if node.type == "COMPOSITE").inputs[0]
    tree = scene.compositing_node_group = bpy.data.node_groups.new("Compositor", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    return tree, tree.nodes.new("NodeGroupOutput").inputs[0]


def composited():
    """The frames in the compositor: what is rendered with them is what was painted."""
    scene, own = animated("composited", 3)
    compositor = compositor_of(scene)
    own.generate.seed = 5
    for frame in (1, 2, 3):
        own.generate.seed = 5 * frame
        own.generate.keyframe_insert("seed", frame=frame)
    attempt("composited", bpy.ops.brushwire.frames)
    tree, shown = compositor
    (node,) = [node for node in tree.nodes if node.bl_idname == "CompositorNodeGroup"]
    report["linked_before"] = any(socket.is_linked for socket in node.outputs)
    attempt("composited_again", bpy.ops.brushwire.frames)
    report["group_nodes"] = sum(node.bl_idname == "CompositorNodeGroup" for node in tree.nodes)
    tree.links.new(node.outputs[0], shown)
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    for frame in (1, 3):
        scene.frame_set(frame)
        scene.render.filepath = str(OUT / f"rendered_{frame}.png")
        bpy.ops.render.render(write_still=True)


if NAME:
    dump(str(NAME[0]))
else:
    for part in (meshes, first_time, keyframes, broken_off, composited):
        part()
        print(part.__name__, flush=True)
    link.close()
    (OUT / "report.json").write_text(json.dumps(report, indent=1))
