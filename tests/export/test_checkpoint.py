"""The checkpoint reader: exact on good files, one kind of error on all others, in the memory that a file is worth."""

import os
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sphereface.storage.protobuf_wire import WireError, read_fields, read_varint
from export.checkpoint import ckpt_writer, open_checkpoint
from export.checkpoint.ckpt import index_ckpt
from export.checkpoint.ckpt_writer import write_ckpt
from export.errors import CheckpointError

VALUES = {
    "network.conv1_1.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3),
    "half": np.arange(5, dtype=np.float16),
    "brain": np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3),
    "double": np.linspace(0, 1, 3),
    "count": np.array(7, dtype=np.int64),
    "empty": np.empty((0, 4), dtype=np.float32),
    "flag": np.array([True, False]),
}


def read_all(path):
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.entries}


@pytest.mark.parametrize("crc", [False, True])
@pytest.mark.parametrize("slice_bytes", [1 << 20, 16])
def test_round_trip(tmp_path, crc, slice_bytes):
    write_ckpt(tmp_path / "x.ckpt", VALUES, crc=crc, slice_bytes=slice_bytes)
    read = read_all(tmp_path / "x.ckpt")
    assert list(read) == list(VALUES)
    for name, values in VALUES.items():
        assert (read[name].dtype, read[name].shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(read[name], values)


def test_slices_are_several_spans_of_one_parameter(tmp_path):
    write_ckpt(tmp_path / "x.ckpt", VALUES, slice_bytes=16)
    with open_checkpoint(tmp_path / "x.ckpt") as checkpoint:
        assert len(checkpoint.entries["network.conv1_1.weight"].spans) == 14


@pytest.mark.slow
def test_indexing_does_not_read_values(tmp_path):
    """A map of 64 MiB of values is indexed with next to no memory."""
    write_ckpt(tmp_path / "x.ckpt", {"big": np.zeros(16 << 20, np.float32), "small": np.ones(2, np.float32)})
    tracemalloc.start()
    with open_checkpoint(tmp_path / "x.ckpt") as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("small"), [1, 1])
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_reading_takes_the_values_once(tmp_path):
    write_ckpt(tmp_path / "x.ckpt", {"big": np.ones(4 << 20, np.float32)}, slice_bytes=1 << 20)
    with open_checkpoint(tmp_path / "x.ckpt") as checkpoint:
        tracemalloc.start()
        checkpoint.read("big")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < (16 << 20) * 1.1


def test_old_scalars_have_the_single_dimension_zero():
    content = bytes.fromhex("0a14 0a0173 120f 0800 1207") + b"Float32" + bytes.fromhex("1a04 00004040")
    content = b"\n\x16" + content[2:4] + content[4:5] + b"\x12\x11" + content[7:]
    assert index_ckpt(content)["s"].shape == ()


def test_packed_dimensions():
    tensor = b"\n\x02\x02\x03" + b"\x12\x04Int8" + b"\x1a\x06abcdef"
    value = b"\n\x01a" + b"\x12" + bytes([len(tensor)]) + tensor
    assert index_ckpt(b"\n" + bytes([len(value)]) + value)["a"].shape == (2, 3)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.ckpt"
    write_ckpt(path, VALUES, crc=True)
    return path


def refused(path, content, words):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_all(path)


def test_empty(tmp_path):
    refused(tmp_path / "x.ckpt", b"", "is empty")


def test_missing_or_a_folder(tmp_path):
    with pytest.raises(CheckpointError, match="export fetch"), open_checkpoint(tmp_path / "no.ckpt"):
        pass
    with pytest.raises(CheckpointError, match="is a folder"), open_checkpoint(tmp_path):
        pass


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"PK\x03\x04", "not an intact PyTorch file"),
        (b"7z\xbc\xaf\x27\x1c", "7z archive.*7z x FILE"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"\x80\x02", "pickle"),
        (b"\x1f\x8b", "gzip"),
        (b"<!DOCTYPE html>", "web page"),
        (bytes.fromhex("d85e3a7f"), "encrypted"),
        (bytes.fromhex("d95e3a7f"), "encrypted"),
        (bytes.fromhex("da5e3a7f"), "encrypted"),
    ],
)
def test_strangers_are_named(tmp_path, start, words):
    refused(tmp_path / "x.ckpt", start + bytes(100), words)


