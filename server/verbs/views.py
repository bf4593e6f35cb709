"""Views: paint a mesh from a rig of cameras, and bake what was painted into its texture."""

from __future__ import annotations

import dataclasses
import math
import secrets
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge_protocol import jobs
from bridge_protocol.records import InvalidValue
from depth3d.bake import Baked, Canvas, View
from depth3d.depth import depth_range, depth_to_controlnet
from server.engine.errors import Cancelled
from server.engine.painting import ControlInput, IsCancelled, OnProgress, Painting, PaintRequest, Progress
from server.verbs import Arrays, Made, Painter, Yield, generate
from server.verbs.reading import controls_read
from server.verbs.rig import Seen, base_of, canvas_of, eight_bit, seen_of

#: A surface that a view sees with this many times the weight of those before it is painted anew by that view.
REPAINT = 4.0
#: How far, in shares of the black to white range, the farthest surface stands off the background.
FLOOR = 0.1
#: What stands for the surface that nobody has painted yet, where a picture must have something.
UNPAINTED = 128
MAX_GRID_SIDE = 8192


def run(job: jobs.Views, arrays: Arrays, painter: Painter, on_progress: OnProgress, cancelled: IsCancelled) -> Yield:
    """Carry out a Views job. Raises InvalidValue, or an EngineError of the painter."""
    began = time.monotonic()
    canvas = canvas_of(job, arrays)
    base = base_of(job, arrays)
    views = [seen_of(index, view, arrays, canvas) for index, view in enumerate(job.views)]
    job = dataclasses.replace(job, seed=secrets.randbelow(2**32) if job.seed is None else job.seed)
    if job.mode != "bake":  # which paints nothing
        job, arrays = controls_read(job, arrays, painter, on_progress, cancelled)
    road = _Road(job, arrays, painter, on_progress, cancelled, views)
    made = {"sequential": _sequential, "grid": _grid, "refine": _refine, "bake": _bake}[job.mode]
    made(road, canvas, base)
    road.look()
    on_progress(Progress("baking"))
    baking = time.monotonic()
    baked = canvas.baked(job.dilation)
    outputs = [Made("texture", _over(baked, base), "srgb", {"coverage": round(baked.coverage, 6)})]
    for index, seen in enumerate(views):
        if seen.painted and seen.picture is not None:
            outputs.append(
                Made(f"view-{index}", np.ascontiguousarray(seen.picture), "srgb", {"view": index, "seed": seen.seed})
            )
    now = time.monotonic()
    timings = {**road.timings, "baking": round(now - baking, 4), "total": round(now - began, 4)}
    info: dict[str, Any] = {
        "model": road.model,
        "seed": job.seed,
        "coverage": round(baked.coverage, 6),
        "unpainted_views": [index for index, seen in enumerate(views) if seen.picture is None],
        "timings": timings,
        "fallbacks": road.fallbacks,
    }
    return Yield(outputs, info)


# -- the modes


def _sequential(road: _Road, canvas: Canvas, base: NDArray[np.uint8] | None) -> None:
    """Each view paints what is not covered yet, or was seen far less squarely; given pictures are baked as they are."""
    for index, seen in enumerate(road.views):
        baked = canvas.baked(2)
        colours, confidence, weight = canvas.render(baked, seen.camera, seen.depth)
        if seen.picture is not None:
            canvas.add(_view(seen))
            continue
        covered = (confidence > 0) & (weight <= REPAINT * confidence)
        wanted = (weight > 0) & ~covered
        if not _has_area(wanted):
            continue
        request = road.request(index)
        if covered.any():
            picture = _picture(colours, base, canvas, seen)
            # What is neither covered nor on the mesh may be painted too: the model sees one whole picture.
            mask = np.where(covered, 0, 255).astype(np.uint8)
            request = dataclasses.replace(
                request, image=picture, mask=mask, width=None, height=None, denoising_strength=1.0
            )
        road.paint(index, request)
        canvas.add(_view(seen, wanted.astype(np.float32)), over=True)


def _refine(road: _Road, canvas: Canvas, base: NDArray[np.uint8] | None) -> None:
    """Each view paints over what is there, as strongly as the job says; all are blended by their weights."""
    for index, seen in enumerate(road.views):
        if seen.picture is None:
            colours, _, weight = canvas.render(canvas.baked(2), seen.camera, seen.depth)
            if not (weight > 0).any():
                continue
            request = road.request(index)
            image = _picture(colours, base, canvas, seen)
            strength = road.job.denoising_strength
            road.paint(
                index, dataclasses.replace(request, image=image, width=None, height=None, denoising_strength=strength)
            )
        canvas.add(_view(seen))


