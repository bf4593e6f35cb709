"""A pool of ready pictures on disk, so that the networks never wait for a picture.

A pool is a folder of chunks, each a folder of `.npy` arrays (uint8 pictures and control images) and `labels.json`.
Chunks appear atomically (a rename), so a training may read a pool that is still growing.

`stills` are scenes and `portraits` are people in their typical form (`typical.py`), with words alone, and so are the
regular ones of the materials; `scenes` and `people` vary in all, and have control images.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from depth3d.depth import depth_to_controlnet
from depth3d.normals import normals_to_controlnet
from depth3d.pose import Pose, draw_openpose
from server.starter import materials
from server.starter.batch import NONE
from server.starter.captions import COLORLESS, material_caption
from server.starter.people import people
from server.starter.scenes import scenes
from server.starter.words import COLORS, MATERIALS

SIZE = 256
KINDS = ("materials", "scenes", "people", "stills", "portraits")
#: How many wordings a material's picture gets.
WORDINGS = 4
_CHUNK = 64
#: Material, colour, shape and action.
_LABELS = 4
#: What a kind's chunks hold beside their pictures.
_ARRAYS: dict[str, tuple[str, ...]] = {
    "materials": (),
    "scenes": ("depth", "normal", "subject"),
    "people": ("depth", "normal", "pose", "subject"),
    "stills": ("subject",),
    "portraits": ("subject",),
}

Pictures = NDArray[np.uint8]


@dataclass
class Chunk:
    """Up to 64 pictures of one kind; the arrays are mapped, not read.

    image: (n, 3, s, s) uint8 sRGB, s 256 or for materials 384. captions: for each picture its wordings.
    depth: (n, 1, 256, 256), normal, pose: (n, 3, 256, 256) uint8 control images, or None.
    subject: (n, 1, 256, 256) uint8, 255 where the main solid or the person is; None for materials.
    labels: for each picture its material, colour, shape and action, as `Batch` numbers them.
    """

    kind: str
    image: Pictures
    captions: list[list[str]]
    depth: Pictures | None
    normal: Pictures | None
    pose: Pictures | None
    subject: Pictures | None
    labels: list[list[int]]


def grow(folder: Path, kind: str, chunks: int, seed: int, device: str = "cpu") -> None:
    """Make the chunks of this kind that are missing among the first `chunks`.

    Each depends on its number and the seed alone.
    """
    for number in range(chunks):
        place = folder / f"{kind}-{number:04d}"
        if place.exists():
            continue
        start = time.monotonic()
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + KINDS.index(kind) * 100_003 + number)
        arrays, labels = _materials(generator, device) if kind == "materials" else _rendered(kind, generator, device)
        temporary = folder / f".{place.name}.new"
        temporary.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        (temporary / "labels.json").write_text(json.dumps(labels))
        temporary.rename(place)
        print(f"{place.name}: {time.monotonic() - start:.1f} s", flush=True)


def chunks(folder: Path) -> list[Path]:
    """The folders of all chunks that are there."""
    return sorted(place for kind in KINDS for place in folder.glob(f"{kind}-*"))


def read(folder: Path, kind: str) -> list[Chunk]:
    """The chunks of one kind in the order of their numbers."""
    return [_open(place, kind) for place in sorted(folder.glob(f"{kind}-*"))]


def material_captions(
    names: list[str], colors: list[str | None], maps: materials.MaterialMaps, rng: Random
) -> list[str]:
    """One caption for each picture."""
    return [
        material_caption(name, color, scale, wear, rng)
        for name, color, scale, wear in zip(names, colors, maps.scale.tolist(), maps.wear.tolist(), strict=True)
    ]


def pose_image(keypoints: NDArray[np.float32], size: int) -> Pictures:
    """(3, size, size) uint8, the OpenPose control image of `Batch.keypoints` of one picture, (18, 3) in pixels."""
    body = keypoints.astype(np.float64)
    body[:, :2] /= size
    return draw_openpose(Pose(body), size, size).transpose(2, 0, 1)


def _materials(generator: torch.Generator, device: str) -> tuple[dict[str, Pictures], dict[str, Any]]:
    rng = Random(int(torch.randint(2**62, (1,), generator=generator, device=device)))
    names = (list(MATERIALS) * 3)[:_CHUNK]
    rng.shuffle(names)
    colors: list[str | None] = [
        rng.choice(list(COLORS)) if name not in COLORLESS and rng.random() < 0.62 else None for name in names
    ]
    maps = materials.render(names, SIZE, generator, device, colors, typical=True)
    wordings = [material_captions(names, colors, maps, rng) for _ in range(WORDINGS)]
    color_names = list(COLORS)
    labels = [
        [MATERIALS.index(name), color_names.index(color) if color else NONE, NONE, NONE]
        for name, color in zip(names, colors, strict=True)
    ]
    return {"image": _bytes(materials.shown(names, maps.image, materials.WINDOW))}, {
        "captions": [list(words) for words in zip(*wordings, strict=True)],
        "labels": labels,
    }


def _rendered(kind: str, generator: torch.Generator, device: str) -> tuple[dict[str, Pictures], dict[str, Any]]:
    make = scenes if kind in ("scenes", "stills") else people
    batch = make(_CHUNK, SIZE, generator, device, typical=kind in ("stills", "portraits"))
    assert batch.depth is not None
    assert batch.normals is not None
    assert batch.subject is not None
    arrays = {
        "image": _bytes(batch.image),
        "subject": batch.subject[:, None].cpu().numpy().astype(np.uint8) * 255,
    }
    if "depth" in _ARRAYS[kind]:
        arrays["depth"] = np.stack([depth_to_controlnet(z)[None, ..., 0] for z in batch.depth.cpu().numpy()])
        arrays["normal"] = np.stack(
            [normals_to_controlnet(n.transpose(1, 2, 0)).transpose(2, 0, 1) for n in batch.normals.cpu().numpy()]
        )
    if "pose" in _ARRAYS[kind]:
        assert batch.keypoints is not None
        arrays["pose"] = np.stack([pose_image(points, SIZE) for points in batch.keypoints.cpu().numpy()])
    labels = torch.stack((batch.material, batch.color, batch.shape, batch.action), 1).tolist()
    return arrays, {"captions": [[caption] for caption in batch.captions], "labels": labels}


def _bytes(image: torch.Tensor) -> Pictures:
    return (image * 255 + 0.5).clamp(0, 255).byte().cpu().numpy()


def _open(place: Path, kind: str) -> Chunk:
    def array(name: str) -> Pictures:
        path = place / f"{name}.npy"
        if not path.exists():
            raise FileNotFoundError(f"{place} has no {path.name}; delete the folder and let the pool grow again")
        return np.load(path, mmap_mode="r")

    labels = json.loads((place / "labels.json").read_text())
    if len(labels["labels"][0]) != _LABELS:
        raise ValueError(f"{place}/labels.json names no actions; delete the folder and let the pool grow again")
    maps: dict[str, Pictures | None] = dict.fromkeys(("depth", "normal", "pose", "subject"))
    maps |= {name: array(name) for name in _ARRAYS[kind]}
    return Chunk(kind, array("image"), labels["captions"], **maps, labels=labels["labels"])
