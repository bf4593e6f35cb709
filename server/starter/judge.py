"""The judge: three small questions about a picture, answered by networks that never saw a generated one.

Which material and which colour is this? Where is the subject? Where are the joints? The networks are trained by
`judge_training` on the makers' own pictures alone, and their accuracy on fresh ones is kept beside their weights: no
measurement of the starter model can be better than its judge.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from server.starter.words import COLORS, MATERIALS

#: The trained networks.
WEIGHTS = Path(__file__).with_name("judge.safetensors")
#: The side of the pictures that the figure judge looks at; others are resized to it.
FIGURE_SIZE = 128
#: How many of the COCO-18 keypoints it finds: the body's, not the eyes' and ears'.
JOINTS = 14
#: These keypoints as they are named in a mirror.
MIRRORED = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10]


class MaterialJudge(nn.Module):
    """Names the material and the colour of a picture that is filled by one; pictures of any size from 64² on.

    Materials are learned as large as the model is taught them (`materials.shown`). A texture is known by the
    statistics of its features at every scale, so each stage's mean and deviation go into the answer.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (28, 56, 88, 128)) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = 3
        for i, width in enumerate(widths):
            kernel = 5 if i == 0 else 3
            conv = nn.Conv2d(before, width, kernel, 2, kernel // 2)
            self.stages.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.SiLU()))
            before = width
        self.material = nn.Sequential(nn.Dropout(0.1), nn.Linear(2 * sum(widths), len(MATERIALS)))
        self.color = nn.Linear(2 * sum(widths) + 6, len(COLORS))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image: (b, 3, h, w) sRGB in [0, 1]. Returns the logits (b, 29) of materials and (b, 12) of colours."""
        x, statistics = image * 2 - 1, []
        for stage in self.stages:
            x = stage(x)
            statistics += [x.mean((2, 3)), x.flatten(2).std(2)]
        pooled = torch.cat(statistics, dim=1)
        # A colour is a matter of means: the pixels' own say it best.
        plain = torch.cat([image.mean((2, 3)), image.flatten(2).std(2)], dim=1)
        return self.material(pooled), self.color(torch.cat([pooled, plain], dim=1))


class FigureJudge(nn.Module):
    """Finds the silhouette of the main solid or person and a person's joints: a small U-Net at a quarter resolution.

    Both answers come back to finer grids by sub-pixel convolution (Shi et al., 2016).
    """

    def __init__(self, widths: tuple[int, int, int] = (48, 80, 128)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 7, 4, 3)
        self.down = nn.ModuleList(
            [_block(widths[0], widths[0]), _block(widths[0], widths[1]), _block(widths[1], widths[2])]
        )
        self.up = nn.ModuleList([_block(widths[2] + widths[1], widths[1]), _block(widths[1] + widths[0], widths[0])])
        self.mask = nn.Conv2d(widths[0], 16, 3, padding=1)
        self.joints = nn.Conv2d(widths[0], 4 * JOINTS, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image: (b, 3, 128, 128) sRGB in [0, 1]. Returns logits (b, 128, 128) and (b, JOINTS, 64, 64)."""
        x = self.stem(image * 2 - 1)
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2))
            kept.append(x)
        for block, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        return F.pixel_shuffle(self.mask(x), 4)[:, 0], F.pixel_shuffle(self.joints(x), 2)


