"""Steps that are left out: where a transformer's first block changes little, the others' answer of before is taken.

diffusers' First Block Cache, for the families whose transformers take one. It changes the picture, so it is off unless
asked for (`speed.Speed`), and the result says how often it acted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import CacheMixin, FirstBlockCacheConfig

from server.engine.work import Work


@contextmanager
def leaving_out(work: Work, denoiser: Any, threshold: float | None) -> Iterator[None]:
    """For a while, let a denoiser leave out what changes by less than a threshold, and report how often it did.

    threshold: of the first block's change, relative to its size; None leaves nothing out. Nor is anything left out
    where ControlNets act, whose part would be added twice, or regions, whose words take turns within one step.
    """
    request = work.plan.request
    if threshold is None or not isinstance(denoiser, CacheMixin) or request.controls or request.regions:
        yield
        return
    blocks = [*denoiser.transformer_blocks, *getattr(denoiser, "single_transformer_blocks", ())]
    calls = {"first": 0, "last": 0}

    def counting(name: str) -> Any:
        def count(*_: Any) -> None:
            calls[name] += 1

        return count

    handles = [
        block.attn.register_forward_pre_hook(counting(name))
        for name, block in (("first", blocks[0]), ("last", blocks[-1]))
    ]
    denoiser.enable_cache(FirstBlockCacheConfig(threshold))
    try:
        yield
    finally:
        denoiser.disable_cache()
        for handle in handles:
            handle.remove()
    if calls["last"] < calls["first"]:
        left_out = calls["first"] - calls["last"]
        work.report(
            f"The step cache left out {left_out} of {calls['first']} runs of the transformer (step-cache={threshold:g})"
            ": the picture is not exactly what it would be without."
        )
