"""One module for each kind of job: what the job's fields mean for the engine. The only place where the two meet."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bridge_protocol import jobs
from bridge_protocol.blobs import Blob, BlobRef, ColorSpace
from bridge_protocol.records import InvalidValue
from server.engine.compositing import Float
from server.engine.detectors import AnnotateRequest, Annotation
from server.engine.materials import Estimates
from server.engine.painting import IsCancelled, OnProgress, Painting, PaintRequest
from server.engine.torus import Wraps
from server.engine.upscalers import Enlarged, UpscaleRequest
from server.verbs.color import to_srgb

#: A job's input arrays by their digests; read-only.
Arrays = Mapping[bytes, NDArray[Any]]


class Painter(Protocol):
    """What the engine offers; see `server.engine.diffusion.Painter`."""

    def paint(
        self, request: PaintRequest, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> Painting:
        """Paint a request. Raises server.engine.errors.EngineError."""
        ...

    def upscale(
        self, request: UpscaleRequest, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> Enlarged:
        """Enlarge a picture. Raises server.engine.errors.EngineError."""
        ...

    def annotate(
        self, request: AnnotateRequest, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> Annotation:
        """Read a control map from a picture. Raises server.engine.errors.EngineError."""
        ...

    def estimate_depth(
        self, picture: NDArray[np.uint8], detector: str = ""
    ) -> tuple[NDArray[np.float32], Literal["metric", "relative"]]:
        """The depth of a picture, and whether it is metric or relative. Raises server.engine.errors.EngineError."""
        ...

    def estimate_material(
        self, picture: Float, wraps: Wraps, estimator: str = "", cancelled: IsCancelled | None = None
    ) -> Estimates:
        """What models tell of a material, if any is there. Raises server.engine.errors.EngineError."""
        ...


@dataclass(frozen=True, eq=False)
class Made:
    """One thing that a job made. array: contiguous; uint8, uint16, float16 or float32."""

    name: str
    array: NDArray[Any]
    color: ColorSpace = "srgb"
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Yield:
    """All that a job made. info: what belongs to it as a whole, such as its timings; plain values."""

    outputs: list[Made]
    info: dict[str, Any] = field(default_factory=dict)


Verb = Callable[[Any, Arrays, Painter, OnProgress, IsCancelled], Yield]


def array_of(buffer: memoryview, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """A blob's bytes as an array of that shape and dtype, without a copy."""
    return np.frombuffer(buffer, np.dtype(dtype).newbyteorder("<")).reshape(shape)


def picture_of(field: str, given: Blob | BlobRef, arrays: Arrays) -> NDArray[Any]:
    """The picture that a job's field holds, (h, w, 3 or 4); linear colours are brought to sRGB. Raises InvalidValue."""
    ref = given.ref if isinstance(given, Blob) else given
    if len(ref.shape) != 3 or ref.shape[2] not in (3, 4):
        raise InvalidValue(field, f"shape {ref.shape}", "(h, w, 3) or (h, w, 4)")
    return to_srgb(arrays[ref.digest]) if ref.color == "linear" else arrays[ref.digest]


def verb(kind: str) -> Verb:
    """What carries out jobs of that kind: `run` of the module of its name. Raises KeyError.

    Each is imported with its first job: a worker starts without all of them.
    """
    if kind not in jobs.KINDS:
        raise KeyError(kind)
    run: Verb = importlib.import_module(f"server.verbs.{kind.lower()}").run
    return run
