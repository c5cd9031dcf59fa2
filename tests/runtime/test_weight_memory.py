"""Matrices in one block: the same embeddings, only where they are meant, and never from a file that lies."""

import itertools
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.inference import weight_memory
from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.inference.session import CPU, SessionConfig, open_session
from edge_sphereface.inference.weight_memory import place_matrices
from export.rewrite.fast import rewrite
from export.rewrite.tile import read_stages


@pytest.fixture(scope="module")
def tuned(small_models, tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "tuned.onnx"
    stages = read_stages(("4x4", "2x2", "2x2w", "direct"))
    rewrite(small_models["image"], path, forms=stages, max_ratio=float("inf"), plan=Plan(rounds=1, per_round=1))
    return path


class Options:
    """Notes what a session would be given."""

    def __init__(self):
        self.given = {}

    def add_initializer(self, name, value):
        self.given[name] = value.numpy()


@pytest.mark.slow
def test_every_matrix_is_placed_as_it_stands_in_the_file(tuned):
    options = Options()
    kept = place_matrices(onnxruntime, tuned, options)
    expected = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(tuned).graph.initializer
        if tensor.name.endswith(".matrices")
    }
    assert len(kept) == len(options.given) == len(expected) > 10
    for name, values in expected.items():
        np.testing.assert_array_equal(options.given[name], values)


def test_they_lie_side_by_side(tuned):
    """In one block that begins at a large page, each at an address that vector instructions like."""
    addresses = []

    class Noting(onnxruntime.OrtValue):
        @staticmethod
        def ortvalue_from_numpy(values):
            addresses.append((values.ctypes.data, values.nbytes))
            return onnxruntime.OrtValue.ortvalue_from_numpy(values)

    place_matrices(SimpleNamespace(OrtValue=Noting), tuned, Options())
    assert addresses[0][0] % (2 << 20) == 0
    for (start, size), (following, _) in itertools.pairwise(addresses):
        assert start % 64 == 0
        assert 0 <= following - (start + size) < 64


def test_embeddings_are_the_same_with_and_without(tuned, crops):
    embedder = Embedder(tuned, provider="cpu", threads=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(tuned, options, providers=[CPU])
    (expected,) = plain.run(None, {plain.get_inputs()[0].name: preprocess(crops, embedder.spec)})
    np.testing.assert_array_equal(embedder.forward(crops), expected)


def test_they_live_as_long_as_the_session(tuned):
    opened, _ = open_session(tuned, SessionConfig(provider="cpu"))
    assert len(opened.placed_matrices) > 10


def test_other_models_are_left_as_they_are(small_model):
    """Direct convolutions are packed by onnxruntime: a block of ours would be a second copy."""
    options = Options()
    assert place_matrices(onnxruntime, small_model, options) == []
    assert options.given == {}


def test_a_kernel_without_large_pages(tuned, monkeypatch):
    monkeypatch.setattr(weight_memory.mmap, "MADV_HUGEPAGE", 12345, raising=False)
    assert place_matrices(onnxruntime, tuned, Options())


@pytest.mark.parametrize("content", [b"", b"no onnx at all", b"\x3a\xff\xff\xff\xff\x0f", bytes(100)])
def test_what_is_no_model_is_left_to_onnxruntime(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert place_matrices(onnxruntime, path, Options()) == []
    assert place_matrices(onnxruntime, tmp_path / "none.onnx", Options()) == []


@pytest.mark.parametrize(
    ("shape", "kind", "bytes_left"),
    [((4, 5), TensorProto.FLOAT, 1), ((4, 4), TensorProto.INT32, 0), ((3,), TensorProto.FLOAT, 0)],
)
def test_a_tensor_that_lies_is_not_placed(tmp_path, shape, kind, bytes_left):
    """Of another size than its shape says, or of another type."""
    tensor = TensorProto(name="a.matrices", dims=shape, data_type=kind, raw_data=bytes(64 - bytes_left))
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    assert place_matrices(onnxruntime, path, Options()) == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_matrices_or_none(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    assert isinstance(place_matrices(onnxruntime, path, Options()), list)
