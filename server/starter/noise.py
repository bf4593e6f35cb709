"""Noise on a torus: every function here wraps at the picture's edges, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Cells:
    """Voronoi cells (Worley 1996) seen from every pixel; lengths are in units of one cell.

    nearest, second: (b, h, w) distances to the nearest and the second nearest point.
    x, y: (b, h, w) offset from the nearest point to the pixel, x right, y down.
    random: (b, h, w, 3) uniform numbers in [0, 1) that belong to the nearest point.
    """

    nearest: Tensor
    second: Tensor
    x: Tensor
    y: Tensor
    random: Tensor

    @property
    def border(self) -> Tensor:
        """(b, h, w) about the distance to the cell's border: 0 on it."""
        return self.second - self.nearest


class Torus:
    """A batch of square tiles, coordinates u (right) and v (down) in [0, 1), that wrap at their edges.

    count: how many pictures b. size: pixels on each side. generator: the source of every random number; it must live
    on `device`. typical: patterns repeat as often as is the middle of what they may, in the first of their directions.
    """

    def __init__(
        self, count: int, size: int, generator: torch.Generator, device: torch.device | str, typical: bool = False
    ) -> None:
        self.count, self.size, self.generator, self.device = count, size, generator, device
        self.typical = typical
        axis = (torch.arange(size, device=device) + 0.5) / size
        self.u = axis.view(1, 1, size).expand(count, size, size)
        self.v = axis.view(1, size, 1).expand(count, size, size)

    def uniform(self, low: float, high: float) -> Tensor:
        """(b, 1, 1) numbers, one for each picture."""
        return torch.rand(self.count, 1, 1, generator=self.generator, device=self.device) * (high - low) + low

    def whole(self, low: float, high: float, scale: Tensor | float = 1.0, least: int = 1) -> Tensor:
        """(b, 1, 1) whole numbers from the range, times scale: how often something repeats in a tile."""
        return (self.uniform(low, high) * scale).round().clamp(min=least)

    def lattice(self, low: float, high: float, scale: Tensor | float = 1.0, least: int = 1) -> Tensor:
        """(b, 1, 1) `whole` numbers that are powers of two.

        Laid and shifted by whole patches of the latent code, a pattern that repeats so often has few different
        patches, which a small model learns; any other repeat cuts through the patches everywhere else.
        """
        often = self.uniform(low, high) * scale
        if self.typical:
            often = torch.full_like(often, (low + high) / 2)
        return often.log2().round().exp2().clamp(min=least)

    def direction(self, count: int) -> Tensor:
        """(b, 1, 1) one of so many directions by its number."""
        way = self.uniform(0, count).floor().clamp(max=count - 1)
        return torch.zeros_like(way) if self.typical else way

    def noise(self, frequency: Tensor | float, decay: float = 2.0, stretch: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """(b, h, w) Gaussian noise, mean 0 and deviation 1, by filtering white noise in the frequency domain.

        frequency: cycles in a tile above which the amplitude falls. decay: how fast it falls: amplitude ~
        (k / frequency) ** -decay. stretch: how much longer the features are in x and in y.
        """
        k = self._wavenumber(stretch)
        return self._filtered((1 + (k / frequency) ** 2) ** (-decay / 2) * (k > 0))

    def band(self, frequency: Tensor | float, width: float = 0.35, stretch: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """(b, h, w) Gaussian noise of about one frequency: blobs of one size; mean 0 and deviation 1."""
        k = self._wavenumber(stretch)
        return self._filtered(torch.exp(-(((k.clamp(min=1e-3) / frequency).log() / width) ** 2)) * (k > 0))

    def grain(self) -> Tensor:
        """(b, h, w) white noise, one number for each pixel, deviation 1."""
        return torch.randn(self.count, self.size, self.size, generator=self.generator, device=self.device)

    def cells(
        self,
        columns: Tensor,
        rows: Tensor,
        jitter: float = 0.9,
        warp: tuple[Tensor, Tensor] | None = None,
        shear: Tensor | float = 0.0,
    ) -> Cells:
        """Voronoi cells around one jittered point in each square of a columns × rows grid.

        columns, rows: (b, 1, 1) whole numbers. jitter: 0 leaves the points at the middle of their squares, 1 lets
        them go anywhere in it. warp: two (b, h, w) offsets added to u and v. shear: how far, in whole tiles a tile,
        the columns lean to the right on their way down.
        """
        u, v = self.u + shear * self.v, self.v
        if warp is not None:
            u, v = u + warp[0], v + warp[1]
        most_x, most_y = int(columns.max()), int(rows.max())
        points = torch.rand(self.count * most_y * most_x, 5, generator=self.generator, device=self.device)
        picture = torch.arange(self.count, device=self.device).view(-1, 1, 1) * (most_y * most_x)
        x, y = u * columns, v * rows
        cell_x, cell_y = x.floor(), y.floor()
        first = torch.full_like(x, 1e9)
        second = first.clone()
        best_x, best_y = torch.zeros_like(x), torch.zeros_like(y)
        best = torch.zeros_like(x, dtype=torch.int64)
        for step_y in (-1, 0, 1):
            for step_x in (-1, 0, 1):
                at_x, at_y = cell_x + step_x, cell_y + step_y
                index = picture + (at_y.remainder(rows) * most_x + at_x.remainder(columns)).long()
                point = points[index]
                dx = x - at_x - 0.5 - (point[..., 0] - 0.5) * jitter
                dy = y - at_y - 0.5 - (point[..., 1] - 0.5) * jitter
                distance = dx * dx + dy * dy
                closer = distance < first
                second = torch.where(closer, first, torch.minimum(second, distance))
                first = torch.where(closer, distance, first)
                best_x, best_y = torch.where(closer, dx, best_x), torch.where(closer, dy, best_y)
                best = torch.where(closer, index, best)
        return Cells(first.sqrt(), second.sqrt(), best_x, best_y, points[best][..., 2:])

    def table(self, columns: Tensor, rows: Tensor, column: Tensor, row: Tensor) -> Tensor:
        """(b, h, w, 3) uniform numbers that belong to the squares (column, row) of a wrapping grid."""
        most_x, most_y = int(columns.max()), int(rows.max())
        numbers = torch.rand(self.count * most_y * most_x, 3, generator=self.generator, device=self.device)
        picture = torch.arange(self.count, device=self.device).view(-1, 1, 1) * (most_y * most_x)
        return numbers[picture + (row.remainder(rows) * most_x + column.remainder(columns)).long()]

    def _wavenumber(self, stretch: tuple[float, float]) -> Tensor:
        ky = torch.fft.fftfreq(self.size, 1 / self.size, device=self.device).view(1, -1, 1) * stretch[1]
        kx = torch.fft.rfftfreq(self.size, 1 / self.size, device=self.device).view(1, 1, -1) * stretch[0]
        return (kx * kx + ky * ky).sqrt()

    def _filtered(self, amplitude: Tensor) -> Tensor:
        field = torch.fft.irfft2(torch.fft.rfft2(self.grain()) * amplitude, s=(self.size, self.size))
        return field / field.std(dim=(1, 2), keepdim=True).clamp(min=1e-6)


def smoothstep(low: Tensor | float, high: Tensor | float, x: Tensor) -> Tensor:
    """0 below low, 1 above high, a cubic between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def unit_range(x: Tensor) -> Tensor:
    """(b, h, w) stretched to [0, 1] in each picture."""
    low = x.amin(dim=(1, 2), keepdim=True)
    return (x - low) / (x.amax(dim=(1, 2), keepdim=True) - low).clamp(min=1e-6)
