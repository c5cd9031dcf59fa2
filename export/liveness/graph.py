"""Build the ONNX graph of a MiniFASNet: uint8 BGR crops in, one probability per class out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.liveness.spec import METADATA_KEY
from export.graph import BATCH, IR_VERSION, OPSET
from export.liveness.network import CHANNELS, EPSILON

if TYPE_CHECKING:
    from edge_sphereface.liveness.spec import LivenessSpec
    from edge_sphereface.types import Float64Array
    from export.liveness.network import Convolution, LivenessNetwork

INPUT_NAME = "crops"
OUTPUT_NAME = "probabilities"
LOGITS_NAME = "logits"
"""Value before the softmax, which the proof looks at."""


def build_graph(network: LivenessNetwork, spec: LivenessSpec) -> onnx.ModelProto:
    """Build the graph, with batch normalization folded into the weights. The result is deterministic, byte for byte.

    Returns:
        A model that passes ``onnx.checker`` with strict shape inference.
    """
    builder = _Builder(network)
    value = builder.node("Cast", [INPUT_NAME], "to_float", to=TensorProto.FLOAT)
    value = builder.node("Transpose", [value], "to_nchw", perm=[0, 3, 1, 2])
    for block in network.blocks:
        before = value
        for layer in block.convolutions:
            value = builder.convolution(value, layer)
        if block.gate:
            value = builder.gate(value, block.gate)
        if block.is_residual:
            value = builder.node("Add", [before, value], f"{block.convolutions[0].name}.add")
    value = builder.node("Flatten", [value], "flatten", axis=1)
    weight, bias = builder.classifier()
    value = builder.node("Gemm", [value, weight, bias], "classifier", output=LOGITS_NAME, transB=1)
    builder.node("Softmax", [value], "softmax", output=OUTPUT_NAME, axis=1)
    crops: list[str | int | None] = [BATCH, network.side, network.side, CHANNELS]
    graph = helper.make_graph(
        builder.nodes,
        network.architecture,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, crops)],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [BATCH, network.classes])],
        builder.weights,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge_sphereface.export",
        producer_version=spec.exporter_version,
    )
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True), full_check=True
    )
    return model


class _Builder:
    """Collects the nodes and weights of the graph."""

    def __init__(self, network: LivenessNetwork) -> None:
        self._parameters = {name: values.astype(np.float64) for name, values in network.parameters.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], name: str, *, output: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output or name], name=name, **attributes))
        return output or name

    def weight(self, name: str, values: Float64Array) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name))
        return name

    def convolution(self, value: str, layer: Convolution) -> str:
        weights = self._parameters[f"{layer.name}.weight"]
        gain, shift = self._normalization(layer.normalization)
        inputs = [
            value,
            self.weight(f"{layer.name}.weight", weights * gain[:, None, None, None]),
            self.weight(f"{layer.name}.bias", shift),
        ]
        value = self.node(
            "Conv",
            inputs,
            layer.name,
            kernel_shape=list(weights.shape[2:]),
            strides=[layer.stride] * 2,
            pads=[layer.padding] * 4,
            group=layer.groups or len(weights),
        )
        if not layer.slopes:
            return value
        slopes = self.weight(layer.slopes, self._parameters[layer.slopes].reshape(-1, 1, 1))
        return self.node("PRelu", [value, slopes], f"{layer.name}.prelu")

    def gate(self, value: str, gate: tuple[Convolution, ...]) -> str:
        """Multiply each channel by a weight from 0 to 1 that is computed from the means of all channels."""
        name = gate[0].name.removesuffix(".fc1")
        first, second = gate
        means = self.node("GlobalAveragePool", [value], f"{name}.mean")
        hidden = self.node("Relu", [self.convolution(means, first)], f"{name}.relu")
        weights = self.node("Sigmoid", [self.convolution(hidden, second)], f"{name}.sigmoid")
        return self.node("Mul", [value, weights], f"{name}.scaled")

    def classifier(self) -> tuple[str, str]:
        """Fold two linear layers with the normalization between them into one: they have no activation between them."""
        gain, shift = self._normalization("bn")
        last = self._parameters["prob.weight"]
        weight = self.weight("classifier.weight", (last * gain) @ self._parameters["linear.weight"])
        return weight, self.weight("classifier.bias", last @ shift)

    def _normalization(self, name: str) -> tuple[Float64Array, Float64Array]:
        gamma, beta, mean, variance = (
            self._parameters[f"{name}.{moment}"] for moment in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gamma / np.sqrt(variance + EPSILON)
        return gain, beta - gain * mean
