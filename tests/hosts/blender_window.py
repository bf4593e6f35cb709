"""Runs inside Blender's window: draws the panel, paints, is ended by a key press, and outlives its server.

It writes what it sees, a line of JSON each, to FOLDER/events; files that the test makes tell it to go on.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import bpy
from bl_ext.user_default.brushwire.blender import link, operators

OUT = Path(sys.argv[sys.argv.index("--") + 1])
ticks: list[float] = []
_pump, _modal = link.pump, operators._Painting.modal


def say(name, **more):
    with (OUT / "events").open("a") as file:
        file.write(json.dumps({"event": name, "at": time.time(), **more}) + "\n")


def modal(self, context, event):
    if event.type == "ESC" and event.value == "PRESS":
        say("escape")
    if event.type != "TIMER":
        return _modal(self, context, event)
    began = time.perf_counter()
    try:
        return _modal(self, context, event)
    finally:
        ticks.append(time.perf_counter() - began)


operators._Painting.modal = modal


def view():
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)


def paint(prompt, steps=2):
    own = bpy.context.scene.brushwire
    own.views.prompt, own.views.steps = prompt, steps
    with view():
        return sorted(bpy.ops.brushwire.paint_mesh("INVOKE_DEFAULT"))


def newest():
    return link.studio().tasks[-1]


def script():
    """What is done, step by step; between them the interface lives on."""
    scene = bpy.context.scene
    own = scene.brushwire
    own.rig_size, own.rig_count = (96, 96), 2
    own.views.follow_depth, own.views.width, own.views.height = 0.0, 128, 128
    cube = bpy.data.objects["Cube"]
    bpy.context.view_layer.objects.active = cube
    with view() as _:
        space = bpy.context.area.spaces.active
        space.show_region_ui = True
    for _ in range(15):
        yield
    area = next(area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "UI")
    region.active_panel_category = "Brushwire"
    region.tag_redraw()
    bpy.ops.brushwire.connect()
    while not link.studio().state.connected:
        yield
    say("connected", sentence=link.studio().state.sentence)
    # A job that ends by itself.
    paint("rusty iron", 40)
    while not newest().ended:
        yield
    for _ in range(5):
        yield
    say("painted", stage=newest().stage, images=sorted(image.name for image in bpy.data.images), placed=newest().placed)
    for _ in range(10):
        yield
    # A server that does not come to an end: the test takes a picture of the panel, and presses Esc.
    ticks.clear()
    paint(f"wait-for {OUT / 'go'}")
    while newest().stage != "painting":
        yield
    newest().title = "Rusty iron"
    link.redraw()
    for _ in range(20):  # the panel shows it
        yield
    say("stalled")
    while not newest().cancelled:
        yield
    say("cancelling")
    while not newest().ended:
        yield
    say("ended", stage=newest().stage, ticks=sorted(ticks))
    # A server that is killed in the middle of it, and comes back.
    paint(f"wait-for {OUT / 'later'}")
    while newest().stage != "painting":
        yield
    say("kill")
    while link.studio().state.connected:
        yield
    say("lost", sentence=link.studio().state.sentence, remedy=link.studio().state.remedy)
    while not newest().ended:
        yield
    for _ in range(5):
        yield
    say("back", stage=newest().stage, sentence=newest().sentence)
    bpy.ops.wm.quit_blender()


bpy.context.preferences.view.show_splash = False
_steps = script()


def step():
    try:
        next(_steps)
    except StopIteration:
        return None
    except Exception as error:
        say("broken", error=f"{type(error).__name__}: {error}")
        raise
    return 0.05


bpy.app.timers.register(step, first_interval=0.5)
