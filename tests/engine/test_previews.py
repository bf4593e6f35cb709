"""Previews are small, cheap, and look like what will be painted."""

import json

import numpy as np
import pytest
import torch

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.painting import PaintRequest
from server.engine.previews import LatentColors, fit
from tests import tiny_models


def previews(paint, **wanted) -> list[np.ndarray]:
    told = []
    paint(on_progress=told.append, **wanted)
    return [progress.preview for progress in told if progress.preview is not None]


@pytest.mark.parametrize("model", ["sd", "sd16", "xl"])
@pytest.mark.parametrize(("longest", "size"), [(512, (64, 128, 3)), (32, (16, 32, 3))])
def test_a_preview_comes_after_every_second_step_at_the_size_asked_for(paint, model, longest, size):
    shown = previews(
        paint, model=model, width=128, height=64, steps=6, preview_every=2, preview_size=longest, sampler="Euler"
    )
    assert [(preview.shape, preview.dtype) for preview in shown] == [(size, np.uint8)] * 2  # none after the last step
    assert all(preview.std() > 0 for preview in shown)


def test_without_being_asked_for_there_is_none(paint):
    assert previews(paint) == []


def test_the_fitted_map_explains_a_linear_decoder_completely():
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(16, 3, generator=generator)

    class Linear:
        """A decoder that is linear, so that there is a right answer."""

        config = type("Config", (dict,), {"latent_channels": 16, "scaling_factor": 0.5})()
        device, dtype = torch.device("cpu"), torch.float32

        def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
            colors = torch.einsum("bchw,cr->brhw", latents * 0.5, factors) + 0.25
            return (torch.nn.functional.interpolate(colors, scale_factor=8),)

    fitted = fit(Linear())
    torch.testing.assert_close(fitted.factors, factors, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fitted.bias, torch.full((3,), 0.25), atol=1e-4, rtol=1e-4)


def test_a_models_own_map_goes_before_all_others(models, tmp_path):
    folder = tiny_models.copy(models / "sd", tmp_path / "sd")
    own = {"latent_rgb_factors": [[0.0] * 3] * 4, "latent_rgb_bias": [1.0, -1.0, 0.0]}
    (folder / "preview.json").write_text(json.dumps(own))
    told = []
    Painter(Catalog([tmp_path], starter=None), "cpu").paint(PaintRequest(steps=3, preview_every=1), told.append)
    shown = next(progress.preview for progress in told if progress.preview is not None)
    assert np.unique(shown.reshape(-1, 3), axis=0).tolist() == [[255, 0, 128]]


def test_colours_are_mapped_from_minus_one_to_one():
    colors = LatentColors(torch.eye(3), torch.zeros(3))
    latents = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 2, 2)
    assert colors.picture(latents, 16)[0, 0].tolist() == [0, 128, 255]
