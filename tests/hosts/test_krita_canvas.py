"""Pixels in and out of real Krita, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.krita_host import KritaHost

REPOSITORY = str(Path(__file__).parents[2])

FORMATS = [
    ("RGBA", "U8", "sRGB-elle-V2-srgbtrc.icc"),
    ("RGBA", "U16", "sRGB-elle-V2-srgbtrc.icc"),
    ("RGBA", "U16", "sRGB-elle-V2-g10.icc"),
    ("RGBA", "F16", "sRGB-elle-V2-g10.icc"),
    ("RGBA", "F32", "sRGB-elle-V2-srgbtrc.icc"),
    ("RGBA", "F32", "sRGB-elle-V2-g10.icc"),
    ("GRAYA", "U8", "Gray-D50-elle-V2-srgbtrc.icc"),
    ("GRAYA", "F32", "Gray-D50-elle-V2-g10.icc"),
    ("CMYKA", "U8", ""),
    ("LABA", "U16", ""),
]
#: Values that travel unconverted.
STRAIGHT = [one for one in FORMATS if "srgbtrc" in one[2]]

PREPARE = """
import array, random, struct, sys
sys.path.insert(0, {repository!r})
from PyQt5.QtWidgets import QApplication
from plugins.krita import canvas as C, pixels as P
from plugins.krita.bounds import Bounds

def noise(count, depth, seed=1):
    "Values that every depth has; floats beyond one and below zero too."
    rng = random.Random(seed)
    if depth == "U8": return rng.randbytes(count)
    if depth == "U16": return rng.randbytes(2 * count)
    values = [rng.choice([0.0, 1.0, 2.5, -0.25, rng.random()]) for _ in range(count)]
    return struct.pack(f"<{{count}}{{'e' if depth == 'F16' else 'f'}}", *values)

def new(model, depth, profile, width=300, height=200):
    global doc
    doc = app.createDocument(width, height, "test", model, depth, profile, 72.0)
    app.activeWindow().addView(doc)
    app.setActiveDocument(doc)
    doc.waitForDone()
    return doc

def fill(seed=1):
    "Opaque noise in the background layer."
    form = C.format_of(doc)
    count = form.pixel // C._SIZES[form.depth]
    size = doc.width() * doc.height()
    data = P.with_alpha(noise(size * count, form.depth, seed), P.DTYPES[form.depth], count, bytes([255]) * size)
    C._write(doc.rootNode().childNodes()[0], data, Bounds(0, 0, doc.width(), doc.height()))
    doc.refreshProjection(); doc.waitForDone()

def shown():
    doc.refreshProjection(); doc.waitForDone()
    return bytes(doc.pixelData(0, 0, doc.width(), doc.height()))

def done():
    doc.waitForDone(); doc.setModified(False); doc.close()
