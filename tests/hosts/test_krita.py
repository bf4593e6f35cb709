"""The docker in real Krita, with the real server and the model that ships: every way of working, seen in pixels."""

from __future__ import annotations

import pytest

from tests.hosts.krita.docker import ask, mean


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
    krita.run("d.choose('refine'); d.panel.prompt.setPlainText('other'); d.history.list.setCurrentRow(0)")
    krita.run("d.history.use.click()")
    assert krita.run("[d.mode.key, d.panel.prompt.toPlainText(), d.form['seed'], d.form['steps']]") == [
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
    fields = krita.run("d.choose('generate'); sorted(d.panel.essential._edits) + sorted(d.panel.advanced._edits)")
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


@pytest.mark.parametrize("depth", ["U8", "F32"])
def test_frames_of_the_range_come_back_as_frames_and_the_timeline_stays(krita, depth):
    krita.run(f"""
        new(depth={depth!r})
        import brushwire.krita.animation as A
        frames = [P.Picture(bytes([*c, 255]) * (256 * 256), 256, 256, 4, "uint8")
                  for c in ((10, 20, 30), (40, 50, 60), (70, 80, 90))]
        placing = A.place_frames(C.Canvas(doc), frames, [0, 1, 2], Bounds(0, 0, 256, 256), "source")
        d.workspace.slices.start(placing, print)
        del placing
    """)
    krita.until("d.workspace.slices.idle")
    krita.run("doc.setCurrentTime(1); doc.setFullClipRangeEndTime(2)")
    # Krita 5.2 takes the stop for the first frame that is not played.
    krita.until("(doc.setPlayBackRange(0, 3), doc.playBackStartTime(), doc.playBackEndTime())[1:] == (0, 2)")
    krita.until("doc.currentTime() == 1")
    ask(krita, "animate", "echo image")
    krita.until("names()[-1].startswith('Animate')")
    krita.until("d.workspace.slices.idle")
    found = krita.run("""
        source, made = doc.rootNode().childNodes()[-2:]
        pixel = lambda node, time: bytes(node.pixelDataAtTime(100, 100, 1, 1, time))
        [[made.hasKeyframeAtTime(t) for t in range(4)], len({pixel(made, t) for t in range(3)}),
         [pixel(made, t) == pixel(source, t) for t in range(3)]]
    """)
    assert found == [[True] * 3 + [False], 3, [True] * 3], "each frame its own"
    krita.until("doc.currentTime() == 1")
    # Reading alone, by itself: no step back is added, and the timeline is not moved.
    krita.run("""
        del source, made
        steps, read = app.action("edit_undo").text(), []
        list(A.read_frames(C.Canvas(doc), [0, 1, 2], Bounds(0, 0, 256, 256), read))
    """)
    assert krita.run("[len(read), app.action('edit_undo').text() == steps, doc.currentTime()]") == [3, True, 1]


def test_live_painting_follows_the_brush_and_sends_only_what_it_touched(krita, picture):
    krita.run(
        'new(1024, 1024); d.choose("live"); d.panel.prompt.setPlainText("echo image"); d.message.hide(); d.paint()'
    )
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
    krita.run('new(); d.form["denoising_strength"] = 0.7; d.panel.prompt.setPlainText("green moss")')
    krita.run("n = len(d.live.sent); d.paint()")
    krita.until("d.overlay.shows")
    picture("live")
    krita.run("d.paint()")
