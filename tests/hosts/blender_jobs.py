"""Runs inside Blender, with the extension installed: asks for jobs as an artist would, and writes what became of it.

blender -b -P tests/hosts/blender_jobs.py -- FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import bl_ext.user_default.brushwire as extension
from bl_ext.user_default.brushwire.blender import errands, images, link, rigs
from blender_rna import differences, rna
from blender_scene import scene_with_cube

OUT = Path(sys.argv[sys.argv.index("--") + 1])
report: dict[str, object] = {"version": list(bpy.app.version)}


def attempt(name, operator, **options):
    """Call an operator; keep how it ended, and which paths of the data are not as they were."""
    before = rna()
    began = time.perf_counter()
    try:
        ended, said = sorted(operator(**options)), ""
    except RuntimeError as error:
        ended, said = ["ERROR"], str(error).strip()
    report[name] = {
        "ended": ended, "said": said, "seconds": time.perf_counter() - began,
        "changed": differences(before, rna(), new=ended != ["FINISHED"]),
    }  # fmt: skip


def painted_mesh():
    scene, cube = scene_with_cube()
    own = scene.brushwire
    own.views.prompt = "rusty iron"
    attempt("paint_mesh", bpy.ops.brushwire.paint_mesh)
    image = bpy.data.images.get("Cube painted")
    report["layers"] = [layer.name for layer in cube.data.uv_layers]
    report["active_layer"] = cube.data.uv_layers.active.name
    report["materials"] = [slot.material.name for slot in cube.material_slots], [m.name for m in cube.data.materials]
    pixels = images.pixels_of(image)
    np.savez(OUT / "painted.npz", texture=pixels)
    report["views"] = sorted(one.name for one in bpy.data.images if "view" in one.name)
    # One view edited by hand, baked again.
    view = bpy.data.images["Cube view 1"]
    view.pixels.foreach_set(np.tile(np.float32([0, 1, 0, 1]), view.size[0] * view.size[1]))
    attempt("rebake", bpy.ops.brushwire.rebake)
    again = images.pixels_of(bpy.data.images["Cube painted"])
    report["green_before"] = int((pixels[..., :3] == (0, 255, 0)).all(-1).sum())
    report["green_after"] = int((again[..., :3] == (0, 255, 0)).all(-1).sum())
    bpy.ops.wm.save_as_mainfile(filepath=str(OUT / "painted.blend"))


def pictures():
    scene, _ = scene_with_cube()
    own = scene.brushwire
    own.generate.prompt, own.use_depth = "a room", False
    attempt("picture", bpy.ops.brushwire.picture)
    report["picture_size"] = list(bpy.data.images["a room"].size)
    own.source_image, own.start_from = bpy.data.images["a room"], "IMAGE"
    attempt("over_picture", bpy.ops.brushwire.picture)
    inverted = images.pixels_of(bpy.data.images["a room.001"]), images.pixels_of(bpy.data.images["a room"])
    report["inverted"] = bool(((inverted[0] + inverted[1])[..., :3] == 255).all())
    # Frames: one is there already, the others are painted; words change at a marker.
    own.start_from, own.folder = "NONE", str(OUT / "frames")
    scene.frame_start, scene.frame_end = 1, 3
    scene.frame_set(7)
    scene.timeline_markers.new("prompt: a storm", frame=3)
    (OUT / "frames").mkdir()
    (OUT / "frames" / "frame_0002.png").write_bytes(b"mine")
    attempt("frames", bpy.ops.brushwire.frames)
    report["frame_files"] = sorted(path.name for path in (OUT / "frames").iterdir())
    report["frame_kept"] = (OUT / "frames" / "frame_0002.png").read_bytes() == b"mine"
    report["frame_after"] = scene.frame_current
    attempt("save_maps", bpy.ops.brushwire.save_maps, filepath=str(OUT / "maps.brushwire.npz"))


def meshes():
    scene, _ = scene_with_cube()
    camera = scene.camera
    scene.brushwire.mesh.prompt = ""
    attempt("mesh", bpy.ops.brushwire.mesh)
    made = [obj for obj in bpy.context.view_layer.objects if obj.name not in ("Plane", "Cube", "Camera")]
    report["mesh_objects"] = [obj.name for obj in made]
    off = []
    for obj in made:
        points = [obj.matrix_world @ vertex.co for vertex in obj.data.vertices]
        obj.hide_set(True)
        graph = bpy.context.evaluated_depsgraph_get()
        origin = camera.matrix_world.translation
        for point in points[:: max(1, len(points) // 500)]:
            hit, location, *_ = scene.ray_cast(graph, origin, (point - origin).normalized())
            if hit:
                off.append((location - point).length / (point - origin).length)
        obj.hide_set(False)
    report["mesh_off"] = [len(off), float(np.percentile(off, 90))]


def refusals():
    scene, cube = scene_with_cube()
    own = scene.brushwire
    bpy.context.view_layer.objects.active = scene.camera
    attempt("paint_camera", bpy.ops.brushwire.paint_mesh)
    bpy.context.view_layer.objects.active = cube
    attempt("rebake_nothing", bpy.ops.brushwire.rebake)
    own.start_from = "IMAGE"
    attempt("no_picture", bpy.ops.brushwire.picture)
    own.start_from = "NONE"
    scene.camera = None
    attempt("no_camera", bpy.ops.brushwire.picture)
    own.views.prompt = "break"
    attempt("broken", bpy.ops.brushwire.paint_mesh)
    # An exception in the middle of the gathering.
    kept = errands.capture.gather

    def fails(_depsgraph):
        raise ZeroDivisionError("injected")

    errands.capture.gather = fails
    attempt("injected", bpy.ops.brushwire.paint_mesh)
    errands.capture.gather = kept
    # A job that is ended from elsewhere while the operator waits.
    own.views.prompt = f"wait-for {OUT / 'never'}"
    original = link.wait

    def wait_and_cancel(task, told=None):
        while task.stage != "painting":
            link.studio().pump(0.05)
        link.studio().cancel(task)
        return original(task, told)

    link.wait = wait_and_cancel
    attempt("cancelled", bpy.ops.brushwire.paint_mesh)
    link.wait = original


def placing():
    scene, cube = scene_with_cube()
    own = scene.brushwire
    counts = {}
    for kind in ("ORBIT", "TURNTABLE", "FAN", "HEMISPHERE", "CUBE"):
        own.rig = kind
        before = len(bpy.data.cameras)
        bpy.ops.brushwire.add_rig()
        counts[kind] = len(bpy.data.cameras) - before
    made, share = rigs.around(bpy.context, cube, "COVERAGE", count=12, share=0.8)
    report["rigs"] = counts
    report["coverage"] = [len(made), share]
    bpy.ops.curve.primitive_bezier_circle_add(radius=5, location=(0, 0, 2))
    curve = bpy.context.object
    curve.select_set(True)
    bpy.context.view_layer.objects.active = cube
    own.rig = "PATH"
    bpy.ops.brushwire.add_rig(keyframed=True)
    moving = bpy.data.objects["Cube path"]
    report["path"] = moving.animation_data is not None
    bpy.ops.brushwire.add_mannequin()
    report["mannequin"] = "Mannequin" in bpy.data.objects


report["extension"] = sorted(extension.__all__)
for part in (painted_mesh, pictures, meshes, refusals, placing):
    began = time.perf_counter()
    part()
    print(f"{part.__name__}: {time.perf_counter() - began:.1f} s", flush=True)
link.close()
(OUT / "report.json").write_text(json.dumps(report, indent=1))
