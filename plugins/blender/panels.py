"""Panels in the 3D view's sidebar. They only draw: nothing here reads a mesh, or waits."""

from __future__ import annotations

from typing import Any

import bpy

from . import errands, link, previews, properties, remedies

#: How many entries of the history are shown.
_ENTRIES = 8


class _Panel:
    """Where all of them are."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Brushwire"


class _ClosedPanel(_Panel):
    """One that is opened when it is wanted."""

    bl_options = {"DEFAULT_CLOSED"}


class StatusPanel(_Panel, bpy.types.Panel):
    """The connection, and the jobs on their way."""

    bl_idname = "BRUSHWIRE_PT_status"
    bl_label = "Brushwire"

    def draw(self, _context: bpy.types.Context) -> None:
        """One line for the connection, one for each job."""
        layout, studio = self.layout, link.started()
        if studio is None:
            layout.operator("brushwire.connect", icon="LINKED")
            return
        state = studio.state
        _wrapped(layout, state.sentence, "CHECKMARK" if state.connected else "ERROR")
        if state.remedy:
            _wrapped(layout, state.remedy, "BLANK1")
        remedies.draw(layout, remedies.of_state(state, studio.client.problem, own=not studio.settings["url"]))
        for task in studio.tasks[-5:]:
            if task.ended and (task.placed or task.stage == "cancelled"):
                continue
            box = layout.box()
            row = box.row()
            row.label(text=task.title)
            if task.stage == "finished":
                row.operator("brushwire.place").task = task.id
            row.operator("brushwire.end", text="", icon="X").task = task.id
            if task.ended:
                _wrapped(box, task.sentence, "ERROR" if task.problem else "CHECKMARK")
                if task.problem is not None and task.problem.remedy:
                    _wrapped(box, task.problem.remedy, "BLANK1")
                if task.problem is not None:
                    known = bool(task.id) and task in errands.asked
                    remedies.draw(box, remedies.of_problem(task.problem, task.values, known=known), task)
            else:
                box.progress(factor=task.fraction or 0.0, text=task.sentence)


class TexturePanel(_Panel, bpy.types.Panel):
    """Materials from words or a picture."""

    bl_idname = "BRUSHWIRE_PT_texture"
    bl_label = "Material"

    def draw(self, context: bpy.types.Context) -> None:
        """The form, and what is done with it."""
        own, layout = properties.settings(context), _plain(self.layout)
        _form(layout, own.texture, "Texture")
        layout.template_ID(own, "source_image", open="image.open", text="Picture")
        layout.operator("brushwire.texture", icon="MATERIAL")
        row = layout.row(align=True)
        row.operator("brushwire.texture_again", icon="FILE_REFRESH")
        row = layout.row(align=True)
        row.prop(own, "replace", text="")
        row.operator("brushwire.replace_map")


class MeshPaintingPanel(_ClosedPanel, bpy.types.Panel):
    """Painting onto a mesh from cameras."""

    bl_idname = "BRUSHWIRE_PT_mesh_painting"
    bl_label = "Paint mesh"

    def draw(self, context: bpy.types.Context) -> None:
        """The cameras, the form, and what is done with them."""
        own, layout = properties.settings(context), _plain(self.layout)
        layout.prop(own, "mode")
        layout.prop(own, "cameras")
        if own.cameras == "AROUND":
            _rig(layout, own)
        layout.prop(own, "unwrap")
        _form(layout, own.views, "Views")
        layout.operator("brushwire.paint_mesh", icon="BRUSH_DATA")
        layout.operator("brushwire.rebake", icon="RENDER_STILL")


class PicturePanel(_ClosedPanel, bpy.types.Panel):
    """Pictures of the camera's view."""

    bl_idname = "BRUSHWIRE_PT_picture"
    bl_label = "Picture of the view"

    def draw(self, context: bpy.types.Context) -> None:
        """What is followed, what is painted over, the form."""
        own, layout = properties.settings(context), _plain(self.layout)
        for name in ("depth", "normal", "pose", "edges", "segmentation"):
            row = layout.row(align=True)
            row.prop(own, f"use_{name}")
            inner = row.row()
            inner.enabled = getattr(own, f"use_{name}")
            inner.prop(own, f"weight_{name}", text="")
        if own.use_pose:
            layout.prop(own, "occlusion")
        if own.use_edges:
            layout.prop(own, "lines_of")
            if own.lines_of == "MESHES":
                layout.prop(context.view_layer.freestyle_settings, "crease_angle")
        if own.use_segmentation:
            layout.prop(own, "segment_by")
        layout.prop(own, "start_from")
        if own.start_from == "IMAGE":
            layout.template_ID(own, "source_image", open="image.open", text="Picture")
        _form(layout, own.generate, "Generate")
        layout.prop(own, "show_behind")
        layout.operator("brushwire.picture", icon="IMAGE_DATA")
        layout.operator("brushwire.save_maps", icon="EXPORT")


