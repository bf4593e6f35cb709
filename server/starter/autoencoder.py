"""Training of the first stage's decoder, which paints from the linear code."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from server.starter import config, shipped
from server.starter.code import PATCH, PatchCode
from server.starter.diffusion import rate_factor_of, save_atomically
from server.starter.networks import build_autoencoder
from server.starter.stock import Stock, draw

CHECKPOINT = "autoencoder.pt"
LOSSES = "autoencoder.jsonl"


def train(options: config.Config, code: PatchCode, stocks: dict[str, Stock], start_from: Path | None = None) -> None:
    """Train the decoder, going on from the last checkpoint in `options.out` if there is one.

    Each step draws its random numbers from the seed and its own number alone. The encoder needs no training.

    start_from: exported weights to begin with where there is no checkpoint yet.
    """
    recipe, device = options.autoencoder, options.device
    torch.manual_seed(options.seed)
    network = build_autoencoder(options, code).to(device)
    code = code.to(device)
    learning = [*network.decoder.parameters(), *network.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(learning, recipe.rate, betas=(0.9, 0.99))
    path, first = options.out / CHECKPOINT, 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        first = state["step"]
        _restore(network, state)
        optimizer.load_state_dict(state["optimizer"])
    elif start_from is not None:
        begun = shipped.autoencoder_of(start_from)
        parts = {"decoder": begun.decoder.state_dict(), "post_quant_conv": begun.post_quant_conv.state_dict()}
        _restore(network, parts)
    network.train()
    start, losses = time.monotonic(), []
    for step in range(first, recipe.steps):
        # A stream of its own: the diffusion's steps have the same numbers.
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + 500_000_000 + step)
        image = _crops(stocks, recipe, generator)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * rate_factor_of(step, 100, recipe.steps, recipe.cooldown)
        noise = torch.randn(len(image), options.code.channels, *(recipe.crop // PATCH,) * 2, generator=generator)
        strength = recipe.noise * torch.rand(len(image), 1, 1, 1, generator=generator)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=options.bf16):
            loss = decoder_loss(network, code, image, (noise * strength).to(device), recipe.grid)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        losses.append({"step": step, "kind": "decoder", "loss": round(loss.item(), 5)})
        done = step + 1
        if done % 25 == 0:
            recent = sum(entry["loss"] for entry in losses[-25:]) / len(losses[-25:])
            print(f"decoder {done}/{recipe.steps}  loss {recent:.4f}  {time.monotonic() - start:.0f} s", flush=True)
        if done % 200 == 0 or done == recipe.steps:
            parts = {"decoder": network.decoder.state_dict(), "post_quant_conv": network.post_quant_conv.state_dict()}
            save_atomically(path, {"step": done, **parts, "optimizer": optimizer.state_dict()})
            with (options.out / LOSSES).open("a") as file:
                file.writelines(json.dumps(entry) + "\n" for entry in losses)
            losses = []


def trained(options: config.Config, code: PatchCode) -> AutoencoderKL:
    """The autoencoder with the decoder of the last checkpoint."""
    network = build_autoencoder(options, code)
    _restore(network, torch.load(options.out / CHECKPOINT, map_location="cpu", weights_only=True))
    return network.eval()


def decoder_loss(network: AutoencoderKL, code: PatchCode, image: Tensor, noise: Tensor, grid: float) -> Tensor:
    """How far the decoder's picture is from (b, 3, h, w) in [-1, 1]: pixels, edges, and the strength of textures.

    Pixels alone teach it to leave out what the code does not hold; the amplitudes of small windows' spectra are right
    for any texture of the right kind, wherever its grains lie. What they leave is a step at the borders of the code's
    patches: `grid` weighs how far the steps between pixels are, on each place of the patch, from the picture's.
    """
    painted = network.decode((code.encode(image) + noise) / code.factor).sample.float()
    loss = (painted - image).abs().mean()
    for axis in (2, 3):
        found, true = painted.diff(dim=axis), image.diff(dim=axis)
        loss = loss + 0.5 * (found - true).abs().mean()
        loss = loss + 0.5 * grid * (patch_steps(found, axis) - patch_steps(true, axis)).abs().mean()
    return loss + 0.25 * (_amplitudes(painted) - _amplitudes(image)).abs().mean()


def patch_steps(difference: Tensor, axis: int) -> Tensor:
    """(b, 8) mean sizes of the steps between neighbours along an axis, by their place in the patch; the last is the
    step across the border.

    difference: (b, c, h, w) of neighbours along the axis, one less there than the picture has pixels.
    """
    sizes = difference.abs().mean(dim=(1, 5 - axis))
    whole = sizes.shape[1] // PATCH * PATCH
    return sizes[:, :whole].unflatten(1, (-1, PATCH)).mean(dim=1)


def _crops(stocks: dict[str, Stock], recipe: config.Autoencoder, generator: torch.Generator) -> Tensor:
    kinds = list(stocks)
    share = torch.rand((), generator=generator)
    kind = "materials" if share < 0.5 else kinds[int(share * 1000) % len(kinds)]
    return draw(stocks[kind], recipe.batch, recipe.crop, None, generator).image


def _amplitudes(image: Tensor) -> Tensor:
    windows = image.mean(dim=1).unfold(1, 16, 8).unfold(2, 16, 8)
    taper = torch.hann_window(16, device=image.device)
    return torch.log1p(torch.fft.rfft2(windows * taper[:, None] * taper).abs())


def _restore(network: AutoencoderKL, state: dict[str, Any]) -> None:
    network.decoder.load_state_dict(state["decoder"])
    network.post_quant_conv.load_state_dict(state["post_quant_conv"])
