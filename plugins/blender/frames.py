"""A range of frames, painted one by one: each a job of its own, written as it comes, left out if it is there already.

Fields of the form may have keyframes (strength and seed above all). Words change at the timeline's markers: one named
``prompt: a boat at dawn`` holds from its frame on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from bridge_protocol.records import InvalidValue

from ..common.tasks import Task
from . import errands, images, link, properties

_MARKER = "prompt:"
#: How many jobs wait at the server at most: the scene is not captured far ahead of what is painted.
_AHEAD = 2
_TICK_SECONDS = 0.03


def words_at(scene: bpy.types.Scene, frame: int, otherwise: str) -> str:
    """What the newest marker up to a frame says to paint."""
    markers = sorted((one.frame, one.name) for one in scene.timeline_markers if one.name.startswith(_MARKER))
    said = [name for at, name in markers if at <= frame]
    return said[-1].removeprefix(_MARKER).strip() if said else otherwise


def file_of(folder: Path, frame: int) -> Path:
    """Where a frame goes."""
    return folder / f"frame_{frame:04}.png"


class FramesOperator(bpy.types.Operator):
    """Paint the scene's range of frames, each from its own maps; frames that are there already stay"""

    bl_idname = "brushwire.frames"
    bl_label = "Paint frames"
    bl_options = {"REGISTER"}

    _timer: Any = None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in the background go on to the end."""
        scene, own = context.scene, properties.settings(context)
        if own.folder.startswith("//") and not bpy.data.filepath:
            self.report({"ERROR"}, "The folder lies beside the file, which is not saved yet. Save it, or choose one.")
            return {"CANCELLED"}
        self._folder = Path(bpy.path.abspath(own.folder))
        self._folder.mkdir(parents=True, exist_ok=True)
        every = range(scene.frame_start, scene.frame_end + 1, scene.frame_step)
        self._frames = list(every)
        self._todo = [frame for frame in every if not file_of(self._folder, frame).exists()]
        self._tasks: dict[int, Task] = {}
        self._was_at = scene.frame_current, scene.frame_subframe
        self._problem = ""
        self._ending = False
        if bpy.app.background:
            try:
                while self._advance(context):
                    for task in list(self._tasks.values())[:1]:
                        link.wait(task)
            finally:
                self._restore(context)
            return self._end(context)
        self._timer = context.window_manager.event_timer_add(_TICK_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Esc ends all of it; what is painted stays on disk, and a later run goes on from there."""
        if event.type == "ESC" and event.value == "PRESS" and not self._ending:
            self._ending, self._todo = True, []
            for task in self._tasks.values():
                link.studio().cancel(task)
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        link.pump()
        try:
            going = self._advance(context)
        except Exception:  # whatever it was: the timer and the frame must not stay changed; then Blender shows it
            self.cancel(context)
            raise
        done = len(self._frames) - len(self._todo) - len(self._tasks)
        context.workspace.status_text_set(f"Brushwire: frame {done} of {len(self._frames)}   Esc: end it")
        if going:
            return {"RUNNING_MODAL"}
        self.cancel(context)
        return self._end(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Leave everything as it was."""
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        self._restore(context)

    def _advance(self, context: bpy.types.Context) -> bool:
        """Write what has come, ask for more; whether anything is still to come."""
        for frame, task in list(self._tasks.items()):
            if task.ended:
                del self._tasks[frame]
                self._take(frame, task)
        while self._todo and len(self._tasks) < _AHEAD:
            frame = self._todo.pop(0)
            try:
                self._tasks[frame] = self._ask(context, frame)
            except (*errands.REFUSALS, InvalidValue) as refused:
                self._problem, self._todo = f"{refused} {refused.remedy}".strip(), []
        return bool(self._tasks)

    def _ask(self, context: bpy.types.Context, frame: int) -> Task:
        scene, own = context.scene, properties.settings(context)
        scene.frame_set(frame)
        render = None
        if own.start_from == "RENDER":
            bpy.ops.render.render(scene=scene.name)
            render = images.last_render(scene)
            if render is None:
                raise errands.ErrandError(f"Frame {frame} could not be rendered.", "Render it by hand to see why.")
        errand = errands.picture(context, render=render, title=f"{scene.name} frame {frame:04}")
        errand.form["prompt"] = words_at(scene, frame, errand.form["prompt"])
        return errands.submit(errand, priority="batch")

    def _take(self, frame: int, task: Task) -> None:
        if task.result is None:
            if task.problem is not None and not self._ending:
                self._problem = f"Frame {frame}: {task.problem.sentence} {task.problem.remedy}".strip()
                self._todo = []
            return
        image = images.new_image(f"frame {frame}", images.array_of(task.result.blobs[0]))
        try:
            # Whole or not at all: a range that goes on leaves out what is there.
            part = file_of(self._folder, frame).with_suffix(".part")
            image.filepath_raw, image.file_format = str(part), "PNG"
            image.save()
            part.replace(file_of(self._folder, frame))
        finally:
            bpy.data.images.remove(image)
        link.studio().placed(task)

    def _restore(self, context: bpy.types.Context) -> None:
        context.scene.frame_set(self._was_at[0], subframe=self._was_at[1])

    def _end(self, context: bpy.types.Context) -> set[str]:
        if self._problem:
            self.report({"ERROR"}, self._problem)
            return {"CANCELLED"}
        if self._ending:
            self.report({"INFO"}, "Ended; the frames that are painted stay in the folder.")
            return {"CANCELLED"}
        image = sequence(context.scene, self._folder, self._frames)
        self.report({"INFO"}, f"{len(self._frames)} frames are painted: the image sequence {image.name}.")
        return {"FINISHED"}


def sequence(scene: bpy.types.Scene, folder: Path, frames: list[int]) -> bpy.types.Image:
    """The frames as an image sequence, and as a group of compositor nodes that gives them.

    Where the scene has a compositor the group is in it, linked to nothing; elsewhere it is there to be added.
    """
    image = bpy.data.images.load(str(file_of(folder, frames[0])), check_existing=True)
    image.source = "SEQUENCE"
    image.name = f"{scene.name} painted"
    group = bpy.data.node_groups.get(image.name)
    if group is None:
        group = bpy.data.node_groups.new(image.name, "CompositorNodeTree")
        group.use_fake_user = True
        group.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        made, out = group.nodes.new("CompositorNodeImage"), group.nodes.new("NodeGroupOutput")
        made.name, out.location = "painted", (300, 0)
        made.image = image  # its sockets come with it
        group.links.new(made.outputs["Image"], out.inputs["Image"])
    node = group.nodes["painted"]
    node.image, node.frame_duration, node.frame_start = image, frames[-1] - frames[0] + 1, frames[0]
    node.frame_offset = frames[0] - 1
    tree = getattr(scene, "compositing_node_group", None) or getattr(scene, "node_tree", None)
    if tree is not None and all(getattr(one, "node_tree", None) != group for one in tree.nodes):
        shown = tree.nodes.new("CompositorNodeGroup")
        shown.node_tree, shown.label, shown.location = group, "Brushwire", (-300, -400)
    return image


CLASSES = (FramesOperator,)