def test_truncated_at_every_byte(good):
    content = good.read_bytes()
    for length in range(1, len(content)):
        good.write_bytes(content[:length])
        try:
            read = read_all(good)
        except CheckpointError:
            continue
        assert set(read) < set(VALUES) or length >= len(content) - 17, "cut between two parameters, or in the checksum"


def test_a_flipped_bit_is_seen_by_the_checksum(good):
    content = good.read_bytes()
    for position in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        good.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            read_all(good)


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80\x80\x01"])
def test_terabytes_are_announced(tmp_path, length):
    tracemalloc.start()
    refused(tmp_path / "x.ckpt", b"\n" + length + b"rest", "bytes is announced")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_shape_of_terabytes_is_refused_before_memory_is_taken(tmp_path):
    tensor = b"\x08\x80\x80\x80\x80\x80\x01\x08\x80\x80\x80\x80\x80\x01" + b"\x12\x07Float32" + b"\x1a\x04abcd"
    value = b"\n\x01a" + b"\x12" + bytes([len(tensor)]) + tensor
    refused(tmp_path / "x.ckpt", b"\n" + bytes([len(value)]) + value, "needs .* bytes, but the file has 4")


def entry(name, tensor):
    value = b"\n" + bytes([len(name)]) + name + b"\x12" + bytes([len(tensor)]) + tensor
    return b"\n" + bytes([len(value)]) + value


FLOATS = b"\x08\x01\x12\x07Float32\x1a\x04abcd"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1a\x00", "is not part of the format"),
        (b"\x12\x00", "no layer with weights"),
        (b"\n\x00", "has no name"),
        (b"\n\x03\n\x01a", "has no tensor"),
        (entry(b"a", b""), "has no type"),
        (entry(b"\xff", FLOATS), "not text"),
        (entry(b"a", FLOATS) + entry(b"b", FLOATS) + entry(b"a", FLOATS), "occurs twice"),
        (entry(b"a", FLOATS) + entry(b"a", b"\x08\x02\x12\x07Float32\x1a\x04abcd"), "slices of 'a' differ"),
        (entry(b"a", b"\x08\x01" * 9 + b"\x12\x04Int8"), "more than 8 dimensions"),
        (entry(b"a", b"\n\x09" + b"\x01" * 9 + b"\x12\x04Int8"), "more than 8 dimensions"),
        (b"".join(entry(f"p{n}".encode(), FLOATS) for n in range(2049)), "more than 2048 parameters"),
        (b"\x0b", "unknown kind 3"),
        (b"\x0d\x00", "inside a number"),
        (b"\n" + b"\x80" * 11, "no end"),
    ],
)
def test_what_a_checkpoint_may_not_hold(tmp_path, content, words):
    refused(tmp_path / "x.ckpt", content, words)


def test_a_type_without_arrays_is_indexed_but_not_read(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(entry(b"a", b"\x12\x03str\x1a\x04abcd") + entry(b"b", FLOATS))
    with open_checkpoint(tmp_path / "x.ckpt") as checkpoint:
        assert checkpoint.read("b").shape == (1,)
        with pytest.raises(CheckpointError, match="'str', which has no array form"):
            checkpoint.read("a")


@given(st.integers(0, 2**64 - 1))
def test_varints(value):
    encoded = ckpt_writer.varint(value)
    assert read_varint(encoded, 0, len(encoded)) == (value, len(encoded))
    with pytest.raises(WireError):
        read_varint(encoded[:-1], 0, len(encoded) - 1)


def test_fields_of_every_kind():
    data = b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\x01\x00\x00\x00" + b"\x21\x02\x00\x00\x00\x00\x00\x00\x00"
    assert [(f.number, f.value, data[f.start : f.end][:2]) for f in read_fields(data, 0, len(data))] == [
        (1, 150, b""),
        (2, 0, b"hi"),
        (3, 1, b"\x01\x00"),
        (4, 2, b"\x02\x00"),
    ]


def test_a_write_that_fails_leaves_nothing(tmp_path):
    class Breaks(dict):
        def items(self):
            yield "a", np.ones(3, np.float32)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_ckpt(tmp_path / "x.ckpt", Breaks())
    assert os.listdir(tmp_path) == []
