"""The jobs about geometry, and the records that they share. See `bridge_protocol.jobs` for what is done with them.

Cameras travel as plain numbers, in the project's convention: OpenCV axes (x right, y down, z forward), pinhole
intrinsics in pixels with pixel centres at (i + 0.5), world-to-camera.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .painting import MAX_SEED, Array, Painting
from .records import InvalidValue, param

DepthKind = Literal["metric", "disparity", "relative", "radius", "height"]
MeshFormat = Literal["glb", "obj", "ply", "stl", "usdz"]
MeshShape = Literal["surface", "points", "relief", "terrain"]
Projection = Literal["perspective", "orthographic", "equirectangular"]

_FILE_NAME = re.compile(r"[\w -][\w. -]*")

IDENTITY = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]


@dataclass(frozen=True)
class Camera:
    """A camera with its picture's size."""

    width: int = param(doc="Its picture's width.", unit="px", minimum=1, maximum=32768)
    height: int = param(doc="Its picture's height.", unit="px", minimum=1, maximum=32768)
    fx: float = param(
        doc="Focal length along x in pixels; orthographic: pixels a scene unit; equirectangular: a radian.",
        unit="px",
    )
    fy: float = param(doc="The same along y.", unit="px")
    cx: float = param(doc="The principal point's x.", unit="px")
    cy: float = param(doc="The principal point's y.", unit="px")
    projection: Projection = param("perspective", "How it projects.")
    world_to_camera: list[float] = param(
        default_factory=lambda: list(IDENTITY), doc="4×4, row by row, for column vectors.", max_length=16
    )

    def __post_init__(self) -> None:
        for name in ("fx", "fy"):
            if getattr(self, name) <= 0:
                raise InvalidValue(name, getattr(self, name), "a positive number of pixels")
        if len(self.world_to_camera) != 16:
            raise InvalidValue("world_to_camera", f"{len(self.world_to_camera)} numbers", "16 numbers")


@dataclass(frozen=True)
class Mesh:
    """Turn a depth map, or a picture whose depth is read first, into a textured mesh.

    The file is y up and in scene units; an unmoved camera stands at its origin and looks down -z.
    """

    depth: Array | None = param(None, "(h, w) numbers of the kind below; none: read from the image.")
    image: Array | None = param(None, "The picture that becomes the texture, (h, w, 3 or 4), of the depth's aspect.")
    kind: DepthKind = param(
        "metric",
        "What the depth map holds: z in scene units, disparity in pixels (calibrated by baseline, doffs and camera), "
        "relative inverse depth (near is large; integers over their range, floats over their own), the radius along "
        "the ray, or a height field.",
    )
    unit: float = param(1.0, "One step of the map's numbers, in scene units; disparity: in pixels.", minimum=0)
    camera: Camera | None = param(None, "What the map was seen by; none: fov and the map's size say it.")
    fov: float = param(50.0, "The horizontal field of view where no camera is given.", unit="°", minimum=1, maximum=170)
    baseline: float | None = param(None, "Disparity: the distance of the two cameras.", unit="scene units", minimum=0)
    doffs: float = param(0.0, "Disparity: the difference of the principal points.", unit="px")
    near: float | None = param(
        None, "Relative depth: where its largest value lies; none: at 1.", unit="scene units", minimum=0
    )
    far: float | None = param(
        None, "Relative depth: where its smallest value lies; none: ten times as far as near.", unit="scene units",
        minimum=0,
    )  # fmt: skip
    detector: str = param("", "Reads the depth from the image; empty: the best there is.", choices_from="detectors")
    shape: MeshShape = param(
        "surface", "What is built: the seen surface, its points (as PLY), a relief to print, or a terrain."
    )
    fill_holes: bool = param(False, "Give what was not measured a depth: that of the farther surface around it.")
    layers: bool = param(False, "Put the hidden background behind the foreground.")
    inpaint: bool = param(False, "Let the model paint the hidden background; else its colours are continued.")
    prompt: str = param("", "What the hidden background shows, for inpaint.", max_length=10_000)
    model: str = param("", "The checkpoint that inpaints; empty: the server's default.", choices_from="models")
    seed: int = param(0, "For inpaint: the same seed paints the same background.", minimum=0, maximum=MAX_SEED)
    triangles: int | None = param(None, "Simplify to about so many.", minimum=4, maximum=100_000_000)
    edge_ratio: float | None = param(
        None, "How many times farther the neighbour may be before the surface is cut; none: 1.02.",
        minimum=1.001, maximum=2,
    )  # fmt: skip
    sharpening: Literal["auto", "always", "never"] = param("auto", "Whether blurred depth edges are made steps.")
    normal_map: bool = param(False, "Bake the full depth's normals onto the simplified mesh.")
    width: float | None = param(
        None, "Relief and terrain: the width of what is built; none: 100 as STL, else 1.", unit="scene units",
        minimum=0.000001,
    )  # fmt: skip
    relief_height: float = param(
        0.2, "Relief and terrain: the height over the width.", minimum=0.001, maximum=10, step=0.01
    )
    base: float = param(0.05, "Relief: the thickness of the base over the width.", minimum=0.001, maximum=10, step=0.01)
    format: MeshFormat = param("glb", "Which file is made.")
    name: str = param("mesh", "The file's name, without its suffix.", max_length=100)
    scene_up: Literal["-y", "+y", "+z"] = param(
        "-y", "The axis of the camera's world that points up; an unmoved camera's own is -y."
    )
    up: Literal["+y", "+z"] | None = param(
        None, "The axis that points up in the file; none: y, and z for a relief as STL. A glb is always y up."
    )
    preview_size: int = param(512, "The longer side of the preview.", unit="px", minimum=16, maximum=2048)
    preview_turn: float = param(
        12.0, "How far beside the camera the preview is seen from.", unit="°", minimum=-180, maximum=180
    )

    def __post_init__(self) -> None:
        if self.depth is None and self.image is None:
            raise InvalidValue("depth", None, "given, or an image to read it from", "Send a depth map or a picture.")
        if self.kind == "disparity" and not self.baseline:
            remedy = "Send the baseline, or use the kind relative."
            raise InvalidValue("baseline", self.baseline, "given with disparity, and more than 0", remedy)
        if self.unit == 0:
            raise InvalidValue("unit", self.unit, "more than 0")
        near = 1.0 if self.near is None else self.near
        if near == 0:
            raise InvalidValue("near", near, "more than 0")
        if self.far is not None and near >= self.far:
            raise InvalidValue("near", near, f"less than far ({self.far:g})")
        if self.kind == "height" and self.shape not in ("relief", "terrain"):
            remedy = "Ask for a relief or a terrain, or say what else the map holds."
            raise InvalidValue("shape", self.shape, "relief or terrain for a height field", remedy)
        if self.shape == "points" and self.format != "ply":
            raise InvalidValue("format", self.format, "ply for points")
        if self.inpaint and self.image is None:
            raise InvalidValue("inpaint", True, "false without an image", "Send the picture that it is to continue.")
        if self.up == "+z" and self.format == "glb":
            raise InvalidValue("up", self.up, "+y in a glb", "Leave up out: every program turns a glb as it needs it.")
        if not _FILE_NAME.fullmatch(self.name):
            allowed = "letters, digits, spaces and ._- (the first no dot)"
            raise InvalidValue("name", self.name, allowed)


