"""What can paint: the models of the model folders, known by opaque ids, read without loading a tensor.

Imports no torch: the server's process lists models, and only the worker's process loads them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from server.engine import esrgan_names, parts
from server.engine.descriptions import Description, Kind
from server.engine.detectors import AUX_FOLDER, ESTIMATORS
from server.engine.errors import RefusedModel, UnknownModel
from server.engine.headers import read_header
from server.engine.probe import (
    DESCRIBED,
    describe_pipeline,
    describe_single_file,
    pickle_refusal,
)

#: The small model that ships with the project.
STARTER = Path(__file__).resolve().parent.parent / "starter" / "weights"

#: The kinds of models that make a picture follow a control, the better one first.
FOLLOWERS: tuple[Kind, ...] = ("controlnet", "t2i_adapter")

#: Suffixes of files that can run code while they are loaded.
PICKLES = {".ckpt", ".pt", ".pth", ".bin"}


@dataclass(frozen=True)
class ModelInfo(Description):
    """One model, as its header tells (see `probe.Description` for what a header tells).

    id: opaque, stable across restarts. name: for people. path: a diffusers folder or a .safetensors file; it never
    comes from, and never goes to, a client. starter: whether it ships with the project. base: for a single file that
    holds a transformer alone, the folder that has the rest. sources: for a single file without such a folder, where
    each part of its pipeline lies.
    """

    id: str = ""
    name: str = ""
    path: Path = Path()
    starter: bool = False
    base: Path | None = None
    sources: tuple[parts.Source, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A file or a folder that looks like a model and will not be loaded, and why."""

    name: str
    error: RefusedModel


