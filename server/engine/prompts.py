"""Prompts: drawing lots in them, and what of one holds at which step with which weight. No torch in here.

The syntax is the one that the common tools share:

- ``(word:1.2)`` weighs, ``(word)`` weighs 1.1 times and ``[word]`` a 1.1th, each of them nested as deep as one likes;
- ``[from:to:0.4]`` changes after that part of the steps (after step 12 where the number is above 1), ``[to:0.4]``
  comes later and ``[from::0.4]`` ends there; ``[a|b]`` takes turns, one for each step;
- ``BREAK`` begins a new stretch for the text encoder;
- ``{a|b|c}`` draws one, ``{2::a|b}`` makes a twice as likely, ``__name__`` draws a line of a wildcard file;
- a backslash takes away what the character behind it means.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from server.engine.errors import InvalidRequest

#: What brackets without a number weigh.
EMPHASIS = 1.1
#: Brackets within brackets; a text that is deeper is no prompt.
DEEPEST = 32


@dataclass(frozen=True)
class Segment:
    """A piece of text that has one weight; `pause` instead of a text stands for BREAK."""

    text: str
    weight: float = 1.0
    pause: bool = False


@dataclass(frozen=True)
class _Changing:
    """Text that depends on the step. options: what it may be, as parsed; when: where the second one begins, or None
    for one after the other at each step.
    """

    options: tuple[tuple[Segment | _Changing, ...], ...]
    when: float | None


Parsed = tuple["Segment | _Changing", ...]


def draw(prompt: str, seed: int, wildcards: Mapping[str, Sequence[str]]) -> str:
    """The prompt with its lots drawn; the same seed draws the same.

    wildcards: the lines of each wildcard file by its name; they may draw lots in turn. Raises InvalidRequest for a
    name that is not among them.
    """
    lots = random.Random(f"prompt {seed}")
    return _draw(prompt, lots, wildcards, 0)


def stages(prompt: str, steps: int) -> list[tuple[Segment, ...]]:
    """What holds at each of the steps; neighbours of the same text and weight are joined."""
    parsed = _parse(prompt)
    seen: dict[tuple[Segment, ...], tuple[Segment, ...]] = {}
    resolved = []
    for step in range(steps):
        stage = _joined(_resolve(parsed, step, steps))
        resolved.append(seen.setdefault(stage, stage))
    return resolved


def plain_text(stage: Sequence[Segment]) -> str:
    """A stage for a text encoder that knows no weights."""
    return re.sub(r"\s+", " ", "".join(" " if part.pause else part.text for part in stage)).strip()


def weighs(stage: Sequence[Segment]) -> bool:
    """Whether a stage asks for more than its text."""
    return any(part.pause or part.weight != 1 for part in stage)


def split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand in no bracket."""
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 2
            continue
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(separator, at):
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


# -- lots

_WILDCARD = re.compile(r"__([A-Za-z0-9][\w\-/ ]*?)__")


def _draw(text: str, lots: random.Random, wildcards: Mapping[str, Sequence[str]], depth: int) -> str:
    if depth > DEEPEST:
        raise InvalidRequest("prompt draws lots in lots without an end.", "Look for a wildcard that names itself.")

    def line(match: re.Match[str]) -> str:
        name = match[1]
        lines = wildcards.get(name)
        if not lines:
            known = ", ".join(sorted(wildcards)) or "none"
            raise InvalidRequest(
                f"prompt names the wildcard {name!r}, and there is no such file.",
                f"Put {name}.txt into a folder called wildcards in a model folder. Those that are there: {known}.",
            )
        return _draw(lots.choice(lines), lots, wildcards, depth + 1)

    out, rest = [], text
    while (opening := _find(rest, "{")) is not None:
        closing = _closing(rest, opening, "{", "}")
        if closing is None:
            break
        out.append(_WILDCARD.sub(line, rest[:opening]))
        options, weights = [], []
        for option in split(rest[opening + 1 : closing], "|"):
            share, marked, choice = option.partition("::")
            weight = _number(share) if marked else None
            options.append(option if weight is None else choice)
            weights.append(1.0 if weight is None else max(weight, 0.0))
        chosen = lots.choices(options, weights if any(weights) else None)[0]
        out.append(_draw(chosen, lots, wildcards, depth + 1))
        rest = rest[closing + 1 :]
    return "".join(out) + _WILDCARD.sub(line, rest)


