"""Upscale jobs: the engine's own enlarging, then a painter over it, in windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bridge_protocol.blobs import Blob
from bridge_protocol.jobs import Upscale
from bridge_protocol.records import InvalidValue
from server.engine.painting import Painting
from server.engine.upscaling import Upscaler
from server.verbs import upscale


class Painter:
    """Enlarges truly, and paints by darkening; keeps what it was asked."""

    def __init__(self):
        self.upscaler = Upscaler([Path("nowhere")], torch.device("cpu"))
        self.asked = []

    def upscale(self, request, on_progress=None, cancelled=None):
        return self.upscaler.upscale(request, on_progress, cancelled)

    def paint(self, request, on_progress=None, cancelled=None):
        self.asked.append(request)
        return Painting([request.image // 2], [9], 0, 0, "small", [], {"sampling": 0.1}, ["painted"])


PICTURE = np.random.default_rng(0).integers(0, 256, (33, 50, 4), np.uint8)


def run(painter=None, **fields):
    blob = Blob.of(fields.pop("image", PICTURE), color="srgb")
    array = np.frombuffer(blob.data, blob.ref.dtype).reshape(blob.ref.shape)
    job = Upscale(image=blob, upscaler="lanczos", **fields)
    made = upscale.run(job, {blob.ref.digest: array}, painter or Painter(), lambda progress: None, lambda: False)
    return made.outputs[0].array, made.info


def test_a_picture_is_enlarged_and_said_by_what_without_painting():
    painter = Painter()
    image, info = run(painter, scale=2.5)
    assert image.shape == (82, 125, 4)
    assert info == {"upscaler": "lanczos", "model": "", "fallbacks": []}
    assert painter.asked == []


def test_its_details_are_painted_anew_in_windows_of_the_tiles_size():
    painter = Painter()
    image, info = run(painter, scale=2, denoising_strength=0.3, tile=128, overlap=32, prompt="fine", steps=4)
    (request,) = painter.asked
    assert (request.denoising_strength, request.tile, request.tile_overlap) == (0.3, 128, 32)
    assert (request.prompt, request.steps, request.image.shape) == ("fine", 4, (66, 100, 4))
    assert image.shape == (66, 100, 4)
    assert (info["model"], info["seed"], info["fallbacks"]) == ("small", 9, ["painted"])


def test_a_ring_that_is_painted_has_whole_latents_and_says_so():
    painter = Painter()
    _, info = run(painter, scale=2, denoising_strength=0.3, seamless="both")
    assert painter.asked[0].image.shape == (64, 96, 4)
    assert painter.asked[0].seamless_x
    assert painter.asked[0].seamless_y
    assert any("96 × 64" in said for said in info["fallbacks"])
    assert len(info["seam_ratios"]) == 2


def test_a_result_beyond_what_can_travel_is_refused():
    with pytest.raises(InvalidValue, match="scale is 8"):
        run(image=np.zeros((8, 5000, 3), np.uint8), scale=8)
