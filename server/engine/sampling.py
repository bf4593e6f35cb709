"""What is watched and changed between the steps of a pipeline: cancelling, progress, previews, masks.

All of it hangs on objects that live for one painting (its scheduler, its hooks), so that nothing outlives it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin
from torch import Tensor, nn

from server.engine.errors import Cancelled
from server.engine.painting import IsCancelled


@contextmanager
def before_each_call(modules: Sequence[nn.Module], action: Callable[[], None]) -> Iterator[None]:
    """Do something before each forward call of the modules; what it raises ends the sampling."""
    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_pre_hook(lambda *_: action()))
        yield


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
            if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
                flow, _, latents = args  # x = clean + σ · flow
                self.latest = latents - scheduler.sigmas[scheduler.step_index - 1].to(latents) * flow
            else:
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


class VariedNoise:
    """Noise of one seed turned towards that of another, by spherical interpolation."""

    def __init__(self, seeds: Sequence[int], others: Sequence[int], strength: float) -> None:
        self.seeds, self.others, self.strength = seeds, others, strength

    def draw(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """(b, *shape), as a pipeline would have drawn it for each seed."""
        return self.turned(torch.stack([_noise(seed, shape, dtype) for seed in self.seeds]))

    def turned(self, noise: Tensor) -> Tensor:
        """Noise of the seeds, (b, ...), turned towards the other seeds'."""
        others = [_noise(seed, tuple(noise.shape[1:]), noise.dtype).to(noise.device) for seed in self.others]
        return torch.stack([slerp(*pair, self.strength) for pair in zip(noise, others, strict=True)])

    def replace(self, scheduler: SchedulerMixin) -> None:
        """Let a scheduler start a picture with the turned noise; the pipeline draws its own and hands it in."""
        add_noise = scheduler.add_noise

        def starting(clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
            return add_noise(clean, self.turned(noise), timesteps)

        scheduler.add_noise = starting


def slerp(one: Tensor, other: Tensor, share: float) -> Tensor:
    """From one tensor (share 0) to the other (1) along the great circle, so that noise keeps its spread."""
    if share in (0, 1):
        return other if share else one
    a, b = one.float().flatten(), other.float().flatten()
    cosine = torch.clamp(torch.dot(a, b) / (a.norm() * b.norm()), -1, 1)
    angle = torch.acos(cosine)
    if angle.sin() < 1e-4:
        mixed = a + (b - a) * share
    else:
        mixed = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
    return mixed.reshape(one.shape).to(one.dtype)


def _noise(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)[0]


@contextmanager
def silent_without_words(pipeline: Any, nets: Sequence[nn.Module]) -> Iterator[None]:
    """Let a pipeline's ControlNets add nothing where there are no words: guidance then strengthens them too."""

    def silence(_: nn.Module, __: Any, answer: tuple[Sequence[Tensor], Tensor]) -> tuple[list[Tensor], Tensor]:
        downs, mid = answer
        return [words_alone(pipeline, residual) for residual in downs], words_alone(pipeline, mid)

    with ExitStack() as hooks:
        for net in nets:
            hooks.enter_context(net.register_forward_hook(silence))
        yield


def words_alone(pipeline: Any, added: Tensor) -> Tensor:
    """What is added to a batch, with zeros for the half without words: in a guided batch (2·b, ...) the first one."""
    if not pipeline.do_classifier_free_guidance:
        return added
    half = len(added) // 2
    return torch.cat([torch.zeros_like(added[:half]), added[half:]])


@contextmanager
def changing_words(
    modules: Sequence[nn.Module], steps: Sequence[tuple[Tensor, Tensor]], done: Callable[[], int]
) -> Iterator[None]:
    """Give the modules, at each call, the words of the step that it belongs to.

    steps: negative and positive, (b, n, width) each, for each step. done: how many steps are done.
    """

    def exchange(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        negative, positive = steps[min(done(), len(steps) - 1)]
        guided = len(kwargs["encoder_hidden_states"]) == 2 * len(positive)
        words = torch.cat([negative, positive]) if guided else positive
        return args, {**kwargs, "encoder_hidden_states": words}

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_pre_hook(exchange, with_kwargs=True))
        yield
