"""What the panels hold: a group of properties for each kind of job, made from its schema, and the plug-in's own."""

from __future__ import annotations

from typing import Any, get_args

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    IntVectorProperty,
    PointerProperty,
    StringProperty,
)

from bridge_protocol import jobs

from ..common.forms import Field, Form
from . import link, rigs

#: The kinds of jobs that Blender asks for, and the name of their group.
KINDS = {"Texture": "texture", "Generate": "generate", "Views": "views", "Mesh": "mesh"}
#: Fields that the scene answers.
_OWN = {
    "Generate": {"width", "height"},
    "Views": {"mode"},
    "Mesh": {"kind", "format", "unit", "up", "name"},
}
#: Blender's integers have 32 bits.
_MAX_INT = 2**31 - 1
_HAS = "has_"
_CONTROLS = ("depth", "normal", "pose", "edges", "segmentation")

_schema: dict[str, Any] = {}
_groups: list[type] = []


class BrushwireScene(bpy.types.PropertyGroup):
    """The plug-in's own settings, kept with the scene; the kinds' groups are added to it at registration."""

    source_image: PointerProperty(
        name="Picture", type=bpy.types.Image, description="A picture to make it of; none: from words alone"
    )
    start_from: EnumProperty(
        name="Start from",
        items=(
            ("NONE", "Words", "Paint from words and maps alone"),
            ("RENDER", "Last render", "Paint over the last render"),
            ("IMAGE", "Picture", "Paint over a picture"),
        ),
    )
    use_depth: BoolProperty(name="Depth", default=True, description="Follow the scene's exact depth")
    use_normal: BoolProperty(name="Normals", description="Follow the scene's exact normals")
    use_pose: BoolProperty(name="Poses", description="Follow the poses of the armatures that the camera sees")
    use_edges: BoolProperty(name="Lines", description="Follow the edges of the scene's surfaces")
    use_segmentation: BoolProperty(name="Segments", description="Follow what is where, by the objects' names")
    weight_depth: FloatProperty(name="Weight", default=1.0, min=0.0, max=2.0)
    weight_normal: FloatProperty(name="Weight", default=1.0, min=0.0, max=2.0)
    weight_pose: FloatProperty(name="Weight", default=1.0, min=0.0, max=2.0)
    weight_edges: FloatProperty(name="Weight", default=1.0, min=0.0, max=2.0)
    weight_segmentation: FloatProperty(name="Weight", default=1.0, min=0.0, max=2.0)
    lines_of: EnumProperty(
        name="Lines",
        items=(
            ("PICTURE", "Of the picture", "Where neighbouring pixels show another surface, object or material"),
            (
                "MESHES",
                "Of the meshes",
                "What Freestyle draws: silhouettes, borders, creases by its angle, borders of materials, marked edges",
            ),
        ),
    )
    occlusion: BoolProperty(name="Hide covered joints", description="Leave out joints that things stand before")
    segment_by: EnumProperty(
        name="By", items=(("OBJECT", "Object", "One colour an object"), ("MATERIAL", "Material", "One a material"))
    )
    show_behind: BoolProperty(
        name="Show in camera view", description="Put the picture behind the scene in the camera's view"
    )
    cameras: EnumProperty(
        name="Seen from",
        items=(
            ("AROUND", "All around", "A rig of cameras around the object, which is not added to the scene"),
            ("SELECTED", "Selected cameras", "The selected cameras, in the order of their names"),
            ("SCENE", "Scene camera", "The scene's camera alone"),
        ),
    )
    mode: EnumProperty(
        name="Mode",
        items=(
            ("sequential", "One after the other", "Each view paints what is not covered yet"),
            ("grid", "All at once", "All views in one picture, which agree with each other"),
            ("refine", "Over what is there", "Each view paints over the present texture"),
        ),
    )
    unwrap: BoolProperty(
        name="New layout", default=True, description="Lay the mesh out anew; off: with its active UV map's layout"
    )
    rig: EnumProperty(name="Rig", items=rigs.KINDS)
    rig_count: IntProperty(name="Cameras", default=6, min=1, max=64)
    rig_degrees: FloatProperty(name="Angle", default=90.0, min=1.0, max=359.0, description="Of the fan, in degrees")
    rig_share: FloatProperty(
        name="Share", default=0.95, min=0.1, max=1.0, subtype="FACTOR", description="How much of the surface is wanted"
    )
    rig_lens: FloatProperty(name="Focal length", default=50.0, min=1.0, max=500.0, unit="CAMERA")
    rig_size: IntVectorProperty(name="Picture", size=2, default=(512, 512), min=64, max=4096, subtype="XYZ")
    replace: EnumProperty(
        name="Map",
        items=[(which, which.replace("_", " ").capitalize(), "") for which in get_args(jobs.MapKind)],
    )
    folder: StringProperty(name="Folder", subtype="DIR_PATH", default="//brushwire/", description="Where frames go")


def settings(context: bpy.types.Context) -> Any:
    """The scene's settings."""
    return context.scene.brushwire


def controls(own: Any) -> list[tuple[str, float]]:
    """Which maps are followed, and how strongly."""
    return [(name, getattr(own, f"weight_{name}")) for name in _CONTROLS if getattr(own, f"use_{name}")]


def fields_of(kind: str) -> list[Field]:
    """The fields of a kind that the panel shows, the essential ones first."""
    form = Form(kind, _schema[kind])
    shown = [field for field in (*form.essential, *form.advanced) if _property_of(field) is not None]
    return [field for field in shown if field.name not in _OWN.get(kind, ())]


