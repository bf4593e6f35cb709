"""The painter: one device that turns requests into pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from server.engine import memory, previews, prompts, registry, samplers, seamless, windows
from server.engine.catalog import Catalog
from server.engine.compositing import LATENT, Float, latent_cover
from server.engine.errors import IncompatibleModels, InvalidRequest, UnknownModel
from server.engine.headers import read_header
from server.engine.loader import Checkpoint, Loader
from server.engine.painting import IsCancelled, OnProgress, Painting, PaintRequest, Phase, Progress, check
from server.engine.plan import Models, Plan, choose, plan
from server.engine.sampling import CleanLatents, KeepOutside, before_each_call, raise_if

#: Latents of the other side around tiling latents that are decoded in tiles.
_MARGIN = 8


class Painter:
    """Paints one request at a time on one device, and keeps the models warm between them.

    catalog: what can be asked for. device: a torch device's name, or None for the best one that is there.
    memory_budget: bytes of weights that may stay loaded; None means what the device can spare.
    """

    def __init__(self, catalog: Catalog, device: str | None = None, memory_budget: int | None = None) -> None:
        self.catalog = catalog
        self.device = torch.device(device) if device else best_device()
        self.loader = Loader(self.device, memory_budget)
        self._one_at_a_time = Lock()
        self._colors: WeakKeyDictionary[Checkpoint, previews.LatentColors] = WeakKeyDictionary()

    def paint(
        self,
        request: PaintRequest,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> Painting:
        """Paint a request.

        on_progress is called in this thread, after every step and at each new phase. cancelled is asked before each
        call of the denoiser and between phases; when it says True, `errors.Cancelled` is raised at once, and later
        paintings are bit-identical to what they would have been. Raises a subclass of `errors.EngineError`.
        """
        check(request)
        samplers.check(request.sampler)
        models = self._choose(request)
        work = _Work(plan(request, models), on_progress or _ignore, cancelled or _never)
        if request.image is not None and request.denoising_strength == 0:
            return work.painting([request.image.copy() for _ in work.plan.seeds])
        with self._one_at_a_time:
            for rung in memory.RUNGS:
                painted = self._attempt(work, rung)
                if painted is not None:
                    with work.phase("compositing"):
                        images = [work.plan.finish(pixels) for pixels in painted]
                    return work.painting(images)
                self.loader.forget(keep=models.ids())
            region = work.plan.region
            raise memory.exhausted(
                self.device, self.loader.dtype, region.paint_width, region.paint_height, request.batch
            )

    def _choose(self, request: PaintRequest) -> Models:
        try:
            return choose(self.catalog, request)
        except UnknownModel:
            self.catalog.rescan()  # it may have been put there since
            return choose(self.catalog, request)

    def free(self) -> None:
        """Forget every loaded model and give its memory back."""
        with self._one_at_a_time:
            self.loader.forget()

    def _attempt(self, work: _Work, rung: memory.Rung) -> Float | None:
        """(batch, paint_height, paint_width, 3) float32 in [0, 1], or None if memory ran out on the way.

        The exception must be gone when this returns: its traceback holds every tensor that filled the memory.
        """
        if rung in memory.FALLBACKS:
            work.fallbacks.append(memory.FALLBACKS[rung])
        try:
            return self._paint(work, rung)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            return None

    @torch.no_grad()
    def _paint(self, work: _Work, rung: memory.Rung) -> Float:
        models = work.plan.models
        raise_if(work.cancelled)
        with work.phase("loading"):
            resident = rung != "offloaded"
            checkpoint = self.loader.checkpoint(models.checkpoint, resident)
            nets = [self.loader.controlnet(info, resident).net for info in models.controlnets]
        raise_if(work.cancelled)
        self._check_seamless(work.plan, checkpoint, work.tiling is not None)
        pipeline = self._pipeline(work.plan, checkpoint, nets)
        vae = checkpoint.parts["vae"]
        with ExitStack() as stack:
            stack.enter_context(_adapters(pipeline, work))
            tiling = work.tiling
            whole = [] if tiling else [pipeline.unet, *nets]  # a window's edges are not the picture's
            stack.enter_context(seamless.wrapping([*whole, vae], *work.wraps))
            stack.enter_context(windows.windowed(pipeline.unet, nets, tiling))
            if rung != "plain":
                stack.enter_context(memory.tiled(vae))
            if rung == "offloaded":
                stack.enter_context(memory.offloaded(_in_order_of_use(checkpoint), nets, self.device))
            if work.latents is None:
                work.latents = self._sample(work, pipeline, checkpoint, nets)
            raise_if(work.cancelled)
            with work.phase("decoding"):
                return decode(pipeline, work.latents, wraps=work.wraps if rung != "plain" else (False, False))

    def _pipeline(self, plan: Plan, checkpoint: Checkpoint, nets: Sequence[Any]) -> DiffusionPipeline:
        cls = registry.pipeline_class(checkpoint.info.family, plan.task, bool(nets))
        controlled = {"controlnet": nets[0] if len(nets) == 1 else list(nets)} if nets else {}
        pipeline = cls(**checkpoint.parts, **checkpoint.options, **controlled, scheduler=checkpoint.scheduler)
        pipeline.scheduler = samplers.scheduler(plan.request.sampler, checkpoint.scheduler, plan.steps)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _sample(self, work: _Work, pipeline: Any, checkpoint: Checkpoint, nets: Sequence[Any]) -> Tensor:
        plan, request = work.plan, work.plan.request
        tokenizer = checkpoint.parts["tokenizer"]  # SDXL's second one cuts at the same place
        work.report(prompts.truncation(tokenizer, "prompt", request.prompt))
        work.report(prompts.truncation(tokenizer, "negative_prompt", request.negative_prompt))
        guidance_scale = request.guidance_scale
        if guidance_scale is None:
            family = registry.FAMILIES[checkpoint.info.family]
            guidance_scale = float(checkpoint.hints.get("guidance_scale", family.guidance_scale))
        keep = clean = None
        if plan.blends:
            assert plan.paint_cover is not None
            cover = torch.from_numpy(latent_cover(plan.paint_cover))[None, None]
            keep = KeepOutside(pipeline.scheduler, cover, forget=request.denoising_strength == 1)
        if request.preview_every:
            clean = CleanLatents(pipeline.scheduler)
            if checkpoint not in self._colors:
                self._colors[checkpoint] = previews.latent_colors(checkpoint)

        def after_step(pipe: Any, index: int, _: Any, state: dict[str, Any]) -> dict[str, Any]:
            count = pipe.num_timesteps
            if keep is not None:
                following = pipe.scheduler.timesteps[-count + index + 1] if index + 1 < count else None
                state["latents"] = keep.after_step(state["latents"], following)
            order = pipe.scheduler.order
            step, total = -(-(index + 1) // order), -(-count // order)
            preview = None
            if clean is not None and step % request.preview_every == 0 and step < total:
                latents = state["latents"] if clean.latest is None else clean.latest
                preview = self._colors[checkpoint].picture(latents[0], request.preview_size)
            work.on_progress(Progress("sampling", step, total, preview))
            return state

        def before_call() -> None:
            raise_if(work.cancelled)
            work.enter("sampling")

        with work.phase("encoding"), before_each_call([pipeline.unet, *nets], before_call):
            latents = pipeline(
                prompt=request.prompt,
                # None and "" differ for SDXL, which was trained with zeros for an absent negative prompt.
                negative_prompt=request.negative_prompt or None,
                num_inference_steps=plan.steps,
                guidance_scale=guidance_scale,
                num_images_per_prompt=request.batch,
                generator=_generators(plan.seeds),
                output_type="latent",
                callback_on_step_end=after_step,
                **_task_arguments(plan),
            ).images
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # for the timings' sake
            return latents

    def _check_seamless(self, plan: Plan, checkpoint: Checkpoint, tiled: bool) -> None:
        period = LATENT if tiled else seamless.multiple(checkpoint.parts["unet"])
        region = plan.region
        sides = (("width", plan.request.seamless_x, region.paint_width),
                 ("height", plan.request.seamless_y, region.paint_height))  # fmt: skip
        for name, wanted, side in sides:
            if wanted and plan.request.mask_padding is None and (side % period or side != getattr(plan, name)):
                raise InvalidRequest(
                    f"{name} is {getattr(plan, name)}; a seamless picture of {checkpoint.info.name} needs a multiple "
                    f"of {period}.", f"Take {max(64, round(side / period) * period)}.",
                )  # fmt: skip


@dataclass(eq=False)
class _Work:
    """One painting on its way: what is told about it and what must survive a rung of the ladder."""

    plan: Plan
    on_progress: OnProgress
    cancelled: IsCancelled
    latents: Tensor | None = None
    fallbacks: list[str] = field(default_factory=list)
    timings: dict[Phase, float] = field(default_factory=dict)
    _current: Phase | None = None
    _since: float = 0.0

    def __post_init__(self) -> None:
        request = self.plan.request
        if request.mask_padding is not None and (request.seamless_x or request.seamless_y):
            self.report("The picture was not made seamless: only a part of it was painted (mask_padding).")

    @property
    def wraps(self) -> tuple[bool, bool]:
        """The axes that tile, x and y."""
        request = self.plan.request
        if request.mask_padding is not None:
            return False, False
        return request.seamless_x, request.seamless_y

    @property
    def tiling(self) -> windows.Tiling | None:
        """The windows in which the denoiser sees the picture, or None for all of it."""
        request, region = self.plan.request, self.plan.region
        native = self.plan.models.checkpoint.native_size
        side = native if request.tile == "native" else request.tile
        if side is None or max(region.paint_width, region.paint_height) <= side:
            return None
        overlap = side // 2 if request.tile_overlap is None else request.tile_overlap
        coarsest = 8 * LATENT  # a window's side, so that every level of the UNet has whole cells
        return windows.Tiling(max(side // coarsest * coarsest, coarsest) // LATENT, overlap // LATENT, self.wraps)

    def report(self, sentence: str | None) -> None:
        if sentence is not None and sentence not in self.fallbacks:
            self.fallbacks.append(sentence)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        self.enter(phase)
        try:
            yield
        finally:
            self._leave()

    def enter(self, phase: Phase) -> None:
        if phase != self._current:
            self._leave()
            self._current, self._since = phase, time.perf_counter()
            self.on_progress(Progress(phase))

    def _leave(self) -> None:
        if self._current is not None:
            spent = time.perf_counter() - self._since
            self.timings[self._current] = self.timings.get(self._current, 0.0) + spent
            self._current = None

    def painting(self, images: list[Any]) -> Painting:
        plan = self.plan
        return Painting(
            images, plan.seeds, plan.width, plan.height, plan.models.checkpoint.id,
            [info.id for info in plan.models.controlnets], self.timings, self.fallbacks,
        )  # fmt: skip


def best_device() -> torch.device:
    """CUDA before MPS before the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def decode(pipeline: Any, latents: Tensor, wraps: tuple[bool, bool] = (False, False)) -> Float:
    """Pictures of latents, (b, h, w, 3) float32 in [0, 1], bit for bit what the pipeline itself would have made.

    wraps: the axes on which to let tiles see the other side; convolutions that wrap do it for untiled decoding.
    """
    vae = pipeline.vae
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        shape = (1, -1, 1, 1)
        latents = latents * torch.tensor(std).view(shape).to(latents) / config.scaling_factor
        latents = latents + torch.tensor(mean).view(shape).to(latents)
    else:
        latents = latents / config.scaling_factor
    upcast = vae.dtype == torch.float16 and config.force_upcast  # SDXL's VAE overflows in half precision
    if upcast:
        vae.to(torch.float32)
    try:
        picture = vae.decode(seamless.wrap_margin(latents.to(vae.dtype), *wraps, _MARGIN), return_dict=False)[0]
    finally:
        if upcast:
            vae.to(torch.float16)
    x, y = (_MARGIN * 8 if wrap else 0 for wrap in wraps)
    picture = picture[:, :, y : picture.shape[2] - y, x : picture.shape[3] - x]
    return pipeline.image_processor.postprocess(picture, output_type="np")


