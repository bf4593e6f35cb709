"""The networks of the ESRGAN family.

RRDBNet: Wang et al. 2018, "ESRGAN: Enhanced super-resolution generative adversarial networks". The compact network and
the smaller scales of RRDBNet: Wang et al. 2021, "Real-ESRGAN". Both take and give (n, 3, h, w) sRGB in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, cat, nn

from server.engine.esrgan_names import Architecture


class RRDBNet(nn.Module):
    """Dense blocks within residual blocks, then doublings of the size."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width = architecture.features
        self.unshuffle = architecture.unshuffle
        self.first = _conv(3 * self.unshuffle**2, width)
        self.blocks = nn.ModuleList(_Residual(width, architecture.growth) for _ in range(architecture.blocks))
        self.trunk = _conv(width, width)
        self.ups = nn.ModuleList(_conv(width, width) for _ in range(architecture.doublings))
        self.fine = _conv(width, width)
        self.last = _conv(width, 3)

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge; sides must be multiples of `unshuffle`."""
        first = self.first(F.pixel_unshuffle(picture, self.unshuffle) if self.unshuffle > 1 else picture)
        inner = first
        for block in self.blocks:
            inner = block(inner)
        inner = first + self.trunk(inner)
        for up in self.ups:
            inner = F.leaky_relu(up(F.interpolate(inner, scale_factor=2)), 0.2)
        return self.last(F.leaky_relu(self.fine(inner), 0.2))


class _Residual(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(_Dense(width, growth) for _ in range(3))

    def forward(self, inputs: Tensor) -> Tensor:
        inner = inputs
        for dense in self.dense:
            inner = dense(inner)
        return inputs + 0.2 * inner


class _Dense(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(width + i * growth, growth if i < 4 else width) for i in range(5))

    def forward(self, inputs: Tensor) -> Tensor:
        seen = [inputs]
        for conv in self.convs[:4]:
            seen.append(F.leaky_relu(conv(cat(seen, 1)), 0.2))
        return inputs + 0.2 * self.convs[4](cat(seen, 1))


class CompactNet(nn.Module):
    """Plain convolutions at the small size; the last one makes the large picture's difference from a blocky one."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, self.scale = architecture.features, architecture.scale
        layers: list[nn.Module] = [_conv(3, width), nn.PReLU(width)]
        for _ in range(architecture.blocks):
            layers += [_conv(width, width), nn.PReLU(width)]
        self.body = nn.Sequential(*layers, _conv(width, 3 * self.scale**2))

    def forward(self, picture: Tensor) -> Tensor:
        """Enlarge."""
        return F.pixel_shuffle(self.body(picture), self.scale) + F.interpolate(picture, scale_factor=self.scale)


def build(architecture: Architecture) -> nn.Module:
    """The network, without memory for its weights: load them with `assign=True`."""
    with torch.device("meta"):
        return RRDBNet(architecture) if architecture.kind == "rrdb" else CompactNet(architecture)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
