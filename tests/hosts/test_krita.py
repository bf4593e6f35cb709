"""The docker in real Krita, with the real server and the model that ships: every way of working, seen in pixels."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from server.settings import Settings
from tests.hosts.krita.docker import PREPARE, install
from tests.server.process import ServerProcess

#: Where screenshots for the docs go; without it they stay with the test's own files.
PICTURES = os.environ.get("BRUSHWIRE_PICTURES")


@pytest.fixture(scope="module")
def server(shared_folder):
    (shared_folder / "run").mkdir(mode=0o700)
    settings = Settings(
        data=shared_folder / "data",
        runtime=shared_folder / "run",
        painter="tests.hosts.krita.echo_painter:make",
        store_bytes=1 << 30,
    )
    process = ServerProcess(settings, shared_folder).start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def krita(krita_display, shared_folder, server):
    host = install(shared_folder / "krita", shared_folder)
    host.start()
    host.run(PREPARE)
    host.until("d.studio.state.connected")
    yield host
    host.close()


@pytest.fixture
def picture(krita, tmp_path):
    """Saves a screenshot under a name."""

    def save(name: str) -> Path:
        folder = Path(PICTURES) if PICTURES else tmp_path
        krita.run("arrange()")
        time.sleep(0.3)  # for Krita's canvas to be drawn; nobody tells when it is
        path = krita.screenshot(folder / f"krita-{name}.png")
        if PICTURES:  # a page's pictures need no more colours than these, and a repository no larger files
            Image.open(path).convert("RGB").quantize(192, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
        return path

    return save


def ask(krita, mode, prompt="", timeout=120, **values):
    """Ask for something and wait for its end; it must end well."""
    arguments = "".join(f", {name}={value!r}" for name, value in values.items())
    krita.run(f"ask({mode!r}, {prompt!r}{arguments})")
    krita.until("ended()", timeout)
    assert krita.run("said()") == ""
    assert krita.run("[t.stage for t in mine()]") == ["finished"]


def mean(krita, x=0, y=0, width=256, height=256):
    """The mean red, green and blue of a part of the document."""
    data = bytes(krita.run(f"list(bytes(doc.pixelData({x}, {y}, {width}, {height})))"))
    return [sum(data[channel::4]) / (width * height) for channel in (2, 1, 0)]


# -- ways of working


def test_words_become_a_layer_of_their_colour_in_one_undo_step(krita, picture):
    krita.run("new(); before = shown()")
    ask(krita, "generate", "a red brick wall", seed=5, steps=8)
    assert krita.run("names()[-1]") == "Generate 5"
    krita.run("len(shown())")
    red, green, blue = mean(krita)
    assert red > green + 40
    assert red > blue + 40
    krita.until("d.history.list.count() == 1")
    picture("generate")
    krita.run("app.action('edit_undo').trigger()")
    krita.until("len(names()) == 1")
    assert krita.run("shown() == before")


def test_a_selection_is_painted_and_nothing_outside_of_it_changes(krita, picture):
    for depth, dtype in (("U8", "uint8"), ("U16", "uint16"), ("F32", "float32")):
        krita.run(f"new(depth={depth!r}); fill(); before = shown(); select(70, 60, 90, 80)")
        ask(krita, "fill", "a green meadow")
        found = krita.run("""
            after = shown()
            pixel = C.format_of(doc).pixel
            inside = lambda i: 70 <= i % 256 < 160 and 60 <= i // 256 < 140
            of = lambda data, i: data[i * pixel : (i + 1) * pixel]
            changed = [i for i in range(256 * 256) if of(before, i) != of(after, i)]
            [all(inside(i) for i in changed), len(changed) / (90 * 80), mine()[0].result.blobs[0].ref.dtype]
        """)
        assert found[0], "a pixel outside of the selection changed"
        assert found[1] > 0.9
        assert found[2] == dtype
    picture("fill")


def test_a_soft_selection_is_the_layers_alpha_bit_for_bit(krita):
    krita.run("""
        new(); fill()
        ramp = bytes([x * 3 % 256 for x in range(80)]) * 64
        C.select(doc, C.Mask(ramp, Bounds(40, 40, 80, 64)))
    """)
    ask(krita, "fill", "echo mask")
    found = krita.run("""
        layer = doc.rootNode().childNodes()[-1]
        data = bytes(layer.pixelData(40, 40, 80, 64))
        [data[3::4] == ramp, sorted(set(data[0::4]))]
    """)
    assert found[0]
    assert set(found[1]) <= {0, 255}, "the server was sent a soft mask, and would have blended a second time"


@pytest.mark.parametrize("depth", ["U8", "U16", "F32"])
def test_through_the_server_and_back_without_painting_is_bit_exact(krita, depth):
    krita.run(f"new(depth={depth!r}); fill(); before = shown()")
    ask(krita, "refine", "echo image")
    assert krita.run("[len(names()), shown() == before]") == [2, True]


def test_refining_keeps_what_a_low_strength_leaves(krita):
    krita.run("new(); fill(); before = shown()")
    ask(krita, "refine", "a red brick wall", denoising_strength=0.05)
    low = krita.run("sum(abs(a - b) for a, b in zip(before[::97], shown()[::97]))")
    krita.run("app.action('edit_undo').trigger()")
    krita.until("len(names()) == 1")
    ask(krita, "refine", "a red brick wall", denoising_strength=0.95)
    assert krita.run("sum(abs(a - b) for a, b in zip(before[::97], shown()[::97]))") > low


def test_the_transparent_part_is_continued_and_the_rest_stays(krita, picture):
    krita.run("""
        new()
        fill()
        node = doc.rootNode().childNodes()[0]
        C._write(node, bytes(4 * 96 * 256), Bounds(160, 0, 96, 256))
        before = shown()
    """)
    ask(krita, "expand", "a red brick wall")
    found = krita.run("""
        after = shown()
        left = all(before[y * 1024 : y * 1024 + 640] == after[y * 1024 : y * 1024 + 640] for y in range(256))
        [left, after[3::4].count(255) == 256 * 256]
    """)
    assert found == [True, True]
    picture("expand")


def test_removing_grows_the_selection_a_little_and_needs_no_words(krita):
    krita.run("new(); fill(); select(100, 100, 40, 40)")
    ask(krita, "remove")
    bounds = krita.run("b = doc.rootNode().childNodes()[-1].bounds(); [b.x(), b.y(), b.width(), b.height()]")
    assert 88 <= bounds[0] < 100
    assert 40 < bounds[2] <= 64


def test_a_seamless_texture_is_shown_in_wrap_around_mode(krita, picture):
    krita.run("new()")
    ask(krita, "seamless", "a red brick wall", seed=3)
    assert krita.run("app.activeWindow().activeView().canvas().wrapAroundMode()")
    data = bytes(krita.run("list(shown())"))
    row = [data[y * 1024 + 2 : y * 1024 + 1024 : 4] for y in range(256)]
    seam = sum(abs(line[0] - line[-1]) for line in row)
    inside = sum(abs(line[x] - line[x - 1]) for line in row for x in (40, 100, 160, 220)) / 4
    assert seam < 3 * inside
    picture("seamless")


def test_without_words_selection_or_document_the_docker_says_what_to_do(krita):
    krita.run('new(); ask("generate", "")')
    assert "words" in krita.run("said()")
    krita.run('ask("fill", "a cat")')
    krita.until("said()")
    assert "selected" in krita.run("said()")
    krita.run('ask("expand", "a cat")')
    krita.until("said()")
    assert "transparent" in krita.run("said()")


def test_of_several_pictures_the_artist_chooses_one_and_sees_it_before(krita, picture):
    krita.run("new(); before = shown(); d.history.here.setChecked(True)")
    ask(krita, "generate", "a red brick wall", batch=3, seed=20)
    assert krita.run("names()") == ["Background"], "of several, none may be applied by itself"
    krita.until("d.history.refresh() or d.history.list.count() == 3")
    krita.run("d.history.list.setCurrentRow(1)")
    krita.until("d.overlay.isVisible()")
    picture("history")
    assert krita.run("shown() == before"), "the preview must not touch the document"
    krita.run("d.history.apply.click()")
    krita.until("len(names()) == 2")
    assert krita.run("names()[-1]") == "Generate 21"
    assert not krita.run("d.overlay.shows")


def test_settings_of_the_history_are_used_again(krita):
    krita.run("new()")
    ask(krita, "generate", "a blue glass ball", seed=77)
    krita.until("d.history.refresh() or d.history.list.count() == 1")
    krita.run(
        "d.choose('refine'); d.prompt.setPlainText('other'); d.history.list.setCurrentRow(0); d.history.use.click()"
    )
    assert krita.run("[d.mode.key, d.prompt.toPlainText(), d.form['seed'], d.form['steps']]") == [
        "generate", "a blue glass ball", 77, 4,
    ]  # fmt: skip
    krita.run("d.history.here.setChecked(False); d.history.search.setText('glass ball')")
    assert krita.run("d.history.list.count()") == 1
    krita.run("d.history.search.setText(''); d.history.here.setChecked(True)")


def test_a_preset_is_saved_shared_as_a_file_and_taken_again(krita, shared_folder):
    values = krita.run("""
        new(); d.choose("generate"); d.form["steps"] = 33; d.form["seed"] = 4
        path = d.menu.save_as("Grüne 草")
        d.form.reset(); d.form["steps"] = 5
        d.menu.import_from(path)
        [d.form["steps"], d.form["seed"], len(d.studio.presets.all("Generate"))]
    """)
    assert values == [33, 4, 1]


def test_the_form_shows_what_the_servers_schema_has(krita):
    fields = krita.run("d.choose('generate'); sorted(d.essential._edits) + sorted(d.advanced._edits)")
    assert {"steps", "seed", "guidance_scale", "sampler", "seamless", "batch"} <= set(fields)
    assert not {"width", "image", "mask", "mask_grow"} & set(fields)


def test_an_enlarged_picture_is_a_new_document(krita):
    krita.run("new(); fill(); before = doc")
    ask(krita, "upscale", "", scale=2.0)
    krita.until("app.activeDocument() != before")
    assert krita.run("a = app.activeDocument(); [a.width(), a.height(), a.colorDepth()]") == [512, 512, "U8"]
    krita.run("new()")


def test_a_material_is_a_group_of_maps_in_one_undo_step(krita, picture):
    krita.run("new()")
    ask(krita, "material", "red brick", seed=2)
    krita.until("names()[-1].startswith('Material')")
    maps = krita.run("[n.name() for n in doc.rootNode().childNodes()[-1].childNodes()]")
    assert {"albedo", "normal", "height", "roughness"} <= set(maps)
    krita.run("len(shown())")
    red, green, _blue = mean(krita)
    assert red > green + 40, "the group shows its colours, not the last of its maps"
    picture("material")
    krita.run("app.action('edit_undo').trigger()")
    krita.until("len(names()) == 1")


def test_a_depth_layer_becomes_a_mesh_in_a_file(krita, shared_folder):
    import numpy as np

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


def test_the_history_is_kept_with_the_document(krita, shared_folder):
    krita.run("new()")
    ask(krita, "generate", "a kept picture", seed=8)
    krita.until("len(bytes(doc.annotation('brushwire/history'))) > 0")
    path = shared_folder / "kept.kra"
    krita.run(f"doc.setBatchmode(True); doc.saveAs({str(path)!r})")
    krita.until(f"__import__('pathlib').Path({str(path)!r}).exists()")
    krita.run(f"""
        d.studio.history.remove(mine()[0].id)
        again = app.openDocument({str(path)!r})
        app.activeWindow().addView(again)
        app.setActiveDocument(again)
    """)
    krita.until("d._look() or any(e.title == 'a kept picture' for e in d.studio.history.entries)")
    assert krita.run("d.studio.history.thumbnail(mine()[0].id) is not None")
    krita.run("new()")


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
    import numpy as np

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
        limb = next(s for s in layer.shapes() if s.name() == "brushwire-limb-0-2").boundingBox().bottom()
        wrist = next(s for s in layer.shapes() if s.name() == "brushwire-joint-0-3")
        wrist.setPosition(wrist.position() + QtCore.QPointF(30, 50))
        d.workspace.follow_poses()
        lower = next(s for s in layer.shapes() if s.name() == "brushwire-limb-0-2").boundingBox().bottom()
    """)
    assert krita.run("len(before)") == 18
    assert krita.run("round(lower - limb)") == 50, "the limb must follow its joint"
    picture("pose")
    ask(krita, "generate", "echo control")
    found = krita.run("""
        blob = mine()[0].result.blobs[0]
        rows = list(struct.iter_unpack("<3f", bytes(blob.data)))
        [list(blob.ref.shape), rows[3][0] - before[3][0], rows[3][1] - before[3][1], rows[4][0] - before[4][0]]
    """)
    assert found[0] == [1, 18, 3]
    assert found[1:] == pytest.approx([30, 50, 0], abs=0.1)


