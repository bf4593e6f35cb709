"""The extension as an artist gets it, in real Blender, with a real server: installed from its archive, and used."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth3d.depth import depth_to_controlnet
from depth3d.normals import normals_to_controlnet
from depth3d.pose import Pose, draw_openpose
from tests.hosts import hosts
from tests.hosts.hosts import changed_paths

HERE = Path(__file__).parent


def keep(path, name, box=None):
    """Where the documentation's pictures are wanted (BRUSHWIRE_PICTURES names the folder), keep this one."""
    folder = os.environ.get("BRUSHWIRE_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").crop(box).save(Path(folder) / name, optimize=True)


@pytest.fixture(scope="module")
def report(blender):
    out = blender.folder / "out"
    out.mkdir()
    blender("--python-exit-code", "9", "-P", HERE / "blender_jobs.py", "--", out)
    return {**json.loads((out / "report.json").read_text()), "out": out}


def test_a_mesh_is_painted_on_a_new_layer_and_image_and_its_own_things_stay(report):
    assert report["paint_mesh"]["ended"] == ["FINISHED"]
    assert report["layers"] == ["UVMap", "Brushwire"]
    assert report["active_layer"] == "UVMap"
    assert report["materials"] == [["Cube painted"], ["Own"]]
    assert report["views"] == [f"Cube view {i}" for i in (1, 2, 3, 4)]
    assert changed_paths(report["paint_mesh"]) <= {
        "images", "materials", "meshes[Cube].uv_layers", "objects[Cube].active_material",
        "objects[Cube].material_slots[0].link", "objects[Cube].material_slots[0].material",
        "objects[Cube].material_slots[0].name",
    }  # fmt: skip
    texture = np.load(report["out"] / "painted.npz")["texture"]
    assert 0.2 < (texture[..., 3] > 0).mean() < 0.95


def test_an_edited_view_is_baked_again_without_painting(report):
    assert report["rebake"]["ended"] == ["FINISHED"]
    assert report["green_before"] == 0
    assert report["green_after"] > 50
    assert "materials" not in changed_paths(report["rebake"])


def test_pictures_have_the_cameras_size_and_start_from_pictures(report):
    assert report["picture_size"] == [160, 128]
    assert report["inverted"]


def test_frames_are_painted_one_by_one_and_those_that_are_there_stay(report):
    assert report["frames"]["ended"] == ["FINISHED"]
    assert report["frame_files"] == ["frame_0001.png", "frame_0002.png", "frame_0003.png"]
    assert report["frame_kept"]
    assert report["frame_after"] == 7
    assert changed_paths(report["frames"]) == {"images", "node_groups"}


def test_maps_are_saved_as_kritas_docker_opens_them(report):
    maps = np.load(report["out"] / "maps.brushwire.npz")
    assert maps["depth"].dtype == np.float32
    assert maps["depth"].shape == (128, 160)
    assert maps["normal"].shape == (128, 160, 3)
    assert maps["albedo"].shape == (128, 160, 4)
    assert 0 <= maps["mist"].min() < maps["mist"].max() <= 1
    assert json.loads(bytes(maps["camera"]))["width"] == 160
    assert report["save_maps"]["changed"] == []


def test_a_mesh_of_the_views_depth_lies_where_the_camera_saw_it(report):
    assert report["mesh"]["ended"] == ["FINISHED"]
    count, off = report["mesh_off"]
    assert count > 200
    assert off < 1e-4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("paint_camera", "No mesh is active"),
        ("rebake_nothing", "not painted from views"),
        ("no_picture", "No picture is chosen"),
        ("no_camera", "no camera"),
        ("broken", "Painting failed"),
        ("injected", "ZeroDivisionError"),
        ("cancelled", ""),
    ],
)
def test_what_is_refused_fails_or_is_cancelled_leaves_the_scene_as_it_was(report, name, sentence):
    assert report[name]["ended"] != ["FINISHED"]
    assert sentence in report[name]["said"]
    assert report[name]["changed"] == []


