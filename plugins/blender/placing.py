"""Where the server's answers go: into materials, images, meshes, as an errand's place says in plain values."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import mathutils
import numpy as np
from numpy.typing import NDArray

from bridge_protocol.handle import JobResult

from ..common.tasks import Task
from . import images, link, materials, surfaces
from .errands import ErrandError, short


def placed(context: bpy.types.Context, task: Task) -> str:
    """Put a finished task's result into the scene, and say where. Raises ErrandError where its place is gone."""
    assert task.result is not None
    placer = _PLACERS.get(str(task.place.get("do")))
    if placer is None:
        raise ErrandError("Nobody knows where this result belongs.", "Dismiss it.")
    said = placer(context, task, task.result)
    link.studio().placed(task)
    notes = [str(note) for note in task.result.info.get("fallbacks", [])]
    return " ".join([said, *notes])


def _place_texture(context: bpy.types.Context, task: Task, result: JobResult) -> str:
    arrays = _arrays(result)
    obj = _object(task)
    if task.place.get("only"):
        which = task.place["only"]
        materials.replace_map(bpy.data.materials[task.place["material"]], which, arrays[which])
        return f"The {which} of {task.place['material']} is new."
    recipe = {**task.values, "seed": result.info.get("seed")}
    relief = float(result.info.get("relief", 0.05))
    material = materials.pbr_material(short(task.title), arrays, recipe, relief=relief)
    materials.assign(obj, material)
    return f"{obj.name} has the material {material.name}."


def _place_picture(context: bpy.types.Context, task: Task, result: JobResult) -> str:
    made = [images.new_image(task.place["name"], images.array_of(blob)) for blob in result.blobs]
    camera = bpy.data.objects.get(task.place.get("behind", ""))
    if camera is not None and camera.type == "CAMERA":
        camera.data.show_background_images = True
        camera.data.background_images.new().image = made[0]
    return f"The picture is the image {made[0].name}."


def _place_views(context: bpy.types.Context, task: Task, result: JobResult) -> str:
    obj = _object(task)
    surface = surfaces.surface_of(context, obj, unwrap=bool(task.place["unwrap"]))
    layer = surfaces.add_layer(obj, surface)
    arrays = _arrays(result)
    image = materials.painted_image(obj)
    texture = arrays["texture"]
    if image is not None and tuple(image.size) == (texture.shape[1], texture.shape[0]):
        images.fill(image, texture)
    else:
        image = images.new_image(f"{obj.name} painted", texture)
    kept = []
    pictures = task.place.get("pictures") or []
    for index, camera in enumerate(task.place["cameras"]):
        picture = arrays.get(f"view-{index}")
        if picture is not None:
            view = images.new_image(f"{obj.name} view {index + 1}", picture)
            view.use_fake_user = True
            kept.append({"image": view.name, "camera": camera})
        elif index < len(pictures):
            kept.append({"image": pictures[index], "camera": camera})
    image[materials.VIEWS] = json.dumps(kept)
    if image != materials.painted_image(obj):
        materials.assign(obj, materials.painted_material(f"{obj.name} painted", image, layer, _base_colour(obj)))
    share = float(result.info.get("coverage", 0.0))
    return f"{obj.name} is painted; the cameras see {share:.0%} of its surface."


def _place_mesh(context: bpy.types.Context, task: Task, result: JobResult) -> str:
    blob = next(blob for out, blob in zip(result.outputs, result.blobs, strict=True) if out.name == "mesh")
    before = set(bpy.data.objects)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.glb"
        path.write_bytes(blob.data)
        bpy.ops.import_scene.gltf(filepath=str(path))
    made = [obj for obj in bpy.data.objects if obj not in before]
    if "matrix" in task.place:
        # The file is in the camera's own axes, y up; the importer has turned it to z up.
        matrix = mathutils.Matrix(np.reshape(task.place["matrix"], (4, 4)).tolist())
        upright = mathutils.Matrix.Rotation(np.pi / 2, 4, "X")
        for obj in made:
            if obj.parent is None:
                obj.matrix_world = matrix @ upright.inverted() @ obj.matrix_world
    names = ", ".join(obj.name for obj in made)
    return f"The mesh is here as {names}: {result.info.get('triangles', 0)} triangles."


_PLACERS: dict[str, Callable[[bpy.types.Context, Task, JobResult], str]] = {
    "texture": _place_texture, "picture": _place_picture, "views": _place_views, "mesh": _place_mesh,
}  # fmt: skip


def _base_colour(obj: bpy.types.Object) -> tuple[float, ...]:
    material = obj.data.materials[0] if obj.data.materials else None
    return tuple(material.diffuse_color) if material is not None else (0.8, 0.8, 0.8, 1.0)


def _arrays(result: JobResult) -> dict[str, NDArray[Any]]:
    return {out.name: images.array_of(blob) for out, blob in zip(result.outputs, result.blobs, strict=True)}


def _object(task: Task) -> bpy.types.Object:
    obj = bpy.data.objects.get(task.place["object"])
    if obj is None:
        raise ErrandError(f"The object {task.place['object']} is gone.", "Bring it back, or dismiss the result.")
    return obj
