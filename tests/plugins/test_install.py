"""Plugins put where their hosts look for them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from plugins import pack
from plugins.install import NotInstalled, enabled_in, install
from plugins.places import places


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "GIMP3_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BRUSHWIRE_PLUGINS", str(tmp_path / "plugins"))
    return tmp_path


posix = pytest.mark.skipif(os.name == "nt", reason="the folders are those of Linux")


@posix
def test_every_gimp_3_is_found_native_and_flatpak_and_gimp_2_is_not(home):
    for folder in (".config/GIMP/2.10", ".config/GIMP/3.0", ".config/GIMP/3.2"):
        (home / folder).mkdir(parents=True)
    (home / ".var/app/org.gimp.GIMP/config/GIMP/3.0").mkdir(parents=True)
    found = places("gimp", home=home)
    assert [str(place.folder.relative_to(home)) for place in found] == [
        ".config/GIMP/3.0", ".config/GIMP/3.2", ".var/app/org.gimp.GIMP/config/GIMP/3.0",
    ]  # fmt: skip
    assert [place.flatpak for place in found] == [False, False, True]
    assert found[2].data == home / ".var/app/org.gimp.GIMP/data/brushwire/plugins"


@posix
def test_gimps_plug_in_is_there_whole_with_the_servers_command_and_replaces_an_older_one(home):
    old = home / ".config/GIMP/3.0/plug-ins/brushwire"
    old.mkdir(parents=True)
    (old / "of an older version.py").touch()
    [made] = install("gimp", places("gimp", home=home), "/opt/bin/brushwire")
    assert made.where == str(old)
    assert stat.S_IMODE((old / "brushwire.py").stat().st_mode) == 0o755
    assert (old / "brushwire_plugin/common/studio.py").is_file()
    assert not (old / "of an older version.py").exists()
    assert [path.name for path in old.parent.iterdir()] == ["brushwire"]
    settings = json.loads((home / "plugins/gimp/settings.json").read_text())
    assert settings == {"server_command": "/opt/bin/brushwire"}


@posix
def test_a_flatpak_reaches_the_server_and_does_not_try_to_start_it(home):
    (home / ".var/app/org.gimp.GIMP/config/GIMP/3.0").mkdir(parents=True)
    log = home / "asked"
    (home / "bin").mkdir()
    (home / "bin/flatpak").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (home / "bin/flatpak").chmod(0o755)
    list(install("gimp", places("gimp", home=home), "/opt/bin/brushwire"))
    settings = home / ".var/app/org.gimp.GIMP/data/brushwire/plugins/gimp/settings.json"
    assert json.loads(settings.read_text()) == {"start_server": False}
    assert "--filesystem=xdg-run/brushwire" in log.read_text()


def test_where_no_host_is_found_the_remedy_is_told(home):
    with pytest.raises(NotInstalled) as caught:
        list(install("gimp", places("gimp", home=home)))
    assert "--folder" in caught.value.remedy


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[python]\nenable_brushwire=true\n"),
        ("[a]\nx=1\n", "[a]\nx=1\n\n[python]\nenable_brushwire=true\n"),
        ("[python]\nenable_other=true\n\n[b]\ny=2\n",
         "[python]\nenable_brushwire=true\nenable_other=true\n\n[b]\ny=2\n"),
        ("[python]\nenable_brushwire=false\n", "[python]\nenable_brushwire=true\n"),
    ],
)  # fmt: skip
def test_krita_is_told_to_load_the_plugin_and_keeps_what_else_was_set(before, after):
    assert enabled_in(before) == after
    assert enabled_in(after) == after


_RC = "[theme]\nTheme=Krita dark\n\n[python]\nenable_other=true\n"


def _is_whole(pykrita):
    """The folder with its package, and beside it what tells Krita of it."""
    desktop = (pykrita / "brushwire.desktop").read_text()
    assert "X-KDE-Library=brushwire\n" in desktop
    assert (pykrita / "brushwire/krita/docker.py").is_file()
    assert (pykrita / "brushwire/common/studio.py").is_file()
    return True


@posix
def test_the_docker_is_put_into_a_native_krita_or_an_appimage_which_use_the_same_folders(home):
    (home / ".local/share/krita").mkdir(parents=True)  # an AppImage has no command, only what its first run has left
    (home / ".config").mkdir()
    (home / ".config/kritarc").write_text(_RC)
    [made] = install("krita", places("krita", home=home), "/opt/bin/brushwire")
    assert made.where == str(home / ".local/share/krita/pykrita/brushwire")
    assert _is_whole(home / ".local/share/krita/pykrita")
    assert (home / ".config/kritarc").read_text() == _RC.replace("[python]\n", "[python]\nenable_brushwire=true\n")
    assert json.loads((home / "plugins/krita/settings.json").read_text()) == {"server_command": "/opt/bin/brushwire"}


@posix
def test_an_appimages_own_home_is_named_by_its_folder_and_its_own_settings_enable_the_docker(home):
    own = home / "Apps/krita-5.2.9-x86_64.appimage.home"
    (own / ".local/share/krita").mkdir(parents=True)
    [made] = install("krita", places("krita", own / ".local/share/krita", home), "/opt/bin/brushwire")
    assert made.where == str(own / ".local/share/krita/pykrita/brushwire")
    assert _is_whole(own / ".local/share/krita/pykrita")
    assert (own / ".config/kritarc").read_text() == "[python]\nenable_brushwire=true\n"
    settings = own / ".local/share/brushwire/plugins/krita/settings.json"
    assert json.loads(settings.read_text()) == {"server_command": "/opt/bin/brushwire"}
    assert not (home / ".config/kritarc").exists()


@posix
@pytest.mark.parametrize("named", [False, True])
def test_the_docker_is_put_into_kritas_flatpak_which_reaches_the_server_from_its_sandbox(home, named):
    sandbox = home / ".var/app/org.kde.krita"
    (sandbox / "config").mkdir(parents=True)
    (sandbox / "data/krita").mkdir(parents=True)
    (sandbox / "config/kritarc").write_text(_RC)
    log = home / "asked"
    (home / "bin").mkdir()
    (home / "bin/flatpak").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (home / "bin/flatpak").chmod(0o755)
    [made] = install("krita", places("krita", sandbox / "data/krita" if named else None, home), "/opt/bin/brushwire")
    assert made.where == str(sandbox / "data/krita/pykrita/brushwire")
    assert _is_whole(sandbox / "data/krita/pykrita")
    assert "enable_brushwire=true" in (sandbox / "config/kritarc").read_text()
    settings = sandbox / "data/brushwire/plugins/krita/settings.json"
    assert json.loads(settings.read_text()) == {"start_server": False}
    assert log.read_text().split() == [
        "override", "--user", "--filesystem=xdg-run/brushwire", "--share=network", "--device=shm", "org.kde.krita",
    ]  # fmt: skip
    assert not (home / ".config/kritarc").exists()


@posix
def test_a_krita_of_each_sort_is_found_beside_the_other(home):
    (home / ".local/share/krita").mkdir(parents=True)
    (home / ".var/app/org.kde.krita").mkdir(parents=True)
    found = places("krita", home=home)
    assert [str(place.folder.relative_to(home)) for place in found] == [
        ".local/share/krita", ".var/app/org.kde.krita/data/krita",
    ]  # fmt: skip
    assert [place.flatpak for place in found] == [False, True]


@posix
def test_the_command_line_installs_into_a_named_folder(home):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for command in ("server.cli plugins install", "plugins.install"):
        done = subprocess.run(
            [sys.executable, "-m", *command.split(), "gimp", "--folder", str(home / "profile")],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Restart GIMP" in done.stdout
    assert (home / "profile/plug-ins/brushwire/brushwire.py").is_file()


@posix
def test_the_command_line_exits_with_1_where_it_cannot(home):
    done = subprocess.run(
        [sys.executable, "-m", "plugins.install", "blender"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 1
    assert "No blender was found." in done.stderr


def test_every_archive_has_a_layout_and_a_folder_of_its_own():
    assert set(pack.LAYOUTS) == {"gimp", "krita", "blender", "photoshop"}