class Catalog:
    """The models under some folders, and the starter model if it is there.

    A link is followed if what it leads to lies under one of the folders, and refused otherwise.
    """

    def __init__(self, folders: Sequence[Path], starter: Path | None = STARTER) -> None:
        self.folders = [Path(folder) for folder in folders]
        self.starter = starter
        self.rescan()

    def models(self) -> list[ModelInfo]:
        """All models: checkpoints first, the starter before all others, those that can only inpaint last, by name."""
        kinds = get_args(Kind)
        return sorted(
            self._models.values(),
            key=lambda m: (kinds.index(m.kind), not m.starter, "text-to-image" not in m.tasks, m.name.lower(), m.id),
        )

    def refused(self) -> list[Refused]:
        """What was refused, by name."""
        return sorted(self._refused, key=lambda refused: refused.name)

    def get(self, model_id: str, kind: str | None = None) -> ModelInfo:
        """The model with this id, which must be of this kind if one is named; `UnknownModel` otherwise."""
        info = self._models.get(model_id)
        if info is None:
            raise UnknownModel(f"There is no model with the id {model_id!r}.", "List the models and take an id of it.")
        if kind is not None and info.kind != kind:
            raise UnknownModel(f"{info.name} is a {info.kind} and not a {kind}.", f"Take the id of a {kind}.")
        return info

    def default(self) -> ModelInfo:
        """The starter model if it is there, else the first checkpoint by name; `UnknownModel` if there is none."""
        for info in self.models():
            if info.kind == "checkpoint":
                return info
        raise UnknownModel(
            "There is no checkpoint to paint with.",
            "Put one (a .safetensors file or a diffusers folder) into a model folder: "
            + (", ".join(str(folder) for folder in self.folders) or "none is configured")
            + ".",
        )

    def controlnet(self, control: str, checkpoint: ModelInfo) -> ModelInfo:
        """What makes the checkpoint follow this kind of control; `UnknownModel` if there is nothing.

        The first ControlNet for it alone, else the first ControlNet-Union that knows it, else the first T2I-Adapter.
        """
        fitting = [info for info in self.models() if info.kind in FOLLOWERS and info.fits(checkpoint)]
        for info in sorted(fitting, key=lambda info: (FOLLOWERS.index(info.kind), bool(info.control_types))):
            if info.shows(control):
                return info
        there = sorted({shown for info in fitting for shown in info.controls()})
        raise UnknownModel(
            f"No ControlNet and no T2I-Adapter for {control!r} fits {checkpoint.name}.",
            f"Kinds that are there for it: {', '.join(there) or 'none'}. Put another one into a model folder.",
        )

    def follower(self, model_id: str, control: str) -> ModelInfo:
        """The ControlNet or T2I-Adapter with this id; a Union must know the kind of control. `UnknownModel` if not."""
        info = self.get(model_id)
        if info.kind not in FOLLOWERS:
            raise UnknownModel(f"{info.name} is a {info.kind} and not a controlnet.", "Take the id of a controlnet.")
        if info.control_types and not info.shows(control):
            raise UnknownModel(
                f"{info.name} knows no control of the kind {control!r}.", f"It knows: {', '.join(info.controls())}."
            )
        return info

    def image_adapter(self, checkpoint: ModelInfo) -> ModelInfo:
        """The first image adapter that fits the checkpoint; `UnknownModel` if there is none."""
        for info in self.models():
            if info.kind == "image_adapter" and info.fits(checkpoint):
                return info
        remedy = "Put an IP-Adapter for its family (a .safetensors file) into a model folder."
        raise UnknownModel(f"No image adapter fits {checkpoint.name}.", remedy)

    def image_encoder(self, adapter: ModelInfo) -> ModelInfo:
        """The first image encoder that sees for the adapter; `UnknownModel` if there is none."""
        for info in self.models():
            if info.kind == "image_encoder" and adapter.layout[1] in info.layout:
                return info
        raise UnknownModel(
            f"There is no image encoder for {adapter.name}.",
            "Put the image encoder that its authors name (a folder with config.json) into a model folder.",
        )

    def embeddings(self, checkpoint: ModelInfo) -> tuple[ModelInfo, ...]:
        """The textual inversions that fit the checkpoint; a prompt asks for one by its name."""
        return tuple(info for info in self.models() if info.kind == "embedding" and info.fits(checkpoint))

    def roots(self) -> list[Path]:
        """The folders that are looked through, the starter's first."""
        return [*([self.starter] if self.starter else []), *self.folders]

    def rescan(self) -> None:
        """Look at the folders again."""
        self._models: dict[str, ModelInfo] = {}
        self._refused: list[Refused] = []
        roots = self.roots()
        allowed = [root.resolve() for root in roots]
        for root in roots:
            if root.is_dir():
                for path in _candidates(root, allowed, self._refused):
                    self._add(root, path, allowed)
        self._complete()

    def _complete(self) -> None:
        """Give each single file of a transformer what it lacks of its pipeline; refuse it where that is not there.

        A file that holds everything needs nothing. Another one takes all but its transformer from a diffusers folder
        of its family; without one, each part from itself or else from a file or a folder of that part alone, of several
        that fit the largest, which is the most exact.
        """
        singles = [
            info for info in self._models.values()
            if info.kind == "checkpoint" and info.networks and not info.path.is_dir()
        ]  # fmt: skip
        others = sorted(
            (info for info in self._models.values() if info.kind in ("text_encoder", "vae")),
            key=lambda info: (-info.size_bytes, info.name.lower(), info.id),
        )
        beside = [parts.Found(part, info.path, info.family) for info in others for part in info.networks]
        for info in singles:
            transformer, *rest = info.networks
            own = [parts.Found(part, info.path) for part in rest]
            sources, missing = parts.choose(info.family, transformer, info.latent_channels, own, beside)
            whole = all(source.path == info.path for source in sources)
            base = None if whole and not missing else self._base(info)
            if base is not None:
                self._models[info.id] = replace(info, base=base.path, native_size=base.native_size)
            elif missing:
                del self._models[info.id]
                self._refused.append(Refused(info.path.name, self._incomplete(info, missing)))
            else:
                taken = {source.path for source in sources if source.path != info.path}
                size = info.size_bytes + sum(other.size_bytes for other in others if other.path in taken)
                painter = parts.Source("transformer", info.path, transformer.prefix)
                self._models[info.id] = replace(info, size_bytes=size, sources=(painter, *sources))

    def _base(self, info: ModelInfo) -> ModelInfo | None:
        """The first diffusers folder whose transformer is as wide as the file's."""
        folders = (one for one in self._models.values() if one.kind == "checkpoint" and one.path.is_dir())
        return next((one for one in folders if one.family == info.family and one.layout == info.layout), None)

    @staticmethod
    def _incomplete(info: ModelInfo, missing: list[parts.Slot]) -> RefusedModel:
        lacking = "; ".join(slot.published for slot in missing)
        return RefusedModel(
            f"{info.path.name} holds the transformer of a {info.family} model, and nothing here fits it as: {lacking}.",
            "Put the files that are named into the models folder (brushwire doctor tells where it is), or a whole "
            f"diffusers folder of {info.family}. The page on checkpoints says which files go together.",
        )

    def _refuse(self, root: Path, path: Path, error: RefusedModel) -> None:
        self._refused.append(Refused(path.relative_to(root).as_posix(), error))

    def _add(self, root: Path, path: Path, allowed: list[Path]) -> None:
        starter = root == self.starter
        try:
            info = _read(root, path, allowed)
        except RefusedModel as error:
            self._refuse(root, path, error)
            return
        except OSError as error:
            self._refuse(root, path, _unreadable(path, error))
            return
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"{path.name} is configured in a way that makes no sense ({type(error).__name__}: {error})."
            self._refuse(root, path, RefusedModel(reason, "Download the model again."))
            return
        if info is not None and info.id not in self._models:
            self._models[info.id] = replace(info, starter=starter)


