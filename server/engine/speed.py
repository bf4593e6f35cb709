"""Switches that make painting faster on some machines; docs/performance.md has what each was measured to bring.

The server reads them from the environment variable BRUSHWIRE_SPEED: a list such as ``compile,attention=flash``, or
``plain`` for none, which paints bit for bit what plain diffusers paints.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from server.engine.errors import InvalidRequest

_VARIABLE = "BRUSHWIRE_SPEED"


@dataclass(frozen=True)
class Speed:
    """channels_last: convolutions keep the channels innermost; for tensor cores. compiled: the repeated blocks of the
    denoiser are compiled at their first call, which takes a compiler and some seconds for each new size of picture.
    attention: one of diffusers' attention backends, such as flash, xformers or sage; None is torch's own. step_cache:
    how little a step must change to be left out, see `step_cache`; None leaves out none.
    """

    channels_last: bool = False
    compiled: bool = False
    attention: str | None = None
    step_cache: float | None = None

    @classmethod
    def from_environment(cls, device: torch.device) -> Speed:
        """What BRUSHWIRE_SPEED asks for; without it, what was measured to help on such a device.

        Raises InvalidRequest for a word that is no switch.
        """
        asked = os.environ.get(_VARIABLE, "")
        if not asked:
            return cls(channels_last=device.type == "cpu")
        words = [word.strip() for word in asked.split(",") if word.strip() not in ("", "plain")]
        attention = step_cache = None
        for word in words:
            name, _, value = word.partition("=")
            if name == "attention" and value:
                attention = value
            elif name == "step-cache" and value:
                step_cache = _share(value)
            elif word not in ("channels-last", "compile"):
                raise InvalidRequest(
                    f"{_VARIABLE} holds {word!r}, which is no switch.",
                    "Take some of: channels-last, compile, attention=NAME, step-cache=SHARE; or plain.",
                )
        return cls("channels-last" in words, "compile" in words, attention, step_cache)

    def apply(self, denoiser: nn.Module, others: Iterable[nn.Module]) -> None:
        """Bring a checkpoint's parts that were just loaded into the form that is asked for."""
        if self.channels_last:
            for module in (denoiser, *others):
                nn.utils.convert_conv2d_weight_memory_format(module, torch.channels_last)
        if self.attention is not None:
            denoiser.set_attention_backend(self.attention)
        if self.compiled:
            denoiser.compile_repeated_blocks(dynamic=True)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InvalidRequest(
            f"{_VARIABLE} holds step-cache={text}; it must be a number above 0 and at most 1.",
            "Take 0.1, or leave it out.",
        )
    return share