@pytest.mark.parametrize(("language", "word"), {"de": "Malen", "zh_CN": "绘制"}.items())
def test_the_docker_speaks_german_and_chinese(krita, picture, language, word):
    krita.run(f"""
        import brushwire.krita.texts as T, brushwire.krita.docker as D
        installed = T.install({language!r})
        other = D.BrushwireDocker()
        other.setFloating(True)
        other.resize(380, 760)
        other.show()
    """)
    assert krita.run("installed")
    assert krita.run("other.generate.text()") == word
    assert krita.run("other.state.text.text()") != "Connected."
    picture(f"docker-{language}")
    krita.run("other.leave(); other.close(); other.deleteLater(); del other; T.uninstall()")


def test_frames_of_the_range_come_back_as_frames(krita):
    krita.run("""
        new()
        node = doc.rootNode().childNodes()[0]
        node.enableAnimation()
        doc.setPlayBackRange(0, 2)
        doc.setFullClipRangeEndTime(2)
    """)
    krita.until("(doc.playBackStartTime(), doc.playBackEndTime()) == (0, 2)")  # Krita sets it in turns of its own
    ask(krita, "animate", "echo image")
    krita.until("names()[-1].startswith('Animate')")
    krita.until("d.workspace.slices.idle")
    assert krita.run("[doc.rootNode().childNodes()[-1].hasKeyframeAtTime(t) for t in range(4)]") == [True] * 3 + [False]


