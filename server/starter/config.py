"""The recipe's numbers, read from one TOML file; what each means stands in `starter.toml`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tomllib

DEFAULT = Path(__file__).with_name("starter.toml")


@dataclass(frozen=True)
class Pool:
    materials: int
    scenes: int
    people: int
    stills: int
    portraits: int


@dataclass(frozen=True)
class Code:
    channels: int
    whiten: float
    pictures: int


@dataclass(frozen=True)
class Autoencoder:
    channels: list[int]
    batch: int
    crop: int
    noise: float
    grid: float
    steps: int
    cooldown: int
    rate: float


@dataclass(frozen=True)
class Text:
    width: int
    layers: int
    heads: int
    tokens: int
    steps: int
    batch: int
    rate: float
    keep: float
    keep_acting: float


@dataclass(frozen=True)
class Unet:
    channels: list[int]
    layers: int
    heads: int
    groups: int


@dataclass(frozen=True)
class Controlnet:
    embedding: list[int]


@dataclass(frozen=True)
class Diffusion:
    steps: int
    warmup: int
    cooldown: int
    muon: bool
    rate: float
    text_rate: float
    ema: float
    dropout: float
    early: float
    crop: int
    materials: int
    scenes: int
    people: int
    whole_share: list[float]
    material_share: float
    scenes_control_share: float
    people_control_share: float
    figure_weight: float
    checkpoint: int


@dataclass(frozen=True)
class Config:
    seed: int
    out: Path
    device: str
    bf16: bool
    threads: int
    pool: Pool
    code: Code
    autoencoder: Autoencoder
    text: Text
    unet: Unet
    controlnet: Controlnet
    diffusion: Diffusion


def load(path: Path = DEFAULT) -> Config:
    """Read a recipe. Raises ValueError where an option is missing or unknown."""
    raw = tomllib.loads(path.read_text())
    parts = {
        "pool": Pool, "code": Code, "autoencoder": Autoencoder, "text": Text, "unet": Unet,
        "controlnet": Controlnet, "diffusion": Diffusion,
    }  # fmt: skip
    for name, kind in parts.items():
        raw[name] = _checked(kind, raw.get(name, {}), f"[{name}]", path)
    raw["out"] = Path(raw.get("out", "out/starter"))
    return _checked(Config, raw, "the top level", path)


def _checked(kind: type[Any], values: dict[str, Any], where: str, path: Path) -> Any:
    wanted = {field.name for field in fields(kind)}
    if missing := wanted - values.keys():
        raise ValueError(f"{path}: {where} lacks {', '.join(sorted(missing))}; copy it from {DEFAULT.name}")
    if unknown := values.keys() - wanted:
        raise ValueError(f"{path}: {where} has unknown options {', '.join(sorted(unknown))}; remove them")
    return kind(**values)
