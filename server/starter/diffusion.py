"""Training of the denoiser, the text encoder and the three ControlNets, all together."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTokenizer

from server.starter import config, shipped
from server.starter.code import PatchCode
from server.starter.networks import CONTROLS, build_controlnet, build_unet, noised, schedule_alphas
from server.starter.optimizers import Optimizers
from server.starter.stock import Sample, Stock, draw
from server.starter.text import build_encoder, learn_names, tokens_of

CHECKPOINT = "diffusion.pt"
LOSSES = "diffusion.jsonl"
#: Steps between two updates of the averaged weights: they cost memory bandwidth, and change slowly.
_AVERAGE_EVERY = 5
#: What stands for a kind where a step's pictures of it have no control image.
_TYPICAL = {"scenes": "stills", "people": "portraits"}


@dataclass
class Group:
    """Samples of pictures of one size, which go through the networks together.

    share: the group's part of the step's loss. samples: by their names in the log.
    """

    share: float
    samples: dict[str, Sample]


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
    start_from: Path | None = None,
) -> None:
    """Train up to `options.diffusion.steps`, going on from the last checkpoint in `options.out` if there is one.

    Each step draws its random numbers from the seed and its own number alone, so that a training that was stopped
    and resumed is bit for bit the one that ran through (over the same pool, on the same machine).

    restock: reads the pool; called at the start and after each checkpoint, as the pool may grow.
    stop_after: stop, with a checkpoint, after this many steps in all.
    start_from: exported weights to begin with where there is no checkpoint yet.
    """
    recipe, device = options.diffusion, options.device
    networks = build(options, tokenizer).to(device)
    for name in ("unet", *CONTROLS):
        networks[name].to(memory_format=torch.channels_last)
    if torch.device(device).type == "cpu":
        # The fused attention's backward is so slow on a CPU that a whole step takes a quarter longer with it.
        networks["unet"].set_attn_processor(AttnProcessor())
    stocks = restock()
    path = options.out / CHECKPOINT
    first = 0
    state: dict[str, Any] | None = None
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        first = state["step"]
        networks.load_state_dict(state["networks"])
    else:
        known = shipped.start_from(networks, start_from) if start_from else set()
        _learn_names(options, networks["text"], stocks, keep="text" in known)
    optimizers = Optimizers(networks, recipe.rate, recipe.text_rate, recipe.muon)
    average = [p.detach().clone() for p in networks.parameters()]
    if state is not None:
        optimizers.load_state_dict(state["optimizers"])
        average = state["average"]
    empty = tokens_of(tokenizer, [""]).to(device)
    alphas = schedule_alphas().to(device)
    code = code.to(device)
    # Half way between errors of the code and errors of the picture: coarse components come before fine ones.
    weights = code.synthesis.norm(dim=1) / code.synthesis.norm(dim=1).mean()
    networks.train()
    end = min(recipe.steps, stop_after or recipe.steps)
    start, losses = time.monotonic(), []
    for step in range(first, end):
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        optimizers.set_factor(rate_factor_of(step, recipe.warmup, recipe.steps, recipe.cooldown))
        kinds: list[str] = []
        errors: list[Tensor] = []
        loss = torch.zeros((), device=device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=options.bf16):
            for group in choose(stocks, options, step, generator):
                here = _errors(networks, list(group.samples.values()), code, alphas, empty, recipe, generator)
                loss = loss + group.share * (torch.cat(here) * weights).mean()
                kinds += group.samples
                errors += here
        networks.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizers.step()
        if step % _AVERAGE_EVERY == 0:
            # A short memory at first: the average must forget the untrained start.
            keep = min(recipe.ema, (step + 1) / (step + 10)) ** _AVERAGE_EVERY
            with torch.no_grad():
                torch._foreach_lerp_(average, [p.detach() for p in networks.parameters()], 1 - keep)
        losses += [
            {"step": step, "kind": kind, "loss": error.detach().mean()}
            for kind, error in zip(kinds, errors, strict=True)
        ]
        done = step + 1
        if done % 25 == 0:
            recent = [float(entry["loss"]) for entry in losses if entry["step"] > step - 25]
            print(
                f"step {done}/{recipe.steps}  loss {sum(recent) / len(recent):.4f}  {time.monotonic() - start:.0f} s",
                flush=True,
            )
        if done % recipe.checkpoint == 0 or done == end:
            save_atomically(path, {
                "step": done, "networks": networks.state_dict(), "average": average,
                "optimizers": optimizers.state_dict(),
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


def choose(stocks: dict[str, Stock], options: config.Config, step: int, generator: torch.Generator) -> list[Group]:
    """What one step trains on.

    Materials, scenes and people are in each step, or its gradient would pull toward one alone; scenes and people have
    one kind of control image each, or are stills and portraits, for which words are enough.
    """
    recipe = options.diffusion
    dice = torch.rand(5, generator=generator).tolist()
    early, late = recipe.whole_share
    cooled = max(0.0, 1 - (recipe.steps - step) / recipe.cooldown)
    # A material has no composition, but it must learn to fill a large canvas all the same.
    whole = dice[0] < early + (late - early) * cooled
    rendered = [kind for kind in ("scenes", "people") if kind in stocks]
    side = stocks[rendered[0]].image.shape[-1] if rendered else stocks["materials"].image.shape[-1]
    size = side if whole else recipe.crop
    count = max(1, recipe.materials * recipe.crop**2 // size**2)
    swatches = draw(stocks["materials"], count, size, None, generator)
    materials = {"materials-whole" if whole else "materials": swatches}
    if not rendered:
        return [Group(1.0, materials)]
    compositions = {}
    for kind, controlled, which in zip(rendered, dice[1:3], dice[3:5], strict=False):
        name, control = _TYPICAL[kind], None
        if controlled < getattr(recipe, f"{kind}_control_share"):
            # A person's pose is the hardest to learn: most of the controlled people are for it.
            names = (*["pose"] * 4, *CONTROLS[:2]) if "pose" in stocks[kind].controls else CONTROLS[:2]
            control = names[int(which * len(names))]
            name = f"{kind}-{control}"
        elif name not in stocks:
            raise FileNotFoundError(f"the pool has no {name}; let it grow: python -m server.starter grow")
        compositions[name] = draw(stocks[kind if control else name], getattr(recipe, kind), side, control, generator)
    return [Group(recipe.material_share, materials), Group(1 - recipe.material_share, compositions)]


def rate_factor_of(step: int, warmup: int, steps: int, cooldown: int) -> float:
    """Warm-up, a constant rate, and over the last `cooldown` steps a fall to nothing that is steep at first.

    So a training of open length needs its end only when it cools down (Hägele et al. 2024: 1 - sqrt).
    """
    if step < warmup:
        return (step + 1) / warmup
    return 1 - math.sqrt(max(0.0, 1 - (steps - step) / cooldown))


def save_atomically(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside its place, then rename: a training that is killed never leaves half a one."""
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    temporary.replace(path)