def test_live_painting_follows_the_brush_and_sends_only_what_it_touched(krita, picture):
    krita.run('new(1024, 1024); d.choose("live"); d.prompt.setPlainText("echo image"); d.message.hide(); d.paint()')
    krita.until("d.overlay.shows")
    assert krita.run("d.live.sent") == [16]
    assert krita.run("bytes(d.live._tiles.blob()[0].data) == C.Canvas(doc).picture().data"), "in tiles it is the same"
    x, y = krita.run("""
        view = app.activeWindow().activeView()
        at = O.document_to_widget(view).map(QtCore.QPointF(300, 300))
        at = O.canvas_widget().mapToGlobal(at.toPoint())
        [at.x(), at.y()]
    """)
    krita.xdotool("mousemove", str(x), str(y), "mousedown", "1", "mousemove_relative", "6", "6", "mouseup", "1")
    krita.until("len(d.live.sent) > 1")
    sent = krita.run("d.live.sent[1:]")
    assert all(tiles <= 4 for tiles in sent)
    assert krita.run("names()") == ["Background"], "live pictures are not layers"
    krita.run("d.paint()")
    assert krita.run("[d.live.on, d.overlay.shows, d.picture.isVisible()]") == [False, False, False]
    # With the model itself, for its looks.
    krita.run('new(); d.form["denoising_strength"] = 0.7; d.prompt.setPlainText("green moss")')
    krita.run("n = len(d.live.sent); d.paint()")
    krita.until("d.overlay.shows")
    picture("live")
    krita.run("d.paint()")


