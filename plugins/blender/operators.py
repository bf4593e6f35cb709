"""Operators: they ask, show how far it is, and place the result; Esc ends the job, and the scene stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import StringProperty

from bridge_protocol.handle import BridgeError
from bridge_protocol.records import InvalidValue

from ..common.tasks import Task
from . import cameras, capture, errands, lines, link, mannequin, maps, materials, placing, properties, rigs

#: How often a running operator looks for news.
_TICK_SECONDS = 0.03


class JobOperator(bpy.types.Operator):
    """What all operators that ask for a job have in common."""

    bl_options = {"REGISTER"}
    _task: Task | None = None
    _timer: Any = None

    def errand(self, context: bpy.types.Context) -> errands.Errand:
        """What is asked for. Raises what `errands.REFUSALS` names, or InvalidValue."""
        raise NotImplementedError  # each operator has its own; bpy's metaclass bars an abstract one

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask; in the interface go on as a modal operator, in the background wait."""
        try:
            errand = self.errand(context)
        except errands.REFUSALS as refused:
            return self._refused(str(refused), refused.remedy)
        except InvalidValue as error:
            return self._refused(str(error), error.remedy)
        for note in errand.notes:
            self.report({"INFO"}, note)
        self._task = errands.submit(errand)
        if bpy.app.background:
            link.wait(self._task, lambda sentence: print(f"Brushwire: {sentence}"))
            return self._end(context)
        self._timer = context.window_manager.event_timer_add(_TICK_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Esc ends the job; everything else goes on to the artist's work."""
        assert self._task is not None
        if event.type == "ESC" and event.value == "PRESS" and not self._task.cancelled:
            link.studio().cancel(self._task)
            context.workspace.status_text_set("Brushwire: ending the job.")
            return {"RUNNING_MODAL"}
        if event.type == "TIMER":
            link.pump()
            if self._task.ended:
                self._stop(context)
                return self._end(context)
            if not self._task.cancelled:
                share = f" {self._task.fraction:.0%}" if self._task.fraction is not None else ""
                state = link.studio().state
                where = self._task.sentence if state.connected else state.sentence
                context.workspace.status_text_set(f"Brushwire:{share} {where}   Esc: end it")
        return {"PASS_THROUGH"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender itself ends the operator (a file is opened): the job goes on, its result waits."""
        self._stop(context)

    def _stop(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        if context.workspace is not None:
            context.workspace.status_text_set(None)

    def _end(self, context: bpy.types.Context) -> set[str]:
        assert self._task is not None
        if self._task.stage == "cancelled":
            self.report({"INFO"}, "The job was ended; nothing has changed.")
            return {"CANCELLED"}
        if self._task.problem is not None:
            return self._refused(self._task.problem.sentence, self._task.problem.remedy)
        try:
            self.report({"INFO"}, placing.placed(context, self._task))
        except errands.REFUSALS as refused:
            return self._refused(str(refused), refused.remedy)
        if bpy.ops.ed.undo_push.poll():
            bpy.ops.ed.undo_push(message=self.bl_label)
        return {"FINISHED"}

    def _refused(self, sentence: str, remedy: str) -> set[str]:
        self.report({"ERROR"}, f"{sentence} {remedy}".strip())
        return {"CANCELLED"}


def _job(name: str, label: str, about: str, asked: Callable[[bpy.types.Context], errands.Errand]) -> type[JobOperator]:
    """An operator that asks for one errand. about: what Blender shows of it."""
    body = {
        "__doc__": about, "__module__": __name__, "bl_idname": f"brushwire.{name}", "bl_label": label,
        "errand": lambda _self, context: asked(context),
    }  # fmt: skip
    return type(f"BRUSHWIRE_OT_{name}", (JobOperator,), body)


def _texture_again(context: bpy.types.Context) -> errands.Errand:
    obj = context.active_object
    material = obj.active_material if obj is not None else None
    if material is None or materials.RECIPE not in material:
        raise errands.ErrandError("The active object's material was not made here.", "Make a material first.")
    return errands.texture(context, obj, again=json.loads(material[materials.RECIPE]))


def _replace_map(context: bpy.types.Context) -> errands.Errand:
    return errands.texture(context, context.active_object, only=properties.settings(context).replace)


_JOBS = (
    _job(
        "texture", "Make material", "Make a seamless material of the words, or of a picture, for the active object",
        lambda context: errands.texture(context, context.active_object),
    ),
    _job(
        "texture_again", "Another seed", "Make the active object's material once more, with another seed",
        _texture_again,
    ),
    _job(
        "replace_map", "Replace map", "Make one map of the active object's material anew; the others stay",
        _replace_map,
    ),
    _job(
        "picture", "Paint picture", "Paint a picture of the scene camera's view, following the scene's exact maps",
        errands.picture,
    ),
    _job(
        "paint_mesh", "Paint mesh", "Paint the active mesh from cameras, onto a UV layer and an image of its own",
        lambda context: errands.views(context, context.active_object),
    ),
    _job(
        "rebake", "Bake edited views",
        "Bake the pictures that the active mesh was painted from again: after one of them was edited",
        lambda context: errands.rebake(context, context.active_object),
    ),
    _job(
        "mesh", "Make mesh", "Make a textured mesh of the picture and the view's depth, where the camera saw it",
        errands.mesh,
    ),
)  # fmt: skip


class AddRigOperator(bpy.types.Operator):
    """Add cameras around the active object, or along the selected curve"""

    bl_idname = "brushwire.add_rig"
    bl_label = "Add cameras"
    bl_options = {"REGISTER", "UNDO"}
    keyframed: bpy.props.BoolProperty(name="One moving camera", description="One camera that moves, frame by frame")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """See `rigs.around`."""
        own, target = properties.settings(context), context.active_object
        try:
            if target is None:
                raise errands.ErrandError("Nothing is active.", "Select the object that the cameras shall see.")
            made, share = rigs.around(
                context, target, own.rig, count=own.rig_count, degrees=own.rig_degrees, share=own.rig_share,
                focal_length=own.rig_lens, size=tuple(own.rig_size),
            )  # fmt: skip
        except errands.REFUSALS as refused:
            self.report({"ERROR"}, f"{refused} {refused.remedy}")
            return {"CANCELLED"}
        name = f"{target.name} {own.rig.lower()}"
        if self.keyframed:
            rigs.keyframed(context, made, name)
        else:
            rigs.add(context, made, name)
        seen = "" if share is None else f" They see {share:.1%} of its surface."
        self.report({"INFO"}, f"{len(made)} cameras look at {target.name}.{seen}")
        return {"FINISHED"}


class AddMannequinOperator(bpy.types.Operator):
    """Add a mannequin to be posed, at the 3D cursor"""

    bl_idname = "brushwire.add_mannequin"
    bl_label = "Add mannequin"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """See `mannequin.add`."""
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        mannequin.add(context, tuple(context.scene.cursor.location))
        return {"FINISHED"}


class SaveMapsOperator(bpy.types.Operator):
    """Save the camera's exact maps as a file (.npz) that Krita's docker opens as control layers"""

    bl_idname = "brushwire.save_maps"
    bl_label = "Save maps"
    filepath: StringProperty(subtype="FILE_PATH", default="//maps.brushwire.npz")

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Depth, normals, mist and albedo as float32, lines, keypoints, and the camera."""
        scene, camera = context.scene, context.scene.camera
        try:
            shot = cameras.camera_of(scene, camera)
        except cameras.CameraError as refused:
            self.report({"ERROR"}, f"{refused} {refused.remedy}")
            return {"CANCELLED"}
        depsgraph = context.evaluated_depsgraph_get()
        triangles = capture.gather(depsgraph, marks=True)
        seen = maps.maps_of(triangles, shot, near=camera.data.clip_start, far=camera.data.clip_end)
        haze = scene.world.mist_settings if scene.world is not None else None
        start, length = (haze.start, haze.depth) if haze is not None else (camera.data.clip_start, camera.data.clip_end)
        keypoints, _ = capture.poses(capture.people(depsgraph), shot)
        arrays = {
            "depth": seen.depth, "normal": seen.normal, "edges": maps.edges(seen), "lines": lines.mesh_lines(
                triangles, seen, crease=capture.crease_of(context.view_layer), near=camera.data.clip_start
            ),
            "mist": maps.mist(seen.depth, start, length), "albedo": maps.albedo(triangles, seen),
        }  # fmt: skip
        if len(keypoints):
            arrays["pose"] = keypoints
        arrays["camera"] = np.frombuffer(json.dumps(shot.to_dict()).encode(), np.uint8)
        path = Path(bpy.path.abspath(self.filepath))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, **arrays)
        self.report({"INFO"}, " ".join([f"The maps are in {path.name}.", *triangles.notes]))
        return {"FINISHED"}


class PlaceOperator(bpy.types.Operator):
    """Put a result that waits where it belongs"""

    bl_idname = "brushwire.place"
    bl_label = "Place"
    bl_options = {"REGISTER", "UNDO"}
    task: StringProperty()

    def execute(self, context: bpy.types.Context) -> set[str]:
        """See `placing.placed`."""
        for task in link.studio().waiting:
            if task.id == self.task:
                try:
                    self.report({"INFO"}, placing.placed(context, task))
                except errands.REFUSALS as refused:
                    self.report({"ERROR"}, f"{refused} {refused.remedy}")
                    return {"CANCELLED"}
                return {"FINISHED"}
        return {"CANCELLED"}


class EndOperator(bpy.types.Operator):
    """End this job, or forget its result"""

    bl_idname = "brushwire.end"
    bl_label = "End"
    task: StringProperty()

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Cancel what is on its way, dismiss what has ended."""
        for task in list(link.studio().tasks):
            if task.id == self.task:
                (link.studio().dismiss if task.ended else link.studio().cancel)(task)
        return {"FINISHED"}


class UseAgainOperator(bpy.types.Operator):
    """Take over the settings of an earlier job"""

    bl_idname = "brushwire.use_again"
    bl_label = "Use these settings again"
    bl_options = {"REGISTER", "UNDO"}
    entry: StringProperty()

    def execute(self, context: bpy.types.Context) -> set[str]:
        """See `properties.load`."""
        history = link.studio().history
        entry = history.get(self.entry) if history is not None else None
        if entry is None or entry.kind not in properties.KINDS:
            self.report({"ERROR"}, "That job is not in the history any more.")
            return {"CANCELLED"}
        group = getattr(properties.settings(context), properties.KINDS[entry.kind])
        properties.load(group, entry.kind, entry.values)
        return {"FINISHED"}


class ConnectOperator(bpy.types.Operator):
    """Connect to the server, and start it where none is running"""

    bl_idname = "brushwire.connect"
    bl_label = "Connect"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """See `link.studio`."""
        try:
            link.studio().refresh()
        except BridgeError as error:
            self.report({"ERROR"}, f"{error.sentence} {error.remedy}")
            return {"CANCELLED"}
        return {"FINISHED"}


CLASSES = (
    *_JOBS, AddRigOperator, AddMannequinOperator, SaveMapsOperator, PlaceOperator, EndOperator, UseAgainOperator,
    ConnectOperator,
)  # fmt: skip
