"""The painter: one device that turns requests into pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from threading import Lock
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from diffusers import DiffusionPipeline, T2IAdapter
from numpy.typing import NDArray

from server.engine import (
    decoding,
    denoising,
    image_prompts,
    loras,
    memory,
    previews,
    registry,
    remembering,
    samplers,
    seamless,
    several_nets,
    step_cache,
    t2i_adapters,
    wildcards,
    windows,
)
from server.engine.annotating import Annotator
from server.engine.catalog import Catalog
from server.engine.compositing import LATENT, Float
from server.engine.detectors import AnnotateRequest, Annotation
from server.engine.errors import InvalidRequest, UnknownModel
from server.engine.loader import Checkpoint, ControlNet, Loader
from server.engine.materials import Estimates
from server.engine.painting import IsCancelled, OnProgress, Painting, PaintRequest, Progress, check
from server.engine.plan import Models, Plan, choose, plan
from server.engine.sampling import raise_if
from server.engine.speed import Speed
from server.engine.torus import Wraps
from server.engine.upscalers import Enlarged, UpscaleRequest
from server.engine.upscaling import Upscaler
from server.engine.work import Work


class Painter:
    """Paints one request at a time on one device, and keeps the models warm between them.

    catalog: what can be asked for. device: a torch device's name, or None for the best one that is there.
    memory_budget: bytes of weights that may stay loaded; None means what the device can spare. speed: None paints bit
    for bit what diffusers paints.
    """

    def __init__(
        self, catalog: Catalog, device: str | None = None, memory_budget: int | None = None, speed: Speed | None = None
    ) -> None:
        self.catalog = catalog
        self.device = chosen_device(device)
        self.loader = Loader(self.device, memory_budget, speed=speed)
        self.upscaler = Upscaler(catalog.folders, self.device)
        self.annotator = Annotator(catalog.folders, self.device)
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
        work = Work(
            plan(request, models, wildcards.read(self.catalog.roots())), on_progress or _ignore, cancelled or _never
        )
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

    def upscale(
        self, request: UpscaleRequest, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> Enlarged:
        """Enlarge a picture; see `upscaling.Upscaler.upscale`."""
        with self._one_at_a_time:
            return self.upscaler.upscale(request, on_progress, cancelled)

    def annotate(
        self, request: AnnotateRequest, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> Annotation:
        """Read a control map from a picture; see `annotating.Annotator.annotate`."""
        with self._one_at_a_time:
            return self.annotator.annotate(request, on_progress, cancelled)

    def estimate_depth(
        self, picture: NDArray[np.uint8], detector: str = ""
    ) -> tuple[NDArray[np.float32], Literal["metric", "relative"]]:
        """The depth of a picture and its kind; see `annotating.Annotator.depth`."""
        with self._one_at_a_time:
            return self.annotator.depth(picture, detector)

    def estimate_material(
        self, picture: Float, wraps: Wraps, estimator: str = "", cancelled: IsCancelled | None = None
    ) -> Estimates:
        """What models tell of a material; see `annotating.Annotator.estimates`."""
        with self._one_at_a_time:
            return self.annotator.estimates(picture, wraps, estimator, cancelled)

    def free(self) -> None:
        """Forget every loaded model and give its memory back."""
        with self._one_at_a_time:
            self.loader.forget()
            self.upscaler.free()
            self.annotator.free()

    def _attempt(self, work: Work, rung: memory.Rung) -> Float | None:
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
    def _paint(self, work: Work, rung: memory.Rung) -> Float:
        models = work.plan.models
        raise_if(work.cancelled)
        with work.phase("loading"):
            resident = rung != "offloaded"
            checkpoint = self.loader.checkpoint(models.checkpoint, resident)
            loaded = [self.loader.controlnet(info, resident) for info in models.controlnets]
            follow = [loaded[number].net for number in work.plan.followed("controlnet")]
            adapters = [loaded[number].net for number in work.plan.followed("t2i_adapter")]
            nets = list(dict.fromkeys(follow))  # one may follow several controls
            beside = [*nets, *dict.fromkeys(adapters)]
            encoder = models.image_encoder and self.loader.image_encoder(models.image_encoder, resident=True).encoder
            vae, seen = checkpoint.parts["vae"], checkpoint.seen
            if models.vae is not None:
                other = self.loader.autoencoder(models.vae, checkpoint, resident)
                vae, seen = other.vae, other.seen
        raise_if(work.cancelled)
        self._check_seamless(work.plan, checkpoint, work.tiling is not None)
        tiling = work.tiling
        if tiling and nets and work.plan.regions:
            raise InvalidRequest(
                "regions, controls and tile are given together, and only two of them go together.",
                "Leave one of them out.",
            )
        if tiling and adapters:
            raise InvalidRequest(
                "tile is given together with a control that a T2I-Adapter follows, which sees the whole picture.",
                "Leave tile out, or put a ControlNet for this control into a model folder.",
            )
        with ExitStack() as stack:
            denoiser = checkpoint.denoiser
            net = stack.enter_context(several_nets.joined(checkpoint.info.family, follow, work.plan, denoiser, vae))
            pipeline = self._pipeline(work.plan, checkpoint, net if nets else None, vae)
            loras.adapt(pipeline, checkpoint, models.loras)
            prompts = work.plan.request.image_prompts
            stack.enter_context(image_prompts.adapted(pipeline, models, [prompt.weight for prompt in prompts]))
            whole = [] if tiling else [denoiser, *beside]  # a window's edges are not the picture's
            stack.enter_context(seamless.wrapping([*whole, vae], *work.wraps))
            stack.enter_context(windows.windowed(denoiser, nets, tiling))
            stack.enter_context(t2i_adapters.adding(pipeline, denoiser, adapters, work.plan))
            stack.enter_context(step_cache.leaving_out(work, denoiser, self.loader.speed.step_cache))
            if checkpoint.info.family == "sd3":
                stack.enter_context(decoding.certain(vae))
            if rung == "plain":
                looking = [(vae, "encode", seen), *([] if tiling else _looking(loaded))]
                stack.enter_context(remembering.remembering(looking, work.wraps))
            else:
                stack.enter_context(memory.tiled(vae))
            if rung == "offloaded":
                stack.enter_context(memory.offloaded(_in_order_of_use(checkpoint, vae), beside, self.device))
            if work.latents is None:
                colors = self._preview_colors(checkpoint) if work.plan.request.preview_every else None
                work.latents = denoising.sample(work, pipeline, checkpoint, nets, colors, encoder)
            raise_if(work.cancelled)
            with work.phase("decoding"):
                return decoding.decode(pipeline, work.latents, wraps=work.wraps if rung != "plain" else (False, False))

    def _preview_colors(self, checkpoint: Checkpoint) -> previews.LatentColors:
        if checkpoint not in self._colors:
            self._colors[checkpoint] = previews.latent_colors(checkpoint)
        return self._colors[checkpoint]

    def _pipeline(self, plan: Plan, checkpoint: Checkpoint, net: Any, vae: Any) -> DiffusionPipeline:
        cls = registry.pipeline_class(checkpoint.info.family, plan.task, net is not None)
        controlled = {} if net is None else {"controlnet": net}
        parts = {**checkpoint.parts, "vae": vae, "scheduler": checkpoint.scheduler}
        pipeline = cls(**parts, **checkpoint.options, **controlled)
        pipeline.scheduler = samplers.scheduler(plan.request.sampler, checkpoint.scheduler, plan.steps)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _check_seamless(self, plan: Plan, checkpoint: Checkpoint, tiled: bool) -> None:
        if checkpoint.family.flow:
            if (plan.request.seamless_x or plan.request.seamless_y) and plan.request.mask_padding is None:
                raise InvalidRequest(
                    f"seamless is asked for, and {checkpoint.info.name} sees where a picture's edge is.",
                    "Take a model of SD 1.x, SD 2.x or SDXL.",
                )
            return
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


def chosen_device(name: str | None) -> torch.device:
    """The device of that name, or the best one that is there."""
    return torch.device(name) if name else best_device()


def best_device() -> torch.device:
    """CUDA before MPS before the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _in_order_of_use(checkpoint: Checkpoint, vae: torch.nn.Module) -> list[torch.nn.Module]:
    encoders = [checkpoint.parts[name] for name, _ in checkpoint.encoders()]
    return [*encoders, checkpoint.denoiser, vae]


def _looking(loaded: Sequence[ControlNet]) -> list[tuple[Any, str, remembering.Seen]]:
    """What looks at control images and nothing else, and would at every step."""
    found = []
    for one in dict.fromkeys(loaded):
        if isinstance(one.net, T2IAdapter):
            found.append((one.net, "forward", one.seen))
        elif hasattr(one.net, "controlnet_cond_embedding"):
            found.append((one.net.controlnet_cond_embedding, "forward", one.seen))
    return found


def _never() -> bool:
    return False


def _ignore(_: Progress) -> None:
    pass
