"""Any bytes give arrays or our error, within the memory that a file is worth."""

import io
import os
import time
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.checkpoint import ckpt, ckpt_writer, open_checkpoint
from export.checkpoint.ckpt_writer import write_ckpt
from export.errors import CheckpointError, TopologyError

VALUES = {
    "half": np.arange(5, dtype=np.float16),
    "brain": np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3),
    "count": np.array(7, dtype=np.int64),
}
FLOATS = b"\x08\x01\x12\x07Float32\x1a\x04abcd"


def entry(name, tensor):
    value = b"\n" + bytes([len(name)]) + name + b"\x12" + bytes([len(tensor)]) + tensor
    return b"\n" + bytes([len(value)]) + value


def read_all(path):
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.entries}


def any_bytes():
    """Random bytes, and good files damaged in a few places: those reach the parser's depths."""
    stream = io.BytesIO()

    class Target:
        def __enter__(self):
            return stream

        def __exit__(self, *_):
            pass

    original, ckpt_writer.atomic_write = ckpt_writer.atomic_write, lambda *_, **__: Target()
    try:
        write_ckpt("unused", VALUES, slice_bytes=8)
    finally:
        ckpt_writer.atomic_write = original
    content = stream.getvalue()

    def damage(edits):
        data = bytearray(content)
        for position, byte in edits:
            data[position % len(data)] = byte
        return bytes(data)

    edits = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6)
    pieces = st.lists(st.sampled_from([content, b"\n", entry(b"a", FLOATS)]))
    return st.binary(max_size=2000) | edits.map(damage) | pieces.map(b"".join)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(any_bytes())
def test_any_bytes_give_arrays_or_our_error(tmp_path_factory, content):
    """And never take more than twice the file's size in memory, beside 1 MiB for Python's own objects."""
    path = tmp_path_factory.getbasetemp() / "fuzz.ckpt"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        arrays = read_all(path)
        assert sum(array.nbytes for array in arrays.values()) <= len(content)
    except (CheckpointError, TopologyError):
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= 2 * len(content) + (1 << 20)


def test_as_many_parameters_as_are_allowed_stay_within_memory(tmp_path):
    content = b"".join(entry(f"p{n}".encode(), b"\x12\x04Int8") for n in range(ckpt.MAX_PARAMETERS))
    (tmp_path / "x.ckpt").write_bytes(content)
    tracemalloc.start()
    with open_checkpoint(tmp_path / "x.ckpt") as checkpoint:
        assert len(checkpoint.entries) == ckpt.MAX_PARAMETERS
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 2 * len(content) + (1 << 20)


def test_slices_without_end_are_refused_at_once(tmp_path):
    """300,000 slices in 6 MB took minutes: each was appended to a copy of all before it."""
    (tmp_path / "x.ckpt").write_bytes(entry(b"a", FLOATS) * 300_000)
    start = time.process_time()
    with (
        pytest.raises(CheckpointError, match=f"more than {ckpt.MAX_SLICES} slices"),
        open_checkpoint(tmp_path / "x.ckpt"),
    ):
        pass
    assert time.process_time() - start < 5


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors"])
def test_a_pipe_is_no_checkpoint(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match="is a pipe"), open_checkpoint(tmp_path / name):
        pass
