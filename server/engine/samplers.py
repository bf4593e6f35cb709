"""Samplers by the names that artists know, each built from the model's own scheduler configuration."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin

from server.engine.errors import InvalidRequest

#: Name → diffusers' class and what it changes of the model's configuration.
_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "DPM++ 2M Karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "DPM++ SDE": (
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "lower_order_final": True},
    ),
    "UniPC": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "LCM": ("LCMScheduler", {}),
    "DDIM": ("DDIMScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
}
NAMES: tuple[str, ...] = tuple(_SAMPLERS)

_OWN_SIGMAS = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}


def check(name: str | None) -> None:
    """Raise `InvalidRequest` unless name is one of `NAMES` or None."""
    if name is not None and name not in _SAMPLERS:
        raise InvalidRequest(f"sampler is {name!r}, which is not a sampler.", f"Take one of: {', '.join(NAMES)}.")


def scheduler(name: str | None, own: SchedulerMixin, steps: int) -> SchedulerMixin:
    """A new scheduler object: schedulers carry the state of one painting, so that two must never share one.

    name: one of `NAMES`, or None for the model's own. own: the model's scheduler, whose betas, prediction type, zero
    terminal SNR and timestep spacing are kept. steps: how many will be asked for. Raises InvalidRequest for a model
    that follows a flow and a sampler that cannot.
    """
    config = dict(own.config)
    if name is None:
        return type(own).from_config(config)
    if isinstance(own, diffusers.FlowMatchEulerDiscreteScheduler):
        if name != "Euler":
            raise InvalidRequest(
                f"sampler is {name!r}, and this model follows a flow.", "Take Euler, or leave the choice to the model."
            )
        return type(own).from_config(config)
    class_name, changes = _SAMPLERS[name]
    cls = getattr(diffusers, class_name)
    # The names promise a noise schedule, whichever one the model's own sampler prefers.
    changes = {**_OWN_SIGMAS, **changes}
    if "clip_sample" not in own.config:
        changes["clip_sample"] = False  # diffusers' default clips pixels, and latents are none
    if class_name == "LCMScheduler":
        changes["original_inference_steps"] = max(50, steps)
    if config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in cls().config:
        changes["trained_betas"] = _zero_snr_betas(own)
    # What stands in this list goes back to the class's default, whatever the configuration says.
    defaults = [key for key in config.pop("_use_default_values", []) if key not in changes]
    return cls.from_config({**config, **changes, "_use_default_values": defaults})


def _zero_snr_betas(own: SchedulerMixin) -> list[float]:
    """Betas of a zero-SNR schedule for the schedulers that cannot rescale their own.

    The last cumulative alpha is 2⁻²⁴ and not 0, as in the schedulers that can, so that sigma stays finite.
    """
    plain = diffusers.DDIMScheduler.from_config(own.config)
    alphas = plain.alphas_cumprod.double().clone()
    alphas[-1] = max(float(alphas[-1]), 2.0**-24)
    ratios = torch.cat([alphas[:1], alphas[1:] / alphas[:-1]])
    return (1 - ratios).tolist()
