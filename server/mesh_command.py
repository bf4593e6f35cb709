"""``brushwire mesh``: a depth map or a picture from a file, as a Mesh job, and its files at the end.

Whatever a depth file's makers mean by its numbers is found out here, on the client's side; the server is sent the
numbers themselves, with their kind, unit and camera.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient, JobResult
from bridge_protocol.records import InvalidValue
from depth3d.calibration import Calibration, read_calibration
from depth3d.read import CONVENTIONS, read_values
from depth3d.write import write_depth
from server import commands, options, pictures, watching
from server.commands import err

#: Fields of the job that come from the files and from options of another form.
_OWN = ("depth", "image", "camera", "format", "name")
_DEPTH_SUFFIXES = (".npy", ".pfm", ".exr")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def mesh(source: Path, output: Path | None, image: Path | None, depth_out: Path | None, timeout: float | None,
         convention: str | None, calibration: Path | None, numbers: dict[str, float | None], projection: str | None,
         **given: Any) -> None:  # fmt: skip
    """Turn a depth map, or a picture, into a textured mesh, and show it in a preview next to it.

    SOURCE: depth as .npy, .pfm, .exr or .png (16-bit; 8-bit with --kind), or a picture, whose depth a model then reads.
    """
    path = output or Path(source.with_suffix(".glb").name)
    known = None if calibration is None else _calibration(calibration)
    given = {name: value for name, value in given.items() if value is not None}
    fields: dict[str, Any] = {"format": path.suffix.lower().removeprefix("."), "name": _job_name(path)}
    if _is_depth(source, given, image, convention, known):
        values = _depth_of(source)
        if convention is not None:
            given = _meaning(convention, given)
        if known is not None:
            given = _calibrated(known, values.shape[1], given)
        if "kind" not in given and "baseline" in given:
            err.print(
                "note: With a baseline, the numbers are taken as disparity; --kind says otherwise.", style="yellow"
            )
            given["kind"] = "disparity"
        fields["depth"] = Blob.of(np.ascontiguousarray(values))
        size = values.shape[1], values.shape[0]
    else:
        image, size = source, _size_of(source)
    if image is not None:
        fields["image"] = Blob.of(pictures.read_picture(image, "image"), color="srgb")
    camera = _camera(size, known, numbers, projection)
    if camera is not None:
        fields["camera"] = camera
    job = options.job_of("Mesh", given, fields)
    with BridgeClient("brushwire mesh", start_server=True) as client:
        handle = client.submit(job, priority="interactive", auto_acknowledge=False)
        result = watching.follow(handle, path.name, timeout)
        commands.report(result, save(result, path, depth_out))
        handle.acknowledge()


def command() -> Any:
    """`mesh` with an option for each field of the job."""
    number = Annotated[float | None, typer.Option(help="In pixels, at the depth map's size.", metavar="X")]
    own: list[tuple[str, Any, Any]] = [
        ("source", Annotated[Path, typer.Argument(help="A depth map or a picture.", metavar="FILE")], ...),
        ("output", Annotated[Path | None, typer.Option("-o", "--output", help=(
            "The mesh: .glb, .obj, .ply, .stl or .usdz; written anew. Default: the source's name as .glb, here."))],
         None),
        ("image", Annotated[Path | None, typer.Option(help="The picture of a depth map.", metavar="FILE")], None),
        ("convention", Annotated[str | None, typer.Option(
            help="Whose files these are, instead of kind and unit. One of " + ", ".join(CONVENTIONS) + ".",
            metavar="NAME")], None),
        ("calibration", Annotated[Path | None, typer.Option(help=(
            "A calibration file of Middlebury, KITTI, ORB-SLAM (TUM), ROS or Open3D, or JSON with fx, fy, cx, cy."),
            metavar="FILE")], None),
        ("fx", number, None), ("fy", number, None), ("cx", number, None), ("cy", number, None),
        ("pixel_centre", Annotated[float, typer.Option(help=(
            "Where cx and cy count the first pixel's centre: 0.5, or 0 as Middlebury, KITTI and OpenCV do."))], 0.5),
        ("projection", Annotated[str | None, typer.Option(
            help="How the camera projects: perspective, orthographic (fx: pixels a unit) or equirectangular.",
            metavar="NAME")], None),
        ("depth_out", Annotated[Path | None, typer.Option(
            help="Where a depth that was read from the picture goes: .exr, .npy, .pfm or 16-bit .png.",
            metavar="FILE")], None),
        ("timeout", Annotated[float | None, typer.Option(help="Seconds to wait at most.")], None),
    ]  # fmt: skip
    fixed = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if default is ... else default,
            annotation=annotation,
        )
        for name, annotation, default in own
    ]

    def run(**values: Any) -> None:
        numbers = {name: values.pop(name) for name in ("fx", "fy", "cx", "cy", "pixel_centre")}
        mesh(numbers=numbers, **values)

    fields = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in options.parameters("Mesh")
        if parameter.name not in _OWN
    ]
    return options.shaped(run, [*fixed, *fields], mesh.__doc__)


def save(result: JobResult, path: Path, depth_out: Path | None = None) -> list[Path]:
    """Write a mesh's files beside each other, the preview too, and return their paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for made, blob in zip(result.outputs, result.blobs, strict=True):
        target = path
        if made.name == "preview":
            target = path.with_name(f"{path.stem}-preview.png")
            pictures.write_over(watching.array_of(blob), target)
        elif made.name == "depth":
            if depth_out is None:
                continue
            target = depth_out
            for warning in write_depth(watching.array_of(blob), target):
                err.print(f"note: {escape(warning)}", style="yellow")
        else:
            if made.name != "mesh":
                # A file's name is the server's; where it goes is decided here.
                target = path.with_name(Path(str(made.info["filename"])).name)
            target.write_bytes(blob.data)
        written.append(target)
    return written


