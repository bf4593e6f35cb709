"""The words' side: a tokenizer made from our own captions, and a text encoder that knows what they name."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from server.starter import config
from server.starter.poses import ACTIONS
from server.starter.words import COLORS, MATERIALS, SHAPES

_START, _END = "<|startoftext|>", "<|endoftext|>"
_SPLIT = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def build_tokenizer(captions: Iterable[str], folder: Path, tokens: int) -> CLIPTokenizer:
    """A byte-pair tokenizer in which each word of the captions is one token, and any other text is still spelled.

    Writes CLIP's `vocab.json` and `merges.txt` to the folder; the plain `CLIPTokenizer` loads it.
    """
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=20_000,
            min_frequency=1,
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    merges = json.loads(trained.to_str())["model"]["merges"]
    # Every byte, alone and at a word's end, has a token: no text is unknown.
    vocabulary = dict.fromkeys([*alphabet, *(letter + "</w>" for letter in alphabet)])
    vocabulary.update(dict.fromkeys("".join(pair) for pair in merges))
    names = [*vocabulary, _START, _END]
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: number for number, name in enumerate(names)}
    tokenizer = CLIPTokenizer(
        vocab=numbers,
        merges=[tuple(pair) for pair in merges],
        model_max_length=tokens,
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(numbers, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    return tokenizer


def build_encoder(tokenizer: CLIPTokenizer, options: config.Text) -> CLIPTextModel:
    """A CLIP text encoder of the recipe's size, untrained."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.width,
            intermediate_size=options.width * 3,
            projection_dim=options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            max_position_embeddings=options.tokens,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tokens_of(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """(n, tokens) int64, padded, as the pipelines make them."""
    return tokenizer(
        captions, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    ).input_ids


def learn_names(
    encoder: CLIPTextModel, tokens: Tensor, labels: Tensor, options: config.Text, generator: torch.Generator,
    keep: bool = False,
) -> list[float]:  # fmt: skip
    """Teach the encoder what a caption names, so that the painter need not find it out.

    tokens: (n, t). labels: (n, 4) material, colour, shape and action, `NONE` where not named.
    keep: hold the states near what they are, for a painter that has learned from them, as strongly as the options say.

    Gives the share of right names over the last 50 steps, in the labels' order.
    """
    device = tokens.device
    counts = [len(names) for names in (MATERIALS, COLORS, SHAPES, ACTIONS)]
    heads = torch.nn.ModuleList(torch.nn.Linear(encoder.config.hidden_size, count) for count in counts).to(device)
    kept = copy.deepcopy(encoder).requires_grad_(False) if keep else None
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], options.rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, options.steps)
    right, named = torch.zeros(len(counts)), torch.zeros(len(counts))
    for step in range(options.steps):
        index = torch.randint(len(tokens), (options.batch,), generator=generator)
        words = tokens[index.to(device)]
        states = encoder(words).last_hidden_state
        loss = torch.zeros((), device=device)
        if kept is not None:
            before = kept(words).last_hidden_state
            moved = (states - before).square().mean(dim=(1, 2)) / before.square().mean()
            acting = (labels[index, -1] >= 0).to(device)
            loss = (moved * torch.where(acting, options.keep_acting, options.keep)).mean()
        for number, head in enumerate(heads):
            wanted = labels[index, number].to(device)
            if (wanted >= 0).any():
                scores = head(states.mean(dim=1))
                loss = loss + torch.nn.functional.cross_entropy(scores, wanted, ignore_index=-1)
                if step >= options.steps - 50:
                    right[number] += ((scores.argmax(1) == wanted) & (wanted >= 0)).sum().cpu()
                    named[number] += (wanted >= 0).sum().cpu()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return (right / named.clamp(min=1)).tolist()
