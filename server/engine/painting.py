"""What a painter is asked for and what it gives back, in the engine's own terms. No torch in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from server.engine.descriptions import CONTROLS
from server.engine.errors import InvalidRequest

Pixels = NDArray[Any]
Phase = Literal[
    "loading",
    "encoding",
    "sampling",
    "decoding",
    "compositing",
    "reading",
    "meshing",
    "baking",
    "writing",
    "rendering",
    "stitching",
    "enlarging",
]


@dataclass(frozen=True, eq=False)
class ControlInput:
    """One thing that the picture has to follow.

    kind: a name of `probe.CONTROLS`: depth, normal, pose, canny, scribble, lineart, …
    array: what the network shall see, of any size (it is resized to the picture):
        - uint8, uint16, float16 or float32 (h, w) or (h, w, 3|4): a control image that is drawn already, in the
          network's own convention; integers over their whole range, floats in [0, 1].
        - kind depth, float32 (h, w) with `metric=True`: z along the camera's axis in scene units, +inf where nothing
          is; it is brought to the disparity that depth networks were trained on.
        - kind normal, float32 (h, w, 3) with `metric=True`: unit camera-space normals, x right, y up, z toward the
          viewer, zero where nothing is.
        - kind pose, float (people, n, 3) with `metric=True`: keypoints as (x, y, visibility) in pixels of `size`, pixel
          centres at (i + 0.5), visibility 0 where there is none; n is 18 (COCO-18 body), 60 (then 21 of the left and
          21 of the right hand) or 130 (then 70 of the face); it is drawn.
    metric: whether `array` holds measured values (see above) instead of a control image.
    size: (width, height) of the picture that pose keypoints are given in; None means the request's size.
    near, far: of a metric depth, what is drawn white and black, so that several views share one range; None takes the
        map's own.
    weight: strength of the control, 0 to 2. start, end: the part of the sampling in [0, 1] in which it acts.
    model: id of the ControlNet; None takes the catalog's one for this kind and this checkpoint.
    """

    kind: str
    array: Pixels
    metric: bool = False
    size: tuple[int, int] | None = None
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    model: str | None = None
    near: float | None = None
    far: float | None = None


@dataclass(frozen=True, eq=False)
class RegionInput:
    """A part of the picture with words of its own (MultiDiffusion, Bar-Tal et al. 2023).

    mask: (h, w) uint8, uint16, float16 or float32, at the picture's size; full scale is all of it.
    weight: how strongly, 0 to 4. Where the mask is full, the region's words have weight / (weight + 0.25) of the say
    and the picture's own words the rest: 80 % at 1.
    """

    prompt: str
    mask: Pixels
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class ImagePromptInput:
    """A picture that says what to paint, as words do (an IP-Adapter).

    image: (h, w, 3|4) uint8, uint16, float16 or float32. weight: how strongly, 0 to 2. model: id of the adapter; None
    takes the catalog's first one that fits the checkpoint.
    """

    image: Pixels
    weight: float = 0.6
    model: str | None = None


@dataclass(frozen=True, eq=False)
class PaintRequest:
    """One painting.

    prompt, negative_prompt: see `prompts` for their syntax; lots are drawn by each picture's seed.

    image: (h, w, 3|4) uint8, uint16, float16 or float32 (floats in [0, 1]), sRGB, rows from the top; None paints from
        nothing. The result then has the image's size, dtype and alpha; `width` and `height` are taken from it.
    mask: (h, w) of the same kinds, at the image's size; full scale is painted, zero stays bit-exact.
    mask_grow: pixels by which the mask is widened (negative: shrunk). mask_feather: width in pixels of the soft rim,
        which lies outside of the grown mask. mask_padding: pixels of context around the mask's bounding box; the box
        with its context is painted at the model's native size and pasted back. None paints the whole picture.
    favor_controls: the controls are added to the words' half of classifier-free guidance alone, which then strengthens
        them too. Without guidance that changes nothing.
    width, height: pixels, at least 64, multiples of 8; None takes the model's native size.
    seed: of the first picture of the batch; the others take seed + 1, seed + 2, …; None draws one.
    guidance_scale: 1 or less turns classifier-free guidance off; None is what suits the model. sampler: a name of
        `samplers.NAMES`; None is the model's own. denoising_strength: 0 keeps the image, 1 forgets it.
    seamless_x, seamless_y: make the picture tile along that axis; its sides must then be multiples of the model's
        coarsest period (64 for SD 1.x, 32 for SDXL).
    tile: pixels of the side of the overlapping windows in which the denoiser sees the picture (UNets alone); "native"
        is the model's native size, where the picture is larger than that; None is one piece. tile_overlap: pixels;
        None is half of the tile.
    loras: (id, weight). model: id of a checkpoint; None takes the catalog's default. vae: id of another autoencoder.
    clip_skip: how many of the last layers of the CLIP text encoders are left out.
    variation_strength: how far the starting noise is turned towards that of variation_seed (None draws one), by
        spherical interpolation. Where it is not 0, the pictures of a batch share the seed and the variation seeds
        count up.
    regions: parts with words of their own. image_prompts: pictures that say what to paint.
    preview_every: a preview after every n steps, 0 for none. preview_size: longest side of a preview in pixels.
    """

    prompt: str = ""
    negative_prompt: str = ""
    image: Pixels | None = None
    mask: Pixels | None = None
    mask_grow: int = 0
    mask_feather: int = 0
    mask_padding: int | None = None
    controls: tuple[ControlInput, ...] = ()
    favor_controls: bool = False
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    steps: int = 20
    guidance_scale: float | None = None
    sampler: str | None = None
    denoising_strength: float = 1.0
    batch: int = 1
    seamless_x: bool = False
    seamless_y: bool = False
    tile: int | Literal["native"] | None = None
    tile_overlap: int | None = None
    loras: tuple[tuple[str, float], ...] = ()
    model: str | None = None
    preview_every: int = 0
    preview_size: int = 512
    vae: str | None = None
    clip_skip: int = 0
    variation_seed: int | None = None
    variation_strength: float = 0.0
    regions: tuple[RegionInput, ...] = ()
    image_prompts: tuple[ImagePromptInput, ...] = ()


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a painting is.

    step, total: denoising steps done and planned; 0 and 0 outside of the phase `sampling`.
    preview: (h, w, 3) uint8 of the first picture of the batch, if one was due at this step.
    """

    phase: Phase
    step: int = 0
    total: int = 0
    preview: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Painting:
    """What was painted.

    images: one (h, w, 3|4) array for each picture of the batch; uint8 (h, w, 3) without an input image, else the
        image's own dtype and channels.
    seeds: one for each picture: the same request with this seed and batch 1 paints the same picture.
    timings: seconds for each phase. fallbacks: sentences about everything that was done otherwise than asked (a
        truncated prompt, tiled decoding for want of memory, …).
    model: id of the checkpoint that painted. controlnets: ids of the ControlNets, in the order of the controls.
    prompts, negative_prompts: what each picture was painted from, its lots drawn. variation_seeds: one for each
        picture, if the request varied its seed.
    """

    images: list[Pixels]
    seeds: list[int]
    width: int
    height: int
    model: str
    controlnets: list[str] = field(default_factory=list)
    timings: dict[Phase, float] = field(default_factory=dict)
    fallbacks: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    negative_prompts: list[str] = field(default_factory=list)
    variation_seeds: list[int] | None = None


OnProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]


def check(request: PaintRequest) -> None:
    """Raise `InvalidRequest` for what no model could paint."""
    _check_pixels("image", request.image, (3,), (3, 4))
    _check_pixels("mask", request.mask, (2,), None)
    if request.mask is not None:
        if request.image is None:
            raise InvalidRequest("mask is given without an image.", "Give the image that the mask belongs to.")
        if request.mask.shape != request.image.shape[:2]:
            raise InvalidRequest(
                f"mask is {_size(request.mask)} and image is {_size(request.image)}.", "Give both at the same size."
            )
    for field_name in ("width", "height"):
        value = getattr(request, field_name)
        if value is not None and request.image is not None:
            side = request.image.shape[1 if field_name == "width" else 0]
            if value != side:
                raise InvalidRequest(
                    f"{field_name} is {value} and the image's is {side}.", "Leave it out, or resize the image."
                )
        elif value is not None and (value < 64 or value % 8):
            raise InvalidRequest(
                f"{field_name} is {value}; it must be a multiple of 8 from 64 on.", f"Take {max(64, value // 8 * 8)}."
            )
    _check_range("steps", request.steps, 1, 1000)
    if request.guidance_scale is not None:
        _check_range("guidance_scale", request.guidance_scale, 0, 100)
    _check_range("denoising_strength", request.denoising_strength, 0, 1)
    _check_range("batch", request.batch, 1, 64)
    _check_range("mask_feather", request.mask_feather, 0, 1024)
    _check_range("mask_grow", request.mask_grow, -1024, 1024)
    _check_range("mask_padding", request.mask_padding or 0, 0, 8192)
    if isinstance(request.tile, int):
        _check_range("tile", request.tile, 64, 8192)
    _check_range("tile_overlap", request.tile_overlap or 0, 0, 4096)
    _check_range("preview_every", request.preview_every, 0, 1000)
    _check_range("preview_size", request.preview_size, 8, 8192)
    if request.seed is not None:
        _check_range("seed", request.seed, 0, 2**63 - 1 - request.batch)
    _check_range("clip_skip", request.clip_skip, 0, 11)
    _check_range("variation_strength", request.variation_strength, 0, 1)
    if request.variation_seed is not None:
        _check_range("variation_seed", request.variation_seed, 0, 2**63 - 1 - request.batch)
    for number, control in enumerate(request.controls):
        _check_control(f"controls[{number}]", control)
    for number, prompt in enumerate(request.image_prompts):
        _check_pixels(f"image_prompts[{number}].image", prompt.image, (3,), (3, 4))
        _check_range(f"image_prompts[{number}].weight", prompt.weight, 0, 2)
    for number, region in enumerate(request.regions):
        _check_pixels(f"regions[{number}].mask", region.mask, (2,), None)
        _check_range(f"regions[{number}].weight", region.weight, 0, 4)


