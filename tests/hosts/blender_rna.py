"""Runs inside Blender: everything that its data says of itself, so that two moments can be compared."""

from __future__ import annotations

import bpy

#: They change by themselves: with redraws, evaluations and the clock.
_RESTLESS = {
    "rna_type", "bl_rna", "session_uid", "is_evaluated", "original", "users", "is_updated", "is_updated_data",
    "depsgraph", "use_extra_user", "is_dirty", "bindcode", "name_full", "asset_data", "preview", "override_library",
    "tag", "particle_edit", "uv_sculpt",  # reading the last one ends Blender 4.3 where no brush was ever used
}  # fmt: skip
#: Owners of thousands of small items: their number and a few values stand for them.
_LARGE = {"vertices", "edges", "polygons", "loops", "loop_triangles", "vertex_colors", "pixels", "corner_normals",
          "vertex_normals", "polygon_normals", "attributes", "color_attributes", "uv", "data"}  # fmt: skip
_DEPTH = 3


def rna() -> dict[str, object]:
    """Each property of every data-block by its path, and how many data-blocks and handlers there are."""
    out: dict[str, object] = {}
    for name in dir(bpy.data):
        blocks = getattr(bpy.data, name)
        if not isinstance(blocks, bpy.types.bpy_prop_collection):
            continue
        out[name] = sorted(block.name for block in blocks if isinstance(block, bpy.types.ID))
        if name in ("screens", "window_managers", "workspaces", "brushes"):
            continue
        for block in blocks:
            _walk(out, f"{name}[{block.name}]", block, 0)
    for name in dir(bpy.app.handlers):
        handlers = getattr(bpy.app.handlers, name)
        if isinstance(handlers, list):
            out[f"handlers.{name}"] = len(handlers)
    out["active"] = [getattr(bpy.context.view_layer.objects.active, "name", ""), bpy.context.mode]
    out["selected"] = sorted(obj.name for obj in bpy.context.view_layer.objects if obj.select_get())
    return out


def _walk(out: dict[str, object], path: str, owner: object, depth: int) -> None:
    for prop in owner.bl_rna.properties:
        name = prop.identifier
        if name in _RESTLESS or (name in _LARGE and prop.type == "COLLECTION"):
            continue
        try:
            value = getattr(owner, name)
        except (AttributeError, RuntimeError, ValueError):
            continue
        key = f"{path}.{name}"
        if prop.type == "POINTER":
            if isinstance(value, bpy.types.ID) or value is None:
                out[key] = getattr(value, "name", None)
                if isinstance(value, bpy.types.NodeTree) and depth < _DEPTH:
                    _walk(out, key, value, depth + 1)
            elif depth < _DEPTH:
                _walk(out, key, value, depth + 1)
        elif prop.type == "COLLECTION":
            out[key] = len(value)
            if depth < _DEPTH and len(value) < 200:
                for index, item in enumerate(value):
                    if item is not None and not isinstance(item, bpy.types.ID):
                        _walk(out, f"{key}[{index}]", item, depth + 1)
        elif getattr(prop, "is_array", False):
            out[key] = repr([round(v, 6) if isinstance(v, float) else v for v in _flat(value)])
        else:
            out[key] = repr(value)


def _flat(value: object) -> list[object]:
    try:
        return [leaf for item in value for leaf in _flat(item)]
    except TypeError:
        return [value]


def differences(before: dict[str, object], after: dict[str, object], *, new: bool = True) -> list[str]:
    """What is not as it was. new: false leaves out what new data-blocks say of themselves, but not their names."""
    return [
        f"{key}: {before.get(key, 'nothing')!r} → {after.get(key, 'nothing')!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, "nothing") != after.get(key, "nothing") and (new or key in before)
    ]
