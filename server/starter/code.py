"""The latent code: a fixed linear one, principal components of 8×8 patches.

Gradient descent takes hours to find what a linear code of textures already has: 12 components keep about 95 % of
their variance. So the code is fitted first, the diffusion model learns on it at once, and the autoencoder's decoder
learns to paint from it, and its encoder is built to compute it (`linear_encoder`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PATCH = 8


@dataclass
class PatchCode:
    """Patches x of 192 numbers in [-1, 1] (channel, row, column) to codes (x - mean) @ analysis, and back.

    mean: (192,). analysis: (192, c). synthesis: (c, 192). factor: scales a code to about unit deviation; what the
    autoencoder's configuration calls `scaling_factor`.
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor
    factor: float

    @property
    def channels(self) -> int:
        return self.analysis.shape[1]

    def encode(self, image: Tensor) -> Tensor:
        """(b, 3, h, w) in [-1, 1] to (b, c, h/8, w/8), already times `factor`."""
        weight = (self.analysis.T * self.factor).reshape(-1, 3, PATCH, PATCH)
        bias = -(self.mean @ self.analysis) * self.factor
        return torch.nn.functional.conv2d(image, weight, bias, stride=PATCH)

    def decode(self, code: Tensor) -> Tensor:
        """(b, c, h/8, w/8) to the nearest (b, 3, h, w) that the linear code knows."""
        weight = (self.synthesis / self.factor).reshape(-1, 3, PATCH, PATCH)
        patches = torch.nn.functional.conv_transpose2d(code, weight, stride=PATCH)
        mean = self.mean.view(3, PATCH, PATCH).repeat(1, code.shape[2], code.shape[3])
        return patches + mean

    def rgb_factors(self) -> tuple[Tensor, Tensor]:
        """(c, 3) and (3,): codes @ factors + bias is each patch's mean colour in [-1, 1]; for previews."""
        colors = self.synthesis.view(-1, 3, PATCH * PATCH).mean(dim=2) / self.factor
        return colors, self.mean.view(3, -1).mean(dim=1)

    def to(self, device: torch.device | str) -> PatchCode:
        return PatchCode(self.mean.to(device), self.analysis.to(device), self.synthesis.to(device), self.factor)

    def save(self, path: Path) -> None:
        save_file(
            {
                "mean": self.mean, "analysis": self.analysis.contiguous(), "synthesis": self.synthesis.contiguous(),
                "factor": torch.tensor(self.factor, dtype=torch.float64),
            },
            path,
        )  # fmt: skip


def load_code(path: Path) -> PatchCode:
    """What `PatchCode.save` wrote."""
    numbers = load_file(path)
    return PatchCode(numbers["mean"], numbers["analysis"], numbers["synthesis"], float(numbers["factor"]))


def fit(images: Tensor, channels: int, whiten: float) -> tuple[PatchCode, float]:
    """Fit the code to pictures (n, 3, h, w) in [-1, 1].

    whiten: component i is divided by (its deviation) ** whiten: a compromise between a code whose noise is even in
    the picture (0) and one whose channels are alike to a network (1).

    Gives the code, and the share of the variance that it keeps.
    """
    patches = torch.nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH * PATCH)
    mean = patches.mean(dim=0)
    covariance = torch.cov((patches - mean).T.double())
    variance, vectors = torch.linalg.eigh(covariance)
    variance, vectors = variance.flip(0), vectors.flip(1)
    kept, basis = variance[:channels], vectors[:, :channels]
    # eigh leaves the signs open; fixed ones make the code the same on every machine.
    basis = basis * basis.sum(dim=0).sign().where(basis.sum(dim=0).abs() > 1e-3, basis[0].sign())
    spread = kept.sqrt() ** whiten
    code = PatchCode(mean, (basis / spread).float().contiguous(), (basis * spread).T.float().contiguous(), 1.0)
    code.factor = float(1 / (kept / spread**2).mean().sqrt())
    return code, float(kept.sum() / variance.sum())
