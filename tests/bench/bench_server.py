"""A whole `Generate` through the server against the same diffusers pipeline called directly, both warm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeClient
from bridge_protocol.jobs import Generate
from server.engine.catalog import STARTER, Catalog
from server.temporary import TemporaryServer
from tests.bench.table import Row, at_most, in_turns

PROMPT = "a red brick wall"
SIZE, STEPS, ROUNDS = 256, 20, 7


def rows() -> Iterator[Row]:
    """The one row, with the two pictures compared bit for bit."""
    info = Catalog([], STARTER).default()
    pipeline = StableDiffusionPipeline.from_pretrained(info.path, torch_dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)

    def direct(guidance_scale: float) -> np.ndarray:
        picture = pipeline(
            PROMPT,
            width=SIZE,
            height=SIZE,
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(5),
        ).images[0]
        return np.asarray(picture)

    with TemporaryServer([]) as server, BridgeClient("bench", runtime=server.runtime) as client:
        job = Generate(PROMPT, width=SIZE, height=SIZE, steps=STEPS, seed=5, guidance_scale=4.0)

        rest = []

        def served() -> np.ndarray:
            start = time.perf_counter()
            result = client.run(job)
            rest.append((time.perf_counter() - start - sum(result.info["timings"].values())) * 1e3)
            blob = result.blobs[0]
            return np.frombuffer(blob.data, np.uint8).reshape(blob.ref.shape)

        same = bool((served() == direct(4.0)).all())  # warms both, too
        ours, theirs = in_turns(served, lambda: direct(4.0), rounds=ROUNDS, warm_up=1)
    what = f"Generate, {SIZE}², {STEPS} steps, previews on, through the server"
    yield from stall_rows()
    yield at_most(what, ours, theirs, "the diffusers pipeline itself", 1.03)
    yield Row("… of which not in the painter: wire, queue, journal, store", float(np.median(rest)), ours, "the whole")
    yield Row("… and its pixels against the pipeline's", float(same), 1.0, "equal", "= 1", same, "")


def stall_rows() -> Iterator[Row]:
    """How long the server's loop keeps a second client waiting while it loads a model, paints and takes in pictures."""
    with (
        TemporaryServer([]) as server,
        BridgeClient("painter", runtime=server.runtime) as painter,
        BridgeClient("b", runtime=server.runtime) as other,
    ):
        idle = _pings(other, lambda: False, count=200)
        job = painter.submit(Generate(PROMPT, width=SIZE, height=SIZE, steps=STEPS, seed=5))
        loading = _pings(other, lambda: job.done)
        picture = Blob.of(np.random.default_rng(0).integers(0, 255, (2048, 2048, 4), np.uint8), color="srgb")
        job = painter.submit(Generate(PROMPT, image=picture, denoising_strength=0.0))
        taking = _pings(other, lambda: job.done)
    what = "p99 of an event's round trip while "
    yield Row(what + "a model loads and paints", loading, idle, "the same, idle", "< 20 ms", loading < 20)
    yield Row(what + "a 2048² picture comes and goes", taking, idle, "the same, idle", "< 20 ms", taking < 20)


def _pings(client: BridgeClient, done: Callable[[], bool], count: int = 100_000) -> float:
    """The 99th percentile in ms of a second client's round trips until `done`."""
    times = []
    while len(times) < count and not done():
        start = time.perf_counter()
        client.ping()
        times.append((time.perf_counter() - start) * 1e3)
        time.sleep(0.002)
    return float(np.percentile(times, 99))
