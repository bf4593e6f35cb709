"""The docker's texts in German and Chinese: complete, and in a format that Qt reads."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "plugins" / "krita"
CATALOGUES = {path.stem: json.loads(path.read_text("utf-8")) for path in (PLUGIN / "translations").glob("*.json")}


def literals(name: str) -> set[str]:
    """What is written as tr("…") in the plugin."""
    found = set()
    for path in PLUGIN.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            named = isinstance(node, ast.Call) and getattr(node.func, "id", "") == name
            if named and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    return found


def mode_texts() -> set[str]:
    from plugins.krita.modes import MODES

    return {text for mode in MODES for text in (mode.label, mode.hint)}


@pytest.mark.parametrize("language", ["de", "zh_CN"])
def test_every_text_of_the_docker_is_translated(language):
    missing = (literals("tr") | mode_texts()) - CATALOGUES[language].keys()
    assert not missing


@pytest.mark.parametrize("language", ["de", "zh_CN"])
def test_placeholders_stay(language):
    for source, translation in CATALOGUES[language].items():
        assert re.findall(r"\{\d\}", source) == re.findall(r"\{\d\}", translation), source
