"""What the server has to choose from: models, LoRAs, ControlNets, detectors, upscalers and the like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: A model's kind in the server's listing → the list that a field's ``choices_from`` names.
_LISTS = {
    "checkpoint": "models",
    "lora": "loras",
    "controlnet": "controlnets",
    "t2i_adapter": "controlnets",
    "vae": "vaes",
    "image_adapter": "image_adapters",
    "upscaler": "upscalers",
    "detector": "detectors",
    "estimator": "estimators",
    "embedding": "embeddings",
}


@dataclass(frozen=True)
class Choice:
    """One thing to choose. value: what the job says (an id, or a word of the schema). label: for people."""

    value: str
    label: str
    #: What else the server tells of it: family, size, which control, …
    info: Mapping[str, Any]


Lists = dict[str, list[Choice]]


def lists_of(listing: Iterable[Mapping[str, Any]]) -> Lists:
    """The choices by the names that fields' ``choices_from`` hold, out of the server's listing (the query `models`).

    What the server refuses to load is not among them.
    """
    lists: Lists = {}
    for one in listing:
        name = _LISTS.get(str(one.get("kind")))
        value = str(one.get("id") or one.get("name") or "")
        if name is not None and value:
            lists.setdefault(name, []).append(Choice(value, str(one.get("name") or value), dict(one)))
    return lists
