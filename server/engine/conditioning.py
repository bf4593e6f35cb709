"""From words to the tensors that a denoiser is conditioned on: weights, long prompts, words that change, regions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from server.engine import prompts
from server.engine.errors import InvalidRequest
from server.engine.headers import read_header
from server.engine.loader import Checkpoint
from server.engine.plan import Plan
from server.engine.prompts import Segment
from server.engine.work import Work

Stage = tuple[Segment, ...]
#: What a text encoder reads: the number of a word, or the vector of a textual inversion, (width,).
Token = int | Tensor


@dataclass(frozen=True, eq=False)
class Encoded:
    """What a text encoder makes of one stage of one prompt.

    embeds: (1, n, width). pooled: (1, width) for the families that take one.
    """

    embeds: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a pipeline is given, and what of it changes between the steps.

    arguments: the pipeline's keyword arguments for the first step. steps: for each step the embeddings of the whole
    batch, (b, n, width), negative and positive; None if they stay the same. regions: the same for each region of the
    request, of the positive words alone.
    """

    arguments: dict[str, Any]
    steps: list[tuple[Tensor, Tensor]] | None
    regions: list[Tensor]


def encode(work: Work, pipeline: Any, checkpoint: Checkpoint) -> Conditioning:
    """The words of a plan, encoded by the checkpoint's own text encoders (with whatever LoRAs are on them)."""
    plan = work.plan
    if checkpoint.family.flow:
        return _encode_whole(work, pipeline, checkpoint)
    encoder = _Clip(pipeline, checkpoint, plan)
    positive = [prompts.stages(text, plan.taken_steps) for text in plan.prompts]
    negative = [prompts.stages(text, plan.taken_steps) for text in plan.negative_prompts]
    regional = [prompts.stages(region.prompt, 1)[0] for region in plan.request.regions]
    everything = {stage for picture in (*positive, *negative) for stage in picture} | set(regional)
    stretches = max(encoder.stretches(stage) for stage in everything)

    def batch(pictures: list[list[Stage]], step: int) -> Tensor:
        return torch.cat([encoder.encode(picture[step], stretches).embeds for picture in pictures])

    def pooled(pictures: list[list[Stage]]) -> Tensor | None:
        found = [encoder.encode(picture[0], stretches).pooled for picture in pictures]
        return None if found[0] is None else torch.cat([one for one in found if one is not None])

    first = batch(positive, 0)
    arguments = {"prompt_embeds": first, "pooled_prompt_embeds": pooled(positive)}
    if checkpoint.options.get("force_zeros_for_empty_prompt") and not any(plan.negative_prompts):
        # SDXL was trained with zeros for an absent negative prompt, and not with what "" is encoded to.
        unwanted = torch.zeros_like(first)
        arguments |= {"negative_prompt_embeds": unwanted}
        if arguments["pooled_prompt_embeds"] is not None:
            arguments["negative_pooled_prompt_embeds"] = torch.zeros_like(arguments["pooled_prompt_embeds"])
    else:
        unwanted = batch(negative, 0)
        arguments |= {"negative_prompt_embeds": unwanted, "negative_pooled_prompt_embeds": pooled(negative)}
    steps = None
    if any(len(set(picture)) > 1 for picture in (*positive, *negative)):
        zeros = not unwanted.any()
        steps = [
            (unwanted if zeros else batch(negative, step), batch(positive, step)) for step in range(plan.taken_steps)
        ]
    regions = [torch.cat([encoder.encode(stage, stretches).embeds] * len(plan.prompts)) for stage in regional]
    return Conditioning({key: value for key, value in arguments.items() if value is not None}, steps, regions)


def _adapted(checkpoint: Checkpoint, plan: Plan) -> Any:
    """What tells apart what the text encoders make of the same words with other LoRAs, or other weights of them."""
    return checkpoint.loras, tuple((info.id, weight) for info, weight in plan.models.loras)


