"""What is asked of the server: gathered on the main thread, made into a job in another.

An errand gathers all that it needs from the scene at once, so that the scene may change meanwhile; nothing of the scene
is changed before the result is there. Where a result belongs is said in plain values, so that it finds its place even
in a later run of Blender: see `placing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import bpy
import numpy as np
from numpy.typing import NDArray

from bridge_protocol.blobs import Blob
from bridge_protocol.jobs import PlainJob
from depth3d.camera import Camera

from ..common.forms import Form
from ..common.tasks import Task
from . import (
    cameras,
    capture,
    coats,
    images,
    lines,
    link,
    looks,
    mannequin,
    maps,
    materials,
    palettes,
    properties,
    rigs,
    surfaces,
)  # fmt: skip

#: What virtual cameras see: from here on, in scene units over the distance of what they look at.
_NEAR_SHARE = 1e-3
_FAR = 1e6


class ErrandError(Exception):
    """What was asked lacks something in the scene. remedy: what to do."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.remedy = remedy


#: What an errand may be refused with, each with a remedy.
REFUSALS = (ErrandError, cameras.CameraError, surfaces.SurfaceError)


@dataclass(frozen=True, eq=False)
class Errand:
    """One job to ask for. make: makes it, in any thread. place: plain values, for `placing.placed`."""

    form: Form
    make: Callable[[], PlainJob]
    place: dict[str, Any]
    title: str
    notes: list[str] = field(default_factory=list)


# -- materials


def texture(
    context: bpy.types.Context,
    obj: bpy.types.Object | None,
    *,
    only: str = "",
    again: Mapping[str, Any] | None = None,
) -> Errand:
    """A material for an object. only: one map, to replace that of the object's material. again: the recipe of an
    earlier one, with a new seed.
    """
    if obj is None or not hasattr(obj.data, "materials"):
        raise ErrandError("No object that can have a material is active.", "Select one.")
    own = properties.settings(context)
    form = link.studio().form("Texture")
    if again is not None:
        form.load({name: value for name, value in again.items() if name != "seed"})
    else:
        properties.filled(form, own.texture)
    place = {"do": "texture", "object": obj.name}
    if only:
        material = obj.active_material
        if material is None or only not in getattr(material.node_tree, "nodes", {}):
            raise ErrandError(f"{obj.name} has no material whose {only} could be replaced.", "Make a material first.")
        form["maps"] = [only]
        place |= {"only": only, "material": material.name}
    picture = images.pixels_of(own.source_image) if own.source_image is not None and again is None else None

    def make() -> PlainJob:
        hosted = {} if picture is None else {"image": Blob.of(picture, color="srgb")}
        return form.job({"gltf": False, **hosted})

    return Errand(form, make, place, form["prompt"] or "Material")


# -- pictures


def picture(context: bpy.types.Context, *, render: NDArray[np.uint8] | None = None, title: str = "") -> Errand:
    """A picture from the scene camera's view. render: what is painted over, instead of what the settings name."""
    own = properties.settings(context)
    scene, camera = context.scene, context.scene.camera
    form = properties.filled(link.studio().form("Generate"), own.generate)
    start = render
    if start is None and own.start_from == "RENDER":
        start = images.last_render(scene)
        if start is None:
            raise ErrandError("There is no render yet.", "Render the scene (F12), or start from words.")
    elif start is None and own.start_from == "IMAGE":
        if own.source_image is None:
            raise ErrandError("No picture is chosen to start from.", "Choose one, or start from words.")
        start = images.pixels_of(own.source_image)
    if start is not None:
        width, height = start.shape[1], start.shape[0]
    else:
        width, height = (max(64, round(side / 8) * 8) for side in cameras.picture_size(scene))
    wanted = properties.controls(own)
    shot = cameras.camera_of(scene, camera, (width, height)) if wanted or camera is not None else None
    names = {name for name, _ in wanted}
    crease = capture.crease_of(context.view_layer) if "edges" in names and own.lines_of == "MESHES" else None
    seen = _Scene.of(context, names, marks=crease is not None) if wanted else None
    clipping = (camera.data.clip_start, camera.data.clip_end) if camera is not None else (0.1, 100.0)
    by_material, occlusion = own.segment_by == "MATERIAL", own.occlusion

    def make() -> PlainJob:
        hosted: dict[str, Any] = {}
        if start is not None:
            hosted["image"] = Blob.of(start, color="srgb")
        else:
            hosted |= {"width": width, "height": height}
        if seen is not None and shot is not None:
            hosted["controls"] = seen.controls(shot, clipping, wanted, by_material, occlusion, crease)
        return form.job(hosted)

    name = title or short(form["prompt"] or "Picture")
    place = {"do": "picture", "name": name, "behind": camera.name if camera is not None and own.show_behind else ""}
    return Errand(form, make, place, name, [] if seen is None else seen.triangles.notes)


