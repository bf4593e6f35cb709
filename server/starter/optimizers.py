"""The optimizers of the diffusion's training: Muon for the matrices of the hidden layers, AdamW for all else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes all directions of a matrix's step equally
long, so that what few pictures ask for is learned beside what all of them do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: What touches the code or a picture stays with AdamW, and so do matrices with fewer rows or columns than this.
_ENDS = ("conv_in", "conv_out")
_LEAST = 32


class Optimizers:
    """Both optimizers as one, with a rate for what paints and one for the text encoder (`text`)."""

    def __init__(self, networks: nn.ModuleDict, rate: float, text_rate: float) -> None:
        """The parameters must be on their device and in their memory format already: Muon sees views of them."""
        self._hidden: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for network in (network for name, network in networks.items() if name != "text"):
            for name, parameter in network.named_parameters():
                (self._hidden if _is_hidden(name, parameter) else others).append(parameter)
        self._matrices = [nn.Parameter(_as_matrix(parameter.detach(), parameter)) for parameter in self._hidden]
        groups = [{"params": others, "rate": rate}, {"params": list(networks["text"].parameters()), "rate": text_rate}]
        self._adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        # With this adjustment a step is as long as one of AdamW, and one rate does for both.
        self._muon = torch.optim.Muon(self._matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        self._muon.param_groups[0]["rate"] = rate
        self.set_factor(1.0)

    def set_factor(self, factor: float) -> None:
        """Set each rate to so much of itself."""
        for group in (*self._adamw.param_groups, *self._muon.param_groups):
            group["lr"] = group["rate"] * factor

    def step(self) -> None:
        """Step along the gradients. Parameters without one stay as they are."""
        for parameter, matrix in zip(self._hidden, self._matrices, strict=True):
            matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad, parameter)
        self._adamw.step()
        self._muon.step()

    def state_dict(self) -> dict[str, Any]:
        """Both optimizers' states."""
        return {"adamw": self._adamw.state_dict(), "muon": self._muon.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s."""
        self._adamw.load_state_dict(state["adamw"])
        self._muon.load_state_dict(state["muon"])


def _is_hidden(name: str, parameter: nn.Parameter) -> bool:
    if parameter.ndim < 2 or any(end in name for end in _ENDS):
        return False
    return min(len(parameter), parameter[0].numel()) >= _LEAST


def _as_matrix(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    """A parameter or its gradient with one row for each output: of the parameter itself, a view.

    (o, i, h, w) becomes (o, h · w · i) where the parameter's channels lie last in memory, (o, i · h · w) elsewhere.
    """
    if parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten(1)
