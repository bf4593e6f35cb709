"""What the names and shapes of a file's tensors say about a network of the ESRGAN family. No torch in here.

The family's files follow one of three ways of naming: ESRGAN's first one, which counts layers, its second one, and
Real-ESRGAN's; see `server.engine.esrgan` for the networks and for ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """What the shapes of a file's tensors say. scale: how much larger the result is. blocks: residual-in-residual
    dense blocks, or convolutions between the first and the last. growth: of the dense blocks. doublings: of RRDBNet.
    """

    kind: Literal["rrdb", "compact"]
    scale: int
    features: int
    blocks: int
    growth: int = 0
    doublings: int = 0
    unshuffle: int = 1


def describe(shapes: Shapes) -> Architecture | None:
    """The architecture that tensors of these names and shapes belong to, or None if it is none of these."""
    if "body.0.weight" in shapes and "body.1.weight" in shapes and len(shapes["body.1.weight"]) == 1:
        return _compact(shapes)
    names = {ours: shapes[theirs] for theirs, ours in renamed(shapes)}
    first, dense = names.get("first.weight", ()), names.get("blocks.0.dense.0.convs.0.weight", ())
    if len(first) != 4 or len(dense) != 4 or "last.weight" not in names:
        return None
    unshuffle = {3: 1, 12: 2, 48: 4}.get(first[1])
    if unshuffle is None or names["last.weight"][0] != 3:
        return None
    blocks = 1 + max(int(name.split(".")[1]) for name in names if name.startswith("blocks."))
    doublings = sum(re.fullmatch(r"ups\.\d+\.weight", name) is not None for name in names)
    return Architecture("rrdb", 2**doublings // unshuffle, first[0], blocks, dense[0], doublings, unshuffle)


def renamed(names: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Each name of a file with ours, for whichever of the family's three ways of naming it follows.

    Names that belong to none of them are left out.
    """
    numbers = sorted({int(found[1]) for name in names if (found := re.match(r"model\.(\d+)\.weight", name))})
    for name in names:
        ours = name
        for pattern, replacement in _NAMES:
            ours = re.sub(pattern, replacement, ours)
        # The oldest way counts layers, with those that hold no weights between.
        counted = re.fullmatch(r"model\.(\d+)\.(weight|bias)", name)
        if counted and len(numbers) >= 3:
            place = numbers.index(int(counted[1]))
            part = {0: "first", len(numbers) - 2: "fine", len(numbers) - 1: "last"}.get(place, f"ups.{place - 1}")
            ours = f"{part}.{counted[2]}"
        if re.match(r"(first|blocks|trunk|ups|fine|last|body\.\d+)\.", ours):
            yield name, ours


def _dense(found: re.Match[str]) -> str:
    return f"blocks.{found[1]}.dense.{int(found[2]) - 1}.convs.{int(found[3]) - 1}."


_NAMES: tuple[tuple[str, Any], ...] = (
    (r"^(?:body|RRDB_trunk)\.(\d+)\.(?:rdb|RDB)(\d)\.conv(\d)\.", _dense),
    (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", _dense),
    (r"^model\.1\.sub\.\d+\.(?=weight|bias)", "trunk."),
    (r"^(?:conv_body|trunk_conv)\.", "trunk."),
    (r"^conv_first\.", "first."),
    (r"^(?:conv_up|upconv)(\d)\.", lambda found: f"ups.{int(found[1]) - 1}."),
    (r"^(?:conv_hr|HRconv)\.", "fine."),
    (r"^conv_last\.", "last."),
)


def _compact(shapes: Shapes) -> Architecture | None:
    convs = sorted(int(name.split(".")[1]) for name, shape in shapes.items() if len(shape) == 4)
    first, last = shapes["body.0.weight"], shapes.get(f"body.{convs[-1]}.weight", ())
    scale = {3: 1, 12: 2, 27: 3, 48: 4}.get(last[0] if last else 0)
    if scale is None or first[1:2] != (3,):
        return None
    return Architecture("compact", scale, first[0], len(convs) - 2)
