"""Every sampler finds the picture that a perfect model knows, and what watches its steps sees the truth."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, SchedulerMixin

from server.engine import samplers
from server.engine.sampling import CleanLatents, KeepOutside
from tests.tiny_models import SD_BETAS

OWN = {
    "epsilon": PNDMScheduler(**SD_BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
    "zero-SNR v": DDIMScheduler(
        **SD_BETAS, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
        clip_sample=False, steps_offset=1,
    ),
}  # fmt: skip
PICTURE = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def oracle(own: SchedulerMixin, scaled: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """What a perfect model says of (1 - s²)^½ · picture + s · noise, for timesteps between whole ones too."""
    alphas = DDIMScheduler.from_config(own.config).alphas_cumprod.double()
    alphas[-1] = max(float(alphas[-1]), 2.0**-24)  # as the schedulers that divide by it have it
    log_sigmas = ((1 - alphas) / alphas).sqrt().log().numpy()
    sigma = np.exp(np.interp(float(timestep), np.arange(1000), log_sigmas))
    a, s = 1 / np.sqrt(1 + sigma**2), sigma / np.sqrt(1 + sigma**2)
    noise = (scaled - a * PICTURE) / s
    return (noise if own.config.prediction_type == "epsilon" else a * noise - s * PICTURE).float()


@pytest.mark.parametrize("name", samplers.NAMES)
@pytest.mark.parametrize("kind", OWN)
def test_every_sampler_finds_the_picture_that_a_perfect_model_knows(kind, name):
    own, generator = OWN[kind], torch.Generator().manual_seed(2)
    scheduler = samplers.scheduler(name, own, 12)
    clean = CleanLatents(scheduler)
    scheduler.set_timesteps(12)
    latents = NOISE * scheduler.init_noise_sigma
    accepted = scheduler.step.__wrapped__.__code__.co_varnames
    options = {"generator": generator} if "generator" in accepted else {}
    for timestep in scheduler.timesteps:
        output = oracle(own, scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(output, timestep, latents, **options, return_dict=False)[0]
        assert (clean.latest - PICTURE).abs().max() < 0.1, "what a preview would show"
    assert (latents - PICTURE).abs().max() < 0.15


@pytest.mark.parametrize("name", [name for name in samplers.NAMES if name not in ("Euler a", "DPM++ SDE", "LCM")])
@pytest.mark.parametrize("kind", OWN)
def test_the_kept_outside_is_as_noisy_as_the_rest_at_every_step(kind, name):
    """With a perfect model, the samplers without fresh noise stay on the line between noise and picture: there the
    inside and what replaces the outside must agree."""
    own = OWN[kind]
    scheduler = samplers.scheduler(name, own, 12)
    keep = KeepOutside(scheduler, torch.zeros(1, 1, 8, 8), forget=False)
    scheduler.set_timesteps(12)
    begin = 4 * scheduler.order
    timesteps = scheduler.timesteps[begin:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    latents = scheduler.add_noise(PICTURE, NOISE, timesteps[:1])
    for index, timestep in enumerate(timesteps):
        output = oracle(own, scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        following = timesteps[index + 1] if index + 1 < len(timesteps) else None
        outside = keep.after_step(latents, following)
        assert (outside - latents).abs().max() < 0.02 * max(1.0, float(latents.abs().max())) + 0.1 * (following is None)
    torch.testing.assert_close(outside, PICTURE)


def test_the_inside_is_not_touched_and_starts_from_noise_alone_if_it_is_to_be_forgotten():
    cover = torch.zeros(1, 1, 8, 8)
    cover[..., 2:5, 2:5] = 1
    inside = cover.expand_as(PICTURE) > 0
    scheduler = samplers.scheduler("Euler", OWN["epsilon"], 5)
    keep = KeepOutside(scheduler, cover, forget=True)
    scheduler.set_timesteps(5)
    start = scheduler.add_noise(PICTURE, NOISE, scheduler.timesteps[:1])
    torch.testing.assert_close(start[inside], (NOISE * scheduler.init_noise_sigma)[inside])
    latents = torch.randn(1, 4, 8, 8)
    kept = keep.after_step(latents, None)
    assert torch.equal(kept[inside], latents[inside])
    assert torch.equal(kept[~inside], PICTURE[~inside])


@pytest.mark.parametrize("name", samplers.NAMES)
def test_what_the_model_was_trained_with_is_kept(name):
    made = samplers.scheduler(name, OWN["zero-SNR v"], 20)
    assert made.config.prediction_type == "v_prediction"
    assert float(made.alphas_cumprod[-1]) < 1e-6
    made.set_timesteps(4)
    assert float(made.timesteps[0]) == pytest.approx(999, abs=1), "a zero-SNR model must start from noise alone"


def test_a_name_promises_its_own_noise_schedule():
    own = samplers.scheduler("DPM++ 2M Karras", OWN["epsilon"], 20)
    assert samplers.scheduler("DPM++ 2M Karras", own, 20).config.use_karras_sigmas
    assert not samplers.scheduler("DPM++ 2M", own, 20).config.use_karras_sigmas
    assert not samplers.scheduler("Euler", own, 20).config.use_karras_sigmas


def test_no_two_paintings_share_a_scheduler():
    own = EulerDiscreteScheduler(**SD_BETAS)
    assert samplers.scheduler(None, own, 20) is not own
    assert type(samplers.scheduler(None, own, 20)) is EulerDiscreteScheduler
    assert samplers.scheduler("Euler", own, 20) is not samplers.scheduler("Euler", own, 20)
