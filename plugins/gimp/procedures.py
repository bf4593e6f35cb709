"""GIMP's procedures: one for each mode, with an argument for each field of its job, and those around them.

Arguments are made from the job's schema as this version knows it: GIMP keeps them in its cache. What a newer server
knows besides can be given as JSON in `options`; the studio shows it as fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gi.repository import Gimp, GLib, GObject

from bridge_protocol.painting import MAX_SEED
from bridge_protocol.records import InvalidValue

from ..common.forms import Field, Form
from .canvas import CanvasError, recall
from .modes import MODES, Mode, form_of
from .running import JobError, paint

PREFIX = "brushwire-"
MENU = "<Image>/Filters/Brushwire"
#: What stands for "none" in numbers that may be left out.
UNSET = -1
_FLAGS = GObject.ParamFlags.READWRITE
_ANYTIME = (
    Gimp.ProcedureSensitivityMask.DRAWABLE | Gimp.ProcedureSensitivityMask.DRAWABLES
    | Gimp.ProcedureSensitivityMask.NO_DRAWABLES | Gimp.ProcedureSensitivityMask.NO_IMAGE
)  # fmt: skip
_WITH_IMAGE = (
    Gimp.ProcedureSensitivityMask.DRAWABLE | Gimp.ProcedureSensitivityMask.DRAWABLES
    | Gimp.ProcedureSensitivityMask.NO_DRAWABLES
)  # fmt: skip


def names() -> list[str]:
    """All procedures."""
    return [PREFIX + name for name in (*MODES, "again", "studio")]


def create(plug_in: Gimp.PlugIn, name: str) -> Gimp.Procedure:
    """The procedure of that name."""
    short = name.removeprefix(PREFIX)
    if short == "studio":
        return _studio(plug_in, name)
    if short == "again":
        return _again(plug_in, name)
    return _mode(plug_in, name, MODES[short])


# -- one for each mode


def _mode(plug_in: Gimp.PlugIn, name: str, mode: Mode) -> Gimp.Procedure:
    def run(procedure: Any, run_mode: Any, image: Any, drawables: Any, config: Any, _data: Any) -> Any:
        interactive = run_mode == Gimp.RunMode.INTERACTIVE
        file = config.get_property("file") if mode.makes == "file" else None
        path = Path(file.get_path()) if file is not None else None

        def work() -> Any:
            values = values_of(form_of(mode), config, json_of(config.get_property("options")))
            if interactive:
                from .dialog import ask

                asked = ask(mode, values, path)
                return None if asked is None else paint(mode, image, *asked, progress=True)
            return paint(mode, image, values, path, progress=run_mode != Gimp.RunMode.NONINTERACTIVE)

        return _answered(procedure, work, mode, interactive)

    procedure = _image_procedure(plug_in, name, run, f"{mode.label}…", mode.doc)
    procedure.set_sensitivity_mask(_ANYTIME if mode.reads == "nothing" else _WITH_IMAGE)
    for field in form_of(mode):
        _add_argument(procedure, field)
    procedure.add_string_argument("options", "Options", "Further fields of the job, as JSON", "", _FLAGS)
    if mode.makes == "file":
        action = Gimp.FileChooserAction.SAVE
        procedure.add_file_argument("file", "File", "Where the mesh is written", action, True, None, _FLAGS)
    else:
        _return_layers(procedure)
    return procedure


def _again(plug_in: Gimp.PlugIn, name: str) -> Gimp.Procedure:
    def run(procedure: Any, run_mode: Any, image: Any, drawables: Any, config: Any, _data: Any) -> Any:
        def work() -> Any:
            settings = recall(drawables[0]) if drawables else None
            if settings is None or settings.get("mode") not in MODES:
                raise CanvasError("That layer was not painted by Brushwire.", "Choose a layer that was.")
            mode, values = MODES[settings["mode"]], dict(settings["values"])
            seed = config.get_property("seed")
            values["seed"] = None if seed == UNSET else seed
            if "seed" not in form_of(mode):
                del values["seed"]
            return paint(mode, image, values, progress=run_mode != Gimp.RunMode.NONINTERACTIVE)

        return _answered(procedure, work, None, run_mode == Gimp.RunMode.INTERACTIVE)

    doc = "Paint with the settings that stand on the layer, and another seed."
    procedure = _image_procedure(plug_in, name, run, "Paint again", doc)
    procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE)
    procedure.add_double_argument("seed", "Seed", "-1 draws one", UNSET, float(MAX_SEED), UNSET, _FLAGS)
    _return_layers(procedure)
    return procedure


def _studio(plug_in: Gimp.PlugIn, name: str) -> Gimp.Procedure:
    def run(procedure: Any, run_mode: Any, image: Any, _drawables: Any, _config: Any, _data: Any) -> Any:
        if run_mode == Gimp.RunMode.NONINTERACTIVE:
            error = _error("The studio is a window.", "Call one of the other procedures.")
            return procedure.new_return_values(Gimp.PDBStatusType.CALLING_ERROR, error)
        from .window import open_studio

        open_studio(image)
        return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, None)

    doc = "A window with prompt, options, previews and history that stays while you paint."
    procedure = _image_procedure(plug_in, name, run, "Studio", doc)
    procedure.set_sensitivity_mask(_ANYTIME)
    return procedure


# -- what they have in common


def _image_procedure(plug_in: Gimp.PlugIn, name: str, run: Callable[..., Any], label: str, doc: str) -> Gimp.Procedure:
    procedure = Gimp.ImageProcedure.new(plug_in, name, Gimp.PDBProcType.PLUGIN, run, None)
    # Indexed images are not left out here: then the menu would be grey, and nobody would know why.
    procedure.set_image_types("*")
    procedure.set_menu_label(label)
    procedure.add_menu_path(MENU)
    procedure.set_documentation(doc, doc, name)
    procedure.set_attribution("Brushwire", "Brushwire", "2026")
    return procedure


def _return_layers(procedure: Gimp.Procedure) -> None:
    procedure.add_image_return_value("painted", "Painted", "The image that holds what was painted", True, _FLAGS)
    procedure.add_layer_return_value("layer", "Layer", "The new layer, or the group of them", True, _FLAGS)


def _answered(procedure: Any, work: Callable[[], Any], mode: Mode | None, interactive: bool) -> Any:
    """The procedure's return values: what was made, or a sentence about why nothing was."""
    try:
        made = work()
    except InvalidValue as error:  # what was asked is wrong, not what came of it
        return procedure.new_return_values(Gimp.PDBStatusType.CALLING_ERROR, _error(str(error), error.remedy))
    except (CanvasError, JobError) as error:
        return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, _error(error.sentence, error.remedy))
    except OSError as error:
        return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, _error(str(error), ""))
    if made is None:
        return procedure.new_return_values(Gimp.PDBStatusType.CANCEL, None)
    if interactive and made.fresh:
        Gimp.Display.new(made.image)
    if interactive:
        Gimp.displays_flush()
    if mode is not None and mode.makes == "file":
        return procedure.new_return_values(Gimp.PDBStatusType.SUCCESS, None)
    success = GObject.Value(Gimp.PDBStatusType, Gimp.PDBStatusType.SUCCESS)
    return Gimp.ValueArray.new_from_values(
        [success, GObject.Value(Gimp.Image, made.image), GObject.Value(Gimp.Layer, made.layer)]
    )


