"""What the procedures make of images, on the small painter and on the real engine; and what they refuse."""

import json
from pathlib import Path

from gi.repository import Gimp, Gio

from .drive import DEPTHS, composite, digest, failed, get, meadow, new, numbers, opaque, put, state_of, succeeded, worst


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


def transforms(steps=1):
    """Transform in every depth: the small painter turns integers over and halves floats."""
    found = {}
    for precision, kind, size in DEPTHS:
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


def fills():
    """Fill a feathered selection in each depth: what is outside of it, and what is inside."""
    found = {}
    for precision, kind, size in DEPTHS:
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