def _task_arguments(plan: Plan) -> dict[str, Any]:
    """What only some of the pipelines take.

    Pictures go in as (1, h, w, 3) arrays, because the layout in memory decides a convolution's last bit, and from an
    array a pipeline makes the same layout as from a picture.
    """
    request = plan.request
    arguments: dict[str, Any] = {}
    size = {"width": plan.region.paint_width, "height": plan.region.paint_height}
    if plan.image is not None:
        arguments |= {"image": plan.image[None], "strength": float(request.denoising_strength)}
    if plan.task == "inpaint":
        assert plan.paint_cover is not None
        arguments |= {"mask_image": (torch.from_numpy(plan.paint_cover) > 0).float()[None, None], **size}
    elif plan.task == "text-to-image":
        arguments |= size
    if request.controls:
        images = [image[None] for image in plan.controls]
        one = len(images) == 1
        weights = [float(control.weight) for control in request.controls]
        arguments |= {
            "image" if plan.task == "text-to-image" else "control_image": images[0] if one else images,
            "controlnet_conditioning_scale": weights[0] if one else weights,
            "control_guidance_start": [float(control.start) for control in request.controls],
            "control_guidance_end": [float(control.end) for control in request.controls],
        }
    return arguments


def _generators(seeds: list[int]) -> torch.Generator | list[torch.Generator]:
    # On the CPU on every device, so that a seed paints the same picture everywhere.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return generators[0] if len(generators) == 1 else generators


