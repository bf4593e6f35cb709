import numpy as np
import pytest
import scene

from depth3d.camera import Camera
from depth3d.mesh import Mesh
from depth3d.relief import is_watertight, relief, solid
from depth3d.render import rasterise
from depth3d.terrain import heightmap_mesh, terrain_tiles


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(float) for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_a_relief_is_closed_and_turned_outward():
    depth, _ = scene.cast(scene.source_camera(64))
    plate = relief(depth.astype(np.float32), width=80, height=6, base=2)
    assert is_watertight(plate)
    assert volume(plate) > 80 * 80 * 2
    low, high = plate.vertices.min(0), plate.vertices.max(0)
    assert np.allclose(low, 0)
    assert np.allclose(high, (80, 80, 8), atol=1e-4)
    assert plate.up == "+z"


def test_a_box_has_its_volume():
    box = solid(np.full((3, 5), 2.0), width=8)
    assert is_watertight(box)
    assert volume(box) == pytest.approx(8 * 4 * 2)


def test_the_pictures_top_is_the_plates_far_side_and_near_things_stand_high():
    depth = np.full((20, 30), 5.0)
    depth[:5] = 2.0
    plate = relief(depth)
    high = plate.vertices[plate.vertices[:, 2] > 5]
    assert high[:, 1].min() > 0.6 * plate.vertices[:, 1].max()


def test_constant_and_empty_maps_are_bare_plates():
    for value in (3.0, np.inf):
        plate = relief(np.full((4, 4), value), base=2)
        assert is_watertight(plate)
        assert plate.vertices[:, 2].max() == 2


def test_a_torn_mesh_is_not_called_watertight():
    box = solid(np.full((3, 3), 2.0))
    assert not is_watertight(Mesh(box.vertices, box.faces[1:], up="+z"))
    flipped = box.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(Mesh(box.vertices, flipped, up="+z"))


@pytest.mark.parametrize("arguments", [{"width": 0}, {"height": -1}, {"base": np.nan}])
def test_wrong_lengths_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        relief(np.ones((4, 4)), **arguments)
    with pytest.raises(ValueError, match="2×2"):
        relief(np.ones((1, 4)))


def hills(rows: int, columns: int) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (5 * np.sin(x / 9) * np.cos(y / 7) + 0.02 * x).astype(np.float32)


def test_a_heightmap_keeps_its_samples_and_faces_up():
    y = hills(9, 12)
    mesh = heightmap_mesh(y, spacing=2, origin=(10, 20))
    assert np.array_equal(mesh.vertices[:, 1].reshape(9, 12), y)
    assert mesh.vertices[:, 0].max() == 10 + 22
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 1] > 0).all()


def test_holes_in_a_heightmap_stay_open():
    y = hills(6, 6)
    y[2, 3] = np.nan
    mesh = heightmap_mesh(y)
    assert np.isfinite(mesh.vertices).all()
    assert len(mesh.faces) == 2 * 25 - 6
    with pytest.raises(ValueError, match="infinite"):
        heightmap_mesh(np.full((3, 3), np.inf))


def test_tiles_share_their_borders_and_cover_the_field():
    y = hills(100, 70)
    tiles = [t for t in terrain_tiles(y, tile=32, levels=3, spacing=0.5) if t.level == 0]
    assert {(t.row, t.column) for t in tiles} == {(r, c) for r in range(4) for c in range(3)}
    for tile in tiles:
        top = tile.mesh.vertices[:, :]
        column, row = np.rint(top[:, 0] / 0.5).astype(int), np.rint(top[:, 2] / 0.5).astype(int)
        assert (np.abs(top[:, 1] - y[row, column]) < 1e-6).sum() >= 9
        assert np.allclose(tile.mesh.uvs, np.stack([(column + 0.5) / 70, (row + 0.5) / 100], 1))
    assert all(t.error == 0 for t in tiles)


def test_coarser_levels_have_fewer_triangles_and_say_their_error():
    y = hills(65, 65)
    tiles = list(terrain_tiles(y, tile=64, levels=4))
    faces = [len(t.mesh.faces) for t in tiles]
    errors = [t.error for t in tiles]
    assert faces == sorted(faces, reverse=True)
    assert errors == sorted(errors)
    assert 0 < errors[-1] < 10


def test_from_above_tiles_of_mixed_levels_show_no_crack():
    y = hills(65, 65)
    tiles = {(t.row, t.column, t.level): t.mesh for t in terrain_tiles(y, tile=32, levels=3)}
    chosen = [tiles[r, c, (r + 2 * c) % 3] for r in range(2) for c in range(2)]
    vertices, faces, offset = [], [], 0
    for mesh in chosen:
        vertices.append(mesh.vertices)
        faces.append(mesh.faces + offset)
        offset += len(mesh.vertices)
    camera = Camera.orthographic(200, 200, scale=63).looking_at((32, 100, 32), (32, 0, 32), up=(0, 0, -1))
    slanted = Camera.from_fov(200, 200, fov_x=25).looking_at((32, 60, 90), (32, 0, 32))
    assert rasterise(np.concatenate(vertices), np.concatenate(faces), camera).covered.all()
    seen = rasterise(np.concatenate(vertices), np.concatenate(faces), slanted).covered[80:120, 60:140]
    assert seen.all()


@pytest.mark.parametrize(("arguments", "message"), [({"tile": 3}, "power of two"), ({"levels": 0}, "levels")])
def test_wrong_tiles_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        list(terrain_tiles(hills(9, 9), **arguments))