def _error(sentence: str, remedy: str) -> GLib.Error:
    return GLib.Error.new_literal(Gimp.PlugIn.error_quark(), f"{sentence} {remedy}".strip(), 0)


# -- arguments


def _add_argument(procedure: Gimp.Procedure, field: Field) -> None:
    name, nick, blurb = argument_name(field.name), field.label, field.doc or field.label
    if field.type == "boolean":
        procedure.add_boolean_argument(name, nick, blurb, bool(field.default), _FLAGS)
    elif field.type == "choice":
        choice = Gimp.Choice.new()
        for index, value in enumerate(field.choices):
            choice.add(value, index, value, value)
        procedure.add_choice_argument(name, nick, blurb, choice, field.default or field.choices[0], _FLAGS)
    elif field.type in ("integer", "number"):
        low, high = field.minimum, field.maximum
        default = field.default
        if field.optional:
            blurb, low, default = f"{blurb} ({UNSET}: none)", UNSET, UNSET if default is None else default
        low = -1e9 if low is None else low
        high = 1e9 if high is None else high
        if field.type == "integer" and high <= GLib.MAXINT32:
            procedure.add_int_argument(name, nick, blurb, int(low), int(high), int(default), _FLAGS)
        else:  # seeds have 53 bits, which a double holds exactly
            procedure.add_double_argument(name, nick, blurb, float(low), float(high), float(default), _FLAGS)
    elif field.type == "text":
        procedure.add_string_argument(name, nick, blurb, field.default or "", _FLAGS)
    # Lists of records (LoRAs) come by `options`.


def values_of(form: Form, config: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What a procedure's arguments and its `options` say, each checked. Raises InvalidValue."""
    known = {one.name for one in config.list_properties()}
    for field in form:
        if argument_name(field.name) not in known:
            continue
        value = config.get_property(argument_name(field.name))
        if field.type in ("integer", "number"):
            value = None if field.optional and value == UNSET else value
        if field.type == "text" and value is None:
            value = ""
        if value != field.default:
            form[field.name] = value
    further = {name: value for name, value in options.items() if name not in form}
    for name, value in options.items():
        if name in form:
            form[name] = value
    return {**form.values, **further}


def json_of(text: str | None) -> dict[str, Any]:
    """What `options` holds. Raises InvalidValue."""
    if not text or not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidValue("options", text, f"JSON ({error})", 'Write it like {"clip_skip": 1}.') from None
    if not isinstance(found, dict):
        raise InvalidValue("options", text, 'a map of fields, such as {"clip_skip": 1}')
    return found


def argument_name(field: str) -> str:
    """A field's name as GIMP writes arguments."""
    return field.replace("_", "-")
