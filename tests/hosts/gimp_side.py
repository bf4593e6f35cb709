"""What the tests do inside of GIMP, in the process of python-fu-eval. Standard library and gi alone.

Each function takes what the test gave it and returns plain values, which come back as JSON.
"""

import hashlib
import json
import os
import random
import sys
import traceback
from pathlib import Path

import gi

for _name, _version in {"Gimp": "3.0", "GimpUi": "3.0", "Gegl": "0.4", "Gtk": "3.0"}.items():
    gi.require_version(_name, _version)

from gi.repository import Gegl, Gimp, Gio  # noqa: E402 - the versions are pinned first

sys.path.insert(0, os.environ["BRUSHWIRE_PLUGIN"])

NONE = Gegl.AbyssPolicy.NONE


def run(function, given, report):
    """Call a function and write what it returns, or what it raises, as JSON."""
    try:
        found = {"value": globals()[function](**json.loads(Path(given).read_text()))}
    except Exception:  # noqa: BLE001 - the test tells it
        found = {"error": traceback.format_exc()}
    part = Path(report + ".part")
    part.write_text(json.dumps(found))
    part.replace(report)


# -- what all of them need


def call(name, image=None, layers=(), **arguments):
    """Run one of the plug-in's procedures without its dialog: status, what GIMP says of an error, image and layer."""
    procedure = Gimp.get_pdb().lookup_procedure(f"brushwire-{name}")
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
    config.set_property("image", image)
    config.set_core_object_array("drawables", list(layers))
    for key, value in arguments.items():
        config.set_property(key.replace("_", "-"), value)
    values = procedure.run(config)
    status = values.index(0)
    made = [values.index(index) for index in range(1, values.length())]
    error = "" if status == Gimp.PDBStatusType.SUCCESS else Gimp.get_pdb().get_last_error()
    return status, error, *made


def succeeded(name, *args, **arguments):
    status, error, *made = call(name, *args, **arguments)
    assert status == Gimp.PDBStatusType.SUCCESS, f"{name}: {error}"
    return made


def failed(name, *args, wrongly_called=False, **arguments):
    status, error, *_ = call(name, *args, **arguments)
    kind = Gimp.PDBStatusType.CALLING_ERROR if wrongly_called else Gimp.PDBStatusType.EXECUTION_ERROR
    assert status == kind, f"{name}: {status}"
    return error


def rectangle(x, y, width, height):
    return Gegl.Rectangle.new(x, y, width, height)


def get(drawable, x, y, width, height, pixel_format):
    """Bytes of a drawable, in its own coordinates."""
    return drawable.get_buffer().get(rectangle(x, y, width, height), 1.0, pixel_format, NONE)


def put(drawable, width, height, pixel_format, data):
    buffer = drawable.get_buffer()
    buffer.set(rectangle(0, 0, width, height), pixel_format, data)
    buffer.flush()
    drawable.update(0, 0, width, height)


def new(width, height, precision="U8_NON_LINEAR", grey=False, data=None, pixel_format=None, offset=(0, 0), size=None):
    """An image with one layer of those pixels."""
    base = Gimp.ImageBaseType.GRAY if grey else Gimp.ImageBaseType.RGB
    image = Gimp.Image.new_with_precision(width, height, base, getattr(Gimp.Precision, precision))
    wide, high = size or (width, height)
    kind = Gimp.ImageType.GRAYA_IMAGE if grey else Gimp.ImageType.RGBA_IMAGE
    layer = Gimp.Layer.new(image, "painted by hand", wide, high, kind, 100.0, Gimp.LayerMode.NORMAL)
    layer.set_offsets(*offset)
    image.insert_layer(layer, None, 0)
    if data is not None:
        put(layer, wide, high, pixel_format, data)
    return image, layer


def noise(count, seed=1):
    return random.Random(seed).randbytes(count)


def opaque(width, height, seed=1):
    """Noise as RGBA, 8 bit, fully opaque."""
    data = bytearray(noise(width * height * 4, seed))
    data[3::4] = b"\xff" * (width * height)
    return bytes(data)


