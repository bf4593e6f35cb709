import importlib.util
import shutil

import numpy as np
import pytest
import scene
from PIL import Image

from depth3d.brushes import brush_alpha, write_brush
from depth3d.camera import Camera
from depth3d.corner import corner_mesh
from depth3d.layers import layered_mesh
from depth3d.pointcloud import fused, point_cloud, poisson_mesh, write_points
from depth3d.relief import is_watertight
from depth3d.rigs import cube_faces, hemisphere, orbit, shifted, stereo, sway
from depth3d.views import anaglyph, depth_of_field, film, stereo_pair, view, write_film

SIZE = 128
UP = (0.0, -1.0, 0.0)


@pytest.fixture(scope="module")
def source():
    camera = scene.source_camera(SIZE)
    depth, _ = scene.cast(camera)
    picture = scene.picture(camera, 2)
    return camera, depth.astype(np.float32), picture, layered_mesh(depth, camera, picture)


def test_stereo_eyes_are_apart_by_the_baseline_and_meet_at_the_convergence(source):
    left, right = stereo(source[0], 0.1, convergence=4.0)
    assert left.position == pytest.approx([-0.05, 0, 0])
    assert right.position == pytest.approx([0.05, 0, 0])
    point = np.array([0.3, 0.2, 4.0])
    assert left.project(point)[0] == pytest.approx(right.project(point)[0])
    near = np.array([0.3, 0.2, 2.0])
    assert left.project(near)[0][0] > right.project(near)[0][0]


def test_a_stereo_pair_is_what_the_two_eyes_see(source):
    camera, _, _, mesh = source
    left, right = stereo_pair(mesh, camera, 0.06)
    for eye, drawn in zip(stereo(camera, 0.06), (left, right), strict=True):
        true = scene.picture(eye, 2)
        assert scene.psnr(drawn, true, scene.in_source_frame(eye, scene.cast(eye)[0])) > 30
    both = anaglyph(left, right)
    assert (both[..., 0] == left[..., 0]).all()
    assert (both[..., 1:] == right[..., 1:]).all()


def test_strips_that_nobody_has_seen_are_filled_with_what_is_beside_them(source):
    camera, _, _, mesh = source
    aside = shifted(camera, 0.4)
    assert (view(mesh, aside, samples=1, fill=False).sum(-1) == 0).mean() > 0.02
    assert (view(mesh, aside, samples=1).sum(-1) > 0).all()


def test_an_orbit_keeps_height_and_distance_and_looks_at_the_target():
    camera = Camera.from_fov(64, 64, fov_x=50).looking_at((3, -1, 0), (0, 0, 0), UP)
    for degrees in (360, 90):
        cameras = orbit(camera, (0, 0, 0), 8, degrees=degrees, up=UP)
        places = np.array([c.position for c in cameras])
        assert np.allclose(places[:, 1], -1)
        assert np.allclose(np.linalg.norm(places, axis=1), np.sqrt(10))
        for c in cameras:
            assert c.project((0, 0, 0))[0] == pytest.approx([32, 32])
    assert orbit(camera, (0, 0, 0), 4, up=UP)[0].position == pytest.approx(camera.position)
    assert orbit(camera, (0, 0, 0), 3, degrees=90, up=UP)[1].position == pytest.approx(camera.position)


def test_a_hemisphere_is_above_and_even():
    camera = Camera.from_fov(64, 64, fov_x=50)
    places = np.array([c.position for c in hemisphere(camera, (0, 0, 0), 40, radius=2, up=(0, 0, 1))])
    assert (places[:, 2] > 0).all()
    assert np.allclose(np.linalg.norm(places, axis=1), 2)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(40)
    assert apart.min(1).min() > 0.35


def test_six_faces_see_every_direction_once():
    cameras = cube_faces(16)
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(200, 3))
    count = np.zeros(200)
    for camera in cameras.values():
        pixels, z = camera.project(directions)
        count += (z > 0) & (pixels > 0).all(1) & (pixels < 16).all(1)
    assert (count == 1).all()
    assert cameras["right"].project((5, 0, 0))[0] == pytest.approx([8, 8])


