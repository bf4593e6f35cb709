"""``brushwire blender ACTION FILE``: works on a Blender file with the extension, without a window."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge_protocol.client import BridgeClient
from server.commands import err

#: Ends Blender with this where the extension is not installed in it.
_NO_EXTENSION = 3

_SCRIPT = f"""
import json, sys
try:
    from bl_ext.user_default.brushwire import main
except ImportError:
    sys.exit({_NO_EXTENSION})
fields = json.loads(%r)
main(**{{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}})
"""


def blender(
    action: Annotated[
        str,
        typer.Argument(help="texture, paint_mesh, rebake, picture, frames, mesh, add_rig, add_mannequin, save_maps."),
    ],
    file: Annotated[Path, typer.Argument(help="The .blend file.", exists=True, dir_okay=False)],
    object_name: Annotated[
        str, typer.Option("--object", help="The object to work on; the active one if left out.")
    ] = "",
    prompt: Annotated[str | None, typer.Option(help="What to paint.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed paints the same.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Save the file here instead of where it lies.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another field of the job or of the panel, as name=value; several times."),
    ] = None,
    program: Annotated[
        str, typer.Option("--blender", help="Blender's command.", envvar="BRUSHWIRE_BLENDER")
    ] = "blender",
) -> None:
    """Paint, texture, capture or build cameras in a Blender file, and save it."""
    command = shutil.which(program)
    if command is None:
        raise typer.BadParameter(f"There is no command {program}; name Blender's.", param_hint="--blender")
    fields: dict[str, Any] = {"action": action, "object": object_name, **_values(values or [])}
    if prompt is not None:
        fields["prompt"] = prompt
    if seed is not None:
        fields["seed"] = seed
    if out is not None:
        fields["out"] = str(out.absolute())
    with BridgeClient("brushwire blender", start_server=True) as client:
        client.ping()  # Blender finds it running
        script = _SCRIPT % json.dumps(fields)
        ran = subprocess.run(
            [command, "-b", str(file.absolute()), "--python-exit-code", "1", "--python-expr", script], check=False
        )
    if ran.returncode == _NO_EXTENSION:
        err.print("This Blender has no Brushwire extension. Install it: brushwire plugins install blender", style="red")
        raise typer.Exit(1)
    raise typer.Exit(ran.returncode)


def _values(given: list[str]) -> dict[str, Any]:
    """``name=value`` texts: numbers, lists and true or false as JSON, anything else as text."""
    out: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise typer.BadParameter(f"{text} is not name=value.", param_hint="--set")
        try:
            out[name] = json.loads(value)
        except json.JSONDecodeError:
            out[name] = value
    return out
