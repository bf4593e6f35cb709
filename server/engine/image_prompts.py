"""Pictures that say what to paint, as words do: IP-Adapters (Ye et al. 2023) for SD 1.x, SD 2.x and SDXL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPImageProcessor

from server.engine import compositing
from server.engine.errors import IncompatibleModels
from server.engine.headers import read_header
from server.engine.memory import is_out_of_memory
from server.engine.painting import Pixels
from server.engine.plan import Models


@contextmanager
def adapted(pipeline: Any, models: Models, weights: Sequence[float]) -> Iterator[None]:
    """The image adapters of a request on the pipeline's UNet; at the end it is what it was."""
    if not models.image_adapters:
        yield
        return
    states = []
    for info in models.image_adapters:
        read_header(info.path)
        state: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in load_file(info.path).items():
            part, _, rest = name.partition(".")
            state.setdefault(part, {})[rest] = tensor
        states.append(state)
    try:
        try:
            empty = [""] * len(states)
            pipeline.load_ip_adapter(states, subfolder=empty, weight_name=empty, image_encoder_folder=None)
        except (ValueError, RuntimeError, KeyError) as error:
            if is_out_of_memory(error):
                raise
            names = ", ".join(info.name for info in models.image_adapters)
            raise IncompatibleModels(
                f"The image adapter {names} does not fit {models.checkpoint.name}.",
                "Take one that was made for this checkpoint's family.",
            ) from error
        pipeline.set_ip_adapter_scale(list(weights))
        yield
    finally:
        pipeline.unload_ip_adapter()


def embeddings(pipeline: Any, encoder: Any, pictures: Sequence[Pixels], batch: int, guided: bool) -> list[Tensor]:
    """What the pipeline takes for each picture: (b or 2 · b, 1, …), those of nothing first if it is guided.

    encoder: a CLIPVisionModelWithProjection. batch: pictures that are painted at once.
    """
    side = encoder.config.image_size
    processor = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    found = []
    for pixels, projection in zip(pictures, pipeline.unet.encoder_hid_proj.image_projection_layers, strict=True):
        eight_bits = compositing.from_float(compositing.to_float(pixels[..., :3]), np.dtype(np.uint8))
        seen = processor(Image.fromarray(eight_bits), return_tensors="pt").pixel_values
        seen = seen.to(encoder.device, encoder.dtype)
        if type(projection).__name__ == "ImageProjection":
            embedded = encoder(seen).image_embeds
            nothing = torch.zeros_like(embedded)
        else:  # the finer kinds look at all patches
            embedded = encoder(seen, output_hidden_states=True).hidden_states[-2]
            nothing = encoder(torch.zeros_like(seen), output_hidden_states=True).hidden_states[-2]
        rows = [nothing, embedded] if guided else [embedded]
        found.append(torch.cat([row[:, None].expand(batch, *[-1] * row.ndim) for row in rows]))
    return found
