"""The same words and the same pictures are encoded once, and what is painted is the same to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from server.engine import annotating, remembering
from server.engine.annotating import Annotator
from server.engine.catalog import Catalog
from server.engine.detectors import AnnotateRequest
from server.engine.diffusion import Painter
from server.engine.painting import ControlInput, PaintRequest
from server.engine.remembering import Seen
from tests import tiny_models, tiny_transformers

MAPS = [np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8) for n in range(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("remembering")
    tiny_models.sd(folder / "sd", seed=0, attention_first=True)
    for number, control in enumerate(("depth", "canny")):
        tiny_models.controlnet(folder / "sd", folder / f"sd-controlnet-{control}", seed=10 + number)
    tiny_models.t2i_adapter(folder / "sd-t2i-scribble", adapter_type="full_adapter", seed=44)
    tiny_models.lora(folder / "sd", folder / "style.safetensors", seed=20)
    return folder


@pytest.fixture
def painter(folder) -> Painter:
    return Painter(Catalog([folder], starter=None), "cpu")


def ids(painter: Painter) -> dict[str, str]:
    return {info.name: info.id for info in painter.catalog.models()}


def paint(painter: Painter, **wanted: Any) -> np.ndarray:
    words = {"prompt": "a red brick wall", "seed": 7, "steps": 4, "guidance_scale": 5.0, "width": 64, "height": 64}
    return painter.paint(PaintRequest(**{**words, **wanted})).images[0]


@contextmanager
def counted(*modules: torch.nn.Module) -> Iterator[list[int]]:
    """How often a layer that lies within what remembers was called."""
    calls: list[int] = []
    handles = [module.register_forward_pre_hook(lambda *_: calls.append(1)) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be remembered."""
    monkeypatch.setattr(Seen, "get_or_make", lambda self, about, picture, make: make())
    monkeypatch.setattr(remembering.Remembered, "get_or_make", lambda self, key, make: make())


def net(painter: Painter, name: str) -> torch.nn.Module:
    return painter.loader.controlnet(painter.catalog.get(ids(painter)[name])).net


def asked() -> list[dict[str, Any]]:
    depth, canny, scribble = (ControlInput(kind, MAPS[0], weight=0.8) for kind in ("depth", "canny", "scribble"))
    image = np.random.default_rng(9).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:64] = 255
    return [
        {"controls": (depth,)},
        {"controls": (depth,), "seed": 8, "prompt": "moss"},
        {"controls": (depth,), "seamless_x": True},
        {"controls": (depth, canny)},
        {"controls": (depth, ControlInput("depth", MAPS[1]))},
        {"controls": (scribble,), "batch": 2},
        {"controls": (scribble,), "seamless_y": True},
        {"controls": (depth,), "width": 128, "tile": 64},
        {"controls": (depth,), "guidance_scale": 1.0},
        *(
            {"image": image, "width": None, "height": None, "denoising_strength": 0.7, **more}
            for more in ({}, {"seed": 9}, {"mask": mask}, {"mask": mask, "controls": (depth,)}, {"batch": 2})
        ),
    ]


def test_everything_is_to_the_bit_what_is_painted_without_remembering(painter, folder, monkeypatch):
    warm = [[paint(painter, **wanted) for wanted in asked()] for _ in range(2)]
    with monkeypatch.context() as context:
        never(context)
        forgetful = Painter(Catalog([folder], starter=None), "cpu")
        cold = [paint(forgetful, **wanted) for wanted in asked()]
    for one, again, expected in zip(*warm, cold, strict=True):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(again, expected)


def test_a_control_image_is_looked_at_once_for_all_steps_and_paintings(painter):
    depth = ControlInput("depth", MAPS[0])
    embedding = net(painter, "sd-controlnet-depth").controlnet_cond_embedding
    with counted(embedding.conv_in) as calls:
        for wanted in ({"seed": 1}, {"seed": 2, "prompt": "moss"}, {"seed": 3, "steps": 2}):
            paint(painter, controls=(depth,), **wanted)
        assert len(calls) == 1
        paint(painter, controls=(ControlInput("depth", MAPS[1]),))
        paint(painter, controls=(depth,), seamless_x=True)  # its convolutions wrap, so it sees something else
        assert len(calls) == 3
        paint(painter, controls=(depth,))
        assert len(calls) == 3
    assert "forward" not in vars(embedding)


def test_an_adapter_and_the_autoencoder_look_at_the_same_picture_once(painter):
    image = MAPS[2]
    adapter = net(painter, "sd-t2i-scribble")
    vae = painter.loader.checkpoint(painter.catalog.default()).parts["vae"]
    with counted(adapter.adapter.conv_in, vae.encoder.conv_in) as calls:
        for seed in (1, 2):
            paint(painter, controls=(ControlInput("scribble", MAPS[0]),), seed=seed)
        assert len(calls) == 1
        for seed in (1, 2):
            paint(painter, image=image, width=None, height=None, denoising_strength=0.5, seed=seed)
        assert len(calls) == 2


