"""A job's whole way: client → app → queue → worker → result → acknowledgement."""

from __future__ import annotations

import numpy as np
import pytest

from bridge_protocol.blobs import Blob
from bridge_protocol.client import BridgeError
from bridge_protocol.jobs import Generate


def pixels(blob):
    return np.frombuffer(blob.data, blob.ref.dtype).reshape(blob.ref.shape)


def test_a_picture_comes_back(client):
    result = client.run(Generate(prompt="a boat", steps=2, seed=7, width=64, height=72, batch=2), timeout=60)
    assert [output.info["seed"] for output in result.outputs] == [7, 8]
    assert pixels(result.blobs[0]).shape == (72, 64, 3)
    assert result.info["model"] == "small"


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_picture_goes_there_and_back_bit_for_bit_through_both_lanes(server, shared_memory, dtype):
    image = np.random.default_rng(1).integers(0, 256, (600, 700, 4)).astype(dtype)
    with server.client(shared_memory=shared_memory) as client:
        client.ping()
        result = client.run(Generate(image=Blob.of(image, color="srgb"), steps=1), timeout=60)
        assert client.uses_shared_memory == shared_memory
    assert np.array_equal(pixels(result.blobs[0]), 255 - image if dtype == "uint8" else image * 0.5)


def test_progress_and_previews_come_while_it_paints(client):
    events = []
    client.run(Generate(steps=30, width=64, height=64), timeout=60, on_event=events.append)
    names = {type(event).__name__ for event in events}
    assert {"Accepted", "Progress", "PreviewPixels", "Finished"} <= names


def test_a_wrong_value_is_refused_with_field_value_range_and_remedy(client):
    image = Blob.of(np.zeros((64, 64, 4), np.uint8))
    with pytest.raises(BridgeError) as caught:
        client.run(Generate(image=image, width=128, height=64), timeout=60)
    assert "width is 128" in caught.value.sentence
    assert "Leave width out" in caught.value.remedy


def test_a_result_that_the_disk_does_not_take_is_reported_and_the_next_one_painted(server, tmp_path):
    job = Generate(steps=1, seed=3, width=64, height=64)
    with server.client() as client:
        digest = client.run(job, timeout=60).outputs[0].blob.digest
    (tmp_path / "other" / "blobs" / digest.hex() / "in the way").mkdir(parents=True)
    server.restart(data=tmp_path / "other")
    with server.client() as client:
        with pytest.raises(BridgeError) as caught:
            client.run(job, timeout=60)
        assert caught.value.code == "disk"
        client.run(Generate(steps=1, seed=4, width=64, height=64), timeout=60)
