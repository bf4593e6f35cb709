"""What a model is, told from its configuration files and its safetensors headers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.engine import families, lycoris_names, parts, t2i_names
from server.engine.descriptions import Control, Description, Task
from server.engine.errors import RefusedModel
from server.engine.families import Family
from server.engine.headers import Header, read_header


def describe_pipeline(folder: Path, index: Mapping[str, Any]) -> Description:
    """A diffusers folder, from its model_index.json and the configurations and headers of its parts."""
    name = str(index.get("_class_name"))
    if (found := families.family_of(name)) is not None:
        return _describe_transformer(folder, index, found)
    if not name.startswith("StableDiffusion"):
        raise _unsupported(folder, f"its pipeline is {name}")
    family: Family = "sdxl" if name.startswith("StableDiffusionXL") else "sd15"
    parts = ["unet", "vae", "text_encoder", *(["text_encoder_2"] if family == "sdxl" else [])]
    size = _check_parts(folder, index, parts)
    unet, vae = _config(folder / "unet"), _config(folder / "vae")
    latent_channels = int(vae.get("latent_channels", 4))
    input_channels = int(unet.get("in_channels", latent_channels))
    if input_channels not in (latent_channels, 2 * latent_channels + 1):
        raise _unsupported(folder, f"its UNet takes {input_channels} channels and its VAE has {latent_channels}")
    sample = unet.get("sample_size") or 64
    side = (sample if isinstance(sample, int) else int(sample[0])) * 2 ** (len(vae["block_out_channels"]) - 1)
    return Description(
        "checkpoint", family, size, side, _tasks(latent_channels, input_channels),
        _layout(unet, latent_channels), input_channels,
    )  # fmt: skip


def _check_parts(folder: Path, index: Mapping[str, Any], parts: Sequence[str]) -> int:
    """Bytes of the weights of a pipeline's parts, each known to come without code of its own."""
    for part in parts:
        library = index.get(part)
        if not isinstance(library, list) or library[:1] not in (["diffusers"], ["transformers"]):
            raise _unsupported(folder, f"its {part} is {library} and not a part of diffusers or transformers")
    return sum(check_weights(folder / part) for part in parts)


def _describe_transformer(folder: Path, index: Mapping[str, Any], family: Family) -> Description:
    texts = [
        name for name, part in index.items() if name.startswith("text_encoder") and part not in (None, [None, None])
    ]
    size = _check_parts(folder, index, ["transformer", "vae", *texts])
    config = _config(folder / "transformer")
    layout = families.layout(family, config)
    side = int(_hints(folder).get("native_size") or 8 * int(config.get("sample_size") or 128))
    return Description("checkpoint", family, size, side, _tasks(0, 0), layout, layout[0])


def describe_transformer_controlnet(folder: Path, config: Mapping[str, Any]) -> Description:
    """A ControlNet's diffusers folder for one of the families that paint with a transformer."""
    family = families.family_of(str(config["_class_name"]))
    if family is None:
        raise _unsupported(folder, f"it is a {config['_class_name']}")
    if config.get("extra_conditioning_channels"):
        raise _unsupported(folder, "it wants to see the mask beside its picture")
    layout = families.layout(family, config)
    modes = int(config.get("num_mode") or 0) if family == "flux" else 0
    named = None if modes else _control(folder.name)
    size = check_weights(folder)
    return Description("controlnet", family, size, layout=layout, control=named, control_types=modes)


def describe_controlnet(folder: Path, config: Mapping[str, Any]) -> Description:
    """A ControlNet's diffusers folder, from its config.json; what it looks at is told by its folder's name.

    A ControlNet-Union is told by its tensors: some of them are configured as plain ControlNets.
    """
    channels = int(config.get("in_channels", 4))
    size = check_weights(folder)
    types = max(_control_types(read_header(file).shapes) for file in weight_files(folder))
    if types:
        return Description(
            "controlnet", "sdxl", size, layout=_layout(config, channels), input_channels=channels, control_types=types
        )
    layout = _layout(config, channels)
    family: Family = "sdxl" if config.get("addition_embed_type") == "text_time" else "sd15"
    return Description(
        "controlnet", family, size, layout=layout, input_channels=channels,
        control=_control(folder.name) or _control(str(config.get("_name_or_path", ""))),
    )  # fmt: skip


