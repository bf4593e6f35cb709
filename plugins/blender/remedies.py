"""Buttons beside an error's sentence: they do what its remedy says, where that can be done here."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import bpy
from bpy.props import StringProperty

from bridge_protocol import launch
from bridge_protocol.handle import BridgeError

from ..common.connection import State
from ..common.tasks import Task
from . import errands, link, operators

#: What a job's choice of a model can be refused with.
_OF_MODELS = {"unknown_model", "refused_model", "unreadable_model", "incompatible_models"}
#: After these the same job may succeed, even where the server does not say so.
_MAY_PASS = {"connection_lost", "timeout", "internal_error", "no_server"}


@dataclass(frozen=True)
class Remedy:
    """One button. operator: what it runs."""

    operator: str
    icon: str


START = Remedy("brushwire.start_server", "PLAY")
LOCATE = Remedy("brushwire.locate_server", "FILE_FOLDER")
AGAIN = Remedy("brushwire.try_again", "FILE_REFRESH")
OTHER_MODEL = Remedy("brushwire.other_model", "MODIFIER")


def of_state(state: State, problem: BridgeError | None, *, own: bool) -> list[Remedy]:
    """For a connection that is not there. own: whether the server is one that this machine could start."""
    if state.phase not in ("searching", "lost") or problem is None or problem.code == "handshake_refused" or not own:
        return []
    return [START, LOCATE] if problem.code == "no_server" else [START]


def of_problem(problem: BridgeError, values: dict[str, Any], *, known: bool) -> list[Remedy]:
    """For a job that failed. values: its form's. known: whether it can be asked for again."""
    if not known:
        return []
    if problem.code in _OF_MODELS and values.get("model"):
        return [OTHER_MODEL]
    return [AGAIN] if problem.retryable or problem.code in _MAY_PASS else []


def draw(layout: Any, remedies: list[Remedy], task: Task | None = None) -> None:
    """Each as a button."""
    for one in remedies:
        button = layout.operator(one.operator, icon=one.icon)
        if task is not None:
            button.task = task.id


class StartServerOperator(bpy.types.Operator):
    """Start the Brushwire server on this machine"""

    bl_idname = "brushwire.start_server"
    bl_label = "Start the server"

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """In a thread: starting takes seconds; the connection finds it by itself."""
        command = link.studio().settings["server_command"] or None
        threading.Thread(target=launch.find, args=(None, True, command, lambda: False), daemon=True).start()
        self.report({"INFO"}, "The server is being started.")
        return {"FINISHED"}


class LocateServerOperator(bpy.types.Operator):
    """Say where the command `brushwire` lies, and start the server with it"""

    bl_idname = "brushwire.locate_server"
    bl_label = "Where is Brushwire…"
    filepath: StringProperty(subtype="FILE_PATH")

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Keep it for later runs, too."""
        link.studio().settings["server_command"] = bpy.path.abspath(self.filepath)
        return bpy.ops.brushwire.start_server()


class _Again(operators.JobOperator):
    """What asks for a job that failed once more."""

    task: StringProperty()

    def errand(self, _context: bpy.types.Context) -> errands.Errand:
        """The one that failed, as it was."""
        for task in list(link.studio().tasks):
            if task.id == self.task and task in errands.asked:
                errand = errands.asked[task]
                link.studio().dismiss(task)
                return errand
        raise errands.ErrandError("What was asked then is not known any more.", "Ask for it from its panel.")


class TryAgainOperator(_Again):
    """Ask for the same once more, as the scene was then"""

    bl_idname = "brushwire.try_again"
    bl_label = "Try again"


class OtherModelOperator(_Again):
    """Ask for the same with the model that the server takes by itself"""

    bl_idname = "brushwire.other_model"
    bl_label = "With the server's own model"

    def errand(self, context: bpy.types.Context) -> errands.Errand:
        """The one that failed, without its model."""
        errand = super().errand(context)
        errand.form["model"] = ""
        return errand


CLASSES = (StartServerOperator, LocateServerOperator, TryAgainOperator, OtherModelOperator)
