"""The command line as its users see it: output, files and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from bridge_protocol import jobs
from bridge_protocol.records import InvalidValue
from server import cli, options, pictures
from server.engine.catalog import Catalog
from server.settings import Settings
from tests.server import command
from tests.server.process import ServerProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "run").mkdir(mode=0o700)
    settings = Settings(data=folder / "data", runtime=folder / "run", painter="tests.server.small_painter:make")
    process = ServerProcess(settings, folder).start()
    yield process
    process.stop()


@pytest.fixture
def brushwire(server_process, tmp_path):
    """Runs the command; a server with the small painter is there for it."""
    return partial(command.brushwire, tmp_path, server_process.settings.runtime)


def test_a_picture_is_painted_and_saved_and_none_is_overwritten(brushwire, tmp_path):
    arguments = ("generate", "a boat", "--width", 64, "--height", 72, "--seed", 5, "--steps", 1, "--out", "made")
    first, second = brushwire(*arguments), brushwire(*arguments)
    names = [Path(done.stdout.strip()).name for done in (first, second)]
    assert names == ["image-5.png", "image-5-2.png"]
    assert Image.open(tmp_path / "made" / names[0]).size == (64, 72)


def test_a_picture_from_a_file_goes_in_and_out(brushwire, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    done = brushwire("generate", "--image", "in.png", "--steps", 1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / done.stdout.strip())), 255 - pixels)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--steps", "400"), ["steps is 400", "from 1 to 150", "Set steps"]),
        (("--steps", "many"), ["steps is 'many'", "from 1 to 150"]),
        (("--width", "100"), ["width is 100", "in steps of 8"]),
        (("--sampler", "Eulr"), ["sampler is 'Eulr'", "'Euler a'"]),
        (("--image", "not-there.png"), ["image is 'not-there.png'", "PNG, JPEG"]),
        (("--control", "kind=dept,image=in.png"), ["controls[0].kind is 'dept'", "'depth'"]),
        (("--control", "depth"), ["controls[0] is 'depth'", "key=value"]),
        (("--lora", "model=x,weight=9"), ["loras[0].weight is 9", "from -4 to 4"]),
    ],
)
def test_a_wrong_value_exits_with_2_and_field_value_range_and_remedy(arguments, said, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["brushwire", "generate", *arguments])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 2
    printed = " ".join(capsys.readouterr().err.split())
    for words in said:
        assert words in printed


def test_a_detached_job_is_listed_and_fetched_once(brushwire, tmp_path):
    said = brushwire("generate", "later", "--width", 64, "--height", 64, "--steps", 1, "--detach").stderr
    job_id = said.split()[-1]
    assert job_id in brushwire("jobs").stdout
    path = brushwire("jobs", "fetch", job_id, "--out", "fetched").stdout.strip()
    assert (tmp_path / path).exists()
    assert job_id not in brushwire("jobs").stdout
    assert "no job" in brushwire("jobs", "fetch", job_id, code=1).stderr


def test_the_models_ids_are_whole_in_a_narrow_terminal(brushwire, tmp_path):
    said = brushwire("models", "--models", tmp_path).stdout
    assert [model.id for model in Catalog([tmp_path]).models() if model.id not in said] == []


def test_a_failed_job_exits_with_1_and_its_remedy(brushwire):
    done = brushwire("generate", "memory", "--width", 64, "--height", 64, code=1)
    assert "It does not fit." in done.stderr
    assert "Take 512×512." in done.stderr


def test_a_second_server_in_the_same_folder_is_refused_with_a_remedy(brushwire, server_process):
    assert "--data" in brushwire("serve", "--data", server_process.settings.data, code=1).stderr


def test_listening_to_other_machines_without_tls_is_refused_with_a_remedy(brushwire, tmp_path):
    done = brushwire("serve", "--host", "0.0.0.0", "--data", tmp_path / "other", code=1)
    assert "--certificate" in done.stderr


def test_a_terminated_server_ends_with_its_worker_and_withdraws_its_address(settings, tmp_path):
    process = ServerProcess(settings, tmp_path).start()
    family = psutil.Process(process.process.pid).children(recursive=True)
    process.stop()
    assert process.process.returncode == 0
    _, alive = psutil.wait_procs(family, 10)
    assert not alive
    assert not (settings.runtime / "server.json").exists()


def test_help_is_quick_because_nothing_heavy_is_imported():
    script = "import sys; import server.cli; sys.exit(any(name in sys.modules for name in ('torch', 'diffusers')))"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("kind", jobs.KINDS)
def test_every_field_of_a_job_is_an_option(kind):
    names = {parameter.name for parameter in options.parameters(kind)}
    assert names == {field["name"] for field in jobs.schema()[kind]["fields"]}


def test_a_list_of_names_is_given_one_by_one():
    job = options.job_of("Texture", {"prompt": "moss", "maps": ["normal", "height"]})
    assert job.maps == ["normal", "height"]
    with pytest.raises(InvalidValue, match=r"maps\[0\] is 'colour'"):
        options.job_of("Texture", {"maps": ["colour"]})


def test_a_whole_file_that_a_job_made_is_written_with_its_suffix_and_nothing_else(tmp_path):
    content = np.frombuffer(b"glTF and so on", np.uint8)
    assert pictures.write_file(content, tmp_path, "material", ".glb").read_bytes() == content.tobytes()
    with pytest.raises(InvalidValue):
        pictures.write_file(content, tmp_path, "material", "/../../evil")


def test_an_option_in_every_form_becomes_its_field(tmp_path):
    np.save(tmp_path / "a,depth.npy", np.ones((4, 5)))
    job = options.job_of(
        "Generate",
        {
            "steps": "7", "guidance_scale": "3.5", "seamless": "both", "width": "64",
            "controls": [f"kind=depth,image={tmp_path / 'a,depth.npy'},weight=0.5"], "loras": ["model=x"],
        },
    )  # fmt: skip
    assert (job.steps, job.guidance_scale, job.seamless, job.width) == (7, 3.5, "both", 64)
    assert (job.controls[0].image.ref.dtype, job.controls[0].image.ref.shape) == ("float32", (4, 5))
    assert (job.controls[0].weight, job.loras[0].weight) == (0.5, 1.0)


def test_arrays_that_a_png_would_spoil_are_saved_whole(tmp_path):
    array = np.random.default_rng(1).random((4, 5, 3)).astype(np.float32)
    path = pictures.write(array, tmp_path, "picture")
    assert np.array_equal(np.load(path), array)


def test_transparency_is_kept(tmp_path):
    Image.new("RGBA", (3, 2), (1, 2, 3, 4)).save(tmp_path / "a.png")
    Image.new("LA", (3, 2), (1, 4)).save(tmp_path / "b.png")
    assert pictures.read_picture(tmp_path / "a.png", "image").shape == (2, 3, 4)
    assert pictures.read_picture(tmp_path / "b.png", "image").shape == (2, 3, 4)
    assert pictures.read_mask(tmp_path / "a.png", "mask").shape == (2, 3)


def test_a_picture_carries_its_job_and_is_painted_again_from_it(brushwire, tmp_path):
    """To the bit, the third picture of a batch alone, with the words that were drawn for it."""
    brushwire("generate", "a {boat|house}", "--batch", 3, "--steps", 2, "--width", 72, "--out", "made")
    third = sorted((tmp_path / "made").iterdir(), key=lambda path: json.loads(pictures_text(path))["picture"]["index"])[
        2
    ]
    told = json.loads(brushwire("inspect", third).stdout)
    assert told["kind"] == "Generate"
    assert told["job"]["prompt"] == "a {boat|house}"
    assert told["picture"]["seed"] == told["job"]["seed"] + 2
    (again,) = [Path(line) for line in brushwire("generate", "--like", third, "--out", "again").stdout.split()]
    assert np.array_equal(np.asarray(Image.open(tmp_path / again)), np.asarray(Image.open(third)))
    assert json.loads(pictures_text(tmp_path / again)) == told
    (larger,) = brushwire("generate", "--like", third, "--width", 128, "--out", "larger").stdout.split()
    assert Image.open(tmp_path / larger).size == (128, 64)


def pictures_text(path):
    with Image.open(path) as image:
        return image.text["brushwire"]


def test_a_picture_from_a_picture_asks_for_it_again(brushwire, tmp_path):
    Image.fromarray(np.full((64, 64, 3), 9, np.uint8)).save(tmp_path / "in.png")
    (made,) = brushwire("generate", "--image", "in.png", "--steps", 1).stdout.split()
    assert "image is" in brushwire("generate", "--like", made, code=2).stderr
    (again,) = brushwire("generate", "--like", made, "--image", "in.png").stdout.split()
    assert np.array_equal(np.asarray(Image.open(tmp_path / again)), np.asarray(Image.open(tmp_path / made)))


def test_a_picture_without_a_job_is_told_so(brushwire, tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "bare.png")
    assert "carries its job" in brushwire("inspect", "bare.png", code=2).stderr
    assert "like is" in brushwire("generate", "--like", "bare.png", code=2).stderr


def test_frames_and_grids_are_saved_by_their_place(brushwire, tmp_path):
    for number in range(2):
        Image.fromarray(np.full((64, 64, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    done = brushwire("frames", "a", "--frame", "0.png", "--frame", "1.png", "--keyframe", "frame=1,prompt=b, c")
    assert [Path(line).name for line in done.stdout.split()] == ["frame-0000.png", "frame-0001.png"]
    done = brushwire("grid", "a", "--x", "steps=1,2", "--y", "prompt=a, b; c")
    assert [Path(line).name for line in done.stdout.split()] == [
        "grid.png", "cell-x0-y0.png", "cell-x1-y0.png", "cell-x0-y1.png", "cell-x1-y1.png"
    ]  # fmt: skip
    assert json.loads(pictures_text(tmp_path / "grid.png"))["kind"] == "Grid"
    assert "x is 'steps'" in brushwire("grid", "a", "--x", "steps", code=2).stderr
