"""What the model folders hold is told without loading a tensor, and what could do harm is refused with a remedy."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from server.engine.catalog import Catalog
from server.engine.errors import UnknownModel
from server.engine.headers import Header
from server.engine.probe import describe_single_file
from tests import tiny_models

ORIGINAL = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 768),
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
}
ORIGINAL_XL = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
}


def described(shapes: dict, name: str = "model") -> object:
    return describe_single_file(Path(f"{name}.safetensors"), Header(shapes))


def test_each_model_is_told_by_its_header(catalog):
    told = {info.name: info for info in catalog.models()}
    assert (told["sd"].kind, told["sd"].family, told["sd"].latent_channels) == ("checkpoint", "sd15", 4)
    assert told["sd16"].latent_channels == told["sd16"].input_channels == 16
    assert told["xl"].family == "sdxl"
    assert told["sd"].native_size == 64
    assert told["sd"].tasks == ("text-to-image", "image-to-image", "inpaint")
    assert (told["inpaint"].tasks, told["inpaint"].input_channels) == (("inpaint",), 9)
    assert told["sd-controlnet-openpose"].control == "pose"
    assert told["xl-controlnet-depth"].fits(told["xl"])
    assert not told["sd-controlnet-depth"].fits(told["sd16"])
    assert (told["style"].kind, told["style"].family) == ("lora", "sd15")
    assert told["sd"].size_bytes > 1_000_000
    assert catalog.refused() == []


def test_ids_are_opaque_and_survive_a_restart(models, catalog):
    again = Catalog([models], starter=None)
    assert [info.id for info in again.models()] == [info.id for info in catalog.models()]
    assert all(len(info.id) == 16 and str(models) not in info.id for info in again.models())
    with pytest.raises(UnknownModel):
        catalog.get(str(models / "sd"))
    with pytest.raises(UnknownModel, match="is a lora and not a checkpoint"):
        catalog.get(next(info.id for info in catalog.models() if info.kind == "lora"), "checkpoint")


def test_the_starter_model_is_the_default_and_its_controlnets_lie_beside_or_within_it(models, tmp_path):
    starter = tiny_models.copy(models / "sd16", tmp_path / "weights")
    tiny_models.copy(models / "sd16-controlnet-depth", starter / "controlnet-depth")
    catalog = Catalog([models], starter=starter)
    assert catalog.default().starter
    assert catalog.default().latent_channels == 16
    assert catalog.controlnet("depth", catalog.default()).starter
    assert not Catalog([models], starter=tmp_path / "absent").default().starter


def test_a_checkpoint_that_can_only_inpaint_is_not_the_default(catalog):
    assert catalog.default().name == "sd"


def test_without_a_checkpoint_the_error_says_where_to_put_one(tmp_path):
    with pytest.raises(UnknownModel, match=str(tmp_path)):
        Catalog([tmp_path], starter=None).default()


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.pth", "lora.bin"])
def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    (refused,) = Catalog([tmp_path], starter=None).refused()
    assert refused.name == name
    assert "save_file" in refused.error.remedy
    assert refused.error.code == "refused_model"


def test_a_diffusers_folder_with_pickled_weights_is_refused(models, tmp_path):
    folder = tiny_models.copy(models / "sd", tmp_path / "sd")
    (stored,) = (folder / "unet").glob("*.safetensors")
    stored.rename(folder / "unet" / "diffusion_pytorch_model.bin")
    catalog = Catalog([tmp_path], starter=None)
    assert catalog.models() == []
    assert "pickle" in catalog.refused()[0].error.sentence


def test_a_diffusers_folder_that_brings_its_own_code_is_refused(models, tmp_path):
    folder = tiny_models.copy(models / "sd", tmp_path / "sd")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "unet": ["my_code", "MyUNet"]}))
    catalog = Catalog([tmp_path], starter=None)
    assert catalog.models() == []
    assert "my_code" in catalog.refused()[0].error.sentence


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("unet", "{}"), ("unet", "[]"), ("unet", "no json"), ("vae", '{"latent_channels": "many"}'), ("vae", "null"),
        (".", "[]"), (".", "no json"), (".", '{"_class_name": "StableDiffusionPipeline"}'), (".", "{}"),
    ],
)  # fmt: skip
def test_a_nonsensical_configuration_is_refused_and_the_others_are_listed(models, tmp_path, part, content):
    folder = tiny_models.copy(models / "sd", tmp_path / "sd")
    tiny_models.copy(models / "sd16-controlnet-depth", tmp_path / "net")
    (folder / part / ("model_index.json" if part == "." else "config.json")).write_text(content)
    catalog = Catalog([tmp_path], starter=None)
    assert [info.name for info in catalog.models()] == ["net"]
    assert catalog.refused()[0].name == "sd"


def test_a_link_to_nothing_is_refused_and_the_others_are_listed(models, tmp_path):
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere.safetensors")
    tiny_models.copy(models / "sd16-controlnet-depth", tmp_path / "net")
    assert [info.name for info in Catalog([tmp_path], starter=None).models()] == ["net"]


def test_a_link_that_leads_out_of_the_folders_is_refused_and_one_within_is_followed(models, tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    save_file({name: np.zeros(0, np.float16) for name in ("a",)}, outside / "secret.safetensors")
    tiny_models.copy(models / "sd", inside / "real")
    tiny_models.copy(models / "sd", outside / "sd")
    (inside / "secret.safetensors").symlink_to(outside / "secret.safetensors")
    (inside / "linked").symlink_to(outside / "sd")
    (inside / "ring").symlink_to(inside)
    catalog = Catalog([inside], starter=None)
    assert [info.name for info in catalog.models()] == ["real"]
    assert [refused.name for refused in catalog.refused()] == ["linked", "secret.safetensors"]
    assert "leads out" in catalog.refused()[0].error.sentence
    both = Catalog([inside, outside], starter=None)
    assert "linked" in [info.name for info in both.models()]


def test_a_link_within_a_model_that_leads_out_is_refused(models, tmp_path):
    folder = tiny_models.copy(models / "sd", tmp_path / "models" / "sd")
    outside = tmp_path / "outside.safetensors"
    (stored,) = (folder / "unet").glob("*.safetensors")
    stored.rename(outside)
    stored.symlink_to(outside)
    catalog = Catalog([tmp_path / "models"], starter=None)
    assert catalog.models() == []
    assert any("leads out" in refused.error.sentence for refused in catalog.refused())


def test_original_single_files_are_told_by_their_tensors():
    sd = described(ORIGINAL)
    assert (sd.kind, sd.family, sd.native_size, sd.tasks[0]) == ("checkpoint", "sd15", 512, "text-to-image")
    xl = described(ORIGINAL_XL)
    assert (xl.family, xl.native_size) == ("sdxl", 1024)
    inpaint = described({**ORIGINAL, "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)})
    assert (inpaint.tasks, inpaint.input_channels) == (("inpaint",), 9)


def test_single_file_controlnets_and_loras_fit_their_family():
    key = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    net = described({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), key: (640, 2048)}, "xl_canny_v2")
    assert (net.kind, net.control, net.fits(described(ORIGINAL_XL))) == ("controlnet", "canny", True)
    assert not net.fits(described(ORIGINAL))
    lora = described({"lora_unet_down_blocks_1_attentions_0_attn2_to_k.lora_down.weight": (8, 768)})
    assert lora.fits(described(ORIGINAL))
    assert described({"lora_te2_text_model.lora_down.weight": (8, 1280)}).fits(described(ORIGINAL_XL))


ORIGINAL_2 = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 1024),
    "cond_stage_model.model.ln_final.weight": (1024,),
}


def test_sd2_is_told_from_sd1_and_its_smaller_kind_by_name():
    large, small = described(ORIGINAL_2, "v2-1_768-ema-pruned"), described(ORIGINAL_2, "v2-1_512-ema-pruned")
    assert (large.family, large.native_size, small.native_size) == ("sd15", 768, 512)
    assert large.layout != described(ORIGINAL).layout
    key = "control_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    net = described({key: (640, 1024)}, "control_v11p_sd21_canny")
    assert net.fits(large)
    assert not net.fits(described(ORIGINAL))


#: A few tensors of real files, with the names that their authors gave them and those of diffusers.
TRANSFORMERS = [
    ("flux", 3072, {"double_blocks.0.img_attn.qkv.weight": (9216, 3072), "img_in.weight": (3072, 64),
                    "vector_in.in_layer.weight": (3072, 768)}),
    ("flux", 3072, {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": (9216, 3072),
                    "model.diffusion_model.img_in.weight": (3072, 64),
                    "model.diffusion_model.vector_in.in_layer.weight": (3072, 768)}),
    ("flux", 3072, {"single_transformer_blocks.0.norm.linear.weight": (9216, 3072), "x_embedder.weight": (3072, 64),
                    "time_text_embed.text_embedder.linear_1.weight": (3072, 768)}),
    ("sd3", 1536, {"model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight": (4608, 1536),
                   "model.diffusion_model.x_embedder.proj.weight": (1536, 16, 2, 2)}),
    ("sd3", 2432, {"transformer_blocks.0.norm1_context.linear.weight": (14592, 2432),
                   "pos_embed.proj.weight": (2432, 16, 2, 2)}),
    ("qwen-image", 3072, {"transformer_blocks.0.img_mod.1.weight": (18432, 3072), "img_in.weight": (3072, 64)}),
    ("z-image", 3840, {"cap_pad_token": (1, 3840), "all_x_embedder.2-1.weight": (3840, 64)}),
    ("z-image", 3840, {"model.diffusion_model.cap_pad_token": (1, 3840),
                       "model.diffusion_model.x_embedder.weight": (3840, 64)}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "width", "shapes"), TRANSFORMERS)
def test_single_files_of_transformers_are_told_by_their_tensors(family, width, shapes):
    told = described(shapes)
    assert (told.kind, told.family, told.layout) == ("checkpoint", family, (16, width))


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        ("flux", {"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (16, 3072)}),
        ("flux", {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (16, 3072)}),
        ("sd3", {"transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight": (16, 1536)}),
        ("sd3", {"lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight": (16, 2432)}),
        ("qwen-image", {"transformer_blocks.0.attn.add_q_proj.lora_A.default.weight": (16, 3072)}),
        ("qwen-image", {"diffusion_model.transformer_blocks.0.img_mlp.net.0.proj.lora_A.weight": (16, 3072)}),
        ("z-image", {"diffusion_model.layers.0.attention.to_q.lora_A.weight": (16, 3840)}),
        ("sdxl", {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048)}),
    ],
)
def test_loras_of_every_family_are_told_by_their_tensors(family, shapes):
    told = described(shapes)
    assert (told.kind, told.family) == ("lora", family)


def test_an_autoencoder_is_told_by_its_tensors():
    told = described({"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)}, "sdxl_vae")
    assert (told.kind, told.family, told.latent_channels) == ("vae", "sdxl", 4)
    assert told.fits(described(ORIGINAL))
    assert not told.fits(described(TRANSFORMERS[0][2]))


def test_a_file_of_no_known_family_is_refused(tmp_path):
    save_file({"some.other.weight": np.zeros((2, 2), np.float16)}, tmp_path / "other.safetensors")
    (refused,) = Catalog([tmp_path], starter=None).refused()
    assert "other.safetensors is not supported" in refused.error.sentence


def test_the_catalog_needs_no_torch():
    code = "import sys, server.engine.catalog, server.engine.painting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
