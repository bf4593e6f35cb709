"""What a picture was painted from, as plain JSON: enough to paint it again to the bit.

    {"kind": "Generate", "job": {"prompt": …, "seed": …, "image": {"digest": hex, "shape": […], "dtype": …}, …},
     "picture": {"index": 0, "seed": …, "prompt": …}}

Fields that equal their defaults are left out, and so are the pixels of pictures that went in: a digest names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge_protocol import jobs
from bridge_protocol.records import InvalidValue


def plain(job: Any) -> dict[str, Any]:
    """A job as plain JSON, its arrays by their digests."""
    kind, fields = jobs.job_to_plain(job)
    return {"kind": kind, "job": _without_bytes(fields)}


def of_picture(result: Mapping[str, Any], picture: Mapping[str, Any]) -> dict[str, Any] | None:
    """What paints one picture of a result again: {"kind", "job", "picture"}; None if the result does not tell.

    result: the result's info, with the job as `plain` made it, the model that painted and the first seeds. picture:
    the picture's own info: its index in the batch, its seed, and the words that were drawn for it. A batch is painted
    again as a batch, because a picture of one is rounded otherwise than a picture alone.
    """
    told = result.get("job")
    if not isinstance(told, dict) or not isinstance(told.get("job"), dict):
        return None
    fields = {**told["job"], **{name: result[name] for name in ("model", "seed", "variation_seed") if name in result}}
    if fields.get("batch", 1) == 1:  # alone, it needs no more lots; those of a batch are drawn again by their seeds
        fields |= {name: picture[name] for name in ("prompt", "negative_prompt") if name in picture}
    return {"kind": told.get("kind", "Generate"), "job": fields, "picture": dict(picture)}


def fields_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """The job's fields in what `of_picture` tells, as `jobs.job_from_plain` takes them."""
    fields: dict[str, Any] = _with_bytes(told["job"])
    return fields


def parsed(text: str) -> dict[str, Any]:
    """What `of_picture` told, from a picture's text, which may come from anywhere. Raises InvalidValue."""
    try:
        told = json.loads(text)
        fine = isinstance(told["kind"], str) and isinstance(told["job"], dict)
        _with_bytes(told["job"])
    except (ValueError, KeyError, TypeError, RecursionError):
        fine = False
    if not fine:
        raise InvalidValue("brushwire", text, "a job as JSON", "Take a picture that was saved by Brushwire.")
    return dict(told)


def parameters(told: Mapping[str, Any], size: tuple[int, int]) -> str:
    """The job in the words that the common tools write into a picture's "parameters". size: width and height."""
    job = {**told["job"], **told.get("picture", {})}
    lines = [str(job.get("prompt", ""))]
    if job.get("negative_prompt"):
        lines.append(f"Negative prompt: {job['negative_prompt']}")
    settings = {
        "Steps": job.get("steps", 20),
        "Sampler": job.get("sampler", "auto"),
        "CFG scale": job.get("guidance_scale"),
        "Seed": job.get("seed"),
        "Size": f"{size[0]}x{size[1]}",
        "Model": job.get("model"),
        "VAE": job.get("vae"),
        "Clip skip": job["clip_skip"] + 1 if job.get("clip_skip") else None,  # they count from the last layer
        "Denoising strength": job.get("denoising_strength", 0.75) if job.get("image") else None,
        "Variation seed": job.get("variation_seed"),
        "Variation seed strength": job.get("variation_strength"),
        "Hires upscale": job.get("hires_scale"),
        "Version": "Brushwire",
    }
    lines.append(", ".join(f"{key}: {value}" for key, value in settings.items() if value not in (None, "")))
    return "\n".join(lines)


def _without_bytes(value: Any) -> Any:
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {key: _without_bytes(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_bytes(one) for one in value]
    return value


def _with_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        if "digest" in value and "shape" in value:
            return {**value, "digest": bytes.fromhex(value["digest"])}
        return {key: _with_bytes(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    return value
