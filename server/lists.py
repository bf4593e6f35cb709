"""The lists that a job's fields choose from: models and what else is installed, by the names of `choices_from`."""

from __future__ import annotations

from typing import Any

from server.engine.catalog import Catalog
from server.engine.detectors import detectors, estimators
from server.engine.upscalers import upscalers

#: The name of a list, and the kinds of models that are in it.
KINDS = {
    "loras": ("lora",),
    "controlnets": ("controlnet", "t2i_adapter"),
    "vaes": ("vae",),
    "image_adapters": ("image_adapter",),
    "upscalers": ("upscaler",),
    "detectors": ("detector",),
    "estimators": ("estimator",),
}
#: What is not known of things that are no models.
UNTOLD = {"family": "", "size_bytes": 0, "native_size": 0, "control": None}
FIELDS = ("id", "name", "kind", "family", "size_bytes", "native_size", "control")


def choices(catalog: Catalog, what: str) -> list[dict[str, Any]]:
    """What can be chosen: ``{"id", "name", …}``, and for ``models`` all kinds, and what was refused with the reason.

    Paths are not told.
    """
    models = [{name: getattr(model, name) for name in FIELDS} for model in catalog.models()]
    beside = [*upscalers(catalog.folders), *detectors(catalog.folders), *estimators(catalog.folders)]
    models += [{**UNTOLD, **one} for one in beside]
    if what != "models":
        return [model for model in models if model["kind"] in KINDS[what]]
    refused = [
        {"name": one.name, "kind": "refused", "reason": one.error.sentence, "remedy": one.error.remedy}
        for one in catalog.refused()
    ]
    return models + refused
