"""Materials, enlarging and poses: what the pages on them state, measured; and the pages' pictures.

`python -m tests.bench materials` prints the figures, `python -m tests.bench.bench_materials docs/pictures` draws,
`python -m tests.bench.bench_materials large` prints what a material of 2048² measures and takes, and `… enlarge` how
well the procedural materials and scenes that the starter model learns from are enlarged.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from server.engine import materials, packages, relief, stitching, torus
from server.engine.annotating import Annotator
from server.engine.catalog import Catalog
from server.engine.compositing import from_float, to_float
from server.engine.detectors import AnnotateRequest
from server.engine.diffusion import Painter, best_device
from server.engine.materials import Material
from server.engine.painting import PaintRequest
from server.engine.upscalers import UpscaleRequest
from server.engine.upscaling import Upscaler
from server.starter import materials as procedural
from server.starter.scenes import scenes
from server.starter.words import MATERIALS
from tests.bench.table import Row, at_most
from tests.engine.test_annotating_people import ASTRONAUT, SHOWN
from tests.engine.test_upscaling import drawing, gmsd, psnr
from tests.shipped import WEIGHTS

RING = (True, True)
PHOTOGRAPHS = ("brick", "gravel", "grass")
EIGHT, SIXTEEN = np.dtype(np.uint8), np.dtype(np.uint16)


def photograph(name: str) -> NDArray[np.uint8]:
    """One of scikit-image's photographs, (h, w, 3)."""
    import skimage

    return np.asarray(Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png").convert("RGB"))


def of_photograph(name: str, side: int) -> Material:
    """The material of a photograph, made to continue, at that size."""
    part, joined = stitching.stitched(to_float(photograph(name)), RING)
    picture = np.clip(torus.scaled(part, side, side, RING), 0, 1)
    return materials.calm(materials.of_picture(picture, RING, words=name), joined)[0]


def of_words(painter: Painter, words: str, side: int, steps: int) -> Material:
    """The material that the starter model paints, at that size."""
    request = PaintRequest(
        words, width=side, height=side, steps=steps, seed=3, seamless_x=True, seamless_y=True, tile="native"
    )
    picture = to_float(painter.paint(request).images[0])
    return materials.calm(materials.of_picture(picture, RING, words=words), RING)[0]


def maps(material: Material) -> dict[str, NDArray[np.uint8] | NDArray[np.uint16]]:
    """The maps as they are stored."""
    return {
        "albedo": from_float(material.albedo, EIGHT),
        "normal": relief.encoded(material.normal),
        "height": from_float(material.height, SIXTEEN),
        "roughness": from_float(material.roughness, EIGHT),
        "metallic": from_float(material.metallic, EIGHT),
        "ambient occlusion": from_float(material.ambient_occlusion, EIGHT),
    }


def rows() -> Iterator[Row]:
    """The table."""
    painter = Painter(Catalog([]))
    made = [
        (f"photograph of {name}, {side}²", of_photograph(name, side)) for name in PHOTOGRAPHS for side in (512, 1024)
    ]
    for words, side, steps in (("a red brick wall", 512, 8), ("rusty iron", 512, 8), ("grey cobblestone", 1024, 4)):
        made.append((f"“{words}”, {side}²", of_words(painter, words, side, steps)))
    for what, material in made:
        yield from _material(what, material)
    if packages.there(packages.REALESRGAN, [WEIGHTS]):
        yield from _enlarging()
    if packages.there(packages.MEDIAPIPE, [WEIGHTS]):
        yield _pose()


def _material(what: str, material: Material) -> Iterator[Row]:
    stored = maps(material)
    worst = max(max(torus.seam_ratio(one)) for one in stored.values())
    yield at_most(f"{what}: gradient across the edge, the worst of six maps", worst, 1.0, "inside", 1.15, "")
    seen = relief.decoded(stored["normal"])
    length = float(np.abs(np.linalg.norm(seen, axis=-1) - 1).max())
    yield Row(f"{what}: normals' length, worst error", length, 0.0, "unit", "≤ 0.01", length <= 0.01, "")
    own = relief.normals(to_float(stored["height"]), 0.05, RING)
    cosine = (seen * own).sum(-1) / np.linalg.norm(seen, axis=-1)
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
    yield Row(f"{what}: normals, mean angle", angle, 0.0, "to the stored height's own", "≤ 5°", angle <= 5, "°")


def _enlarging() -> Iterator[Row]:
    upscaler = Upscaler([WEIGHTS], best_device())
    albedo = from_float(of_photograph("gravel", 128).albedo, EIGHT)
    large = upscaler.upscale(UpscaleRequest(albedo, 4, wraps=RING)).image
    worst = max(torus.seam_ratio(large))
    yield at_most("gravel's albedo enlarged ×4: gradient across the edge", worst, 1.0, "inside", 1.15, "")
    signal, unlike = [], []
    for seed in range(1, 7):
        original = drawing(seed)
        small = original.resize((64, 64), Image.Resampling.BICUBIC)
        made = upscaler.upscale(UpscaleRequest(np.asarray(small), 4)).image
        bicubic = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))
        truth = np.asarray(original)
        signal.append([psnr(truth, made), psnr(truth, bicubic)])
        unlike.append([gmsd(truth, made), gmsd(truth, bicubic)])
    ours, theirs = (float(one) for one in np.mean(signal, 0))
    yield Row("enlarging six drawings ×4, PSNR", ours, theirs, "bicubic", "> 1", ours > theirs, "dB")
    ours, theirs = (float(one) for one in np.mean(unlike, 0))
    yield Row("enlarging six drawings ×4, GMSD (0: alike)", ours, theirs, "bicubic", "< 1", ours < theirs, "")


