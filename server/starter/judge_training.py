"""Trains the judge on the makers' pictures alone, in half an hour on a CPU: python -m server.starter.judge_training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import torch
import torch.nn.functional as F
import typer
from safetensors.torch import save_file
from torch import Tensor, nn

from server.starter.judge import (
    FIGURE_SIZE,
    JOINTS,
    MIRRORED,
    WEIGHTS,
    FigureJudge,
    MaterialJudge,
    find_figures,
    limbs_in_place,
    overlap,
)
from server.starter.materials import render, shown
from server.starter.people import people
from server.starter.scenes import scenes
from server.starter.words import COLORS, MATERIALS, SHAPES

Made = TypeVar("Made")
Net = TypeVar("Net", bound=nn.Module)
#: The loss of a network on what a generator draws, at a step.
LossOf = Callable[[nn.Module, torch.Generator, int], Tensor]
#: Side of the tiles that materials are learned from, and of the crops that are looked at.
TILE, CROP = 256, 128


@dataclass
class Swatches:
    """Pictures of materials: image (n, 3, 256, 256) uint8, material and color (n,), color -1 where it is natural."""

    image: Tensor
    material: Tensor
    color: Tensor


@dataclass
class Figures:
    """Pictures of solids and people: image (n, 3, 128, 128) uint8, subject (n, 128, 128) bool, keypoints (n, 18, 3).

    keypoints have visibility 0 throughout where there is no person.
    """

    image: Tensor
    subject: Tensor
    keypoints: Tensor


def train(
    out: Annotated[Path, typer.Option(help="The file of the trained judge.")] = WEIGHTS,
    cache: Annotated[Path, typer.Option(help="Pictures and finished parts, so that a stopped run goes on.")] = Path(
        "out/starter/judge"
    ),
    seed: int = 11,
    swatches: Annotated[int, typer.Option(help="Pictures of each material.")] = 70,
    solids: Annotated[int, typer.Option(help="Pictures of solids.")] = 1400,
    persons: Annotated[int, typer.Option(help="Pictures of people.")] = 5000,
    material_steps: int = 1800,
    figure_steps: int = 8000,
    bf16: Annotated[bool, typer.Option(help="Faster on a CPU with bf16 units (avx512_bf16).")] = False,
) -> None:
    """Make the pictures, train both networks, measure them on fresh pictures, and save them."""
    cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    accuracy: dict[str, float] = {}
    state: dict[str, Tensor] = {}
    for name, make in (
        ("figures", lambda: _figures(cache, seed, (solids, persons), figure_steps, bf16)),
        ("materials", lambda: _materials(cache, seed, swatches, material_steps, bf16)),
    ):
        done = cache / f"{name}-net.pt"
        if not done.exists():
            torch.save(make(), done)
        part = torch.load(done)
        accuracy |= part["accuracy"]
        state |= {f"{name}.{key}": value.half().contiguous() for key, value in part["state"].items()}
    save_file(state, out, {"accuracy": json.dumps(accuracy)})
    print(f"judge on fresh pictures: {accuracy}", flush=True)


# -- materials and colours


def make_swatches(count: int, seed: int) -> Swatches:
    """`count` pictures of each material, two of five in a colour of their own."""
    generator = torch.Generator().manual_seed(seed)
    images, material, color = [], [], []
    words = list(COLORS)
    for _ in range(count):
        picks = torch.randint(len(words), (len(MATERIALS),), generator=generator)
        dyed = torch.rand(len(MATERIALS), generator=generator) < 0.5
        named = [words[int(p)] if d else None for p, d in zip(picks, dyed, strict=True)]
        tiles = render(MATERIALS, TILE, generator, "cpu", named).image
        images.append((shown(MATERIALS, tiles, TILE) * 255).to(torch.uint8))
        material.append(torch.arange(len(MATERIALS)))
        color.append(torch.where(dyed, picks, -1))
    return Swatches(torch.cat(images), torch.cat(material), torch.cat(color))


def _materials(cache: Path, seed: int, count: int, steps: int, bf16: bool) -> dict[str, object]:
    data = _cached(cache / "swatches.pt", Swatches, lambda: make_swatches(count, seed))

    def loss_of(net: nn.Module, generator: torch.Generator, _: int) -> Tensor:
        pick = torch.randint(len(data.image), (32,), generator=generator)
        image = _worn(_cropped(data.image[pick].float() / 255, generator), generator)
        material, color = (logits.float() for logits in net(image))
        loss = F.cross_entropy(material, data.material[pick], label_smoothing=0.05)
        return loss + 0.5 * F.cross_entropy(color, data.color[pick], ignore_index=-1, label_smoothing=0.05)

    net = _fit("materials", cache, MaterialJudge(), loss_of, 8e-3, steps, seed + 1, bf16)
    fresh = _cached(cache / "fresh-swatches.pt", Swatches, lambda: make_swatches(min(8, count), seed + 1000))
    return {"state": net.state_dict(), "accuracy": measure_materials(net, fresh)}


@torch.no_grad()
def measure_materials(net: MaterialJudge, data: Swatches) -> dict[str, float]:
    """Top-1 accuracy of whole pictures, and of the colours that were named."""
    guesses = [net(part.float() / 255) for part in data.image.split(16)]
    material = torch.cat([m for m, _ in guesses]).argmax(1)
    color = torch.cat([c for _, c in guesses]).argmax(1)
    named = data.color >= 0
    return {
        "material": (material == data.material).float().mean().item(),
        "color": (color == data.color)[named].float().mean().item(),
    }


def _cropped(image: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops, one half of them mirrored."""
    out = []
    for picture in image:
        dy, dx, flip = torch.randint(TILE - CROP + 1, (3,), generator=generator).tolist()
        crop = picture[:, dy : dy + CROP, dx : dx + CROP]
        out.append(crop.flip(2) if flip % 2 else crop)
    return torch.stack(out)