def _unreadable(path: Path, error: OSError) -> RefusedModel:
    return RefusedModel(f"{path.name} cannot be read: {error.strerror}.", "Let the server's user read it.")


def _candidates(root: Path, allowed: list[Path], refused: list[Refused]) -> Iterator[Path]:
    """Every path under root that can be a model, in a stable order."""
    pending, seen = [root], set()
    while pending:
        folder = pending.pop()
        if folder.resolve() in seen:  # links that lie under the folders can form a ring
            continue
        seen.add(folder.resolve())
        try:
            names = sorted((entry.name for entry in os.scandir(folder)), reverse=True)
        except OSError as error:
            refused.append(Refused(folder.relative_to(root).as_posix(), _unreadable(folder, error)))
            continue
        is_model = "model_index.json" in names or "config.json" in names
        if is_model:
            yield folder
        for name in names:
            path = folder / name
            if not _lies_under(path, allowed):
                if not is_model:  # a model's own links are refused with the model
                    refused.append(Refused(path.relative_to(root).as_posix(), _escapes(path)))
            elif path.is_dir():
                if name != AUX_FOLDER:  # weights of detectors, which nothing but they can load
                    pending.append(path)
            elif not is_model and _is_weights(path):
                yield path


def _lies_under(path: Path, allowed: list[Path]) -> bool:
    return any(path.resolve().is_relative_to(place) for place in allowed)


def _check_links(folder: Path, allowed: list[Path]) -> None:
    """Raise `RefusedModel` if anything in a model's folder leads out of the model folders."""
    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in (*folders, *files):
            if not _lies_under(Path(place) / name, allowed):
                raise _escapes(Path(place) / name)


def _is_weights(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in {".safetensors", *PICKLES}


def _read(root: Path, path: Path, allowed: list[Path]) -> ModelInfo | None:
    """None for a folder that is a part of a model and not a model, and for what serves something else than painting."""
    if path.is_file():
        if path.suffix.lower() in PICKLES:
            raise pickle_refusal(path)
        header = read_header(path)
        if esrgan_names.describe(header.shapes) is not None:
            return None  # it enlarges and does not paint: `upscalers` lists it
        description = describe_single_file(path, header)
        size, fingerprint = header.size, b""
    else:
        index = path / ("model_index.json" if (path / "model_index.json").is_file() else "config.json")
        raw = index.read_bytes()
        try:
            config: Any = json.loads(raw)
        except ValueError as error:
            raise RefusedModel(f"{path.name}/{index.name} is not JSON.", "Download the model again.") from error
        if not isinstance(config, dict):
            raise RefusedModel(f"{path.name}/{index.name} is not a JSON object.", "Download the model again.")
        is_pipeline = index.name == "model_index.json"
        if config.get("_class_name") in ESTIMATORS:
            return None  # it reads pictures: `detectors` lists it
        describe = describe_pipeline if is_pipeline else DESCRIBED.get(_class_of(config))
        if describe is None or _is_part(path, config):
            return None
        _check_links(path, allowed)
        description = describe(path, config)
        size, fingerprint = description.size_bytes, raw
    relative = path.relative_to(root).as_posix()
    name = path.stem if path.is_file() else (path.name if path != root else root.parent.name)
    digest = hashlib.sha256(f"{relative}\0{size}\0".encode() + fingerprint).hexdigest()[:16]
    return ModelInfo(**vars(replace(description, size_bytes=size)), id=digest, name=name, path=path)


def _class_of(config: Mapping[str, Any]) -> str:
    """The class that a folder's config.json names, as diffusers or as transformers writes it."""
    architectures = config.get("architectures")
    named = config.get("_class_name") or (architectures[0] if isinstance(architectures, list) and architectures else "")
    return str(named)


def _is_part(path: Path, config: dict[str, Any]) -> bool:
    """Whether the folder is a pipeline's own part; ControlNets may lie within a pipeline's folder without being one."""
    nets = ("ControlNet", "T2IAdapter")
    return not any(word in _class_of(config) for word in nets) and (path.parent / "model_index.json").is_file()


def _escapes(path: Path) -> RefusedModel:
    return RefusedModel(
        f"{path.name} is a link that leads out of the model folders.",
        "Add the folder that it leads to with --models, or move the file here.",
    )
