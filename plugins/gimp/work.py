"""One job's way between an image and the server: what is read for it, and where its result is put.

In the main thread alone, as everything that asks GIMP for something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gi.repository import Gimp

from bridge_protocol.blobs import Blob
from bridge_protocol.handle import JobResult
from bridge_protocol.jobs import PlainJob

from . import canvas, modes
from .canvas import CanvasError, Pixels
from .modes import Mode


@dataclass
class Errand:
    """A job that can be submitted, and what must be known to bring its result home.

    make: makes the job, off the main thread. place: as plain values, for the history. mask: of what was painted.
    """

    mode: Mode
    make: Callable[[], PlainJob]
    place: dict[str, Any]
    mask: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Delivered:
    """What became of a result: the image that holds it, its layer (or the group of its layers), or the file.

    fresh: whether the image is a new one.
    """

    image: Gimp.Image | None = None
    layer: Gimp.Layer | None = None
    file: Path | None = None
    fresh: bool = False


def gather(mode: Mode, image: Gimp.Image | None, values: dict[str, Any], file: Path | None = None) -> Errand:
    """Read what the mode needs of the image. Raises CanvasError.

    values: of the mode's form. file: where a mesh is written.
    """
    extras = {extra.name: values.get(extra.name, extra.default) for extra in mode.extras}
    if image is not None:
        canvas.check(image)
    elif mode.reads != "nothing" or extras.get("from_image"):
        raise CanvasError("No image is open.", "Open the picture first.")
    if mode.makes == "file" and file is None:
        raise CanvasError("It is not said where the mesh goes.", "Name a file.")
    fields = modes.job_fields(mode, values)
    if mode.kind == "Annotate" and not fields["detector"]:  # the server takes the best that it has for it
        fields["detector"] = extras["shows"]
    if file is not None and mode.makes == "file":  # its name says which kind of file it is
        fields |= {"name": file.stem, "format": file.suffix[1:].lower() or "glb"}
    place: dict[str, Any] = {"mode": mode.name, "values": values, "file": str(file or "")}
    if image is not None:
        place |= {"image": image.get_id(), "image_name": image.get_name()}
    if mode.reads == "nothing" and not extras.get("from_image"):
        return _from_words(mode, image, fields, place)
    assert image is not None
    if mode.reads == "selection":
        return _from_selection(mode, image, fields, place, extras["context"])
    if mode.reads == "border":
        return _from_border(mode, image, fields, place, extras)
    return _from_whole(mode, image, fields, place)


def deliver(errand: Errand, result: JobResult, image: Gimp.Image | None = None) -> Delivered:
    """Put a result where it belongs: one undo step. Raises CanvasError, and OSError where a file cannot be written.

    image: another one than the job was asked for.
    """
    mode, place = errand.mode, errand.place
    if mode.makes == "file":
        return Delivered(file=_write(result, Path(place["file"])))
    # What a detector measured exactly (depths, keypoints) is for programs; the picture of it is for the eye.
    seen = mode.kind == "Annotate"
    pictures = [
        (output, pixels)
        for output, blob in zip(result.outputs, result.blobs, strict=True)
        if (pixels := pixels_of(blob)) is not None and not (seen and blob.ref.color == "data")
    ]
    if not pictures:
        raise CanvasError("The server has made no picture.", "Its log tells why.")
    if mode.makes == "image" or (image is None and "image" not in place):
        largest = pictures[0][1]
        target = canvas.new_image(largest.width, largest.height, largest.dtype)
        return replace(_into(errand, pictures, target, result), fresh=True)
    target = image or Gimp.Image.get_by_id(place["image"])
    if target is None or not target.is_valid():
        raise CanvasError(
            f"The image {place.get('image_name', '')} was closed while it was being painted.",
            "The result waits: Filters → Brushwire → Studio inserts it into another image.",
        )
    canvas.check(target)
    return _into(errand, pictures, target, result)


def pixels_of(blob: Blob) -> Pixels | None:
    """A blob as pixels that a layer can hold; None where it is no picture."""
    shape, dtype, data = blob.ref.shape, blob.ref.dtype, blob.data
    if (
        len(shape) == 1
        or (len(shape) == 3 and shape[2] not in (1, 3, 4))
        or dtype not in ("uint8", "uint16", "float32")
    ):
        return None
    return Pixels(data, shape[1], shape[0], shape[2] if len(shape) == 3 else 1, dtype)


# -- reading


def _from_words(mode: Mode, image: Gimp.Image | None, fields: dict[str, Any], place: dict[str, Any]) -> Errand:
    if image is not None and mode.makes == "layer":
        area = canvas.selected(image) or canvas.whole(image)
        place["area"] = [area.x, area.y, area.width, area.height]
        fields.setdefault("width", min(8192, modes.multiple_of_eight(area.width)))
        fields.setdefault("height", min(8192, modes.multiple_of_eight(area.height)))
    return Errand(mode, lambda: PlainJob(mode.kind, fields), place)


def _from_whole(mode: Mode, image: Gimp.Image, fields: dict[str, Any], place: dict[str, Any]) -> Errand:
    area = canvas.whole(image)
    place["area"] = [area.x, area.y, area.width, area.height]
    layer = canvas.depth_layer(image) if mode.kind == "Mesh" else None
    if layer is not None and layer in image.get_layers():
        return _from_depth(mode, *canvas.read_beneath(image, layer, area), fields, place)
    pixels = canvas.read(image, area)
    chosen = canvas.selected(image) if mode.kind == "Generate" else None
    mask = canvas.read_selection(image, area) if chosen is not None else b""
    return _with_picture(mode, pixels, mask, fields, place)


def _from_selection(
    mode: Mode, image: Gimp.Image, fields: dict[str, Any], place: dict[str, Any], context: int
) -> Errand:
    chosen = canvas.selected(image)
    if chosen is None:
        raise CanvasError("Nothing is selected.", "Select what is to be painted.")
    reach = context + max(0, fields.get("mask_grow", 0)) + fields.get("mask_feather", 0)
    area = chosen.padded(reach, reach, reach, reach).inside(canvas.whole(image))
    pixels, mask = canvas.read(image, area), canvas.read_selection(image, area)
    place["area"] = [area.x, area.y, area.width, area.height]
    grown = fields.get("mask_grow", 0) > 0 or fields.get("mask_feather", 0) > 0
    errand = _with_picture(mode, pixels, mask, fields, place)
    if grown:  # what is painted is more than what was selected, and only the server knows it exactly
        errand.mask = b""
    return errand


def _from_border(
    mode: Mode, image: Gimp.Image, fields: dict[str, Any], place: dict[str, Any], extras: dict[str, Any]
) -> Errand:
    sides = [extras[name] for name in ("left", "top", "right", "bottom")]
    if not any(sides):
        raise CanvasError("The canvas is not extended by anything.", "Say how much is added at one side at least.")
    inner = canvas.whole(image)
    area = inner.padded(*sides)
    pixels = canvas.read(image, area)
    left, top, right, bottom = sides
    mask = modes.border_mask(inner.width, inner.height, left, top, right, bottom)
    place |= {"area": [0, 0, area.width, area.height], "sides": sides}
    return _with_picture(mode, pixels, mask, fields, place)


def _from_depth(mode: Mode, picture: Pixels, depth: Pixels, fields: dict[str, Any], place: dict[str, Any]) -> Errand:
    """A mesh of a depth map that is a layer: near is white, as every detector draws it."""

    def make() -> PlainJob:
        hosted = {
            "kind": "relative",
            "depth": Blob.of(depth.data, shape=depth.shape[:2], dtype=depth.dtype, color="data"),
            "image": Blob.of(picture.data, shape=picture.shape, dtype=picture.dtype, color="srgb"),
        }
        return PlainJob(mode.kind, {**fields, **hosted})

    return Errand(mode, make, place)


def _with_picture(mode: Mode, pixels: Pixels, mask: bytes, fields: dict[str, Any], place: dict[str, Any]) -> Errand:
    def make() -> PlainJob:
        hosted = {"image": Blob.of(pixels.data, shape=pixels.shape, dtype=pixels.dtype, color="srgb")}
        if mask:
            hosted["mask"] = Blob.of(mask, shape=pixels.shape[:2], dtype="uint8", color="data")
        return PlainJob(mode.kind, {**fields, **hosted})

    return Errand(mode, make, place, mask)


# -- writing


def _into(errand: Errand, pictures: list[tuple[Any, Pixels]], target: Gimp.Image, result: JobResult) -> Delivered:
    mode, place = errand.mode, errand.place
    x, y, width, height = place.get("area", [0, 0, target.get_width(), target.get_height()])
    if mode.makes == "image":
        x, y, width, height = 0, 0, target.get_width(), target.get_height()
    several = mode.makes == "group" or len(pictures) > 1
    title = f"{mode.layer}: {_title(place)}"
    layer: Any = None
    with canvas.one_undo_step(target):
        if "sides" in place and target.get_id() == place.get("image"):
            left, top, right, bottom = place["sides"]
            canvas.extend(target, left, top, right, bottom)
        group = canvas.add_group(target, title) if several else None
        if group is not None:
            canvas.remember(group, _settings(place, pictures[0][0], result))
        for output, pixels in reversed(pictures):  # each goes above the one before: the first ends at the top
            shown = pixels.cropped(width, height) if mode.kind == "Generate" else pixels
            if errand.mask and len(errand.mask) == shown.width * shown.height:
                shown = shown.painted(errand.mask, cut="sides" not in place)
            name = _name(mode, output) if several or mode.kind == "Annotate" else title
            settings = _settings(place, output, result)
            layer = canvas.add_layer(target, name, shown, x, y, settings=settings, parent=group)
    return Delivered(target, group or layer)


def _write(result: JobResult, path: Path) -> Path:
    """The mesh into its file, and what belongs to it (a material, a texture) beside it."""
    files = [(output, blob) for output, blob in zip(result.outputs, result.blobs, strict=True)
             if len(blob.ref.shape) == 1]  # fmt: skip
    if not files:
        raise CanvasError("The server has made no mesh.", "Its log tells why.")
    path.write_bytes(files[0][1].data)
    for output, blob in files[1:]:
        path.with_name(Path(str(output.info.get("filename", output.name))).name).write_bytes(blob.data)
    return path


def _settings(place: dict[str, Any], output: Any, result: JobResult) -> dict[str, Any]:
    """What stands on a layer: how to paint it again."""
    values = dict(place["values"])
    if isinstance(output.info.get("seed"), int):
        values["seed"] = output.info["seed"]
    return {"version": 1, "mode": place["mode"], "values": values, "output": output.name, "job": result.id,
            "model": result.info.get("model", "")}  # fmt: skip


def _title(place: dict[str, Any]) -> str:
    words = " ".join(str(place["values"].get("prompt", "")).split())
    return (words[:48] + "…" if len(words) > 49 else words) or modes.MODES[place["mode"]].label


def _name(mode: Mode, output: Any) -> str:
    if mode.kind == "Annotate":
        return f"{str(output.info.get('control', mode.layer)).capitalize()} map"
    name = str(output.name).replace("_", " ").capitalize()
    seed = output.info.get("seed")
    return f"{name} {seed}" if mode.kind == "Generate" and seed is not None else name