def _encode_whole(work: Work, pipeline: Any, checkpoint: Checkpoint) -> Conditioning:
    """By the pipeline itself, for the families whose text encoders read a whole text and know no weights."""
    plan, family = work.plan, checkpoint.info.family
    count = plan.taken_steps
    positive = [prompts.stages(text, count) for text in plan.prompts]
    negative = [prompts.stages(text, count) for text in plan.negative_prompts]
    if any(prompts.weighs(stage) for picture in (*positive, *negative) for stage in picture):
        work.report("The weights in the prompt were left out: this model's text encoder reads none.")
    changes = any(len(set(picture)) > 1 for picture in (*positive, *negative))
    if changes and family in _FIXED_WORDS:
        work.report(
            "The words that change between the steps were left as they are at first: this model keeps its words."
        )
    if not checkpoint.family.negative and any(plan.negative_prompts):
        work.report("The negative prompt was left out: this model was trained to do without.")
    if plan.regions and family in _FIXED_WORDS:
        raise InvalidRequest(
            f"regions are given, and {checkpoint.info.name} paints all of a picture from the same words.",
            "Leave them out, or take a model of another family.",
        )
    limit, words = _MOST_TOKENS[family], pipeline.components[checkpoint.encoders()[-1][1]]
    for picture in (*positive, *negative):
        count_of = len(words(prompts.plain_text(picture[0]), truncation=False, verbose=False).input_ids)
        if count_of > limit:
            work.report(f"The prompt has {count_of} tokens, and this model reads the first {limit} of them.")
    loras = _adapted(checkpoint, plan)

    def encoded(pictures: list[list[Stage]], step: int) -> dict[str, Any]:
        texts = tuple(prompts.plain_text(picture[step]) for picture in pictures)
        made = checkpoint.texts.get_or_make((texts, loras, plan.request.clip_skip), lambda: one(texts))
        return dict(made)

    def one(texts: tuple[str, ...]) -> dict[str, Any]:
        names, values = _WHOLE[family](pipeline, list(texts), plan.request.clip_skip)
        return dict(zip(names, values, strict=True))

    arguments = encoded(positive, 0)
    if checkpoint.family.negative:
        arguments |= {f"negative_{name}": value for name, value in encoded(negative, 0).items()}
    steps = None
    if changes and family not in _FIXED_WORDS:
        steps = [
            (encoded(negative, step)["prompt_embeds"], encoded(positive, step)["prompt_embeds"])
            for step in range(count)
        ]
    regional = [[[prompts.stages(region.prompt, 1)[0]]] * len(plan.prompts) for region in plan.request.regions]
    return Conditioning(arguments, steps, [encoded(stages, 0)["prompt_embeds"] for stages in regional])


#: What the family's longest text encoder reads of a prompt, as its pipeline in diffusers has it.
_MOST_TOKENS = {"sd3": 256, "flux": 512, "qwen-image": 512, "z-image": 512}
#: Families whose words have a length of their own, so that others cannot take their place at a later step.
_FIXED_WORDS = ("qwen-image", "z-image")


def _whole_sd3(pipeline: Any, texts: list[str], clip_skip: int) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    embeds, _, pooled, _ = pipeline.encode_prompt(
        texts, None, None, do_classifier_free_guidance=False, clip_skip=clip_skip or None
    )
    return ("prompt_embeds", "pooled_prompt_embeds"), (embeds, pooled)


def _whole_flux(pipeline: Any, texts: list[str], _: int) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    return ("prompt_embeds", "pooled_prompt_embeds"), pipeline.encode_prompt(texts, None)[:2]


def _whole_qwen(pipeline: Any, texts: list[str], _: int) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    return ("prompt_embeds", "prompt_embeds_mask"), pipeline.encode_prompt(texts)


def _whole_z(pipeline: Any, texts: list[str], _: int) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    return ("prompt_embeds",), (pipeline.encode_prompt(texts, do_classifier_free_guidance=False)[0],)


_WHOLE = {"sd3": _whole_sd3, "flux": _whole_flux, "qwen-image": _whole_qwen, "z-image": _whole_z}