def describe_t2i_adapter(folder: Path, config: Mapping[str, Any]) -> Description:
    """A T2I-Adapter's diffusers folder: its layout is the widths of what it adds to the UNet's levels."""
    family: Family = "sdxl" if str(config.get("adapter_type", "")).endswith("_xl") else "sd15"
    layout = tuple(int(width) for width in config["channels"])
    named = _control(folder.name) or _control(str(config.get("_name_or_path", "")))
    return Description(
        "t2i_adapter", family, check_weights(folder), layout=layout, control=named,
        input_channels=int(config.get("in_channels", 3)),
    )  # fmt: skip


def describe_vae(folder: Path, config: Mapping[str, Any]) -> Description:
    """An autoencoder's diffusers folder, from its config.json."""
    channels = int(config.get("latent_channels", 4))
    # SD 3 and FLUX.1 share an architecture, and scale their latents otherwise.
    scaled: dict[float, Family] = {1.5305: "sd3", 0.3611: "flux"}
    family = scaled.get(float(config.get("scaling_factor", 0)), _vae_family(folder.name, channels))
    return Description(
        "vae", family, check_weights(folder), layout=(channels,), networks=(parts.Part("vae", "", channels),)
    )


def describe_video_vae(folder: Path, config: Mapping[str, Any]) -> Description:
    """Qwen-Image's autoencoder, which was made for films."""
    channels = int(config.get("z_dim", 16))
    networks = (parts.Part("video-vae", "", channels),)
    return Description("vae", "qwen-image", check_weights(folder), layout=(channels,), networks=networks)


def describe_text_encoder(folder: Path, config: Mapping[str, Any]) -> Description:
    """The folder of a text encoder of one of the families that paint with a transformer."""
    text = config.get("text_config", config)
    kind = _ENCODERS[str(config["architectures"][0])]
    width = int(text["d_model"] if kind == "t5" else text["hidden_size"])
    return _text_encoder((parts.Part(kind, "", width),), check_weights(folder))


def _text_encoder(networks: tuple[parts.Part, ...], size: int) -> Description:
    family = _ENCODER_FAMILY[networks[0].kind]
    return Description("text_encoder", family, size, layout=(networks[0].width,), networks=networks)


#: The kind of a text encoder by the class that its config.json names, and the family that it is first known from.
_ENCODERS: dict[str, parts.PartKind] = {
    "CLIPTextModel": "clip", "CLIPTextModelWithProjection": "clip", "T5EncoderModel": "t5",
    "Qwen2_5_VLForConditionalGeneration": "qwen2.5-vl", "Qwen3Model": "qwen3", "Qwen3ForCausalLM": "qwen3",
}  # fmt: skip
_ENCODER_FAMILY: dict[parts.PartKind, Family] = {
    "clip": "flux", "t5": "flux", "qwen2.5-vl": "qwen-image", "qwen3": "z-image"
}  # fmt: skip


def describe_image_encoder(folder: Path, config: Mapping[str, Any]) -> Description:
    """The folder of a CLIP that looks at pictures, for image adapters: its layout is what it makes of one, by kind."""
    layout = (int(config["projection_dim"]), int(config["hidden_size"]))
    return Description("image_encoder", "sd15", check_weights(folder), layout=layout)


#: What reads a folder that holds one network, by the class that its config.json names.
DESCRIBED: dict[str, Callable[[Path, Mapping[str, Any]], Description]] = {
    "ControlNetModel": describe_controlnet,
    "ControlNetUnionModel": describe_controlnet,
    "T2IAdapter": describe_t2i_adapter,
    "CLIPVisionModelWithProjection": describe_image_encoder,
    "AutoencoderKL": describe_vae,
    "AutoencoderKLQwenImage": describe_video_vae,
    **dict.fromkeys(_ENCODERS, describe_text_encoder),
    "SD3ControlNetModel": describe_transformer_controlnet,
    "FluxControlNetModel": describe_transformer_controlnet,
    "QwenImageControlNetModel": describe_transformer_controlnet,
    "ZImageControlNetModel": describe_transformer_controlnet,
}


