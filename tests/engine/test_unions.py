"""A ControlNet-Union stands in for the ControlNets of SDXL or Flux, and paints what diffusers paints with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetUnionModel,
    FluxControlNetModel,
    FluxControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
)
from PIL import Image

from server.engine import probe
from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import InvalidRequest, UnknownModel
from server.engine.headers import Header
from server.engine.painting import ControlInput, PaintRequest
from server.engine.probe import describe_single_file
from tests import tiny_models, tiny_transformers

MAPS = [np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8) for n in range(2)]
MASK = np.zeros((64, 64), np.uint8)
MASK[16:48, 16:64] = 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unions")
    tiny_models.xl(folder / "xl", seed=3)
    tiny_models.controlnet(folder / "xl", folder / "xl-controlnet-normal", seed=11)
    tiny_models.union(folder / "xl", folder / "union", types=6, seed=30)
    return folder


@pytest.fixture(scope="module")
def painter(folder) -> Painter:
    return Painter(Catalog([folder], starter=None), "cpu")


@pytest.fixture
def paint(painter):
    def paint(**wanted):
        request = PaintRequest(**{"prompt": "a red brick wall", "seed": 7, "steps": 3, "guidance_scale": 5.0, **wanted})
        return painter.paint(request)

    return paint


def directly(folder: Path, modes: list[int], **arguments) -> np.ndarray:
    """What diffusers paints with the Union."""
    net = ControlNetUnionModel.from_pretrained(folder / "union")
    pipeline = tiny_models.aligned(
        StableDiffusionXLControlNetUnionPipeline.from_pretrained(folder / "xl", controlnet=net)
    )
    pipeline.set_progress_bar_config(disable=True)
    pictures = [Image.fromarray(one) for one in MAPS[: len(modes)]]
    painted = pipeline(
        "a red brick wall", control_image=pictures, control_mode=modes, num_inference_steps=3, guidance_scale=5.0,
        width=64, height=64, generator=torch.Generator().manual_seed(7), **arguments,
    )  # fmt: skip
    return np.asarray(painted.images[0])


def test_a_union_is_told_by_its_tensors_and_knows_the_kinds_it_was_trained_for(painter, folder, tmp_path):
    told = {info.name: info for info in painter.catalog.models()}
    union, checkpoint = told["union"], told["xl"]
    assert (union.kind, union.family, union.control_types, union.fits(checkpoint)) == ("controlnet", "sdxl", 6, True)
    assert "depth" in union.controls()
    assert "tile" not in union.controls()
    copied = tiny_models.copy(folder / "union", tmp_path / "published")
    config = copied / "config.json"
    config.write_text(config.read_text().replace("ControlNetUnionModel", "ControlNetModel"))
    (told_again,) = Catalog([tmp_path], starter=None).models()
    assert told_again.control_types == 6
    file = describe_single_file(
        Path("anything.safetensors"),
        Header({
            "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "task_embedding": (8, 320),
            "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
        }),
    )  # fmt: skip
    assert (file.family, file.control_types) == ("sdxl", 8)
    assert "tile" in file.controls()


def test_a_union_is_taken_for_each_kind_that_has_no_controlnet_of_its_own(painter):
    catalog = painter.catalog
    found = {kind: catalog.controlnet(kind, catalog.default()).name for kind in ("depth", "pose", "canny", "normal")}
    assert found == {"depth": "union", "pose": "union", "canny": "union", "normal": "xl-controlnet-normal"}
    with pytest.raises(UnknownModel, match="tile"):
        catalog.controlnet("tile", catalog.default())
    union = next(info.id for info in catalog.models() if info.name == "union")
    with pytest.raises(UnknownModel, match="knows no control of the kind 'tile'") as raised:
        catalog.follower(union, "tile")
    assert "depth" in raised.value.remedy


@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_one_control_is_bit_for_bit_what_diffusers_paints(paint, folder, weight):
    painting = paint(controls=(ControlInput("depth", MAPS[0], weight=weight),))
    np.testing.assert_array_equal(painting.images[0], directly(folder, [1], controlnet_conditioning_scale=weight))


def test_two_controls_of_one_union_are_seen_together_as_diffusers_does(paint, folder):
    controls = (ControlInput("depth", MAPS[0], weight=0.8), ControlInput("canny", MAPS[1], weight=0.4))
    painting = paint(controls=controls)
    np.testing.assert_array_equal(
        painting.images[0], directly(folder, [1, 3], controlnet_conditioning_scale=[0.8, 0.4])
    )
    assert len(set(painting.controlnets)) == 1
    assert (painting.images[0] != paint(controls=controls[:1]).images[0]).any()


def test_the_kind_tells_the_union_what_it_sees(paint):
    depth, pose = (paint(controls=(ControlInput(kind, MAPS[0]),)).images[0] for kind in ("depth", "pose"))
    assert (depth != pose).any()


def test_a_control_acts_in_its_part_of_the_steps_alone(paint):
    plain = paint().images[0]
    np.testing.assert_array_equal(paint(controls=(ControlInput("depth", MAPS[0], end=0.2),)).images[0], plain)
    depth = ControlInput("depth", MAPS[0])
    both = paint(controls=(depth, ControlInput("canny", MAPS[1], end=0.2))).images[0]
    np.testing.assert_array_equal(both, paint(controls=(depth,)).images[0])


@pytest.mark.parametrize("tile", [None, 64])
def test_a_union_goes_with_a_controlnet_pictures_masks_and_windows(paint, tile):
    image = np.random.default_rng(5).integers(0, 256, (64, 128, 3), np.uint8)
    mask = np.tile(MASK, (1, 2))
    controls = (ControlInput("normal", MAPS[0]), ControlInput("depth", MAPS[1]))
    painting = paint(image=image, denoising_strength=0.7, mask=mask, tile=tile, controls=controls)
    assert len(set(painting.controlnets)) == 2
    np.testing.assert_array_equal(painting.images[0][mask == 0], image[mask == 0])
    alone = paint(image=image, denoising_strength=0.7, mask=mask, tile=tile, controls=controls[:1])
    assert (painting.images[0] != alone.images[0]).any()


def test_a_union_makes_seamless_pictures_with_two_controls(paint):
    controls = (ControlInput("depth", MAPS[0]), ControlInput("canny", MAPS[1]))
    before = paint(controls=controls).images[0]
    assert (paint(controls=controls, seamless_x=True).images[0] != before).any()
    np.testing.assert_array_equal(paint(controls=controls).images[0], before)


def test_a_single_file_paints_what_the_folder_paints(paint, painter, folder, tmp_path, monkeypatch):
    # A file tells no more than that it is for SDXL: here SDXL is small.
    monkeypatch.setitem(probe._ORIGINAL_LAYOUT, 2048, painter.catalog.default().layout)
    tiny_models.copy(folder / "xl", tmp_path / "models" / "xl")
    (stored,) = (folder / "union").glob("*.safetensors")
    (tmp_path / "models" / "union.safetensors").write_bytes(stored.read_bytes())
    (tmp_path / "configs" / "sdxl").mkdir(parents=True)
    tiny_models.configurations(folder / "union", tmp_path / "configs" / "sdxl" / "controlnet")
    painter = Painter(Catalog([tmp_path / "models"], starter=None), "cpu")
    painter.loader.configs = tmp_path / "configs"
    info = next(info for info in painter.catalog.models() if info.name == "union")
    net = painter.loader.controlnet(info).net
    whole = ControlNetUnionModel.from_pretrained(folder / "union")
    assert type(net) is ControlNetUnionModel
    for (name, one), (other_name, other) in zip(net.named_parameters(), whole.named_parameters(), strict=True):
        assert name == other_name
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    controls = (ControlInput("depth", MAPS[0], weight=0.8), ControlInput("canny", MAPS[1], weight=0.4))
    request = PaintRequest("a red brick wall", seed=7, steps=3, guidance_scale=5.0, controls=controls)
    np.testing.assert_array_equal(painter.paint(request).images[0], paint(controls=controls).images[0])


@pytest.fixture(scope="module")
def flux(tmp_path_factory) -> Path:
    folder = tiny_transformers.build(tmp_path_factory.mktemp("flux"), "flux")
    tiny_transformers.flux_union(folder / "model", folder / "union", modes=5, seed=8)
    return folder


@pytest.fixture(scope="module")
def flux_painter(flux) -> Painter:
    return Painter(Catalog([flux], starter=None), "cpu")


def with_flux(painter: Painter, *controls: ControlInput, **wanted) -> np.ndarray:
    model = next(info.id for info in painter.catalog.models() if info.name == "model")
    about = {"seed": 7, "steps": 3, "width": 64, "height": 64, **wanted}
    return painter.paint(PaintRequest("a red wall", model=model, controls=controls, **about)).images[0]


def test_a_union_of_flux_knows_its_own_kinds_by_their_numbers(flux_painter):
    told = {info.name: info for info in flux_painter.catalog.models()}
    assert (told["union"].family, told["union"].control_types, told["union"].control) == ("flux", 5, None)
    assert set(told["union"].controls()) == {"canny", "tile", "depth", "pose"}
    catalog = flux_painter.catalog
    found = {kind: catalog.controlnet(kind, told["model"]).name for kind in ("depth", "canny", "pose", "tile")}
    assert found == {
        "depth": "model-controlnet-depth",
        "canny": "model-controlnet-canny",
        "pose": "union",
        "tile": "union",
    }
    with pytest.raises(UnknownModel, match="'normal'"):
        catalog.follower(told["union"].id, "normal")


@pytest.mark.parametrize(("kind", "mode"), [("canny", 0), ("depth", 2), ("pose", 4)])
def test_a_control_of_a_flux_union_is_bit_for_bit_what_diffusers_paints(flux, flux_painter, kind, mode):
    union = next(info.id for info in flux_painter.catalog.models() if info.name == "union")
    seen = with_flux(flux_painter, ControlInput(kind, MAPS[0], weight=0.7, model=union))
    pipeline = FluxControlNetPipeline.from_pretrained(
        flux / "model", controlnet=FluxControlNetModel.from_pretrained(flux / "union")
    )
    tiny_models.aligned(pipeline).set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7))
    painted = pipeline(
        "a red wall", control_image=Image.fromarray(MAPS[0]), control_mode=mode, controlnet_conditioning_scale=0.7,
        num_inference_steps=3, width=64, height=64, generator=torch.Generator().manual_seed(7), guidance_scale=3.5,
        latents=FluxControlNetPipeline._pack_latents(noise, 1, 4, 8, 8),
    )  # fmt: skip
    np.testing.assert_array_equal(seen, np.asarray(painted.images[0]))


def test_favored_controls_are_refused_where_guidance_has_no_half_without_words(flux_painter):
    with pytest.raises(InvalidRequest, match=r"favor_controls is on, and models of the family flux .*Turn it off"):
        with_flux(flux_painter, ControlInput("depth", MAPS[0]), favor_controls=True)


def test_a_flux_union_goes_with_itself_another_net_pictures_and_masks(flux_painter):
    told = {info.name: info.id for info in flux_painter.catalog.models()}
    pose, tile = (ControlInput(kind, MAPS[0], model=told["union"]) for kind in ("pose", "tile"))
    depth = ControlInput("depth", MAPS[1])
    plain = with_flux(flux_painter)
    painted = [
        with_flux(flux_painter, *controls)
        for controls in ((pose,), (tile,), (pose, tile), (pose, depth), (depth,), (pose, tile, depth))
    ]
    assert len({picture.tobytes() for picture in (plain, *painted)}) == 7
    image = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    masked = with_flux(
        flux_painter, pose, depth, image=image, mask=MASK, denoising_strength=0.7, width=None, height=None, batch=2
    )
    np.testing.assert_array_equal(masked[MASK == 0], image[MASK == 0])
    np.testing.assert_array_equal(with_flux(flux_painter), plain)
