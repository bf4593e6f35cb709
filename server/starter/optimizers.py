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

    def __init__(self, networks: nn.ModuleDict, rate: float, text_rate: float, muon: bool) -> None:
        """The parameters must be on their device and in their memory format already: Muon sees views of them.

        muon: False leaves all to AdamW.
        """
        self._hidden: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for network in (network for name, network in networks.items() if name != "text"):
            for name, parameter in network.named_parameters():
                (self._hidden if muon and _is_hidden(name, parameter) else others).append(parameter)
        self._matrices = [nn.Parameter(_as_matrix(parameter.detach(), parameter)) for parameter in self._hidden]
        groups = [{"params": others, "rate": rate}, {"params": list(networks["text"].parameters()), "rate": text_rate}]
        adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self._parts: dict[str, torch.optim.Optimizer] = {"adamw": adamw}
        if muon:
            # With this adjustment a step is as long as one of AdamW, and one rate does for both.
            part = torch.optim.Muon(self._matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
            part.param_groups[0]["rate"] = rate
            self._parts["muon"] = part
        self.set_factor(1.0)

    def set_factor(self, factor: float) -> None:
        """Set each rate to so much of itself."""
        for part in self._parts.values():
            for group in part.param_groups:
                group["lr"] = group["rate"] * factor

    def step(self) -> None:
        """Step along the gradients. Parameters without one stay as they are."""
        for parameter, matrix in zip(self._hidden, self._matrices, strict=True):
            matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad, parameter)
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Each optimizer's state, by its name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s. Raises ValueError where those are other optimizers' states."""
        if state.keys() != self._parts.keys():
            there, here = (" and ".join(sorted(names)) for names in (state, self._parts))
            raise ValueError(
                f"the checkpoint is of a training with {there}, and the recipe's [diffusion] muon asks for {here}; "
                "set muon as it was, or begin anew with --from"
            )
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


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
