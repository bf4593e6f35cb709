"""What is watched and changed between the steps of a pipeline: cancelling, progress, previews, masks.

All of it hangs on objects that live for one painting (its scheduler, its hooks), so that nothing outlives it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor, nn

from server.engine.errors import Cancelled
from server.engine.painting import IsCancelled


@contextmanager
def before_each_call(modules: Sequence[nn.Module], action: Callable[[], None]) -> Iterator[None]:
    """Do something before each forward call of the modules; what it raises ends the sampling."""
    handles = [module.register_forward_pre_hook(lambda *_: action()) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def raise_if(cancelled: IsCancelled) -> None:
    """Raise `Cancelled` if it was."""
    if cancelled():
        raise Cancelled


class CleanLatents:
    """Remembers what the scheduler's last step believes the finished latents to be.

    Noisy latents make a poor preview, and with the samplers that count in sigma they are far out of range.
    """

    def __init__(self, scheduler: SchedulerMixin) -> None:
        self.latest: Tensor | None = None
        step = scheduler.step

        @functools.wraps(step)  # pipelines look at the signature to know what to pass
        def remembering(*args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            self.latest = _predicted(scheduler, result)
            return result

        scheduler.step = remembering


def _predicted(scheduler: SchedulerMixin, result: Any) -> Tensor | None:
    if isinstance(result, tuple) and len(result) > 1:
        return result[1]
    outputs = getattr(scheduler, "model_outputs", None)  # the multistep solvers keep them, in terms of clean latents
    return outputs[-1] if outputs else None


class KeepOutside:
    """Keeps the latents outside of a mask what the picture's are, noised as far as the rest of them.

    This works with every checkpoint that can do image-to-image (RePaint without resampling, Lugmayr et al. 2022).
    cover: (1, 1, h, w), 1 where is painted. forget: whether the painted part starts from noise alone.
    """

    def __init__(self, scheduler: SchedulerMixin, cover: Tensor, forget: bool) -> None:
        self.cover = cover
        self.scheduler = scheduler
        self.clean: Tensor | None = None
        self.noise: Tensor | None = None
        self._add_noise = add_noise = scheduler.add_noise

        def starting(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
            # The pipeline encodes the picture and draws the noise by itself; this is where both can be seen.
            self.clean, self.noise = clean, noise
            noisy = add_noise(clean, noise, timesteps)
            return self._mix(noise * scheduler.init_noise_sigma, noisy) if forget else noisy

        scheduler.add_noise = starting

    def after_step(self, latents: Tensor, next_timestep: Tensor | None) -> Tensor:
        """The latents after a step; next_timestep is None after the last one."""
        assert self.clean is not None
        assert self.noise is not None
        outside = self.clean
        if next_timestep is not None:
            outside = self._add_noise(self.clean, self.noise, next_timestep[None])
        return self._mix(latents, outside)

    def _mix(self, inside: Tensor, outside: Tensor) -> Tensor:
        return torch.where(self.cover.to(inside.device) > 0, inside, outside.to(inside.dtype))