def describe_single_file(path: Path, header: Header) -> Description:
    """A single file, from the names and shapes of its tensors."""
    shapes = header.shapes
    if any(key.endswith(_LORA_SUFFIXES) for key in shapes) or _is_other_adapter(shapes):
        return _describe_lora(path, header)
    if {"clip_l", "clip_g"} <= set(shapes):
        return Description("embedding", "sdxl", header.size, layout=(shapes["clip_l"][-1], shapes["clip_g"][-1]))
    if len(shapes.get("emb_params", ())) == 2:
        return Description("embedding", "sd15", header.size, layout=(shapes["emb_params"][1],))
    looks_by = shapes.get("ip_adapter.1.to_k_ip.weight", ())
    if len(looks_by) == 2:
        # What it takes from the encoder: the projected picture, or (the finer kinds) each patch.
        taken = shapes.get("image_proj.proj.weight") or shapes.get("image_proj.proj_in.weight") or (0, 0)
        family_by_width: Family = "sdxl" if looks_by[1] == 2048 or "xl" in path.stem.lower() else "sd15"
        return Description("image_adapter", family_by_width, header.size, layout=(looks_by[1], taken[1]))
    if any(key.startswith(("control_model.", "controlnet_cond_embedding.")) for key in shapes):
        width = _width(shapes, "control_model.input_blocks.4.1.", "down_blocks.1.attentions.0.")
        if types := _control_types(shapes):
            return Description(
                "controlnet", "sdxl", header.size, layout=_ORIGINAL_LAYOUT[2048], input_channels=4, control_types=types
            )
        family: Family = "sdxl" if width == 2048 else "sd15"
        return Description(
            "controlnet", family, header.size, layout=_ORIGINAL_LAYOUT.get(width, _ORIGINAL_LAYOUT[768]),
            input_channels=4, control=_control(path.stem),
        )  # fmt: skip
    if (adapter := _t2i_adapter(path, header)) is not None:
        return adapter
    if (packed := parts.quantised(shapes)) and "model.diffusion_model.input_blocks.0.0.weight" not in shapes:
        raise _unsupported(path, f"its weights are packed by {packed}")
    if (transformer := families.transformer(shapes)) is not None:
        return _describe_transformer_file(path, header, *transformer)
    networks = tuple(parts.find(shapes))
    for part in networks:
        if part.prefix == "" and part.kind in ("vae", "video-vae"):
            painter: Family = "qwen-image" if part.kind == "video-vae" else _vae_family(path.stem, part.width)
            return Description("vae", painter, header.size, layout=(part.width,), networks=(part,))
    first = shapes.get("model.diffusion_model.input_blocks.0.0.weight")
    width = _width(shapes, "model.diffusion_model.input_blocks.4.1.", "-")
    encoders = tuple(part for part in networks if part.kind in parts.ENCODERS)
    if first is None and encoders:
        return _text_encoder(encoders, header.size)
    if first is None or len(first) != 4 or width not in _ORIGINAL_LAYOUT:
        raise _unsupported(path, "its tensors are not those of a family that is known")
    family = "sdxl" if width == 2048 else "sd15"
    if family == "sdxl" and "conditioner.embedders.1.model.ln_final.weight" not in shapes:
        raise _unsupported(path, "it holds no text encoders")
    if first[1] not in (4, 9):
        raise _unsupported(path, f"its UNet takes {first[1]} channels")
    side = {768: 512, 1024: 512 if families.small(path.stem) else 768, 2048: 1024}[width]
    return Description("checkpoint", family, header.size, side, _tasks(4, first[1]), _ORIGINAL_LAYOUT[width], first[1])


