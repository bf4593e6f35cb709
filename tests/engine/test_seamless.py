"""A seamless picture continues at its opposite edge, exactly, and the next picture knows nothing of it."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

from server.engine.errors import InvalidRequest
from server.engine.seamless import wrapping


def rolled(tensor: torch.Tensor, x: int, y: int) -> torch.Tensor:
    return torch.roll(tensor, (y, x), (-2, -1))


@pytest.fixture(scope="module")
def sd(models):
    return (
        UNet2DConditionModel.from_pretrained(models / "sd" / "unet"),
        AutoencoderKL.from_pretrained(models / "sd" / "vae"),
        ControlNetModel.from_pretrained(models / "sd-controlnet-depth"),
    )


def denoise(sd, latents: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
    unet, _, net = sd
    text = torch.randn(1, 77, 24, generator=torch.Generator().manual_seed(2))
    down, mid = net(latents, 10, text, controlnet_cond=hint, return_dict=False)
    return unet(
        latents, 10, text, down_block_additional_residuals=down, mid_block_additional_residual=mid, return_dict=False
    )[0]


@pytest.mark.parametrize(("x", "y"), [(True, True), (True, False), (False, True)])
@torch.no_grad()
def test_rolling_what_goes_in_rolls_what_comes_out(sd, x, y):
    """A network whose every layer wraps cannot know where the edge is. Rolled by a whole step of its coarsest level,
    its output is the same but for the order of the sums."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    hint = torch.rand(1, 3, 128, 128, generator=generator)
    picture = torch.rand(1, 3, 128, 128, generator=generator)
    dx, dy = 6 * x, 10 * y
    vae = sd[1]

    def moved(tensor: torch.Tensor, roll: int) -> torch.Tensor:
        scale = tensor.shape[-1] // 16
        return rolled(tensor, scale * dx * roll, scale * dy * roll)

    passes = {
        "denoise": (lambda roll: denoise(sd, moved(latents, roll), moved(hint, roll)), 1),
        "decode": (lambda roll: vae.decode(moved(latents, roll)).sample, 8),
        "encode": (lambda roll: vae.encode(moved(picture, roll)).latent_dist.mean, 1),
    }
    for name, (run, scale) in passes.items():
        with wrapping(sd, x, y):
            wraps = (run(1) - rolled(run(0), scale * dx, scale * dy)).abs().max()
        plain = (run(1) - rolled(run(0), scale * dx, scale * dy)).abs().max()
        assert wraps < 1e-4, name
        assert plain > 1e-3, name


@torch.no_grad()
def test_the_axis_that_was_not_asked_for_still_has_its_edge(sd):
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    vae = sd[1]
    with wrapping(sd, True, False):
        down = (vae.decode(rolled(latents, 0, 4)).sample - rolled(vae.decode(latents).sample, 0, 32)).abs().max()
    assert down > 1e-3


def test_every_convolution_is_what_it_was_also_after_an_error(sd):
    before = [dict(vars(module)) for model in sd for module in model.modules()]
    with pytest.raises(KeyError), wrapping(sd, True, True):
        raise KeyError
    after = [dict(vars(module)) for model in sd for module in model.modules()]
    assert [list(one) for one in before] == [list(one) for one in after]
    with wrapping(sd, False, False):
        assert [list(vars(module)) for model in sd for module in model.modules()] == [list(one) for one in before]


@pytest.mark.parametrize("model", ["sd", "sd16", "xl"])
def test_a_seamless_painting_leaves_the_next_one_as_it_was(paint, model):
    before = paint(model).images[0]
    tiling = paint(model, seamless_x=True, seamless_y=True).images[0]
    assert (tiling != before).any()
    np.testing.assert_array_equal(paint(model).images[0], before)
    np.testing.assert_array_equal(paint(model, seamless_x=True, seamless_y=True).images[0], tiling)


def test_a_side_that_cannot_tile_is_refused_with_one_that_can(paint):
    with pytest.raises(InvalidRequest, match=r"width is 72.*multiple of 16"):
        paint(width=72, height=64, seamless_x=True)
    assert paint(width=72, height=64, seamless_y=True).images[0].shape == (64, 72, 3)


def test_a_part_of_a_picture_is_not_made_seamless_and_that_is_reported(paint, picture):
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[20:40, 20:40] = 255
    painting = paint(image=picture, mask=mask, mask_padding=8, seamless_x=True)
    assert any("not made seamless" in sentence for sentence in painting.fallbacks)
