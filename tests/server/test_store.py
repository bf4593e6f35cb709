from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest

from bridge_protocol.blobs import Blob, BlobRef, changed_parts, part_at
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
    assert base == Blob.of(near).ref
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


def strokes(count: int) -> list[Blob]:
    """A canvas of 2 × 2 parts, and how it is after each of some strokes, every one in another part."""
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 4), np.uint8)
    canvas = [Blob.of(pixels.copy(), color="srgb")]
    for index in range(count):
        y, x = divmod(index % 4, 2)
        pixels[256 * y : 256 * y + 10, 256 * x : 256 * x + 10] = index
        canvas.append(Blob.of(pixels.copy(), color="srgb"))
    return canvas


def amend(store: BlobStore, base: Blob, new: Blob) -> bool:
    parts = {
        index: part_at(index, new.ref.shape, new.ref.dtype).read(new.data)
        for index in changed_parts(base.part_digests, new.part_digests)
    }
    return store.amend(base.ref, new.ref, new.part_digests, parts)


def spend(store: BlobStore, *blobs: Blob) -> None:
    """Let a job need these blobs, and end."""
    store.hold("job", [blob.ref.digest for blob in blobs])
    store.release("job")


def inode(store: BlobStore, blob: Blob) -> int:
    return store.path(blob.ref.digest).stat().st_ino


def test_the_file_of_a_spent_canvas_becomes_the_next_one_and_loses_its_old_name(tmp_path):
    store, (first, second) = BlobStore(tmp_path, 1 << 26), strokes(1)
    store.put(first)
    spend(store, first)
    file = inode(store, first)
    assert amend(store, first, second)
    assert inode(store, second) == file, "a whole canvas was copied"
    assert store.find(second.ref).data == second.data
    assert not store.has(first.ref)
    assert store.find(first.ref) is None
    assert (len(list(tmp_path.iterdir())), store.nbytes) == (1, first.ref.nbytes)
    assert BlobStore(tmp_path, 1 << 26).find(second.ref).part_digests == second.part_digests


def test_an_undo_finds_the_digests_of_the_parts_that_went_on(tmp_path):
    store, (first, second) = BlobStore(tmp_path, 1 << 26), strokes(1)
    store.put(first)
    spend(store, first)
    amend(store, first, second)
    assert store.part_digests_of(first.ref) == first.part_digests
    assert store.part_digests_of(second.ref) == b""


def needed(store, blob):
    store.hold("another job", [blob.ref.digest])


def kept(store, blob):
    store.keep("history", [blob.ref.digest])


def read(store, blob):
    return store.find(blob.ref), spend(store, blob)


def offered_again(store, blob):
    assert store.has(blob.ref)


def never_needed(store, blob):
    store.discard(blob.ref.digest)
    store.put(blob)


@pytest.mark.parametrize("by", [needed, kept, read, offered_again, never_needed])
def test_a_canvas_that_is_in_use_is_never_written_to(tmp_path, by):
    store, (first, second) = BlobStore(tmp_path, 1 << 26), strokes(1)
    store.put(first)
    spend(store, first)
    reader = by(store, first)
    assert amend(store, first, second)
    assert store.find(first.ref).data == first.data
    assert store.find(second.ref).data == second.data
    if by is read:
        assert reader[0].data == first.data
        del reader
        gc.collect()
        spend(store, first, second)
        file = inode(store, second)
        third = strokes(2)[2]
        assert amend(store, second, third)
        assert inode(store, third) == file, "what is read no more is free"


def test_a_spent_canvas_takes_what_it_lacks_from_the_one_that_is_being_painted(tmp_path):
    store, canvas = BlobStore(tmp_path, 1 << 26), strokes(6)
    store.put(canvas[0])
    files = set()
    for before, after in itertools.pairwise(canvas):
        store.hold(after.ref.digest.hex(), [before.ref.digest])  # its job still runs when the next stroke comes
        assert amend(store, before, after)
        assert store.find(after.ref).data == after.data
        gc.collect()
        files.add(inode(store, after))
        store.release(after.ref.digest.hex())
    assert len(files) == 2, "two files are enough to paint with"
    again = BlobStore(tmp_path, 1 << 26)
    assert again.find(canvas[-1].ref).part_digests == canvas[-1].part_digests


def test_without_its_base_nothing_is_amended(tmp_path):
    store, (first, second) = BlobStore(tmp_path, 1 << 26), strokes(1)
    assert not amend(store, first, second)
    store.put(first)
    store.path(first.ref.digest).write_bytes(b"short")
    assert not amend(store, first, second)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_in_the_middle_of_a_stroke_leaves_no_wrong_blob(tmp_path, monkeypatch):
    store, (first, second) = BlobStore(tmp_path, 1 << 26), strokes(1)
    store.put(first)
    spend(store, first)

    def fails(path, parts):
        assert path.name.startswith("partial"), "a file is written to only while it has no blob's name"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.store.overwrite", fails)
    with pytest.raises(OSError, match="No space"):
        amend(store, first, second)
    assert store.find(first.ref) is None
    assert store.find(second.ref) is None
    assert store.nbytes == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_an_earlier_run_that_nobody_checked_makes_way_for_one_that_is_right(tmp_path):
    blob = picture(1)
    BlobStore(tmp_path, 1 << 20).put(blob)
    (tmp_path / blob.ref.digest.hex()).write_bytes(bytes(blob.ref.nbytes))
    store = BlobStore(tmp_path, 1 << 20)
    store.put(blob)
    assert store.find(blob.ref).data == blob.data