def _grid(road: _Road, canvas: Canvas, base: NDArray[np.uint8] | None) -> None:
    """All views without a picture in one picture, beside and below each other."""
    todo = [index for index, seen in enumerate(road.views) if seen.picture is None]
    if todo:
        sizes = {(road.views[index].camera.width, road.views[index].camera.height) for index in todo}
        if len(sizes) > 1:
            named = ", ".join(f"{w}×{h}" for w, h in sorted(sizes))
            raise InvalidValue("views", named, "of one size in the grid mode", "Give all cameras one resolution.")
        ((width, height),) = sizes
        columns = math.ceil(math.sqrt(len(todo) * height / width))
        columns = min(max(columns, 1), len(todo))
        rows = math.ceil(len(todo) / columns)
        paint_width, paint_height = _multiple(width), _multiple(height)
        if max(columns * paint_width, rows * paint_height) > MAX_GRID_SIDE:
            raise InvalidValue(
                "views",
                f"{columns * paint_width}×{rows * paint_height} together",
                f"at most {MAX_GRID_SIDE} px a side",
                "Take fewer or smaller views, or the sequential mode.",
            )  # fmt: skip
        request = road.request(None)
        words = dict.fromkeys(road.views[index].view.prompt for index in todo if road.views[index].view.prompt)
        if words:
            request = dataclasses.replace(request, prompt=", ".join([request.prompt, *words]))
            road.fallbacks.append("The grid mode paints one picture: the views' own words hold for all of it.")
        parts = [road.controls(index) for index in todo]
        controls = tuple(
            dataclasses.replace(one[0], array=_tiled([control.array for control in one], columns, width, height))
            for one in zip(*parts, strict=True)
        )
        request = dataclasses.replace(
            request,
            controls=(*request.controls, *controls),
            width=columns * paint_width,
            height=rows * paint_height,
        )
        sheet = road.call(request, 0, 1)
        for place, index in enumerate(todo):
            top, left = place // columns * paint_height, place % columns * paint_width
            road.keep(index, sheet.images[0][top : top + paint_height, left : left + paint_width], sheet.seeds[0])
    for seen in road.views:
        canvas.add(_view(seen))


def _bake(road: _Road, canvas: Canvas, base: NDArray[np.uint8] | None) -> None:
    """Nothing is painted: the given pictures are blended by their weights."""
    for seen in road.views:
        if seen.picture is not None:
            canvas.add(_view(seen))


# -- painting


class _Road:
    """What all views of one job share on their way through the painter."""

    def __init__(
        self,
        job: jobs.Views,
        arrays: Arrays,
        painter: Painter,
        on_progress: OnProgress,
        cancelled: IsCancelled,
        views: list[Seen],
    ) -> None:
        self.job, self.views = job, views
        self.model = ""
        self.timings: dict[str, float] = {}
        self.fallbacks: list[str] = []
        self._painter, self._on_progress, self._cancelled = painter, on_progress, cancelled
        own = {field.name: getattr(job, field.name) for field in dataclasses.fields(jobs.Painting)}
        self._common = generate.request_of(jobs.Generate(**own), arrays)
        ranges = [one for one in (depth_range(seen.depth) for seen in views) if one is not None]
        self._near, self._far = _shared_range(ranges)

    def look(self) -> None:
        """Raise Cancelled if the job was."""
        if self._cancelled():
            raise Cancelled

    def request(self, index: int | None) -> PaintRequest:
        """The job's common fields; for one view with its size, its words and its controls."""
        if index is None:
            return self._common
        seen = self.views[index]
        prompt = ", ".join(part for part in (self.job.prompt, seen.view.prompt) if part)
        return dataclasses.replace(
            self._common,
            prompt=prompt,
            controls=(*self._common.controls, *self.controls(index)),
            width=_multiple(seen.camera.width),
            height=_multiple(seen.camera.height),
        )

    def controls(self, index: int) -> list[ControlInput]:
        """The depth and the normals that a view follows, in one range over the whole rig."""
        seen, out = self.views[index], []
        if self.job.follow_depth > 0:
            grey = depth_to_controlnet(seen.depth, self._near, self._far)
            out.append(ControlInput("depth", grey, weight=self.job.follow_depth))
        if self.job.follow_normal > 0:
            if seen.normal is None:
                raise InvalidValue(
                    f"views[{index}].normal",
                    None,
                    "given, for follow_normal",
                    "Send the view's normals, or set it to 0.",
                )
            out.append(ControlInput("normal", seen.normal, metric=True, weight=self.job.follow_normal))
        return out

    def paint(self, index: int, request: PaintRequest) -> None:
        """Paint one view, and keep its picture."""
        todo = sum(seen.view.image is None for seen in self.views)
        before = sum(seen.view.image is None for seen in self.views[:index])
        painting = self.call(request, before, todo)
        self.keep(index, painting.images[0], painting.seeds[0])

    def call(self, request: PaintRequest, before: int, parts: int) -> Painting:
        """One call of the painter, its steps told as a part of the job's."""
        self.look()

        def told(progress: Progress) -> None:
            done, total = before * request.steps + progress.step, parts * (progress.total or request.steps)
            self._on_progress(dataclasses.replace(progress, step=done, total=total))

        painting = self._painter.paint(request, told, self._cancelled)
        self.model = painting.model
        for phase, seconds in painting.timings.items():
            self.timings[phase] = self.timings.get(phase, 0.0) + float(seconds)
        self.fallbacks += [one for one in painting.fallbacks if one not in self.fallbacks]
        return painting

    def keep(self, index: int, picture: NDArray[Any], seed: int) -> None:
        """Remember what was painted for a view."""
        seen = self.views[index]
        seen.picture, seen.seed, seen.painted = np.ascontiguousarray(eight_bit(picture)), seed, True


