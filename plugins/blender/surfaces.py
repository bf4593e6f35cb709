"""An object's surface to paint on: its mesh in the scene, with a layout that no two of its triangles share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from . import capture

#: The name of the UV layer that painting adds.
LAYER = "Brushwire"


class SurfaceError(Exception):
    """An object that cannot be painted on. remedy: what to do."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.remedy = remedy


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh in world space. vertices: (n, 3), triangles: (m, 3), uvs: (3·m, 2) for each corner, where it is painted.

    layout: (loops of the object's own mesh, 2), what its new UV layer will hold. slots: (m,) which material slot each
    triangle has. all_uvs: of each of its UV layers (3·m, 2), for each corner.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.uint32]
    uvs: NDArray[np.float32]
    layout: NDArray[np.float32]
    slots: NDArray[np.int32]
    all_uvs: dict[str, NDArray[np.float32]]


def surface_of(context: bpy.types.Context, obj: bpy.types.Object | None, *, unwrap: bool = True) -> Surface:
    """The surface of a mesh object with its modifiers, on a layout of its own. The object is not changed.

    unwrap: lay the mesh out anew; else its active UV map is taken. Raises SurfaceError.
    """
    if obj is None or obj.type != "MESH":
        raise SurfaceError("No mesh is active.", "Select a mesh object.")
    if not len(obj.data.polygons):
        raise SurfaceError(f"{obj.name} has no faces.", "Give it faces, or select another object.")
    source = obj.data.uv_layers.active
    painted = obj.data.uv_layers.get(LAYER)
    if not unwrap and source is None:
        raise SurfaceError(f"{obj.name} has no UV map.", "Unwrap it, or let painting lay it out.")
    with _copy_of(context, obj) as copy:
        mesh = copy.data
        if painted is not None:
            layer = mesh.uv_layers[LAYER]  # painted before: the same layout, so that pictures go on where they were
        else:
            if len(mesh.uv_layers) >= 8:
                raise SurfaceError(f"{obj.name} has 8 UV maps, as many as there can be.", "Remove one of them.")
            active = source.name if source is not None else ""
            layer = mesh.uv_layers.new(name=LAYER, do_init=True)
            if unwrap:
                _unwrap(context, copy, layer.name)
                layer = mesh.uv_layers[LAYER]
            elif active:
                _write(layer, _read(mesh.uv_layers[active]))
        layout = _read(layer)
        context.view_layer.update()
        seen = capture.surface(copy, context.evaluated_depsgraph_get())
    return Surface(seen.vertices, seen.triangles, seen.uvs[LAYER], layout, seen.slots, seen.uvs)


def add_layer(obj: bpy.types.Object, surface: Surface) -> str:
    """Give the object its new UV layer; its other layers, and which of them is active, stay. Returns its name."""
    layers = obj.data.uv_layers
    if LAYER not in layers:
        active = layers.active_index
        shown = next((layer.name for layer in layers if layer.active_render), "")
        layer = layers.new(name=LAYER, do_init=False)
        if len(layers) > 1:
            layers.active_index = active
            if shown:
                layers[shown].active_render = True
    else:
        layer = layers[LAYER]
    if len(surface.layout) == len(obj.data.loops):
        _write(layer, surface.layout)
    return str(layer.name)


@contextmanager
def _copy_of(context: bpy.types.Context, obj: bpy.types.Object) -> Iterator[bpy.types.Object]:
    """The object once more, with a mesh of its own, for a moment; then everything is as it was."""
    layer = context.view_layer
    active, mode = layer.objects.active, context.mode
    selected = [one for one in layer.objects if one.select_get()]
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    copy = obj.copy()
    copy.data = obj.data.copy()
    context.scene.collection.objects.link(copy)
    try:
        yield copy
    finally:
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        mesh = copy.data
        bpy.data.objects.remove(copy)
        bpy.data.meshes.remove(mesh)
        for one in layer.objects:
            one.select_set(one in selected)
        layer.objects.active = active
        if mode.startswith("EDIT") and active is not None:
            bpy.ops.object.mode_set(mode="EDIT")
        layer.update()


def _unwrap(context: bpy.types.Context, copy: bpy.types.Object, layer: str) -> None:
    """Blender's own Smart UV Project, on the copy."""
    for one in context.view_layer.objects:
        one.select_set(one == copy)
    context.view_layer.objects.active = copy
    copy.data.uv_layers[layer].active = True
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.reveal(select=False)
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.uv.smart_project(angle_limit=1.15, island_margin=0.004, area_weight=0.0, scale_to_bounds=False)
    bpy.ops.object.mode_set(mode="OBJECT")


def _read(layer: Any) -> NDArray[np.float32]:
    flat = np.empty(2 * len(layer.uv), np.float32)
    layer.uv.foreach_get("vector", flat)
    return flat.reshape(-1, 2)


def _write(layer: Any, uvs: NDArray[np.float32]) -> None:
    layer.uv.foreach_set("vector", np.ascontiguousarray(uvs).ravel())
