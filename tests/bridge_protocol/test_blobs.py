"""A blob's digest is what docs/protocol.md says, and a canvas hashes only what changed."""

from __future__ import annotations

import ctypes
import hashlib
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge_protocol import blobs
from bridge_protocol.blobs import Blob, BlobRef, Canvas, InvalidBlob, changed_parts, part_at, part_count, verify

np = pytest.importorskip("numpy", reason="numpy is not installed")

DTYPES = ("uint8", "uint16", "float16", "float32")


def digest_by_the_book(array: np.ndarray, color: str) -> bytes:
    """The definition, written once more with numpy's own slicing and nothing of the module under test."""
    if array.ndim == 1:
        pieces = [array[at : at + 65_536] for at in range(0, len(array), 65_536)]
    else:
        rows, columns = range(0, array.shape[0], 256), range(0, array.shape[1], 256)
        pieces = [array[y : y + 256, x : x + 256] for y in rows for x in columns]
    inner = b"".join(hashlib.sha256(piece.tobytes()).digest() for piece in pieces)
    head = f"brushwire blob 1\n{array.dtype.name}\n{'x'.join(str(side) for side in array.shape)}\n{color}\n"
    return hashlib.sha256(head.encode("ascii") + inner).digest()


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    count = math.prod(shape) * np.dtype(dtype).itemsize
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8).view(dtype).reshape(shape)


shapes = st.one_of(
    st.tuples(st.sampled_from([1, 7, 65_535, 65_536, 65_537, 200_000])),
    st.tuples(*[st.sampled_from([1, 5, 255, 256, 257, 300, 513])] * 2),
    st.tuples(*[st.sampled_from([1, 255, 256, 257, 300])] * 2, st.integers(1, 4)),
)


@settings(max_examples=60, deadline=None)
@given(shape=shapes, dtype=st.sampled_from(DTYPES), color=st.sampled_from(["srgb", "linear", "data"]))
@example(shape=(1000, 600, 3), dtype="float32", color="linear")  # large enough for two threads
def test_the_digest_is_the_books(shape, dtype, color):
    array = noise(shape, dtype)
    blob = Blob.of(array, color=color)
    assert blob.ref == BlobRef(digest_by_the_book(array, color), shape, dtype, color)
    assert bytes(blob.data) == array.tobytes()
    assert len(blob.part_digests) == 32 * part_count(shape)
    assert verify(blob.ref, memoryview(array.tobytes())).part_digests == blob.part_digests


@settings(max_examples=40, deadline=None)
@given(shape=shapes, dtype=st.sampled_from(DTYPES))
def test_parts_cover_every_byte_once_and_write_back_what_they_read(shape, dtype):
    data = memoryview(noise(shape, dtype).tobytes())
    rebuilt = bytearray(data.nbytes)
    total = 0
    for index in range(part_count(shape)):
        part = part_at(index, shape, dtype)
        taken = part.read(data)
        assert len(taken) == part.nbytes <= blobs.MAX_PART_BYTES
        part.write(memoryview(rebuilt), memoryview(taken))
        total += part.nbytes
    assert total == data.nbytes
    assert rebuilt == data


def test_the_same_bytes_with_another_description_are_another_blob():
    data = bytes(range(24))
    refs = {
        Blob.of(data, shape=shape, dtype=dtype, color=color).ref.digest
        for shape, dtype, color in [
            ((24,), "uint8", "data"), ((4, 6), "uint8", "data"), ((6, 4), "uint8", "data"),
            ((2, 4, 3), "uint8", "data"),
            ((12,), "uint16", "data"), ((12,), "float16", "data"), ((24,), "uint8", "srgb"), ((24,), "uint8", "linear"),
        ]
    }  # fmt: skip
    assert len(refs) == 8


def test_a_blob_is_a_view_of_the_callers_buffer_and_cannot_be_written():
    array = np.zeros((4, 4), np.float32)
    blob = Blob.of(array)
    array[0, 0] = 1  # to show that it is a view; callers must not
    assert bytes(blob.data[:4]) == np.float32(1).tobytes()
    assert blob.data.readonly


def test_buffers_of_ctypes_and_bytes_are_taken():
    assert Blob.of((ctypes.c_float * 6)(), shape=(2, 3)).ref.dtype == "float32"
    assert Blob.of(bytearray(6)).ref.shape == (6,)
    assert Blob.of(b"\0" * 6, shape=(1, 3), dtype="uint16").ref.nbytes == 6
    assert Blob.of(np.zeros((3, 2), bool)).ref.dtype == "uint8"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Blob.of(np.zeros((8, 8))[:, ::2].astype("f4", order="F")), "not contiguous"),
        (lambda: Blob.of(np.zeros((8, 8), "f4")[:, ::2]), "not contiguous"),
        (lambda: Blob.of(np.zeros((8, 8), "f4").T[:, :4]), "not contiguous"),
        (lambda: Blob.of(np.zeros((2, 2))), "format is 'd'"),
        (lambda: Blob.of(np.zeros((2, 2), ">f4")), "format is '>f'"),
        (lambda: Blob.of(np.zeros((2, 2), ">f4"), dtype="float32"), "format is '>f'"),
        (lambda: Blob.of(b""), "sides of at least 1"),
        (lambda: Blob.of(b"abc", shape=(2, 2)), "3 bytes; shape .2, 2. of uint8 needs 4"),
        (lambda: Blob.of(b"abc", shape=(1, 1, 1, 3)), "its shape"),
        (lambda: Blob.of(b"abc", dtype="int32"), "dtype is 'int32'"),
        (lambda: Blob.of(b"abc", color="cmyk"), "color is 'cmyk'"),
        (lambda: Blob.of(bytes(17), shape=(1, 1, 17)), "at most 16 bytes a pixel"),
    ],
)
def test_what_cannot_be_a_blob_is_refused_with_its_reason(make, says):
    with pytest.raises(InvalidBlob, match=says):
        make()


