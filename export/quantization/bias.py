"""Correct the biases for the mean error of rounding and clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

from export.layers import layer_of
from export.quantization.activation_statistics import channel_means, extended
from export.quantization.prefix import EMPTY
from export.rewrite.weights import read_weights, rebuild

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import UInt8Array
    from export.quantization.prefix import Prefix


def correct_biases(
    model: onnx.ModelProto,
    spec: ModelSpec,
    quantize: Callable[[onnx.ModelProto, Prefix], onnx.ModelProto],
    crops: UInt8Array,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> onnx.ModelProto:
    """Change the bias of every layer so that its quantized form has the channel means of the float form.

    Layers are corrected in order, so that each measurement includes the earlier corrections.

    Args:
        model: rewritten float model; it is not modified.
        spec: specification of the model.
        quantize: function that quantizes the model with other biases, without its first layers.
        crops: (N, H, W, 3) uint8 BGR.
        progress: called with the number of layers done and their total.

    Returns:
        A float model for quantization only: in float, it is less accurate than ``model``.

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.2.
    """
    nodes = [type(node).FromString(node.SerializeToString()) for node in model.graph.node]
    weights = read_weights(model)
    layers = [node for node in nodes if node.op_type == "Gemm" or (node.op_type == "Conv" and _is_full(node))]
    for node in layers:
        if len(node.input) == 2:
            node.input.append(f"{node.name}.bias")
            weights[node.input[2]] = np.zeros(len(weights[node.input[1]]), dtype=np.float32)
    corrected = rebuild(model, nodes, weights)
    biases = {tensor.name: tensor for tensor in corrected.graph.initializer}
    wanted = channel_means(model, [node.output[0] for node in layers], crops, spec)
    prefix = EMPTY
    for done, node in enumerate(layers, start=1):
        quantized = quantize(corrected, prefix)
        written = _written_by(node.name, quantized)
        got = channel_means(quantized, [written], crops, spec, prefix=prefix)[written]
        bias = biases[node.input[2]]
        changed = (numpy_helper.to_array(bias) + wanted[node.output[0]] - got).astype(np.float32)
        bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
        if node is not layers[-1]:
            prefix = extended(prefix, layer_of(node.name) or "", quantize(corrected, prefix), crops, spec)
        if progress is not None:
            progress(done, len(layers))
    return corrected


def _is_full(node: onnx.NodeProto) -> bool:
    """Whether a convolution is a layer of the network, not a depthwise one of a decomposed PRelu."""
    return all(attribute.i == 1 for attribute in node.attribute if attribute.name == "group")


def _written_by(name: str, quantized: onnx.ModelProto) -> str:
    """Name of the tensor that a layer writes in its quantized form: before a Relu, it has the name of Relu's output.

    Its values are those before the cut, which is in the rounding of what reads it.
    """
    return next(str(node.output[0]) for node in quantized.graph.node if node.name == name)
