"""What a Views job paints, with a painter that knows how the mesh should look."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeError
from bridge_protocol.jobs import Camera, Control, View, Views
from bridge_protocol.records import InvalidValue
from depth3d.camera import Camera as Camera3d
from depth3d.rigs import orbit
from depth3d.texels import texels
from server.engine.detectors import Annotation
from server.engine.errors import Cancelled
from server.engine.painting import Painting, Progress
from server.verbs import views

#: A box of 2 units, each of its sides a square of its own in a 3 × 2 layout; wound counterclockwise from outside.
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def box(shift=(0, 0, 0)):
    faces, uvs = [], []
    for number, side in enumerate(SIDES):
        left, low = number % 3 / 3, number // 3 / 2
        square = np.array([[0.02, 0.02], [0.31, 0.02], [0.31, 0.48], [0.02, 0.48]]) + np.array([left, low])
        for triangle in ((0, 1, 2), (0, 2, 3)):
            faces.append([side[i] for i in triangle])
            uvs.append(square[list(triangle)])
    return CORNERS + np.float32(shift), np.array(faces, np.uint32), np.concatenate(uvs).astype(np.float32)


def rig(count=4, size=96):
    camera = Camera3d.from_fov(size, size, fov_x=50).looking_at((0, -3.5, 3), (0, 0, 0), (0, 0, 1))
    return orbit(camera, (0, 0, 0), count, up=(0, 0, 1))


def colours(points):
    return np.clip(128 + 100 * points, 0, 255)


class KnowingPainter:
    """Paints each pixel of the view with the colour of its place, whatever it is asked; keeps the requests."""

    def __init__(self, cameras, vertices, faces, tiles=1):
        from depth3d.render import rasterise

        self.pictures = []
        for camera in cameras:
            raster = rasterise(vertices, faces, camera)
            place = raster.interpolate(faces, vertices.astype(float))
            self.pictures.append(np.where(raster.covered[..., None], colours(place), 9).astype(np.uint8))
        self.requests, self.tiles = [], tiles

    def paint(self, request, on_progress=None, cancelled=None):
        if cancelled():
            raise Cancelled
        on_progress(Progress("sampling", request.steps, request.steps))
        number = len(self.requests)
        self.requests.append(request)
        picture = self.pictures[number % len(self.pictures)]
        if self.tiles > 1:
            count = self.tiles
            picture = np.concatenate(
                [np.concatenate(self.pictures[row : row + count], 1) for row in range(0, len(self.pictures), count)]
            )
        if request.mask is not None:
            picture = np.where(request.mask[..., None] > 0, picture, request.image)
        return Painting([picture], [request.seed], 0, 0, "knowing", [], {"sampling": 0.5})


def job_of(mesh, cameras, changes=None, **fields):
    """The job and its arrays, by digest."""
    arrays = {}

    def blob(array):
        made = Blob.of(np.ascontiguousarray(array))
        arrays[made.ref.digest] = array
        return made

    each = [
        View(Camera(**camera.to_dict()), **{name: blob(value) for name, value in (changes or {}).get(i, {}).items()})
        for i, camera in enumerate(cameras)
    ]
    fields = {name: blob(value) if isinstance(value, np.ndarray) else value for name, value in fields.items()}
    vertices, triangles, uvs = (blob(part) for part in mesh)
    fields = {"width": 192, "height": 128, "steps": 2, "seed": 5, "follow_depth": 0.0, **fields}
    return Views(vertices=vertices, triangles=triangles, uvs=uvs, views=each, **fields), arrays


def carry_out(job, arrays, painter, steps=None):
    return views.run(job, arrays, painter, (steps if steps is not None else []).append, lambda: False)


def errors(texture, mesh, width=192, height=128):
    """How far each opaque texel on the mesh is from its place's colour, and the faces that are painted."""
    vertices, faces, uvs = mesh
    corner_uvs = uvs.reshape(-1, 3, 2) * (1, -1) + (0, 1)
    places = texels(vertices, faces, corner_uvs, width, height)
    flat = texture.reshape(-1, 4)[places.index]
    opaque = flat[:, 3] > 0
    return np.abs(flat[opaque, :3] - colours(places.points[opaque])).max(axis=1), places.face[opaque] // 2


