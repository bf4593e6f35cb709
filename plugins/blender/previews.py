"""The history's thumbnails as icons that panels can draw."""

from __future__ import annotations

from typing import Any

import bpy
import bpy.utils.previews

from ..common.history import History

_collection: Any = None


def register() -> None:
    """Make room for them."""
    global _collection
    _collection = bpy.utils.previews.new()


def unregister() -> None:
    """Give them back."""
    bpy.utils.previews.remove(_collection)


def icon_of(history: History, job_id: str) -> int:
    """The icon of what a job made; 0 where there is no picture of it. Blender reads the file when it is drawn."""
    if job_id not in _collection:
        path = history.thumbnail(job_id)
        if path is None:
            return 0
        _collection.load(job_id, str(path), "IMAGE")
    return int(_collection[job_id].icon_id)