def ramp_selection(image, width, height):
    """A selection whose columns are selected by 0 … 255, like a feathered edge."""
    mask = bytes(range(256)) * height
    image.get_selection().get_buffer().set(rectangle(0, 0, width, height), "Y u8", mask)
    image.get_selection().get_buffer().flush()
    image.get_selection().update(0, 0, width, height)
    return mask


def digest(data):
    return hashlib.sha256(bytes(data)).hexdigest()


def state_of(image):
    """Everything of an image that an undo step must bring back."""
    return [
        image.get_width(),
        image.get_height(),
        [
            [layer.get_name(), *layer.get_offsets()[1:], layer.get_width(), layer.get_height(),
             digest(get(layer, 0, 0, layer.get_width(), layer.get_height(), "R'G'B'A float"))]
            for layer in image.get_layers()
        ],
    ]  # fmt: skip


# -- pixels, through the plug-in's own canvas


def ramp():
    """A 0–255 ramp as a selection, as the plug-in reads it."""
    from brushwire_plugin.gimp import canvas

    image, _ = new(256, 4)
    mask = ramp_selection(image, 256, 4)
    area = canvas.selected(image)
    found = canvas.read_selection(image, canvas.whole(image))
    image.delete()
    return [found == mask, [area.x, area.y, area.width, area.height]]


def round_trips():
    """For each precision: what was read, written as a new layer, and read again."""
    from brushwire_plugin.gimp import canvas

    found = {}
    for precision, pixel_format, nbytes in (
        ("U8_NON_LINEAR", "R'G'B'A u8", 4),
        ("U16_NON_LINEAR", "R'G'B'A u16", 8),
        ("FLOAT_NON_LINEAR", "R'G'B'A float", 16),
        ("FLOAT_LINEAR", "RGBA float", 16),
        ("U8_LINEAR", "RGBA u8", 4),
        ("HALF_LINEAR", "RGBA half", 8),
    ):
        for grey in (False, True):
            kind, size = (pixel_format.replace("R'G'B'", "Y'").replace("RGB", "Y"), nbytes // 2) if grey else (
                pixel_format, nbytes)  # fmt: skip
            data = numbers(70 * 50, kind, size)
            image, layer = new(70, 50, precision, grey, data, kind)
            pixels = canvas.read(image, canvas.whole(image))
            made = canvas.add_layer(image, "made", pixels, 0, 0)
            again = get(made, 0, 0, 70, 50, kind)
            found[f"{precision} {'grey' if grey else 'colour'}"] = [
                pixels.dtype, again == data, worst(again, get(layer, 0, 0, 70, 50, kind), kind)
            ]  # fmt: skip
            image.delete()
    return found


def numbers(count, kind, nbytes):
    """Noise in a pixel format, opaque."""
    import struct

    channels = 4 if "B" in kind else 2
    letter, one = {"u8": ("B", 255), "u16": ("H", 65535), "half": ("e", 1.0), "float": ("f", 1.0)}[kind.split()[1]]
    rng = random.Random(7)
    values = [rng.random() if isinstance(one, float) else rng.randint(0, one) for _ in range(count * channels)]
    values[channels - 1 :: channels] = [one] * count
    assert nbytes == channels * struct.calcsize(letter)
    return struct.pack(f"<{len(values)}{letter}", *values)


def worst(one, other, kind):
    """The largest difference of two buffers, of 1."""
    import struct

    letter, full = {"u8": ("B", 255), "u16": ("H", 65535), "half": ("e", 1.0), "float": ("f", 1.0)}[kind.split()[1]]
    count = len(one) // struct.calcsize(letter)
    pairs = zip(struct.unpack(f"<{count}{letter}", one), struct.unpack(f"<{count}{letter}", other), strict=True)
    return max(abs(a - b) for a, b in pairs) / full