@pytest.mark.parametrize("mode", ["sequential", "refine", "grid"])
def test_each_mode_puts_every_colour_in_its_place_and_none_below(mode):
    mesh, cameras = box(), rig()
    painter = KnowingPainter(cameras, *mesh[:2], tiles=2 if mode == "grid" else 1)
    steps = []
    made = carry_out(*job_of(mesh, cameras, mode=mode), painter, steps)
    texture = made.outputs[0].array
    error, sides = errors(texture, mesh)
    assert np.median(error) < 3
    assert np.percentile(error, 99) < 12
    assert set(sides) == {0, 1, 2, 3, 5}, "the side that faces down is seen by no camera"
    assert made.outputs[0].info["coverage"] > 0.8
    assert [out.name for out in made.outputs[1:]] == [f"view-{i}" for i in range(4)]
    assert len(painter.requests) == (1 if mode == "grid" else 4)
    assert [step.phase for step in steps][-1] == "baking"


def test_a_large_meshs_arrays_may_come_flat():
    mesh, cameras = box(), rig(1)
    made = [
        carry_out(*job_of(arrays, cameras), KnowingPainter(cameras, *mesh[:2])).outputs[0].array
        for arrays in (mesh, [part.ravel() for part in mesh])
    ]
    assert np.array_equal(*made)


def test_in_the_sequential_mode_later_views_keep_what_earlier_ones_painted():
    mesh, cameras = box(), rig(8)
    painter = KnowingPainter(cameras, *mesh[:2])
    carry_out(*job_of(mesh, cameras), painter)
    first, second = painter.requests[:2]
    assert first.mask is None
    assert first.image is None
    kept = second.mask == 0
    assert 0.02 < kept.mean() < 0.6
    truth = painter.pictures[1]
    assert np.median(np.abs(second.image[kept].astype(int) - truth[kept])) < 6


def test_a_view_that_sees_nothing_new_is_not_painted():
    mesh, cameras = box(), rig(1)
    painter = KnowingPainter(cameras, *mesh[:2])
    made = carry_out(*job_of(mesh, [*cameras, *cameras]), painter)
    assert len(painter.requests) == 1
    assert made.info["unpainted_views"] == [1]


def test_the_refine_mode_paints_over_what_is_there():
    mesh, cameras = box(), rig(1)
    texture = np.zeros((128, 192, 3), np.uint8) + np.uint8((200, 40, 90))
    painter = KnowingPainter(cameras, *mesh[:2])
    job, arrays = job_of(mesh, cameras, mode="refine", texture=texture, denoising_strength=0.4)
    made = carry_out(job, arrays, painter)
    (request,) = painter.requests
    assert request.denoising_strength == 0.4
    assert (request.image == (200, 40, 90)).all(axis=2).mean() > 0.2
    # The base stays where no camera sees: the side below, and the side behind.
    painted = made.outputs[0].array
    assert (painted[:, :, 3] == 255).all()
    assert (painted[20:50, 80:110, :3] == (200, 40, 90)).all()


class ReadingPainter(KnowingPainter):
    """The same, that reads white from every picture."""

    def annotate(self, request, on_progress=None, cancelled=None):
        assert request.detector == "canny"
        return Annotation(np.full((*request.image.shape[:2], 3), 255, np.uint8), "canny")


def test_a_detector_reads_the_control_of_all_views():
    mesh, cameras = box(), rig(2)
    picture = np.zeros((8, 9, 3), np.uint8)
    job, arrays = job_of(mesh, cameras)
    blob = Blob.of(picture)
    job = dataclasses.replace(job, controls=[Control("canny", blob, detector="canny")])
    painter = ReadingPainter(cameras, *mesh[:2])
    carry_out(job, {**arrays, blob.ref.digest: picture}, painter)
    assert len(painter.requests) == 2
    assert all((request.controls[0].array == 255).all() for request in painter.requests)


def test_a_picture_that_was_edited_is_baked_without_painting():
    mesh, cameras = box(), rig(2)
    pictures = KnowingPainter(cameras, *mesh[:2]).pictures
    edited = {0: {"image": pictures[0]}, 1: {"image": np.full((96, 96, 4), (0, 255, 0, 255), np.uint8)}}
    painter = KnowingPainter(cameras, *mesh[:2])
    made = carry_out(*job_of(mesh, cameras, edited, mode="bake"), painter)
    assert not painter.requests
    texture = made.outputs[0].array
    assert (texture[..., :3] == (0, 255, 0)).all(axis=2).any()
    assert len(made.outputs) == 1


