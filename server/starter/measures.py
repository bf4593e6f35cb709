"""What the starter model is held to: each measure against chance, against shuffled conditions, and against the truth.

*Shuffled* is the same pictures judged against other pictures' conditions: what a model that ignores its conditions
would get. *Truth* is the judge's answer on the makers' own pictures of the same conditions: no model can be better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depth3d.depth import depth_to_controlnet
from depth3d.normals import normals_to_controlnet
from depth3d.pose import Pose, draw_openpose
from server.starter.batch import Batch
from server.starter.captions import COLORLESS, material_caption
from server.starter.judge import FIGURE_SIZE, MIRRORED, Judge, limbs_in_place, overlap
from server.starter.materials import RECIPES, enlarged, render, shown
from server.starter.people import people
from server.starter.pipelines import Pipelines
from server.starter.scenes import scenes
from server.starter.words import COLORS, MATERIALS, SHAPES

#: The strengths of image to image that are measured.
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass
class Measure:
    """One line of the table; figures that make no sense for it are None.

    value: what the model reaches; target: what it should, with `at_most` telling the direction.
    """

    name: str
    value: float
    target: float | None = None
    at_most: bool = False
    chance: float | None = None
    shuffled: float | None = None
    truth: float | None = None
    samples: int = 0
    seed: int = 0
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def materials(pipelines: Pipelines, judge: Judge, each: int, size: int, seed: int) -> list[Measure]:
    """The material that a prompt names is the one that is painted; likewise its colour."""
    rng = Random(seed)
    names = list(MATERIALS) * each
    prompts = [material_caption(name, None, 1.0, 0.5, rng) for name in names]
    asked = torch.tensor([MATERIALS.index(name) for name in names])
    seeds = [seed + i for i in range(len(names))]
    answer, _ = judge.name(pipelines.paint(prompts, seeds, size))
    truth, _ = judge.name(_swatches(names, [None] * len(names), seed))
    right = answer == asked
    worst = sorted((int(right[asked == i].sum()), name) for i, name in enumerate(MATERIALS))[:5]
    first = Measure(
        "material of the prompt, top-1", _mean(right), 0.80, chance=1 / len(MATERIALS),
        shuffled=_shuffled(lambda order: _mean(answer == asked[order]), len(names)),
        truth=_mean(truth == asked), samples=len(names), seed=seed,
        note="weakest: " + ", ".join(f"{name} {hits}/{each}" for hits, name in worst if hits < each),
    )  # fmt: skip

    dyeable = [name for name in MATERIALS if name not in COLORLESS]
    words = list(COLORS) * max(1, 2 * each)
    names = [rng.choice(dyeable) for _ in words]
    prompts = [material_caption(name, color, 1.0, 0.5, rng) for name, color in zip(names, words, strict=True)]
    asked = torch.tensor([list(COLORS).index(color) for color in words])
    kinds = torch.tensor([MATERIALS.index(name) for name in names])
    seeds = [seed + 10_000 + i for i in range(len(words))]
    material, color = judge.name(pipelines.paint(prompts, seeds, size))
    true_material, true_color = judge.name(_swatches(names, list(words), seed + 1))
    order_of = len(words)
    return [
        first,
        Measure(
            "colour of the prompt, top-1", _mean(color == asked), 0.85, chance=1 / len(COLORS),
            shuffled=_shuffled(lambda order: _mean(color == asked[order]), order_of),
            truth=_mean(true_color == asked), samples=order_of, seed=seed,
        ),
        Measure(
            "material of a prompt with a colour, top-1", _mean(material == kinds), chance=1 / len(MATERIALS),
            shuffled=_shuffled(lambda order: _mean(material == kinds[order]), order_of),
            truth=_mean(true_material == kinds), samples=order_of, seed=seed,
        ),
    ]  # fmt: skip


def silhouettes(pipelines: Pipelines, judge: Judge, kind: str, count: int, size: int, seed: int) -> Measure:
    """The painted silhouette is the one of the depth map or of the normals (`kind`)."""
    batch = solids(count, size, seed)
    controls = torch.stack([control_image(kind, batch, i) for i in range(count)])
    painted = pipelines.follow(kind, batch.captions, [seed + i for i in range(count)], controls)
    found = _silhouettes(f"silhouette with {kind}, mean IoU", painted, batch, judge, seed)
    return replace(found, target=0.85, note="shuffled must be at most 0.40")


def _silhouettes(name: str, painted: Tensor, batch: Batch, judge: Judge, seed: int) -> Measure:
    count = len(painted)
    assert batch.subject is not None
    asked = F.interpolate(batch.subject[:, None].float(), (FIGURE_SIZE, FIGURE_SIZE), mode="area")[:, 0] > 0.5
    found = judge.silhouette(painted)
    return Measure(
        name, _mean(overlap(found, asked)),
        shuffled=_shuffled(lambda order: _mean(overlap(found, asked[order])), count),
        truth=_mean(overlap(judge.silhouette(batch.image), asked)), samples=count, seed=seed,
    )  # fmt: skip


def limbs(pipelines: Pipelines, judge: Judge, count: int, size: int, seed: int) -> Measure:
    """The visible limbs of a painted person are where the pose has them."""
    batch = people(count, size, torch.Generator().manual_seed(seed), "cpu")
    assert batch.keypoints is not None
    controls = torch.stack([control_image("pose", batch, i) for i in range(count)])
    painted = pipelines.follow("pose", batch.captions, [seed + i for i in range(count)], controls)
    return replace(_limbs("visible limbs in place with pose", painted, batch, judge, seed), target=0.80)


def named_solids(pipelines: Pipelines, judge: Judge, count: int, size: int, seed: int) -> Measure:
    """The silhouette that words alone paint is the typical one of the solid that they name."""
    batch = solids(count, size, seed, typical=True)
    painted = pipelines.paint(batch.captions, [seed + i for i in range(count)], size)
    return _silhouettes("silhouette of the solid that is named, mean IoU", painted, batch, judge, seed)


def named_actions(pipelines: Pipelines, judge: Judge, count: int, size: int, seed: int) -> Measure:
    """The visible limbs that words alone paint are where the typical pose of the action that they name has them."""
    batch = people(count, size, torch.Generator().manual_seed(seed), "cpu", typical=True)
    painted = pipelines.paint(batch.captions, [seed + i for i in range(count)], size)
    return _limbs("visible limbs as the action that is named", painted, batch, judge, seed)


def _limbs(name: str, painted: Tensor, batch: Batch, judge: Judge, seed: int) -> Measure:
    count, size = len(painted), painted.shape[-1]
    assert batch.keypoints is not None
    keypoints = batch.keypoints

    def score(found: Tensor, asked: Tensor) -> float:
        good, counts = limbs_in_place(found, asked, size)
        return _mean(good[counts])

    found = judge.joints(painted)
    good, counts = limbs_in_place(found, keypoints, size)
    swapped, _ = limbs_in_place(found[:, MIRRORED], keypoints, size)
    return Measure(
        name, _mean(good[counts]),
        shuffled=_shuffled(lambda order: score(found, keypoints[order]), count),
        truth=score(judge.joints(batch.image), keypoints), samples=count, seed=seed,
        note="a limb: both ends within 10 % of the figure's height; "
        f"{_mean((good | swapped)[counts]):.2f} where left and right may be mistaken",
    )  # fmt: skip


def seams(pipelines: Pipelines, count: int, size: int, seed: int) -> list[Measure]:
    """The gradient across the edge where a picture meets itself, over the mean gradient inside.

    The median of the pictures: a checker's few edges may all lie on that line, or none, and the ratio of a true one
    is nothing or many times what it should be.
    """
    rng = Random(seed)
    names = [MATERIALS[i % len(MATERIALS)] for i in rng.sample(range(10 * len(MATERIALS)), count)]
    prompts = [material_caption(name, None, 1.0, 0.5, rng) for name in names]
    seeds = [seed + i for i in range(count)]
    closed = seam_ratio(pipelines.paint(prompts, seeds, size, (True, True)))
    plain = seam_ratio(pipelines.paint(prompts, seeds, size))
    tiles = render(names, 256, torch.Generator().manual_seed(seed), "cpu", [None] * count).image
    whole = [enlarged(tile[None], RECIPES[name].zoom) for name, tile in zip(names, tiles, strict=True)]
    true = torch.cat([seam_ratio(image) for image in whole])
    measures = []
    for i, axis in enumerate("xy"):
        worst = int(closed[:, i].argmax())
        measures.append(Measure(
            f"seam along {axis}, gradient over the inside's", _median(closed[:, i]), 1.15, at_most=True,
            shuffled=_median(plain[:, i]), truth=_median(true[:, i]), samples=count, seed=seed,
            note=f"shuffled: painted without closing the seam; mean {_mean(closed[:, i]):.2f}, "
            f"of true tiles {_mean(true[:, i]):.2f}; most: {names[worst]} {closed[worst, i]:.2f}",
        ))  # fmt: skip
    return measures


def seam_ratio(image: Tensor) -> Tensor:
    """(n, 2): for x and y, the mean gradient of (n, 3, h, w) across the wrap-around over the mean one inside."""
    ratios = []
    for axis in (3, 2):
        step = (image - image.roll(1, axis)).abs().mean(1)
        edge, inside = step.select(axis - 1, 0), step.narrow(axis - 1, 1, step.shape[axis - 1] - 1)
        ratios.append(edge.mean(1) / inside.flatten(1).mean(1).clamp(min=1e-6))
    return torch.stack(ratios, dim=1)


def strengths(pipelines: Pipelines, count: int, size: int, seed: int) -> Measure:
    """Image to image keeps more of its input the lower the strength: SSIM falls over `STRENGTHS`."""
    rng = Random(seed)
    names = rng.sample(MATERIALS, count) if count <= len(MATERIALS) else rng.choices(MATERIALS, k=count)
    images = _swatches(names, [None] * count, seed, size)
    prompts = [material_caption(rng.choice(MATERIALS), None, 1.0, 0.5, rng) for _ in names]
    seeds = [seed + i for i in range(count)]
    kept = [_mean(ssim(pipelines.repaint(prompts, seeds, images, s), images)) for s in STRENGTHS]
    falls = all(a > b for a, b in pairwise(kept))
    return Measure(
        "image to image: SSIM falls as strength grows", float(falls), 1.0, samples=count, seed=seed,
        shuffled=_mean(ssim(images.roll(1, 0), images)),
        note=", ".join(f"{s}: {k:.2f}" for s, k in zip(STRENGTHS, kept, strict=True))
        + "; shuffled: SSIM with another input",
    )  # fmt: skip


def filling(pipelines: Pipelines, judge: Judge, count: int, size: int, seed: int) -> Measure:
    """Inpainting fills a square in the middle of one material with another one that is asked for."""
    rng = Random(seed)
    pairs = [rng.sample(MATERIALS, 2) for _ in range(count)]
    images = _swatches([a for a, _ in pairs], [None] * count, seed, size)
    prompts = [material_caption(b, None, 1.0, 0.5, rng) for _, b in pairs]
    rim = size // 8
    masks = torch.zeros(count, 1, size, size)
    masks[:, :, rim : size - rim, rim : size - rim] = 1
    painted = pipelines.fill(prompts, [seed + i for i in range(count)], images, masks)
    outside = masks.expand_as(painted) == 0
    if not torch.equal(painted[outside], images[outside]):
        raise AssertionError("inpainting has changed pixels outside of its mask")
    middle = slice(2 * rim, size - 2 * rim)
    answer, _ = judge.name(painted[:, :, middle, middle])
    true, _ = judge.name(_swatches([b for _, b in pairs], [None] * count, seed + 1, size)[:, :, middle, middle])
    asked = torch.tensor([MATERIALS.index(b) for _, b in pairs])
    before = torch.tensor([MATERIALS.index(a) for a, _ in pairs])
    return Measure(
        "inpainting: material asked for, top-1", _mean(answer == asked), chance=1 / len(MATERIALS),
        shuffled=_shuffled(lambda order: _mean(answer == asked[order]), count),
        truth=_mean(true == asked), samples=count, seed=seed,
        note=f"still the old material: {_mean(answer == before):.0%}",
    )  # fmt: skip


def solids(count: int, size: int, seed: int, typical: bool = False) -> Batch:
    """Scenes, typical or not, without terrains, which have no silhouette of their own."""
    generator = torch.Generator().manual_seed(seed)
    batch = scenes(count + 4 + count // 4, size, generator, "cpu", typical)
    keep = (batch.shape != SHAPES.index("terrain")).nonzero().squeeze(1)[:count]
    if len(keep) < count:
        raise RuntimeError(f"seed {seed} draws too many terrains for {count} solids; take another seed")
    assert batch.depth is not None
    assert batch.normals is not None
    assert batch.subject is not None
    return Batch(
        batch.image[keep], [batch.captions[i] for i in keep.tolist()], batch.material[keep], batch.color[keep],
        batch.shape[keep], batch.action[keep], batch.depth[keep], batch.normals[keep], None, batch.subject[keep],
    )  # fmt: skip


def control_image(kind: str, batch: Batch, i: int) -> Tensor:
    """The control image (3, h, w) in [0, 1] of picture i, drawn by the functions that the server uses."""
    if kind == "depth":
        assert batch.depth is not None
        drawn = depth_to_controlnet(batch.depth[i].cpu().numpy())
    elif kind == "normal":
        assert batch.normals is not None
        drawn = normals_to_controlnet(batch.normals[i].permute(1, 2, 0).cpu().numpy())
    else:
        assert batch.keypoints is not None
        size = batch.image.shape[-1]
        body = batch.keypoints[i].cpu().numpy().astype(np.float64)
        body[:, :2] /= size
        drawn = draw_openpose(Pose(body), size, size)
    return torch.from_numpy(drawn).permute(2, 0, 1).float() / 255


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (n,) of pictures (n, 3, h, w) in [0, 1], in grey, over 7×7 windows (Wang et al., 2004)."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    x, y = (a * weights).sum(1, keepdim=True), (b * weights).sum(1, keepdim=True)

    def blur(v: Tensor) -> Tensor:
        return F.avg_pool2d(v, 7, 1)

    mx, my = blur(x), blur(y)
    vx, vy, both = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean((1, 2, 3))


def _swatches(names: list[str], colors: list[str | None], seed: int, size: int = 256) -> Tensor:
    """The makers' own pictures of materials, as large as the model is taught them; a smaller size is a crop."""
    return shown(names, render(names, 256, torch.Generator().manual_seed(seed), "cpu", colors).image, size)


def _shuffled(score: Callable[[Tensor], float], count: int) -> float:
    """The mean score over orders in which no picture keeps its own condition."""
    orders = [torch.arange(count).roll(shift) for shift in range(1, min(count, 9))]
    return sum(score(order) for order in orders) / len(orders) if orders else float("nan")


def _median(values: Tensor) -> float:
    return values.quantile(0.5).item()


def _mean(values: Tensor) -> float:
    return values.float().mean().item()
