"""Training of the denoiser, the text encoder and the three ControlNets, all together."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from server.starter import config
from server.starter.code import PatchCode
from server.starter.networks import CONTROLS, build_controlnet, build_unet, noised, schedule_alphas
from server.starter.stock import Sample, Stock, draw
from server.starter.text import build_encoder, learn_names, tokens_of

CHECKPOINT = "diffusion.pt"
LOSSES = "diffusion.jsonl"
#: Steps between two updates of the averaged weights: they cost memory bandwidth, and change slowly.
_AVERAGE_EVERY = 5


def build(options: config.Config, tokenizer: CLIPTokenizer) -> nn.ModuleDict:
    """`unet`, `text` and one ControlNet for each of `CONTROLS`; untrained, the same for the same seed."""
    torch.manual_seed(options.seed)
    return nn.ModuleDict(
        {"unet": build_unet(options), "text": build_encoder(tokenizer, options.text)}
        | {name: build_controlnet(options) for name in CONTROLS}
    )


def train(
    options: config.Config,
    tokenizer: CLIPTokenizer,
    code: PatchCode,
    restock: Callable[[], dict[str, Stock]],
    stop_after: int | None = None,
) -> None:
    """Train up to `options.diffusion.steps`, going on from the last checkpoint in `options.out` if there is one.

    Each step draws its random numbers from the seed and its own number alone, so that a training that was stopped
    and resumed is bit for bit the one that ran through (over the same pool, on the same machine).

    restock: reads the pool; called at the start and after each checkpoint, as the pool may grow.
    stop_after: stop, with a checkpoint, after this many steps in all.
    """
    recipe, device = options.diffusion, options.device
    networks = build(options, tokenizer).to(device)
    stocks = restock()
    path = options.out / CHECKPOINT
    first = 0
    state: dict[str, Any] | None = None
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        first = state["step"]
        networks.load_state_dict(state["networks"])
    else:
        _learn_names(options, networks["text"], stocks)
    words = list(networks["text"].parameters())
    painters = [p for name, network in networks.items() if name != "text" for p in network.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": painters, "rate": recipe.rate}, {"params": words, "rate": recipe.text_rate}],
        lr=recipe.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True,
    )  # fmt: skip
    average = [p.detach().clone() for p in networks.parameters()]
    if state is not None:
        optimizer.load_state_dict(state["optimizer"])
        average = state["average"]
    empty = tokens_of(tokenizer, [""]).to(device)
    alphas = schedule_alphas().to(device)
    code = code.to(device)
    networks.train()
    end = min(recipe.steps, stop_after or recipe.steps)
    start, losses = time.monotonic(), []
    for step in range(first, end):
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        kind, sample = choose(stocks, options, step / recipe.steps, generator)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * rate_factor_of(step, recipe.warmup, recipe.steps)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=options.bf16):
            loss = _loss(networks, sample, code, alphas, empty, recipe.dropout, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        if step % _AVERAGE_EVERY == 0:
            # A short memory at first: the average must forget the untrained start.
            keep = min(recipe.ema, (step + 1) / (step + 10)) ** _AVERAGE_EVERY
            with torch.no_grad():
                torch._foreach_lerp_(average, [p.detach() for p in networks.parameters()], 1 - keep)
        losses.append({"step": step, "kind": kind, "loss": loss.detach()})
        done = step + 1
        if done % 25 == 0:
            recent = sum(float(entry["loss"]) for entry in losses[-25:]) / len(losses[-25:])
            print(f"step {done}/{recipe.steps}  loss {recent:.4f}  {time.monotonic() - start:.0f} s", flush=True)
        if done % recipe.checkpoint == 0 or done == end:
            save_atomically(path, {
                "step": done, "networks": networks.state_dict(), "average": average,
                "optimizer": optimizer.state_dict(),
            })  # fmt: skip
            with (options.out / LOSSES).open("a") as file:
                file.writelines(json.dumps(entry | {"loss": round(float(entry["loss"]), 5)}) + "\n" for entry in losses)
            losses = []
            stocks = restock()


def averaged(options: config.Config, tokenizer: CLIPTokenizer) -> tuple[int, nn.ModuleDict]:
    """The step of the last checkpoint, and its networks with the averaged weights, for sampling and export."""
    networks = build(options, tokenizer)
    state = torch.load(options.out / CHECKPOINT, map_location="cpu", weights_only=True)
    with torch.no_grad():
        for parameter, value in zip(networks.parameters(), state["average"], strict=True):
            parameter.copy_(value)
    return state["step"], networks.eval()


def choose(
    stocks: dict[str, Stock], options: config.Config, progress: float, generator: torch.Generator
) -> tuple[str, Sample]:
    """What one step trains on; progress: 0 at the training's start, 1 at its end. Returns a name for the log too."""
    recipe = options.diffusion
    dice = torch.rand(4, generator=generator).tolist()
    low, high = recipe.whole_share
    whole = dice[0] < low + (high - low) * progress
    # Whole pictures are for composition; a material has none, but must learn to fill a large canvas all the same.
    materials_share = recipe.material_share * (0.5 if whole else 1.0)
    rendered = [kind for kind in ("scenes", "people") if kind in stocks]
    if dice[1] < materials_share or not rendered:
        kind = "materials"
    else:
        kind = rendered[-1] if dice[2] > 0.6 else rendered[0]
    stock = stocks[kind]
    control = None
    if stock.controls and dice[3] < recipe.control_share:
        # A person's pose is the hardest to learn: half of its controlled pictures are for it.
        names = ["pose", "pose", "depth", "normal"] if "pose" in stock.controls else ["depth", "normal"]
        control = names[int(dice[3] / recipe.control_share * len(names) * 0.9999)]
    size = stock.image.shape[-1] if whole else recipe.crop
    count = recipe.whole_batch if whole else recipe.batch
    name = f"{kind}{'-whole' if whole else ''}{'-' + control if control else ''}"
    return name, draw(stock, count, size, control, generator)


