"""A material's maps from one picture of it, by image analysis: what can be told without a model that has learned it.

Every filter continues across the picture's edge where the picture does, so that every map tiles as the picture does.
What is done is said in plain words with each map (`Material.sources`): these are estimates, and the words say of what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from server.engine import relief, torus
from server.engine.compositing import Float
from server.engine.torus import Wraps

Map = Literal["albedo", "normal", "height", "roughness", "metallic", "ambient_occlusion"]
MAPS: tuple[Map, ...] = get_args(Map)

#: The widest waves of brightness that belong to the surface, over the picture's width; wider ones are the light's.
LIGHT = 1 / 8
#: How rough what the words name is; the first that is found counts. 0 is a mirror, 1 is chalk.
_ROUGHNESS: tuple[tuple[float, str], ...] = (
    (0.1, "mirror|chrome|wet|water|ice"),
    (0.2, "polished|glossy|lacquered|varnished|glazed|porcelain|glass|marble|ceramic|plastic|jade|gem"),
    (
        0.85,
        "rust|rusty|corroded|moss|grass|soil|earth|mud|sand|gravel|concrete|plaster|chalk|bark|fabric|wool|felt|cloth",
    ),
    (0.35, "satin|brushed|metal|metallic|steel|iron|copper|brass|bronze|gold|golden|silver|aluminium|aluminum|tin"),
    (0.4, "tile|tiles|tiled|leather|scales"),
    (0.7, "wood|wooden|plank|planks|brick|bricks|stone|rock|cobblestone|granite|slate|paper"),
)
_METALS = "metal|metallic|steel|iron|copper|brass|bronze|gold|golden|silver|aluminium|aluminum|tin|titanium|chrome|zinc"
_CORROSION = "rust|rusty|rusted|corroded|painted|verdigris|patina|weathered"
_ROUGHNESS_UNTOLD = 0.65


@dataclass(frozen=True, eq=False)
class Material:
    """A surface's maps, (h, w, …) float32 in [0, 1] with rows from the top.

    albedo: (h, w, 3) sRGB. height: (h, w), 1 is nearest. normal: (h, w, 3) unit vectors, OpenGL's, the height's own
    at the relief that was asked for. roughness, metallic, ambient_occlusion: (h, w) linear.
    sources: for each map, in words, where it came from.
    """

    albedo: Float
    height: Float
    normal: Float
    roughness: Float
    metallic: Float
    ambient_occlusion: Float
    sources: dict[Map, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Estimates:
    """What models have read from the picture, each as in `Material`, or None. by: which model, for each that is there.

    normal: in camera space of a camera that looks straight at the surface, which is the same as tangent space.
    """

    albedo: Float | None = None
    normal: Float | None = None
    height: Float | None = None
    roughness: Float | None = None
    metallic: Float | None = None
    by: dict[Map, str] = field(default_factory=dict)


def of_picture(
    picture: Float, wraps: Wraps, *, words: str = "", depth: float = 0.05, flatten: float = 0.5,
    estimates: Estimates | None = None,
) -> Material:  # fmt: skip
    """The material that a picture shows.

    picture: (h, w, 3) float32 in [0, 1], sRGB. words: what it is said to show. depth: the relief. flatten: how much of
    the picture's light is taken out of the albedo, 0 to 1. estimates: are taken before analysis where they are there.
    """
    known = estimates or Estimates()
    sources: dict[Map, str] = {name: f"read by {by}" for name, by in known.by.items()}

    def say(name: Map, text: str) -> None:
        sources.setdefault(name, text)

    if known.albedo is not None:
        albedo = known.albedo
    else:
        albedo = flattened(picture, flatten, wraps)
        say("albedo", f"the picture, {flatten:.0%} of its light and shade evened out")
    if known.height is not None:
        height = known.height
    elif known.normal is not None:
        height, _ = relief.height_of(known.normal, wraps)
        say("height", f"the normals of {known.by['normal']}, integrated")
        sources["normal"] = f"read by {known.by['normal']}, made the height's own at the relief asked for"
    else:
        height, how = height_of(picture, wraps)
        say("height", how)
    say("normal", "the slopes of the height")
    normal = relief.normals(height, depth, wraps)
    if known.metallic is not None:
        metallic = known.metallic
    else:
        metallic, how = metallic_of(albedo, words, wraps)
        say("metallic", how)
    if known.roughness is not None:
        roughness = known.roughness
    else:
        roughness, how = roughness_of(picture, metallic, words, wraps)
        say("roughness", how)
    occlusion = relief.openness(height, depth, wraps)
    say("ambient_occlusion", "the horizons of the height")
    return Material(albedo, height, normal, roughness, metallic, occlusion, sources)


def calm(material: Material, axes: Wraps) -> tuple[Material, tuple[int, int]]:
    """The material with its edge on these axes where it changes least, and the pixel (x, y) that became the first."""
    maps = {name: getattr(material, name) for name in MAPS}
    x, y = torus.calm_origin(list(maps.values()), axes)
    return replace(material, **{name: np.roll(pixels, (-y, -x), (0, 1)) for name, pixels in maps.items()}), (x, y)


def luminance(picture: Float) -> Float:
    """(h, w) of (h, w, 3) sRGB: its luma by Rec. 709's weights, on sRGB's own curve, which is near to what is seen."""
    return picture @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def flattened(picture: Float, amount: float, wraps: Wraps) -> Float:
    """The picture with that much of its uneven light taken out: divided by its own brightness, widely blurred."""
    if amount == 0:
        return picture
    light = torus.blur(luminance(picture), LIGHT * picture.shape[1], wraps)
    even = float(light.mean()) / np.maximum(light, 0.02)
    return np.clip(picture * (even**amount)[..., None], 0, 1).astype(np.float32)


def height_of(picture: Float, wraps: Wraps) -> tuple[Float, str]:
    """The height, (h, w) in [0, 1], and in words how it was told: dark is deep, unless joints are bright.

    Brightness is parted into octaves. Wide ones weigh more than fine ones, because grain is shallow; the widest are
    light and are left out. Bright lines that form one net around the whole picture are joints, and deep.
    """
    bright = luminance(picture)
    # In stops: half of the light is the same step everywhere, in sun and in shade.
    stops = np.log2(np.maximum(bright, 0.02))
    joints = _bright_joints(bright, wraps)
    width = picture.shape[1]
    octaves = max(2, round(np.log2(width * LIGHT)))
    height = np.zeros_like(bright)
    finer = stops
    for octave in range(octaves):
        coarser = torus.blur(stops, 2.0**octave / 2, wraps)
        height += (finer - coarser) * np.float32(2.0 ** (0.35 * (octave - octaves + 1)))
        finer = coarser
    if joints is not None:
        # The joints' own depth, as soft as the picture's finest details but for the grain.
        depth = torus.blur(joints.astype(np.float32), max(1.0, width / 256), wraps)
        spread = float(height.std())
        height = np.where(joints, 0, height) - 3 * spread * depth
    # A wave of one pixel is noise, and no slope can be told from it.
    height = torus.blur(height, 0.6, wraps)
    low, high = np.percentile(height, [0.1, 99.9])
    height = np.clip((height - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    return height, "the picture's brightness: " + ("bright joints are deep" if joints is not None else "dark is deep")


def roughness_of(picture: Float, metallic: Float, words: str, wraps: Wraps) -> tuple[Float, str]:
    """The roughness, (h, w), and in words how it was told: from the words, and from grain and highlights around it."""
    if metallic.any():  # what is bare of it counts here, and what is not, below
        words = re.sub(rf"\b({_CORROSION})\b", "", words.lower())
    base, said = _ROUGHNESS_UNTOLD, ""
    for value, names in _ROUGHNESS:
        found = _named(words, names)
        if found:
            base, said = value, f"the word {found}, and "
            break
    bright = luminance(picture)
    width = picture.shape[1]
    near = torus.blur(bright, max(1.0, width / 64), wraps)
    grain = np.sqrt(torus.blur((bright - torus.blur(bright, 1.0, wraps)) ** 2, max(1.0, width / 128), wraps))
    # Against the picture's own grain: a noisy photograph is not a rough wall.
    relative = (grain - grain.mean()) / max(float(grain.std()), 1e-6)
    highlight = np.clip((bright - near) / 0.25, 0, 1) ** 2
    roughness = base + 0.06 * np.tanh(relative) - 0.25 * base * highlight
    if metallic.any():  # what corrodes is dull, what is bare shines
        roughness = roughness * metallic + np.maximum(roughness, 0.8) * (1 - metallic)
    return np.clip(roughness, 0.02, 1).astype(np.float32), f"{said}the picture's grain and highlights"


def metallic_of(albedo: Float, words: str, wraps: Wraps) -> tuple[Float, str]:
    """The metalness, (h, w), and in words how it was told: only words say that something is a metal."""
    found = _named(words, _METALS)
    if not found:
        return np.zeros(albedo.shape[:2], np.float32), "no word names a metal, so nothing is one"
    rust = _named(words, _CORROSION)
    if not rust:
        return np.ones(albedo.shape[:2], np.float32), f"the word {found}"
    # Corrosion and paint are colourful where the bare metal is grey, and darker where it is coloured itself.
    colourful = albedo.max(-1) - albedo.min(-1)
    typical = float(np.median(colourful))
    bare = 1 / (1 + np.exp((torus.blur(colourful, 1.0, wraps) - typical) / max(float(colourful.std()) / 2, 1e-3)))
    return bare.astype(np.float32), f"the words {found} and {rust}: what is less colourful is bare"


def _named(words: str, names: str) -> str:
    found = re.search(rf"\b({names})\b", words.lower())
    return found[0] if found else ""


def _bright_joints(bright: Float, wraps: Wraps) -> NDArray[np.bool_] | None:
    """Where bright joints are: the bright part of the picture, if it is a minority, thin, and hangs together."""
    width = bright.shape[1]
    smooth = torus.blur(bright, max(1.0, width / 256), wraps)
    even = smooth - torus.blur(bright, width / 10, wraps)
    cut = _otsu(even)
    mask = even > cut
    share = float(mask.mean())
    if not 0.03 < share < 0.45 or float(even[mask].mean() - even[~mask].mean()) < 0.08:
        return None
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    net = labels == 1 + int(sizes.argmax())
    spans = min(net.any(axis=0).mean(), net.any(axis=1).mean())
    thickness = 2 * float(ndimage.distance_transform_edt(net)[net].mean())
    # The stones between must be much thicker than the joints, and the net must go all the way around.
    stones = 2 * float(ndimage.distance_transform_edt(~mask)[~mask].mean())
    return mask if sizes.max() / mask.sum() > 0.5 and spans > 0.95 and stones > 2 * thickness else None


def _otsu(values: Float, bins: int = 256) -> float:
    """The threshold that parts values into two classes with the least variance inside (Otsu 1979)."""
    counts, edges = np.histogram(values, bins)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[np.nanargmax(between)])