def _pose() -> Row:
    made = Annotator([WEIGHTS], best_device()).annotate(AnnotateRequest(photograph("astronaut"), "pose"))
    body = made.exact["keypoints"][:18, :2]
    worst = max(float(np.hypot(*(body[joint] - place))) for joint, place in ASTRONAUT.items()) / SHOWN
    what = "pose of the astronaut, worst joint over the height that the picture shows"
    return Row(what, worst, 0.0, "placed by hand", "≤ 0.05", worst <= 0.05, "")


# -- the pages' pictures


def sheet(material: Material, title: str, side: int = 220) -> NDArray[np.uint8]:
    """The maps in a row with their names, and the material in the light, tiled twice."""
    shown = {
        name: one if one.dtype == np.uint8 else (one >> 8).astype(np.uint8) for name, one in maps(material).items()
    }
    columns = [_labelled(np.tile(lit(material), (2, 2, 1)), f"{title}, in the light, four times", side)]
    return np.concatenate([*columns, *(_labelled(one, name, side) for name, one in shown.items())], 1)


def lit(material: Material) -> NDArray[np.uint8]:
    """The material under one light from the upper left and an even sky, (h, w, 3)."""
    light = np.array([-0.5, 0.6, 0.62], np.float32)
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    facing = np.clip(material.normal @ light, 0, 1)
    shine = np.clip(material.normal @ half, 0, 1) ** (2 / np.maximum(material.roughness, 0.1) ** 3)
    colour = material.albedo**2.2
    diffuse = (
        colour
        * (1 - 0.7 * material.metallic[..., None])
        * (facing * 0.9 + 0.35 * material.ambient_occlusion)[..., None]
    )
    tint = 0.04 + (colour - 0.04) * material.metallic[..., None]
    bright = diffuse + tint * (shine * (1 - material.roughness))[..., None] * 3
    return from_float(np.clip(bright, 0, 1).astype(np.float32) ** (1 / 2.2), EIGHT)


def _labelled(picture: NDArray[np.uint8], text: str, side: int) -> NDArray[np.uint8]:
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
    cell = Image.new("RGB", (side + 6, side + 22), "white")
    cell.paste(Image.fromarray(colours).resize((side, side), Image.Resampling.LANCZOS), (3, 19))
    ImageDraw.Draw(cell).text((4, 3), text, "black")
    return np.asarray(cell)


