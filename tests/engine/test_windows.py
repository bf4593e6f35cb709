"""Windows over latents: no window's edge shows, on a ring there is no edge at all, and each has its own control."""

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn

from server.engine.errors import InvalidRequest
from server.engine.windows import Tiling, windowed


class Pointwise(nn.Module):
    """A denoiser that looks at one latent at a time: in windows or not, it must say the same."""

    def forward(self, sample, timestep, return_dict=True):
        return (torch.sin(3 * sample) * timestep,)


class Neighbours(nn.Module):
    """A denoiser that looks around: what a window's edge hides from it changes what it says."""

    def forward(self, sample, timestep, return_dict=True):
        return (nn.functional.avg_pool2d(sample, 5, 1, 2),)


def latents(height, width):
    return torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("wraps", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("size", [(8, 8), (19, 40), (33, 9)])
def test_what_a_denoiser_says_of_each_latent_is_kept(wraps, size):
    module, sample = Pointwise(), latents(*size)
    with windowed(module, [], Tiling(8, 4, wraps)):
        seen = module(sample, 2.0, return_dict=False)[0]
    torch.testing.assert_close(seen, module(sample, 2.0)[0])


def test_on_a_ring_there_is_no_edge():
    module, sample = Neighbours(), latents(24, 24)
    with windowed(module, [], Tiling(8, 4, (True, True))):
        rolled = module(sample.roll((8, 4), (2, 3)), 1.0, return_dict=False)[0]
        torch.testing.assert_close(rolled, module(sample, 1.0, return_dict=False)[0].roll((8, 4), (2, 3)))
    with windowed(module, [], Tiling(8, 4)):
        rolled = module(sample.roll((8, 4), (2, 3)), 1.0, return_dict=False)[0]
        assert (rolled - module(sample, 1.0, return_dict=False)[0].roll((8, 4), (2, 3))).abs().max() > 0.05


def test_each_window_has_its_own_part_of_the_control(models):
    unet = UNet2DConditionModel.from_pretrained(models / "sd" / "unet")
    net = ControlNetModel.from_pretrained(models / "sd-controlnet-depth")
    sample, words = latents(8, 32)[:1], torch.zeros(1, 77, 24)
    control = torch.zeros(1, 3, 64, 256)
    changed = control.clone()
    changed[..., :32] = 1  # the first four columns of latents

    def predict(condition):
        down, mid = net(sample, 500, words, condition, return_dict=False)
        return unet(
            sample, 500, words, down_block_additional_residuals=down, mid_block_additional_residual=mid,
            return_dict=False,
        )[0]  # fmt: skip

    with torch.no_grad(), windowed(unet, [net], Tiling(8, 4)):
        difference = (predict(changed) - predict(control)).abs().amax((0, 1, 2))
    assert difference[:4].min() > 1e-4
    assert difference[8:].max() == 0


def test_a_model_is_as_before_after_its_windows(paint):
    before = paint(width=64, height=64).images[0]
    large = paint(width=128, height=128, tile="native", seamless_x=True, seamless_y=True)
    assert large.images[0].shape == (128, 128, 3)
    np.testing.assert_array_equal(paint(width=64, height=64).images[0], before)
    whole = paint(width=128, height=128, seamless_x=True, seamless_y=True)
    assert (whole.images[0] != large.images[0]).any()


def test_what_is_no_larger_than_a_window_is_painted_in_one_piece(paint):
    np.testing.assert_array_equal(paint(tile="native").images[0], paint().images[0])


def test_a_tile_that_no_model_can_take_is_refused(paint):
    with pytest.raises(InvalidRequest, match="tile is 8"):
        paint(tile=8)