def offsets():
    """Parts of an image whose layer begins outside of it, and what lies beyond the canvas."""
    from brushwire_plugin.gimp import canvas
    from brushwire_plugin.gimp.canvas import Area

    data = opaque(60, 40)
    image, _layer = new(100, 80, data=data, pixel_format="R'G'B'A u8", offset=(-20, -10), size=(60, 40))
    part = canvas.read(image, Area(0, 0, 40, 30))
    rows = [data[(10 + y) * 240 + 80 : (10 + y) * 240 + 240] for y in range(30)]
    outside = canvas.read(image, Area(90, 70, 5, 5))
    beyond = canvas.read(image, Area(-3, 0, 4, 1))
    made = canvas.add_layer(image, "made", part, -7, 75)
    placed = [*made.get_offsets()[1:], get(made, 0, 0, 40, 30, "R'G'B'A u8") == bytes(part.data)]
    image.delete()
    read = [bytes(part.data) == b"".join(rows), bytes(outside.data) == bytes(100)]
    return [*read, bytes(beyond.data) == rows[0][:4] * 4, placed]


def colour_managed(profile):
    """Pixels of a document with another profile, there and back: the largest difference of its own bytes."""
    from brushwire_plugin.gimp import canvas

    found = {}
    for precision, kind, size in (
        ("U8_NON_LINEAR", "R'G'B'A u8", 4),
        ("U16_NON_LINEAR", "R'G'B'A u16", 8),
        ("FLOAT_NON_LINEAR", "R'G'B'A float", 16),
        ("FLOAT_LINEAR", "RGBA float", 16),
    ):
        image, layer = new(64, 64, precision, data=numbers(64 * 64, kind, size), pixel_format=kind)
        in_srgb = bytes(get(layer, 0, 0, 64, 64, "R'G'B'A u8"))
        # Assigned, not converted: the same numbers are other colours now.
        image.set_color_profile(Gimp.ColorProfile.new_from_file(Gio.File.new_for_path(profile)))
        own = bytes(get(layer, 0, 0, 64, 64, None))
        pixels = canvas.read(image, canvas.whole(image))
        made = canvas.add_layer(image, "made", pixels, 0, 0)
        found[precision] = {
            "dtype": pixels.dtype,
            "worst": worst(bytes(get(made, 0, 0, 64, 64, None)), own, kind),
            "own": own.hex(),
            "read": bytes(pixels.data).hex(),
            "converted": canvas.read(image, canvas.whole(image), "uint8").data != in_srgb,
        }
        image.delete()
    return found


def refused():
    """What images that cannot be painted into are told."""
    image, layer = new(64, 64)
    nothing_selected = failed("fill", image, [layer])
    not_ours = failed("again", image, [layer])
    no_side = failed("extend", image, [layer])
    wrongly_called = {
        name: failed("generate", image, [layer], wrongly_called=True, options=options)
        for name, options in {
            "steps": '{"steps": 1000}', "json": "{steps", "list": "[1]", "loras": '{"loras": [{"weight": 1.0}]}',
            "many": '{"loras": 3}', "unknown": '{"stepz": 3}',
        }.items()
    }  # fmt: skip
    told = {
        "no image": failed("texture", None, from_image=1),
        "no file": failed("mesh", image, [layer]),
    }
    image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 16, False, False, "")
    indexed = failed("transform", image, [layer])
    count = len(image.get_layers())
    image.delete()
    return {"fill": nothing_selected, "again": not_ours, "extend": no_side, "indexed": indexed, "layers": count,
            **wrongly_called, **told}  # fmt: skip


# -- procedures


def transforms(steps=1):
    """Transform in every depth: the small painter turns integers over and halves floats."""
    found = {}
    for precision, kind, size in (
        ("U8_NON_LINEAR", "R'G'B'A u8", 4),
        ("U16_NON_LINEAR", "R'G'B'A u16", 8),
        ("FLOAT_NON_LINEAR", "R'G'B'A float", 16),
    ):
        data = numbers(72 * 64, kind, size)
        image, layer = new(72, 64, precision, data=data, pixel_format=kind)
        before = get(layer, 0, 0, 72, 64, kind)
        painted, made = succeeded("transform", image, [layer], prompt="a boat", steps=steps, seed=7)
        parasite = json.loads(bytes(made.get_parasite("brushwire").get_data()))
        found[precision] = {
            "layers": [one.get_name() for one in image.get_layers()],
            "same image": painted.get_id() == image.get_id(),
            "old": digest(get(layer, 0, 0, 72, 64, kind)) == digest(before),
            "input": before.hex(),
            "output": get(made, 0, 0, 72, 64, kind).hex(),
            "settings": parasite,
        }
        image.delete()
    return found


