"""A smooth sheet through what is known: the membrane that solves Laplace's equation, from coarse to fine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Relaxations at each level. The level above has already brought what takes many steps to travel.
_ROUNDS = 12


def membrane(values: Field, known: Mask) -> Field:
    """(h, w) or (h, w, c) values where `known` (h, w), continued smoothly to everywhere else; float32.

    Affine values around a gap are continued affine. Where nothing is known, everything is 0.
    """
    if not known.any():
        return np.zeros(values.shape, np.float32)
    if known.all():
        return values.astype(np.float32)
    if values.ndim == 2:
        return membrane(values[..., None], known)[..., 0]
    if max(known.shape) <= 2:
        return np.where(known[..., None], values, values[known].mean(axis=0)).astype(np.float32)
    out = _doubled(membrane(*_halved(values, known)), known.shape)
    rows, columns = np.nonzero(~known)
    # Only the gaps are relaxed: they are a small part of most maps.
    around = [
        (np.clip(rows + r, 0, known.shape[0] - 1), np.clip(columns + c, 0, known.shape[1] - 1))
        for r, c in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    out[known] = values[known]
    for _ in range(_ROUNDS):
        out[rows, columns] = sum(out[place] for place in around) * np.float32(0.25)
    return out


def _halved(values: Field, known: Mask) -> tuple[Field, Mask]:
    """The mean of what is known of each 2×2 pixels."""
    height, width = known.shape
    more = ((0, height % 2), (0, width % 2))
    weight = np.pad(known, more).astype(np.float32)
    total = np.pad(np.where(known[..., None], values, 0), (*more, (0, 0)))
    count = weight.reshape(weight.shape[0] // 2, 2, -1, 2).sum(axis=(1, 3))
    summed = total.reshape(*total.shape[:1], -1, 2, total.shape[2]).sum(axis=2)
    summed = summed.reshape(-1, 2, *summed.shape[1:]).sum(axis=1)
    return (summed / np.maximum(count, 1)[..., None]).astype(np.float32), count > 0


def _doubled(values: Field, shape: tuple[int, ...]) -> Field:
    """Twice the size, linear between the coarse pixels' centres."""
    out: NDArray[np.floating] = values
    for axis in (0, 1):
        before = np.concatenate([out.take([0], axis), out], axis=axis)
        after = np.concatenate([out, out.take([-1], axis)], axis=axis)
        length = out.shape[axis]
        even = 0.75 * out + 0.25 * before.take(np.arange(length), axis)
        odd = 0.75 * out + 0.25 * after.take(np.arange(1, length + 1), axis)
        out = np.stack([even, odd], axis=axis + 1).reshape(*out.shape[:axis], 2 * length, *out.shape[axis + 1 :])
    return np.ascontiguousarray(out[: shape[0], : shape[1]], dtype=np.float32)