def _picture(
    colours: NDArray[np.float32], base: NDArray[np.uint8] | None, canvas: Canvas, seen: Seen
) -> NDArray[np.uint8]:
    """What the view sees of the texture over the base over grey, (h, w, 3) uint8."""
    under = np.full((*colours.shape[:2], 3), UNPAINTED, np.float32)
    if base is not None:
        there = Baked(base, base[..., 3] > 0, np.zeros(base.shape[:2], np.float32), 0.0)
        ground, _, _ = canvas.render(there, seen.camera, seen.depth)
        under += (ground[..., :3] - under) * (ground[..., 3:] / 255)
    return np.rint(under + (colours[..., :3] - under) * (colours[..., 3:] / 255)).astype(np.uint8)


def _has_area(mask: NDArray[np.bool_]) -> bool:
    """Whether more than lines is left of it: a painter is not called for the rims of what is covered."""
    inner = mask[1:-1, 1:-1].copy()
    for row in range(3):
        for column in range(3):
            inner &= mask[row : row + inner.shape[0], column : column + inner.shape[1]]
    return bool(inner.any())


def _tiled(pictures: list[NDArray[Any]], columns: int, width: int, height: int) -> NDArray[Any]:
    """Pictures of one size beside and below each other, empty places black (or zero)."""
    rows = math.ceil(len(pictures) / columns)
    sheet = np.zeros((rows * height, columns * width, *pictures[0].shape[2:]), pictures[0].dtype)
    for place, picture in enumerate(pictures):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = picture
    return sheet


def _shared_range(ranges: list[tuple[float, float]]) -> tuple[float | None, float | None]:
    """What is white and what is black in every view: the farthest surface is not as black as the background."""
    if not ranges:
        return None, None
    near, far = min(low for low, _ in ranges), max(high for _, high in ranges)
    black = 1 / far - FLOOR * (1 / near - 1 / far) / (1 - FLOOR)
    return near, 1 / black if black > 0 else math.inf


def _view(seen: Seen, wanted: NDArray[np.float32] | None = None) -> View:
    """A view for the baker. wanted: (h, w) of the camera's size, 0 or 1."""
    assert seen.picture is not None
    mask = seen.mask
    if wanted is not None:
        mask = wanted if mask is None else mask * wanted
    return View(seen.camera, seen.picture, seen.depth, mask, seen.view.weight)


def _over(baked: Baked, base: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """The baked texels over the base, where there is one."""
    if base is None:
        return np.ascontiguousarray(baked.texture)
    return np.where(baked.texture[..., 3:] > 0, baked.texture, base)


def _multiple(side: int) -> int:
    """The side that a painter can paint: the nearest multiple of 8, at least 64."""
    return max(64, round(side / 8) * 8)
