import numpy as np
import pytest

from depth3d.camera import Camera
from depth3d.coverage import covering, sampled, seen_by
from depth3d.rigs import along, distance_to_frame, orbit, sides, sphere

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
FACES = np.array([[side[i] for i in triangle] for side in SIDES for triangle in ((0, 1, 2), (0, 2, 3))])
CAMERA = Camera.from_fov(320, 240, fov_x=50)
UP = (0, 0, 1)


def test_samples_lie_evenly_on_the_surface():
    samples = sampled(CORNERS, FACES, 6000)
    assert np.abs(np.abs(samples.points).max(axis=1) - 1).max() < 1e-9
    assert np.allclose((samples.points * samples.normals).sum(axis=1), 1)
    per_side = np.bincount(np.abs(samples.normals).argmax(axis=1) * 2 + (samples.normals.sum(axis=1) > 0), minlength=6)
    assert per_side.min() > 900
    with pytest.raises(ValueError, match="no surface"):
        sampled(CORNERS, np.zeros((0, 3), int))


def test_a_camera_sees_what_faces_it_and_is_not_hidden():
    samples = sampled(CORNERS, FACES, 6000)
    front = CAMERA.looking_at((0, -5, 0), (0, 0, 0), UP)
    seen = seen_by(front, samples, CORNERS, FACES)
    assert seen[samples.normals[:, 1] < -0.5].mean() > 0.98
    assert not seen[samples.normals[:, 1] > -0.5].any()
    screen = np.array([[-9, -3, -9], [9, -3, -9], [9, -3, 9], [-9, -3, 9.0]])
    vertices, faces = np.concatenate([CORNERS, screen]), np.concatenate([FACES, [[8, 9, 10], [8, 10, 11]]])
    assert not seen_by(front, samples, vertices, faces).any()


def test_the_fewest_cameras_that_see_enough_are_chosen_and_the_share_is_told():
    samples = sampled(CORNERS, FACES, 6000)
    radius = distance_to_frame(CAMERA, np.sqrt(3))
    candidates = sphere(CAMERA, (0, 0, 0), 40, radius=radius, up=UP)
    seen = [seen_by(camera, samples, CORNERS, FACES) for camera in candidates]
    chosen, share = covering(seen, 0.95)
    assert 2 <= len(chosen) <= 4  # two opposite corners of a cube see all of it, nearly
    assert share >= 0.95
    assert share == pytest.approx(np.any([seen[i] for i in chosen], axis=0).mean())
    assert covering([], 0.9) == ([], 0.0)
    around = [seen_by(camera, samples, CORNERS, FACES) for camera in orbit(candidates[20], (0, 0, 0), 8, up=UP)]
    assert covering(around, 1.0)[1] < 0.9  # a ring never sees top and bottom


def test_the_whole_target_is_in_the_frame():
    radius = np.sqrt(3)
    for camera in sphere(CAMERA, (1, 2, 3), 9, radius=distance_to_frame(CAMERA, radius), up=UP):
        pixels, z = camera.project(CORNERS + np.array([1, 2, 3]))
        assert (z > 0).all()
        assert (pixels > 0).all()
        assert (pixels < (320, 240)).all()


def test_the_sides_of_a_cube_look_at_it_from_all_around():
    cameras = sides(CAMERA, (0, 0, 0), radius=5, up=UP, forward=(0, -1, 0))
    assert np.allclose([c.position for c in cameras], [
        (0, -5, 0), (-5, 0, 0), (0, 5, 0), (5, 0, 0), (0, 0, 5), (0, 0, -5),
    ])  # fmt: skip
    for camera in cameras:
        assert np.allclose(camera.project((0, 0, 0))[0], (160, 120))


def test_cameras_along_a_path_stand_at_even_distances():
    path = [(0, 0, 0), (4, 0, 0), (4, 2, 0)]
    cameras = along(CAMERA, path, 4, up=UP)
    assert np.allclose([c.position for c in cameras], [(0, 0, 0), (2, 0, 0), (4, 0, 0), (4, 2, 0)])
    assert np.allclose(cameras[1].camera_to_world[:3, 2], (1, 0, 0))
    for camera in along(CAMERA, path, 3, target=(0, 9, 1), up=UP):
        assert np.allclose(camera.project((0, 9, 1))[0], (160, 120))