@dataclass(frozen=True, eq=False)
class _Scene:
    """What a scene shows at one moment, gathered for any thread."""

    triangles: maps.Triangles
    people: list[Any]

    @classmethod
    def of(cls, context: bpy.types.Context, wanted: set[str], *, marks: bool) -> _Scene:
        depsgraph = context.evaluated_depsgraph_get()
        people = capture.people(depsgraph) if "pose" in wanted else []
        return cls(capture.gather(depsgraph, marks=marks), people)

    def controls(
        self,
        shot: Camera,
        clipping: tuple[float, float],
        wanted: list[tuple[str, float]],
        by_material: bool,
        occlusion: bool,
        crease: float | None,
    ) -> list[dict[str, Any]]:
        """The wanted maps as a job's controls. crease: of lines of the meshes, in degrees; None: of the picture."""
        seen = maps.maps_of(self.triangles, shot, near=clipping[0], far=clipping[1])
        out: list[dict[str, Any]] = []
        for kind, weight in wanted:
            control: dict[str, Any] = {"kind": kind, "weight": weight}
            if kind == "depth":
                control["image"] = Blob.of(seen.depth)
            elif kind == "normal":
                control["image"] = Blob.of(seen.normal)
            elif kind == "edges":
                if crease is None:
                    drawn = maps.edges(seen)
                else:
                    drawn = lines.mesh_lines(self.triangles, seen, crease=crease, near=clipping[0])
                control |= {"kind": "lineart", "image": Blob.of(drawn)}
            elif kind == "segmentation":
                numbers = seen.material if by_material else seen.object
                names = self.triangles.materials if by_material else self.triangles.objects
                control["image"] = Blob.of(maps.segmentation(numbers, palettes.ade20k(names)))
            else:
                depth = seen.depth if occlusion else None
                keypoints, points = capture.poses(self.people, shot, depth, mannequin.THICKNESS)
                if not len(keypoints):
                    continue
                control |= {"image": Blob.of(keypoints), "points": points}
            out.append(control)
        return out


# -- painting onto meshes


def views(
    context: bpy.types.Context,
    obj: bpy.types.Object | None,
    *,
    shots: list[Camera] | None = None,
    mode: str = "",
    pictures: list[NDArray[np.uint8] | None] | None = None,
) -> Errand:
    """A texture for a mesh, painted from cameras. shots: those instead of what the settings say; pictures: with one for
    a camera, it is baked as it is.
    """
    own = properties.settings(context)
    surface = surfaces.surface_of(context, obj, unwrap=own.unwrap)
    assert obj is not None
    if shots is None:
        shots = _shots(context, obj)
    form = properties.filled(link.studio().form("Views"), own.views)
    form["mode"] = mode or own.mode
    everything = capture.gather(context.evaluated_depsgraph_get())
    given = pictures or [None] * len(shots)
    painted = materials.painted_image(obj)
    kept = [one["image"] for one in materials.views_of(painted)]
    before, worn = None, None
    notes: list[str] = []
    if form["mode"] == "refine":
        if painted is not None:
            before = images.pixels_of(painted)
            form["height"], form["width"] = before.shape[0], before.shape[1]
        else:
            worn = coats.coats_of(obj, surface.all_uvs, notes)
    chosen = shots

    def make() -> PlainJob:
        seen = [maps.maps_of(everything, shot, near=_near(surface, shot), far=_FAR) for shot in chosen]
        each = []
        for shot, one, picture in zip(chosen, seen, given, strict=True):
            view: dict[str, Any] = {"camera": shot.to_dict(), "depth": Blob.of(one.depth)}
            if form["follow_normal"] > 0:
                view["normal"] = Blob.of(one.normal)
            if picture is not None:
                view["image"] = Blob.of(picture, color="srgb")
            each.append(view)
        hosted: dict[str, Any] = {
            "vertices": Blob.of(surface.vertices.ravel()),
            "triangles": Blob.of(surface.triangles.ravel()),
            "uvs": Blob.of(surface.uvs.ravel()),
            "views": each,
        }
        present = before
        if worn is not None:
            present = looks.texture_of(surface.uvs, surface.slots, worn, form["width"], form["height"])
        if present is not None:
            hosted["texture"] = Blob.of(present, color="srgb")
        return form.job(hosted)

    place = {
        "do": "views", "object": obj.name, "unwrap": own.unwrap, "mode": form["mode"],
        "cameras": [shot.to_dict() for shot in shots], "pictures": kept if pictures else [],
    }  # fmt: skip
    return Errand(form, make, place, form["prompt"] or f"Texture of {obj.name}", notes)