def generates():
    """From words: into an image with a size that no model paints, into its selection, and without an image."""
    image, layer = new(100, 70)
    _, made = succeeded("generate", image, [layer], prompt="a boat", steps=1, seed=7)
    whole = [
        made.get_width(),
        made.get_height(),
        *made.get_offsets()[1:],
        digest(get(made, 0, 0, 100, 70, "R'G'B' u8")),
    ]
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 10, 20, 70, 40)
    _, made = succeeded("generate", image, [layer], steps=1, seed=7, batch=2)
    children = [one.get_name() for one in made.get_children()]
    part = [made.get_width(), made.get_height(), *made.get_offsets()[1:], children, len(image.get_layers())]
    image.delete()
    fresh, made = succeeded("generate", None, prompt="a boat", steps=1, seed=7, width=72, height=64)
    alone = [
        fresh.get_width(),
        fresh.get_height(),
        len(fresh.get_layers()),
        made.get_name(),
        str(fresh.get_precision()),
    ]
    fresh.delete()
    return {"whole": whole, "part": part, "alone": alone}


# -- every procedure, on the real engine


def composite(image, kind):
    copy = image.duplicate()
    layer = copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
    data = bytes(get(layer, 0, 0, image.get_width(), image.get_height(), kind))
    copy.delete()
    return data


def fills():
    """Fill a feathered selection in each depth: what is outside of it, and what is inside."""
    found = {}
    for precision, kind, size in (
        ("U8_NON_LINEAR", "R'G'B'A u8", 4),
        ("U16_NON_LINEAR", "R'G'B'A u16", 8),
        ("FLOAT_NON_LINEAR", "R'G'B'A float", 16),
    ):
        image, layer = new(128, 96, precision, data=numbers(128 * 96, kind, size), pixel_format=kind)
        image.select_ellipse(Gimp.ChannelOps.REPLACE, 40, 30, 40, 30)
        Gimp.Selection.feather(image, 6)
        mask = bytes(get(image.get_selection(), 0, 0, 128, 96, "Y u8"))
        before = composite(image, kind)
        _, made = succeeded("fill", image, [layer], prompt="a red wall", steps=2, seed=1)
        after = composite(image, kind)
        # The new layer at its place in the image; beyond it there is nothing.
        _, x, y = made.get_offsets()
        painted = bytes(get(made, -x, -y, 128, 96, kind))
        at = range(0, 128 * 96 * size, size)
        same = [before[i : i + size] == after[i : i + size] for i in at]
        alpha = size * 3 // 4
        empty = [not any(painted[i + alpha : i + size]) for i in at]
        found[precision] = {
            "outside": all(same[i] for i, chosen in enumerate(mask) if chosen == 0),
            "transparent": all(empty[i] == (chosen == 0) for i, chosen in enumerate(mask)),
            "untouched": bytes(get(layer, 0, 0, 128, 96, kind)) == before,
            "changed": sum(not same[i] for i, chosen in enumerate(mask) if chosen == 255) / max(1, mask.count(255)),
            "worst": worst(
                *(
                    b"".join(data[i : i + size] for i, chosen in zip(at, mask, strict=True) if chosen == 0)
                    for data in (before, after)
                ),
                kind,
            ),
            "layers": len(image.get_layers()),
        }
        image.delete()
    return found


def extends():
    """Extend a canvas at three sides."""
    data = opaque(96, 64)
    image, layer = new(96, 64, data=data, pixel_format="R'G'B'A u8")
    _, made = succeeded("extend", image, [layer], left=32, top=16, right=8, prompt="a red wall", steps=2, seed=1,
                        mask_grow=0, mask_feather=0)  # fmt: skip
    now = composite(image, "R'G'B'A u8")
    rows = [now[((16 + y) * 136 + 32) * 4 : ((16 + y) * 136 + 128) * 4] for y in range(64)]
    found = {
        "size": [image.get_width(), image.get_height()],
        "old layer": layer.get_offsets()[1:],
        "new layer": [made.get_width(), made.get_height(), *made.get_offsets()[1:]],
        "kept": b"".join(rows) == data,
        "opaque": now[3::4].count(255) == 136 * 80,
    }
    image.delete()
    return found