class _Clip:
    """One or two CLIP text encoders, side by side.

    A prompt is cut into stretches of as many tokens as the encoder reads (75 for CLIP); each is encoded by itself,
    and the denoiser attends to all of them. A token that weighs w is moved from what the encoder says about an empty
    prompt towards (or past) what it says about the token: empty + w · (token − empty).
    """

    def __init__(self, pipeline: Any, checkpoint: Checkpoint, plan: Plan) -> None:
        self.pipeline = pipeline
        self.device = pipeline._execution_device
        self.clip_skip = plan.request.clip_skip
        self.pairs = [(getattr(pipeline, text), getattr(pipeline, words)) for text, words in checkpoint.encoders()]
        self.texts = checkpoint.texts
        self.adapted = _adapted(checkpoint, plan)
        self.embeddings = Embeddings(plan)

    def stretches(self, stage: Stage) -> int:
        return max(len(self._stretches(number, stage)) for number in range(len(self.pairs)))

    def encode(self, stage: Stage, stretches: int) -> Encoded:
        """A stage, filled up with empty stretches to that many."""
        return self.texts.get_or_make(
            (stage, stretches, self.clip_skip, self.adapted, self.embeddings.ids),
            lambda: self._encode(stage, stretches),
        )

    def _encode(self, stage: Stage, count: int) -> Encoded:
        outputs, pooled = [], None
        for number, (encoder, tokenizer) in enumerate(self.pairs):
            stretches = self._stretches(number, stage)
            stretches += [[]] * (count - len(stretches))
            hidden, projected = self._hidden(encoder, tokenizer, stretches)
            if any(weight != 1 for stretch in stretches for _, weight in stretch):
                hidden = self._weigh(encoder, tokenizer, stretches, hidden)
            outputs.append(hidden.reshape(1, -1, hidden.shape[-1]))
            pooled = projected if len(self.pairs) > 1 else None  # the last encoder's, of the first stretch
        return Encoded(torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0], pooled)

    def _stretches(self, number: int, stage: Stage) -> list[list[tuple[Token, float]]]:
        """Each token and its weight, of each stretch, for the text encoder of that number."""
        _, tokenizer = self.pairs[number]
        room = tokenizer.model_max_length - 2
        stretches: list[list[tuple[Token, float]]] = [[]]
        for part in stage:
            if part.pause:
                if stretches[-1]:
                    stretches.append([])
                continue
            for text, vectors in self.embeddings.parts(part.text, number):
                tokens: list[Token] = list(vectors)
                if text:
                    tokens = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
                for token in tokens:
                    if len(stretches[-1]) == room:
                        stretches.append([])
                    stretches[-1].append((token, part.weight))
        return stretches if stretches[-1] or len(stretches) == 1 else stretches[:-1]

    def _hidden(
        self, encoder: Any, tokenizer: Any, stretches: Sequence[Sequence[tuple[Token, float]]]
    ) -> tuple[Tensor, Tensor]:
        """(stretches, tokens, width) and (1, width) for tokens whose weights are left aside."""
        length = tokenizer.model_max_length
        rows, learned = [], []
        for number, stretch in enumerate(stretches):
            # A learned vector has no token; any will do in its place.
            words = [0 if isinstance(token, Tensor) else token for token, _ in stretch]
            learned += [(number, at, t) for at, (t, _) in enumerate(stretch, start=1) if isinstance(t, Tensor)]
            row = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
            rows.append(row + [tokenizer.pad_token_id] * (length - len(row)))
        ids = torch.tensor(rows, device=self.device)
        with _learned(encoder, learned):
            return self._read(encoder, ids)

    def _read(self, encoder: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.pairs) == 1 and self.clip_skip == 0:
            hidden = encoder(ids)[0]
            return hidden, hidden[:1, 0]
        # Two encoders (SDXL) are read one layer before the last and without its norm; one (SD) after its norm.
        depth, layers = self.clip_skip + (1 if len(self.pairs) == 1 else 2), encoder.config.num_hidden_layers
        if depth > layers:
            most = layers - (depth - self.clip_skip)
            raise InvalidRequest(
                f"clip_skip is {self.clip_skip}, and the text encoder has {layers} layers.", f"Take 0 to {most}."
            )
        output = encoder(ids, output_hidden_states=True)
        hidden = output.hidden_states[-depth]
        if len(self.pairs) == 1:
            hidden = getattr(encoder, "text_model", encoder).final_layer_norm(hidden)
        return hidden, output[0][:1]

    def _weigh(
        self, encoder: Any, tokenizer: Any, stretches: Sequence[Sequence[tuple[Token, float]]], hidden: Tensor
    ) -> Tensor:
        empty, _ = self._hidden(encoder, tokenizer, [[]])
        weights = torch.ones(hidden.shape[:2], dtype=hidden.dtype, device=hidden.device)
        for row, stretch in enumerate(stretches):
            weights[row, 1 : 1 + len(stretch)] = torch.tensor([weight for _, weight in stretch])
        return torch.where(weights[..., None] == 1, hidden, empty + weights[..., None] * (hidden - empty))


class Embeddings:
    """The textual inversions (Gal et al. 2022) that a plan's words name: vectors that take a word's place.

    ids: of those that are named.
    """

    def __init__(self, plan: Plan) -> None:
        texts = [*plan.prompts, *plan.negative_prompts, *(region.prompt for region in plan.request.regions)]
        named = [info for info in plan.models.embeddings if any(_named(info.name).search(text) for text in texts)]
        self.ids = tuple(info.id for info in named)
        self._vectors: dict[str, list[Tensor]] = {}
        for info in named:
            read_header(info.path)
            stored = load_file(info.path)
            self._vectors[info.name] = [
                stored[key].float() for key in ("emb_params", "clip_l", "clip_g") if key in stored
            ]
        self._all = re.compile("|".join(_named(name).pattern for name in self._vectors)) if named else None

    def parts(self, text: str, encoder: int) -> list[tuple[str, Tensor]]:
        """A text in parts: words, or the vectors, (n, width), that the encoder of that number reads."""
        nothing = torch.empty(0, 0)
        if self._all is None:
            return [(text, nothing)]
        found, start = [], 0
        for match in self._all.finditer(text):
            found += [(text[start : match.start()], nothing), ("", self._vectors[match[0]][encoder])]
            start = match.end()
        return [*found, (text[start:], nothing)]


def _named(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")


@contextmanager
def _learned(encoder: Any, places: Sequence[tuple[int, int, Tensor]]) -> Iterator[None]:
    """Let a text encoder find vectors at some places, (row, position, vector), instead of its words' own."""
    if not places:
        yield
        return

    def exchange(_: Any, __: Any, output: Tensor) -> Tensor:
        output = output.clone()
        for row, position, vector in places:
            output[row, position] = vector.to(output)
        return output

    handle = encoder.get_input_embeddings().register_forward_hook(exchange)
    try:
        yield
    finally:
        handle.remove()