def rebake(context: bpy.types.Context, obj: bpy.types.Object | None) -> Errand:
    """The object's painted texture once more, from its pictures as they are now: edited by hand, say."""
    kept = materials.views_of(materials.painted_image(obj))
    if not kept:
        raise ErrandError("The active object was not painted from views.", "Paint it first.")
    pictures: list[NDArray[np.uint8] | None] = []
    shots = []
    for one in kept:
        image = bpy.data.images.get(one["image"])
        if image is not None:
            pictures.append(images.pixels_of(image))
            shots.append(Camera.from_dict(one["camera"]))
    if not shots:
        raise ErrandError("The pictures that it was painted from are gone.", "Paint it again.")
    return views(context, obj, shots=shots, mode="bake", pictures=pictures)


def _shots(context: bpy.types.Context, obj: bpy.types.Object) -> list[Camera]:
    own = properties.settings(context)
    size = tuple(own.rig_size)
    if own.cameras == "AROUND":
        made, _ = rigs.around(
            context, obj, own.rig, count=own.rig_count, degrees=own.rig_degrees, share=own.rig_share,
            focal_length=own.rig_lens, size=size,
        )  # fmt: skip
        return made
    if own.cameras == "SCENE":
        return [cameras.camera_of(context.scene, context.scene.camera)]
    chosen = sorted((one for one in context.selected_objects if one.type == "CAMERA"), key=lambda one: one.name)
    if not chosen:
        raise ErrandError("No camera is selected.", "Select the cameras together with the object, or paint all around.")
    return [cameras.camera_of(context.scene, one) for one in chosen]


def _near(surface: surfaces.Surface, shot: Camera) -> float:
    middle = (surface.vertices.min(axis=0) + surface.vertices.max(axis=0)) / 2
    return max(1e-6, _NEAR_SHARE * float(np.linalg.norm(middle - shot.position)))


# -- meshes


def mesh(context: bpy.types.Context) -> Errand:
    """A mesh of the current view's depth and the chosen picture; of the picture alone, where there is no surface."""
    own = properties.settings(context)
    scene, camera = context.scene, context.scene.camera
    form = properties.filled(link.studio().form("Mesh"), own.mesh)
    picture = images.pixels_of(own.source_image) if own.source_image is not None else None
    place: dict[str, Any] = {"do": "mesh", "camera": camera.name if camera is not None else ""}
    depth, shot = None, None
    triangles = capture.gather(context.evaluated_depsgraph_get())
    if camera is not None:
        shot = cameras.camera_of(scene, camera, None if picture is None else (picture.shape[1], picture.shape[0]))
        place["matrix"] = [float(v) for v in shot.to_opengl().ravel()]
        if len(triangles.faces):
            clipping = camera.data.clip_start, camera.data.clip_end
            depth = maps.maps_of(triangles, shot, near=clipping[0], far=clipping[1]).depth
    if picture is None and depth is None:
        raise ErrandError("There is neither a picture nor a surface before the camera.", "Choose a picture.")

    def make() -> PlainJob:
        hosted: dict[str, Any] = {"format": "glb"}
        if picture is not None:
            hosted["image"] = Blob.of(picture, color="srgb")
        if depth is not None and np.isfinite(depth).any():
            hosted |= {"depth": Blob.of(depth), "kind": "metric"}
        if shot is not None:
            hosted["camera"] = {**shot.to_dict(), "world_to_camera": [float(v) for v in np.eye(4).ravel()]}
        return form.job(hosted)

    return Errand(form, make, place, "Mesh")


# -- all of them


#: What was asked for with each task that has not ended well, for asking again.
asked: WeakKeyDictionary[Task, Errand] = WeakKeyDictionary()


def submit(errand: Errand, **options: Any) -> Task:
    """Ask for an errand's job; returns at once."""

    def changed(task: Task) -> None:
        if task.stage in ("finished", "cancelled"):
            asked.pop(task, None)  # it holds the whole scene

    studio = link.studio()
    task = studio.submit(errand.make, errand.form, title=errand.title, place=errand.place, on_change=changed, **options)
    asked[task] = errand
    return task


def short(words: str) -> str:
    """Words as a data-block's name: Blender keeps 63 bytes."""
    return words.encode()[:48].decode("utf-8", "ignore").strip() or "Brushwire"