def others(folder):
    """A texture from words and one from the image, and an enlargement; what they look like goes into files of RGB."""

    def keep(name, drawable):
        data = get(drawable, 0, 0, drawable.get_width(), drawable.get_height(), "R'G'B' u8")
        (Path(folder) / f"{name}.rgb").write_bytes(data)

    image, layer = new(96, 64, data=meadow(96, 64), pixel_format="R'G'B'A u8")
    keep("picture", layer)
    fresh, group = succeeded("texture", None, prompt="a brick wall", steps=2, seed=1, width=128, height=128)
    found = {"texture": [fresh.get_width(), [one.get_name() for one in group.get_children()], group.is_group()]}
    for one in group.get_children():
        keep(one.get_name(), one)
    fresh.delete()
    _, group = succeeded("texture", image, [layer], from_image=1)
    found["from image"] = [group.get_width(), len(image.get_layers())]
    keep("material", next(one for one in group.get_children() if one.get_name() == "Albedo"))
    image.remove_layer(group)
    larger, made = succeeded("upscale", image, [layer], scale=2.0)
    keep("larger", made)
    found["upscale"] = [larger.get_width(), larger.get_height(), larger.get_id() != image.get_id()]
    larger.delete()
    image.delete()
    return found


def maps(picture, size, folder):
    """Control maps of a picture (a file of RGBA bytes): those that can be read as files of RGB, the others' sentences.

    Nothing is inserted where nothing was read.
    """
    image, layer = new(*size, data=Path(picture).read_bytes(), pixel_format="R'G'B'A u8")
    found = {}
    for name, given in {
        "none": {}, "edges": {"shows": "edges"}, "canny": {"shows": "depth", "detector": "canny"},
        "pose": {"shows": "pose"},
    }.items():  # fmt: skip
        _, made = succeeded("map", image, [layer], **given)
        (Path(folder) / f"{name}.rgb").write_bytes(get(made, 0, 0, *size, "R'G'B' u8"))
        found[name] = [made.get_name(), made.get_width(), made.get_height(), *made.get_offsets()[1:]]
        image.remove_layer(made)
    before = state_of(image)
    for name in ("depth", "normal"):
        found[name] = failed("map", image, [layer], shows=name)
    found["unknown"] = failed("map", image, [layer], detector="palmistry")
    found["untouched"] = state_of(image) == before
    image.delete()
    return found


def mesh(path):
    """A mesh of a picture, and of a layer that shows depth: a ramp, nearer to the right."""
    image, _ = new(96, 64, data=meadow(96, 64), pixel_format="R'G'B'A u8")
    ramp = b"".join(bytes((80 + x, 80 + x, 80 + x, 255)) for x in range(96)) * 64
    depth = Gimp.Layer.new(image, "Depth", 96, 64, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
    image.insert_layer(depth, None, 0)
    put(depth, 96, 64, "R'G'B'A u8", ramp)
    image.set_selected_layers([depth])
    succeeded("mesh", image, [depth], file=Gio.File.new_for_path(path))
    image.delete()
    return True


def again(path):
    """Paint, save, load, and paint again with what stands on the layer."""
    image, layer = new(64, 64)
    succeeded("generate", image, [layer], prompt="a boat", steps=1, seed=7)
    Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, Gio.File.new_for_path(path), None)
    image.delete()
    image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(path))
    kept = image.get_layers()[0]
    _, same = succeeded("again", image, [kept], seed=7.0)
    _, other = succeeded("again", image, [kept])
    pixels = [digest(get(one, 0, 0, 64, 64, "R'G'B' u8")) for one in (kept, same, other)]
    settings = json.loads(bytes(other.get_parasite("brushwire").get_data()))
    image.delete()
    return [pixels[0] == pixels[1], pixels[0] != pixels[2], settings["values"]["prompt"]]


