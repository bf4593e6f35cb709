"""Settings, presets and the files that they lie in."""

from __future__ import annotations

import json

import pytest

from plugins.common import files
from plugins.common.connection import SessionFile
from plugins.common.files import UnreadableFile
from plugins.common.settings import Preset, Presets, Settings, read_preset

DEFAULTS = {"live": False, "strength": 0.5, "style": ""}


def test_what_was_set_is_there_after_a_restart(tmp_path):
    settings = Settings(tmp_path / "a" / "settings.json", DEFAULTS)
    settings["strength"] = 1
    settings["style"] = "日本画"
    again = Settings(tmp_path / "a" / "settings.json", DEFAULTS)
    assert (again["live"], again["strength"], again["style"]) == (False, 1, "日本画")


def test_a_value_of_another_type_and_an_unknown_name_are_refused(tmp_path):
    settings = Settings(tmp_path / "settings.json", DEFAULTS)
    with pytest.raises(TypeError, match="live"):
        settings["live"] = "yes"
    with pytest.raises(KeyError):
        settings["colour"] = 1
    assert not settings.path.exists()


def test_a_broken_file_is_moved_aside_and_told(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"live": tr')
    settings = Settings(path, DEFAULTS)
    assert settings["live"] is False
    assert "settings.json cannot be read" in settings.problem.sentence
    assert path.with_suffix(".broken").read_text() == '{"live": tr'


def test_a_file_edited_by_hand_to_another_type_gives_the_default(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"live": "yes", "from a newer version": 1}))
    settings = Settings(path, DEFAULTS)
    assert settings["live"] is False
    settings["style"] = "ink"
    assert json.loads(path.read_text())["from a newer version"] == 1


def test_presets_are_files_that_can_be_shared(tmp_path):
    presets = Presets(tmp_path)
    path = presets.save(Preset("Öl / grob", "Generate", {"steps": 30}))
    presets.save(Preset("Öl : grob", "Generate", {"steps": 5}))  # would have the same file name
    presets.save(Preset("Ink", "Upscale", {"scale": 4.0}))
    assert [(preset.name, preset.values) for preset in presets.all("Generate")] == [
        ("Öl / grob", {"steps": 30}),
        ("Öl : grob", {"steps": 5}),
    ]
    (tmp_path / "from-a-friend.json").write_bytes(path.read_bytes())
    assert len(presets.all()) == 4
    presets.remove(Preset("Ink", "Upscale"))
    assert [preset.name for preset in presets.all("Upscale")] == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"brushwire_preset": 1, "name": 3}'])
def test_a_file_that_is_no_preset_is_passed_over_and_refused_when_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    assert Presets(tmp_path).all() == []
    with pytest.raises(UnreadableFile):
        read_preset(tmp_path / "x.json")


def test_two_runs_at_a_time_have_a_session_each_and_the_next_run_comes_back_to_one(tmp_path):
    first, second = SessionFile(tmp_path), SessionFile(tmp_path)
    first.remember("aaa")
    second.remember("bbb")
    first.close()
    assert SessionFile(tmp_path).id == "aaa"
    second.close()


def test_the_folder_follows_the_systems_rules(monkeypatch, tmp_path):
    monkeypatch.setenv("BRUSHWIRE_PLUGINS", str(tmp_path))
    assert files.plugins_folder() == tmp_path
    monkeypatch.delenv("BRUSHWIRE_PLUGINS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert files.plugins_folder() == tmp_path / "data" / "brushwire" / "plugins"
