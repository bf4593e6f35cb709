"""Muon and AdamW as one: which parameters each steps, and that a layout in memory changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from server.starter.optimizers import Optimizers

RATE = 1e-3


def networks() -> nn.ModuleDict:
    torch.manual_seed(0)
    painter = nn.ModuleDict(
        {"conv_in": nn.Conv2d(4, 32, 3), "hidden": nn.Conv2d(32, 48, 3), "few": nn.Conv2d(48, 8, 1)}
    )
    return nn.ModuleDict({"unet": painter, "text": nn.Linear(32, 32)})


def stepped(nets: nn.ModuleDict, muon: bool = True) -> dict[str, torch.Tensor]:
    """How one step along a gradient with one strong direction changes each parameter."""
    before = {name: p.detach().clone() for name, p in nets.named_parameters()}
    optimizers = Optimizers(nets, RATE, RATE / 10, muon)
    generator = torch.Generator().manual_seed(1)
    for parameter in nets.parameters():
        strong = torch.ones(parameter.shape) + 0.05 * torch.randn(parameter.shape, generator=generator)
        # As a backward pass leaves it: in the parameter's own layout.
        parameter.grad = torch.empty_like(parameter).copy_(strong)
    optimizers.step()
    return {name: p.detach() - before[name] for name, p in nets.named_parameters()}


def test_a_hidden_matrix_steps_alike_in_all_directions_and_all_else_as_adamw_does() -> None:
    changes = stepped(networks())
    lengths = torch.linalg.svdvals(changes["unet.hidden.weight"].flatten(1))
    assert lengths.min() > 0.4 * lengths.max(), "the strong direction got all of the step"
    for name in ("unet.conv_in.weight", "unet.few.weight", "unet.hidden.bias"):
        # AdamW's first step is the rate in every number, whatever the gradient.
        torch.testing.assert_close(changes[name], torch.full_like(changes[name], -RATE), rtol=0.05, atol=2e-5)
    torch.testing.assert_close(
        changes["text.weight"], torch.full_like(changes["text.weight"], -RATE / 10), rtol=0.05, atol=2e-6
    )


def test_without_muon_all_steps_are_adamw_s() -> None:
    for name, change in stepped(networks(), muon=False).items():
        rate = RATE / 10 if name.startswith("text") else RATE
        torch.testing.assert_close(change, torch.full_like(change, -rate), rtol=0.05, atol=0.02 * rate)


@pytest.mark.parametrize("muon", [True, False])
def test_a_state_goes_on_with_the_same_optimizers_and_is_refused_with_others(muon: bool) -> None:
    nets = networks()
    state = Optimizers(nets, RATE, RATE, muon).state_dict()
    Optimizers(nets, RATE, RATE, muon).load_state_dict(state)
    with pytest.raises(ValueError, match=r"recipe's \[diffusion\] muon asks for adamw"):
        Optimizers(nets, RATE, RATE, not muon).load_state_dict(state)


def test_the_layout_in_memory_changes_nothing_but_rounding() -> None:
    plain = networks()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    one, other = stepped(plain), stepped(last)
    for name, change in one.items():
        torch.testing.assert_close(other[name], change, rtol=0, atol=0.1 * RATE)


def test_a_parameter_without_a_gradient_stays() -> None:
    nets = networks()
    before = copy.deepcopy(nets.state_dict())
    optimizers = Optimizers(nets, RATE, RATE, muon=True)
    nets["unet"]["few"].weight.grad = torch.ones_like(nets["unet"]["few"].weight)
    optimizers.step()
    changed = {name for name, value in nets.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"unet.few.weight"}
