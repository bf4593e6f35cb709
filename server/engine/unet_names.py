"""What the layers of a UNet are called by its authors, whose names most files of LoRAs for SDXL have."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = {
    "conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
_IN_RESNET = {
    "conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}  # fmt: skip


def original(name: str, config: Any) -> str | None:
    """The authors' name of a layer of a `UNet2DConditionModel`; None for one that they have no name for.

    name: diffusers', with dots. config: the UNet's, of which it needs the number of layers in each block and which
    blocks attend.
    """
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = re.fullmatch(r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(\w+?)\.(\d+)\.(.+)", name)
    if match is None:
        return None
    way, level, kind, number, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        rest = _IN_RESNET.get(rest, rest)
    if way is None:  # the middle has resnet, attention, resnet
        return f"middle_block.{1 if kind == 'attentions' else 2 * number}.{rest}"
    blocks = config.layers_per_block + 1  # down: each layer and the way down; up: one layer more than down
    if kind == "downsamplers":
        return f"input_blocks.{level * blocks + blocks}.0.op"
    if kind == "upsamplers":
        place = 2 if "CrossAttn" in config.up_block_types[level] else 1
        return f"output_blocks.{level * blocks + blocks - 1}.{place}.{rest}"
    block = (
        f"input_blocks.{1 + level * blocks + number}" if way == "down" else f"output_blocks.{level * blocks + number}"
    )
    return f"{block}.{1 if kind == 'attentions' else 0}.{rest}"