@pytest.mark.parametrize("family", tiny_transformers.FAMILIES)
def test_every_family_encodes_a_control_image_once_and_paints_the_same(family, tmp_path, monkeypatch):
    tiny_transformers.build(tmp_path, family)
    wanted = {"controls": (ControlInput("depth", MAPS[0]),), "model": None, "guidance_scale": None}
    with monkeypatch.context() as context:
        never(context)
        cold = paint(Painter(Catalog([tmp_path], starter=None), "cpu"), **wanted)
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    vae = painter.loader.checkpoint(painter.catalog.default()).parts["vae"]
    with counted(vae.encoder.conv_in) as calls:
        for _ in range(2):
            np.testing.assert_array_equal(paint(painter, **wanted), cold)
    assert len(calls) == 1


def test_the_same_words_are_encoded_once_and_others_are_not_taken_for_them(painter):
    loras = ((ids(painter)["style"], 1.0),)
    encoder = painter.loader.checkpoint(painter.catalog.default()).parts["text_encoder"]
    with counted(encoder) as calls:
        first = paint(painter)
        once = len(calls)
        assert once > 0
        np.testing.assert_array_equal(paint(painter), first)
        assert (paint(painter, seed=8) != first).any()
        assert len(calls) == once
        for wanted in ({"prompt": "moss"}, {"clip_skip": 1}, {"loras": loras}, {"loras": ((loras[0][0], 0.5),)}):
            before = len(calls)
            assert (paint(painter, **wanted) != first).any()
            assert len(calls) > before
        np.testing.assert_array_equal(paint(painter), first)


def test_what_was_seen_is_forgotten_with_the_memory_that_it_takes(painter, monkeypatch):
    depth = ControlInput("depth", MAPS[0])
    embedding = net(painter, "sd-controlnet-depth").controlnet_cond_embedding
    with counted(embedding.conv_in) as calls:
        paint(painter, controls=(depth,))
        painter.loader.forget(keep=tuple(painter.loader.loaded()))
        paint(painter, controls=(depth,))
        assert len(calls) == 2
        monkeypatch.setattr(remembering, "MOST_BYTES", 1)
        other = ControlInput("depth", MAPS[1])
        for control in (depth, other, depth):  # the newest alone is kept
            paint(painter, controls=(control,))
        assert len(calls) == 4


def test_a_picture_that_was_written_over_or_lies_otherwise_in_memory_is_another_one():
    seen, made = Seen(), []

    def make() -> int:
        made.append(1)
        return len(made)

    picture = torch.arange(12.0).reshape(1, 3, 2, 2)
    assert [seen.get_or_make("x", picture, make) for _ in range(2)] == [1, 1]
    assert seen.get_or_make("x", picture.clone(), make) == 1
    assert seen.get_or_make("y", picture, make) == 2
    assert seen.get_or_make("x", picture.to(memory_format=torch.channels_last), make) == 3
    assert seen.get_or_make("x", picture.double(), make) == 4
    assert seen.get_or_make("x", picture, make) == 1
    picture[0, 0, 0, 0] = 5
    assert seen.get_or_make("x", picture, make) == 5


def test_a_picture_is_annotated_once_by_each_way_of_looking(monkeypatch, tmp_path):
    annotator, calls = Annotator([tmp_path], torch.device("cpu")), []
    read: Callable[..., Any] = annotating._plain
    monkeypatch.setattr(annotating, "_plain", lambda *asked: calls.append(1) or read(*asked))
    request = AnnotateRequest(MAPS[0], "canny", low=50, high=100)
    first = annotator.annotate(request).control.copy()
    for _ in range(2):
        np.testing.assert_array_equal(
            annotator.annotate(AnnotateRequest(MAPS[0].copy(), "canny", low=50, high=100)).control, first
        )
    assert len(calls) == 1
    with pytest.raises(ValueError, match="read-only"):
        annotator.annotate(request).control[0] = 0
    annotator.annotate(AnnotateRequest(MAPS[0], "canny", low=10, high=20))
    annotator.annotate(AnnotateRequest(MAPS[1], "canny", low=50, high=100))
    annotator.annotate(AnnotateRequest(MAPS[0], "lineart_standard"))
    annotator.annotate(AnnotateRequest(MAPS[0], "canny", resolution=32, low=50, high=100))
    assert len(calls) == 5
    annotator.free()
    annotator.annotate(request)
    assert len(calls) == 6
