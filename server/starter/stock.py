"""Training samples cut from the pool: crops and whole pictures, their words, their control images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from server.starter import pool
from server.starter.code import PATCH
from server.starter.networks import CONTROLS
from server.starter.text import tokens_of


@dataclass
class Stock:
    """All pictures of one kind, on the training's device.

    image: (n, 3, s, s) uint8. tokens: (n, wordings, t). labels: (n, 4). controls: name → uint8 images.
    subject: (n, 1, s, s) uint8, 255 where the main solid or the person is, or None.
    """

    image: Tensor
    tokens: Tensor
    labels: Tensor
    controls: dict[str, Tensor]
    subject: Tensor | None


@dataclass
class Sample:
    """image: (b, 3, s, s) in [-1, 1]. tokens: (b, t). control: its name and (b, 3, s, s) in [0, 1], or None.

    figure: (b, 1, s/8, s/8) in {0, 1}, on and beside which patches of the code the main solid or the person is, or
    None where there is neither.
    """

    image: Tensor
    tokens: Tensor
    control: tuple[str, Tensor] | None
    figure: Tensor | None


def stock_up(folder: Path, tokenizer: CLIPTokenizer, device: torch.device | str) -> dict[str, Stock]:
    """Read all that the pool has; kinds of which it has nothing are left out."""
    stocks = {}
    for kind in pool.KINDS:
        chunks = pool.read(folder, kind)
        if not chunks:
            continue

        def joined(name: str, chunks: list[pool.Chunk] = chunks) -> Tensor:
            return torch.from_numpy(np.concatenate([getattr(chunk, name) for chunk in chunks])).to(device)

        captions = [wordings for chunk in chunks for wordings in chunk.captions]
        tokens = tokens_of(tokenizer, [caption for wordings in captions for caption in wordings])
        stocks[kind] = Stock(
            image=joined("image"),
            tokens=tokens.view(len(captions), len(captions[0]), -1).to(device),
            labels=torch.tensor([label for chunk in chunks for label in chunk.labels]),
            controls={name: joined(name) for name in CONTROLS if getattr(chunks[0], name) is not None},
            subject=None if chunks[0].subject is None else joined("subject"),
        )
    return stocks


def draw(stock: Stock, count: int, size: int, control: str | None, generator: torch.Generator) -> Sample:
    """`count` random crops of size×size pixels, at whole patches of the code.

    control: the name of a control image that is cut along, or None. generator: a CPU generator, so that the same
    numbers are drawn on every device.
    """
    device = stock.image.device
    index = torch.randint(len(stock.image), (count,), generator=generator)
    x, y = torch.randint((stock.image.shape[-1] - size) // PATCH + 1, (2, count), generator=generator) * PATCH
    wording = torch.randint(stock.tokens.shape[1], (count,), generator=generator)
    steps = torch.arange(size)
    columns = (x[:, None] + steps).to(device)[:, None, None, :]
    rows = (y[:, None] + steps).to(device)[:, None, :, None]
    index = index.to(device)

    def cut(images: Tensor) -> Tensor:
        channels = torch.arange(images.shape[1], device=device)[None, :, None, None]
        return images[index[:, None, None, None], channels, rows, columns].float() / 255

    hint = None
    if control is not None:
        hint = (control, cut(stock.controls[control]).expand(-1, 3, -1, -1))
    figure = None
    if stock.subject is not None:
        # And one patch around it: an outline has two sides.
        figure = F.max_pool2d(F.max_pool2d(cut(stock.subject), PATCH), 3, 1, 1)
    return Sample(cut(stock.image) * 2 - 1, stock.tokens[index, wording.to(device)], hint, figure)
