"""Layers that steer, in real Krita: controls, exact maps, poses and regions; and what is read into them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.hosts.krita.docker import ask, mean


def test_a_depth_layer_becomes_a_mesh_in_a_file(krita, shared_folder):
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    path, mesh = shared_folder / "ball.brushwire.npz", shared_folder / "ball.glb"
    np.savez(path, depth=3 + np.hypot(x - 32, y - 32).astype(np.float32) / 64)
    krita.run(f"""
        from pathlib import Path
        new(64, 64); fill()
        d.menu.open_maps(Path({str(path)!r}))
        d.workspace.on_file = lambda name: Path({str(mesh)!r})
    """)
    ask(krita, "mesh")
    krita.until("d.workspace.slices.idle")
    assert mesh.read_bytes()[:4] == b"glTF"


def test_the_pictures_edges_become_a_control_layer(krita):
    krita.run("""
        new()
        square = bytearray(b"\\xff" * (4 * 256 * 256))
        for y in range(64, 192): square[4 * (256 * y + 64):4 * (256 * y + 192)] = bytes([0, 0, 0, 255]) * 128
        node = C.Canvas(doc).place(P.Picture(bytes(square), 256, 256, 4, "uint8"), 0, 0, "square")
    """)
    ask(krita, "annotate", detector="canny")
    krita.until("len(names()) == 3")
    assert krita.run("[c.kind for c in L.SteeringLayers(doc).controls]") == ["canny"]
    krita.run("data = bytes(doc.rootNode().childNodes()[-1].pixelData(0, 0, 256, 256))")
    found = krita.run("""
        [max(data[4 * (256 * 128 + x)] for x in range(*edge)) for edge in ((61, 67), (90, 160), (189, 195))]
    """)
    assert found == [255, 0, 255], "white lines where the square begins and ends, black between"
    krita.run("new()")


def test_a_region_has_words_of_its_own(krita):
    krita.run("""
        new()
        rgba = bytes([0, 0, 255, 255]) * (128 * 256)
        node = C.Canvas(doc).place(P.Picture(rgba, 128, 256, 4, "uint8"), 128, 0, "right")
        L.SteeringLayers(doc).set_region(L.RegionLayer(C.id_of(node), "blue", 1.5))
        d.steering.refresh()
    """)
    ask(krita, "generate", "red brick wall", seed=4, steps=8)
    krita.run("len(shown())")
    left, right = mean(krita, 0, 0, 128, 256), mean(krita, 128, 0, 128, 256)
    assert right[2] - left[2] > 20 or left[0] - right[0] > 20


def test_a_drawn_control_layer_travels_as_white_lines_on_black(krita):
    krita.run("""
        new()
        lines = bytearray(4 * 256 * 256)
        for x in range(256): lines[4 * (100 * 256 + x) + 3] = 255
        node = C.Canvas(doc).place(P.Picture(bytes(lines), 256, 256, 4, "uint8"), 0, 0, "lines")
        L.SteeringLayers(doc).set_control(L.ControlLayer(C.id_of(node), "scribble"))
        d.steering.refresh()
    """)
    ask(krita, "generate", "echo control")
    found = krita.run(
        "data = bytes(doc.rootNode().childNodes()[-1].pixelData(0, 0, 256, 256)); [data[4*100*256], data[0]]"
    )
    assert found == [255, 0]


def test_exact_depth_from_a_scene_arrives_as_float_and_keeps_its_camera(krita, shared_folder):
    depth = np.linspace(2.0, 9.0, 256 * 256, dtype=np.float32).reshape(256, 256)
    depth[:10] = np.inf
    camera = {"width": 256, "height": 256, "fx": 300.0, "fy": 300.0, "cx": 128.0, "cy": 128.0}
    path = shared_folder / "scene.brushwire.npz"
    np.savez(path, depth=depth, camera=np.frombuffer(json.dumps(camera).encode(), np.uint8))
    krita.run(f"new(depth='F32'); d.menu.open_maps(__import__('pathlib').Path({str(path)!r}))")
    krita.until("len(names()) == 2")
    exact = krita.run("""
        control = L.SteeringLayers(doc).controls[0]
        exact = d.workspace.exact(doc, control)
        [control.kind, exact.camera["fx"], exact.data.hex()[:16]]
    """)
    assert exact == ["depth", 300.0, depth.tobytes()[:8].hex()]
    layer = bytes(krita.run("list(bytes(doc.rootNode().childNodes()[-1].pixelData(0, 20, 1, 1)))"))
    assert layer[:4] == depth[20, 0].tobytes()
    ask(krita, "refine", "echo image")
    assert (
        krita.run("d.workspace._depth(C.Canvas(doc), L.SteeringLayers(doc), Bounds(0,0,256,256))['camera']['cx']")
        == 128
    )


def test_a_pose_is_moved_with_kritas_tools_and_travels_as_keypoints(krita, picture):
    krita.run("""
        new(512, 512)
        d.menu.add_pose()
        doc.waitForDone()
        layer = doc.rootNode().childNodes()[-1]
        import brushwire.krita.pose_layer as PL
        before = {j.index: (j.x, j.y) for j in PL.joints_in(C.Canvas(doc), layer)}
        d.workspace.follow_poses()
    """)
    krita.until("'Add Layer' in app.action('edit_undo').text()")  # Krita writes it there in a turn of its own
    krita.run("""
        elbow = next(s for s in layer.shapes() if s.name() == "brushwire-joint-0-3")
        elbow.setPosition(elbow.position() + QtCore.QPointF(30, 50))
        d.workspace.follow_poses()
        doc.waitForDone()
        at = lambda x, y: bytes(doc.pixelData(round(x), round(y), 1, 1))[:3]
        between = lambda a, b, t: (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]))
        shoulder, old = before[2], before[3]
        new_ = (old[0] + 30, old[1] + 50)
        parts = (0.3, 0.5, 0.7)
        white = b"\\xff" * 3

        def limb():
            "That it follows its joint, leaves where it was, and is no thicker than before."
            shown()
            return [[at(*between(shoulder, new_, t)) != white for t in parts],
                    [at(*between(shoulder, old, t)) == white for t in parts],
                    [at(x + 8, y - 4) == white for x, y in (between(shoulder, new_, t) for t in parts)]]
    """)
    assert krita.run("len(before)") == 18
    # Krita draws what has changed when it finds the time, tile by tile.
    krita.until("limb() == [[True] * 3] * 3")
    assert "Add Layer" in krita.run("app.action('edit_undo').text()"), "the limbs' way is no step of its own"
    picture("pose")
    ask(krita, "generate", "echo control")
    found = krita.run("""
        blob = mine()[0].result.blobs[0]
        rows = list(struct.iter_unpack("<3f", bytes(blob.data)))
        [list(blob.ref.shape), rows[3][0] - before[3][0], rows[3][1] - before[3][1], rows[4][0] - before[4][0]]
    """)
    assert found[0] == [1, 18, 3]
    assert found[1:] == pytest.approx([30, 50, 0], abs=0.1)


def test_one_undo_step_takes_a_pose_away(krita):
    krita.run("new(512, 512); before = shown(); d.menu.add_pose(); doc.waitForDone()")
    krita.until("shown() != before")
    krita.run("app.action('edit_undo').trigger()")
    krita.until("len(names()) == 1")
    assert krita.run("shown() == before")
