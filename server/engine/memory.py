"""What to do when memory runs out: a ladder of cheaper ways to paint, and an error that says what would fit."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import psutil
import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import remove_hook_from_module
from torch import nn

from server.engine.errors import OutOfMemory

#: Kept free of weights on a device: activations, the desktop, other programs.
RESERVE = 3 * 2**30
#: Bytes of VAE activations for each output pixel and byte of its dtype while decoding (encoding takes half of it);
#: seen to hold for the VAE of SD and SDXL.
DECODE_BYTES = 2200

Rung = Literal["plain", "tiled", "offloaded"]
RUNGS: tuple[Rung, ...] = ("plain", "tiled", "offloaded")
FALLBACKS: dict[Rung, str] = {
    "tiled": "Memory ran out: other models were unloaded, and the picture was encoded and decoded in tiles.",
    "offloaded": "Memory ran out: the model's parts took turns on the device, which is slower.",
}

_CPU_EXHAUSTED = re.compile(r"DefaultCPUAllocator|can't allocate memory|not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out; torch has one type for devices and a plain one for the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_CPU_EXHAUSTED.search(str(error)))


def release_cached(device: torch.device) -> None:
    """Give back what the allocator holds for tensors that are gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def free_bytes(device: torch.device) -> int:
    """Bytes that a new tensor could have on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def device_budget(device: torch.device) -> int:
    """Bytes of weights that may stay loaded: all of a card but a reserve, half of a machine's memory."""
    if device.type == "cuda":
        return max(0, int(torch.cuda.mem_get_info(device)[1]) - RESERVE)
    return int(psutil.virtual_memory().total) // 2


def exhausted(device: torch.device, dtype: torch.dtype, width: int, height: int, batch: int) -> OutOfMemory:
    """The error after the last rung, with the size that would fit by the decoder's need, at most half of the pixels."""
    room = free_bytes(device) / (DECODE_BYTES * dtype.itemsize)
    scale = (min(room, width * height / 2) / (width * height)) ** 0.5
    fit = [max(64, int(side * scale) // 64 * 64) for side in (width, height)]
    fewer = f" or a batch of 1 instead of {batch}" if batch > 1 else ""
    return OutOfMemory(
        f"{batch} × {width} × {height} pixels do not fit into the memory of {device.type}, even in tiles and with "
        "the model's parts taking turns.",
        f"About {fit[0]} × {fit[1]} would fit{fewer}; or close other programs that use the device.",
    )


@contextmanager
def tiled(vae: Any) -> Iterator[None]:
    """Encode and decode in tiles, one picture at a time, for a while."""
    before = vae.use_tiling, vae.use_slicing
    vae.enable_tiling()
    vae.enable_slicing()
    try:
        yield
    finally:
        vae.use_tiling, vae.use_slicing = before


@contextmanager
def offloaded(in_order: Sequence[nn.Module], beside: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """For a while, keep the modules in main memory, each on the device only while it works.

    in_order: each leaves the device when the next one is called. beside: they stay once they were called, because
    they take turns with the denoiser at every step. At the end all are in main memory; the loader brings them back.
    """
    modules = [*in_order, *beside]
    hook = None
    try:
        for module in modules:
            module.to("cpu")
        for module in in_order:
            _, hook = cpu_offload_with_hook(module, device, prev_module_hook=hook)
        for module in beside:
            cpu_offload_with_hook(module, device)
        release_cached(device)
        yield
    finally:
        for module in modules:
            remove_hook_from_module(module)
            module.to("cpu")
        release_cached(device)
