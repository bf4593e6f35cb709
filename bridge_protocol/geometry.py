"""The jobs about geometry, and the records that they share. See `bridge_protocol.jobs` for what is done with them.

Cameras travel as plain numbers, in the project's convention: OpenCV axes (x right, y down, z forward), pinhole
intrinsics in pixels with pixel centres at (i + 0.5), world-to-camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .painting import Array, Painting
from .records import InvalidValue, param

DepthKind = Literal["metric", "disparity", "relative", "radius", "height"]
MeshFormat = Literal["glb", "obj", "ply", "stl", "usdz"]
MeshShape = Literal["surface", "relief", "terrain"]
Projection = Literal["perspective", "orthographic", "equirectangular"]

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
    """Turn a depth map, or a picture whose depth is read first, into a textured mesh."""

    depth: Array | None = param(None, "(h, w) float32, or integers over their range; none: read from the image.")
    image: Array | None = param(None, "The picture that becomes the texture, (h, w, 3 or 4).")
    kind: DepthKind = param(
        "metric",
        "What the depth map holds: z in scene units, disparity in pixels (calibrated by baseline, doffs and camera), "
        "relative inverse depth (near is large), the radius along the ray, or a height field.",
    )
    camera: Camera | None = param(None, "What the map was seen by; none: fov and the map's size say it.")
    fov: float = param(50.0, "The horizontal field of view where no camera is given.", unit="°", minimum=1, maximum=170)
    baseline: float | None = param(None, "Disparity: the distance of the two cameras.", unit="scene units", minimum=0)
    doffs: float = param(0.0, "Disparity: the difference of the principal points.", unit="px")
    near: float | None = param(None, "Relative depth: where its largest value lies.", unit="scene units", minimum=0)
    far: float | None = param(None, "Relative depth: where its smallest value lies.", unit="scene units", minimum=0)
    detector: str = param("", "Reads the depth from the image; empty: the best there is.", choices_from="detectors")
    shape: MeshShape = param("surface", "What is built: the seen surface, a relief to print, or a terrain.")
    layers: bool = param(False, "Put the hidden background behind the foreground.")
    inpaint: bool = param(False, "Let the model paint the hidden background; else its colours are continued.")
    prompt: str = param("", "What the hidden background shows, for inpaint.", max_length=10_000)
    triangles: int | None = param(None, "Simplify to about so many.", minimum=4, maximum=100_000_000)
    edge_ratio: float | None = param(
        None, "How many times farther the neighbour may be before the surface is cut; none: the default.",
        minimum=1, maximum=2,
    )  # fmt: skip
    sharpening: Literal["auto", "always", "never"] = param("auto", "Whether blurred depth edges are made steps.")
    normal_map: bool = param(False, "Bake the full depth's normals onto the simplified mesh.")
    relief_height: float = param(
        0.2, "Relief and terrain: the height over the width.", minimum=0.001, maximum=10, step=0.01
    )
    base: float = param(0.05, "Relief: the thickness of the base over the width.", minimum=0, maximum=10, step=0.01)
    format: MeshFormat = param("glb", "Which file is made.")

    def __post_init__(self) -> None:
        if self.depth is None and self.image is None:
            raise InvalidValue("depth", None, "given, or an image to read it from", "Send a depth map or a picture.")
        if self.kind == "disparity" and self.baseline is None:
            raise InvalidValue("baseline", None, "given with disparity", "Send the baseline, or use the kind relative.")
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise InvalidValue("near", self.near, f"less than far ({self.far:g})")


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

    vertices: Array = param(doc="(n, 3) float32, in the scene's axes and units.")
    triangles: Array = param(doc="(m, 3) uint32, indices of vertices.")
    uvs: Array = param(doc="(3·m, 2) float32, for each corner of each triangle, u right, v up.")
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