def test_rigs_stand_where_they_should_and_coverage_is_told(report):
    assert report["rigs"] == {"ORBIT": 4, "TURNTABLE": 4, "FAN": 4, "HEMISPHERE": 4, "CUBE": 6}
    count, share = report["coverage"]
    assert 1 <= count <= 4
    assert share >= 0.8
    assert report["path"]
    assert report["mannequin"]


def test_a_file_is_painted_from_the_command_line(blender, report):
    file = report["out"] / "painted.blend"
    script = "from bl_ext.user_default.brushwire import main; main('paint_mesh', object='Cube', prompt='moss', seed=3)"
    assert "Finished" in blender(file, "--python-expr", script)
    wrong = script.replace("'Cube'", "'Nothing'")
    assert "There is no object Nothing" in blender(file, "--python-expr", wrong, expect=1)


def test_the_command_line_works_on_a_file_and_says_what_is_wrong(brushwire, report):
    out = report["out"] / "again.blend"
    done = brushwire(
        "paint_mesh", report["out"] / "painted.blend", "--object", "Cube", "--prompt", "moss", "--seed", 3,
        "--set", "rig_size=[64, 64]", "--set", "rig_count=2", "--set", "follow_depth=0", "--set", "steps=2",
        "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.exists()
    wrong = brushwire("paint_mesh", report["out"] / "painted.blend", "--set", "colour=red")
    assert wrong.returncode == 1
    assert "colour is no field of this" in wrong.stderr + wrong.stdout


@pytest.fixture(scope="module")
def tutorial(blender, starter_server):
    out = blender.folder / "tutorial"
    out.mkdir()
    runtime = str(starter_server.settings.runtime)
    blender("--python-exit-code", "9", "-P", HERE / "blender_tutorial.py", "--", out, BRUSHWIRE_RUNTIME=runtime)
    return {**json.loads((out / "report.json").read_text()), "out": out}


def test_the_starter_model_paints_a_mesh_from_as_many_cameras_as_it_needs(tutorial):
    assert tutorial["views"] == ["FINISHED"]
    assert 2 <= tutorial["cameras"] <= 8
    assert tutorial["painted"] > 0.3
    picture = np.asarray(Image.open(tutorial["out"] / "painted.png").convert("RGB")).astype(float)
    middle = picture[100:220, 100:220]
    assert middle.std() > 15
    keep(tutorial["out"] / "painted.png", "blender-painted.png")


def test_the_starter_model_makes_a_whole_material_and_one_map_anew(tutorial):
    assert tutorial["material"] == ["FINISHED"]
    every = ["albedo", "ambient_occlusion", "height", "metallic", "normal", "roughness"]
    assert tutorial["maps"] == every
    assert tutorial["spaces"] == {name: "sRGB" if name == "albedo" else "Non-Color" for name in every}
    assert tutorial["linked"] == ["Base Color", "Metallic", "Normal", "Roughness"]
    assert tutorial["renewed"] == ["roughness"]
    first, second = tutorial["seeds"]
    assert first == 2
    assert second != first
    keep(tutorial["out"] / "material.png", "blender-material.png")


def test_the_tutorials_maps_show_what_they_should(tutorial):
    maps = np.load(tutorial["out"] / "maps.npz")
    pose = maps["pose"] / (256, 256, 1)
    drawn = draw_openpose(Pose(pose[:18], pose[18:39], pose[39:60], pose[60:130]), 256, 256)
    parts = [depth_to_controlnet(maps["depth"]), normals_to_controlnet(maps["normal"]), drawn]
    sheet = np.concatenate([*parts, maps["edges"], maps["segments"]], axis=1)
    Image.fromarray(sheet).save(tutorial["out"] / "maps.png")
    keep(tutorial["out"] / "maps.png", "blender-maps.png")
    assert drawn.any()
    body = np.isfinite(maps["depth"]) & (drawn.any(axis=2))
    assert body.sum() > 0.9 * drawn.any(axis=2).sum()


@pytest.fixture(scope="module")
def events(blender, small_server):
    """What happens in Blender's window while the test presses Esc and kills the server."""
    if hosts.BPY:
        pytest.skip("the bpy wheel has no window")
    out = blender.folder / "window"
    out.mkdir()
    log = out / "events"

    def event(name):
        def there():
            return any(json.loads(line)["event"] in (name, "broken") for line in lines())

        def lines():
            return log.read_text().splitlines() if log.exists() else []

        hosts.wait_until(there, 90, f"{name} has not come; what came: {lines()}")
        found = [json.loads(line) for line in lines()]
        assert found[-1]["event"] != "broken", found[-1]
        return next(one for one in found if one["event"] == name)

    # What the artist says is the server's command: it tells with what it was run, and the test starts the server.
    command = out / "brushwire.sh"
    command.write_text(f'#!/bin/sh\necho "$*" > "{out}/part" && mv "{out}/part" "{out}/asked" && exec sleep 20\n')
    command.chmod(0o755)
    with hosts.display(73, out) as screen:
        env = {name: value for name, value in blender.env.items() if name.startswith(("B", "X"))}
        with (out / "blender.log").open("wb") as output:
            process = screen.start(
                "blender", "--window-geometry", "0", "0", "1280", "900", "-P", HERE / "blender_window.py", "--", out,
                env=env, stdout=output, stderr=output,
            )  # fmt: skip
            try:
                seen = {name: event(name) for name in ("connected", "painted", "pictured", "stalled")}
                screen.screenshot(out / "panel.png")
                keep(out / "panel.png", "blender-panel.png", (774, 82, 1056, 900))
                assert "Error" not in (out / "blender.log").read_text("utf-8", "replace")
                screen.xdotool("mousemove", 500, 400)
                seen["pressed"] = time.time()
                screen.xdotool("key", "Escape")
                seen["escape"], seen["cancelling"], seen["ended"] = event("escape"), event("cancelling"), event("ended")
                event("frames")
                screen.xdotool("key", "Escape")
                seen["frames_ended"], seen["failed"] = event("frames_ended"), event("failed")
                screen.screenshot(out / "remedy.png")
                keep(out / "remedy.png", "blender-remedy.png", (774, 82, 1056, 600))
                assert "Traceback" not in (out / "blender.log").read_text("utf-8", "replace")
                (out / "again").touch()
                seen["tried_again"] = event("tried_again")
                event("kill")
                seen["killed"] = time.time()
                small_server.kill()
                seen["lost"], seen["located"] = event("lost"), event("located")
                hosts.wait_until((out / "asked").exists, 30, "the command that was located was not run")
                (out / "later").touch()
                small_server.start()
                seen["back"], seen["buttons"] = event("back"), event("buttons")
                process.wait(120)
            finally:
                hosts.kill(process)
    return {**seen, "out": out}


def test_the_panel_is_drawn_and_a_job_runs_in_the_window(events):
    assert events["painted"]["stage"] == "finished"
    assert events["painted"]["placed"]
    assert "Cube painted" in events["painted"]["images"]


def test_esc_is_heard_within_a_quarter_of_a_second_and_the_interface_is_never_kept(events):
    assert events["escape"]["at"] - events["pressed"] < 30  # the start of what presses the key is in it
    assert events["cancelling"]["at"] - events["escape"]["at"] < 0.25
    assert events["ended"]["stage"] == "cancelled"
    ticks = events["ended"]["ticks"]
    assert ticks[int(0.95 * len(ticks))] < 0.016


def test_in_the_window_a_job_that_is_ended_or_fails_leaves_the_scene_as_it_was(events):
    assert events["ended"]["changed"] == []
    assert events["frames_ended"]["stages"] == ["cancelled", "cancelled"]
    assert events["frames_ended"]["changed"] == []
    assert events["failed"]["changed"] == []


def test_in_the_window_a_picture_of_the_view_adds_an_image_and_changes_nothing(events):
    assert events["pictured"]["stage"] == "finished"
    assert changed_paths(events["pictured"]) == {"images"}


def test_the_history_has_thumbnails_to_draw(events):
    icons = events["pictured"]["icons"]
    assert len(icons) == 2
    assert 0 not in icons


def test_a_job_that_failed_is_asked_for_again_by_a_button(events):
    assert events["failed"]["stage"] == "failed"
    assert events["failed"]["offered"] == ["brushwire.try_again"]
    assert events["tried_again"] == {**events["tried_again"], "stage": "finished", "gone": True}


def test_a_killed_server_is_told_within_two_seconds_and_the_job_comes_back(events):
    assert events["lost"]["at"] - events["killed"] < 2
    assert events["lost"]["sentence"]
    assert events["lost"]["remedy"]
    assert "brushwire.start_server" in events["lost"]["offered"]
    assert events["back"]["stage"] == "finished"


def test_the_button_that_locates_the_server_runs_it_and_keeps_where_it_is(events):
    assert events["located"]["command"] == str(events["out"] / "brushwire.sh")
    assert (events["out"] / "asked").read_text().strip() == "serve"


def test_settings_of_an_earlier_job_come_back_and_a_job_ends_by_its_cross(events):
    assert events["buttons"]["used"] == ["rusty iron", 40]
    assert events["buttons"]["stage"] == "cancelled"
    assert events["buttons"]["changed"] == []


@pytest.fixture(scope="module")
def followed(blender, starter_server):
    out = blender.folder / "controls"
    out.mkdir()
    runtime = str(starter_server.settings.runtime)
    blender("--python-exit-code", "9", "-P", HERE / "blender_controls.py", "--", out, BRUSHWIRE_RUNTIME=runtime)
    return {**json.loads((out / "report.json").read_text()), "out": out}


def stands_out(picture, where):
    """How far the mean colour of a place is from that of what is around it."""
    picture = picture.astype(float)
    return np.linalg.norm(picture[where].mean(axis=0) - picture[~where].mean(axis=0))


def test_the_starter_model_paints_the_view_after_its_depth_normals_and_poses(followed):
    for name in ("depth", "normal", "both", "pose"):
        assert followed[name]["ended"] == ["FINISHED"]
        assert followed[name]["fallbacks"] == []
        assert changed_paths(followed[name]) == {"images"}  # nothing but the new picture
    view, person = (np.load(followed["out"] / f"{name}.npz") for name in ("view", "person"))
    for name in ("depth", "normal", "both"):
        assert stands_out(view[name], view["seen"]) > 1.3 * stands_out(view["nothing"], view["seen"])
    assert stands_out(person["pose"], person["seen"]) > 1.3 * stands_out(person["nothing"], person["seen"])


def test_a_model_that_is_not_there_is_replaced_by_the_servers_own_with_a_button(followed):
    assert "nothing" in followed["no_model"]
    assert followed["offered"] == ["brushwire.other_model"]
    assert followed["other_model"]["ended"] == ["FINISHED"]
    assert changed_paths(followed["other_model"]) == {"images"}


def test_the_starter_model_paints_a_mesh_after_its_depth_and_normals(followed):
    textures = np.load(followed["out"] / "mesh.npz")
    covered = textures["free"][..., 3] > 0
    for name in ("views_depth", "views_both", "views_grid"):
        assert followed[name]["ended"] == ["FINISHED"]
        assert followed[name]["fallbacks"] == []
        # The words and the seed are the same: what differs is what is followed; where the cameras see it is not.
        assert ((textures[name][..., 3] > 0) == covered).all()
        assert np.abs(textures[name].astype(float) - textures["free"])[covered].mean() > 5