def _errors(
    networks: nn.ModuleDict, samples: list[Sample], code: PatchCode, alphas: Tensor, empty: Tensor,
    recipe: config.Diffusion, generator: torch.Generator,
) -> list[Tensor]:  # fmt: skip
    """The mean square error of v for each picture and channel (b, c) of each sample; all pictures have one size."""
    device = samples[0].image.device
    counts = [len(sample.image) for sample in samples]
    count = sum(counts)
    with torch.autocast(device.type, enabled=False):
        clean = code.encode(torch.cat([sample.image for sample in samples]))
    noise = torch.randn(clean.shape, generator=generator).to(device)
    # One time step from each of b equal spans: less chance in the loss than b free ones.
    spread = torch.cat([(torch.arange(b) + torch.rand(b, generator=generator)) / b for b in counts])
    timesteps = (spread**recipe.early * len(alphas)).long().clamp(max=len(alphas) - 1).to(device)
    noisy, wanted = noised(clean, noise, timesteps, alphas)
    dropped = (torch.rand(count, generator=generator) < recipe.dropout).to(device)
    tokens = torch.cat([sample.tokens for sample in samples])
    states = networks["text"](torch.where(dropped[:, None], empty, tokens)).last_hidden_state
    said = networks["unet"](noisy, timesteps, states, **_residuals(networks, samples, noisy, timesteps, states)).sample
    errors = (said.float() - wanted).square().split(counts)
    return [(error * focus(sample, recipe)).mean(dim=(2, 3)) for error, sample in zip(errors, samples, strict=True)]


def focus(sample: Sample, recipe: config.Diffusion) -> Tensor:
    """How much each place counts, 1 on average: a person is few of them, a limb or an outline still fewer."""
    if sample.figure is None:
        return torch.ones((), device=sample.image.device)
    weight = 1 + (recipe.figure_weight - 1) * sample.figure
    return weight / weight.mean(dim=(2, 3), keepdim=True)


def _residuals(
    networks: nn.ModuleDict, samples: list[Sample], noisy: Tensor, timesteps: Tensor, states: Tensor
) -> dict[str, Any]:
    """What the ControlNets say to the UNet about the samples that have a control image; zero for the others."""
    total: list[Tensor] = []
    start = 0
    for sample in samples:
        here = slice(start, start + len(sample.image))
        start = here.stop
        if sample.control is None:
            continue
        name, hint = sample.control
        down, middle = networks[name](noisy[here], timesteps[here], states[here], hint, return_dict=False)
        around = (0, 0, 0, 0, 0, 0, here.start, len(noisy) - here.stop)
        padded = [nn.functional.pad(residual, around) for residual in (*down, middle)]
        total = [a + b for a, b in zip(total, padded, strict=True)] if total else padded
    if not total:
        return {}
    return {"down_block_additional_residuals": tuple(total[:-1]), "mid_block_additional_residual": total[-1]}


def _learn_names(options: config.Config, text: nn.Module, stocks: dict[str, Stock], keep: bool) -> None:
    tokens = torch.cat([stock.tokens.flatten(0, 1) for stock in stocks.values()])
    labels = torch.cat([stock.labels.repeat_interleave(stock.tokens.shape[1], 0) for stock in stocks.values()])
    generator = torch.Generator().manual_seed(options.seed)
    right = learn_names(text, tokens, labels, options.text, generator, keep)
    shares = ", ".join(f"{share:.3f}" for share in right)
    print(f"names learned (material, colour, shape, action): {shares}", flush=True)
