"""Photoshop's package, without Photoshop: what its manifest promises is there."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from PIL import Image

from plugins import pack
from server.settings import PORT


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with zipfile.ZipFile(pack.pack("photoshop", tmp_path_factory.mktemp("ccx"))) as files:
        assert files.filename.endswith(".ccx")
        yield {name: files.read(name) for name in files.namelist()}


def test_the_manifest_is_of_version_5_and_asks_for_no_more_than_the_servers_port(archive):
    manifest = json.loads(archive["manifest.json"])
    assert manifest["manifestVersion"] == 5
    assert isinstance(manifest["host"], dict)
    assert manifest["version"] == pack.version()
    permissions = manifest["requiredPermissions"]
    assert list(permissions) == ["network"]
    assert permissions["network"]["domains"] == [f"ws://127.0.0.1:{PORT}", f"ws://localhost:{PORT}"]


def test_every_file_that_the_manifest_and_the_page_name_is_there(archive):
    manifest = json.loads(archive["manifest.json"])
    assert manifest["main"] in archive
    for icon in [*manifest["icons"], *(icon for entry in manifest["entrypoints"] for icon in entry["icons"])]:
        for scale in icon["scale"]:
            name = icon["path"] if scale == 1 else icon["path"].replace(".png", f"@{scale}x.png")
            assert Image.open(io.BytesIO(archive[name])).size == (icon["width"] * scale, icon["height"] * scale)
    page = archive["index.html"].decode()
    for name in ("panel.js", "style.css"):
        assert f"./{name}" in page
        assert name in archive


def test_the_script_makes_no_code_from_text_and_knows_the_port(archive):
    script = archive["panel.js"].decode()
    assert "new Function" not in script
    assert "eval(" not in script
    assert str(PORT) in script
    assert set(archive) == {
        "LICENSE", "index.html", "manifest.json", "panel.js", "style.css",
        "icons/panel.png", "icons/panel@2x.png", "icons/plugin.png", "icons/plugin@2x.png",
    }  # fmt: skip
