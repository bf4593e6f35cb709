"""LoHa and LoKr files as LyCORIS writes them, with random factors, and what they add to each weight in plain numpy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

#: Layers of `tiny_models.sd` by the names in such files, and theirs: linear, 1 × 1 and 3 × 3, and a text encoder's.
SD = {
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k":
        ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj":
        ("unet", "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"),
    "lora_unet_up_blocks_0_attentions_1_proj_in": ("unet", "up_blocks.0.attentions.1.proj_in"),
    "lora_unet_up_blocks_1_resnets_0_conv1": ("unet", "up_blocks.1.resnets.0.conv1"),
    "lora_te_text_model_encoder_layers_1_self_attn_q_proj": ("text_encoder", "encoder.layers.1.self_attn.q_proj"),
}  # fmt: skip
#: The same of `tiny_models.xl`, whose UNet has its authors' names in such files.
XL = {
    "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k":
        ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"),
    "lora_unet_output_blocks_1_1_transformer_blocks_1_ff_net_2":
        ("unet", "up_blocks.0.attentions.1.transformer_blocks.1.ff.net.2"),
    "lora_unet_middle_block_1_proj_in": ("unet", "mid_block.attentions.0.proj_in"),
    "lora_unet_output_blocks_2_0_in_layers_2": ("unet", "up_blocks.1.resnets.0.conv1"),
    "lora_unet_input_blocks_2_0_op": ("unet", "down_blocks.0.downsamplers.0.conv"),
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": ("text_encoder", "encoder.layers.0.mlp.fc1"),
    "lora_te2_text_model_encoder_layers_0_self_attn_v_proj":
        ("text_encoder_2", "text_model.encoder.layers.0.self_attn.v_proj"),
}  # fmt: skip
#: Kinds of layers: a LoHa, with a core for 3 × 3; a LoKr of whole factors, of a low rank, of low ranks, with a core.
KINDS = ("loha", "loha-core", "lokr", "lokr-low", "lokr-lower", "lokr-core")

Shape = tuple[int, ...]


def factors(kind: str, shape: Shape, seed: int, rank: int = 3) -> dict[str, torch.Tensor]:
    """The factors for a weight of a shape, as they lie in a file, without `alpha`."""
    torch.manual_seed(seed)
    rows, columns, kernel = shape[0], shape[1], shape[2:]
    if kind == "loha" or (kind == "loha-core" and not kernel):
        flat = columns * int(np.prod(kernel, initial=1))
        shapes = {
            f"hada_w{n}_{side}": size for n in (1, 2) for side, size in (("a", (rows, rank)), ("b", (rank, flat)))
        }
    elif kind == "loha-core":
        shapes = {f"hada_w{n}_{side}": (rank, size) for n in (1, 2) for side, size in (("a", rows), ("b", columns))}
        shapes |= {f"hada_t{n}": (rank, rank, *kernel) for n in (1, 2)}
    else:
        l, m = 2, 4  # noqa: E741 -- the paper's letters
        k, n = rows // l, columns // m
        shapes = {"lokr_w1_a": (l, rank), "lokr_w1_b": (rank, m)} if kind == "lokr-lower" else {"lokr_w1": (l, m)}
        if kind == "lokr":
            shapes["lokr_w2"] = (k, n, *kernel)
        elif kind == "lokr-core" and kernel:
            shapes |= {"lokr_t2": (rank, rank, *kernel), "lokr_w2_a": (rank, k), "lokr_w2_b": (rank, n)}
        else:
            shapes |= {"lokr_w2_a": (k, rank), "lokr_w2_b": (rank, n * int(np.prod(kernel, initial=1)))}
    return {name: torch.randn(size) * 0.3 for name, size in shapes.items()}


def added(own: dict[str, NDArray[np.floating]], shape: Shape, alpha: float | None) -> NDArray[np.float64]:
    """What factors add to a weight of a shape, by the papers' formulas, element by element of a loop."""
    own = {name: value.astype(np.float64) for name, value in own.items()}

    def product(name: str, core: str) -> NDArray[np.float64]:
        if name in own:
            return own[name]
        a, b = own[f"{name}_a"], own[f"{name}_b"]
        if core not in own:
            return a @ b
        total = np.zeros((a.shape[1], b.shape[1], *own[core].shape[2:]))
        for i in range(len(a)):
            for j in range(len(b)):
                total += np.multiply.outer(np.outer(a[i], b[j]), own[core][i, j])
        return total

    low = [name for name in ("hada_w1_b", "lokr_w2_b", "lokr_w1_b") if name in own]
    rank = own[low[0]].shape[0] if low else None
    scale = 1.0 if rank is None or alpha is None else alpha / rank
    if "hada_w1_a" in own:
        whole = product("hada_w1", "hada_t1") * product("hada_w2", "hada_t2")
    else:
        one, other = product("lokr_w1", ""), product("lokr_w2", "lokr_t2")
        whole = np.concatenate([np.concatenate([c * other for c in row], axis=1) for row in one], axis=0)
    return scale * whole.reshape(shape)


def write(
    checkpoint: Path, file: Path, kind: str, layers: dict[str, tuple[str, str]], *, seed: int, alpha: float | None = 2.0
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """A file for some layers of a diffusers folder; what it adds to each, by part and module."""
    state: dict[str, torch.Tensor] = {}
    deltas = {}
    for number, (name, (part, module)) in enumerate(layers.items()):
        shape = tuple(_weights(checkpoint, part)[f"{module}.weight"].shape)
        own = factors(kind, shape, seed * 100 + number)
        state |= {f"{name}.{factor}": tensor for factor, tensor in own.items()}
        if alpha is not None:
            state[f"{name}.alpha"] = torch.tensor(alpha)
        deltas[part, module] = added({factor: tensor.numpy() for factor, tensor in own.items()}, shape, alpha)
    save_file(state, file)
    return deltas


def merge(checkpoint: Path, to: Path, deltas: dict[tuple[str, str], NDArray[np.float64]], weight: float) -> None:
    """A checkpoint with what an adapter adds, times a weight, in its weights."""
    if checkpoint != to:
        shutil.copytree(checkpoint, to)
    for part in {part for part, _ in deltas}:
        state = _weights(to, part)
        for (one, module), delta in deltas.items():
            if one == part:
                key = f"{module}.weight"
                state[key] = torch.from_numpy((state[key].numpy() + weight * delta).astype(np.float32))
        (stored,) = (to / part).glob("*.safetensors")
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, stored, {"format": "pt"})


def _weights(checkpoint: Path, part: str) -> dict[str, torch.Tensor]:
    (stored,) = (checkpoint / part).glob("*.safetensors")
    return load_file(stored)
