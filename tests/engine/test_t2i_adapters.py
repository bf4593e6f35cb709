"""A T2I-Adapter follows a control where no ControlNet fits, and paints what diffusers paints with it."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import MultiAdapter, T2IAdapter, UNet2DConditionModel

from server.engine.catalog import Catalog
from server.engine.diffusion import Painter
from server.engine.errors import IncompatibleModels, InvalidRequest, RefusedModel, UnknownModel
from server.engine.headers import Header
from server.engine.painting import ControlInput, PaintRequest, RegionInput
from server.engine.probe import describe_single_file
from server.lists import choices
from tests import tiny_models

MAPS = [np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8) for n in range(2)]
NAMES = {"sd": "StableDiffusionAdapterPipeline", "xl": "StableDiffusionXLAdapterPipeline"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    tiny_models.sd(folder / "sd", seed=0, attention_first=True)
    tiny_models.xl(folder / "xl", seed=3)
    for number, control in enumerate(("depth", "canny")):
        tiny_models.t2i_adapter(folder / f"sd-t2i-{control}", adapter_type="full_adapter", seed=40 + number)
        tiny_models.t2i_adapter(folder / f"xl-t2i-{control}", adapter_type="full_adapter_xl", seed=42 + number)
    tiny_models.t2i_adapter(folder / "sd-t2i-scribble", adapter_type="full_adapter", seed=44, in_channels=1)
    tiny_models.controlnet(folder / "xl", folder / "xl-controlnet-canny", seed=11)
    return folder


@pytest.fixture(scope="module")
def painter(folder) -> Painter:
    return Painter(Catalog([folder], starter=None), "cpu")


@pytest.fixture(scope="module")
def ids(painter) -> dict[str, str]:
    return {info.name: info.id for info in painter.catalog.models()}


@pytest.fixture
def paint(painter, ids):
    def paint(model="sd", **wanted):
        words = {"prompt": "a red brick wall", "seed": 7, "steps": 3, "guidance_scale": 5.0}
        return painter.paint(PaintRequest(**{**words, "model": ids[model], **wanted}))

    return paint


def directly(folder: Path, model: str, controls: list[str], **arguments) -> np.ndarray:
    """What diffusers paints with the adapters."""
    adapters = [T2IAdapter.from_pretrained(folder / f"{model}-t2i-{control}") for control in controls]
    adapter = adapters[0] if len(adapters) == 1 else MultiAdapter(adapters)
    pipeline = tiny_models.aligned(getattr(diffusers, NAMES[model]).from_pretrained(folder / model, adapter=adapter))
    pipeline.set_progress_bar_config(disable=True)
    pictures = [torch.from_numpy(one.transpose(2, 0, 1))[None].float() / 255 for one in MAPS[: len(controls)]]
    image = pictures[0] if len(controls) == 1 else pictures
    painted = pipeline(
        "a red brick wall", image=image, num_inference_steps=3, guidance_scale=5.0, width=64, height=64,
        generator=torch.Generator().manual_seed(7), **arguments,
    )  # fmt: skip
    return np.asarray(painted.images[0])


def test_an_adapter_is_told_by_its_configuration_and_offered_where_no_controlnet_fits(painter, ids):
    catalog = painter.catalog
    told = {info.name: info for info in catalog.models()}
    sd, xl = told["sd"], told["xl"]
    adapter = told["xl-t2i-depth"]
    assert (adapter.kind, adapter.family, adapter.control) == ("t2i_adapter", "sdxl", "depth")
    assert (adapter.fits(xl), adapter.fits(sd)) == (True, False)
    assert catalog.controlnet("depth", sd).name == "sd-t2i-depth"
    assert catalog.controlnet("depth", xl).name == "xl-t2i-depth"
    assert catalog.controlnet("canny", xl).name == "xl-controlnet-canny"
    with pytest.raises(UnknownModel, match="no T2I-Adapter for 'pose'") as raised:
        catalog.controlnet("pose", sd)
    assert "canny, depth, scribble" in raised.value.remedy
    assert ids["sd-t2i-depth"] in {one["id"] for one in choices(catalog, "controlnets")}


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_words_with_one_adapter_are_bit_for_bit_what_diffusers_paints(paint, ids, folder, model):
    control = ControlInput("depth", MAPS[0], weight=0.7)
    painting = paint(model, controls=(control,))
    np.testing.assert_array_equal(
        painting.images[0], directly(folder, model, ["depth"], adapter_conditioning_scale=0.7)
    )
    assert painting.controlnets == [ids[f"{model}-t2i-depth"]]
    assert (painting.images[0] != paint(model).images[0]).any()


def test_two_adapters_paint_what_diffusers_paints_but_for_a_rounding(paint, folder):
    controls = (ControlInput("depth", MAPS[0], weight=0.75), ControlInput("canny", MAPS[1], weight=0.5))
    seen = directly(folder, "sd", ["depth", "canny"], adapter_conditioning_scale=[0.75, 0.5])
    np.testing.assert_allclose(paint(controls=controls).images[0].astype(int), seen, atol=1)


def test_an_adapter_leaves_nothing_behind_and_acts_in_its_part_of_the_steps_alone(paint):
    plain = paint().images[0]
    whole, half, none = (paint(controls=(ControlInput("depth", MAPS[0], end=end),)).images[0] for end in (1, 0.5, 0))
    assert (whole != half).any()
    assert (half != plain).any()
    np.testing.assert_array_equal(none, plain)
    np.testing.assert_array_equal(paint().images[0], plain)


def test_an_adapter_goes_with_a_controlnet_pictures_and_masks_and_a_batch(paint, ids):
    image = np.random.default_rng(5).integers(0, 256, (72, 104, 3), np.uint8)  # no multiple of the adapter's cells
    mask = np.zeros((72, 104), np.uint8)
    mask[16:48, 16:64] = 255
    controls = (ControlInput("depth", MAPS[0]), ControlInput("canny", MAPS[1]))
    asked = {"image": image, "mask": mask, "denoising_strength": 0.7, "batch": 2}
    painting = paint("xl", controls=controls, **asked)
    assert painting.controlnets == [ids["xl-t2i-depth"], ids["xl-controlnet-canny"]]
    for one in painting.images:
        np.testing.assert_array_equal(one[mask == 0], image[mask == 0])
    for alone in controls:
        assert (painting.images[0] != paint("xl", controls=(alone,), **asked).images[0]).any()


def test_an_adapter_acts_on_the_words_of_regions_too(paint):
    mask = np.full((64, 64), 255, np.uint8)
    regions = (RegionInput("moss", mask, weight=4.0),)
    plain, controlled = (
        paint(regions=regions, controls=controls).images[0] for controls in ((), (ControlInput("depth", MAPS[0]),))
    )
    assert (plain != controlled).any()


def test_an_adapter_of_one_channel_sees_grey(paint):
    grey = np.repeat(MAPS[0][..., :1], 3, axis=-1)
    painted = paint(controls=(ControlInput("scribble", grey),)).images[0]
    np.testing.assert_array_equal(painted, paint(controls=(ControlInput("scribble", grey[..., 0]),)).images[0])
    assert (painted != paint().images[0]).any()


def test_what_does_not_go_together_is_refused(paint, ids):
    control = ControlInput("depth", MAPS[0], model=ids["xl-t2i-depth"])
    with pytest.raises(IncompatibleModels, match="xl-t2i-depth"):
        paint("sd", controls=(control,))
    with pytest.raises(InvalidRequest, match="T2I-Adapter follows"):
        paint("xl", controls=(control,), tile=64, width=128, height=64)
    with pytest.raises(UnknownModel, match="not a controlnet"):
        paint("sd", controls=(ControlInput("depth", MAPS[0], model=ids["xl"]),))


@pytest.mark.parametrize("named", ["diffusers", "authors"])
@pytest.mark.parametrize(
    ("model", "kind", "channels"), [("sd", "full_adapter", 3), ("sd", "full_adapter", 1), ("xl", "full_adapter_xl", 3)]
)
def test_a_single_file_paints_what_its_folder_paints(folder, tmp_path, named, model, kind, channels):
    tiny_models.copy(folder / model, tmp_path / model)
    adapter = tmp_path / "t2i-canny"
    tiny_models.t2i_adapter(adapter, adapter_type=kind, seed=50, blocks=2, in_channels=channels)
    file = tmp_path / "t2iadapter_canny.safetensors"
    if named == "authors":
        tiny_models.original_t2i(adapter, file)
    else:
        (stored,) = adapter.glob("*.safetensors")
        file.write_bytes(stored.read_bytes())
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    told = {info.name: info for info in painter.catalog.models()}
    for field in ("kind", "family", "layout", "control", "input_channels"):
        assert getattr(told["t2iadapter_canny"], field) == getattr(told["t2i-canny"], field)
    pictures = []
    for name in ("t2i-canny", "t2iadapter_canny"):
        control = ControlInput("canny", MAPS[0], model=told[name].id)
        request = PaintRequest("brick", model=told[model].id, seed=7, steps=2, width=64, height=64, controls=(control,))
        pictures.append(painter.paint(request).images[0])
    np.testing.assert_array_equal(*pictures)
    plain = painter.paint(PaintRequest("brick", model=told[model].id, seed=7, steps=2, width=64, height=64))
    assert (pictures[0] != plain.images[0]).any()


def test_a_light_single_file_is_told_and_read_as_its_folder_is(tmp_path):
    adapter = tmp_path / "t2i-sketch"
    tiny_models.t2i_adapter(adapter, adapter_type="light_adapter", seed=51, blocks=4)
    tiny_models.original_t2i(adapter, tmp_path / "light_scribble.safetensors")
    painter = Painter(Catalog([tmp_path], starter=None), "cpu")
    one, other = (painter.loader.controlnet(info).net for info in painter.catalog.models())
    assert dict(one.config)["channels"] == dict(other.config)["channels"]
    for (name, tensor), (other_name, theirs) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert (name, tensor.shape) == (other_name, theirs.shape)
        assert torch.equal(tensor, theirs)


#: Some tensors of published files: (names and shapes, family, widths, grey or colours).
PUBLISHED = [
    ({"conv_in.weight": (320, 192, 3, 3), "body.0.block1.weight": (320, 320, 3, 3),
      "body.0.block2.weight": (320, 320, 1, 1),
      "body.2.in_conv.weight": (640, 320, 1, 1), "body.2.block1.weight": (640, 640, 3, 3),
      "body.4.in_conv.weight": (1280, 640, 1, 1), "body.4.block1.weight": (1280, 1280, 3, 3),
      "body.6.block1.weight": (1280, 1280, 3, 3)}, "sd15", (320, 640, 1280, 1280), 3),
    ({"adapter.conv_in.weight": (320, 768, 3, 3), "adapter.body.0.resnets.0.block1.weight": (320, 320, 3, 3),
      "adapter.body.0.resnets.0.block2.weight": (320, 320, 1, 1),
      "adapter.body.1.resnets.0.block1.weight": (640, 640, 3, 3), "adapter.body.1.in_conv.weight": (640, 320, 1, 1),
      "adapter.body.2.resnets.0.block1.weight": (1280, 1280, 3, 3),
      "adapter.body.3.resnets.0.block1.weight": (1280, 1280, 3, 3)}, "sdxl", (320, 640, 1280, 1280), 3),
    ({"conv_in.weight": (320, 64, 3, 3), "body.0.block1.weight": (320, 320, 3, 3),
      "body.0.block2.weight": (320, 320, 1, 1),
      "body.2.block1.weight": (640, 640, 3, 3)}, "sd15", (320, 640), 1),
]  # fmt: skip


@pytest.mark.parametrize(("shapes", "family", "widths", "channels"), PUBLISHED)
def test_published_single_files_are_told_by_their_tensors(shapes, family, widths, channels):
    told = describe_single_file(Path("t2i_depth.safetensors"), Header(shapes))
    assert (told.kind, told.family, told.control) == ("t2i_adapter", family, "depth")
    assert (told.layout, told.input_channels) == (widths, channels)


def test_a_single_file_that_diffusers_has_no_layers_for_is_refused():
    with pytest.raises(RefusedModel, match="shrink by convolutions"):
        describe_single_file(
            Path("t2i.safetensors"), Header({**PUBLISHED[0][0], "body.2.down_opt.op.weight": (320, 320, 3, 3)})
        )


def test_favored_adapters_speak_to_the_words_half_of_the_guidance_alone(monkeypatch, paint):
    heard, call = [], UNet2DConditionModel.forward

    def listening(self, *args, **kwargs):
        heard.extend(kwargs["down_intrablock_additional_residuals"])
        return call(self, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", listening)
    control = ControlInput("depth", MAPS[0])
    balanced = paint(controls=(control,)).images[0]
    assert all(level[0].any() for level in heard)
    heard.clear()
    favored = paint(controls=(control,), favor_controls=True).images[0]
    assert heard
    assert all(len(level) == 2 and not level[0].any() and level[1].any() for level in heard)
    assert (favored != balanced).any()
