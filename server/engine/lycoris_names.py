"""LoHa and LoKr files by the names and shapes of their tensors. No torch in here.

LyCORIS (Yeh et al. 2024, https://arxiv.org/abs/2309.14859) writes for each layer that it adapts a few factors of what
is added to the layer's weight; see `lycoris` for the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

_LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
_LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
_PARTS = (*_LOHA, *_LOKR)
#: The sets of factors that make a layer whole, beside its `alpha`.
_WHOLE = (
    {*_LOHA[:4]}, {*_LOHA},
    *({*first, *second} for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
      for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"), ("lokr_w2_a", "lokr_w2_b", "lokr_t2"))),
)  # fmt: skip
#: Tensors of other kinds that may lie in the same files, by how their names end.
_OTHER_KINDS = (
    ("lokr_t1", "a decomposed first factor"), ("lora_mid.weight", "LoCon with a core (Tucker)"), ("oft_blocks", "OFT"),
    ("oft_diag", "diagonal OFT"), ("diff", "whole weights"), ("diff_b", "biases"), ("w_norm", "norms"),
    ("b_norm", "norms"), ("on_input", "(IA)³"), ("a1.weight", "GLoRA"), ("b1.weight", "GLoRA"), ("scalar", "a scalar"),
    ("bias_values", "sparse biases"),
)  # fmt: skip

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layer:
    """What is added to one layer's weight. rows, columns: of that weight as a matrix (columns of a convolution count
    its kernel, but where the factors leave it to a core). numel: of the weight. rank: 0 where nothing is of low rank.
    """

    kind: Literal["LoHa", "LoKr"]
    rows: int
    columns: int
    numel: int
    rank: int


def split(key: str) -> tuple[str, str]:
    """The layer's name and the factor's; the latter is empty for a tensor of another kind."""
    layer, _, part = key.rpartition(".")
    return (layer, part) if part in _PARTS else (key, "")


def layers(shapes: Shapes) -> dict[str, Layer]:
    """Each LoHa and LoKr layer of a file, by its name; ValueError with the reason for what cannot be used."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        name, part = split(key)
        if part:
            found.setdefault(name, {})[part] = shape
    for name in found:
        if f"{name}.dora_scale" in shapes:
            raise ValueError("it holds DoRA (dora_scale) on LoHa or LoKr")
    return {name: _layer(name, parts) for name, parts in found.items()}


def other_kind(shapes: Shapes) -> str | None:
    """A kind of LyCORIS' that is neither LoRA, LoHa nor LoKr and has tensors in a file: its words and its name."""
    for key in shapes:
        for ending, words in _OTHER_KINDS:
            if key.endswith("." + ending):
                return f"{words} ({ending})"
    return None


def as_lora(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """A file's shapes with each LoHa and LoKr layer as if it were a LoRA's, for what is told by the layers' widths."""
    kept = {key: shape for key, shape in shapes.items() if not split(key)[1]}
    for name, layer in layers(shapes).items():
        kept[f"{name}.lora_down.weight"] = (layer.rank, layer.columns)
        kept[f"{name}.lora_up.weight"] = (layer.rows, layer.rank)
    return kept


def _layer(name: str, parts: dict[str, tuple[int, ...]]) -> Layer:
    if set(parts) not in _WHOLE or any(not 2 <= len(shape) <= 4 for shape in parts.values()):
        raise ValueError(f"the factors of {name} are not whole: it has {', '.join(sorted(parts))}")
    if "hada_w1_a" in parts:
        return _loha(name, parts)
    one = parts.get("lokr_w1") or _product(name, parts["lokr_w1_a"], parts["lokr_w1_b"])
    rank = 0 if "lokr_w1" in parts else parts["lokr_w1_b"][0]
    if "lokr_w2" in parts:
        other = parts["lokr_w2"]
    else:
        rank = parts["lokr_w2_b"][0]
        other = _product(name, parts["lokr_w2_a"], parts["lokr_w2_b"], parts.get("lokr_t2"))
    rows, columns = one[0] * other[0], one[1] * other[1]
    return Layer("LoKr", rows, columns, rows * columns * prod(other[2:]), rank)


def _loha(name: str, parts: dict[str, tuple[int, ...]]) -> Layer:
    one, other = (_product(name, parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"], parts.get(f"hada_t{n}")) for n in (1, 2))
    if one != other:
        raise ValueError(f"the factors of {name} do not belong together")
    return Layer("LoHa", one[0], one[1], prod(one), parts["hada_w1_b"][0])


def _product(name: str, a: Any, b: Any, core: Any = None) -> tuple[int, ...]:
    """The shape of a @ b, or of what a core of (rank, rank, k, k) makes of (rank, rows) and (rank, columns)."""
    if core is not None and len(core) == 4 and core[:2] == (a[0], b[0]):
        return (a[1], b[1], *core[2:])
    if core is not None or len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        raise ValueError(f"the factors of {name} do not belong together")
    return (a[0], b[1])
