"""The weights that ship: plain diffusers loads them; they paint the colour and follow the maps that they are given."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from server.engine.catalog import STARTER, Catalog
from server.starter import measures
from server.starter.export import GUIDANCE
from server.starter.judge import Judge
from server.starter.measures import Measure
from server.starter.pipelines import Pipelines
from server.starter.words import COLORS, MATERIALS

STEPS = 12


@pytest.fixture(scope="module")
def pipeline():
    found = StableDiffusionPipeline.from_pretrained(STARTER, torch_dtype=torch.float32, safety_checker=None)
    found.set_progress_bar_config(disable=True)
    return found


def nearest_color(picture: np.ndarray) -> str:
    """The colour word whose hue lies nearest to the picture's mean colour, lightness left aside."""
    mean = picture.reshape(-1, 3).mean(axis=0) / 255
    directions = {name: _chroma(np.array(rgb)) for name, rgb in COLORS.items() if np.ptp(rgb) > 0.3}
    return max(directions, key=lambda name: float(directions[name] @ _chroma(mean)))


def _chroma(rgb: np.ndarray) -> np.ndarray:
    centred = rgb - rgb.mean()
    return centred / np.linalg.norm(centred)


@pytest.mark.parametrize(
    ("prompt", "allowed"),
    [
        ("red brick wall", {"red"}),
        ("blue tiles", {"blue"}),
        ("green moss", {"green"}),
        ("gold", {"yellow", "orange"}),
        ("purple fabric", {"purple"}),
    ],
)
def test_the_colour_that_is_named_is_painted(pipeline, prompt, allowed):
    generator = torch.Generator().manual_seed(11)
    asked = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "np"}
    picture = pipeline(prompt, generator=generator, **asked)
    assert nearest_color(np.asarray(picture.images[0]) * 255) in allowed


@pytest.fixture(scope="module")
def pipelines() -> Pipelines:
    return Pipelines(STARTER, "cpu", STEPS, guidance_scale=GUIDANCE)


def test_the_material_that_is_named_is_painted(pipelines: Pipelines) -> None:
    names = ["brick", "grass", "lava", "marble", "gold", "water", "stripes", "wood planks"]
    found, _ = Judge.load().name(pipelines.paint(names, range(8), 256))
    right = [MATERIALS[index] == name for index, name in zip(found.tolist(), names, strict=True)]
    assert sum(right) >= 6, dict(zip(names, right, strict=True))


@pytest.mark.parametrize("kind", ["depth", "normal"])
def test_the_painted_silhouette_is_the_one_that_was_asked_for(pipelines: Pipelines, kind: str) -> None:
    found = measures.silhouettes(pipelines, Judge.load(), kind, 8, 256, 70_000)
    assert found.shuffled is not None
    assert found.value > max(0.75, found.shuffled + 0.3), found


def test_words_alone_paint_the_silhouette_of_the_solid_that_they_name(pipelines: Pipelines) -> None:
    found = measures.named_solids(pipelines, Judge.load(), 8, 256, 70_000)
    assert found.shuffled is not None
    assert found.value > max(0.7, found.shuffled + 0.1), found


def test_words_alone_paint_people_who_do_what_they_say(pipelines: Pipelines) -> None:
    found = measures.named_actions(pipelines, Judge.load(), 8, 256, 70_000)
    assert found.shuffled is not None
    assert found.value > max(0.6, found.shuffled + 0.3), found


def test_most_painted_limbs_are_where_their_pose_has_them(pipelines: Pipelines) -> None:
    found: Measure = measures.limbs(pipelines, Judge.load(), 8, 256, 70_000)
    assert found.shuffled is not None
    assert found.value > max(0.45, found.shuffled + 0.3), found


def test_it_is_the_default_model_and_small_enough_to_ship():
    catalog = Catalog([])
    assert catalog.default().starter
    assert catalog.default().native_size == 256
    assert sum(file.stat().st_size for file in STARTER.rglob("*") if file.is_file()) < 64 << 20
