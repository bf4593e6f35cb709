"""Every procedure, and the studio under a virtual display, in real GIMP with the real engine and the starter model."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image

from server.engine import packages
from tests.hosts import hosts
from tests.hosts.gimp_host import PROGRAM, GimpHost
from tests.shipped import needs

pytestmark = [
    pytest.mark.skipif(bool(hosts.missing(PROGRAM)), reason=hosts.missing(PROGRAM)),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def screen(shared_folder):
    with hosts.display(71, shared_folder / "screen", "1690x745") as screen:
        yield screen


@pytest.fixture(scope="module")
def gimp(shared_folder, starter_server):
    return GimpHost(shared_folder / "gimp", starter_server.settings.runtime)


def test_the_studio_paints_fills_and_keeps_what_it_painted(gimp, screen, shared_folder):
    pictures = hosts.PICTURES / "gimp"
    process, report = gimp.start_window(
        screen, "window.studio", folder=str(shared_folder), words=["a red brick wall", "a blue sphere"],
        size=[256, 192], steps=8,
    )  # fmt: skip
    try:
        for name in ("connected", "painting", "finished", "undo"):
            ready = shared_folder / f"{name}.ready"
            hosts.wait_until(lambda ready=ready: ready.exists() or report.exists(), 300, f"{name} has not come")
            assert ready.exists(), hosts.report_of(report, process, 1)
            if name == "undo":
                screen.xdotool("windowfocus", "--sync", screen.window("GIMP$"), "key", "ctrl+z")
            else:
                screen.screenshot(pictures / f"{name}.png")
            (shared_folder / f"{name}.seen").touch()
        found = hosts.report_of(report, process, 300)
    finally:
        hosts.kill(process)
    assert "error" not in found, found["error"]
    found = found["value"]
    assert found["painting"] == ["painting", True]
    assert (found["stage"], found["fill"]) == ("finished", "finished")
    assert found["layers"] == ["Generated: a red brick wall", "painted by hand"]
    assert found["again"]["prompt"] == "a red brick wall"
    assert found["undone"], "one step of undo does not bring the image back"
    assert found["inserted"] == [True, 3]
    stage, told, placed, rescued = found["late"]
    assert (stage, placed, rescued) == ("finished", False, True)
    assert "was closed while it was being painted" in told
    shown = np.asarray(Image.open(pictures / "finished.png").convert("RGB"))
    assert shown.std() > 20


def test_a_procedure_from_the_menu_asks_and_paints(gimp, screen):
    words = "a green meadow"
    process, report = gimp.start_window(screen, "window.dialog", words=words, size=[256, 192], steps=8)
    try:
        window = screen.window("Brushwire: Transform")

        def drawn() -> bool:
            path = screen.screenshot(hosts.PICTURES / "gimp" / "dialog.png", window)
            return np.asarray(Image.open(path).convert("L")).std() > 10

        hosts.wait_until(drawn, 90, "the dialog stays empty")
        screen.xdotool("windowfocus", "--sync", window, "key", "alt+p")
        found = hosts.report_of(report, process, 240)
    finally:
        hosts.kill(process)
    assert found == {"value": [True, [f"Transformed: {words}", "painted by hand"]]}


def test_outside_of_the_selection_not_one_bit_changes_in_any_depth(gimp):
    for precision, found in gimp.console("procedures.fills", timeout=240).items():
        # GIMP blends floats in linear light and converts them for it: its own composite is good to 1e-6.
        assert found["outside"] or ("FLOAT" in precision and found["worst"] < 1e-6), precision
        assert found["transparent"], precision
        assert found["untouched"], precision
        assert found["changed"] > 0.9, precision
        assert found["layers"] == 2


def test_the_canvas_is_extended_and_what_was_there_stays_to_the_bit(gimp):
    assert gimp.console("procedures.extends", timeout=240) == {
        "size": [136, 80], "old layer": [32, 16], "new layer": [136, 80, 0, 0], "kept": True, "opaque": True,
    }  # fmt: skip


def test_materials_and_enlargements_become_layers_and_images(gimp, shared_folder):
    found = gimp.console("procedures.others", timeout=240, folder=str(shared_folder))

    def kept(name, width, height):
        data = (shared_folder / f"{name}.rgb").read_bytes()
        return np.frombuffer(data, np.uint8).reshape(height, width, 3).astype(float)

    width, maps, is_group = found["texture"]
    assert (width, is_group) == (128, True)
    assert {"Albedo", "Normal", "Height", "Roughness", "Metallic", "Ambient occlusion"} <= set(maps)
    assert found["from image"] == [96, 2]
    assert found["upscale"] == [192, 128, True]
    picture, larger = kept("picture", 96, 64), kept("larger", 192, 128)
    halved = larger.reshape(64, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(halved - picture).mean() < 3, "the enlargement is another picture"
    bricks, normal = kept("Albedo", 128, 128), kept("Normal", 128, 128)
    assert bricks.std() > 10
    seam = np.abs(bricks[:, 0] - bricks[:, -1]).mean()
    assert seam < 2 * np.abs(np.diff(bricks, axis=1)).mean() + 1, "a seam"
    assert np.abs(np.linalg.norm(normal / 127.5 - 1, axis=-1) - 1).mean() < 0.05, "normals have length 1"
    assert normal[..., 2].mean() > 180, "normals look at the viewer"
    material = kept("material", 96, 64)
    means = material.mean((0, 1)), picture.mean((0, 1))
    print("mean colours of the material and of the picture that it is made of:", *means)
    assert np.abs(means[0] - means[1]).max() < 24


@needs(packages.MEDIAPIPE)
def test_maps_of_a_real_person_become_layers_and_what_cannot_be_read_is_told_with_a_remedy(gimp, shared_folder):
    skimage = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert runs the models")
    picture = np.dstack([skimage.astronaut(), np.full((512, 512), 255, np.uint8)])
    (shared_folder / "astronaut.rgba").write_bytes(picture.tobytes())
    given = {"picture": str(shared_folder / "astronaut.rgba"), "size": [512, 512], "folder": str(shared_folder)}
    found = gimp.console("procedures.maps", timeout=240, **given)
    for name, title in {"none": "Canny", "edges": "Canny", "canny": "Canny", "pose": "Pose"}.items():
        assert found[name] == [f"{title} map", 512, 512, 0, 0]
    none, edges, canny, pose = (
        np.frombuffer((shared_folder / f"{name}.rgb").read_bytes(), np.uint8).reshape(512, 512, 3)
        for name in ("none", "edges", "canny", "pose")
    )
    assert np.array_equal(none, edges)
    assert np.array_equal(none, canny)
    assert set(np.unique(edges)) == {0, 255}
    assert 0.02 < (edges > 0).mean() < 0.3
    drawn = pose.any(-1)
    assert 0.005 < drawn.mean() < 0.1
    # The shoulders, an elbow, the nose and the eyes, placed by hand on the photograph.
    for x, y in ((95, 258), (318, 262), (50, 425), (224, 130), (204, 103), (248, 104)):
        assert drawn[max(0, y - 25) : y + 25, max(0, x - 25) : x + 25].any(), (x, y)
    assert len(np.unique(pose.reshape(-1, 3), axis=0)) > 6, "limbs have colours of their own"
    for name, repository in {"depth": "depth-anything/Depth-Anything-V2", "normal": "prs-eth/marigold-normals"}.items():
        assert "cannot be used yet" in found[name]
        assert f"Download {repository}" in found[name]
    assert "There is no detector 'palmistry'" in found["unknown"]
    assert "Take one of: depth, normal, edges" in found["unknown"]
    assert found["untouched"]


def test_a_layer_that_shows_depth_becomes_a_mesh_with_the_picture_below_it_as_its_texture(gimp, shared_folder):
    path = shared_folder / "mesh.glb"
    assert gimp.console("procedures.mesh", timeout=240, path=str(path))
    mesh = trimesh.load(path, force="mesh")
    assert len(mesh.faces) > 1000
    right = mesh.vertices[:, 0] > 0
    # The camera looks down -z: what is nearer has the larger z.
    assert mesh.vertices[right, 2].mean() > mesh.vertices[~right, 2].mean()
    colors = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    assert colors[0, 0, 2] > 200, "the sky is not at the top of the texture"
