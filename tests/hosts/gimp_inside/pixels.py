"""Pixels, through the plug-in's own canvas."""

import time

from brushwire_plugin.bridge_protocol.blobs import Blob
from brushwire_plugin.gimp import canvas
from brushwire_plugin.gimp.canvas import Area
from gi.repository import Gimp, Gio

from .drive import DEPTHS, LINEAR, get, meadow, new, noise, numbers, opaque, rectangle, worst


def ramp():
    """A 0–255 ramp as a selection, as the plug-in reads it."""
    image, _ = new(256, 4)
    mask = ramp_selection(image, 256, 4)
    area = canvas.selected(image)
    found = canvas.read_selection(image, canvas.whole(image))
    image.delete()
    return [found == mask, [area.x, area.y, area.width, area.height]]


def ramp_selection(image, width, height):
    """A selection whose columns are selected by 0 … 255, like a feathered edge."""
    mask = bytes(range(256)) * height
    image.get_selection().get_buffer().set(rectangle(0, 0, width, height), "Y u8", mask)
    image.get_selection().get_buffer().flush()
    image.get_selection().update(0, 0, width, height)
    return mask


def round_trips():
    """For each precision: what was read, written as a new layer, and read again."""
    found = {}
    for precision, pixel_format, nbytes in (
        *DEPTHS,
        LINEAR,
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


def offsets():
    """Parts of an image whose layer begins outside of it, and what lies beyond the canvas."""
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
    found = {}
    for precision, kind, size in (*DEPTHS, LINEAR):
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


def speed(side, folder):
    """Read and framed as a blob, against the PNG export of the same image: milliseconds, the better of three."""
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