@pytest.mark.parametrize(
    "plain",
    [
        None, [], "digest", {}, {"digest": "text", "shape": [1]}, {"digest": bytes(32)}, {"shape": [1]},
        {"digest": bytes(31), "shape": [1]}, {"digest": bytes(32), "shape": []}, {"digest": bytes(32), "shape": [0]},
        {"digest": bytes(32), "shape": [-1, 2]}, {"digest": bytes(32), "shape": [1.0]},
        {"digest": bytes(32), "shape": [True]}, {"digest": bytes(32), "shape": ["1"]},
        {"digest": bytes(32), "shape": [32_769, 1]}, {"digest": bytes(32), "shape": [2**64, 2**64, 2**64]},
        {"digest": bytes(32), "shape": [2**40]}, {"digest": bytes(32), "shape": [32_768, 32_768, 2]},
        {"digest": bytes(32), "shape": [1], "dtype": "float64"},
        {"digest": bytes(32), "shape": [1], "dtype": ["uint8"]},
        {"digest": bytes(32), "shape": [1], "color": {}}, {"digest": bytes(32), "shape": [1], "dtype": None},
        {"digest": bytes(32), "shape": list(range(10_000))},
    ],
)  # fmt: skip
def test_a_description_that_is_impossible_is_refused_before_a_byte_is_allocated(plain):
    with pytest.raises(InvalidBlob) as caught:
        BlobRef.from_plain(plain)
    assert len(str(caught.value)) < 300


def test_the_largest_blob_is_one_gibibyte():
    assert BlobRef(bytes(32), (32_768, 32_768)).nbytes == 1 << 30
    assert part_count((32_768, 32_768)) == 16_384
    with pytest.raises(InvalidBlob, match="at most 1073741824"):
        BlobRef(bytes(32), (32_768, 32_768), "uint16")


@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, 300 * 300 - 1), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_noticed(at, bit):
    data = bytearray(noise((300, 300), "uint8").tobytes())
    ref = Blob.of(bytes(data), shape=(300, 300)).ref
    data[at] ^= 1 << bit
    with pytest.raises(InvalidBlob, match="do not have the digest"):
        verify(ref, memoryview(data))


def test_too_few_bytes_are_noticed():
    ref = Blob.of(bytes(10)).ref
    with pytest.raises(InvalidBlob, match="9 bytes; its description needs 10"):
        verify(ref, memoryview(bytes(9)))


def test_a_stroke_of_64_pixels_on_a_4096_canvas_changes_at_most_four_parts():
    pixels = np.zeros((4096, 4096, 4), np.uint8)
    canvas = Canvas()
    before = canvas.update(pixels)
    pixels[1000:1064, 2020:2084] = 200  # across a corner of four tiles
    after = canvas.update(pixels)
    changed = changed_parts(before.part_digests, after.part_digests)
    assert len(changed) == 4
    assert after.ref.digest == Blob.of(pixels, color="srgb").ref.digest


def test_a_canvas_hashes_nothing_but_the_parts_that_changed(monkeypatch):
    pixels = np.zeros((1024, 1024, 4), np.uint8)
    canvas = Canvas()
    canvas.update(pixels)
    hashed = []
    monkeypatch.setattr(blobs.hashlib, "sha256", lambda data: hashed.append(len(data)) or _sha256(data))
    pixels[300, 300] = 1
    canvas.update(pixels)
    assert sorted(hashed)[-1] == 256 * 256 * 4
    assert len(hashed) == 2  # that part, and the blob's own digest


_sha256 = hashlib.sha256


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_canvas_always_has_the_digest_that_hashing_everything_gives(data):
    canvas = Canvas("linear")
    pixels = noise((600, 300), "uint16")
    for _ in range(data.draw(st.integers(1, 6))):
        action = data.draw(st.sampled_from(["stroke", "nothing", "crop", "whole", "strided", "refused"]))
        if action == "stroke":
            y, x = data.draw(st.integers(0, pixels.shape[0] - 1)), data.draw(st.integers(0, pixels.shape[1] - 1))
            pixels = pixels.copy()
            pixels[y : y + 64, x : x + 64] = data.draw(st.integers(0, 65_535))
        elif action == "crop":
            pixels = noise((data.draw(st.integers(1, 600)), 300), "uint16", 1)
        elif action == "whole":
            pixels = noise(pixels.shape, "uint16", data.draw(st.integers(2, 9)))
        elif action == "strided":
            pixels = noise((600, 600), "uint16", 3)[:, ::2]
        else:
            with pytest.raises(InvalidBlob):
                canvas.update(bytes(pixels.nbytes - 2), shape=pixels.shape, dtype="uint16")
        blob = canvas.update(pixels)
        assert blob.ref.digest == digest_by_the_book(pixels, "linear")
        assert bytes(blob.data) == pixels.tobytes()


def test_a_canvas_of_one_dimension_is_compared_by_runs():
    line = np.zeros(200_000, np.float32)
    canvas = Canvas("data")
    before = canvas.update(line)
    line[70_000] = 1
    after = canvas.update(line)
    assert changed_parts(before.part_digests, after.part_digests) == [1]
    assert after.ref.digest == digest_by_the_book(line, "data")


def test_a_canvas_copies_so_that_its_caller_may_paint_on():
    pixels = np.zeros((8, 8), np.uint8)
    blob = Canvas().update(pixels)
    pixels[:] = 9
    assert bytes(blob.data) == bytes(64)