def rate_factor_of(step: int, warmup: int, steps: int) -> float:
    """Warm-up, then half a cosine to nothing."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def save_atomically(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside its place, then rename: a training that is killed never leaves half a one."""
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    temporary.replace(path)


def _loss(
    networks: nn.ModuleDict, sample: Sample, code: PatchCode, alphas: Tensor, empty: Tensor, dropout: float,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    device = sample.image.device
    count = len(sample.image)
    clean = code.encode(sample.image)
    noise = torch.randn(clean.shape, generator=generator).to(device)
    # One time step from each of b equal spans: less chance in the loss than b free ones.
    spread = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    timesteps = (spread * len(alphas)).long().clamp(max=len(alphas) - 1).to(device)
    noisy, wanted = noised(clean, noise, timesteps, alphas)
    dropped = (torch.rand(count, generator=generator) < dropout).to(device)
    states = networks["text"](torch.where(dropped[:, None], empty, sample.tokens)).last_hidden_state
    residuals: dict[str, Any] = {}
    if sample.control is not None:
        name, hint = sample.control
        down, middle = networks[name](noisy, timesteps, states, hint, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    said = networks["unet"](noisy, timesteps, states, **residuals).sample
    return nn.functional.mse_loss(said.float(), wanted)


def _learn_names(options: config.Config, text: nn.Module, stocks: dict[str, Stock]) -> None:
    tokens = torch.cat([stock.tokens.flatten(0, 1) for stock in stocks.values()])
    labels = torch.cat([stock.labels.repeat_interleave(stock.tokens.shape[1], 0) for stock in stocks.values()])
    generator = torch.Generator().manual_seed(options.seed)
    right = learn_names(text, tokens, labels, options.text, generator)
    print("names learned (material, colour, shape): " + ", ".join(f"{share:.3f}" for share in right), flush=True)
