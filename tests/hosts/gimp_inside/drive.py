"""What the tests work GIMP with: the plug-in's procedures, images, pixels and pictures to paint over."""

import hashlib
import random
import struct

from gi.repository import Gegl, Gimp

NONE = Gegl.AbyssPolicy.NONE
#: Precisions of documents, each with its pixel format and the bytes of a pixel.
DEPTHS = (
    ("U8_NON_LINEAR", "R'G'B'A u8", 4),
    ("U16_NON_LINEAR", "R'G'B'A u16", 8),
    ("FLOAT_NON_LINEAR", "R'G'B'A float", 16),
)
LINEAR = ("FLOAT_LINEAR", "RGBA float", 16)


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


def numbers(count, kind, nbytes):
    """Noise in a pixel format, opaque."""
    channels = 4 if "B" in kind else 2
    letter, one = {"u8": ("B", 255), "u16": ("H", 65535), "half": ("e", 1.0), "float": ("f", 1.0)}[kind.split()[1]]
    rng = random.Random(7)
    values = [rng.random() if isinstance(one, float) else rng.randint(0, one) for _ in range(count * channels)]
    values[channels - 1 :: channels] = [one] * count
    assert nbytes == channels * struct.calcsize(letter)
    return struct.pack(f"<{len(values)}{letter}", *values)


def meadow(width, height):
    """A sky over a meadow, so that there is something to be seen."""
    rows = []
    for y in range(height):
        t = y / height
        sky = (int(110 + 90 * t), int(160 + 60 * t), 235)
        color = sky if t < 0.55 else (int(60 + 60 * t), int(150 - 40 * t), 60)
        rows.append(bytes((*color, 255)) * width)
    return b"".join(rows)


def worst(one, other, kind):
    """The largest difference of two buffers, of 1."""
    letter, full = {"u8": ("B", 255), "u16": ("H", 65535), "half": ("e", 1.0), "float": ("f", 1.0)}[kind.split()[1]]
    count = len(one) // struct.calcsize(letter)
    pairs = zip(struct.unpack(f"<{count}{letter}", one), struct.unpack(f"<{count}{letter}", other), strict=True)
    return max(abs(a - b) for a, b in pairs) / full


def digest(data):
    return hashlib.sha256(bytes(data)).hexdigest()


def composite(image, kind):
    copy = image.duplicate()
    layer = copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
    data = bytes(get(layer, 0, 0, image.get_width(), image.get_height(), kind))
    copy.delete()
    return data


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
