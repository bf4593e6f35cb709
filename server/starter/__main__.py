"""`python -m server.starter`: grow the pool, train, export."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Annotated

import torch
import typer
from transformers import CLIPTokenizer

from server.starter import autoencoder, config, curves, diffusion, materials, pool, shipped
from server.starter import code as codes
from server.starter import evaluate as evaluation
from server.starter import export as exports
from server.starter.captions import COLORLESS, material_caption
from server.starter.networks import build_autoencoder
from server.starter.people import people
from server.starter.poses import ACTIONS
from server.starter.scenes import scenes
from server.starter.stock import Stock, stock_up
from server.starter.text import build_tokenizer
from server.starter.words import COLORS, MATERIALS, SHAPES

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
app.command()(evaluation.evaluate)
Recipe = Annotated[Path, typer.Option(help="the recipe")]
Start = Annotated[
    Path | None, typer.Option("--from", help="exported weights to go on from, where there is no checkpoint yet")
]


@app.command()
def grow(recipe: Recipe = config.DEFAULT) -> None:
    """Make the pool's pictures: a little of each kind in turn."""
    options = _options(recipe)
    most = max(options.pool.materials, options.pool.scenes, options.pool.people)
    for number in range(1, most + 1):
        for kind in pool.KINDS:
            chunks = -(-getattr(options.pool, kind) * number // most)
            pool.grow(options.out / "pool", kind, chunks, options.seed, options.device)


@app.command()
def train(recipe: Recipe = config.DEFAULT, start: Start = None) -> None:
    """Train the denoiser, the text encoder and the ControlNets; goes on where it stopped."""
    options = _options(recipe)
    tokenizer, code = prepare(options, start)

    folder = options.out / "pool"
    seen: tuple[list[Path], dict[str, Stock]] = ([], {})

    def restock() -> dict[str, Stock]:
        nonlocal seen
        chunks = pool.chunks(folder)
        if chunks != seen[0]:
            seen = (chunks, stock_up(folder, tokenizer, options.device))
        return seen[1]

    diffusion.train(options, tokenizer, code, restock, start_from=start)


@app.command()
def train_autoencoder(recipe: Recipe = config.DEFAULT, start: Start = None) -> None:
    """Train the first stage's decoder; may run beside `train`."""
    options = _options(recipe)
    tokenizer, code = prepare(options, start)
    autoencoder.train(options, code, stock_up(options.out / "pool", tokenizer, options.device), start)


@app.command()
def export(
    recipe: Recipe = config.DEFAULT,
    start: Start = None,
    folder: Annotated[Path, typer.Option(help="where the weights go")] = exports.WEIGHTS,
) -> None:
    """Write the averaged weights as fp16 for the plain diffusers pipelines.

    Where no decoder was trained here, the autoencoder is that of the weights that the training began with (--from).
    """
    options = _options(recipe)
    tokenizer, code = prepare(options, start)
    step, networks = diffusion.averaged(options, tokenizer)
    if start is not None and not (options.out / autoencoder.CHECKPOINT).exists():
        network = build_autoencoder(options, code)
        network.load_state_dict(shipped.autoencoder_of(start).state_dict())
    else:
        network = autoencoder.trained(options, code)
    size = exports.export(networks, network, tokenizer, code, folder)
    print(f"step {step}: {size / 2**20:.1f} MiB in {folder}")


@app.command()
def losses(
    recipe: Recipe = config.DEFAULT,
    folder: Annotated[Path, typer.Option(help="where the pictures go")] = Path("docs/pictures"),
) -> None:
    """Draw the loss curves of the trainings that were run here."""
    options = _options(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    logs = {"diffusion": diffusion.LOSSES, "autoencoder": autoencoder.LOSSES}
    for name, log in logs.items():
        if not (options.out / log).exists():
            print(f"there was no training of the {name} in {options.out}", flush=True)
            continue
        read = curves.read(options.out / log)
        read = curves.diffusion_groups(read) if name == "diffusion" else read
        curves.plot(read, f"{name}: loss over steps").save(folder / f"starter-losses-{name}.png")


@app.command()
def sheet(
    folder: Annotated[Path, typer.Option(help="where the pictures go")] = Path("docs/pictures"), seed: int = 0
) -> None:
    """Draw what the model is taught: every material in its own colours, every typical solid and person."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    tiles = materials.render(list(MATERIALS), 256, generator, typical=True).image
    evaluation.tiled(materials.shown(MATERIALS, tiles, 192), 6).save(folder / "starter-materials.png")
    # Of so many, some are of each shape and each action.
    stills = scenes(96, 128, generator, "cpu", typical=True)
    portraits = people(128, 128, generator, "cpu", typical=True)
    shapes, actions = stills.shape.tolist(), portraits.action.tolist()
    first = [shapes.index(number) for number in range(len(SHAPES))]
    acting = [actions.index(number) for number in range(len(ACTIONS))]
    typical = torch.cat((stills.image[first], portraits.image[acting]))
    evaluation.tiled(typical, 9).save(folder / "starter-typical.jpg", quality=90)


def prepare(options: config.Config, start: Path | None = None) -> tuple[CLIPTokenizer, codes.PatchCode]:
    """The tokenizer and the latent code: made from the pool once, or taken from exported weights, then read."""
    words, code_path = options.out / "tokenizer", options.out / "code.safetensors"
    if start is not None and not code_path.exists():
        shipped.tokenizer_of(start).save_pretrained(words)
        shipped.code_of(start).save(code_path)
    chunks = {kind: pool.read(options.out / "pool", kind) for kind in pool.KINDS}
    if not words.exists():
        rng = Random(options.seed)
        captions = [
            material_caption(name, color if name not in COLORLESS else None, rng.uniform(0.5, 2), rng.random(), rng)
            for name in MATERIALS for color in (None, *COLORS) for _ in range(20)
        ]  # fmt: skip
        groups = [group for parts in chunks.values() for part in parts for group in part.captions]
        captions += [caption for group in groups for caption in group]
        build_tokenizer(captions, words, options.text.tokens)
    if not code_path.exists():
        generator = torch.Generator().manual_seed(options.seed)
        images = [torch.tensor(chunk.image) for parts in chunks.values() for chunk in parts[:6]]
        pictures = torch.cat(images)
        pictures = pictures[torch.randperm(len(pictures), generator=generator)[: options.code.pictures]]
        code, kept = codes.fit(pictures.float() / 127.5 - 1, options.code.channels, options.code.whiten)
        print(f"the code keeps {kept:.1%} of the variance; factor {code.factor:.4f}", flush=True)
        code.save(code_path)
    return CLIPTokenizer.from_pretrained(words), codes.load_code(code_path)


def _options(recipe: Path) -> config.Config:
    options = config.load(recipe)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    app()
