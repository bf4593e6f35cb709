"""What a painter is asked for and what it gives back, in the engine's own terms. No torch in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Phase = Literal["loading", "encoding", "sampling", "decoding", "compositing"]


@dataclass(frozen=True, eq=False)
class ControlInput:
    """One thing that the picture has to follow.

    kind: a name of `controls.KINDS`: depth, normal, pose, canny, scribble, lineart, …
    array: what the network shall see, of any size (it is resized to the picture):
        - uint8, uint16, float16 or float32 (h, w) or (h, w, 3|4): a control image that is drawn already, in the
          network's own convention; integers over their whole range, floats in [0, 1].
        - kind depth, float32 (h, w) with `metric=True`: z along the camera's axis in scene units, +inf where nothing
          is; it is brought to the disparity that depth networks were trained on.
        - kind normal, float32 (h, w, 3) with `metric=True`: unit camera-space normals, x right, y up, z toward the
          viewer, zero where nothing is.
        - kind pose, float32 (people, 18, 3) with `metric=True`: COCO-18 keypoints as (x, y, visibility) in pixels of
          `size`, half pixels at the centres; it is drawn.
    metric: whether `array` holds measured values (see above) instead of a control image.
    size: (width, height) of the picture that pose keypoints are given in; None means the request's size.
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


@dataclass(frozen=True, eq=False)
class PaintRequest:
    """One painting.

    image: (h, w, 3|4) uint8, uint16, float16 or float32 (floats in [0, 1]), sRGB, rows from the top; None paints from
        nothing. The result then has the image's size, dtype and alpha; `width` and `height` are taken from it.
    mask: (h, w) of the same kinds, at the image's size; full scale is painted, zero stays bit-exact.
    mask_grow: pixels by which the mask is widened (negative: shrunk). mask_feather: width in pixels of the soft rim,
        which lies outside of the grown mask. mask_padding: pixels of context around the mask's bounding box; the box
        with its context is painted at the model's native size and pasted back. None paints the whole picture.
    width, height: pixels, multiples of 8; None takes the model's native size.
    seed: of the first picture of the batch; the others take seed + 1, seed + 2, …; None draws one.
    guidance_scale: 1 or less turns classifier-free guidance off. sampler: a name of `samplers.NAMES`; None is the
        model's own. denoising_strength: 0 keeps the image, 1 forgets it.
    seamless_x, seamless_y: make the picture tile along that axis.
    loras: (id, weight). model: id of a checkpoint; None takes the catalog's default.
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
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    steps: int = 20
    guidance_scale: float = 7.0
    sampler: str | None = None
    denoising_strength: float = 1.0
    batch: int = 1
    seamless_x: bool = False
    seamless_y: bool = False
    loras: tuple[tuple[str, float], ...] = ()
    model: str | None = None
    preview_every: int = 0
    preview_size: int = 512


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
    """

    images: list[Pixels]
    seeds: list[int]
    width: int
    height: int
    model: str
    controlnets: list[str] = field(default_factory=list)
    timings: dict[Phase, float] = field(default_factory=dict)
    fallbacks: list[str] = field(default_factory=list)


OnProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]