@dataclass(frozen=True)
class View:
    """One camera of a rig, with what it sees."""

    camera: Camera = param(doc="Where it stands.")
    depth: Array | None = param(
        None, "(h, w) float32 z of everything that it sees, +inf where nothing is; none: the mesh alone is seen."
    )
    normal: Array | None = param(None, "(h, w, 3) float32 in camera space, as a control.")
    image: Array | None = param(None, "A picture that was painted already, (h, w, 3 or 4); it is baked as it is.")
    mask: Array | None = param(None, "(h, w): how much each pixel of its picture counts.")
    prompt: str = param("", "Words for this view alone, behind the job's own.", max_length=10_000)
    weight: float = param(1.0, "How much it counts where several see the same.", minimum=0, maximum=10, step=0.05)


@dataclass(frozen=True, kw_only=True)
class Views(Painting):
    """Paint a mesh from a rig of cameras, and bake what was painted into its texture."""

    vertices: Array = param(doc="(n, 3) float32, in the scene's axes and units; flat (3·n,) where n is above 32768.")
    triangles: Array = param(doc="(m, 3) uint32, indices of vertices, or flat (3·m,).")
    uvs: Array = param(doc="(3·m, 2) float32, for each corner of each triangle, u right, v up; or flat (6·m,).")
    views: list[View] = param(doc="The cameras, in the order of painting.", max_length=64)
    mode: Literal["sequential", "grid", "refine", "bake"] = param(
        "sequential",
        "Each view paints what is not covered yet; all views in one picture; each paints over what is there; or "
        "nothing is painted and the given pictures are baked.",
    )
    texture: Array | None = param(None, "(h, w, 3 or 4): what is on the mesh already; kept where no camera sees.")
    width: int = param(2048, "The texture's width.", unit="px", minimum=64, maximum=8192, step=8)
    height: int = param(2048, "The texture's height.", unit="px", minimum=64, maximum=8192, step=8)
    denoising_strength: float = param(
        1.0, "How much is painted anew, in the refine mode.", minimum=0, maximum=1, step=0.01
    )
    follow_depth: float = param(1.0, "How strongly the depth is followed; 0: not at all.", minimum=0, maximum=2)
    follow_normal: float = param(0.0, "How strongly the normals are followed; 0: not at all.", minimum=0, maximum=2)
    max_angle: float = param(
        75.0, "A surface that is seen under a flatter angle than this gets nothing.", unit="°", minimum=10, maximum=89
    )
    dilation: int = param(16, "How far colours go beyond the islands' edges.", unit="px", minimum=0, maximum=256)

    def __post_init__(self) -> None:
        if not self.views:
            raise InvalidValue("views", self.views, "at least one view", "Send a rig of at least one camera.")
        if self.mode == "bake" and not any(view.image is not None for view in self.views):
            raise InvalidValue("mode", self.mode, "bake only where a view has an image", "Send painted pictures.")