def _worn(image: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (b, 3, h, w) a little blurred, noisy, darker or paler, as generated ones are."""
    b = len(image)

    def uniform(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(b, generator=generator)).view(-1, 1, 1, 1)

    small = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2, mode="bilinear")
    image = torch.lerp(image, small, (uniform(-0.8, 1.0)).clamp(min=0))
    mean = image.mean((2, 3), keepdim=True)
    image = (image - mean) * uniform(0.8, 1.15) + mean * uniform(0.92, 1.08)
    noise = torch.randn(image.shape, generator=generator)
    return (image + noise * uniform(-0.02, 0.05).clamp(min=0)).clamp(0, 1)


# -- silhouettes and joints


def make_figures(solids: int, persons: int, seed: int) -> Figures:
    """Scenes (without terrains, which have no silhouette of their own), then people."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    done = 0
    while done < solids:
        batch = scenes(min(64, solids - done), FIGURE_SIZE, generator, "cpu")
        assert batch.subject is not None
        keep = batch.shape != SHAPES.index("terrain")
        nobody = torch.zeros(int(keep.sum()), 18, 3)
        parts.append(Figures((batch.image[keep] * 255).to(torch.uint8), batch.subject[keep], nobody))
        done += int(keep.sum())
    for start in range(0, persons, 64):
        batch = people(min(64, persons - start), FIGURE_SIZE, generator, "cpu")
        assert batch.subject is not None
        assert batch.keypoints is not None
        parts.append(Figures((batch.image * 255).to(torch.uint8), batch.subject, batch.keypoints))
    return Figures(*(torch.cat([getattr(p, name) for p in parts]) for name in ("image", "subject", "keypoints")))


def _figures(cache: Path, seed: int, counts: tuple[int, int], steps: int, bf16: bool) -> dict[str, object]:
    data = _cached(cache / "figures.pt", Figures, lambda: make_figures(*counts, seed + 2))
    person = (data.keypoints[..., 2] > 0).any(1)
    # Joints take longer than silhouettes: most pictures are of people.
    weight = torch.where(person, 0.7 / person.sum(), 0.3 / (~person).sum())

    def loss_of(net: nn.Module, generator: torch.Generator, step: int) -> Tensor:
        pick = torch.multinomial(weight, 16, replacement=True, generator=generator)
        image, subject, keypoints = data.image[pick].float() / 255, data.subject[pick], data.keypoints[pick, :JOINTS]
        if step % 2:
            image, subject = image.flip(3), subject.flip(2)
            keypoints = keypoints[:, MIRRORED].clone()
            keypoints[..., 0] = FIGURE_SIZE - keypoints[..., 0]
        if step % 4 == 0:
            # Other colours than those that skins, skies and grounds have: outlines are what counts.
            image = image[:, torch.randperm(3, generator=generator)]
        image, subject, keypoints = moved(image, subject, keypoints, generator)
        mask, heat = (logits.float() for logits in net(_worn(image, generator)))
        return _mask_loss(mask, subject.float()) + _joint_loss(heat, keypoints)

    net = _fit("figures", cache, FigureJudge(), loss_of, 5e-3, steps, seed + 3, bf16)
    fresh = _cached(
        cache / "fresh-figures.pt", Figures, lambda: make_figures(*(min(100, n) for n in counts), seed + 2000)
    )
    return {"state": net.state_dict(), "accuracy": measure_figures(net, fresh)}


def moved(
    image: Tensor, subject: Tensor, keypoints: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (b, 3, s, s), subjects (b, s, s) bool and keypoints (b, j, 3), each turned, scaled and shifted a little.

    Keypoints that leave the picture become invisible (0).
    """
    b, side = len(image), image.shape[-1]
    angle, scale, *shift = torch.rand(4, b, generator=generator)
    angle, scale = (angle - 0.5) * math.radians(24), torch.exp((scale - 0.5) * 0.45)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(b, 2, 2)
    offset = (torch.stack(shift, 1) - 0.5) * 0.4
    # From places in the new picture, in [-1, 1], to places in the old one.
    grid = F.affine_grid(torch.cat([turn / scale.view(-1, 1, 1), offset[..., None]], 2), list(image.shape), False)
    new_image = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    new_subject = F.grid_sample(subject[:, None].float(), grid, align_corners=False)[:, 0] > 0.5
    old = keypoints[..., :2] / side * 2 - 1 - offset[:, None]
    places = ((scale.view(-1, 1, 1) * old @ turn) + 1) / 2 * side
    inside = ((places >= 0) & (places < side)).all(2)
    return new_image, new_subject, torch.cat([places, (keypoints[..., 2] * inside)[..., None]], 2)


@torch.no_grad()
def measure_figures(net: FigureJudge, data: Figures) -> dict[str, float]:
    """Mean IoU of the silhouettes, and the part of the visible limbs that are found (within a tenth of the height)."""
    subject, joints = find_figures(net, data.image.float() / 255)
    iou = overlap(subject, data.subject)
    person = (data.keypoints[..., 2] > 0).any(1)
    good, counts = limbs_in_place(joints[person], data.keypoints[person], FIGURE_SIZE)
    return {
        "silhouette": iou[~person].mean().item(),
        "person silhouette": iou[person].mean().item(),
        "limbs": good[counts].float().mean().item(),
    }


def _mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and Dice: small silhouettes count as much as big ones."""
    probability = logits.sigmoid()
    both, sizes = (probability * target).sum((1, 2)), (probability + target).sum((1, 2))
    return F.binary_cross_entropy_with_logits(logits, target) + (1 - (2 * both + 1) / (sizes + 1)).mean()


def _joint_loss(heat: Tensor, keypoints: Tensor) -> Tensor:
    """Each joint's heat map is a choice among its pixels; hidden joints are guesses and weigh less."""
    side = heat.shape[-1]
    cell = (keypoints[..., :2] / FIGURE_SIZE * side).floor().long().clamp(0, side - 1)
    target = cell[..., 1] * side + cell[..., 0]
    weight = torch.tensor([0.0, 0.3, 1.0])[keypoints[..., 2].long()]
    losses = F.cross_entropy(heat.flatten(2).transpose(1, 2), target, reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def _fit(
    name: str, cache: Path, net: Net, loss_of: LossOf, rate: float, steps: int, seed: int, bf16: bool
) -> Net:  # fmt: skip
    """The network after `steps` of AdamW, one cycle of the rate up to `rate`; goes on where a stopped run was."""
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.12)
    generator = torch.Generator().manual_seed(seed)
    parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
    kept, first = cache / f"{name}-part.pt", 0
    if kept.exists():
        found = torch.load(kept)
        for key, part in parts.items():
            part.load_state_dict(found[key])
        generator.set_state(found["generator"])
        first = found["step"]
    net.train()
    for step in range(first, steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(net, generator, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"{name} {step + 1} loss {loss.item():.3f}", flush=True)
            state = {key: part.state_dict() for key, part in parts.items()}
            partial = kept.with_suffix(".partial")
            torch.save(state | {"generator": generator.get_state(), "step": step + 1}, partial)
            partial.rename(kept)
    return net.eval()


def _cached(path: Path, kind: Callable[..., Made], make: Callable[[], Made]) -> Made:
    if not path.exists():
        partial = path.with_suffix(".partial")
        torch.save(vars(make()), partial)
        partial.rename(path)
    return kind(**torch.load(path))


if __name__ == "__main__":
    typer.run(train)