# -- what goes wrong meanwhile


def killed(gate):
    """A job whose plug-in is killed while it is painted."""
    image, layer = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    before = state_of(image)
    status, *_ = call("transform", image, [layer], prompt=f"wait-for {gate}", steps=1)
    same = state_of(image) == before
    image.delete()
    return [status != Gimp.PDBStatusType.SUCCESS, same]


def image_closed(gate):
    """The image goes while it is being painted; the result goes into another one, later and by another client."""
    import pathlib

    from brushwire_plugin.gimp import running, work
    from brushwire_plugin.gimp.canvas import CanvasError
    from brushwire_plugin.gimp.modes import MODES

    image, _ = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    errand = work.gather(MODES["transform"], image, {"prompt": f"wait-for {gate}", "steps": 1})
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 5:
            image.delete()
            pathlib.Path(gate).touch()

    with running.Run(progress=False, on_tick=tick) as run:
        task = run.connect().job(errand)
        try:
            run.deliver(errand, task)
            told = ""
        except CanvasError as error:
            told = str(error)
    other, _ = new(64, 64)
    with running.Run(progress=False) as later:
        later.connect().studio.claim(task.id)
        while not later.studio.waiting:
            later._wait()
        [found] = later.studio.waiting
        delivered = later.deliver(errand, found, other)
        later.studio.client.ping()
    size = [delivered.layer.get_width(), len(other.get_layers())]
    other.delete()
    return {"told": told, "job": task.id, "later": size}


def layer_deleted(gate):
    """The layer that was painted over goes; the result comes all the same, as a layer of its own."""
    import pathlib

    from brushwire_plugin.gimp import running, work
    from brushwire_plugin.gimp.modes import MODES

    image, layer = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    errand = work.gather(MODES["transform"], image, {"prompt": f"wait-for {gate}", "steps": 1})
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 5:
            image.remove_layer(layer)
            pathlib.Path(gate).touch()

    with running.Run(progress=False, on_tick=tick) as run:
        task = run.connect().job(errand)
        run.deliver(errand, task)
    names = [one.get_name() for one in image.get_layers()]
    image.delete()
    return names


def outlasts(gate):
    """A job whose server is killed while it is painted, and started again."""
    image, layer = new(64, 64, data=opaque(64, 64), pixel_format="R'G'B'A u8")
    succeeded("transform", image, [layer], prompt=f"wait-for {gate}", steps=1)
    count = len(image.get_layers())
    image.delete()
    return count


def without_server():
    """What is told where no server runs."""
    image, layer = new(64, 64)
    error = failed("transform", image, [layer])
    image.delete()
    return error


# -- speed


def speed(side, folder):
    """Read and framed as a blob, against the PNG export of the same image: milliseconds, the better of three."""
    import time

    from brushwire_plugin.bridge_protocol.blobs import Blob
    from brushwire_plugin.gimp import canvas

    # A smooth picture with a little noise, as photographs have it.
    smooth, grain = (int.from_bytes(data, "little") for data in (meadow(side, side), noise(side * side * 4)))
    high, low = (int.from_bytes(bytes([byte, byte, byte, rest]) * (side * side), "little")
                 for byte, rest in ((0xF0, 0xFF), (0x0F, 0)))  # fmt: skip
    picture = (smooth & high | grain & low).to_bytes(side * side * 4, "little")
    image, _ = new(side, side, data=picture, pixel_format="R'G'B'A u8")
    file = Gio.File.new_for_path(folder + "/export.png")

    def ours():
        pixels = canvas.read(image, canvas.whole(image))
        Blob.of(pixels.data, shape=pixels.shape, dtype=pixels.dtype, color="srgb")

    def theirs():
        Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, file, None)

    times = {}
    for name, function in (("ours", ours), ("png", theirs)) * 3:
        began = time.perf_counter()
        function()
        times[name] = min(times.get(name, 1e9), (time.perf_counter() - began) * 1e3)
    image.delete()
    return times


# -- with the window


