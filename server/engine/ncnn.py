"""Weights of the ESRGAN family out of ncnn's files: a .param text of layers, and a .bin of their numbers in a row.

The format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from server.engine.errors import UnreadableModel

_MAGIC = "7767517"
#: What stands before a layer's numbers: as they are, or as half precision padded to 4 bytes.
_PLAIN, _HALF = 0, 0x01306B47


def weights(name: str, param: bytes, binary: bytes) -> list[dict[str, Tensor]]:
    """The tensors of each layer that has any, in the network's order: convolutions' weight and bias, PReLUs' weight.

    name: for the error. Raises UnreadableModel for other layers with weights, and for files of other lengths than
    their layers say.
    """
    lines = param.decode("ascii", "replace").splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise _unreadable(name, "its .param is not of ncnn's format")
    out: list[dict[str, Tensor]] = []
    place, channels = 0, {"data": 3}
    for line in lines[2:]:
        fields = line.split()
        if not fields:
            continue
        kind, count_in, count_out = fields[0], int(fields[2]), int(fields[3])
        inputs, outputs = fields[4 : 4 + count_in], fields[4 + count_in : 4 + count_in + count_out]
        options = dict(part.split("=", 1) for part in fields[4 + count_in + count_out :])
        width = (
            sum(channels.get(one, 0) for one in inputs) if kind == "Concat" else channels.get((inputs or [""])[0], 3)
        )
        if kind == "Convolution":
            features, size = int(options["0"]), int(options["6"])
            flag = int.from_bytes(binary[place : place + 4], "little")
            values, place = _numbers(name, binary, place + 4, size, flag)
            bias, place = _numbers(name, binary, place, features, _PLAIN)
            side = int(options["1"])
            if size != features * width * side * side:
                raise _unreadable(name, f"{fields[1]} has {size} weights for {width} → {features} channels")
            out.append({"weight": values.reshape(features, width, side, side), "bias": bias})
            width = features
        elif kind == "PReLU":
            slopes, place = _numbers(name, binary, place, int(options["0"]), _PLAIN)
            out.append({"weight": slopes})
        elif kind == "PixelShuffle":
            width //= int(options["0"]) ** 2
        elif kind not in ("Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp"):
            raise _unreadable(name, f"its layer {kind} is not known here")
        channels.update(dict.fromkeys(outputs, 3 if kind == "Input" else width))
    if place != len(binary):
        raise _unreadable(name, f"its .bin has {len(binary)} bytes and its layers need {place}")
    return out


def _numbers(name: str, binary: bytes, place: int, count: int, flag: int) -> tuple[Tensor, int]:
    if flag not in (_PLAIN, _HALF):
        raise _unreadable(name, f"its numbers are stored in a way ({flag:#x}) that is not known here")
    dtype = np.dtype("<f2") if flag == _HALF else np.dtype("<f4")
    length = count * dtype.itemsize
    if place + length > len(binary):
        raise _unreadable(name, f"its .bin ends at {len(binary)} bytes, in the middle of a layer")
    values = np.frombuffer(binary, dtype, count, place).astype(np.float32)
    return torch.from_numpy(values), place + length + -length % 4


def _unreadable(name: str, reason: str) -> UnreadableModel:
    return UnreadableModel(f"{name} cannot be read: {reason}.", "Install the version of the package that is asked for.")
