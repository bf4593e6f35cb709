"""Between the documents and the studio: what is asked of a document, and where its results go. No widgets."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from krita import Krita

from bridge_protocol.blobs import Blob
from bridge_protocol.handle import JobResult
from bridge_protocol.records import InvalidValue
from plugins.common.forms import Form
from plugins.common.studio import Studio
from plugins.common.tasks import Task

from . import canvas as canvases
from . import documents, pixels, pose, rasters
from .animation import frame_times, place_frames, read_frames
from .asking import Read, job_of, size_for, transparent_part, without_alpha
from .bounds import Bounds
from .canvas import Canvas, CanvasError, Mask
from .layers import ControlLayer, Exact, SteeringLayers
from .modes import BY_KEY, Mode
from .pixels import Picture
from .places import Place, packed
from .pose import Limb
from .pose_layer import add_people, add_pose, joints_in, move_limbs
from .results import cropped, layer_name, pictures_of
from .slices import Slices, Work
from .texts import tr

log = logging.getLogger("brushwire.krita")

#: Maps that hold data, not colour.
_COLOURS = frozenset({"image", "albedo", "emission"})


class Workspace:
    """What the docker does, without the docker.

    on_problem: told a sentence and its remedy. on_placed: told the task whose result is in its document. on_file: asked
    for the path of a file that a job made, with its name; None: not now.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.slices = Slices()
        self.documents = documents.Documents()
        self.on_problem: list[Callable[[str, str], object]] = []
        self.on_placed: list[Callable[[str], object]] = []
        self.on_file: Callable[[str], Path | None] = lambda _name: None
        self._applying: set[str] = set()
        #: Where the limbs of poses are drawn, by their layers and their names.
        self._limbs: dict[str, dict[str, Limb]] = {}
        studio.on_task.append(self._changed)

    # -- what is asked

    @property
    def document(self) -> Any:
        """The document that is worked in, or None."""
        return Krita.instance().activeDocument()

    def canvas(self) -> Canvas:
        """The pixels of the document that is worked in. Raises CanvasError without one."""
        if self.document is None:
            raise CanvasError(tr("No document is open."), tr("Open or create one first."))
        return Canvas(self.document)

    def ask(self, mode: Mode, form: Form, *, live: bool = False) -> None:
        """Ask for a job; returns at once. What is wrong comes through `on_problem`, the rest as the studio's task."""
        self.slices.start(self._asking(mode, self._snapshot(form), live=live), self.failed)

    def _snapshot(self, form: Form) -> Form:
        copy = self.studio.form(form.kind)
        copy.load(form.values)
        return copy

    def failed(self, error: Exception) -> None:
        """Tell what went wrong, with its remedy."""
        if isinstance(error, CanvasError):
            self._say(error.sentence, error.remedy)
        elif isinstance(error, InvalidValue):
            self._say(str(error), error.remedy)
        else:
            log.error("work in the docker failed", exc_info=error)
            self._say(f"{type(error).__name__}: {error}", tr("Nothing was changed; try it again."))

    def _say(self, sentence: str, remedy: str) -> None:
        for listener in self.on_problem:
            listener(sentence, remedy)

    def _asking(self, mode: Mode, form: Form, *, live: bool) -> Work:
        canvas = self.canvas()
        steering = SteeringLayers(canvas.document)
        bounds, mask = self._where(mode, canvas)
        place = self._place(mode, canvas, bounds, mask)
        hosted: dict[str, Any] = {}
        if mode.kind == "Frames":
            times = frame_times(canvas)
            place = replace(place, times=tuple(times))
            frames: list[Picture] = []
            yield from read_frames(canvas, times, bounds, frames)
            hosted["frames"] = frames
        elif mode.takes != "nothing":
            hosted["image"] = yield from self._read(canvas, bounds, self._hidden(canvas, steering))
        else:
            hosted.update(size_for(bounds))
        if mask is not None and mode.takes in ("selection", "transparent"):
            # Hard: the layer's own alpha blends at the border, and the colours below it are whole.
            hosted["mask"] = pixels.mask_of(pixels.hard(mask.within(bounds)), bounds.width, bounds.height)
            hosted["image"] = without_alpha(hosted["image"])
        if "controls" in {field.name for field in form.hosted}:
            hosted["controls"] = [self._control(canvas, control, bounds) for control in steering.controls]
            yield
        if "regions" in {field.name for field in form.hosted}:
            hosted["regions"] = [self._region(canvas, region, bounds) for region in steering.regions]
        if mode.kind == "Mesh":
            hosted.update(self._depth(canvas, steering, bounds))
        self.studio.submit(
            partial(job_of, form, hosted),
            form,
            title=str(form.values.get("prompt", "")) or tr(mode.label),
            place=place.to_plain(),
            priority="live" if live else "interactive",
            slot=f"krita {place.document}" if live else "",
            on_disconnect="cancel" if live else "keep",
        )

    def _where(self, mode: Mode, canvas: Canvas) -> tuple[Bounds, Mask | None]:
        """The rectangle that a job sees, and the mask of what is painted."""
        mask = canvas.mask(mode.grow, mode.feather)
        if mode.takes == "selection" and mask is None:
            raise CanvasError(tr("Nothing is selected."), tr("Select what is to be painted."))
        if mode.takes == "transparent":
            mask = transparent_part(canvas, mask)
        if mask is None or mode.kind in ("Frames", "Upscale", "Mesh"):
            return canvas.bounds, None
        if mode.takes == "nothing":
            return mask.bounds, mask
        if mode.becomes == "control":
            return canvas.bounds, None
        return mask.bounds.pad(mode.context).intersect(canvas.bounds).at_least(256, canvas.bounds), mask

    def _place(self, mode: Mode, canvas: Canvas, bounds: Bounds, mask: Mask | None) -> Place:
        kept = "" if mask is None else packed(mask.within(bounds))
        return Place(
            self.documents.id_of(canvas.document), mode.key, bounds.x, bounds.y, bounds.width, bounds.height, kept,
            canvas.anchors(),
        )  # fmt: skip

    def _hidden(self, canvas: Canvas, steering: SteeringLayers) -> list[Any]:
        """Control layers are no part of the picture; regions are."""
        nodes = [canvases.node_by_id(canvas.document, control.layer) for control in steering.controls]
        return [node for node in nodes if node is not None and node.visible()]

    def _read(self, canvas: Canvas, bounds: Bounds, hidden: Sequence[Any]) -> Any:
        if hidden:
            return canvas.picture(bounds, hidden=hidden)
        reading = canvas.read(bounds)
        while not reading.advance():
            yield
        return Read(reading) if reading.format.travels_as_it_is else canvas.to_travel(reading)

    def _control(self, canvas: Canvas, control: ControlLayer, bounds: Bounds) -> dict[str, Any]:
        fields = {"kind": control.kind, "weight": control.weight, "start": control.start, "end": control.end}
        layer = canvases.node_by_id(canvas.document, control.layer)
        joints = joints_in(canvas, layer) if control.kind == "pose" and layer is not None else []
        if joints:
            data, rows = pose.keypoints(joints, bounds.x, bounds.y)
            return {**fields, "image": Blob.of(data, shape=(rows, 3), dtype="float32", color="data")}
        exact = self.exact(canvas.document, control)
        if exact is not None and (blob := exact.blob(bounds, canvas.bounds)) is not None:
            return {**fields, "image": blob}
        if layer is None:
            raise CanvasError(tr("A control layer is gone."), tr("Remove it from the list of control layers."))
        return {**fields, "image": rasters.control_picture(canvas.picture(bounds, layer, depth="U8"), control.kind)}

    def _region(self, canvas: Canvas, region: Any, bounds: Bounds) -> dict[str, Any]:
        node = canvases.node_by_id(canvas.document, region.layer)
        if node is None:
            raise CanvasError(tr("A region's layer is gone."), tr("Remove it from the list of regions."))
        alpha = bytes(canvas.picture(bounds, node, depth="U8").data[3::4])
        return {"prompt": region.prompt, "weight": region.weight,
                "mask": pixels.mask_of(alpha, bounds.width, bounds.height)}  # fmt: skip

    def _depth(self, canvas: Canvas, steering: SteeringLayers, bounds: Bounds) -> dict[str, Any]:
        """A depth layer's exact depth and camera, for a mesh; nothing where there is none."""
        for control in steering.controls:
            exact = self.exact(canvas.document, control) if control.kind == "depth" else None
            if exact is not None and (blob := exact.blob(bounds, canvas.bounds)) is not None:
                return {"depth": blob, **({"camera": exact.camera} if exact.camera else {})}
        return {}

    def exact(self, document: Any, control: ControlLayer) -> Exact | None:
        """The exact data that belongs to a control layer."""
        data = documents.read_bytes(document, control.exact) if control.exact else None
        return None if data is None else Exact.from_bytes(data)

    # -- what comes back

    def _changed(self, task: Task) -> None:
        if task.stage != "finished" or task.placed or task.id in self._applying:
            return
        place = Place.from_plain(task.place)
        if place is None or place.mode == "live" or not self.studio.settings["apply_at_once"]:
            return
        if len(task.result.outputs) > 1 and BY_KEY[place.mode].becomes == "layer":
            return  # of several, the artist chooses
        if self.documents.find(place.document) is None:
            self._say(tr("A result's document is closed."), tr("Open it again, and apply the result from the history."))
            return
        self.apply(task.result, place)

    def apply(self, result: JobResult, place: Place, index: int = 0) -> None:
        """Put a result where it belongs; into the present document where its own is not open. Returns at once."""
        self._applying.add(result.id)
        self.slices.start(self._placing(result, place, index), partial(self._not_placed, result.id))

    def _not_placed(self, job_id: str, error: Exception) -> None:
        self._applying.discard(job_id)
        self.failed(error)

    def _placing(self, result: JobResult, place: Place, index: int) -> Work:
        document = self.documents.find(place.document) or self.document
        if document is None:
            raise CanvasError(
                tr("The document is closed."), tr("Open it again, and apply the result from the history.")
            )
        canvas, mode = Canvas(document), BY_KEY[place.mode]
        dx, dy = canvas.moved_since(place.anchors)
        bounds = Bounds(place.x + dx, place.y + dy, place.width, place.height)
        name = layer_name(mode, result, index)
        yield
        if mode.becomes == "file":
            if not self._save(result):
                self._applying.discard(result.id)
                return
        elif mode.becomes == "group":
            layers = []
            for output, picture in pictures_of(result):
                colour = output.name in _COLOURS
                layers.append(canvas.layer(picture, bounds.x, bounds.y, output.name, as_data=not colour))
                layers[-1].setVisible(
                    colour
                )  # the material is seen by its colours; its other maps are there to be used
                yield
            canvas.place_group(layers, name)
        elif mode.becomes == "frames":
            frames = [picture for _, picture in pictures_of(result)]
            yield from place_frames(canvas, frames, list(place.times), bounds, name)
        elif mode.becomes == "document":
            self._open(canvas, Picture.of_blob(result.blobs[index]), name)
        else:
            picture = cropped(Picture.of_blob(result.blobs[index]), bounds)
            if mode.becomes == "control":
                self._add_control(canvas, result, index, picture, bounds)
            else:
                canvas.place(picture, bounds.x, bounds.y, name, alpha=place.alpha)
        self._placed(result.id)

    def _placed(self, job_id: str) -> None:
        self._applying.discard(job_id)
        for task in self.studio.tasks:
            if task.id == job_id:
                self.studio.placed(task)
        for listener in self.on_placed:
            listener(job_id)

    def _add_control(self, canvas: Canvas, result: JobResult, index: int, picture: Picture, bounds: Bounds) -> None:
        output = result.outputs[index]
        kind = str(output.info.get("control") or output.info.get("kind") or output.name)
        exact = None
        if picture.dtype == "float32" and kind in ("depth", "normal"):
            exact = Exact(kind, (picture.height, picture.width), bytes(picture.data))
        self.add_control(canvas, kind, picture, bounds, exact)

    def add_control(
        self, canvas: Canvas, kind: str, picture: Picture | None, bounds: Bounds, exact: Exact | None = None
    ) -> Any:
        """A new control layer that shows the picture, with its exact data kept in the document. Returns the layer."""
        name = f"{tr('Control')}: {kind}"
        if picture is None:
            picture = Picture(bytes(4 * bounds.width * bounds.height), bounds.width, bounds.height, 4, "uint8")
        own = canvas.format
        if picture.channels == 1 and picture.dtype == "float32" and own.depth != "F32":
            picture = pixels.stretched(picture)  # what an integer layer can show of it
        node = canvas.place(picture, bounds.x, bounds.y, name, as_data=exact is not None)
        layer = canvases.id_of(node)
        kept = ""
        if exact is not None:
            kept = f"exact/{layer}"
            documents.write_bytes(canvas.document, kept, exact.to_bytes())
        SteeringLayers(canvas.document).set_control(ControlLayer(layer, kind, exact=kept))
        return node

    def add_maps(self, maps: Sequence[Exact]) -> None:
        """Exact maps from a scene as control layers. Raises CanvasError where the document is of another size."""
        canvas = self.canvas()
        for exact in maps:
            size = exact.shape[1], exact.shape[0]
            if exact.kind != "pose" and size != (canvas.bounds.width, canvas.bounds.height):
                raise CanvasError(
                    tr("The maps are of another size than the document: {0}.").replace("{0}", f"{size[0]}×{size[1]}"),
                    tr("Open them in a document of their size."),
                )
            if exact.kind == "pose":
                rows = list(struct.iter_unpack("<3f", exact.data))
                of_one = next((n for n in (130, 60, 18) if len(rows) % n == 0), 18)
                layer = canvases.id_of(add_people(canvas, rows, of_one))
                SteeringLayers(canvas.document).set_control(ControlLayer(layer, "pose"))
            else:
                self.add_control(canvas, exact.kind, exact.picture(), canvas.bounds, exact)

    def add_pose(self) -> None:
        """A pose to be moved with Krita's tools, as a control layer. Raises CanvasError without a document."""
        canvas = self.canvas()
        layer = canvases.id_of(add_pose(canvas))
        SteeringLayers(canvas.document).set_control(ControlLayer(layer, "pose"))

    def follow_poses(self) -> None:
        """Let the limbs of poses follow where joints were moved."""
        document = self.document
        if document is None:
            return
        canvas = Canvas(document)
        for control in SteeringLayers(document).controls:
            layer = canvases.node_by_id(document, control.layer) if control.kind == "pose" else None
            joints = joints_in(canvas, layer) if layer is not None else []
            if joints:
                move_limbs(canvas, layer, joints, self._limbs.setdefault(control.layer, pose.limbs(joints)))

    def _open(self, canvas: Canvas, picture: Picture, name: str) -> None:
        own, document = canvas.format, canvas.document
        title = f"{document.name() or tr('Picture')} {name}"
        made = Krita.instance().createDocument(
            picture.width, picture.height, title, own.model, own.depth, own.profile, document.resolution()
        )
        Krita.instance().activeWindow().addView(made)
        Canvas(made).place(picture, 0, 0, name)

    def _save(self, result: JobResult) -> bool:
        for output, blob in zip(result.outputs, result.blobs, strict=True):
            if len(blob.ref.shape) != 1:
                continue
            path = self.on_file(output.name)
            if path is None:
                return False
            path.write_bytes(blob.data)
        return True

    def close(self) -> None:
        """Give up what is on its way into documents; it stays in the history."""
        self.slices.stop()
        self.documents.forget()