# -- weights and changes


def _parse(text: str, depth: int = 0) -> Parsed:
    """What brackets make of a text; a bracket without its partner is a letter."""
    out: list[Segment | _Changing] = []
    plain: list[str] = []

    def flush() -> None:
        pieces = re.split(r"\bBREAK\b", "".join(plain))
        for number, piece in enumerate(pieces):
            if number:
                out.append(Segment("", pause=True))
            if piece:
                out.append(Segment(piece))
        plain.clear()

    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\" and at + 1 < len(text):
            plain.append(text[at + 1])
            at += 2
            continue
        closing = None
        if character in "([" and depth < DEEPEST:
            closing = _closing(text, at, character, ")" if character == "(" else "]")
        if closing is None:
            plain.append(character)
            at += 1
            continue
        flush()
        inside = text[at + 1 : closing]
        out.extend(_weighted(inside, depth) if character == "(" else _bracketed(inside, depth))
        at = closing + 1
    flush()
    return tuple(out)


def _weighted(inside: str, depth: int) -> Parsed:
    parts = split(inside, ":")
    weight = _number(parts[-1]) if len(parts) > 1 else None
    if weight is None:
        return _times(_parse(inside, depth + 1), EMPHASIS)
    return _times(_parse(inside[: -len(parts[-1]) - 1], depth + 1), weight)


def _bracketed(inside: str, depth: int) -> Parsed:
    turns = split(inside, "|")
    if len(turns) > 1:
        return (_Changing(tuple(_parse(turn, depth + 1) for turn in turns), None),)
    parts = split(inside, ":")
    when = _number(parts[-1]) if len(parts) in (2, 3) else None
    if when is None:
        return _times(_parse(inside, depth + 1), 1 / EMPHASIS)
    before = _parse(parts[0], depth + 1) if len(parts) == 3 else ()
    return (_Changing((before, _parse(parts[-2], depth + 1)), when),)


def _times(parsed: Parsed, weight: float) -> Parsed:
    return tuple(
        _Changing(tuple(_times(option, weight) for option in part.options), part.when)
        if isinstance(part, _Changing)
        else replace(part, weight=part.weight * weight)
        for part in parsed
    )


def _resolve(parsed: Parsed, step: int, steps: int) -> list[Segment]:
    out: list[Segment] = []
    for part in parsed:
        if isinstance(part, Segment):
            out.append(part)
        elif part.when is None:
            out.extend(_resolve(part.options[step % len(part.options)], step, steps))
        else:
            change = part.when * steps if part.when <= 1 else part.when
            out.extend(_resolve(part.options[1 if step >= change else 0], step, steps))
    return out


def _joined(parts: Sequence[Segment]) -> tuple[Segment, ...]:
    out: list[Segment] = []
    for part in parts:
        if out and not part.pause and not out[-1].pause and out[-1].weight == part.weight:
            out[-1] = replace(part, text=out[-1].text + part.text)
        else:
            out.append(part)
    return tuple(out)


# -- reading


def _find(text: str, character: str, start: int = 0) -> int | None:
    """Where a character stands that no backslash stands before."""
    at = start
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == character:
            return at
        at += 1
    return None


def _closing(text: str, opening: int, left: str, right: str) -> int | None:
    """Where the bracket that opens there is closed."""
    depth, at = 0, opening
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += (text[at] == left) - (text[at] == right)
        if depth == 0:
            return at
        at += 1
    return None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d+(\.\d*)?\s*|\s*\.\d+\s*", text) else None
