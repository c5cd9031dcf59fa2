"""The model of ncnn's half precision: it rounds as float16 does, and loses what ncnn loses."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from edge_sphereface.model.certificate import golden_crops
from export.graph import change_layout
from export.half_precision import HalfPrecisionEmbedder, HalfPrecisionNetwork, tile_side
from export.plain import open_plain
from export.quantization.policy import LARGE_TILES, Policy, stricter
from export.rounded_product import compiled_product, numpy_product, rounded


def test_rounds_as_float16_does():
    values = np.random.default_rng(1).normal(size=4096).astype(np.float32) * 100
    values = values[np.abs(values) > 1e-4]
    np.testing.assert_array_equal(rounded(values.copy()), values.astype(np.float16).astype(np.float32))


@pytest.mark.slow
def test_the_compiled_product_is_that_of_numpy_bit_by_bit():
    """Of shapes that blocks do not divide, with zeros and with numbers below those of float16."""
    pytest.importorskip("numba", reason="numba is not installed")
    random = np.random.default_rng(3)
    left, right = random.normal(size=(3, 5, 70)), random.normal(size=(3, 70, 301))
    left[0, :, ::3] = 0
    right[1] *= 1e-9
    found, expected = (
        product.compute(left.astype(np.float32), right.astype(np.float32))
        for product in (compiled_product(), numpy_product())
    )
    assert found.shape == (3, 5, 301)
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))
    assert not np.array_equal(expected, np.matmul(left, right).astype(np.float32))


def test_tiles_are_those_of_ncnn():
    assert [tile_side(*shape) for shape in ((64, 64), (128, 128), (256, 256), (3, 512))] == [6, 6, 4, 2]


def network(weights, side):
    """One convolution of a square image, a flattening and an embedding layer that adds everything up."""
    outputs, inputs = weights.shape[:2]
    helper = onnx.helper
    tensors = {
        "w": weights.astype(np.float32),
        "fc.w": np.eye(outputs * side * side, dtype=np.float32),
        "fc.b": np.zeros(outputs * side * side, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "fc.w", "fc.b"], ["y"], name="fc5", transB=1),
    ]
    shape = [1, inputs, side, side]
    values = [helper.make_tensor_value_info("x", 1, shape), helper.make_tensor_value_info("y", 1, None)]
    given = [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()]
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], given))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(16, 16), (16, 144), (3, 16), (3, 8)])
def test_a_convolution_in_tiles_is_a_convolution(shape):
    """Tiles of 6, 4 and 2 and none, on a side that no tile divides."""
    random = np.random.default_rng(2)
    inputs, outputs = shape
    weights = random.normal(size=(outputs, inputs, 3, 3)) / np.sqrt(9 * inputs)
    image = random.normal(size=(1, inputs, 5, 5)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image[0], ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
    expected = np.einsum("oikl,ihwkl->ohw", weights, windows).reshape(1, -1).astype(np.float32)
    found = agreement(expected, HalfPrecisionNetwork(network(weights, 5), numpy_product()).forward(image))
    assert 0.9998 < found.min_cosine < 1 - 1e-8


def test_what_float16_cannot_hold_is_refused():
    weights = np.full((8, 3, 3, 3), 100.0)
    with pytest.raises(ModelFormatError, match="beyond 65504"):
        HalfPrecisionNetwork(network(weights, 4), numpy_product()).forward(
            np.full((1, 3, 4, 4), 1000.0, dtype=np.float32)
        )


def test_other_networks_are_refused():
    model = network(np.ones((8, 3, 3, 3)), 4)
    model.graph.node[1].op_type = "Tanh"
    with pytest.raises(ModelFormatError, match="Tanh"):
        HalfPrecisionNetwork(model, numpy_product())


@pytest.mark.slow
def test_loses_what_ncnn_loses(half_width_model):
    """On trained weights. ncnn 1.0.20261020 on an emulated Cortex-A76 had 0.99976 to 0.99982 for these inputs."""
    original, plain = open_plain(half_width_model, "cpu")
    spec = replace(original.spec, input_layout="nchw")
    crops = golden_crops(spec)[1:3]
    got = HalfPrecisionEmbedder(change_layout(plain, spec, batch=1), spec).forward(crops)
    least = agreement(Embedder(half_width_model).forward(crops), got).min_cosine
    assert 0.9996 < least < 0.9999


def test_bounds_of_the_class_cannot_be_loosened():
    assert stricter(Policy(mean=None, accuracy=1.0, min=0.95), LARGE_TILES) == Policy(
        mean=0.998, accuracy=0.2, min=0.95
    )
    assert stricter(Policy(mean=0.999, tar=None), LARGE_TILES).mean == 0.999