"""


@pytest.fixture(scope="module")
def krita(krita_display, tmp_path_factory):
    host = KritaHost(tmp_path_factory.mktemp("krita"))
    host.start()
    host.run(PREPARE.format(repository=REPOSITORY))
    yield host
    host.close()


@pytest.mark.parametrize(("model", "depth", "profile"), FORMATS)
def test_a_round_trip_without_painting_is_bit_exact_in_every_format(krita, model, depth, profile):
    same = krita.run(f"""
        new({model!r}, {depth!r}, {profile!r}); fill()
        before = shown()
        reading = C.Canvas(doc).read(Bounds(13, 7, 250, 190))
        while not reading.advance(): pass
        node = C.Canvas(doc).restore(reading, "again")
        inside = bytes(node.pixelData(13, 7, 250, 190)) == reading.data
        same = [shown() == before, inside, C.format_of(node) == C.format_of(doc)]
        done()
        same
    """)
    assert same == [True, True, True]


@pytest.mark.parametrize(("model", "depth", "profile"), STRAIGHT)
def test_what_travels_and_comes_back_is_the_same_layer_bit_for_bit(krita, model, depth, profile):
    same = krita.run(f"""
        new({model!r}, {depth!r}, {profile!r}); fill()
        before = shown()
        canvas = C.Canvas(doc)
        picture = canvas.picture()
        node = canvas.place(picture, 0, 0, "back")
        same = [shown() == before, bytes(node.pixelData(0, 0, 300, 200)) == before, picture.dtype]
        done()
        same
    """)
    assert same == [True, True, {"U8": "uint8", "U16": "uint16", "F16": "float16", "F32": "float32"}[depth]]


@pytest.mark.parametrize(("model", "depth", "profile"), FORMATS)
def test_outside_of_the_mask_not_a_bit_changes_and_undo_brings_the_bytes_back(krita, model, depth, profile):
    krita.run(f"""
        new({model!r}, {depth!r}, {profile!r}); fill()
        before = shown()
        canvas = C.Canvas(doc)
        C.select(doc, C.Mask(bytes([0, 128, 255, 77] * 25) * 60, Bounds(100, 50, 100, 60)))
        mask = canvas.mask()
        doc.setSelection(None)
        rect = mask.bounds.pad(20).intersect(canvas.bounds)
        seen = canvas.picture(rect)
        painted = P.Picture(noise(rect.width * rect.height * 3, P.DEPTHS[seen.dtype], 5),
            rect.width, rect.height, 3, seen.dtype)
        if seen.dtype.startswith("float"):  # what a server paints lies between 0 and 1
            painted = P.Picture(noise(rect.width * rect.height * 3, "U8", 5), rect.width, rect.height, 3, "uint8")
        layers = len(doc.rootNode().childNodes())
        node = canvas.place(painted, rect.x, rect.y, "painted", alpha=mask.within(rect))
        after = shown()
        pixel = C.format_of(doc).pixel
        touched = mask.within(canvas.bounds)
        outside = [touched[i] == 0 for i in range(300 * 200)]
        same_outside = all(
            after[i * pixel : i * pixel + pixel] == before[i * pixel : i * pixel + pixel]
            for i in range(300 * 200) if outside[i])
        changed_inside = sum(
            after[i * pixel : i * pixel + pixel] != before[i * pixel : i * pixel + pixel]
            for i in range(300 * 200) if not outside[i])
        bounds = [mask.bounds.x, mask.bounds.y, mask.bounds.width, mask.bounds.height]
    """)
    found = krita.run("[same_outside, changed_inside, bounds, len(doc.rootNode().childNodes()) - layers]")
    assert found[0], "a pixel outside of the mask changed"
    assert found[1] > 0.95 * 75 * 60
    # Its first column is not selected, so the bounds may begin a pixel later.
    assert found[2] in ([100, 50, 100, 60], [101, 50, 99, 60])
    assert found[3] == 1
    krita.run("app.action('edit_undo').trigger()")
    krita.until("doc.waitForDone() or len(doc.rootNode().childNodes()) == layers", timeout=20)
    assert krita.run("shown() == before"), "one undo step did not bring the bytes back"
    krita.run("done()")


def test_the_layers_alpha_is_the_selection_in_every_depth(krita):
    for depth, expected in {"U8": 77, "U16": 77 * 257, "F32": 77 / 255}.items():
        value = krita.run(f"""
            new("RGBA", {depth!r}, "sRGB-elle-V2-srgbtrc.icc", 16, 16)
            node = C.Canvas(doc).place(P.Picture(bytes([9, 8, 7] * 256), 16, 16, 3, "uint8"), 0, 0, "m",
                alpha=bytes([77]) * 256)
            pixel = bytes(node.pixelData(3, 3, 1, 1))
            value = struct.unpack("<4" + {{"U8": "B", "U16": "H", "F32": "f"}}[{depth!r}], pixel)[3]
            done()
            value
        """)
        assert value == pytest.approx(expected, abs=1e-7)


def test_several_maps_become_one_group_in_one_undo_step(krita):
    krita.run("""
        new("RGBA", "U8", ""); fill()
        before, layers = shown(), len(doc.rootNode().childNodes())
        canvas = C.Canvas(doc)
        maps = [canvas.layer(P.Picture(bytes([k]) * 300 * 200, 300, 200, 1, "uint8"), 0, 0, f"map {k}") for k in (3, 9)]
        group = canvas.place_group(maps, "material")
    """)
    assert krita.run("[n.name() for n in doc.rootNode().childNodes()[-1].childNodes()]") == ["map 3", "map 9"]
    assert krita.run("list(shown()[:4])") == [9, 9, 9, 255]
    krita.run("app.action('edit_undo').trigger()")
    krita.until("doc.waitForDone() or len(doc.rootNode().childNodes()) == layers", timeout=20)
    krita.run("same = shown() == before; del maps, group; done()")
    assert krita.run("same")


def test_a_layer_left_out_of_the_composite_is_shown_again(krita):
    found = krita.run("""
        new("RGBA", "U8", ""); fill()
        before = shown()
        canvas = C.Canvas(doc)
        control = canvas.place(P.Picture(bytes(300 * 200 * 3), 300, 200, 3, "uint8"), 0, 0, "control")
        doc.waitForDone()
        without = canvas.picture(hidden=[control])
        # Left open: Krita 5.2 crashes where a document is closed within half a second of hiding a layer.
        [control.visible(), P.to_krita(without) == before, set(shown()[0:3]) == {0}]
    """)
    assert found == [True, True, True]


def test_bytes_that_do_not_fit_are_refused_before_krita_reads_them(krita):
    error = krita.run("""
        new("RGBA", "U8", "", 16, 16)
        node = doc.createNode("x", "paintlayer")
        try:
            C._write(node, bytes(16 * 16 * 4 - 1), Bounds(0, 0, 16, 16)); error = ""
        except C.CanvasError as problem:
            error = problem.sentence
        del node  # Krita does not survive a layer without a document whose document is closed
        error
    """)
    assert "1024" in error
    assert "1023" in error
    with pytest.raises(AssertionError, match="a picture of 4×4"):
        krita.run('P.Picture(bytes(3), 4, 4, 3, "uint8")')
    krita.run("done()")


def test_a_closed_document_says_so_instead_of_crashing(krita):
    error = krita.run("""
        new("RGBA", "U8", "", 16, 16)
        canvas = C.Canvas(doc)
        done()
        try:
            canvas.place(P.Picture(bytes(16 * 16 * 3), 16, 16, 3, "uint8"), 0, 0, "late"); error = ""
        except C.CanvasError as problem:
            error = str(problem)
        error
    """)
    assert "closed" in error
    assert "history" in error


def test_the_selection_grown_and_feathered_leaves_the_artists_own_as_it_is(krita):
    found = krita.run("""
        new("RGBA", "U8", "")
        s = krita.Selection(); s.select(100, 50, 40, 40, 255); doc.setSelection(s)
        canvas = C.Canvas(doc)
        plain, soft = canvas.mask(), canvas.mask(grow=6, feather=5)
        again = canvas.mask()
        found = [plain.data == bytes([255]) * 1600, again == plain, soft.bounds.width > 52, len(set(soft.data)) > 10]
        done()
        found
    """)
    assert found == [True, True, True, True]