def _describe_transformer_file(path: Path, header: Header, family: Family, mark: str) -> Description:
    """A file with a transformer, alone or with what belongs to it; the catalog looks for what it lacks."""
    shapes = header.shapes
    transformer = parts.transformer_part(shapes, mark)
    if reason := families.stranger(family, shapes, transformer.prefix):
        raise _unsupported(path, reason)
    layout = families.tensor_layout(family, shapes)
    if not layout:
        raise _unsupported(path, "its transformer has no layer that takes latents")
    networks = (transformer, *parts.find(shapes))
    side = 1328 if family == "qwen-image" else 1024
    return Description("checkpoint", family, header.size, side, _tasks(0, 0), layout, layout[0], networks=networks)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one part of a pipeline; the plain ones if there are variants beside them."""
    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if ".fp16." not in file.name]
    return plain or files


def variant(folder: Path) -> str | None:
    """The variant that diffusers has to be asked for: "fp16" if the folder's parts hold nothing else."""
    files = weight_files(folder)
    return "fp16" if files and all(".fp16." in file.name for file in files) else None


def check_weights(folder: Path) -> int:
    """Bytes of a part's weights, with each header checked; `RefusedModel` for pickles, lies and links outward."""
    files = weight_files(folder)
    if not files:
        pickles = sorted([*folder.glob("*.bin"), *folder.glob("*.ckpt"), *folder.glob("*.pt")])
        if pickles:
            raise pickle_refusal(pickles[0])
        raise RefusedModel(
            f"{folder.parent.name}/{folder.name} holds no .safetensors file.", "Download the whole model again."
        )
    return sum(read_header(file).size for file in files)


def pickle_refusal(path: Path) -> RefusedModel:
    """Why a pickle is refused, and what to do about it."""
    return RefusedModel(
        f"{path.name} is a pickle, which can run any code while it is loaded.",
        "Convert it on a machine that you can afford to lose: load it there with torch.load(path, weights_only=True), "
        "save its state dict with safetensors.torch.save_file, and put the .safetensors file here.",
    )


_LORA_SUFFIXES = (
    ".lora_down.weight", ".lora_A.weight", ".lora.down.weight", ".lora_A.default.weight", ".hada_w1_a", ".lokr_w1",
    ".lokr_w1_a",
)  # fmt: skip
#: How the layers of LoRAs and their kin for SD 1.x, SD 2.x and SDXL begin.
_LORA_PREFIXES = ("lora_unet_", "lora_te_", "unet.", "text_encoder.", "lycoris_", "base_model.model.")
#: By the width of the text embedding: SD 1.x, SD 2.x, SDXL.
_ORIGINAL_LAYOUT: dict[int, tuple[int, ...]] = {
    768: (4, 768, 320, 640, 1280, 1280),
    1024: (4, 1024, 320, 640, 1280, 1280),
    2048: (4, 2048, 320, 640, 1280),
}
#: What people call the controls in file names, longest first where one holds another.
_CONTROL_WORDS: tuple[tuple[str, Control], ...] = (
    ("softedge", "softedge"), ("hed", "softedge"), ("openpose", "pose"), ("pose", "pose"), ("normal", "normal"),
    ("depth", "depth"), ("canny", "canny"), ("scribble", "scribble"), ("lineart", "lineart"), ("mlsd", "mlsd"),
    ("seg", "segmentation"), ("tile", "tile"),
)  # fmt: skip


