"""Poses from pictures: where a hand would place them, at any size, of everybody who is there."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from server.engine import detectors, packages
from server.engine.annotating import Annotator
from server.engine.annotators.people import People
from server.engine.annotators.ssd import Region
from server.engine.detectors import AnnotateRequest
from tests.engine import drawn_hand
from tests.shipped import WEIGHTS, needs

CPU = torch.device("cpu")

#: Placed by hand on scikit-image's pictures, in pixels: where the joints are under the clothes, to a few pixels.
ASTRONAUT = {2: (95, 258), 5: (318, 262), 3: (50, 425), 0: (224, 130), 14: (204, 103), 15: (248, 104)}
SHOWN = 496  # pixels of the astronaut that the picture shows, from the hair to its lower edge


@needs(packages.MEDIAPIPE)
def test_the_pose_of_a_real_person_is_where_a_hand_would_place_it():
    skimage = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert runs the models")
    picture = skimage.astronaut()
    made = Annotator([WEIGHTS], CPU).annotate(AnnotateRequest(picture, "pose"))
    assert made.exact["keypoints"].shape == (130, 3)
    body, face = made.exact["keypoints"][:18], made.exact["keypoints"][60:]
    for joint, place in ASTRONAUT.items():
        assert body[joint, 2] > 0, joint
        assert np.hypot(*(body[joint, :2] - place)) < 0.05 * SHOWN, joint
    assert (face[:, 2] > 0).all()
    assert np.hypot(*(face[68, :2] - (204, 103))) < 6  # the pupils
    assert np.hypot(*(face[69, :2] - (248, 104))) < 6
    assert np.hypot(*(face[8, :2] - (219, 180))) < 12  # the chin
    assert (body[[8, 11], 2] == 0).all()  # the hips are below the picture
    drawn = made.control.any(-1)
    for joint in ASTRONAUT:
        x, y = body[joint, :2].astype(int)
        assert drawn[y, x]
    assert drawn.mean() < 0.1


@needs(packages.MEDIAPIPE)
def test_a_pose_is_the_same_at_another_size_and_of_two_people_there_are_two():
    skimage = pytest.importorskip("skimage.data", reason="scikit-image has the photograph")
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert runs the models")
    annotator = Annotator([WEIGHTS], CPU)
    picture = skimage.astronaut()
    large = np.asarray(Image.fromarray(picture).resize((1024, 1024), Image.Resampling.LANCZOS))
    one, two = (annotator.annotate(AnnotateRequest(p, "pose")).exact["keypoints"] for p in (picture, large))
    both = (one[:18, 2] > 0) & (two[:18, 2] > 0)
    assert both.sum() >= 8
    assert np.abs(two[:18][both, :2] / 2 - one[:18][both, :2]).max() < 12
    pair = np.concatenate([picture, picture[:, ::-1]], 1)
    assert len(annotator.annotate(AnnotateRequest(pair, "pose", hands=False, face=False)).exact["keypoints"]) == 260
    nobody = annotator.annotate(AnnotateRequest(skimage.coffee(), "pose"))
    assert not nobody.exact["keypoints"].any()
    assert not nobody.control.any()


@needs(packages.MEDIAPIPE)
@pytest.mark.parametrize("turned", [0, 1, 3])
def test_the_fingertips_of_a_drawn_hand_are_found_however_it_is_turned(turned):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert runs the models")
    picture = np.rot90(drawn_hand.picture(), turned).copy()

    def place(point):
        x, y = point
        for _ in range(turned):  # np.rot90 goes against the clock
            x, y = y, 256 - x
        return np.array([x, y])

    found = People([WEIGHTS]).hand(picture, Region(128, 128, 320), place(drawn_hand.WRIST))
    assert found is not None
    for finger, tip in enumerate(drawn_hand.TIPS):
        assert np.hypot(*(found[4 * finger + 4, :2] - place(tip))) < 12, finger
    assert np.hypot(*(found[0, :2] - place(drawn_hand.WRIST))) < 25


def test_a_region_of_the_picture_is_cut_and_its_points_are_put_back_however_it_is_turned():
    picture = np.zeros((80, 100, 3), np.uint8)
    picture[20:24, 60:64] = 255
    for turn in (0.0, 0.7, -2.0):
        region = Region(55, 30, 40, turn)
        cut = region.cut(picture, 160)
        y, x = np.argwhere(cut[..., 0] > 0.5).mean(0) + 0.5
        np.testing.assert_allclose(region.to_picture(np.array([[x / 160, y / 160]]))[0], (62, 22), atol=0.15)


def test_a_job_says_whose_points_they_are(tmp_path):
    from bridge_protocol.blobs import Blob
    from bridge_protocol.jobs import Annotate
    from server.verbs import annotate

    keypoints = np.zeros((260, 3), np.float32)
    keypoints[0] = (4, 5, 1)

    class Painter:
        def annotate(self, request, on_progress=None, cancelled=None):
            self.request = request
            return detectors.Annotation(np.zeros((8, 9, 3), np.uint8), "pose", {"keypoints": keypoints})

    blob = Blob.of(np.zeros((8, 9, 3), np.uint8), color="srgb")
    painter = Painter()
    job = Annotate(blob, "pose", resolution=512, low_threshold=3, hands=False, seed=4)
    made = annotate.run(job, {blob.ref.digest: np.zeros((8, 9, 3), np.uint8)}, painter, print, bool)
    assert [one.name for one in made.outputs] == ["control", "keypoints"]
    assert made.outputs[1].info == {"control": "pose", "points": 130, "people": 1}
    assert (painter.request.resolution, painter.request.low, painter.request.hands, painter.request.seed) == (
        512,
        3,
        False,
        4,
    )
    assert json.dumps(made.info)
