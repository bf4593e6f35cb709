"""Runs inside Blender's window: draws the panel, paints, is ended by a key press, and outlives its server.

It writes what it sees, a line of JSON each, to FOLDER/events; files that the test makes tell it to go on.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import bpy
from bl_ext.user_default.brushwire.blender import link, operators, panels, previews, remedies

sys.path.insert(0, str(Path(__file__).parent))

from blender_rna import differences, rna

OUT = Path(sys.argv[sys.argv.index("--") + 1])
ticks: list[float] = []
_pump, _modal = link.pump, operators.JobOperator.modal


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


operators.JobOperator.modal = modal


def view():
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)


def paint(prompt, steps=2, watched=False):
    own = bpy.context.scene.brushwire
    own.views.prompt, own.views.steps = prompt, steps
    before = rna() if watched else {}
    press(bpy.ops.brushwire.paint_mesh)
    return before


def press(operator, **options):
    """Call an operator as a button does."""
    with view():
        operator("EXEC_DEFAULT" if "filepath" in options else "INVOKE_DEFAULT", **options)  # the file is chosen


def newest():
    return link.studio().tasks[-1]


def ended():
    """Until all jobs have ended, and their operators too."""
    while not all(task.ended for task in link.studio().tasks):
        yield
    for _ in range(5):
        yield


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
    yield from ended()
    say("painted", stage=newest().stage, images=sorted(image.name for image in bpy.data.images), placed=newest().placed)
    for _ in range(10):
        yield
    # A picture of the view, which ends by itself too.
    own.generate.prompt, own.generate.steps = "a room", 2
    own.use_normal = own.use_edges = True
    own.lines_of = "MESHES"
    before = rna()
    press(bpy.ops.brushwire.picture)
    yield from ended()
    history = link.studio().history
    while history.thumbnail(newest().id) is None:
        yield
    icons = [previews.icon_of(history, entry.id) for entry in history.entries]
    say("pictured", stage=newest().stage, changed=differences(before, rna(), new=False), icons=icons)
    # A server that does not come to an end: the test takes a picture of the panel, and presses Esc.
    ticks.clear()
    before = paint(f"wait-for {OUT / 'go'}", watched=True)
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
    yield from ended()
    say("ended", stage=newest().stage, ticks=sorted(ticks), changed=differences(before, rna()))
    # A range of frames, which the test ends in its middle.
    own.generate.prompt, own.folder = f"wait-for {OUT / 'go'}", str(OUT / "painted")
    scene.frame_start, scene.frame_end = 3, 6
    scene.frame_set(7)
    before = rna()
    press(bpy.ops.brushwire.frames)
    while not any(task.stage == "painting" for task in link.studio().tasks):
        yield
    say("frames", at=scene.frame_current)
    yield from ended()
    say("frames_ended", stages=[task.stage for task in link.studio().tasks[-2:]], changed=differences(before, rna()))
    # A job that fails: the panel has a button for it.
    before = paint(f"break-once {OUT / 'broken'}", watched=True)
    yield from ended()
    failed = newest()
    failed.title = "Rusty iron"
    offered = remedies.of_problem(failed.problem, failed.values, known=True)
    changed = differences(before, rna())
    # The history alone is open below it, to be looked at.
    forms = [one for one in panels.CLASSES if one is not panels.StatusPanel]
    for one in reversed(forms):
        bpy.utils.unregister_class(one)
    open_history = type("OpenHistory", (panels.HistoryPanel,), {"bl_idname": "BRUSHWIRE_PT_open", "bl_options": set()})
    bpy.utils.register_class(open_history)
    for _ in range(20):
        yield
    say("failed", stage=failed.stage, offered=[one.operator for one in offered], changed=changed)
    while not (OUT / "again").exists():
        yield
    bpy.utils.unregister_class(open_history)
    for one in forms:
        bpy.utils.register_class(one)
    press(bpy.ops.brushwire.try_again, task=failed.id)
    yield from ended()
    say("tried_again", stage=newest().stage, gone=failed not in link.studio().tasks)
    # A server that is killed in the middle of it, and comes back.
    paint(f"wait-for {OUT / 'later'}")
    while newest().stage != "painting":
        yield
    say("kill")
    while link.studio().state.connected:
        yield
    state = link.studio().state
    offered = remedies.of_state(state, link.studio().client.problem, own=True)
    say("lost", sentence=state.sentence, remedy=state.remedy, offered=[one.operator for one in offered])
    # The button that asks where the command lies starts the server with it; it is kept for later runs.
    press(bpy.ops.brushwire.locate_server, filepath=str(OUT / "brushwire.sh"))
    say("located", command=link.studio().settings["server_command"])
    yield from ended()
    say("back", stage=newest().stage, sentence=newest().sentence)
    # Settings of an earlier job, and the cross beside a job that is on its way.
    entry = next(entry for entry in link.studio().history.entries if entry.values.get("prompt") == "rusty iron")
    own.views.prompt, own.views.steps = "something else", 7
    press(bpy.ops.brushwire.use_again, entry=entry.id)
    used = [own.views.prompt, own.views.steps]
    before = paint(f"wait-for {OUT / 'never'}", watched=True)
    while newest().stage != "painting":
        yield
    ending = newest()
    press(bpy.ops.brushwire.end, task=ending.id)
    yield from ended()
    say("buttons", used=used, stage=ending.stage, changed=differences(before, rna()))
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
