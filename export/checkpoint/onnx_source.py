"""Cut the nodes that were understood out of an ONNX graph, so that onnxruntime can run them and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from export.checkpoint.onnx_node import attribute

if TYPE_CHECKING:
    from export.checkpoint.onnx_weights import GraphWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceGraph:
    """A graph that onnxruntime can run, of the nodes that were understood and no others.

    Attributes:
        model: the ONNX model, serialized.
        is_half: whether it computes in half precision.
    """

    model: bytes
    is_half: bool


def cut_out(model: onnx.ModelProto, weights: GraphWeights, output: str) -> SourceGraph:
    """Graph of the nodes that lead to an output, for any batch.

    A flattening keeps the order of its values whatever shape it computes, so that all of them are written alike.

    Args:
        model: the whole graph.
        weights: its weights.
        output: name of the output.
    """
    made = {name: place for place, node in enumerate(model.graph.node) for name in node.output if name}
    nodes: dict[int, onnx.NodeProto] = {}
    values = [output]
    while values:
        place = made.get(values.pop())
        if place is None or place in nodes:
            continue
        nodes[place] = _plain(model.graph.node[place])
        values += nodes[place].input
    graph = onnx.GraphProto(name="network", node=[nodes[place] for place in sorted(nodes)])
    read = {name for node in graph.node for name in node.input}
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    graph.input.extend(value for value in model.graph.input if value.name in read)
    for value in graph.input:
        if value.name not in weights.tensors:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph.output.append(onnx.ValueInfoProto(name=output))
    part = onnx.ModelProto(ir_version=model.ir_version, graph=graph)
    part.opset_import.extend(model.opset_import)
    return SourceGraph(model=part.SerializeToString(), is_half=_is_half(graph, weights))


def _is_half(graph: onnx.GraphProto, weights: GraphWeights) -> bool:
    """Whether a value is cast to half precision, or a weight of half precision is not cast before it is used."""
    casts = [node for node in graph.node if node.op_type == "Cast"]
    used = {name for node in graph.node if node.op_type != "Cast" for name in node.input}
    types = [attribute(node, "to", 0) for node in casts]
    types += [tensor.data_type for name, tensor in weights.tensors.items() if name in used]
    return any(kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16) for kind in types)


def _plain(node: onnx.NodeProto) -> onnx.NodeProto:
    """A node without the inputs that its value does not depend on: the shape of a flattening, the rate of a dropout."""
    kinds = {"Dropout": "Identity", "Reshape": "Flatten"}
    return helper.make_node(kinds[node.op_type], node.input[:1], node.output[:1]) if node.op_type in kinds else node
