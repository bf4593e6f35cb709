from __future__ import annotations

import numpy as np
import pytest

from bridge_protocol.blobs import Blob, BlobRef
from server.store import BlobStore, StoreFull

KIB = 1024


def picture(seed: int, side: int = 32) -> Blob:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 4), np.uint8)
    return Blob.of(pixels, color="srgb")


def test_a_blob_comes_back_bit_for_bit_and_read_only(tmp_path):
    store, blob = BlobStore(tmp_path, 1 << 20), picture(1)
    store.put(blob)
    found = store.find(blob.ref)
    assert found.data == blob.data
    assert found.part_digests == blob.part_digests
    with pytest.raises(TypeError):
        found.data[0] = 1


def test_blobs_are_found_again_after_a_restart(tmp_path):
    blob = picture(1)
    BlobStore(tmp_path, 1 << 20).put(blob)
    again = BlobStore(tmp_path, 1 << 20)
    assert again.find(blob.ref).data == blob.data
    assert again.has(blob.ref)


def test_a_file_with_wrong_bytes_is_never_given_out(tmp_path):
    blob = picture(1)
    BlobStore(tmp_path, 1 << 20).put(blob)
    file = tmp_path / blob.ref.digest.hex()
    file.write_bytes(bytes(blob.ref.nbytes))
    assert BlobStore(tmp_path, 1 << 20).find(blob.ref) is None
    assert not file.exists()


def test_a_description_that_does_not_belong_to_the_digest_finds_nothing(tmp_path):
    store, blob = BlobStore(tmp_path, 1 << 20), picture(1)
    store.put(blob)
    other = BlobRef(blob.ref.digest, (64, 16, 4), "uint8", "srgb")
    assert store.find(other) is None
    assert not store.has(other)
    assert store.find(blob.ref) is not None


def test_the_least_recently_used_make_room(tmp_path):
    store = BlobStore(tmp_path, 12 * KIB)
    blobs = [picture(seed) for seed in range(4)]  # 4 KiB each
    for blob in blobs[:3]:
        store.put(blob)
    store.find(blobs[0].ref)
    store.put(blobs[3])
    assert [store.has(blob.ref) for blob in blobs] == [True, False, True, True]
    assert store.nbytes == 12 * KIB


def test_what_a_job_needs_is_never_evicted(tmp_path):
    store = BlobStore(tmp_path, 8 * KIB)
    needed, other, new = (picture(seed) for seed in range(3))
    store.hold("job", [needed.ref.digest])
    store.hold("second job", [needed.ref.digest])
    for blob in (needed, other, new):
        store.put(blob)
    assert store.has(needed.ref)
    store.hold("job", [new.ref.digest])
    with pytest.raises(StoreFull, match="no room"):
        store.put(other)
    store.release("job")
    store.put(other)
    assert store.has(needed.ref), "the second job still holds it"


def test_a_blob_that_is_open_can_still_be_read_after_its_eviction(tmp_path):
    store = BlobStore(tmp_path, 4 * KIB)
    first = picture(1)
    store.put(first)
    found = store.find(first.ref)
    store.put(picture(2))
    assert not store.has(first.ref)
    assert found.data == first.data


def test_unfinished_files_of_a_dead_server_are_removed(tmp_path):
    BlobStore(tmp_path, 1 << 20).partial().write_bytes(b"half")
    assert BlobStore(tmp_path, 1 << 20).nbytes == 0
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_of_a_dead_worker_are_removed_and_no_others(tmp_path):
    store = BlobStore(tmp_path, 1 << 20)
    dead, alive = store.partial("dead"), store.partial("alive")
    for path in (dead, alive):
        path.write_bytes(b"half")
    store.sweep("dead")
    assert (dead.exists(), alive.exists()) == (False, True)


def test_the_same_blob_written_twice_takes_its_room_once(tmp_path):
    store, blob = BlobStore(tmp_path, 1 << 20), picture(1)
    paths = [store.partial() for _ in range(2)]
    for path in paths:
        path.write_bytes(blob.data)
        store.adopt(path, blob.ref, blob.part_digests)
    assert store.nbytes == 4 * KIB
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_store_leaves_no_half_written_file(tmp_path):
    store = BlobStore(tmp_path, 2 * KIB)
    with pytest.raises(StoreFull):
        store.put(picture(1))
    assert list(tmp_path.iterdir()) == []


def test_the_blob_that_differs_least_is_the_base_of_a_new_one(tmp_path):
    store = BlobStore(tmp_path, 1 << 26)
    pixels = np.zeros((512, 512, 4), np.uint8)
    near = pixels.copy()
    near[:10, :10] = 1
    new = near.copy()
    new[500:, 500:] = 2
    for array in (near, pixels):
        store.put(Blob.of(array))
    wanted = Blob.of(new)
    base, changed = store.base_for(wanted.ref, wanted.part_digests)
    assert base.ref == Blob.of(near).ref
    assert changed == [3]


def test_a_blob_without_a_common_part_has_no_base(tmp_path):
    store = BlobStore(tmp_path, 1 << 26)
    store.put(picture(1))
    other = picture(2)
    assert store.base_for(other.ref, other.part_digests) is None


def test_synced_blobs_are_synced_once(tmp_path, monkeypatch):
    store, blob = BlobStore(tmp_path, 1 << 20), picture(1)
    store.put(blob)
    store.sync([blob.ref.digest])
    monkeypatch.setattr("server.store.os.fsync", lambda handle: pytest.fail("synced again"))
    store.sync([blob.ref.digest])
