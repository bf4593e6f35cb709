r"""What can be done from the command line, without a window:

    blender -b file.blend --python-expr \
        "from bl_ext.user_default.brushwire import main; main('paint_mesh', object='Cube', prompt='rusty iron')"

`run` sets what is given, calls the operator, saves the file, and ends Blender with 1 where it failed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bpy

from . import properties

#: The operators that may be run, with the group whose fields they take.
ACTIONS = {
    "texture": "texture", "texture_again": "texture", "replace_map": "texture", "paint_mesh": "views",
    "rebake": "views", "picture": "generate", "frames": "generate", "mesh": "mesh", "add_rig": "",
    "add_mannequin": "", "save_maps": "",
}  # fmt: skip


class CommandError(Exception):
    """What was asked on the command line cannot be done."""


def run(action: str, *, object: str = "", out: str = "", save: bool = True, **fields: Any) -> None:  # noqa: A002 - its option is --object
    """Run one of `ACTIONS` on a file that is open, and save it.

    object: the name of the object to work on; empty: the active one. out: where the file is saved; empty: where it was
    opened. fields: of the job and of the panel, by their names (prompt, seed, steps, width, mode, rig, rig_count, …);
    ``filepath`` for save_maps, ``image`` a picture's file to make it of. Raises CommandError.
    """
    if action not in ACTIONS:
        raise CommandError(f"{action} is no action; take one of {', '.join(ACTIONS)}.")
    context = bpy.context
    if object:
        if object not in context.view_layer.objects:
            known = ", ".join(obj.name for obj in context.view_layer.objects) or "none"
            raise CommandError(f"There is no object {object}; there are: {known}.")
        context.view_layer.objects.active = context.view_layer.objects[object]
    own = properties.settings(context)
    group = getattr(own, ACTIONS[action]) if ACTIONS[action] else None
    options = {"filepath": str(Path(fields.pop("filepath")).absolute())} if "filepath" in fields else {}
    if "image" in fields:
        own.source_image = bpy.data.images.load(str(Path(fields.pop("image")).absolute()))
    for name, value in fields.items():
        _set(own, group, name, value)
    try:
        ended = getattr(bpy.ops.brushwire, action)(**options)
    except RuntimeError as error:  # what the operator reported as an error
        raise CommandError(str(error).removeprefix("Error: ").strip()) from None
    if "FINISHED" not in ended:
        raise CommandError(f"{action} was not finished.")
    if save and (out or bpy.data.filepath):
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(out).absolute()) if out else bpy.data.filepath)


def main(action: str, **fields: Any) -> None:
    """`run`, for scripts: an error is printed, and Blender ends with 1."""
    try:
        run(action, **fields)
    except CommandError as error:
        print(f"Brushwire: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _set(own: Any, group: Any, name: str, value: Any) -> None:
    for owner in (group, own):
        if owner is not None and name in owner.bl_rna.properties:
            if f"has_{name}" in owner.bl_rna.properties:
                setattr(owner, f"has_{name}", value is not None)
            if value is None:
                return
            try:
                setattr(owner, name, value)
            except TypeError as error:
                raise CommandError(f"{name} cannot be {value!r}: {error}") from None
            return
    raise CommandError(f"{name} is no field of this.")
