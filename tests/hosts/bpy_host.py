"""Blender's command line, as far as the tests use it, by the `bpy` wheel: for machines without Blender itself.

    PYTHON_WITH_BPY bpy_host.py -b [FILE] [--factory-startup] [--python-exit-code N] [-P SCRIPT | --python-expr CODE]
    PYTHON_WITH_BPY bpy_host.py --command extension validate ARCHIVE
    PYTHON_WITH_BPY bpy_host.py --command extension install-file -r user_default -e ARCHIVE

The wheel has no window.
"""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
from pathlib import Path

import bpy


def main(arguments: list[str]) -> int:
    """Do what Blender would do with these arguments; returns its exit code. Raises what the script raises."""
    if arguments[:1] == ["--command"]:
        return _command(arguments[1:])
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", dest="background", action="store_true", required=True)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--factory-startup", action="store_true")
    parser.add_argument("--python-exit-code")  # an exception ends this with 1 in any case
    parser.add_argument("-P", dest="script")
    parser.add_argument("--python-expr", dest="code")
    given = parser.parse_args(own)
    if not given.factory_startup:
        _read_preferences()
    if given.file:
        bpy.ops.wm.open_mainfile(filepath=given.file)
    else:
        bpy.ops.wm.read_homefile(use_factory_startup=given.factory_startup)
    sys.argv = ["blender", *arguments]
    if given.script:
        runpy.run_path(given.script, run_name="__main__")
    if given.code:
        exec(given.code, {"__name__": "__main__"})  # what Blender's option of that name does
    return 0


def _read_preferences() -> None:
    """The wheel of 4.2 crashes as it reads them; what they would say is that the extension is enabled."""
    if bpy.app.version >= (4, 3):
        bpy.ops.wm.read_userpref()
    elif (Path(bpy.utils.resource_path("USER")) / "extensions" / "user_default" / "brushwire").is_dir():
        bpy.ops.preferences.addon_enable(module="bl_ext.user_default.brushwire")


def _command(words: list[str]) -> int:
    if words[:2] == ["extension", "install-file"]:
        _read_preferences()
        ended = bpy.ops.extensions.package_install_files(
            repo="user_default", filepath=words[-1], enable_on_install=True
        )
        bpy.ops.wm.save_userpref()
        return 0 if "FINISHED" in ended else 1
    if words[:2] == ["extension", "validate"]:  # Blender's own check, which comes with the wheel
        scripts = Path(bpy.utils.resource_path("LOCAL")) / "scripts"
        check = scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
        return subprocess.run([sys.executable, str(check), "validate", words[2]], check=False).returncode
    print(f"The bpy wheel has no command {' '.join(words[:2])}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
