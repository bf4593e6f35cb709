"""The whole way with the real engine and a tiny model of random weights."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeError, JobCancelledError
from bridge_protocol.jobs import Control, Generate
from server.engine.catalog import Catalog
from server.settings import Settings
from tests import tiny_models
from tests.server.conftest import RunningServer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.sd(folder / "sd", seed=0)
    tiny_models.controlnet(folder / "sd", folder / "sd-controlnet-depth", seed=1)
    return folder


@pytest.fixture(scope="module")
def real(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models are slower with more threads
    (folder / "run").mkdir(mode=0o700)
    default = next(one.id for one in Catalog([models], starter=None).models() if one.kind == "checkpoint")
    server = RunningServer(Settings(models=(models,), data=folder / "data", runtime=folder / "run"))
    with server.client() as client:
        client.default = default
        yield client
    server.stop()


def generate(client, prompt="a boat", **changes):
    fields = {"steps": 2, "seed": 3, "model": client.default, **changes}
    if "image" not in fields:
        fields = {"width": 64, "height": 64, **fields}
    return client.run(Generate(prompt, **fields), timeout=200)


def pixels(result, index=0):
    blob = result.blobs[index]
    return np.frombuffer(blob.data, blob.ref.dtype).reshape(blob.ref.shape)


def test_the_same_seed_paints_the_same_picture_and_another_seed_another(real):
    first, again, other = generate(real), generate(real), generate(real, seed=4)
    assert np.array_equal(pixels(first), pixels(again))
    assert not np.array_equal(pixels(first), pixels(other))
    assert first.info["timings"]["sampling"] > 0


def test_each_picture_of_a_batch_can_be_painted_alone_by_its_seed(real):
    batch = generate(real, batch=2)
    seeds = [output.info["seed"] for output in batch.outputs]
    assert seeds == [3, 4]
    assert batch.blobs[0].ref != batch.blobs[1].ref
    alone = pixels(generate(real, seed=4)).astype(int)
    both = np.frombuffer(batch.blobs[1].data, np.uint8).reshape(alone.shape)
    # Matrix products round differently by the size of the batch on some processors.
    assert np.abs(alone - both).max() <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_outside_of_the_mask_not_one_bit_changes_on_the_whole_way(real, dtype):
    image = np.random.default_rng(0).random((64, 64, 4))
    image = (image * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    result = generate(real, image=Blob.of(image, color="srgb"), mask=Blob.of(mask), denoising_strength=1.0)
    painted = pixels(result)
    assert painted.dtype == dtype
    assert np.array_equal(painted[mask == 0], image[mask == 0])
    assert not np.array_equal(painted[mask == 255], image[mask == 255])


def test_depth_in_scene_units_steers_the_picture(real):
    depth = np.full((64, 64), np.inf, np.float32)
    depth[:, 32:] = np.linspace(1, 3, 64, dtype=np.float32)[:, None]
    plain = generate(real)
    steered = generate(real, controls=[Control("depth", Blob.of(depth))])
    assert len(steered.info["controlnets"]) == 1
    assert not np.array_equal(pixels(plain), pixels(steered))


def test_previews_are_small_pictures_of_what_is_painted(real):
    previews = []
    real.run(
        Generate("a", steps=4, seed=1, width=128, height=64, model=real.default, preview_size=32),
        timeout=200,
        on_event=lambda event: previews.append(event) if type(event).__name__ == "PreviewPixels" else None,
    )
    assert previews
    assert (previews[0].preview.width, previews[0].preview.height) == (32, 16)
    assert len(previews[0].pixels) == 32 * 16 * 3


def test_a_cancelled_job_ends_before_its_steps_are_done_and_the_next_is_bit_identical(real):
    before = pixels(generate(real))
    handle = real.submit(Generate("a", steps=150, seed=3, width=64, height=64, model=real.default))
    while handle.progress is None or handle.progress.phase != "sampling":
        time.sleep(0.001)
    handle.cancel()
    with pytest.raises(JobCancelledError):
        handle.result(200)
    assert handle.progress.step < 150
    assert np.array_equal(pixels(generate(real)), before)


def test_an_unknown_model_is_told_with_a_remedy(real):
    with pytest.raises(BridgeError) as error:
        generate(real, model="no-such-model")
    assert error.value.code == "unknown_model"
    assert error.value.remedy


def test_the_servers_own_process_never_imports_torch():
    script = (
        "import sys; import server.app, server.cli, server.dispatch, server.verbs.generate;"
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