def _control_types(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many types of controls a ControlNet-Union has an embedding for; 0 for a plain ControlNet."""
    return shapes["task_embedding"][0] if "task_embedding" in shapes else 0


def _tasks(latent_channels: int, input_channels: int) -> tuple[Task, ...]:
    # A UNet that was trained to see a mask and a masked picture can do nothing else.
    return ("inpaint",) if input_channels != latent_channels else ("text-to-image", "image-to-image", "inpaint")


def _layout(config: Mapping[str, Any], latent_channels: int) -> tuple[int, ...]:
    width, widths = config["cross_attention_dim"], config["block_out_channels"]
    return (latent_channels, int(width if isinstance(width, int) else width[0]), *(int(n) for n in widths))


def _t2i_adapter(path: Path, header: Header) -> Description | None:
    try:
        config = t2i_names.describe(header.shapes)
    except ValueError as error:
        raise _unsupported(path, str(error)) from error
    if config is None:
        return None
    # The light ones of SD and SDXL are of one shape, so that their names have to tell.
    large = config["adapter_type"] == "full_adapter_xl" or (
        "light" in config["adapter_type"] and "xl" in path.stem.lower()
    )
    return Description(
        "t2i_adapter", "sdxl" if large else "sd15", header.size, layout=tuple(config["channels"]),
        control=_control(path.stem), input_channels=config["in_channels"],
    )  # fmt: skip


def _is_other_adapter(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    kin = ("lora_", "lycoris_", "oft_")
    return bool(shapes) and all(key.startswith(kin) for key in shapes) and lycoris_names.other_kind(shapes) is not None


def _describe_lora(path: Path, header: Header) -> Description:
    try:
        shapes = lycoris_names.as_lora(header.shapes)
    except ValueError as error:
        raise _unsupported(path, str(error)) from error
    family = _lora_family(path, shapes, header.metadata)
    kind = lycoris_names.other_kind(shapes)
    if kind is not None and (family in ("sd15", "sdxl") or not any(key.endswith(_LORA_SUFFIXES) for key in shapes)):
        raise _unsupported(path, f"it holds {kind}, and LoRA, LoHa and LoKr can be used")
    return Description("lora", family, header.size)


def _lora_family(path: Path, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> Family:
    if (found := families.adapter_family(shapes)) is not None:
        return found
    if any(key.startswith(("lora_te2_", "text_encoder_2.", "lora_te1_")) for key in shapes):
        return "sdxl"
    widths = {
        shape[1]
        for key, shape in shapes.items()
        if key.endswith(_LORA_SUFFIXES) and "attn2" in key and "to_k" in key and len(shape) == 2
    }
    if 2048 in widths or "sdxl" in metadata.get("ss_base_model_version", ""):
        return "sdxl"
    if any(not key.startswith(_LORA_PREFIXES) for key in shapes):
        raise _unsupported(path, "it is a LoRA for another family than SD 1.x and SDXL")
    return "sd15"


def _width(shapes: Mapping[str, tuple[int, ...]], *prefixes: str) -> int:
    """Width of the text embedding that the first cross-attention under a prefix takes; 0 if there is none."""
    for prefix in prefixes:
        shape = shapes.get(f"{prefix}transformer_blocks.0.attn2.to_k.weight", ())
        if len(shape) == 2:
            return shape[1]
    return 0


def _control(name: str) -> Control | None:
    lowered = name.lower()
    return next((control for word, control in _CONTROL_WORDS if word in lowered), None)


def _vae_family(name: str, channels: int) -> Family:
    """Told by the name alone among those of one architecture."""
    lowered = name.lower()
    if channels == 16:
        return "sd3" if any(word in lowered for word in ("sd3", "sd_3", "sd-3", "stable-diffusion-3")) else "flux"
    return "sdxl" if "xl" in lowered else "sd15"


def _hints(folder: Path) -> dict[str, Any]:
    """What a folder's own `brushwire.json` tells."""
    path = folder / "brushwire.json"
    hints = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return hints if isinstance(hints, dict) else {}


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RefusedModel(f"{folder.name}/config.json cannot be read.", "Download the whole model again.") from error
    if not isinstance(config, dict):
        raise RefusedModel(f"{folder.name}/config.json is not a JSON object.", "Download the whole model again.")
    return config


def _unsupported(path: Path, reason: str) -> RefusedModel:
    return RefusedModel(
        f"{path.name} is not supported: {reason}.",
        "Models of SD 1.x, SD 2.x, SDXL, SD3, Flux, Qwen-Image and Z-Image can be used.",
    )