def draw(folder: Path) -> None:
    """Write the pages' pictures."""
    painter = Painter(Catalog([]))
    rows_ = [sheet(of_photograph(name, 512), name) for name in PHOTOGRAPHS]
    rows_.append(sheet(of_words(painter, "rusty iron", 512, 12), "rusty iron"))
    _save(np.concatenate(rows_), folder / "materials.png")
    upscaler = Upscaler([WEIGHTS], best_device())
    lines = []
    for truth in (drawing(1), Image.fromarray(photograph("coffee")[60:316, 150:406])):
        small = truth.resize((64, 64), Image.Resampling.BICUBIC)
        bicubic = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))
        made = upscaler.upscale(UpscaleRequest(np.asarray(small), 4)).image
        named = (
            (np.asarray(small.resize((256, 256), 0)), "64 x 64"),
            (bicubic, "bicubic ×4"),
            (made, "realesrgan-x4plus"),
        )
        lines.append(
            np.concatenate(
                [_labelled(one, name, 256) for one, name in (*named, (np.asarray(truth), "the original"))], 1
            )
        )
    _save(np.concatenate(lines), folder / "upscaling.png")
    annotator, cells = Annotator([WEIGHTS], best_device()), []
    picture = photograph("astronaut")
    for name in ("pose", "canny", "lineart_standard", "scribble", "softedge", "color", "shuffle"):
        cells.append(_labelled(annotator.annotate(AnnotateRequest(picture, name)).control, name, 220))
    cells.insert(0, _labelled(picture, "the photograph", 220))
    both = np.concatenate([np.concatenate(cells[:4], 1), np.concatenate(cells[4:], 1)])
    _save(both, folder / "annotating.png", colours=None)  # a pose's colours say which limb is which


def _save(pixels: NDArray[np.uint8], path: Path, colours: int | None = 255) -> None:
    image = Image.fromarray(pixels)
    (image.quantize(colours) if colours else image).save(path, optimize=True)  # a page loads them all
    print(path)


def measure_large(side: int = 2048, steps: int = 4) -> None:
    """Print the worst gradient across the edge over that inside of each map, the time and the memory's peak."""
    since = time.perf_counter()
    material = of_words(Painter(Catalog([])), "grey cobblestone", side, steps)
    for name, one in maps(material).items():
        print(f"{name}: {max(torus.seam_ratio(one)):.3f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{side}², {steps} steps: {time.perf_counter() - since:.0f} s, {peak:.1f} GiB at most")


def measure_enlarging() -> None:
    """Print PSNR and GMSD of procedural materials and scenes of 256², made four times smaller and enlarged again."""
    upscaler, seed = Upscaler([WEIGHTS], best_device()), torch.Generator().manual_seed(5)
    kinds = {
        "materials": procedural.render(list(MATERIALS), 256, seed).image,
        "scenes": scenes(8, 256, torch.Generator().manual_seed(3), "cpu").image,
    }
    for kind, pictures in kinds.items():
        found = []
        for picture in pictures:
            truth = from_float(np.clip(picture.permute(1, 2, 0).numpy(), 0, 1), EIGHT)
            small = Image.fromarray(truth).resize((64, 64), Image.Resampling.BICUBIC)
            bicubic = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))
            made = upscaler.upscale(UpscaleRequest(np.asarray(small), 4)).image
            found.append([f(truth, one) for f in (psnr, gmsd) for one in (made, bicubic)])
        signal, signal_bicubic, unlike, unlike_bicubic = np.mean(found, 0)
        better = [int(sum(one[0] > one[1] for one in found)), int(sum(one[2] < one[3] for one in found))]
        print(
            f"{kind}: PSNR {signal:.2f} against {signal_bicubic:.2f} dB, better in {better[0]} of {len(found)}; "
            f"GMSD {unlike:.3f} against {unlike_bicubic:.3f}, better in {better[1]}"
        )


if __name__ == "__main__":
    if sys.argv[1] == "large":
        measure_large()
    elif sys.argv[1] == "enlarge":
        measure_enlarging()
    else:
        draw(Path(sys.argv[1]))