def test_a_job_is_cancelled_from_the_docker(krita, picture):
    krita.run('new(); ask("refine", "echo slowly", steps=60)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    krita.until("d.progress.isVisible() and '/60' in d.progress.bar.format()")
    picture("progress")
    krita.run("d.progress.cancel.click()")
    krita.until("mine()[0].stage == 'cancelled'", 20)
    assert krita.run("[d.progress.isVisible(), said(), names()]") == [False, "", ["Background"]]


# -- what happens when something breaks


def test_a_result_lands_at_its_place_after_the_canvas_was_moved(krita):
    krita.run('new(); fill(); select(100, 100, 64, 64); ask("fill", "echo slowly", steps=2)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    krita.run("doc.resizeImage(-40, -20, 320, 300); doc.waitForDone()")
    krita.until("ended()")
    krita.until("names()[-1].startswith('Fill')")
    assert krita.run("b = doc.rootNode().childNodes()[-1].bounds(); [b.x(), b.y()]") == [140, 120]


def test_a_result_whose_document_was_closed_waits_in_the_history(krita):
    krita.run('new(); ask("refine", "echo slowly", steps=2); closing = doc')
    krita.until("mine() and mine()[0].stage == 'painting'")
    krita.run("closing.setModified(False); closing.close(); del closing; doc = None; new()")
    krita.until("mine()[0].stage == 'finished'", 30)
    krita.until("said()")
    assert "closed" in krita.run("said()")
    krita.run("d.history.here.setChecked(False)")
    krita.until("d.history.refresh() or d.history.list.count() > 0")
    krita.run("d.message.hide(); d.history.list.setCurrentRow(0); d.history.apply.click()")
    krita.until("len(names()) == 2")
    krita.run("d.history.here.setChecked(True)")


def test_a_killed_server_is_said_and_the_job_comes_back_after_its_restart(krita, server, picture):
    krita.run('new(); ask("generate", "a red brick wall", steps=30)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    server.kill()
    krita.until("d.studio.state.phase == 'lost'", 30)
    assert "lost" in krita.run("d.state.text.text()")
    picture("lost")
    server.start()
    krita.until("d.studio.state.connected", 60)
    krita.until("ended()", 120)
    assert krita.run("mine()[0].stage") == "finished"
    assert krita.run("names()[-1]").startswith("Generate")


def test_krita_closed_with_a_job_running_exits_with_0_and_gets_the_result_at_its_next_start(krita, shared_folder):
    krita.run('new(); ask("refine", "echo slowly", steps=3)')
    krita.until("mine() and mine()[0].stage == 'painting'")
    assert krita.quit() == 0
    krita.start()
    krita.run(PREPARE)
    krita.run("first = 0")
    krita.until("d.studio.state.connected", 60)
    krita.until("any(t.stage == 'finished' and t.from_before for t in d.studio.tasks)", 60)
    krita.run("new(); d.history.here.setChecked(False); d.history.refresh()")
    assert krita.run("d.history.list.count()") > 0
