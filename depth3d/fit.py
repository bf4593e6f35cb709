"""Predicted depth brought to known points: the scale and the shift of an affine disparity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fit_disparity(values: NDArray[np.floating], z: NDArray[np.floating], *, rounds: int = 10) -> tuple[float, float]:
    """Scale and shift that bring predicted disparities to known depths: 1 / z = scale · value + shift.

    values, z: (n,) at the same points, n at least 2. Least median of squares (Rousseeuw 1984) over random pairs, then
    least squares with Huber's weights: up to half of the points may be wrong. Raises ValueError where the points do not
    determine the two numbers.
    """
    x, y = np.asarray(values, np.float64).ravel(), 1 / np.asarray(z, np.float64).ravel()
    usable = np.isfinite(x) & np.isfinite(y) & (y > 0)
    x, y = x[usable], y[usable]
    if len(x) < 2 or np.ptp(x) == 0:
        raise ValueError(f"{len(x)} usable points do not determine scale and shift; give two or more of unlike depth")
    scale, shift = _least_median(x, y)
    for _ in range(rounds):
        residual = np.abs(y - scale * x - shift)
        limit = max(1.345 * 1.4826 * float(np.median(residual)), 1e-12)
        weight = np.where(residual < 4 * limit, np.minimum(1, limit / np.maximum(residual, 1e-30)), 0)
        mx, my = np.average(x, weights=weight), np.average(y, weights=weight)
        scale = float((weight * (x - mx) * (y - my)).sum() / (weight * (x - mx) ** 2).sum())
        shift = float(my - scale * mx)
    if scale <= 0:
        raise ValueError(f"the fitted scale is {scale:g}: these values grow with the distance; they are no disparity")
    return scale, shift


def _least_median(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """The line through two of the points that has the smallest median residual, of 500 random pairs."""
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, len(x), (2, 500))
    pairs = x[i] != x[j]
    if not pairs.any():
        i, j, pairs = np.array([int(x.argmin())]), np.array([int(x.argmax())]), np.array([True])
    i, j = i[pairs], j[pairs]
    slope = (y[j] - y[i]) / (x[j] - x[i])
    offset = y[i] - slope * x[i]
    some = rng.choice(len(x), min(len(x), 2000), replace=False)
    middle = np.median(np.abs(y[some] - slope[:, None] * x[some] - offset[:, None]), axis=1)
    best = int(middle.argmin())
    return float(slope[best]), float(offset[best])
