"""Training of the first stage: a decoder that paints from the linear code, an encoder that computes it."""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from server.starter import config
from server.starter.code import PatchCode
from server.starter.diffusion import rate_factor_of, save_atomically
from server.starter.networks import build_autoencoder
from server.starter.stock import Stock, draw

CHECKPOINT = "autoencoder.pt"
LOSSES = "autoencoder.jsonl"


def train(options: config.Config, code: PatchCode, stocks: dict[str, Stock]) -> None:
    """Train the decoder, then the encoder, going on from the last checkpoint in `options.out` if there is one.

    Each step draws its random numbers from the seed and its own number alone.
    """
    recipe, device = options.autoencoder, options.device
    torch.manual_seed(options.seed)
    network = build_autoencoder(options, code.factor).to(device)
    code = code.to(device)
    halves = {
        "decoder": [*network.decoder.parameters(), *network.post_quant_conv.parameters()],
        "encoder": [*network.encoder.parameters(), *network.quant_conv.parameters()],
    }
    optimizers = {name: torch.optim.AdamW(half, recipe.rate, betas=(0.9, 0.99)) for name, half in halves.items()}
    path, first = options.out / CHECKPOINT, 0
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        first = state["step"]
        network.load_state_dict(state["network"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state[name])
    network.train()
    start, losses = time.monotonic(), []
    total = recipe.decoder_steps + recipe.encoder_steps
    for step in range(first, total):
        # A stream of its own: the diffusion's steps have the same numbers.
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + 500_000_000 + step)
        name = "decoder" if step < recipe.decoder_steps else "encoder"
        steps = recipe.decoder_steps if name == "decoder" else recipe.encoder_steps
        inner = step if name == "decoder" else step - recipe.decoder_steps
        image = _crops(stocks, recipe, generator)
        for group in optimizers[name].param_groups:
            group["lr"] = recipe.rate * rate_factor_of(inner, 100, steps)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=options.bf16):
            if name == "decoder":
                noise = torch.randn(len(image), options.code.channels, *(recipe.crop // 8,) * 2, generator=generator)
                strength = recipe.noise * torch.rand(len(image), 1, 1, 1, generator=generator)
                loss = decoder_loss(network, code, image, (noise * strength).to(device))
            else:
                loss = encoder_loss(network, code, image)
        optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(halves[name], 1.0)
        if name == "encoder":
            _fix_variance(network)
        optimizers[name].step()
        losses.append({"step": step, "kind": name, "loss": round(loss.item(), 5)})
        done = step + 1
        if done % 25 == 0:
            recent = sum(entry["loss"] for entry in losses[-25:]) / len(losses[-25:])
            print(f"{name} {done}/{total}  loss {recent:.4f}  {time.monotonic() - start:.0f} s", flush=True)
        if done % 200 == 0 or done == total:
            state = {"step": done, "network": network.state_dict()}
            state |= {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
            save_atomically(path, state)
            with (options.out / LOSSES).open("a") as file:
                file.writelines(json.dumps(entry) + "\n" for entry in losses)
            losses = []


def trained(options: config.Config, code: PatchCode) -> AutoencoderKL:
    """The autoencoder of the last checkpoint."""
    network = build_autoencoder(options, code.factor)
    state: dict[str, Any] = torch.load(options.out / CHECKPOINT, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    return network.eval()


def decoder_loss(network: AutoencoderKL, code: PatchCode, image: Tensor, noise: Tensor) -> Tensor:
    """How far the decoder's picture is from (b, 3, h, w) in [-1, 1]: pixels, edges, and the strength of textures.

    Pixels alone teach it to leave out what the code does not hold; the amplitudes of small windows' spectra are right
    for any texture of the right kind, wherever its grains lie.
    """
    painted = network.decode((code.encode(image) + noise) / code.factor).sample.float()
    loss = (painted - image).abs().mean()
    loss = loss + 0.5 * (_slopes(painted, 2) - _slopes(image, 2)).abs().mean()
    loss = loss + 0.5 * (_slopes(painted, 3) - _slopes(image, 3)).abs().mean()
    return loss + 0.25 * (_amplitudes(painted) - _amplitudes(image)).abs().mean()


def encoder_loss(network: AutoencoderKL, code: PatchCode, image: Tensor) -> Tensor:
    """Mean squared error of the encoder's mean against the code, which has about unit deviation."""
    return nn.functional.mse_loss(network.encode(image).latent_dist.mean.float() * code.factor, code.encode(image))


def _crops(stocks: dict[str, Stock], recipe: config.Autoencoder, generator: torch.Generator) -> Tensor:
    kinds = list(stocks)
    share = torch.rand((), generator=generator)
    kind = "materials" if share < 0.5 else kinds[int(share * 1000) % len(kinds)]
    return draw(stocks[kind], recipe.batch, recipe.crop, None, generator).image


def _slopes(image: Tensor, axis: int) -> Tensor:
    return image.diff(dim=axis)


def _amplitudes(image: Tensor) -> Tensor:
    windows = image.mean(dim=1).unfold(1, 16, 8).unfold(2, 16, 8)
    taper = torch.hann_window(16, device=image.device)
    return torch.log1p(torch.fft.rfft2(windows * taper[:, None] * taper).abs())


def _fix_variance(network: AutoencoderKL) -> None:
    """The variance's rows of the last convolution stay as they were built: nothing trains them."""
    half = network.config.latent_channels
    for parameter in network.quant_conv.parameters():
        if parameter.grad is not None:
            parameter.grad[half:] = 0
