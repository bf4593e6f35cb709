"""Prompts: what of one reaches the text encoder."""

from __future__ import annotations

from transformers import CLIPTokenizer


def truncation(tokenizer: CLIPTokenizer, field: str, prompt: str) -> str | None:
    """A sentence about what is cut off of a prompt that is longer than the encoder reads; None if all of it is read."""
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    limit = tokenizer.model_max_length
    if len(ids) <= limit:
        return None
    lost = tokenizer.decode(ids[limit - 1 : -1]).strip()
    return f"{field} has {len(ids) - 2} tokens and {limit - 2} are read; this was not: {lost!r}."
