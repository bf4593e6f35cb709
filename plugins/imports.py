"""Imports of a plugin's sources: brought inside its one package, and listed, so that none leads outside.

In this repository the parts of a plugin import one another by their full names (`bridge_protocol.client`). In a host
all of them lie in one package whose name only the host knows, so that two plugins with another version each do not
meet in `sys.modules`: there every such import is relative.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath


class UnpackableImport(Exception):
    """An import that cannot be brought inside: ``import a.b`` binds `a`, which has no name there."""


def made_relative(source: str, path: str, inside: Mapping[str, str]) -> str:
    """A module's source with its imports of what lies in the package made relative.

    path: the module's, from the package's root on (``gimp/canvas.py``). inside: full names (``plugins.common``) to
    what they are called from the root on (``common``). Raises UnpackableImport.
    """
    lines = source.splitlines(keepends=True)
    dots = "." * len(PurePosixPath(path).parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            target = _inside(node.module, inside)
            if target is not None:
                _replace(lines, node, f"from {node.module} ", f"from {dots}{target} ", path)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                target = _inside(alias.name, inside)
                if target is None:
                    continue
                if len(node.names) > 1 or (alias.asname is None and "." in target):
                    raise UnpackableImport(f"{path}:{node.lineno}: write `from … import …` for {alias.name}")
                parent, _, name = target.rpartition(".")
                _replace(lines, node, f"import {alias.name}", f"from {dots}{parent} import {name}", path)
    return "".join(lines)


def external_imports(source: str) -> set[str]:
    """The names of the top-level modules that a module imports from outside of its package and the standard library."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
    return {name for name in names if name not in sys.stdlib_module_names}


def imported_modules(source: str, package: str, *, inside: bool) -> Iterator[str]:
    """The modules of `package` that a module imports, by their names in it (``camera``).

    inside: whether the module is one of the package's own, and imports the others with one dot.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom):
            continue
        whole = node.module or ""
        if (inside and node.level == 1 and not whole) or (node.level == 0 and whole == package):
            yield from (alias.name for alias in node.names)
        elif inside and node.level == 1:
            yield whole.partition(".")[0]
        elif node.level == 0 and whole.startswith(f"{package}."):
            yield whole.removeprefix(f"{package}.").partition(".")[0]


def _inside(name: str, inside: Mapping[str, str]) -> str | None:
    for full, short in inside.items():
        if name == full or name.startswith(f"{full}."):
            return short + name[len(full) :]
    return None


def _replace(lines: list[str], node: ast.stmt, old: str, new: str, path: str) -> None:
    line = lines[node.lineno - 1]
    if line[node.col_offset :].startswith(old):
        lines[node.lineno - 1] = line[: node.col_offset] + new + line[node.col_offset + len(old) :]
    else:
        raise UnpackableImport(f"{path}:{node.lineno}: write the import as `{old.strip()} …`")
