"""The plug-in in real GIMP, without a window: pixels, procedures, and what goes wrong."""

from __future__ import annotations

import hashlib
import re
import time

import numpy as np
import pytest

from bridge_protocol.client import BridgeClient
from tests.hosts import hosts
from tests.hosts.gimp_host import PROGRAM, GimpHost

pytestmark = [
    pytest.mark.skipif(bool(hosts.missing(PROGRAM)), reason=hosts.missing(PROGRAM)),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def gimp(shared_folder, small_server):
    return GimpHost(shared_folder / "gimp", small_server.settings.runtime)


_ALONE = """
import runpy, sys
sys.path.append("/usr/lib/python3/dist-packages/")  # where gi lies
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
except SystemExit:
    pass
import brushwire_plugin.gimp.window, brushwire_plugin.gimp.dialog, brushwire_plugin.gimp.procedures
allowed = (sys.argv[0], sys.argv[2], "/usr/lib/python3.13/", "/usr/lib/python3/dist-packages/gi/")
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
print("outside:", sorted(file for file in files if file and not file.startswith(allowed)))
"""


def test_the_folder_needs_nothing_but_the_standard_library_and_gi(gimp):
    script = gimp.folder / "alone.py"
    script.write_text(_ALONE)
    arguments = ("-S", "-I", script, gimp.plugin / "brushwire.py", str(gimp.plugin))
    done = hosts.run("python3", *arguments, env=hosts.environment(gimp.folder))
    assert "outside: []" in done.stdout, done.stdout


def test_a_ramp_as_a_selection_arrives_byte_equal(gimp):
    assert gimp.console("pixels.ramp") == [True, [1, 0, 255, 4]]


def test_a_round_trip_is_bit_exact_in_every_depth(gimp):
    found = gimp.console("pixels.round_trips")
    for name, (dtype, equal, worst) in found.items():
        assert dtype == {"U8_NON": "uint8", "U16_NO": "uint16"}.get(name[:6], "float32"), name
        # Floats that are no sRGB, or no colour, are converted and back: GEGL's single precision.
        converted = name in ("FLOAT_NON_LINEAR grey", "FLOAT_LINEAR colour", "FLOAT_LINEAR grey")
        assert equal or (converted and worst <= 2e-6), (name, worst)


def test_layers_that_begin_outside_of_the_image_are_read_and_written_where_they_are(gimp):
    assert gimp.console("pixels.offsets") == [True, True, True, [-7, 75, True]]


#: Linear light of AdobeRGB (1998) in sRGB: both have the same white, D65.
_ADOBE_TO_SRGB = np.array([[1.39835574, -0.39835574, 0], [0, 1, 0], [0, -0.04293803, 1.04293803]])


def test_a_document_in_another_colour_space_comes_back_as_it_was(gimp):
    found = gimp.console("pixels.colour_managed", profile="/usr/share/color/icc/krita/ClayRGB-elle-V2-g22.icc")
    print("the largest differences, there and back:", {precision: one["worst"] for precision, one in found.items()})
    for precision, one in found.items():
        assert one["dtype"] == "float32"
        assert one["converted"], "the profile was not looked at"
        assert one["worst"] <= {"U8_NON_LINEAR": 0}.get(precision, 1 / 2048), precision
        full = {"U8": (np.uint8, 255), "U1": (np.uint16, 65535), "FL": (np.float32, 1)}[precision[:2]]
        own, read = (np.frombuffer(bytes.fromhex(one[name]), dtype).reshape(-1, 4)[:, :3] for name, dtype in
                     {"own": full[0], "read": np.float32}.items())  # fmt: skip
        light = own / full[1] if "FLOAT_LINEAR" in precision else (own / full[1]) ** (563 / 256)
        expected = light @ _ADOBE_TO_SRGB.T
        inside = ((expected > 0) & (expected < 1)).all(1)
        assert inside.mean() > 0.3
        curved = np.where(expected <= 0.0031308, expected * 12.92, 1.055 * np.abs(expected) ** (1 / 2.4) - 0.055)
        assert np.abs(read - curved)[inside].max() < 1 / 1024, precision


def test_what_cannot_be_done_is_told_with_a_remedy(gimp):
    found = gimp.console("procedures.refused")
    assert "Nothing is selected. Select what is to be painted." in found["fill"]
    assert "indexed colours" in found["indexed"]
    assert "Image → Mode → RGB" in found["indexed"]
    assert found["layers"] == 1
    assert "not painted by Brushwire" in found["again"]
    assert "one side at least" in found["extend"]
    assert "steps is 1000; it must be a whole number from 1 to 150" in found["steps"]
    assert "options is" in found["json"]
    assert "a map of fields" in found["list"]
    assert "loras[0].model is" in found["loras"]
    assert "loras is 3; it must be a list" in found["many"]
    assert "options.stepz is 3; it must be left out: this server's Generate has no such field" in found["unknown"]
    assert "No image is open. Open the picture first." in found["no image"]
    assert "Name a file." in found["no file"]


def _scheme(gimp, words):
    """Run words of Script-Fu as GIMP's --batch does: the exit status, and all that was printed."""
    interpreter = ("--batch-interpreter", "plug-in-script-fu-eval")
    environment = hosts.environment(gimp.folder, **gimp.more)
    done = hosts.run(PROGRAM, "-i", "-d", "-f", *interpreter, "-b", words, "--quit", env=environment)
    return done.returncode, done.stdout


def test_a_batch_script_in_scheme_paints_or_ends_with_the_sentence(gimp):
    call = '(brushwire-generate #:run-mode RUN-NONINTERACTIVE #:prompt "a boat" #:steps 1 #:width 72 #:height 64 '
    painted = f"(car {call} #:seed 7))"
    status, said = _scheme(gimp, f"(gimp-message (number->string (car (gimp-image-get-width {painted}))))")
    assert status == 0, said
    assert "script-fu-Warning: 72" in said
    status, said = _scheme(gimp, call + '#:options "{steps")')
    assert status != 0
    assert "brushwire-generate failed on invalid input arguments: options is '{steps'; it must be JSON" in said
    assert "Write it like" in said


def test_words_become_a_layer_of_the_images_size_or_a_new_image(gimp):
    found = gimp.console("procedures.generates")
    assert found["whole"][:4] == [100, 70, 0, 0]
    painted = np.random.default_rng(7).integers(0, 256, (72, 104, 3), np.uint8)[:70, :100]
    assert found["whole"][4] == hashlib.sha256(painted.tobytes()).hexdigest()
    assert found["part"] == [70, 40, 10, 20, ["Image 7", "Image 8"], 3]
    assert found["alone"][:4] == [72, 64, 1, "Generated: a boat"]


def test_a_transform_is_one_new_layer_with_the_servers_pixels_in_every_depth(gimp):
    for precision, found in gimp.console("procedures.transforms").items():
        assert found["layers"] == ["Transformed: a boat", "painted by hand"]
        assert found["same image"]
        assert found["old"]
        dtype = {"U8": np.uint8, "U1": np.uint16, "FL": np.float32}[precision[:2]]
        given, made = (np.frombuffer(bytes.fromhex(found[name]), dtype) for name in ("input", "output"))
        expected = given * np.float32(0.5) if dtype == np.float32 else np.iinfo(dtype).max - given
        assert np.array_equal(made, expected), precision
        assert found["settings"]["values"] == {"prompt": "a boat", "steps": 1, "seed": 7}


def test_settings_stay_on_the_layer_through_a_save_and_a_load(gimp, shared_folder):
    assert gimp.console("procedures.again", path=str(shared_folder / "again.xcf")) == [True, True, "a boat"]


def test_a_killed_plug_in_frees_its_job_at_once_and_leaves_the_image_alone(gimp, small_server, shared_folder):
    process, report = gimp.start_console("troubles.killed", gate=str(shared_folder / "never"))
    try:
        with BridgeClient("test", runtime=small_server.settings.runtime) as client:
            hosts.wait_until(lambda: client.query("status")["running"], 60, "the job is not painted")
            gimp.kill_plug_in()
            began = time.monotonic()
            hosts.wait_until(lambda: not client.query("status")["running"], 60, "the job goes on")
            freed = time.monotonic() - began
        assert hosts.report_of(report, process, 120)["value"] == [True, True]
    finally:
        hosts.kill(process)
    print(f"freed after {freed:.2f} s")
    assert freed < small_server.settings.grace + 10  # far below the two minutes of a missed ping


def test_a_result_whose_image_was_closed_stays_with_the_server_and_is_inserted_later(gimp, small_server, shared_folder):
    found = gimp.console("troubles.image_closed", gate=str(shared_folder / "closed"))
    assert "was closed while it was being painted" in found["told"]
    assert found["later"] == [64, 2]
    with BridgeClient("test", runtime=small_server.settings.runtime) as client:
        assert not any(job["id"] == found["job"] for job in client.query("jobs"))


def test_a_result_whose_layer_was_deleted_comes_as_a_layer_of_its_own(gimp, shared_folder):
    assert len(gimp.console("troubles.layer_deleted", gate=str(shared_folder / "deleted"))) == 1


def test_a_server_that_is_killed_and_started_again_brings_its_result(gimp, small_server, shared_folder):
    gate = shared_folder / "outlasts"
    process, report = gimp.start_console("troubles.outlasts", gate=str(gate))
    try:
        with BridgeClient("test", runtime=small_server.settings.runtime) as client:
            hosts.wait_until(lambda: client.query("status")["running"], 60, "the job is not painted")
        small_server.kill()
        gate.touch()
        small_server.start()
        assert hosts.report_of(report, process, 120) == {"value": 2}
    finally:
        hosts.kill(process)


def test_without_a_server_a_sentence_comes_and_no_crash(gimp, shared_folder, monkeypatch):
    (shared_folder / "empty").mkdir(mode=0o700)
    monkeypatch.setitem(gimp.more, "BRUSHWIRE_RUNTIME", str(shared_folder / "empty"))
    assert "No server is running. Start one with `brushwire serve`." in gimp.console("troubles.without_server")


#: What GIMP itself writes in each run, and what the test and the script write of it.
_GIMPS_OWN = re.compile(r"(profile/(\w+rc|\w+\.xml|\.goutputstream-\w+)|home/\..*|gimp\.log|report-.*|arguments-.*)")


def test_nothing_is_written_but_memory_while_pictures_go_there_and_back(gimp):
    """The kernel tells of every file below the profile, the home, the temporary folder and the plug-in's own."""
    gimp.console("pixels.ramp")  # a first run makes GIMP's folders
    with hosts.watched(gimp.folder) as seen:
        gimp.console("procedures.transforms")
    print("seen:", seen())
    assert [path for path in seen() if not _GIMPS_OWN.fullmatch(path)] == []
