"""Decompose PRelu into operators that have fast CPU kernels in onnxruntime and can be quantized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from export.rewrite.weights import read_weights, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

    from export.rewrite.weights import Weights


def decompose_prelu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace each PRelu that has one slope per channel by convolutions, Relu and Add.

    onnxruntime's CPU kernel of PRelu is scalar and leaves the blocked layout of the convolutions around it. In a
    quantized graph, it needs floats. A depthwise 1 x 1 convolution followed by Relu is one fused kernel in both graphs.

    Cases, for slopes a and input x:

    1. Every a <= 1: x + relu((a - 1) x). For x < 0 the product is positive and is added; for x >= 0 it is cut off.
    2. Some a > 1: x + s relu(-abs(1 - a) x), s = -1 where a > 1 and 1 elsewhere, by one more depthwise convolution.
    3. The slope is not an initializer of shape (C, 1, 1): the node is not changed.

    The result equals the input up to rounding: x + (a - 1) x may differ from a x by one unit in the last place of x.

    Args:
        model: model to rewrite; it is not modified.
    """
    weights = read_weights(model)
    return rebuild(model, decomposed(model.graph.node, weights), weights)


def decomposed(source: Iterable[onnx.NodeProto], weights: Weights) -> list[onnx.NodeProto]:
    """Decompose the PRelu among the nodes of a graph, see :func:`decompose_prelu`.

    Args:
        source: nodes in topological order.
        weights: weights by name, to which those of the new nodes are added.
    """
    nodes: list[onnx.NodeProto] = []
    for node in source:
        slope = weights.get(node.input[1]) if node.op_type == "PRelu" else None
        if slope is None or slope.ndim != 3 or slope.shape[1:] != (1, 1):
            nodes.append(node)
        else:
            nodes += _parts(node, slope.reshape(-1), weights)
    return nodes


def _parts(
    node: onnx.NodeProto, slope: np.ndarray[tuple[int], np.dtype[np.float32]], weights: Weights
) -> list[onnx.NodeProto]:
    name, x, y = node.name, node.input[0], node.output[0]
    made = [
        _depthwise(x, f"{name}.product", -np.abs(slope - 1), weights),
        helper.make_node("Relu", [f"{name}.product"], [f"{name}.negative"], name=f"{name}.negative"),
    ]
    if (slope > 1).any():
        signs = np.where(slope > 1, np.float32(-1), np.float32(1))
        made.append(_depthwise(f"{name}.negative", f"{name}.signed", signs, weights))
    return [*made, helper.make_node("Add", [x, made[-1].output[0]], [y], name=name)]


def _depthwise(
    source: str, name: str, factors: np.ndarray[tuple[int], np.dtype[np.float32]], weights: Weights
) -> onnx.NodeProto:
    """Make a depthwise 1 x 1 convolution that multiplies each channel by its factor."""
    weights[f"{name}.weight"] = factors.reshape(-1, 1, 1, 1)
    return helper.make_node(
        "Conv", [source, f"{name}.weight"], [name], name=name, group=len(factors), kernel_shape=[1, 1]
    )
