"""LoHa and LoKr on a checkpoint's parts: what they add to a weight is made anew from its factors at each call.

With W the weight of a linear layer or a convolution, r the rank and α the file's `alpha` (r where it has none), LyCORIS
(Yeh et al. 2024, https://arxiv.org/abs/2309.14859) adds

- LoHa (Hyeon-Woo et al. 2022): ΔW = α/r · (A₁ B₁) ∘ (A₂ B₂), ∘ by elements;
- LoKr: ΔW = α/r · C ⊗ D, Kronecker's product, where C and D may be products of two factors; α/r is 1 where none is.

Of a convolution a factor's product may have a core T in between (Tucker): Σ T[i, j] A[i] B[j]. No adapted weight is
kept: an adapter takes as much memory as its file, and W is what it was, to the bit, as soon as it is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from server.engine import lycoris_names, unet_names
from server.engine.loader import Checkpoint

#: How the names of layers begin, and the part that they belong to; "denoiser" is the UNet or the transformer.
_PREFIXES = (
    ("base_model_model_", "denoiser"), ("lora_unet_", "denoiser"), ("lora_transformer_", "denoiser"),
    ("lora_te1_", "text_encoder"), ("lora_te2_", "text_encoder_2"), ("lora_te3_", "text_encoder_3"),
    ("lora_te_", "text_encoder"), ("lycoris_", "denoiser"), ("diffusion_model_", "denoiser"),
    ("text_encoder_2_", "text_encoder_2"), ("text_encoder_", "text_encoder"), ("unet_", "denoiser"),
    ("transformer_", "denoiser"), ("", "denoiser"),
)  # fmt: skip


class DoesNotFit(ValueError):
    """A file has layers that a checkpoint has not, or not of that size."""


def divide(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a file that are LoHa's and LoKr's, and all others."""
    names = {name for name, part in map(lycoris_names.split, state) if part}
    own = {key: tensor for key, tensor in state.items() if _is_of(key, names)}
    return own, {key: tensor for key, tensor in state.items() if key not in own}


def put_on(checkpoint: Checkpoint, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Put the layers of a file on a checkpoint's parts, under a name and without weight yet.

    tensors: see `divide`. Raises DoesNotFit, and then nothing is put on.
    """
    there = _layers(checkpoint)
    put: list[tuple[nn.Module, _Delta]] = []
    for key, layer in lycoris_names.layers({key: tuple(t.shape) for key, t in tensors.items()}).items():
        module = _find(there, key)
        if module is None:
            raise DoesNotFit(f"it has no layer for {key}")
        weight = module.weight
        if layer.numel != weight.numel() or layer.rows != weight.shape[0]:
            raise DoesNotFit(f"{key} is for a weight of {layer.rows} rows, and the layer has {tuple(weight.shape)}")
        alpha = float(tensors[f"{key}.alpha"]) if f"{key}.alpha" in tensors else layer.rank
        factors = {part: tensor for at, tensor in tensors.items() for one, part in [at.rsplit(".", 1)] if one == key}
        factors.pop("alpha", None)
        put.append((module, _Delta(factors, alpha / layer.rank if layer.rank else 1.0).to(weight)))
    for module, delta in put:
        if not parametrize.is_parametrized(module, "weight"):
            parametrize.register_parametrization(module, "weight", _Adapted(), unsafe=True)
        _adapted(module).deltas[name] = delta


def weigh(checkpoint: Checkpoint, weights: Mapping[str, float]) -> None:
    """Let the adapters act, each by its name with its weight; those without one do not."""
    for module in _carrying(checkpoint):
        _adapted(module).weights = dict(weights)


def take_off(checkpoint: Checkpoint) -> None:
    """Take all of them off; the parts are what they were before, to the bit."""
    for module in list(_carrying(checkpoint)):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


class _Delta(nn.Module):
    """What one adapter adds to one weight. factors: by LyCORIS' names."""

    def __init__(self, factors: Mapping[str, Tensor], scale: float) -> None:
        super().__init__()
        self.scale = scale
        for name, factor in factors.items():
            self.register_buffer(name, factor)

    def forward(self, weight: float) -> Tensor:
        """In some shape of as many values as the layer's weight has, times the weight."""
        own = dict(self.named_buffers())
        scale = weight * self.scale
        if "hada_w1_a" in own:
            return scale * _product(own, "hada_w1", "hada_t1") * _product(own, "hada_w2", "hada_t2")
        one, other = _product(own, "lokr_w1", ""), _product(own, "lokr_w2", "lokr_t2")
        return torch.kron(scale * one.reshape(*one.shape, *[1] * (other.ndim - one.ndim)), other.contiguous())


class _Adapted(nn.Module):
    """In place of a weight: the weight and what its adapters add. deltas, weights: by the adapters' names."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas = nn.ModuleDict()
        self.weights: dict[str, float] = {}

    def forward(self, weight: Tensor) -> Tensor:
        """(rows, …) like the weight."""
        for name, delta in self.deltas.items():
            if self.weights.get(name):
                weight = weight + delta(self.weights[name]).reshape(weight.shape)
        return weight


def _product(own: Mapping[str, Tensor], name: str, core: str) -> Tensor:
    if name in own:
        return own[name]
    a, b = own[f"{name}_a"], own[f"{name}_b"]
    return torch.einsum("ijkl,ip,jr->prkl", own[core], a, b) if core in own else a @ b


def _is_of(key: str, names: set[str]) -> bool:
    name, _, part = key.rpartition(".")
    return name in names and (part == "alpha" or bool(lycoris_names.split(key)[1]))


def _adapted(module: nn.Module) -> Any:
    return module.get_submodule("parametrizations.weight.0")


def _carrying(checkpoint: Checkpoint) -> Iterator[nn.Module]:
    for part in checkpoint.modules():
        for module in part.modules():
            if parametrize.is_parametrized(module, "weight") and isinstance(_adapted(module), _Adapted):
                yield module


def _layers(checkpoint: Checkpoint) -> dict[tuple[str, str], nn.Module]:
    """Each linear layer and convolution that can be adapted, by its part and its name with _ in place of dots."""
    found: dict[tuple[str, str], nn.Module] = {}
    parts = {"denoiser": checkpoint.denoiser, **{name: checkpoint.parts[name] for name, _ in checkpoint.encoders()}}
    for part, whole in parts.items():
        for path, module in whole.named_modules():
            if not isinstance(module, nn.Linear | nn.Conv2d) or ".lora_" in path:
                continue
            name = path.replace(".base_layer", "")  # where a LoRA is on it
            names = [name]
            if part != "denoiser":  # newer CLIPs are called so, older ones lie in a text_model
                names.append(
                    name.removeprefix("text_model.") if name.startswith("text_model.") else f"text_model.{name}"
                )
            elif checkpoint.family.denoiser == "unet" and (older := unet_names.original(name, whole.config)):
                names.append(older)
            found.update({(part, one.replace(".", "_")): module for one in names})
    return found


def _find(there: Mapping[tuple[str, str], nn.Module], key: str) -> nn.Module | None:
    name = key.replace(".", "_")
    for prefix, part in _PREFIXES:
        if name.startswith(prefix) and (module := there.get((part, name.removeprefix(prefix)))) is not None:
            return module
    return None
