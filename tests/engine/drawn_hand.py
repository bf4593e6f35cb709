"""An open right hand, drawn: what the models for hands were trained on looks much like it."""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

#: Where the fingers end and begin, in pixels of the picture (256²), from the thumb to the little finger.
TIPS = ((62, 128), (100, 40), (127, 28), (152, 38), (178, 66))
BASES = ((96, 172), (106, 118), (126, 112), (146, 116), (163, 128))
WIDTHS = (24, 21, 21, 21, 17)
WRIST = (128, 210)
GROUND, SKIN, CREASE = (150, 170, 190), (224, 172, 140), (190, 135, 105)


def picture() -> np.ndarray:
    """(256, 256, 3) uint8."""
    scale = 4
    image = Image.new("RGB", (256 * scale, 256 * scale), GROUND)
    draw = ImageDraw.Draw(image)

    def limb(start, end, width):
        points = [tuple(value * scale for value in point) for point in (start, end)]
        draw.line(points, SKIN, width * scale)
        for x, y in points:
            r = width * scale / 2
            draw.ellipse((x - r, y - r, x + r, y + r), SKIN)

    limb((128, 250), (128, 200), 52)
    draw.rounded_rectangle([value * scale for value in (92, 105, 176, 210)], 26 * scale, SKIN)
    for base, tip, width in zip(BASES, TIPS, WIDTHS, strict=True):
        limb(base, tip, width)
    for base, tip in zip(BASES[1:], TIPS[1:], strict=True):
        along = np.subtract(tip, base)
        across = np.array([-along[1], along[0]]) / np.hypot(*along) * 7
        for part in (0.05, 0.42, 0.72):
            middle = base + along * part
            draw.line([tuple((middle - across) * scale), tuple((middle + across) * scale)], CREASE, scale * 2)
    for line in ((100, 150, 150, 135), (98, 165, 160, 160), (110, 200, 112, 140)):
        draw.line([value * scale for value in line], CREASE, scale * 2)
    pixels = np.asarray(image.resize((256, 256), Image.Resampling.BOX)).astype(float)
    inside = np.abs(pixels - GROUND).sum(-1) > 30
    round_off = np.sqrt(np.clip(ndimage.distance_transform_edt(inside) / 9, 0, 1))
    shaded = pixels * (0.72 + 0.28 * round_off[..., None])
    return np.where(inside[..., None], shaded, pixels).astype(np.uint8)
