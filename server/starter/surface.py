"""What every recipe of a material is given and gives back, and the few functions that they share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from server.starter.noise import Torus


@dataclass
class Ground:
    """What a recipe is given: a torus, and for each of its b pictures a colour, a scale and wear.

    base: (b, 3, 1, 1) sRGB. scale, wear: (b, 1, 1); scale about 1, more is finer; wear in [0, 1].
    """

    torus: Torus
    base: Tensor
    scale: Tensor
    wear: Tensor

    def tone(self, light: Tensor, base: Tensor | None = None) -> Tensor:
        """(b, 3, h, w) the base colour made lighter or darker by light (b, h, w), about -1 to 1."""
        base = self.base if base is None else base
        light = light.unsqueeze(1)
        return base * (1 + 0.35 * light) + 0.04 * light

    def flat(self, r: float, g: float, b: float) -> Tensor:
        """(1, 3, 1, 1) one colour."""
        return torch.tensor((r, g, b), device=self.torus.device).view(1, 3, 1, 1)


@dataclass
class Surface:
    """What a recipe gives back.

    color: (b, 3, h, w) sRGB without light. height: (b, h, w) in [0, 1].
    relief: how many pixels high a height of 1 is in a picture of 256 pixels. gloss: strength of the highlight.
    glow: (b, 3, h, w) light of its own, or None.
    """

    color: Tensor
    height: Tensor
    relief: float
    gloss: float = 0.0
    glow: Tensor | None = None


def mix(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Colours a and b, (b, 3, h, w) or smaller, mixed by t (b, h, w)."""
    return a + (b - a) * t.unsqueeze(1)


def contrast_of(base: Tensor) -> Tensor:
    """(b, 3, 1, 1) off-white beside a colour, near black beside a pale one."""
    pale = (base.mean(dim=1, keepdim=True) > 0.68).float()
    return pale * 0.16 + (1 - pale) * 0.93


def from_edge(x: Tensor) -> Tensor:
    """Distance to the nearest whole number."""
    return 0.5 - (x.remainder(1.0) - 0.5).abs()