def test_what_stands_before_the_mesh_is_not_painted_onto_it():
    mesh, cameras = box(), rig(1, 128)
    vertices, faces, _ = mesh
    from depth3d.render import rasterise

    screen = np.array([[-0.6, -1.7, 0.8], [0.6, -1.7, 0.8], [0.6, -1.7, 2.0], [-0.6, -1.7, 2.0]])
    both = np.concatenate([vertices, screen]), np.concatenate([faces, [[8, 9, 10], [8, 10, 11]]]).astype(int)
    raster = rasterise(*both, cameras[0])
    picture = np.where((raster.face >= len(faces))[..., None], (255, 0, 255), (0, 200, 0)).astype(np.uint8)
    job, arrays = job_of(mesh, cameras, {0: {"image": picture, "depth": raster.depth}}, mode="bake", dilation=0)
    texture = carry_out(job, arrays, KnowingPainter(cameras, *mesh[:2])).outputs[0].array
    opaque = texture[texture[..., 3] > 0]
    assert len(opaque) > 500
    assert (opaque[:, :3] == (0, 200, 0)).all()
    bare = carry_out(*job_of(mesh, cameras, {0: {"image": picture}}, mode="bake", dilation=0), None).outputs[0].array
    assert (opaque.shape[0] / (bare[..., 3] > 0).sum()) < 0.9


def test_the_depth_control_has_one_range_over_the_rig_and_a_floor_above_the_background():
    mesh, cameras = box(), rig(1)
    near = dataclasses.replace(cameras[0].looking_at((0, -2.5, 0), (0, 0, 0), (0, 0, 1)))
    painter = KnowingPainter([*cameras, near], *mesh[:2])
    made = carry_out(*job_of(mesh, [*cameras, near], follow_depth=0.7, mode="refine"), painter)
    far_away, close = (request.controls[0].array for request in painter.requests)
    assert [request.controls[0].weight for request in painter.requests] == [0.7, 0.7]
    assert close.max() == 255
    assert far_away.max() < 140
    surfaces = far_away[far_away > 0]
    assert surfaces.min() >= 20
    assert (far_away == 0).any()
    assert made.info["seed"] == 5


def test_a_cancelled_job_ends_between_two_views():
    mesh, cameras = box(), rig()
    painter = KnowingPainter(cameras, *mesh[:2])
    with pytest.raises(Cancelled):
        views.run(*job_of(mesh, cameras), painter, lambda step: None, lambda: len(painter.requests) == 2)
    assert len(painter.requests) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"vertices": np.zeros((8, 2), np.float32)}, "vertices"),
        ({"vertices": np.full((8, 3), np.nan, np.float32)}, "vertices"),
        ({"triangles": np.full((12, 3), 8, np.uint32)}, "triangles"),
        ({"uvs": np.zeros((8, 2), np.float32)}, "uvs"),
        ({"uvs": np.full((36, 2), 3, np.float32)}, "uvs"),
        ({"texture": np.zeros((8, 8, 3), np.uint8)}, "texture"),
        ({"follow_normal": 1.0}, "views[0].normal"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(changes, field):
    mesh, cameras = box(), rig(1)
    job, arrays = job_of(mesh, cameras)
    replaced = {}
    for name, value in changes.items():
        if isinstance(value, np.ndarray):
            blob = Blob.of(value)
            arrays[blob.ref.digest] = value
            value = blob
        replaced[name] = value
    with pytest.raises(InvalidValue) as error:
        carry_out(dataclasses.replace(job, **replaced), arrays, KnowingPainter(cameras, *mesh[:2]))
    assert error.value.field == field


@pytest.mark.parametrize("name", ["depth", "normal", "image"])
def test_a_views_arrays_must_have_its_cameras_shape(name):
    mesh, cameras = box(), rig(1)
    job, arrays = job_of(mesh, cameras, {0: {name: np.ones((8, 9), np.float32)}}, follow_normal=1.0)
    with pytest.raises(InvalidValue) as error:
        carry_out(job, arrays, KnowingPainter(cameras, *mesh[:2]))
    assert error.value.field == f"views[0].{name}"


def test_a_grid_of_unlike_cameras_is_refused():
    mesh, cameras = box(), [*rig(1, 96), *rig(1, 128)]
    with pytest.raises(InvalidValue, match="one size"):
        carry_out(*job_of(mesh, cameras, mode="grid"), KnowingPainter(cameras, *mesh[:2]))


def test_the_whole_way_through_a_server(client):
    mesh, cameras = box(), rig(2)
    job, _ = job_of(mesh, cameras)
    result = client.run(job, timeout=60)
    assert [output.name for output in result.outputs] == ["texture", "view-0", "view-1"]
    texture = np.frombuffer(result.blobs[0].data, np.uint8).reshape(128, 192, 4)
    assert 0.3 < (texture[..., 3] > 0).mean() < 1
    with pytest.raises(BridgeError) as error:
        client.run(dataclasses.replace(job, follow_normal=1.0), timeout=60)
    assert error.value.field == "views[0].normal" or "views[0].normal" in error.value.sentence