def filled(form: Form, group: Any) -> Form:
    """The form with a group's values. Raises InvalidValue."""
    for field in form.fields:
        if field.name in _OWN.get(form.kind, ()) or not hasattr(group, field.name):
            continue
        if field.optional and not getattr(group, _HAS + field.name):
            continue
        value = getattr(group, field.name)
        if field.type == "list":
            value = _list_of(field, value)
        form[field.name] = value
    return form


def load(group: Any, kind: str, values: dict[str, Any]) -> None:
    """Bring a form's values of an earlier time back into its group; the others go back to their defaults."""
    for field in fields_of(kind):
        group.property_unset(field.name)
        if field.optional:
            setattr(group, _HAS + field.name, values.get(field.name) is not None)
        value = values.get(field.name)
        if value is None:
            continue
        if field.type == "list":
            value = set(value) if field.items and field.items.choices else _text_of(value)
        setattr(group, field.name, value)


def draw_field(layout: Any, group: Any, field: Field) -> None:
    """One field's row."""
    if field.type == "list" and field.items is not None and field.items.choices:
        layout.column(align=True).prop(group, field.name)
        return
    if not field.optional:
        layout.prop(group, field.name)
        return
    row = layout.row(align=True, heading=field.label)
    row.prop(group, _HAS + field.name, text="")
    inner = row.row(align=True)
    inner.enabled = getattr(group, _HAS + field.name)
    inner.prop(group, field.name, text="")


def register() -> None:
    """Register all groups, with the schema that this version knows."""
    bpy.utils.register_class(BrushwireScene)
    bpy.types.Scene.brushwire = PointerProperty(type=BrushwireScene)
    _register_kinds(jobs.schema())
    link.on_schema.append(_renew)


def unregister() -> None:
    """Take them away again."""
    link.on_schema.remove(_renew)
    _unregister_kinds()
    del bpy.types.Scene.brushwire
    bpy.utils.unregister_class(BrushwireScene)


def _renew(schema: dict[str, Any]) -> None:
    """A server whose fields are others than ours: its fields are shown."""
    known = {kind: schema[kind] for kind in KINDS if kind in schema}
    if known != {kind: _schema.get(kind) for kind in known}:
        _unregister_kinds()
        _register_kinds({**_schema, **known})


def _register_kinds(schema: dict[str, Any]) -> None:
    _schema.clear()
    _schema.update({kind: schema[kind] for kind in KINDS})
    for kind, name in KINDS.items():
        annotations: dict[str, Any] = {}
        for field in fields_of(kind):
            if field.optional:
                annotations[_HAS + field.name] = BoolProperty(name=f"Set {field.label.lower()}", description=field.doc)
            annotations[field.name] = _property_of(field)
        group = type(f"Brushwire{kind}", (bpy.types.PropertyGroup,), {"__annotations__": annotations})
        bpy.utils.register_class(group)
        _groups.append(group)
        setattr(BrushwireScene, name, PointerProperty(type=group))


def _unregister_kinds() -> None:
    for name in KINDS.values():
        delattr(BrushwireScene, name)
    while _groups:
        bpy.utils.unregister_class(_groups.pop())


def _property_of(field: Field) -> Any:
    """The property that holds a field; None for what has no widget here."""
    about = {"name": field.label, "description": f"{field.doc}{f' In {field.unit}.' if field.unit else ''}"}
    default = field.default
    if field.type == "integer":
        low, high = int(field.minimum or -_MAX_INT), int(min(field.maximum or _MAX_INT, _MAX_INT))
        return IntProperty(**about, default=int(default or max(0, low)), min=low, max=high, step=int(field.step or 1))
    if field.type == "number":
        low = -1e9 if field.minimum is None else field.minimum
        high = 1e9 if field.maximum is None else field.maximum
        start = low if default is None and low > 0 else float(default or 0)
        return FloatProperty(**about, default=min(max(start, low), high), min=low, max=high, precision=3)
    if field.type == "boolean":
        return BoolProperty(**about, default=bool(default))
    if field.type == "choice":
        items = [(choice, choice.replace("_", " ").capitalize(), "") for choice in field.choices]
        return EnumProperty(**about, items=items, default=default if default in field.choices else field.choices[0])
    if field.type == "text":
        if field.choices_from:
            return StringProperty(**about, default=default or "", search=_search(field))
        return StringProperty(**about, default=default or "")
    if field.type == "list" and field.items is not None and field.items.choices:
        items = [(choice, choice.replace("_", " ").capitalize(), "") for choice in field.items.choices]
        return EnumProperty(**about, items=items, options={"ENUM_FLAG"}, default=set(default or ()))
    if field.type == "list" and field.items is not None and not field.holds_arrays and _is_weighted(field.items):
        about["description"] += " Written as id:weight, id:weight."
        return StringProperty(**about)
    return None


def _search(field: Field) -> Any:
    def found(_self: Any, _context: Any, text: str) -> list[str]:
        studio = link.started()
        known = studio.lists.get(field.choices_from, []) if studio is not None else []
        return [choice.value for choice in known if text.lower() in choice.value.lower()]

    return found


def _is_weighted(items: Field) -> bool:
    return [field.name for field in items.fields] == ["model", "weight"]


def _list_of(field: Field, value: Any) -> list[Any]:
    if not isinstance(value, str):
        return [choice for choice in field.items.choices if choice in value] if field.items else []
    out = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        model, _, weight = part.rpartition(":")
        try:
            out.append({"model": model or weight, "weight": float(weight) if model else 1.0})
        except ValueError:
            out.append({"model": part, "weight": 1.0})
    return out


def _text_of(value: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['model']}:{one.get('weight', 1.0):g}" for one in value)
