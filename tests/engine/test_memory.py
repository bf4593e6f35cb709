"""Out of memory: cheaper ways one after the other, each reported, then an error that says what would fit."""

import gc
import weakref

import numpy as np
import pytest
import torch

from server.engine import memory
from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import OutOfMemory
from server.engine.painting import PaintRequest


@pytest.fixture
def own_painter(models):
    """A painter that nobody else uses."""
    return Painter(Catalog([models], starter=None), "cpu")


def by_name(painter: Painter, name: str):
    return next(info for info in painter.catalog.models() if info.name == name)


def parts(painter: Painter, name: str = "sd") -> dict:
    return painter.loader.checkpoint(by_name(painter, name)).parts


def fail(module: torch.nn.Module, times: int, error: type[Exception] = torch.OutOfMemoryError):
    """Let the module's next calls run out of memory."""
    left = [times]

    def run_out(*_: object) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99999999999 bytes")

    return module.register_forward_pre_hook(run_out)


def request(painter: Painter, **wanted) -> PaintRequest:
    return PaintRequest(**{"prompt": "brick", "steps": 3, "seed": 5, "model": by_name(painter, "sd").id, **wanted})


def test_a_decoder_that_runs_out_is_tried_again_in_tiles_without_sampling_again(own_painter):
    whole = own_painter.paint(request(own_painter, width=128, height=128)).images[0]
    calls = []
    unet, vae = parts(own_painter)["unet"], parts(own_painter)["vae"]
    handles = [unet.register_forward_hook(lambda *_: calls.append(1)), fail(vae.decoder, 1)]
    painting = own_painter.paint(request(own_painter, width=128, height=128))
    for handle in handles:
        handle.remove()
    assert painting.fallbacks == [memory.FALLBACKS["tiled"]]
    assert len(calls) == 4  # three steps of PNDM
    assert painting.images[0].shape == whole.shape
    assert not vae.use_tiling
    assert not vae.use_slicing
    np.testing.assert_array_equal(own_painter.paint(request(own_painter, width=128, height=128)).images[0], whole)


def test_other_models_are_unloaded_before_the_second_try(own_painter):
    parts(own_painter, "xl")
    assert len(own_painter.loader.loaded()) == 1
    handle = fail(parts(own_painter)["vae"].decoder, 1)
    own_painter.paint(request(own_painter))
    handle.remove()
    assert own_painter.loader.loaded() == [by_name(own_painter, "sd").id]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_denoiser_that_runs_out_twice_paints_with_its_parts_taking_turns(own_painter, error):
    plain = own_painter.paint(request(own_painter)).images[0]
    handle = fail(parts(own_painter)["unet"], 2, error)
    painting = own_painter.paint(request(own_painter))
    handle.remove()
    assert painting.fallbacks == [memory.FALLBACKS["tiled"], memory.FALLBACKS["offloaded"]]
    np.testing.assert_array_equal(painting.images[0], plain)  # small enough for one tile
    assert not any(hasattr(part, "_hf_hook") for part in parts(own_painter).values())
    np.testing.assert_array_equal(own_painter.paint(request(own_painter)).images[0], plain)


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_when_nothing_helps_the_error_says_what_would_fit_and_the_next_painting_works(own_painter, part):
    plain = own_painter.paint(request(own_painter)).images[0]
    module = parts(own_painter)[part]
    handle = fail(module.decoder if part == "vae" else module, 99)
    with pytest.raises(OutOfMemory, match=r"2 × 256 × 128 pixels.*About 128 × 64 would fit or a batch of 1"):
        own_painter.paint(request(own_painter, prompt="words that no cache holds", width=256, height=128, batch=2))
    handle.remove()
    painting = own_painter.paint(request(own_painter))
    assert painting.fallbacks == []
    np.testing.assert_array_equal(painting.images[0], plain)


def test_what_filled_the_memory_is_gone_before_the_next_try(own_painter):
    """The failed try's tensors hang on its traceback; a ladder that holds on to it climbs with full hands."""
    big, alive = [], []

    def hold(module: torch.nn.Module, args: tuple) -> None:
        if big:
            gc.collect()
            alive.append(big[0]() is not None)
            return
        tensor = torch.zeros(1000)
        big.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("no")

    handle = parts(own_painter)["unet"].register_forward_pre_hook(hold)
    own_painter.paint(request(own_painter))
    handle.remove()
    assert alive
    assert not any(alive)


def test_a_seamless_picture_in_tiles_still_tiles(own_painter):
    """Decoded in tiles, with a margin of the other side, its edges meet as well as its inside does."""
    vae = parts(own_painter)["vae"]
    whole = own_painter.paint(request(own_painter, width=256, height=64, seamless_x=True)).images[0].astype(int)
    handle = fail(vae.decoder, 1)
    tiles = own_painter.paint(request(own_painter, width=256, height=64, seamless_x=True)).images[0].astype(int)
    handle.remove()
    off = np.abs(whole - tiles).mean(axis=(0, 2))
    assert off[:16].mean() + off[-16:].mean() < 2.5 * off[16:-16].mean()


def test_another_error_is_no_reason_to_climb(own_painter):
    handle = parts(own_painter)["unet"].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("bug")))
    with pytest.raises(RuntimeError, match="bug"):
        own_painter.paint(request(own_painter))
    handle.remove()