def _check_control(name: str, control: ControlInput) -> None:
    if control.kind not in CONTROLS:
        raise InvalidRequest(
            f"{name}.kind is {control.kind!r}, which is not a control.", f"Take one of: {', '.join(CONTROLS)}."
        )
    _check_range(f"{name}.weight", control.weight, 0, 2)
    _check_range(f"{name}.start", control.start, 0, 1)
    _check_range(f"{name}.end", control.end, control.start, 1)
    if not control.metric:
        _check_pixels(f"{name}.array", control.array, (2, 3), (3, 4))
        return
    shape = control.array.shape
    shapes = {
        "depth": ("(h, w)", len(shape) == 2),
        "normal": ("(h, w, 3)", len(shape) == 3 and shape[2] == 3),
        "pose": ("(people, 18 or 60 or 130, 3)", len(shape) == 3 and shape[1] in (18, 60, 130) and shape[2] == 3),
    }
    wanted, fine = shapes.get(control.kind, ("", False))
    if not wanted:
        raise InvalidRequest(f"{name} of kind {control.kind!r} cannot be metric.", "Give a control image.")
    if not fine or not np.issubdtype(control.array.dtype, np.floating):
        raise InvalidRequest(
            f"{name}.array is {control.array.dtype} {shape}; metric {control.kind} is float {wanted}.",
            "Give it in this shape, or a control image with metric off.",
        )


def _check_pixels(name: str, pixels: Pixels | None, ndims: tuple[int, ...], channels: tuple[int, ...] | None) -> None:
    if pixels is None:
        return
    shape_fits = pixels.ndim in ndims and (pixels.ndim == 2 or channels is None or pixels.shape[2] in channels)
    if not shape_fits or 0 in pixels.shape or pixels.dtype not in (np.uint8, np.uint16, np.float16, np.float32):
        wanted = " or ".join("(h, w)" if n == 2 else "(h, w, 3|4)" for n in ndims)
        raise InvalidRequest(
            f"{name} is {pixels.dtype} {pixels.shape}; it must be uint8, uint16, float16 or float32 {wanted}.",
            "Convert it to one of these.",
        )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN is in no range
        raise InvalidRequest(f"{name} is {value}; it must lie in {low} to {high}.", f"Take {low} to {high}.")


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} × {pixels.shape[0]}"
