"""Build the ONNX graph of a SphereFace network from its topology and parameters.

Each stage is a stride-2 convolution followed by residual pairs x + f(x). Every convolution is 3 x 3 with padding 1 and
is followed by a PReLU with one slope per channel, or by a ReLU; the second activation of a pair stands before or after
the addition. The embedding is a fully connected layer over the last stage in NCHW order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.model.spec import LAYOUT_IMAGE, METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from export.topology import Topology

OPSET = 17
IR_VERSION = 8
"""IR version that onnxruntime reads since 1.14. A newer one would exclude old boards without a benefit."""
INPUT_NAME = {"image": "image", "nchw": "input"}
OUTPUT_NAME = "embedding"
BATCH = "batch"
_NORMALIZED = "normalized"
_NORMALIZATION = ("to_float", "to_nchw", "centered", _NORMALIZED)
"""Names of the nodes that the layout ``image`` adds."""
_PIXEL_WEIGHTS = ("pixel_mean", "pixel_scale")


def build_graph(topology: Topology, parameters: Mapping[str, np.ndarray[Any, Any]], spec: ModelSpec) -> onnx.ModelProto:
    """Build the graph. The result is deterministic, byte for byte.

    Args:
        topology: topology of the network.
        parameters: arrays of any floating-point type by name in the network, without batch normalization; the graph
            stores float32.
        spec: specification, stored in the metadata; its layout determines the input.

    Returns:
        A model that passes ``onnx.checker`` with strict shape inference.
    """
    builder = _Builder(parameters)
    value = builder.normalize(spec) if spec.input_layout == LAYOUT_IMAGE else INPUT_NAME[spec.input_layout]
    for stage, number in topology.layers:
        if number % 2 == 0:
            shortcut = value
        value = builder.convolution(value, stage, number, stride=2 if number == 1 else 1)
        ends_pair = number > 1 and number % 2 == 1
        if ends_pair and topology.shortcut == "before_activation":
            value = builder.node("Add", [shortcut, value], f"add{stage}_{number}")
        value = builder.activation(value, stage, number)
        if ends_pair and topology.shortcut == "after_activation":
            value = builder.node("Add", [shortcut, value], f"add{stage}_{number}")
    value = builder.node("Flatten", [value], "flatten", axis=1)
    weights = [builder.weight("fc5.weight"), builder.weight("fc5.bias")]
    builder.node("Gemm", [value, *weights], "fc5", output=OUTPUT_NAME, transB=1)
    model = helper.make_model(
        builder.graph(topology, spec),
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


def change_layout(model: onnx.ModelProto, spec: ModelSpec, *, batch: int | None = None) -> onnx.ModelProto:
    """Give a plain float graph of :func:`build_graph` another input layout, or a fixed batch.

    Args:
        model: the graph, with its specification in the metadata; it is not modified.
        spec: specification of the result, whose layout is the new one.
        batch: number of crops that the input is fixed to; None for any number.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    given = graph.input[0].name
    _drop_normalization(graph)
    source = INPUT_NAME[spec.input_layout]
    builder = _Builder({})
    if spec.input_layout == LAYOUT_IMAGE:
        source = builder.normalize(spec)
    for node in graph.node:
        node.input[:] = [source if name in (given, _NORMALIZED) else name for name in node.input]
    body = list(graph.node)
    del graph.node[:]
    graph.node.extend([*builder.nodes, *body])
    graph.initializer.extend(builder.weights)
    del graph.input[:]
    graph.input.append(_input(spec, spec.input_height, spec.input_width))
    for value in (graph.input[0], graph.output[0]):
        if batch is not None:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    del changed.metadata_props[:]
    helper.set_model_props(changed, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(
        onnx.shape_inference.infer_shapes(changed, strict_mode=True, data_prop=True), full_check=True
    )
    return changed


def _drop_normalization(graph: onnx.GraphProto) -> None:
    """Remove the nodes of the layout ``image``, and their weights."""
    kept = [node for node in graph.node if node.name not in _NORMALIZATION]
    weights = [tensor for tensor in graph.initializer if tensor.name not in _PIXEL_WEIGHTS]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)


def _input(spec: ModelSpec, height: int, width: int) -> onnx.ValueInfoProto:
    if spec.input_layout == LAYOUT_IMAGE:
        image: list[str | int | None] = [BATCH, height, width, 3]
        return helper.make_tensor_value_info(INPUT_NAME[LAYOUT_IMAGE], TensorProto.UINT8, image)
    planes: list[str | int | None] = [BATCH, 3, height, width]
    return helper.make_tensor_value_info(INPUT_NAME[spec.input_layout], TensorProto.FLOAT, planes)


class _Builder:
    """Collects the nodes and weights of the graph."""

    def __init__(self, parameters: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self._parameters = parameters
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], name: str, *, output: str | None = None, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output or name], name=name, **attributes))
        return output or name

    def weight(self, name: str, values: np.ndarray[Any, Any] | None = None) -> str:
        array = self._parameters[name] if values is None else values
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def normalize(self, spec: ModelSpec) -> str:
        """Convert uint8 NHWC to normalized float32 NCHW, bit for bit as the runtime does for the layout ``nchw``."""
        to_float, to_planes, centered, normalized = _NORMALIZATION
        value = self.node("Cast", [INPUT_NAME[LAYOUT_IMAGE]], to_float, to=TensorProto.FLOAT)
        value = self.node("Transpose", [value], to_planes, perm=[0, 3, 1, 2])
        mean = self.weight(_PIXEL_WEIGHTS[0], np.array(spec.pixel_mean))
        scale = self.weight(_PIXEL_WEIGHTS[1], np.array(spec.pixel_scale))
        return self.node("Mul", [self.node("Sub", [value, mean], centered), scale], normalized)

    def convolution(self, value: str, stage: int, number: int, *, stride: int) -> str:
        name = f"conv{stage}_{number}"
        inputs = [value, self.weight(f"{name}.weight")]
        if f"{name}.bias" in self._parameters:
            inputs.append(self.weight(f"{name}.bias"))
        return self.node("Conv", inputs, name, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride])

    def activation(self, value: str, stage: int, number: int) -> str:
        slope_name = f"relu{stage}_{number}.w"
        if slope_name not in self._parameters:
            return self.node("Relu", [value], f"relu{stage}_{number}")
        slope = self.weight(slope_name, self._parameters[slope_name].reshape(-1, 1, 1))
        return self.node("PRelu", [value, slope], f"relu{stage}_{number}")

    def graph(self, topology: Topology, spec: ModelSpec) -> onnx.GraphProto:
        return helper.make_graph(
            self.nodes,
            topology.name,
            [_input(spec, topology.input_height, topology.input_width)],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [BATCH, topology.embedding_size])],
            self.weights,
        )
