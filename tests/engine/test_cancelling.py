"""A cancelled painting ends within one call of the denoiser, decodes nothing, and leaves nothing behind."""

import numpy as np
import pytest

from server.engine.errors import Cancelled
from server.engine.painting import ControlInput


class Calls:
    """Counts the calls of a checkpoint's denoiser and of its VAE's two halves."""

    def __init__(self, painter, info) -> None:
        parts = painter.loader.checkpoint(info).parts
        self.counts = {"unet": 0, "encoder": 0, "decoder": 0}
        self.handles = [
            module.register_forward_hook(lambda *_, name=name: self.count(name))
            for name, module in (
                ("unet", parts["unet"]), ("encoder", parts["vae"].encoder), ("decoder", parts["vae"].decoder)
            )
        ]  # fmt: skip

    def count(self, name: str) -> None:
        self.counts[name] += 1

    def __enter__(self) -> dict[str, int]:
        return self.counts

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def after(steps: int):
    """A painting's on_progress and cancelled, which cancels as soon as so many steps are done."""
    done = []

    def on_progress(progress) -> None:
        if progress.phase == "sampling" and progress.step:
            done.append(progress.step)

    return on_progress, lambda: len(done) >= steps


MASK = np.zeros((64, 64), np.uint8)
MASK[16:48, 16:48] = 255
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
WAYS = {
    "text": {},
    "image": {"image": IMAGE},
    "mask": {"image": IMAGE, "mask": MASK},
    "controls": {"controls": (ControlInput("depth", IMAGE), ControlInput("pose", IMAGE))},
    "seamless": {"seamless_x": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["sd", "xl"])
def test_cancelling_after_two_steps_calls_the_denoiser_no_more_and_never_decodes(
    paint, painter, catalog, ids, model, way
):
    before = paint(model, steps=6, **WAYS[way]).images[0]
    on_progress, cancelled = after(2)
    with Calls(painter, catalog.get(ids[model])) as counts, pytest.raises(Cancelled):
        paint(model, steps=6, on_progress=on_progress, cancelled=cancelled, **WAYS[way])
    assert counts["unet"] == 2
    assert counts["decoder"] == 0
    np.testing.assert_array_equal(paint(model, steps=6, **WAYS[way]).images[0], before)


def test_cancelling_before_the_start_paints_nothing(paint, painter, catalog, ids):
    with Calls(painter, catalog.get(ids["sd"])) as counts, pytest.raises(Cancelled):
        paint(cancelled=lambda: True)
    assert counts == {"unet": 0, "encoder": 0, "decoder": 0}


def test_cancelling_after_the_last_step_does_not_decode(paint, painter, catalog, ids):
    phases = []
    on_progress, cancelled = after(4)
    with Calls(painter, catalog.get(ids["xl"])) as counts, pytest.raises(Cancelled):
        paint("xl", steps=4, on_progress=lambda p: (phases.append(p.phase), on_progress(p)), cancelled=cancelled)
    assert counts["unet"] == 4
    assert counts["decoder"] == 0
    assert "decoding" not in phases


def test_cancelling_a_painting_with_a_lora_leaves_the_model_as_it_was(paint, ids):
    before = paint().images[0]
    on_progress, cancelled = after(1)
    with pytest.raises(Cancelled):
        paint(loras=((ids["style"], 1.0),), on_progress=on_progress, cancelled=cancelled)
    np.testing.assert_array_equal(paint().images[0], before)


def test_an_error_in_the_listener_leaves_the_model_as_it_was(paint):
    before = paint(seamless_x=True).images[0], paint().images[0]

    def broken(progress) -> None:
        if progress.step == 2:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        paint(seamless_x=True, on_progress=broken)
    np.testing.assert_array_equal(paint(seamless_x=True).images[0], before[0])
    np.testing.assert_array_equal(paint().images[0], before[1])