def test_films_have_a_frame_for_each_camera_and_are_written(source, tmp_path):
    camera, _, _, mesh = source
    cameras = sway(camera.resized(65, 64), (0, 0, 4), 4, amplitude=0.1)
    frames = list(film(mesh, cameras))
    assert len(frames) == 4
    assert (frames[0] != frames[1]).any()
    write_film(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 4
        assert image.size == (65, 64)
    with pytest.raises(ValueError, match=r"\.avi"):
        write_film(frames, tmp_path / "a.avi")
    with pytest.raises(ValueError, match="no frames"):
        write_film([], tmp_path / "a.gif")


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_ffmpeg_writes_films(source, tmp_path, suffix):
    frames = [np.full((33, 65, 3), i * 20, np.uint8) for i in range(5)]
    if not (shutil.which("ffmpeg") or importlib.util.find_spec("imageio_ffmpeg")):
        with pytest.raises(FileNotFoundError, match="ffmpeg"):
            write_film(frames, tmp_path / f"a{suffix}")
        pytest.skip("ffmpeg is not installed")
    write_film(frames, tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").stat().st_size > 300


def test_what_is_in_focus_stays_sharp_and_the_rest_blurs():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (60, 80, 3), np.uint8)
    depth = np.full((60, 80), 2.0)
    depth[:, 40:] = 8.0
    out = depth_of_field(image, depth, focus=2.0, aperture=0.1, focal_length=200)
    assert np.abs(out[:, :30].astype(int) - image[:, :30]).max() <= 1
    assert out[10:50, 50:].std() < 0.4 * image[10:50, 50:].std()
    assert np.array_equal(depth_of_field(image, depth, focus=2.0, aperture=0.0, focal_length=200), image)
    with pytest.raises(ValueError, match="one size"):
        depth_of_field(image, depth[1:], focus=1, aperture=1, focal_length=1)


def test_a_flat_grey_picture_stays_grey_under_any_blur():
    depth, _ = scene.cast(scene.source_camera(48))
    out = depth_of_field(np.full((48, 48, 3), 90, np.uint8), depth, focus=4, aperture=0.3, focal_length=200)
    assert np.abs(out.astype(int) - 90).max() <= 1


def test_a_brush_is_centred_white_where_near_and_black_at_its_rim(tmp_path):
    rows, columns = np.mgrid[:80, :100]
    depth = 5 - 2 * np.exp(-((rows - 40) ** 2 + (columns - 50) ** 2) / 200)
    alpha = brush_alpha(depth, size=128)
    assert alpha.dtype == np.uint16
    assert alpha.shape == (128, 128)
    assert np.hypot(*(np.array(np.unravel_index(alpha.argmax(), alpha.shape)) - 63.5)) < 2
    assert alpha.max() > 60000
    assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0
    write_brush(alpha, tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), alpha)


def test_a_slanted_surface_leaves_its_slant_out_of_the_brush():
    rows, _ = np.mgrid[:64, :64]
    q = 0.2 + 0.002 * rows
    bump = 0.02 * np.exp(-((rows - 32) ** 2 + (np.arange(64) - 32) ** 2) / 50)
    flat, slanted = brush_alpha(1 / (0.2 + bump), size=64), brush_alpha(1 / (q + bump), size=64)
    assert np.abs(flat.astype(int) - slanted).mean() < 1500


@pytest.mark.parametrize("arguments", [{"size": 1}, {"falloff": 2}])
def test_wrong_brushes_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        brush_alpha(np.ones((8, 8)), **arguments)
    assert (brush_alpha(np.full((8, 8), np.inf), size=8) >= 0).all()


def test_points_lie_on_the_scene_and_look_back(source):
    camera, depth, picture, _ = source
    cloud = point_cloud(depth, camera, picture)
    assert len(cloud.points) == SIZE * SIZE
    assert np.percentile(scene.surface_distance(cloud.points.astype(float)), 99) < 1e-5
    assert ((cloud.points * cloud.normals).sum(1) <= 1e-6).mean() > 0.999


def test_fusing_thins_two_views_of_one_wall_and_keeps_both_sides(tmp_path):
    camera = Camera.from_fov(60, 60, fov_x=50)
    wall = np.full((60, 60), 3.0, np.float32)
    one = point_cloud(wall, camera, np.full((60, 60, 3), 80, np.uint8))
    behind = point_cloud(wall, camera.looking_at((0, 0, 6.01), (0, 0, 0), UP), np.full((60, 60, 3), 160, np.uint8))
    both = fused([one, one, behind], voxel=0.1)
    assert len(both.points) < 0.6 * len(one.points)
    assert {80, 160} == set(np.unique(both.colours))
    write_points(both, tmp_path / "a.ply")
    assert (tmp_path / "a.ply").read_bytes().startswith(b"ply\nformat binary_little_endian")
    with pytest.raises(ValueError, match="voxel"):
        fused([one], 0)


def test_poisson_closes_a_ball_seen_from_all_around():
    pytest.importorskip("open3d", reason="open3d is not installed")
    front = Camera.from_fov(64, 64, fov_x=50).looking_at((0, 0, -3), (0, 0, 0), UP)
    poles = [front.looking_at((0, y, 0), (0, 0, 0), (0, 0, 1)) for y in (-3, 3)]
    clouds = []
    for camera in [*orbit(front, (0, 0, 0), 6, up=UP), *poles]:
        direction = camera.rays() @ camera.world_to_camera[:3, :3]
        clouds.append(point_cloud(scene.Sphere((0, 0, 0), 1.0).hit(camera.position, direction), camera))
    mesh = poisson_mesh(fused(clouds, 0.05), depth=6, trim=0)
    assert is_watertight(mesh)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).mean() < 0.03
    assert mesh.colours is None


def test_a_mesh_without_a_picture_is_shaded(source):
    camera, depth, _, _ = source
    drawn = view(corner_mesh(depth, camera), camera, samples=1)
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert drawn.std() > 10