class FramesPanel(_ClosedPanel, bpy.types.Panel):
    """A range of frames, painted one by one."""

    bl_idname = "BRUSHWIRE_PT_frames"
    bl_label = "Frames"
    bl_parent_id = "BRUSHWIRE_PT_picture"

    def draw(self, context: bpy.types.Context) -> None:
        """Where they go."""
        own, layout = properties.settings(context), _plain(self.layout)
        column = layout.column(align=True)
        column.prop(context.scene, "frame_start")
        column.prop(context.scene, "frame_end")
        column.prop(context.scene, "frame_step")
        layout.prop(own, "folder")
        layout.operator("brushwire.frames", icon="RENDER_ANIMATION")


class ScenePanel(_ClosedPanel, bpy.types.Panel):
    """Cameras, the mannequin, and meshes from pictures."""

    bl_idname = "BRUSHWIRE_PT_scene"
    bl_label = "Cameras, people and meshes"

    def draw(self, context: bpy.types.Context) -> None:
        """The rig's fields, and what is added."""
        own, layout = properties.settings(context), _plain(self.layout)
        _rig(layout, own)
        row = layout.row(align=True)
        row.operator("brushwire.add_rig", icon="OUTLINER_OB_CAMERA").keyframed = False
        row.operator("brushwire.add_rig", text="Moving camera").keyframed = True
        layout.operator("brushwire.add_mannequin", icon="ARMATURE_DATA")
        layout.separator()
        layout.template_ID(own, "source_image", open="image.open", text="Picture")
        _form(layout, own.mesh, "Mesh")
        layout.operator("brushwire.mesh", icon="MESH_GRID")


class HistoryPanel(_ClosedPanel, bpy.types.Panel):
    """What was made before."""

    bl_idname = "BRUSHWIRE_PT_history"
    bl_label = "History"

    def draw(self, _context: bpy.types.Context) -> None:
        """The newest first, each with what it made, its words and its settings."""
        studio, layout = link.started(), self.layout
        history = studio.history if studio is not None else None
        entries = [entry for entry in history.entries if entry.kind in properties.KINDS] if history is not None else []
        if history is None or not entries:
            layout.label(text="Nothing yet.")
            return
        for entry in entries[:_ENTRIES]:
            row = layout.box().row()
            icon = previews.icon_of(history, entry.id)
            if icon:
                row.template_icon(icon_value=icon, scale=3)
            column = row.column(align=True)
            column.label(text=entry.title)
            column.label(text=f"{entry.kind}, {entry.state}")
            column.operator("brushwire.use_again", icon="LOOP_BACK").entry = entry.id


def _form(layout: Any, group: Any, kind: str) -> None:
    fields = properties.fields_of(kind)
    shown = [field for field in fields if field.essential or field.required]
    for field in shown:
        properties.draw_field(layout, group, field)
    header, body = layout.panel(f"brushwire_{kind}", default_closed=True)
    header.label(text="More")
    if body is not None:
        for field in fields:
            if field not in shown:
                properties.draw_field(body, group, field)


def _rig(layout: Any, own: Any) -> None:
    layout.prop(own, "rig")
    if own.rig != "CUBE":
        layout.prop(own, "rig_count", text="At most" if own.rig == "COVERAGE" else "Cameras")
    if own.rig == "FAN":
        layout.prop(own, "rig_degrees")
    if own.rig == "COVERAGE":
        layout.prop(own, "rig_share")
    layout.prop(own, "rig_lens")
    layout.prop(own, "rig_size")


def _plain(layout: Any) -> Any:
    layout.use_property_split = True
    layout.use_property_decorate = False
    return layout


def _wrapped(layout: Any, sentence: str, icon: str, width: int = 38) -> None:
    """A sentence over as many lines as the sidebar needs."""
    lines: list[str] = [""]
    for word in sentence.split():
        if len(lines[-1]) + len(word) > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    column = layout.column(align=True)
    for number, line in enumerate(lines):
        column.label(text=line, icon=icon if number == 0 else "BLANK1")


CLASSES = (
    StatusPanel, TexturePanel, MeshPaintingPanel, PicturePanel, FramesPanel,
    ScenePanel, HistoryPanel,
)  # fmt: skip
