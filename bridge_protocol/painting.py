"""The jobs that paint, and the records that they share. See `bridge_protocol.jobs` for what is done with them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from .blobs import Blob, BlobRef
from .records import InvalidValue, param

#: Arrays may be given whole or by reference; on the wire they always travel by reference.
Array = Blob | BlobRef

ControlKind = Literal[
    "depth", "normal", "pose", "canny", "softedge", "lineart", "scribble", "segmentation", "mlsd", "tile",
    "inpaint", "shuffle", "color", "face",
]  # fmt: skip
Sampler = Literal[
    "auto", "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras", "DPM++ SDE", "UniPC", "LCM", "DDIM", "Heun"
]  # fmt: skip
Seamless = Literal["none", "x", "y", "both"]
MapKind = Literal["albedo", "normal", "height", "roughness", "metallic", "ambient_occlusion"]

MAX_SEED = 2**53 - 1


# -- parts of jobs


@dataclass(frozen=True)
class Control:
    """A picture, or an exact array, that the painting follows."""

    kind: ControlKind = param(doc="What the array shows.")
    image: Array = param(
        doc="uint8 (h, w, 3) as the ControlNet expects it; or exact data: depth as float32 (h, w), z along the "
        "camera's axis in scene units, +inf where nothing is; normals as float32 (h, w, 3) in camera space; "
        "poses as float32 (n·people, 3) of x, y in pixels and visibility, n = 18, or 60 with hands, or 130 with "
        "hands and face."
    )
    weight: float = param(1.0, "How strongly it is followed.", minimum=0, maximum=2, step=0.05)
    start: float = param(0.0, "From which part of the steps on.", minimum=0, maximum=1, step=0.01)
    end: float = param(1.0, "Up to which part of the steps.", minimum=0, maximum=1, step=0.01)
    model: str = param("", "Which ControlNet; empty: the one that fits kind and model.", choices_from="controlnets")
    detector: str = param(
        "", "Makes the control image out of the given picture first; empty: it is one already.",
        choices_from="detectors",
    )  # fmt: skip
    near: float | None = param(
        None, "For exact depth: what is painted white, so that several views share one range; none: the map's own.",
        unit="scene units", minimum=0,
    )  # fmt: skip
    far: float | None = param(
        None, "For exact depth: what is painted black; none: the map's own.", unit="scene units", minimum=0
    )
    points: int = param(18, "For exact poses: keypoints of one person.", minimum=18, maximum=130)

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise InvalidValue("start", self.start, f"less than its end ({self.end:g})")
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise InvalidValue("near", self.near, f"less than far ({self.far:g})")
        if self.points not in (18, 60, 130):
            raise InvalidValue("points", self.points, "18 (body), 60 (and hands) or 130 (and face)")


@dataclass(frozen=True)
class Lora:
    """A LoRA and how much of it."""

    model: str = param(doc="Its id.", choices_from="loras")
    weight: float = param(1.0, "How much of it.", minimum=-4, maximum=4, step=0.05)


@dataclass(frozen=True)
class ImagePrompt:
    """A picture that says what to paint, as words do (IP-Adapter)."""

    image: Array = param(doc="uint8 (h, w, 3 or 4).")
    weight: float = param(0.6, "How strongly it is followed.", minimum=0, maximum=2, step=0.05)
    model: str = param("", "Which IP-Adapter; empty: the one that fits the model.", choices_from="image_adapters")


@dataclass(frozen=True)
class Region:
    """A part of the picture with words of its own."""

    prompt: str = param(doc="What to paint there.", max_length=10_000)
    mask: Array = param(doc="Where, (h, w): the maximum is all of it, 0 nothing.")
    weight: float = param(1.0, "How strongly, beside the picture's own words.", minimum=0, maximum=4, step=0.05)


@dataclass(frozen=True)
class Keyframe:
    """What holds from a frame on; numbers change evenly from one keyframe to the next."""

    frame: int = param(doc="Which frame, counted from 0.", minimum=0)
    prompt: str | None = param(None, "The words from here on; none: as before.", max_length=10_000)
    denoising_strength: float | None = param(
        None, "How much is painted anew at this frame; none: as the neighbours say.", minimum=0, maximum=1, step=0.01
    )
    seed: int | None = param(None, "The seed from here on; none: as before.", minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True)
class Axis:
    """One direction of a grid: a field of the job, and the values that it takes along it."""

    field: str = param(doc="Which field of the job, such as steps; `prompt` may be split by | into a matrix.")
    values: list[str] = param(doc="Its values as texts, one for each row or column.", max_length=32)


# -- the jobs


@dataclass(frozen=True)
class Painting:
    """What all jobs that paint have in common: words, model, and how the steps are taken."""

    prompt: str = param(
        "",
        "What to paint. (word:1.2) weighs, [from:to:0.4] changes on the way, [a|b] takes turns, BREAK parts, {a|b} and "
        "__name__ draw one of several.",
        max_length=10_000,
    )
    _: KW_ONLY
    negative_prompt: str = param("", "What to keep out.", max_length=10_000)
    model: str = param("", "Which model; empty: the server's default.", choices_from="models")
    loras: list[Lora] = param(default_factory=list, doc="LoRAs on top of the model.", max_length=16)
    vae: str = param("", "Another autoencoder than the model's own.", choices_from="vaes")
    clip_skip: int = param(0, "How many of the text encoder's last layers are left out.", minimum=0, maximum=11)
    seed: int | None = param(
        None, "The same seed paints the same picture; none: a new one each time.", minimum=0, maximum=MAX_SEED
    )
    variation_seed: int | None = param(
        None, "Another seed, towards which the picture varies; none: a new one.", minimum=0, maximum=MAX_SEED
    )
    variation_strength: float = param(
        0.0, "How far towards the other seed: 0 not at all, 1 all the way.", minimum=0, maximum=1, step=0.01
    )
    steps: int = param(20, "How many denoising steps.", minimum=1, maximum=150)
    guidance_scale: float | None = param(
        None, "How strictly the prompt is followed; none: the model's own.", minimum=0, maximum=30, step=0.5
    )
    sampler: Sampler = param("auto", "How the steps are taken; auto: the model's own.")
    controls: list[Control] = param(default_factory=list, doc="What the painting follows.", max_length=8)
    favor_controls: bool = param(
        False,
        "Where words and controls disagree, the controls win: they speak to the words' half of the guidance alone, "
        "which then strengthens them as it does the words.",
    )
    image_prompts: list[ImagePrompt] = param(
        default_factory=list, doc="Pictures that say what to paint, as words do.", max_length=4
    )
    preview_every: int = param(1, "A preview every so many steps; 0: none.", unit="steps", minimum=0, maximum=150)
    preview_size: int = param(256, "A preview's longer side at most.", unit="px", minimum=32, maximum=512)


@dataclass(frozen=True, kw_only=True)
class Generate(Painting):
    """Paint a picture from words, from a picture, or into a part of a picture."""

    image: Array | None = param(None, "The picture to start from, (h, w, 3 or 4); none: start from noise.")
    mask: Array | None = param(
        None, "Where to paint, (h, w): 0 keeps every pixel as it is, the maximum paints, between them blends."
    )
    mask_grow: int = param(0, "Grows the mask (or shrinks it).", unit="px", minimum=-512, maximum=512)
    mask_feather: int = param(0, "Softens the mask's edge.", unit="px", minimum=0, maximum=512)
    mask_padding: int | None = param(
        None,
        "How much around the mask the model sees; none: the whole picture.",
        unit="px",
        minimum=0,
        maximum=4096,
    )
    regions: list[Region] = param(default_factory=list, doc="Parts with words of their own.", max_length=16)
    width: int | None = param(
        None, "Width; none: the image's, or the model's own.", unit="px", minimum=64, maximum=8192, step=8
    )
    height: int | None = param(
        None, "Height; none: the image's, or the model's own.", unit="px", minimum=64, maximum=8192, step=8
    )
    denoising_strength: float = param(
        0.75, "How much of the image is painted anew: 0 nothing, 1 everything.", minimum=0, maximum=1, step=0.01
    )
    batch: int = param(1, "How many pictures at once, with seeds that count up.", minimum=1, maximum=16)
    seamless: Seamless = param("none", "Along which axes the picture continues at its opposite edge.")
    hires_scale: float = param(
        1.0, "Paints small first, then this much larger with the details painted anew; 1: off.",
        minimum=1, maximum=8, step=0.25,
    )  # fmt: skip
    hires_strength: float = param(
        0.4, "How much of the enlarged picture is painted anew.", minimum=0, maximum=1, step=0.01
    )
    hires_upscaler: str = param("", "What enlarges between the two; empty: Lanczos.", choices_from="upscalers")

    def __post_init__(self) -> None:
        if self.mask is not None and self.image is None:
            raise InvalidValue(
                "mask", "given", "given together with image", "Send the picture that the mask belongs to."
            )


@dataclass(frozen=True, kw_only=True)
class Texture(Painting):
    """A seamless material from words, or from a picture: its colours and its surface, each as a map."""

    image: Array | None = param(None, "A photograph or picture to make the material of, (h, w, 3 or 4).")
    maps: list[MapKind] = param(
        default_factory=lambda: ["albedo", "normal", "height", "roughness", "metallic", "ambient_occlusion"],
        doc="Which maps to make.",
        max_length=6,
    )
    width: int | None = param(
        None, "Width; none: the image's, or the model's own.", unit="px", minimum=64, maximum=8192, step=8
    )
    height: int | None = param(
        None, "Height; none: the image's, or the model's own.", unit="px", minimum=64, maximum=8192, step=8
    )
    seamless: Seamless = param("both", "Along which axes the material continues at its opposite edge.")
    denoising_strength: float = param(
        0.0, "With an image: how much of it is painted anew; 0 only makes it seamless.", minimum=0, maximum=1, step=0.01
    )
    normals: Literal["opengl", "directx"] = param("opengl", "Which way the normal map's green points: up or down.")
    relief: float = param(
        0.05, "The height of the surface over the width of the texture, for normals and occlusion.",
        minimum=0, maximum=1, step=0.005,
    )  # fmt: skip
    flatten_light: float = param(
        0.5, "How much of the light and shade of the picture is taken out of the colours.",
        minimum=0, maximum=1, step=0.05,
    )  # fmt: skip
    estimator: str = param(
        "", "Which model reads the maps from the picture; empty: the best that is there.", choices_from="estimators"
    )
    gltf: bool = param(True, "Whether to make one glTF material file too.")

    def __post_init__(self) -> None:
        if not self.maps:
            raise InvalidValue("maps", self.maps, "at least one map")


@dataclass(frozen=True, kw_only=True)
class Upscale(Painting):
    """Enlarge a picture; on request, paint its details anew, tile by tile."""

    image: Array = param(doc="The picture, (h, w, 3 or 4).")
    scale: float = param(2.0, "How much larger.", minimum=1, maximum=8, step=0.25)
    upscaler: str = param("", "What enlarges it; empty: the best that is there.", choices_from="upscalers")
    denoising_strength: float = param(
        0.0, "How much of the enlarged picture is painted anew; 0 nothing.", minimum=0, maximum=1, step=0.01
    )
    tile: int = param(512, "The side of a tile.", unit="px", minimum=64, maximum=4096, step=8)
    overlap: int = param(64, "How much tiles overlap.", unit="px", minimum=0, maximum=512, step=8)
    seamless: Seamless = param("none", "Along which axes the picture continues at its opposite edge.")

    def __post_init__(self) -> None:
        if self.overlap * 2 > self.tile:
            raise InvalidValue("overlap", self.overlap, f"at most half of the tile ({self.tile // 2})")


@dataclass(frozen=True)
class Annotate:
    """Read a control map from a picture: its depth, normals, pose, edges, …"""

    image: Array = param(doc="The picture, (h, w, 3 or 4).")
    detector: str = param(
        doc="What reads it; depth, normal or edges: the best that is there.", choices_from="detectors"
    )
    resolution: int = param(
        0, "The shorter side that the detector sees; 0: its own choice.", unit="px", minimum=0, maximum=4096
    )
    low_threshold: int | None = param(None, "For edges: what is weaker is none.", minimum=0, maximum=255)
    high_threshold: int | None = param(None, "For edges: what is stronger is one.", minimum=0, maximum=255)
    hands: bool = param(True, "For poses: hands too.")
    face: bool = param(True, "For poses: the face too.")
    seed: int = param(0, "For detectors that draw lots.", minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True, kw_only=True)
class Frames(Generate):
    """Paint the frames of an animation, one after the other, with keyframes for words, strength and seed."""

    frames: list[Array] = param(doc="The pictures to start from, in order.", max_length=256)
    keyframes: list[Keyframe] = param(default_factory=list, doc="What changes on the way.", max_length=256)

    def __post_init__(self) -> None:
        # A mask belongs to every frame: it needs no `image` beside it.
        if not self.frames:
            raise InvalidValue("frames", self.frames, "at least one picture", "Send the frames as a list of pictures.")
        if self.image is not None:
            raise InvalidValue("image", "given", "left out", "Send the pictures as frames.")


@dataclass(frozen=True)
class Grid:
    """Paint one job many times with a field or two changed, onto one labelled sheet."""

    job: Generate = param(doc="What is painted everywhere.")
    x: Axis = param(doc="What changes from column to column.")
    y: Axis | None = param(None, "What changes from row to row.")
