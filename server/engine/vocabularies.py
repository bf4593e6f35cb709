"""The tokenizers that ship with the project: CLIP's, T5's and Qwen's, so that no file needs a folder of words."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

#: Configurations for single files: one folder for each family, and the vocabularies.
CONFIGS = Path(__file__).parent / "configs"

#: Of Qwen2 and later, the numbers after the vocabulary's own; the last four came with Qwen3.
_QWEN_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_QWEN_PLAIN = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
_QWEN3_PLAIN = ("<tool_response>", "</tool_response>", "<think>", "</think>")
#: What Qwen3's template makes of messages without tools and answers, which is all that painting asks of it.
_QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def clip_tokenizer(is_open_clip: bool) -> CLIPTokenizer:
    """CLIP's, for 77 tokens; OpenCLIP (SD 2.x, the larger encoder of SDXL and SD 3) pads with "!" (id 0)."""
    padding = {"pad_token": "!"} if is_open_clip else {}
    return CLIPTokenizer.from_pretrained(CONFIGS / "clip", model_max_length=77, local_files_only=True, **padding)


def t5_tokenizer() -> T5Tokenizer:
    """T5's, for 512 tokens, as FLUX.1 and SD 3 read it."""
    return _read(T5Tokenizer, {"tokenizer.json": _stored("t5/tokenizer.json.gz")}, {"model_max_length": 512})


def qwen_tokenizer(thinks: bool) -> Qwen2Tokenizer:
    """Qwen2.5's, or Qwen3's if it thinks, which knows four more words and a template for conversations."""
    merges = _stored("qwen/merges.txt.gz")
    vocabulary = {letter: number for number, letter in enumerate(_byte_letters())}
    for line in merges.splitlines():
        if not line.startswith("#version") and line:
            vocabulary.setdefault(line.replace(" ", ""), len(vocabulary))
    plain = _QWEN_PLAIN + (_QWEN3_PLAIN if thinks else ())
    added = {
        str(len(vocabulary) + number): {
            "content": word, "special": word in _QWEN_SPECIAL, "normalized": False, "lstrip": False, "rstrip": False,
            "single_word": False,
        }
        for number, word in enumerate(_QWEN_SPECIAL + plain)
    }  # fmt: skip
    config = {
        "added_tokens_decoder": added, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "model_max_length": 131072,
    }  # fmt: skip
    if thinks:
        config["chat_template"] = _QWEN_TEMPLATE
    return _read(Qwen2Tokenizer, {"merges.txt": merges, "vocab.json": json.dumps(vocabulary)}, config)


def _byte_letters() -> list[str]:
    """One printable letter for each byte, those first that print as themselves (Radford et al. 2019, GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + number) for number in range(256 - len(plain))]


def _stored(name: str) -> str:
    return gzip.decompress((CONFIGS / name).read_bytes()).decode("utf-8")


def _read(cls: Any, files: dict[str, str], config: dict[str, Any]) -> Any:
    # Through files, as from a model's folder: so that it is built by the same code and reads the same to the token.
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        named = {"tokenizer_class": cls.__name__, **config}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
        return cls.from_pretrained(folder, local_files_only=True)
