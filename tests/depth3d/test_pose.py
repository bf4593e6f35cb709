import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depth3d.camera import Camera
from depth3d.pose import BODY_COLOURS, BODY_KEYPOINTS, BODY_LIMBS, HAND_BONES, Pose, draw_openpose

GOLDEN = Path(__file__).parent / "golden"
#: Keypoints, and in the PNGs beside them what controlnet-aux 0.0.10 draws for them with OpenCV 4.11.
CASES = json.loads((GOLDEN / "openpose.json").read_text())


def golden_pose(name: str) -> Pose:
    return Pose(**{part: CASES[name][part] for part in ("body", "left_hand", "right_hand", "face")})


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_drawing_is_controlnet_aux_pixel_for_pixel(name):
    drawn = draw_openpose(golden_pose(name), CASES[name]["height"], CASES[name]["width"])
    golden = np.asarray(Image.open(GOLDEN / f"openpose_{name}.png"))
    assert drawn.dtype == np.uint8
    assert int((drawn != golden).any(-1).sum()) == 0


def test_parts_are_drawn_only_when_asked_for():
    pose = golden_pose("standing")
    everything = draw_openpose(pose, 256, 192)
    assert not draw_openpose(pose, 256, 192, body=False, hands=False, face=False).any()
    body = draw_openpose(pose, 256, 192, hands=False, face=False)
    assert (body == draw_openpose(Pose(pose.body), 256, 192)).all()
    assert (body != everything).any()


def test_what_is_not_visible_is_not_drawn():
    body = np.zeros((18, 3))
    body[:, :2] = 0.5
    assert not draw_openpose(Pose(body), 64, 64).any()
    body[0, 2] = 1
    picture = draw_openpose(Pose(body), 64, 64)
    assert {tuple(c) for c in picture.reshape(-1, 3).tolist()} == {(0, 0, 0), BODY_COLOURS[0]}


def test_several_people_are_drawn_one_over_the_other():
    a, b = golden_pose("standing"), golden_pose("random0")
    both = draw_openpose([a, b], 200, 200)
    alone = draw_openpose(b, 200, 200)
    assert (both[alone.any(-1)] == alone[alone.any(-1)]).all()
    assert not draw_openpose([], 20, 30).any()


def test_keypoints_far_outside_the_picture_do_no_harm():
    body = np.ones((18, 3))
    body[:, :2] = np.random.default_rng(2).uniform(-40, 40, (18, 2))
    hand = np.ones((21, 3))
    hand[:, :2] = np.random.default_rng(3).uniform(-40, 40, (21, 2))
    assert draw_openpose(Pose(body, hand), 50, 60).shape == (50, 60, 3)


def test_openpose_json_comes_back():
    pose = golden_pose("cropped")
    again = Pose.from_dict(pose.to_dict(320, 240), 320, 240)
    assert np.allclose(again.body, pose.body)
    assert np.allclose(again.left_hand, pose.left_hand)
    assert again.face is None


def test_wrong_keypoints_are_refused_with_the_parts_name():
    with pytest.raises(ValueError, match="body"):
        Pose(np.zeros((17, 3)))
    with pytest.raises(ValueError, match="left_hand"):
        Pose(np.zeros((18, 3)), left_hand=np.full((21, 3), np.nan))
    with pytest.raises(ValueError, match="hand_left_keypoints_2d"):
        Pose.from_dict({"hand_left_keypoints_2d": [1, 2, 3]}, 10, 10)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        draw_openpose(Pose(np.zeros((18, 3))), 0, 5)


def test_joints_behind_the_camera_outside_or_behind_a_wall_are_hidden():
    camera = Camera.from_fov(64, 64, fov_x=60)
    body = np.full((18, 3), np.nan)
    body[0] = (0, 0, 2)  # in front
    body[1] = (0, 0, -2)  # behind the camera
    body[2] = (9, 0, 2)  # outside
    body[3] = (0.5, 0, 4)  # behind a wall
    body[4] = (0.5, 0, 3.05)  # inside the wall's skin
    wall = np.full((64, 64), 3.0)
    pose = Pose.from_scene(camera, body, depth=wall, thickness=0.1)
    assert np.flatnonzero(pose.body[:, 2]).tolist() == [0, 4]
    assert pose.body[0, :2] == pytest.approx([0.5, 0.5])
    assert np.flatnonzero(Pose.from_scene(camera, body).body[:, 2]).tolist() == [0, 3, 4]


def test_the_tables_name_what_they_index():
    assert len(BODY_KEYPOINTS) == len(BODY_COLOURS) == 18
    assert len(BODY_LIMBS) == 17
    assert len(HAND_BONES) == 20
    assert HAND_BONES[:5] == ((0, 1), (1, 2), (2, 3), (3, 4), (0, 5))
