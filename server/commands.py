"""Commands that ask for a job: one for each kind of job, with an option for each of its fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bridge_protocol import jobs
from bridge_protocol.blobs import Blob, BlobRef
from bridge_protocol.client import BridgeClient, JobResult
from bridge_protocol.messages import Accepted
from bridge_protocol.records import InvalidValue, check
from server import options, pictures, provenance, watching

out = Console()
err = Console(stderr=True)

Out = Annotated[Path, typer.Option("--out", help="Where the results go; nothing there is overwritten.")]

Like = Annotated[
    Path | None,
    typer.Option("--like", help="Paint a saved picture again, from the job that it carries; other options change it."),
]

X = Annotated[str, typer.Option("--x", help="What changes from column to column.", metavar="FIELD=VALUE,…")]
Y = Annotated[
    str | None,
    typer.Option("--y", help="What changes from row to row.", metavar="FIELD=VALUE,…"),
]

#: Writes what a job made into a folder, and returns the paths.
Save = Callable[[JobResult, Path], list[Path]]


def command(kind: str, positional: str, doc: str, save: Save | None = None) -> Callable[..., None]:
    """A command, for Typer, that submits a job of that kind and saves what it made.

    positional: the field that is an argument instead of an option; it may be left out if the field has a default.
    save: None writes each output as a file of its own (see `save_each`).
    """
    name = f"brushwire {kind.lower()}"

    def run(out: Path, detach: bool, timeout: float | None, like: Path | None = None, **given: Any) -> None:
        chosen = save or save_each
        if like is None:
            job = options.job_of(kind, given)
        else:
            job, index = _job_like(kind, like, given)
            chosen = functools.partial(save_each, only=index)
        submit(job, name, str(given[positional] or kind.lower()), out, detach, timeout, chosen)

    own = [("like", Like, None)] if kind == "Generate" else []
    return _with_options(run, kind, positional, doc, own)


def grid_command() -> Callable[..., None]:
    """The command for a Grid: the options of a Generate, and an axis or two."""

    def run(out: Path, detach: bool, timeout: float | None, x: str, y: str | None, **given: Any) -> None:
        axes = {name: _axis(name, text) for name, text in (("x", x), ("y", y)) if text is not None}
        job = check(jobs.Grid(options.job_of("Generate", given), **axes))
        submit(job, "brushwire grid", str(given["prompt"] or "grid"), out, detach, timeout, save_each)

    doc = "Paint one job many times with a field or two changed, onto one labelled sheet."
    return _with_options(run, "Generate", "prompt", doc, [("x", X, inspect.Parameter.empty), ("y", Y, None)])


def _axis(name: str, text: str) -> jobs.Axis:
    field, equals, values = text.partition("=")
    if not equals:
        raise InvalidValue(name, text, "given as FIELD=VALUE,VALUE,…")
    # Prompts hold commas; where a semicolon stands, it parts the values.
    return jobs.Axis(field, [value.strip() for value in values.split(";" if ";" in values else ",")])


def _with_options(
    run: Callable[..., None], kind: str, positional: str, doc: str, more: list[tuple[str, Any, Any]]
) -> Callable[..., None]:
    """A command with one argument, the options that all have, some more, and one for each field of the kind of job."""
    own: list[tuple[str, Any, Any]] = [
        ("out", Out, Path()),
        ("detach", Annotated[bool, typer.Option("--detach", help="Do not wait; fetch it later.")], False),
        ("timeout", Annotated[float | None, typer.Option(help="Seconds to wait at most.")], None),
    ]
    fixed = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in [*own, *more]
    ]
    every = [options.argument(kind, positional), *fixed, *options.parameters(kind, without=positional)]
    return options.shaped(run, every, doc)


def submit(
    job: Any, client_name: str, title: str, folder: Path, detach: bool, timeout: float | None, save: Save
) -> None:
    """Ask the running server for a job, or start a server; wait for its end unless detached, and save what it made."""
    with BridgeClient(client_name, start_server=True) as client:
        accepted = threading.Event()
        handle = client.submit(
            job,
            priority="batch" if detach else "interactive",
            auto_acknowledge=False,
            on_event=lambda event: accepted.set() if isinstance(event, Accepted) else None,
        )
        if detach:
            while not accepted.wait(0.1):
                if handle.done:
                    handle.result()  # raises what it was refused with
            err.print(f"Fetch it with: brushwire jobs fetch {handle.id}")
            return
        result = watching.follow(handle, title, timeout)
        report(result, save(result, folder))
        handle.acknowledge()


def _job_like(kind: str, picture: Path, given: dict[str, Any]) -> tuple[Any, int]:
    """The job that a picture was painted from, with the given options in place of its own, and which picture of its
    batch it is. Raises InvalidValue.
    """
    told, _ = pictures.job_text(picture)
    if told is None or told["kind"] != kind:
        allowed = f"a picture that carries a {kind} job"
        raise InvalidValue("like", str(picture), allowed, "Look at it with: brushwire inspect FILE")
    job = options.job_of(kind, given, provenance.fields_of(told))
    for path, array in _arrays(job):
        if not isinstance(array, Blob):
            sentence = "given again: the picture carries its digest alone"
            raise InvalidValue(path, f"{array.dtype} {array.shape}", sentence, f"Add the option for {path}.")
    index = told.get("picture", {}).get("index", 0)
    return job, index if isinstance(index, int) else 0


def _arrays(record: Any, path: str = "") -> Iterator[tuple[str, Blob | BlobRef]]:
    """Every array of a job, with its field's path."""
    if isinstance(record, (Blob, BlobRef)):
        yield path, record
    elif isinstance(record, list):
        for number, item in enumerate(record):
            yield from _arrays(item, f"{path}[{number}]")
    elif dataclasses.is_dataclass(record):
        for field in dataclasses.fields(record):
            yield from _arrays(getattr(record, field.name), f"{path}.{field.name}" if path else field.name)


def save_each(result: JobResult, folder: Path, only: int | None = None) -> list[Path]:
    """Write each thing that a job made as a new file; whole files that it made keep the suffix in their info.

    only: which picture of a batch, if not all.
    """
    paths = []
    for output, blob in zip(result.outputs, result.blobs, strict=True):
        if only is not None and output.info.get("index", only) != only:
            continue
        name = _file_name(output.name, output.info)
        array = watching.array_of(blob)
        suffix = output.info.get("suffix")
        if suffix:
            paths.append(pictures.write_file(array, folder, name, suffix))
        else:
            told = provenance.of_picture(result.info, output.info)
            paths.append(pictures.write(array, folder, name, told))
    return paths


def _file_name(name: str, info: Mapping[str, Any]) -> str:
    if "frame" in info:
        return f"{name}-{info['frame']:04d}"
    if "x" in info and "y" in info:
        return f"{name}-x{info['x']}-y{info['y']}"
    return f"{name}-{info['seed']}" if "seed" in info else name


def report(result: JobResult, paths: list[Path]) -> None:
    """Print where the results are, and whatever was done otherwise than asked."""
    for path in paths:
        out.print(str(path), soft_wrap=True, highlight=False)
    for fallback in result.info.get("fallbacks", []):
        err.print(f"note: {escape(fallback)}", style="yellow")
