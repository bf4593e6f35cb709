"""Puts the extension into Blender, and takes it out again."""

from __future__ import annotations

import bpy

from . import frames, link, operators, panels, previews, properties, remedies

_CLASSES = (*operators.CLASSES, *remedies.CLASSES, *frames.CLASSES, *panels.CLASSES)


def register() -> None:
    """Register everything; nothing connects yet."""
    properties.register()
    previews.register()
    for one in _CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """End the connection, and take everything away."""
    link.close()
    for one in reversed(_CLASSES):
        bpy.utils.unregister_class(one)
    previews.unregister()
    properties.unregister()
