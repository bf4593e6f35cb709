"""This Blender's connection: one studio, pumped by a timer in the interface, and by hand where no timer fires."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import bpy

from ..common.studio import Studio
from ..common.tasks import Task

#: How often the timer looks for news while a job is on its way, and while none is.
_BUSY_SECONDS, _IDLE_SECONDS = 0.03, 0.3
#: How long one look may keep the interface.
_BUDGET_SECONDS = 0.008

_studio: Studio | None = None


def studio() -> Studio:
    """The one studio, made with the first call: a Blender that is never asked to paint never connects."""
    global _studio
    if _studio is None:
        remembers = not bpy.app.background
        _studio = Studio("blender", f"Blender {bpy.app.version_string}", remembers=remembers)
        _studio.on_state.append(lambda _state: redraw())
        _studio.on_task.append(lambda _task: redraw())
        _studio.on_lists.append(_took_lists)
        _studio.on_history.append(redraw)
        if not bpy.app.background:
            bpy.app.timers.register(_tick, persistent=True)
    return _studio


def started() -> Studio | None:
    """The studio, if there is one: for drawing, which must start nothing."""
    return _studio


def pump() -> None:
    """Hear the news, for a moment."""
    if _studio is not None:
        _studio.pump(_BUDGET_SECONDS)


def wait(task: Task, told: Callable[[str], object] | None = None) -> Task:
    """Pump until a task has ended: in the background nothing else does. told: hears each new sentence."""
    said = ""
    while not task.ended:
        if not studio().pump(0.05):
            time.sleep(0.005)
        if told is not None and task.sentence != said:
            said = task.sentence
            told(said)
    return task


def close() -> None:
    """End the connection; jobs go on at the server, and their results wait there."""
    global _studio
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _studio is not None:
        _studio.close()
        _studio = None


def redraw() -> None:
    """Have the panels drawn again."""
    for window in getattr(bpy.context.window_manager, "windows", ()):
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _tick() -> float | None:
    if _studio is None:
        return None
    pump()
    busy = any(not task.ended for task in _studio.tasks) or not _studio.state.connected
    return _BUSY_SECONDS if busy else _IDLE_SECONDS


#: Called when the server has told its schema: the forms may have new fields.
on_schema: list[Callable[[dict[str, Any]], object]] = []


def _took_lists() -> None:
    if _studio is not None:
        for listener in on_schema:
            listener(_studio.schema)
    redraw()