@contextmanager
def _adapters(pipeline: Any, work: _Work) -> Iterator[None]:
    """The request's LoRAs on the pipeline's parts; at the end the parts are what they were."""
    loras = work.plan.models.loras
    if not loras:
        yield
        return
    names = []
    try:
        for number, (info, _) in enumerate(loras):
            read_header(info.path)
            name = f"lora{number}"
            try:
                pipeline.load_lora_weights(load_file(info.path), adapter_name=name)
                names.append(name)
                pipeline.set_adapters(names, [weight for _, weight in loras[: number + 1]])
            except (ValueError, RuntimeError, KeyError) as error:
                if memory.is_out_of_memory(error):
                    raise
                raise IncompatibleModels(
                    f"The LoRA {info.name} does not fit {work.plan.models.checkpoint.name}.",
                    "Take one that was made for this checkpoint's family.",
                ) from error
        yield
    finally:
        pipeline.unload_lora_weights()


def _in_order_of_use(checkpoint: Checkpoint) -> list[torch.nn.Module]:
    encoders = [checkpoint.parts[name] for name, _ in registry.FAMILIES[checkpoint.info.family].encoders]
    return [*encoders, checkpoint.parts["unet"], checkpoint.parts["vae"]]


def _never() -> bool:
    return False


def _ignore(_: Progress) -> None:
    pass
