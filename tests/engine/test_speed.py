"""The switches are read, refused by name, and change next to nothing in the picture."""

import numpy as np
import pytest
import torch

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import InvalidRequest
from server.engine.painting import PaintRequest
from server.engine.speed import Speed

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_without_being_asked_only_what_was_measured_to_help_is_on(monkeypatch):
    monkeypatch.delenv("BRUSHWIRE_SPEED", raising=False)
    assert Speed.from_environment(CPU) == Speed(channels_last=True)
    assert Speed.from_environment(GPU) == Speed()


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("plain", Speed()),
        ("compile", Speed(compiled=True)),
        ("channels-last, attention=flash", Speed(channels_last=True, attention="flash")),
        ("step-cache=0.1,compile", Speed(compiled=True, step_cache=0.1)),
    ],
)
def test_the_environment_says_which(monkeypatch, text, speed):
    monkeypatch.setenv("BRUSHWIRE_SPEED", text)
    assert Speed.from_environment(CPU) == speed


@pytest.mark.parametrize(
    ("text", "told"), [("warp", "'warp'"), ("step-cache=much", "step-cache=much"), ("step-cache=1.5", "at most 1")]
)
def test_a_word_that_is_no_switch_is_refused(monkeypatch, text, told):
    monkeypatch.setenv("BRUSHWIRE_SPEED", text)
    with pytest.raises(InvalidRequest, match=told):
        Speed.from_environment(CPU)


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_channels_last_and_an_attention_backend_paint_the_same_picture(paint, models, ids, model):
    painter = Painter(Catalog([models], starter=None), "cpu", speed=Speed(channels_last=True, attention="native"))
    request = PaintRequest("wall", model=ids[model], seed=7, steps=3, seamless_x=True)
    fast = painter.paint(request).images[0]
    plain = paint(model, prompt="wall", seamless_x=True).images[0]
    np.testing.assert_allclose(fast.astype(int), plain, atol=3)
    unet = painter.loader.checkpoint(painter.catalog.get(ids[model])).denoiser
    assert unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
