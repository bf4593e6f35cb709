"""Control maps from pictures: each detector by its name, exact data beside the drawing, and what lacks is said."""

import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    MarigoldDepthPipeline,
    MarigoldIntrinsicsPipeline,
    MarigoldNormalsPipeline,
    UNet2DConditionModel,
)
from transformers import (
    AutoImageProcessor,
    CLIPTextModel,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    SamConfig,
    SamImageProcessorPil,
    SamModel,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
    ZoeDepthImageProcessorPil,
)

from server.engine import detectors, materials, relief, torus
from server.engine.annotating import Annotator
from server.engine.annotators import segments
from server.engine.annotators.borrowed import AuxDetector
from server.engine.annotators.segments import Segments, coloured
from server.engine.catalog import Catalog
from server.engine.detectors import BY_ID, DETECTORS, AnnotateRequest
from server.engine.errors import Cancelled, EngineError, InvalidRequest, RefusedModel, UnknownModel, UnreadableModel
from tests import tiny_models

STAGES = ["stage1", "stage2", "stage3", "stage4"]
CPU = torch.device("cpu")
PLAIN = [one.id for one in DETECTORS if one.source == "plain"]


def tiny_depth_models(folder):
    """Depth Anything, DPT and ZoeDepth in their own architectures, with a few thousand random weights."""
    torch.manual_seed(0)
    backbone = {
        "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2,
        "image_size": 56, "patch_size": 14, "out_features": STAGES, "reshape_hidden_states": False,
    }  # fmt: skip
    anything = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=8,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(anything).save_pretrained(folder / "anything")
    resize = {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
    DPTImageProcessorPil(**resize).save_pretrained(folder / "anything")
    dpt = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    DPTForDepthEstimation(dpt).save_pretrained(folder / "dpt")
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "dpt")
    beit = {
        "model_type": "beit", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
        "intermediate_size": 32, "image_size": 32, "patch_size": 16, "out_features": STAGES,
        "reshape_hidden_states": False, "use_relative_position_bias": True,
    }  # fmt: skip
    zoe = ZoeDepthConfig(
        backbone_config=beit, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, bottleneck_features=8,
        num_relative_features=8, readout_type="project", reassemble_factors=[4, 2, 1, 0.5], bin_embedding_dim=16,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip
    ZoeDepthForDepthEstimation(zoe).save_pretrained(folder / "zoe")
    ZoeDepthImageProcessorPil(size={"height": 32, "width": 32}, do_pad=False).save_pretrained(folder / "zoe")


def tiny_sam(folder):
    """Segment Anything in its own architecture, for pictures of 64²."""
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 16, "image_size": 64,
            "patch_size": 16, "output_channels": 16, "window_size": 2, "global_attn_indexes": [1], "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16, "image_embedding_size": 4},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    SamModel(config).save_pretrained(folder / "sam")
    processor = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    processor.save_pretrained(folder / "sam")
    file = folder / "sam" / "preprocessor_config.json"  # with the name that the published ones have
    file.write_text(file.read_text().replace("SamImageProcessorPil", "SamImageProcessor"))


def tiny_marigold(folder):
    """Its three pipelines in their own architecture."""
    scheduler = DDIMScheduler(
        **tiny_models.SD_BETAS, prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", clip_sample=False, steps_offset=1,
    )  # fmt: skip
    material = {"prediction_space": "stack", "sub_target_names": ["roughness", "metallicity", None]}
    properties = {
        "target_names": ["albedo", "material"], "albedo": {"prediction_space": "srgb"}, "material": material,
        "roughness": {"prediction_space": "linear"}, "metallicity": {"prediction_space": "linear"},
    }  # fmt: skip
    for cls, targets, options in (
        (MarigoldDepthPipeline, 1, {"prediction_type": "depth", "scale_invariant": True, "shift_invariant": True}),
        (MarigoldNormalsPipeline, 1, {"prediction_type": "normals"}),
        (MarigoldIntrinsicsPipeline, 2, {"prediction_type": "intrinsics", "target_properties": properties}),
    ):
        torch.manual_seed(targets)
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4 * (1 + targets), out_channels=4 * targets, block_out_channels=(16, 32),
            layers_per_block=1, norm_num_groups=4, cross_attention_dim=24, attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        cls(
            unet, tiny_models.vae(4, 0.18215), scheduler, CLIPTextModel(tiny_models.text_config(24)),
            tiny_models.tokenizer(), default_denoising_steps=1, default_processing_resolution=64, **options,
        ).save_pretrained(folder / cls.__name__)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("detectors")
    tiny_depth_models(place)
    tiny_marigold(place)
    tiny_sam(place)
    return place


@pytest.fixture(scope="module")
def annotator(folder):
    return Annotator([folder], CPU)


@pytest.fixture(scope="module")
def photograph():
    """A bright disc with a dark rim on a grey ground with some colour, (72, 96, 3)."""
    y, x = np.mgrid[:72, :96]
    distance = np.hypot(x - 48, y - 36)
    picture = np.stack([100 + x, 120 + 0 * x, 200 - y], -1)
    picture[distance < 24] = (240, 230, 200)
    picture[np.abs(distance - 24) < 2] = 10
    return picture.astype(np.uint8)


@pytest.mark.parametrize("name", PLAIN)
def test_a_detector_without_weights_draws_at_the_pictures_size(annotator, photograph, name):
    made = annotator.annotate(AnnotateRequest(photograph, name))
    assert made.control.shape == photograph.shape
    assert made.control.dtype == np.uint8
    assert made.exact == {}
    assert made.control.std() > 5
    small = annotator.annotate(AnnotateRequest(np.dstack([photograph, photograph[..., 0]]), name, resolution=48))
    assert small.control.shape == photograph.shape


@pytest.mark.parametrize("name", ["canny", "lineart_standard", "scribble", "softedge"])
def test_lines_are_white_where_the_pictures_rim_is_and_black_on_the_ground(annotator, photograph, name):
    control = annotator.annotate(AnnotateRequest(photograph, name)).control[..., 0]
    y, x = np.mgrid[:72, :96]
    distance = np.hypot(x - 48, y - 36)
    near = control[np.abs(distance - 24) < 4]
    assert near.max() > 120
    assert control[(distance < 15) | (distance > 34)].mean() < 12 < near.mean()


def test_cannys_edges_are_thin_and_follow_the_thresholds(annotator):
    step = np.zeros((40, 40, 3), np.uint8)
    step[:, 20:] = 40
    edges = annotator.annotate(AnnotateRequest(step, "canny", low=20, high=60)).control[..., 0]
    assert (np.count_nonzero(edges, axis=1) == 1).all()
    assert not annotator.annotate(AnnotateRequest(step, "canny", low=100, high=250)).control.any()
    with pytest.raises(InvalidRequest, match="low_threshold"):
        annotator.annotate(AnnotateRequest(step, "canny", low=200, high=100))


def test_a_weak_edge_stays_where_a_strong_one_continues_it(annotator):
    step = np.zeros((40, 60, 3), np.uint8)
    step[20:] = np.linspace(120, 40, 60).astype(np.uint8)[:, None]
    both = annotator.annotate(AnnotateRequest(step, "canny", low=60, high=300)).control[..., 0]
    assert both[18:22, 5].any()
    assert both[18:22, 55].any()  # it is weaker than 300, and hangs together with what is stronger


def test_shuffling_keeps_the_colours_and_the_seed(annotator, photograph):
    one, same, other = (
        annotator.annotate(AnnotateRequest(photograph, "shuffle", seed=seed)).control for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert np.abs(one.mean((0, 1)) - photograph.mean((0, 1))).max() < 60


@pytest.mark.parametrize(
    ("name", "kind"),
    [("depth_anything", "relative"), ("dpt", "relative"), ("zoedepth", "metric"), ("marigold_depth", "metric")],
)
def test_depth_stays_float_at_the_pictures_size_and_near_is_white(annotator, photograph, name, kind):
    made = annotator.annotate(AnnotateRequest(photograph, name))
    depth = made.exact["depth"]
    assert (depth.shape, depth.dtype, made.depth_kind, made.kind) == ((72, 96), np.float32, kind, "depth")
    assert np.isfinite(depth).all()
    grey = made.control[..., 0].astype(float)
    sign = 1 if kind == "relative" else -1
    assert grey.ravel()[depth.argmax()] == (255 if sign > 0 else 0)
    again, said = annotator.depth(photograph, name)
    np.testing.assert_array_equal(again, depth)
    assert said == kind


def test_the_best_depth_that_is_there_is_taken(annotator, photograph, tmp_path):
    np.testing.assert_array_equal(annotator.depth(photograph)[0], annotator.depth(photograph, "depth_anything")[0])
    with pytest.raises(UnknownModel, match="depth-anything/Depth-Anything-V2"):
        Annotator([tmp_path], CPU).depth(photograph)
    with pytest.raises(InvalidRequest, match="no depth"):
        annotator.depth(photograph, "canny")


def test_normals_by_marigold_are_unit_and_drawn(annotator, photograph):
    made = annotator.annotate(AnnotateRequest(photograph, "marigold_normals"))
    normal = made.exact["normal"]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(made.control, relief.encoded(normal))


def test_marigold_reads_a_material_that_tiles_where_the_picture_does(annotator):
    rng = np.random.default_rng(0)
    picture = torus.blur(rng.random((64, 64, 3)).astype(np.float32), 2, (True, True))
    read = annotator.estimates(picture, (True, True))
    assert set(read.by) == {"normal", "albedo", "roughness", "metallic", "height"}
    material = materials.of_picture(picture, (True, True), estimates=read)
    assert all("Marigold" in material.sources[name] for name in read.by)
    rolled = annotator.estimates(np.roll(picture, (16, 32), (0, 1)), (True, True), "marigold_normals")
    # The noise that it starts from is not rolled: what it tells differs, and goes on across the edge all the same.
    assert torus.continues(rolled.normal) == torus.continues(read.normal)
    assert annotator.estimates(picture, (True, True), "analysis").by == {}
    with pytest.raises(UnknownModel, match="analysis"):
        annotator.estimates(picture, (True, True), "magic")


def test_models_that_read_are_listed_and_are_no_models_that_paint(folder, tmp_path):
    here = {one["id"]: one for one in detectors.detectors([folder])}
    assert all(here[name]["available"] for name in ("dpt", "zoedepth", "depth_anything", "marigold_normals", *PLAIN))
    nowhere = {one["id"]: one for one in detectors.detectors([tmp_path])}
    assert not nowhere["dpt"]["available"]
    assert "Intel/dpt-large" in nowhere["dpt"]["remedy"]
    assert len(here) == len(DETECTORS)
    assert {one["kind"] for one in here.values()} == {"detector"}
    assert [one["id"] for one in detectors.estimators([folder]) if one["available"]] == [
        "analysis", "marigold_normals", "marigold_intrinsics", "marigold_depth",
    ]  # fmt: skip
    catalog = Catalog([folder], starter=None)
    assert (catalog.models(), catalog.refused()) == ([], [])


def test_what_a_detector_lacks_is_said_with_what_to_do(tmp_path, photograph):
    annotator = Annotator([tmp_path], CPU)
    for one in DETECTORS:
        lack = detectors.lacking(one, [tmp_path], {})
        if one.source != "plain" and lack:
            with pytest.raises(EngineError) as raised:
                annotator.annotate(AnnotateRequest(photograph, one.id))
            assert raised.value.remedy == lack
    with pytest.raises(UnknownModel, match="canny"):
        annotator.annotate(AnnotateRequest(photograph, "cany"))


def test_files_for_controlnet_aux_are_found_and_not_taken_for_models(tmp_path):
    (tmp_path / "annotators").mkdir()
    (tmp_path / "annotators" / "ControlNetHED.pth").write_bytes(b"weights")
    assert detectors.weight_file("ControlNetHED.pth", [tmp_path]).parent == tmp_path / "annotators"
    assert Catalog([tmp_path], starter=None).refused() == []


def test_a_broken_model_is_an_error_and_the_next_one_goes_on(folder, photograph, tmp_path):
    shutil.copytree(folder / "dpt", tmp_path / "dpt")
    (tmp_path / "dpt" / "model.safetensors").write_bytes(b"not weights")
    broken = Annotator([tmp_path], CPU)
    with pytest.raises(RefusedModel, match="sound safetensors"):
        broken.annotate(AnnotateRequest(photograph, "dpt"))
    assert broken.annotate(AnnotateRequest(photograph, "canny")).control.any()


def test_a_cancelled_reading_stops(annotator, photograph):
    with pytest.raises(Cancelled):
        annotator.annotate(AnnotateRequest(photograph, "marigold_depth"), cancelled=lambda: True)


def test_a_kind_of_map_takes_the_best_that_is_there_and_says_which(tmp_path):
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    annotator = Annotator([tmp_path], CPU)
    edges = annotator.annotate(AnnotateRequest(picture, "edges"))
    assert (edges.detector, edges.kind) == ("canny", "canny")
    for kind, first in {"depth": "Depth-Anything-V2", "normal": "marigold-normals"}.items():
        with pytest.raises(UnknownModel) as problem:
            annotator.annotate(AnnotateRequest(picture, kind))
        assert first in problem.value.remedy
    tiny_depth_models(tmp_path)
    assert annotator.annotate(AnnotateRequest(picture, "depth")).detector == "depth_anything"
    shutil.rmtree(tmp_path / "anything")
    found = annotator.annotate(AnnotateRequest(picture, "depth"))
    assert (found.detector, found.kind) == ("zoedepth", "depth")


def test_segments_are_numbers_and_colours_that_tell_them_apart(annotator, folder, photograph):
    made = annotator.annotate(AnnotateRequest(photograph, "segment"))
    assert (made.kind, made.control.shape) == ("segmentation", photograph.shape)
    assert made.exact["segments"].shape == photograph.shape[:2]
    numbers = Segments(folder / "sam", CPU)(photograph, lambda: False, least_sure=-9.0, least_stable=0.0)
    assert numbers.shape == photograph.shape[:2]
    assert numbers.max() >= 1  # random weights are sure of nothing: here everything is kept
    colours = coloured(numbers)
    pairs = {
        (int(number), tuple(colour)) for number, colour in zip(numbers.ravel(), colours.reshape(-1, 3), strict=True)
    }
    assert len(pairs) == len({number for number, _ in pairs}) == len({colour for _, colour in pairs})
    with pytest.raises(Cancelled):
        Segments(folder / "sam", CPU)(photograph, lambda: True)


def test_a_segments_picture_lies_where_transformers_lays_it(folder, photograph):
    logits = torch.randn((1, 1, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    processor = AutoImageProcessor.from_pretrained(folder / "sam")
    inputs = processor(images=photograph, return_tensors="pt")
    inner = tuple(int(side) for side in inputs["reshaped_input_sizes"][0])
    (theirs,) = processor.post_process_masks(
        logits, inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )
    for one, expected in zip(logits[0, 0], theirs[0], strict=True):
        ours = segments._enlarged(one, inputs["pixel_values"].shape[-1], inner, photograph.shape[:2])
        torch.testing.assert_close(ours, expected)


def test_of_masks_that_are_alike_the_surest_is_kept_and_the_smaller_lie_above():
    masks = np.zeros((4, 10, 10), bool)
    masks[0, 1:9, 1:9] = masks[1, 1:9, 1:8] = masks[2, 3:5, 3:5] = masks[3, 9, 9] = True
    kept = segments.distinct(masks, np.array([0.9, 0.95, 0.89, 0.99]))
    assert kept == [3, 1, 2]
    numbers = segments.laid(masks[kept])
    assert (numbers[4, 4], numbers[6, 6], numbers[9, 9], numbers[0, 0]) == (2, 1, 3, 0)
    assert numbers[6, 8] == 0  # only in the one that was left out


def test_a_torchvision_for_another_torch_is_told_as_what_it_is(tmp_path, monkeypatch):
    broken = tmp_path / "controlnet_aux"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnreadableModel, match="torchvision::nms") as raised:
        AuxDetector(BY_ID["midas"], [tmp_path], CPU)
    assert "torchvision that belongs to torch" in raised.value.remedy
