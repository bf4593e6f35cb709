"""Which modules may import what: the part that runs inside Blender has numpy alone."""

import ast
import sys
from pathlib import Path

import pytest

import depth3d

FOLDER = Path(depth3d.__file__).parent
NUMPY_ALONE = ("camera", "depth", "normals", "drawing", "pose", "rigs", "edges", "render", "texels", "bake")


def imported(module: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." + (node.module or "") if node.level else (node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("module", NUMPY_ALONE)
def test_what_runs_inside_blender_needs_numpy_alone(module):
    for name in imported(module):
        if name.startswith("."):
            assert name[1:] in NUMPY_ALONE
        else:
            assert name == "numpy" or name in sys.stdlib_module_names


@pytest.mark.parametrize("module", [p.stem for p in FOLDER.glob("*.py")])
def test_geometry_knows_no_torch_no_server_and_no_wire(module):
    assert not imported(module) & {"torch", "diffusers", "transformers", "server", "bridge_protocol", "plugins"}
