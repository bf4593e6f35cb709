"""The exported starter model in the plain pipelines of diffusers: what is measured is what everybody loads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from server.engine.sampling import silent_without_words
from server.engine.seamless import wrapping

#: The ControlNets beside the model, and the names that their folders may end in.
CONTROLS = {"depth": ("depth",), "normal": ("normal",), "pose": ("openpose", "pose")}


class Pipelines:
    """One model folder, loaded once, in float32 on the CPU or in half precision on an accelerator.

    Pictures in and out are (n, 3, h, w) float32, sRGB in [0, 1], on the CPU. Each picture has its own seed, so that
    how many are painted at a time changes nothing but the time.
    """

    def __init__(
        self, weights: Path, device: str, steps: int, guidance_scale: float, at_once: int = 8, keep: Path | None = None,
        favor_controls: bool = False,
    ) -> None:  # fmt: skip
        """weights: a folder in Stable Diffusion's layout, its ControlNets inside as controlnet-depth and so on.

        keep: a folder for what was painted. What lies there is not painted again: a stopped evaluation goes on, and
        a better judge needs no new pictures. favor_controls: as a job's field of this name.
        """
        if not (weights / "model_index.json").exists():
            raise FileNotFoundError(f"weights is {weights}, which has no model_index.json; give an exported model")
        self.device, self.steps, self.guidance_scale, self.at_once = device, steps, guidance_scale, at_once
        self._keep, self._favor_controls = keep, favor_controls
        self._model = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(weights.rglob("*.safetensors"))]
        dtype = torch.float32 if device == "cpu" else torch.float16
        start = time.perf_counter()
        self.text = StableDiffusionPipeline.from_pretrained(weights, dtype=dtype, safety_checker=None).to(device)
        self.load_seconds = time.perf_counter() - start
        parts = self.text.components
        self.image = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
        self.controlled: dict[str, Any] = {}
        for kind, endings in CONTROLS.items():
            folders = [f for e in endings if (f := weights / f"controlnet-{e}").exists()]
            if folders:
                net = ControlNetModel.from_pretrained(folders[0], dtype=dtype).to(device)
                self.controlled[kind] = StableDiffusionControlNetPipeline(
                    **parts, controlnet=net, requires_safety_checker=False
                )
        for pipeline in (self.text, self.image, *self.controlled.values()):
            pipeline.set_progress_bar_config(disable=True)

    def paint(
        self, prompts: Sequence[str], seeds: Sequence[int], size: int, wrap: tuple[bool, bool] = (False, False)
    ) -> Tensor:
        """Pictures of prompts; wrap: the axes x and y along which they shall tile."""
        return self._kept(lambda: self.paint_now(prompts, seeds, size, wrap), "paint", prompts, seeds, size, wrap)

    def paint_now(
        self, prompts: Sequence[str], seeds: Sequence[int], size: int, wrap: tuple[bool, bool] = (False, False)
    ) -> Tensor:
        """`paint`, though the same may have been painted before."""
        with wrapping([self.text.unet, self.text.vae], *wrap) if any(wrap) else nullcontext():
            return self._batched(self.text, prompts, seeds, width=size, height=size)

    def follow(self, kind: str, prompts: Sequence[str], seeds: Sequence[int], controls: Tensor) -> Tensor:
        """Pictures of prompts that follow control images (n, 3, h, w) of a kind of `CONTROLS`."""

        def make() -> Tensor:
            pipeline = self.controlled[kind]
            with silent_without_words(pipeline, [pipeline.controlnet]) if self._favor_controls else nullcontext():
                return self._batched(pipeline, prompts, seeds, image=controls)

        return self._kept(make, kind, prompts, seeds, controls, self._favor_controls)

    def repaint(self, prompts: Sequence[str], seeds: Sequence[int], images: Tensor, strength: float) -> Tensor:
        """Image to image."""

        def make() -> Tensor:
            return self._batched(self.image, prompts, seeds, image=images, strength=strength)

        return self._kept(make, "repaint", prompts, seeds, images, strength)

    def fill(self, prompts: Sequence[str], seeds: Sequence[int], images: Tensor, masks: Tensor) -> Tensor:
        """Inpainting of masks (n, 1, h, w), 1 where to paint; elsewhere not one pixel changes.

        The latents outside of the mask are set back to the picture's, noised to the step, after each step: the
        inpainting pipelines of diffusers do the same, but for 4 latent channels alone.
        """
        painted = self._kept(lambda: self._fill(prompts, seeds, images, masks), "fill", prompts, seeds, images, masks)
        return torch.where(masks > 0, painted, images)

    def _fill(self, prompts: Sequence[str], seeds: Sequence[int], images: Tensor, masks: Tensor) -> Tensor:
        noise_of = torch.stack([self._noise_like(images[0], seed) for seed in seeds])
        latents = self._encode(images)
        latent_masks = F.interpolate(masks, latents.shape[-2:], mode="area").gt(0).to(latents)
        painted = []
        for part in _parts(len(prompts), self.at_once):
            clean, noise, mask = latents[part], noise_of[part].to(latents), latent_masks[part]

            def keep(
                pipe: Any, step: int, _: Any, state: dict[str, Any], clean: Tensor = clean, noise: Tensor = noise,
                mask: Tensor = mask,
            ) -> dict[str, Any]:  # fmt: skip
                times = pipe.scheduler.timesteps
                outside = clean
                if step + 1 < len(times):
                    outside = pipe.scheduler.add_noise(clean, noise, times[step + 1 : step + 2])
                state["latents"] = state["latents"] * mask + outside.to(state["latents"]) * (1 - mask)
                return state

            painted.append(
                self._batched(
                    self.image, prompts[part], seeds[part], image=images[part], strength=1.0, callback_on_step_end=keep
                )
            )
        return torch.cat(painted)

    def _kept(self, make: Callable[[], Tensor], *conditions: object) -> Tensor:
        """What `make` paints, or what it painted before under the same conditions with the same model."""
        if self._keep is None:
            return make()
        digest = sha256(repr((self._model, self.steps, self.guidance_scale)).encode())
        for condition in conditions:
            digest.update(condition.numpy().tobytes() if isinstance(condition, Tensor) else repr(condition).encode())
        path = self._keep / f"{digest.hexdigest()[:24]}.safetensors"
        if not path.exists():
            self._keep.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            save_file({"image": (make() * 255).round().to(torch.uint8).contiguous()}, partial)
            partial.rename(path)
        return load_file(path)["image"].float() / 255

    def _noise_like(self, image: Tensor, seed: int) -> Tensor:
        side = [s // self.image.vae_scale_factor for s in image.shape[-2:]]
        generator = torch.Generator().manual_seed(seed + 1_000_000)
        return torch.randn(self.image.unet.config.in_channels, *side, generator=generator)

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        vae = self.image.vae
        parts = [
            vae.encode((images[part] * 2 - 1).to(self.device, vae.dtype)).latent_dist.mode()
            for part in _parts(len(images), self.at_once)
        ]
        return torch.cat(parts) * vae.config.scaling_factor

    def _batched(
        self, pipeline: DiffusionPipeline, prompts: Sequence[str], seeds: Sequence[int], **extra: Any
    ) -> Tensor:
        out = []
        for part in _parts(len(prompts), self.at_once):
            here = {k: v[part] if isinstance(v, Tensor) and len(v) == len(prompts) else v for k, v in extra.items()}
            pictures = pipeline(
                prompt=list(prompts[part]),
                num_inference_steps=self.steps,
                guidance_scale=self.guidance_scale,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
                output_type="pt",
                **here,
            ).images
            out.append(pictures.float().cpu())
        return torch.cat(out)


def _parts(count: int, at_once: int) -> list[slice]:
    return [slice(i, min(i + at_once, count)) for i in range(0, count, at_once)]