def until(condition, timeout=90):
    """Let Gtk work until something is so."""
    from gi.repository import GLib, Gtk

    ended = []
    GLib.timeout_add(int(timeout * 1000), lambda: ended.append(1))
    GLib.timeout_add(20, lambda: not ended)  # keeps the loop turning
    while not condition():
        assert not ended, "it has not come"
        Gtk.main_iteration()


def checkpoint(folder, name):
    """Tell the test that something is to be seen, and wait until it has looked."""
    (Path(folder) / f"{name}.ready").touch()
    until((Path(folder) / f"{name}.seen").exists)


def studio(folder, words, size, steps):
    """The studio on the real server: connected, painting, with its result in the image, and its history."""
    from brushwire_plugin.gimp.modes import MODES
    from brushwire_plugin.gimp.window import StudioWindow
    from gi.repository import Gimp, GimpUi

    GimpUi.init("brushwire")
    image, _ = new(*size, data=meadow(*size), pixel_format="R'G'B'A u8")
    Gimp.Display.new(image)
    window = StudioWindow(image, start_server=False)
    window.show_all()
    window.move(820, 20)
    window.present()
    until(lambda: window.studio.state.connected)
    until(lambda: window.studio.lists)
    window.choose(MODES["generate"], {"prompt": words[0], "steps": steps, "seed": 7})
    checkpoint(folder, "connected")
    task = window.paint()
    until(lambda: task.preview is not None or task.ended)
    painting = [task.stage, task.preview is not None]
    checkpoint(folder, "painting")
    until(lambda: task.ended, 240)
    layers = [layer.get_name() for layer in image.get_layers()]
    image.select_ellipse(Gimp.ChannelOps.REPLACE, size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2)
    Gimp.Selection.feather(image, 8)
    window.choose(MODES["fill"], {"prompt": words[1], "steps": steps, "seed": 3})
    unfilled = state_of(image)
    filled = window.paint()
    until(lambda: filled.ended and len(window._thumbnails.get_children()) == 2, 240)
    checkpoint(folder, "finished")
    with_fill = len(image.get_layers())
    checkpoint(folder, "undo")
    until(lambda: len(image.get_layers()) < with_fill, 30)
    undone = state_of(image) == unfilled
    window.use_again(window.studio.history.entries[-1])
    again = window.form_view.form.values
    inserted = window.insert_entry(window.studio.history.entries[-1])
    count = len(image.get_layers())
    # A result whose image was closed meanwhile waits in the history, and goes into another image.
    other, _ = new(*size)
    window._fill_images(other)
    late = window.paint()
    other.delete()
    until(lambda: late.ended, 240)
    told, placed = window._message.get_text(), late.placed
    window._fill_images(image)
    entry = window.studio.history.get(late.id)
    rescued = window.insert_entry(entry)
    window.destroy()
    return {"painting": painting, "layers": layers, "stage": task.stage, "fill": filled.stage,
            "again": again, "inserted": [inserted, count], "late": [late.stage, told, placed, rescued],
            "undone": undone}  # fmt: skip


def dialog(words, size, steps):
    """A procedure from the menu, with its dialog; the test presses its button."""
    image, layer = new(*size, data=meadow(*size), pixel_format="R'G'B'A u8")
    Gimp.Display.new(image)
    procedure = Gimp.get_pdb().lookup_procedure("brushwire-transform")
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.INTERACTIVE)
    config.set_property("image", image)
    config.set_core_object_array("drawables", [layer])
    config.set_property("prompt", words)
    config.set_property("steps", steps)
    values = procedure.run(config)
    names = [one.get_name() for one in image.get_layers()]
    return [values.index(0) == Gimp.PDBStatusType.SUCCESS, names]


def meadow(width, height):
    """A sky over a meadow, so that there is something to be seen."""
    rows = []
    for y in range(height):
        t = y / height
        sky = (int(110 + 90 * t), int(160 + 60 * t), 235)
        color = sky if t < 0.55 else (int(60 + 60 * t), int(150 - 40 * t), 60)
        rows.append(bytes((*color, 255)) * width)
    return b"".join(rows)