@dataclass
class Judge:
    """Both networks with what they reach on fresh pictures of the makers.

    accuracy: "material", "color" (top-1 of pictures), "silhouette" and "person silhouette" (mean IoU),
    "limbs" (part of the visible limbs whose two ends are found within a tenth of the figure's height).
    """

    materials: MaterialJudge
    figures: FigureJudge
    accuracy: dict[str, float]

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Judge:
        """The trained judge. Raises FileNotFoundError with the command that trains it."""
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; train the judge: python -m server.starter.judge_training")
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
        with safe_open(path, "pt") as file:
            accuracy = json.loads(file.metadata()["accuracy"])
        materials, figures = MaterialJudge(), FigureJudge()
        materials.load_state_dict({k[10:]: v for k, v in state.items() if k.startswith("materials.")})
        figures.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("figures.")})
        return cls(materials.eval(), figures.eval(), accuracy)

    @torch.no_grad()
    def name(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The materials and colours (b,) int64 of pictures (b, 3, h, w), as indices into the word lists."""
        material, color = zip(*(self.materials(part) for part in image.split(16)), strict=True)
        return torch.cat(material).argmax(1), torch.cat(color).argmax(1)

    def silhouette(self, image: Tensor) -> Tensor:
        """(b, 128, 128) bool, where the subject of pictures (b, 3, h, w) is."""
        return find_figures(self.figures, image)[0]

    def joints(self, image: Tensor) -> Tensor:
        """(b, JOINTS, 2) float32, x and y of the joints of pictures (b, 3, h, w), as parts of the picture's side."""
        return find_figures(self.figures, image)[1]


@torch.no_grad()
def find_figures(net: FigureJudge, image: Tensor) -> tuple[Tensor, Tensor]:
    """The subjects (b, 128, 128) bool and the joints (b, JOINTS, 2), parts of the side, of pictures (b, 3, h, w).

    Each picture is looked at in a mirror too: two opinions are better than one.
    """
    masks, joints = [], []
    for part in _figure_sized(image).split(16):
        mask, heat = net(part)
        mirrored_mask, mirrored_heat = net(part.flip(3))
        masks.append(mask + mirrored_mask.flip(2) > 0)
        joints.append(places(heat + mirrored_heat.flip(3)[:, MIRRORED]))
    return torch.cat(masks), torch.cat(joints)


def places(heat: Tensor) -> Tensor:
    """The places (b, j, 2), parts of the side, of the peaks of heat maps (b, j, s, s), refined around the peak."""
    b, j, side, _ = heat.shape
    best = heat.flatten(2).argmax(2)
    ys, xs = best // side, best % side
    steps = torch.arange(side, device=heat.device)
    near_x = (steps.view(1, 1, 1, -1) - xs[..., None, None]).abs() <= 2
    near_y = (steps.view(1, 1, -1, 1) - ys[..., None, None]).abs() <= 2
    weight = torch.where(near_x & near_y, heat, -torch.inf).flatten(2).softmax(2).view(b, j, side, side)
    centres = (steps + 0.5) / side
    return torch.stack([(weight.sum(2) * centres).sum(2), (weight.sum(3) * centres).sum(2)], dim=2)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (n,) of bool masks (n, h, w); 1 where both are empty."""
    both, either = (a & b).flatten(1).sum(1).float(), (a | b).flatten(1).sum(1).float()
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


#: The limbs that are counted: upper arm, forearm, thigh and shin of both sides, as pairs of COCO-18 keypoints.
LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))


def limbs_in_place(found: Tensor, keypoints: Tensor, side: int, within: float = 0.1) -> tuple[Tensor, Tensor]:
    """Which limbs lie where they were asked to be, and which count.

    found: (b, JOINTS, 2) parts of the side. keypoints: (b, 18, 3) in pixels of pictures of `side` pixels. A limb
    counts where both its ends are visible (2), and is in place where both are found within `within` of the figure's
    height, which is the extent of all keypoints inside the picture, in y or x, whichever is longer.
    Returns two (b, 8) bool.
    """
    asked = keypoints[..., :2] / side
    inside = (keypoints[..., 2] > 0)[..., None]
    low = torch.where(inside, asked, torch.inf).amin(1)
    high = torch.where(inside, asked, -torch.inf).amax(1)
    height = (high - low).amax(1)
    error = (found - asked[:, :JOINTS]).norm(dim=2)
    good = error <= within * height[:, None]
    ends = torch.tensor(LIMBS, device=found.device)
    seen = keypoints[:, :JOINTS, 2] == 2
    return good[:, ends].all(2), seen[:, ends].all(2)


def _block(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU(),
    )  # fmt: skip


def _figure_sized(image: Tensor) -> Tensor:
    if image.shape[-2:] == (FIGURE_SIZE, FIGURE_SIZE):
        return image
    return F.interpolate(image, (FIGURE_SIZE, FIGURE_SIZE), mode="bilinear", antialias=True)
