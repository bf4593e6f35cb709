"""Exported weights as the start of another training: what was learned is kept, the optimizer's state is new."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from server.starter.code import PATCH, PatchCode
from server.starter.export import FOLDERS, PREVIEW
from server.starter.networks import CONTROLS


def tokenizer_of(folder: Path) -> CLIPTokenizer:
    """The tokenizer of exported weights."""
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def autoencoder_of(folder: Path) -> AutoencoderKL:
    """The autoencoder of exported weights, in float32."""
    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)


@torch.no_grad()
def code_of(folder: Path) -> PatchCode:
    """The linear code that the encoder of exported weights computes, found by asking it.

    Of the mean patch the encoder tells what the code sees of it; the rest is taken to be flat, of the mean colour that
    the weights' preview names.
    """
    network = autoencoder_of(folder).double()
    numbers = 3 * PATCH * PATCH
    asked = torch.cat((torch.zeros(1, numbers), torch.eye(numbers))).double().view(-1, 3, PATCH, PATCH)
    answers = torch.cat([network.encode(part).latent_dist.mode() for part in asked.split(32)]).flatten(1)
    analysis = answers[1:] - answers[0]
    synthesis = torch.linalg.pinv(analysis)
    color = json.loads((folder / PREVIEW).read_text())["latent_rgb_bias"]
    flat = torch.tensor(color, dtype=torch.float64).repeat_interleave(PATCH * PATCH)
    mean = flat - (answers[0] + flat @ analysis) @ synthesis
    return PatchCode(
        mean.float(), analysis.float().contiguous(), synthesis.float().contiguous(), network.config.scaling_factor
    )


@torch.no_grad()
def start_from(networks: nn.ModuleDict, folder: Path) -> set[str]:
    """Set the networks of `diffusion.build` to exported weights; gives the names of those that are set.

    A network of another size than the recipe's begins untrained, and that is printed. A ControlNet that the folder
    lacks starts from the UNet's encoder, as far as it has the same layers (Zhang et al. 2023 copy all of it).
    """
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).state_dict()
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32).state_dict()
    # Weights from before the words were added to the time step lack that part: it begins untrained.
    added = {key: value for key, value in networks["unet"].state_dict().items() if key.startswith("add_embedding.")}
    begun = {"unet": _set(networks["unet"], added | unet, folder / "unet")}
    begun["text"] = _set(networks["text"], text, folder / "text_encoder")
    for name in CONTROLS:
        place = folder / FOLDERS[name]
        if place.exists():
            state = ControlNetModel.from_pretrained(place, torch_dtype=torch.float32).state_dict()
            begun[name] = _set(networks[name], state, place)
        else:
            wanted = networks[name].state_dict()
            same = {key: value for key, value in unet.items() if key in wanted and _encodes(key)}
            networks[name].load_state_dict(same, strict=False)
    return {name for name, set_ in begun.items() if set_}


def _encodes(key: str) -> bool:
    return key.startswith(("conv_in.", "time_embedding.", "down_blocks.", "mid_block.resnets."))


def _set(network: nn.Module, state: dict[str, Tensor], place: Path) -> bool:
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    if wrong := [key for key in wanted if key not in state or state[key].shape != wanted[key]]:
        print(f"{place} differs from the recipe at {wrong[0]}: this network begins untrained", flush=True)
        return False
    network.load_state_dict({key: state[key] for key in wanted})
    return True
