"""The command line's way to Blender, as far as it goes without one; tests/hosts goes all of it."""

from __future__ import annotations

from typer.testing import CliRunner

from server import cli

runner = CliRunner()


def test_a_blender_that_is_not_there_is_named(tmp_path):
    file = tmp_path / "a.blend"
    file.touch()
    ran = runner.invoke(cli.app, ["blender", "texture", str(file), "--blender", "no-such-blender"])
    assert ran.exit_code == 2
    assert "no-such-blender" in ran.output


def test_a_value_without_a_name_is_refused(tmp_path):
    file = tmp_path / "a.blend"
    file.touch()
    ran = runner.invoke(cli.app, ["blender", "texture", str(file), "--blender", "sh", "--set", "red"])
    assert ran.exit_code == 2
    assert "name=value" in ran.output
