"""Pictures and Qt's images: to be looked at, and to bring drawn control layers to what ControlNets were trained on."""

from __future__ import annotations

from array import array
from typing import Any

from bridge_protocol.blobs import Blob

from .pixels import Picture
from .qt import QtCore, QtGui

#: Controls that are lines: white on black for their ControlNets, and drawn dark on light by people.
LINES = frozenset({"canny", "softedge", "lineart", "scribble", "mlsd"})


def image_of(pixels: Any, width: int, height: int, channels: int) -> QtGui.QImage:
    """A QImage of uint8 pixels with 3 or 4 channels, with a copy of them."""
    form = QtGui.QImage.Format.Format_RGBA8888 if channels == 4 else QtGui.QImage.Format.Format_RGB888
    return QtGui.QImage(bytes(pixels), width, height, width * channels, form).copy()


def image_of_blob(blob: Blob, side: int = 0) -> QtGui.QImage | None:
    """A blob of any picture's shape and depth as an image to look at; None where it is no picture.

    side: takes only so many pixels of the longer side, without smoothing: what is large is not converted whole.
    """
    shape = blob.ref.shape
    if len(shape) not in (2, 3):
        return None
    channels = shape[2] if len(shape) == 3 else 1
    if channels not in (1, 3, 4):
        return None
    height, width = shape[:2]
    step = max(1, max(width, height) // side) if side else 1
    rows = []
    stride = blob.ref.nbytes // height
    item = stride // (width * channels)
    for y in range(0, height, step):
        row = blob.data[y * stride : (y + 1) * stride]
        samples = _eight_bits(row, blob.ref.dtype, item)
        if channels == 1:
            rows.append(bytes(value for value in samples[::step] for _ in range(3)))
        elif step == 1:
            rows.append(samples)
        else:
            thin = bytearray(-(-width // step) * channels)
            for channel in range(channels):
                thin[channel::channels] = samples[channel :: channels * step]
            rows.append(bytes(thin))
    out_channels = 3 if channels == 1 else channels
    return image_of(b"".join(rows), len(rows[0]) // out_channels, len(rows), out_channels)


def _eight_bits(row: memoryview, dtype: str, item: int) -> bytes:
    if dtype == "uint8":
        return bytes(row)
    if dtype in ("uint16", "uint32"):
        return bytes(row)[item - 1 :: item]
    if dtype == "float32":
        values = array("f")
        values.frombytes(row)
        low, high = 0.0, 1.0
        return bytes([0 if not value > low else 255 if value >= high else int(value * 255 + 0.5) for value in values])
    return bytes(int(min(max(value, 0.0), 1.0) * 255 + 0.5) for value in memoryview(row).cast("B").cast("e"))


def control_picture(layer: Picture, kind: str) -> Picture:
    """What a control layer shows, (h, w, 3) uint8, as its ControlNet expects it.

    layer: (h, w, 4) uint8. Where nothing is painted it is black; lines are drawn dark on light or on nothing, and are
    turned into white on black unless they are that already.
    """
    lines = kind in LINES
    image = image_of(layer.data, layer.width, layer.height, 4)
    # The colour of "nothing": black for maps; for lines whatever the lines are not.
    dark = _mean_of_opaque(layer) < 128 if lines else False
    flat = QtGui.QImage(layer.width, layer.height, QtGui.QImage.Format.Format_RGB888)
    opaque = layer.data[3::4].count(255) == layer.width * layer.height
    flat.fill(QtGui.QColor(255, 255, 255) if lines and dark and not opaque else QtGui.QColor(0, 0, 0))
    painter = QtGui.QPainter(flat)
    painter.drawImage(0, 0, image)
    painter.end()
    picture = Picture(_packed(flat, 3), layer.width, layer.height, 3, "uint8")
    if lines and _mean(picture.data) > 127:
        data = bytes(picture.data).translate(bytes(range(255, -1, -1)))
        picture = Picture(data, layer.width, layer.height, 3, "uint8")
    return picture


def _packed(image: QtGui.QImage, channels: int) -> bytes:
    """An image's pixels without the padding at the end of its rows."""
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    data, stride, row = bytes(bits), image.bytesPerLine(), image.width() * channels
    if stride == row:
        return data
    return b"".join(data[y * stride : y * stride + row] for y in range(image.height()))


def _mean(data: bytes) -> float:
    sample = data[:: max(1, len(data) // 20_000)]
    return sum(sample) / max(1, len(sample))


def _mean_of_opaque(layer: Picture) -> float:
    """How bright what is painted is: of the green of a sample of pixels with at least half alpha."""
    step = 4 * max(1, layer.width * layer.height // 20_000)
    data = bytes(layer.data)
    painted = [green for green, alpha in zip(data[1::step], data[3::step], strict=False) if alpha >= 128]
    return sum(painted) / len(painted) if painted else 255.0


def scaled(image: QtGui.QImage, side: int) -> QtGui.QImage:
    """The image fitted into a square."""
    keep, smooth = QtCore.Qt.AspectRatioMode.KeepAspectRatio, QtCore.Qt.TransformationMode.SmoothTransformation
    return image.scaled(side, side, keep, smooth)