# -- what the options mean


def _job_name(path: Path) -> str:
    """The file's name as far as it can travel; files beside the mesh are called after it."""
    return re.sub(r"[^\w. -]", "_", path.stem).lstrip(".")[:100] or "mesh"


def _is_depth(
    source: Path, given: dict[str, Any], image: Path | None, convention: str | None, known: Calibration | None
) -> bool:
    suffix = source.suffix.lower()
    if suffix in _DEPTH_SUFFIXES:
        return True
    if suffix not in _PICTURE_SUFFIXES:
        allowed = f"a depth map ({', '.join(_DEPTH_SUFFIXES)}, .png) or a picture ({', '.join(_PICTURE_SUFFIXES)})"
        raise InvalidValue("source", str(source), allowed, "Give the path of such a file.")
    if suffix != ".png":
        return False
    stored = _depth_png(source)
    said = image is not None or convention is not None or "kind" in given or known is not None
    if stored is None or stored.dtype == np.uint16 or said:
        return said or stored is not None
    raise InvalidValue(
        "source",
        str(source),
        "known as depth or as a picture: it is grey with 8 bits",
        "Say --kind relative (near is white) if it is depth, or save it in colour if it is a picture.",
    )


def _depth_png(path: Path) -> NDArray[Any] | None:
    """A PNG's numbers if it has one channel; None if it is a picture in colours."""
    try:
        return read_values(path)
    except FileNotFoundError:
        raise InvalidValue("source", str(path), "a file that exists") from None
    except ValueError as error:
        if "channel" in str(error):
            return None
        raise InvalidValue("source", str(path), "a depth map or a picture that can be read", f"{error}.") from None


def _depth_of(path: Path) -> NDArray[Any]:
    try:
        return read_values(path)
    except (FileNotFoundError, ValueError, ImportError) as error:
        raise InvalidValue("source", str(path), "a depth map that can be read", f"Look at it: {error}.") from None


def _size_of(path: Path) -> tuple[int, int]:
    picture = pictures.read_picture(path, "source")
    return picture.shape[1], picture.shape[0]


def _calibration(path: Path) -> Calibration:
    try:
        return read_calibration(path)
    except (OSError, ValueError) as error:
        raise InvalidValue("calibration", str(path), "a calibration file that can be read", f"{error}.") from None


def _meaning(convention: str, given: dict[str, Any]) -> dict[str, Any]:
    if convention not in CONVENTIONS:
        raise InvalidValue("convention", convention, "one of " + ", ".join(CONVENTIONS))
    kind, steps = CONVENTIONS[convention]
    return {"kind": kind, "unit": str(1 / steps), **given}


def _calibrated(known: Calibration, width: int, given: dict[str, Any]) -> dict[str, Any]:
    """The job's fields with what a calibration tells where the options do not."""
    told: dict[str, Any] = {"doffs": str(known.doffs_at(width))}
    if known.baseline is not None:
        told["baseline"] = str(known.baseline)
    if known.unit is not None and given.get("kind", "metric") == "metric":
        told["unit"] = str(known.unit)
    return {**told, **given}


def _camera(
    size: tuple[int, int], known: Calibration | None, numbers: dict[str, float | None], projection: str | None
) -> dict[str, Any] | None:
    """The job's camera: the options' numbers before the calibration's."""
    width, height = size
    given = {name: value for name, value in numbers.items() if value is not None and name != "pixel_centre"}
    to_ours = 0.5 - (numbers["pixel_centre"] or 0.0)
    for name in ("cx", "cy"):
        if name in given:
            given[name] += to_ours
    if projection == "equirectangular" and not given:
        given = {"fx": width / (2 * np.pi), "fy": height / np.pi}
    if not given and known is None:
        if projection not in (None, "perspective"):
            raise InvalidValue("fx", None, f"given for a camera that is {projection}: its pixels for one scene unit")
        return None
    if known is not None:
        own = known.camera(width, height)
        given = {"fx": own.fx, "fy": own.fy, "cx": own.cx, "cy": own.cy, **given}
    if "fx" not in given:
        raise InvalidValue("fx", None, "given with " + " and ".join(given), "Give --fx, or --fov instead of all four.")
    numbers = {"fy": given["fx"], "cx": width / 2, "cy": height / 2, **given}
    return {"width": width, "height": height, "projection": projection or "perspective", **numbers}
