"""The other file format of MindSpore 2.x: exact, and as suspicious."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.checkpoint import open_checkpoint
from export.errors import CheckpointError

VALUES = {
    "network.conv1_1.weight": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3),
    "half": np.arange(5, dtype=np.float16),
    "double": np.linspace(0, 1, 3),
    "count": np.array(7, dtype=np.int64),
    "empty": np.empty((0, 4), dtype=np.float32),
    "flag": np.array([True, False]),
}


def read_all(path):
    with open_checkpoint(path) as checkpoint:
        return {name: checkpoint.read(name) for name in checkpoint.entries}


def safetensors(path, values, metadata=None):
    from safetensors.numpy import save_file

    save_file(values, path, metadata=metadata)


def test_safetensors(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors(path, VALUES, {"format": "ms"})
    read = read_all(path)
    assert set(read) == set(VALUES)
    for name, value in VALUES.items():
        assert (read[name].dtype, read[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(read[name], value)


def test_safetensors_with_a_wrong_checksum(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors(path, {"a": np.ones(3, np.float32)}, {"format": "ms", "crc_num": "1"})
    with pytest.raises(CheckpointError, match="checksum is wrong"):
        read_all(path)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 400))
def test_damaged_safetensors_give_arrays_or_our_error(tmp_path_factory, edits, length):
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    safetensors(path, {"a": np.ones((3, 5), np.float32), "b": np.ones(3, np.float16)}, {"format": "ms"})
    content = bytearray(path.read_bytes())
    for position, byte in edits:
        content[position % len(content)] = byte
    path.write_bytes(content[: max(1, length)])
    try:
        read_all(path)
    except CheckpointError:
        pass


@pytest.mark.parametrize("metadata", ["null", "{}"])
def test_metadata_that_says_nothing(tmp_path, metadata):
    """The library accepts null; it is no traceback."""
    header = f'{{"__metadata__":{metadata},"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}'.encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert read_all(tmp_path / "x.safetensors") == {"a": 0}
