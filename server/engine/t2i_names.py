"""T2I-Adapters in single files, by the names and shapes of their tensors: their authors' and diffusers'. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Residual blocks in each level of the authors' full adapters, whose names number them throughout.
_FULL_BLOCKS = 2


def describe(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """How diffusers' `T2IAdapter` is configured that takes these tensors; None if they are not one's.

    ValueError with the reason for a kind that diffusers has not.
    """
    named = {renamed(key): shape for key, shape in shapes.items()}
    levels = _count(named, r"adapter\.body\.(\d+)\.resnets\.")
    if not levels or "adapter.body.0.resnets.0.block1.weight" not in named:
        return None
    if any(".down_opt." in key or ".skep." in key for key in shapes):
        raise ValueError("it is a T2I-Adapter whose levels shrink by convolutions")
    blocks = _count(named, r"adapter\.body\.0\.resnets\.(\d+)\.")
    first = named.get("adapter.conv_in.weight")
    if first is None:  # light: a narrow level between two convolutions
        widths = [named[f"adapter.body.{level}.out_conv.weight"][0] for level in range(levels)]
        seen = named["adapter.body.0.in_conv.weight"][1]
        return _config("light_adapter", seen // 64, widths[:-1], blocks, 8)  # diffusers' own repeats the last one
    if named["adapter.body.0.resnets.0.block2.weight"][2] != 1:
        raise ValueError("it is a T2I-Adapter with larger convolutions")
    widths = [named[f"adapter.body.{level}.resnets.0.block1.weight"][0] for level in range(levels)]
    # Pixels are laid side by side, 8 × 8 of SD's and 16 × 16 of SDXL's, in grey or in colours.
    large = first[1] in (256, 768)
    return _config("full_adapter_xl" if large else "full_adapter", first[1] // (256 if large else 64), widths, blocks,
                   16 if large else 8)  # fmt: skip


def renamed(key: str) -> str:
    """Diffusers' name of a tensor."""
    key = key.removeprefix("adapter.")
    if match := re.fullmatch(r"body\.(\d+)\.body\.(\d+)\.(.+)", key):  # light
        key = f"body.{match[1]}.resnets.{match[2]}.{match[3]}"
    elif match := re.fullmatch(r"body\.(\d+)\.(block[12]\..+)", key):  # full
        level, block = divmod(int(match[1]), _FULL_BLOCKS)
        key = f"body.{level}.resnets.{block}.{match[2]}"
    return f"adapter.{key}"


def renames(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Diffusers' name of each tensor of a file.

    A level's first convolution has the number of its block with its authors, whose full adapters have no other mark.
    """
    full = any(re.fullmatch(r"(adapter\.)?body\.\d+\.block1\.weight", key) for key in shapes)
    names = {}
    for key in shapes:
        name = renamed(key)
        if full and (match := re.fullmatch(r"adapter\.body\.(\d+)\.in_conv\.(.+)", name)):
            name = f"adapter.body.{int(match[1]) // _FULL_BLOCKS}.in_conv.{match[2]}"
        names[key] = name
    return names


def _config(kind: str, channels: int, widths: list[int], blocks: int, factor: int) -> dict[str, Any]:
    return {
        "adapter_type": kind, "in_channels": channels, "channels": widths, "num_res_blocks": blocks,
        "downscale_factor": factor,
    }  # fmt: skip


def _count(names: Mapping[str, Any], pattern: str) -> int:
    found = {int(match[1]) for match in (re.match(pattern, name) for name in names) if match}
    return len(found) if found == set(range(len(found))) else 0
