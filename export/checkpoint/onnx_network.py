"""Read the parameters of a SphereFace network from an ONNX graph of any exporter, by structure instead of names.

The graph is followed from its input. Each stage begins with a convolution of stride 2; a value that a convolution and
an addition read begins a residual pair. Batch normalizations may follow the convolutions and the embedding layer.
Weights are initializers or constants. Every other node is refused. What was understood is compared with what
onnxruntime computes, see :mod:`export.source_graph`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.model.spec import METADATA_KEY
from edge_sphereface.storage.bounded_json import shown
from export.checkpoint.entry import DTYPES, TensorInfo
from export.errors import CheckpointError, TopologyError
from export.naming import MOMENTS
from export.topology import BATCH_NORMALIZATION_EPSILON, STAGES, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_sphereface.model.origin import Shortcut
    from export.topology import Activation

    Array = np.ndarray[Any, Any]

_ACTIVATIONS: dict[str, Activation] = {"PRelu": "prelu", "Relu": "relu"}
_TYPES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
}
"""Types of weights, with the bytes of a value."""
_DECODE_HINT = "the file is damaged, truncated or of a different kind; compare its SHA-256 with its source"
_OTHER_HINT = (
    "only the SphereFace family is converted: 3 x 3 convolutions, PReLU or ReLU, residual pairs, one embedding"
)


T = TypeVar("T")

_DOMAINS = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""
_TRANSPARENT = ("Identity", "Cast", "Dropout")
"""Nodes that pass a value on; casts lead to and from float16."""
_DERIVING = ("Identity", "Unsqueeze", "Cast")
"""Nodes between a weight and the node that reads it: exporters store equal weights once, slopes as (C,), and weights as
float16."""
_MAX_DERIVATIONS = 4
_VISITS_PER_NODE = 10
"""A graph without cycles is followed with fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceGraph:
    """A graph that onnxruntime can run, of the nodes that were understood and no others.

    Attributes:
        model: the ONNX model, serialized.
        is_half: whether it computes in half precision.
    """

    model: bytes
    is_half: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNetwork:
    """A network that a graph computes.

    Attributes:
        parameters: arrays by name in the network, see :mod:`export.naming`.
        structure: activation, place of the addition, constant of the batch normalizations.
        input_size: height and width of the input in pixels; None if the graph leaves them open.
        graph: the nodes between input and embedding, for any batch.
    """

    parameters: Mapping[str, Array]
    structure: Structure
    input_size: tuple[int, int] | None
    graph: SourceGraph

    @property
    def entries(self) -> dict[str, TensorInfo]:
        """Description of the parameters, which have no place in the file of their own."""
        names = {dtype: name for name, dtype in DTYPES.items()}
        return {name: TensorInfo(names[array.dtype], array.shape, ()) for name, array in self.parameters.items()}


def read_onnx(content: bytes) -> OnnxNetwork:
    """Read the network of an ONNX file.

    Raises:
        CheckpointError: the file is damaged, has its weights in another file, or was made by this package.
        TopologyError: the graph is not a SphereFace network.
    """
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise CheckpointError(f"This is not an intact ONNX file: {shown(str(error))}.", hint=_DECODE_HINT) from error
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        raise CheckpointError(
            "Expected a graph of another exporter, but this ONNX file was made by this package.",
            hint="it is ready for use; `python -m export verify` proves it, `tune` and `quantize` make other forms",
        )
    _require_sound(model)
    return _Walk(model).network()


def _require_sound(model: onnx.ModelProto) -> None:
    """Require what the walk relies on: names are text, nodes have outputs, and a value is defined once."""
    graph = model.graph
    if not all(isinstance(text, str) for text in _texts(graph)):  # protobuf gives bytes for what is no UTF-8
        raise CheckpointError("This is not an intact ONNX file: a name is not UTF-8 text.", hint=_DECODE_HINT)
    if any(function.domain in _DOMAINS for function in model.functions):
        raise TopologyError("The graph redefines an operator of ONNX.", hint=_OTHER_HINT)
    for node in graph.node:
        if not node.output or not node.output[0]:
            raise CheckpointError(f"The node {_named(node)} has no output.", hint=_DECODE_HINT)
    weights = [tensor.name for tensor in graph.initializer]
    defined = [*weights, *(value.name for value in graph.input if value.name not in set(weights))]
    defined += [name for node in graph.node for name in node.output if name]
    if len(set(defined)) < len(defined):
        twice = next(name for place, name in enumerate(defined) if name in set(defined[:place]))
        raise CheckpointError(f"The graph defines the value {twice!r:.80} twice.", hint=_DECODE_HINT)


def _texts(graph: onnx.GraphProto) -> Iterator[Any]:
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output))
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


class _Walk:
    """Follows a graph from its input to its output, and collects the parameters."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._model, self._graph = model, graph
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self._derived: dict[str, onnx.NodeProto] = {}
        self._visits = 0
        self._parameters: dict[str, Array] = {}
        self._activation: Activation | None = None
        self._shortcut: Shortcut | None = None
        self._epsilon: float | None = None
        for node in graph.node:
            if _kind(node) == "Constant":
                self._tensors[node.output[0]] = _attribute(node, "value", TensorProto())
            if _kind(node) in _DERIVING:
                self._derived[node.output[0]] = node
            for name in dict.fromkeys(filter(None, node.input)):
                self._readers.setdefault(name, []).append(node)

    def network(self) -> OnnxNetwork:
        value, size = self._input()
        stage, number = 0, 1
        while True:
            readers = self._next(value)
            kinds = sorted(map(_kind, readers))
            if kinds == ["Add", "Conv"]:
                number += 2
                value = self._pair(readers, f"{stage}_{number - 1}", f"{stage}_{number}")
            elif kinds == ["Conv"]:
                stage, number = stage + 1, 1
                value = self._unit(readers[0], f"{stage}_1", stride=2)
            elif kinds in (["Flatten"], ["Reshape"]) and stage == STAGES:
                value = self._embed(readers[0])
                break
            else:
                raise self._unexpected(readers, "a convolution, a residual pair or, after four stages, the flattening")
        structure = Structure(
            activation=self._activation,
            shortcut=self._shortcut or "after_activation",
            epsilon=BATCH_NORMALIZATION_EPSILON if self._epsilon is None else self._epsilon,
        )
        graph = self._source_graph(self._output(value))
        return OnnxNetwork(parameters=self._parameters, structure=structure, input_size=size, graph=graph)

    def _input(self) -> tuple[str, tuple[int, int] | None]:
        inputs = [value for value in self._graph.input if value.name not in self._tensors]
        if len(inputs) != 1:
            raise TopologyError(f"Expected a graph with one input, but this one has {len(inputs)}.", hint=_OTHER_HINT)
        tensor = inputs[0].type.tensor_type
        sides = [dimension.dim_value for dimension in tensor.shape.dim]
        if len(sides) != 4 or sides[1] not in (0, 3):
            raise TopologyError(
                f"Expected an input of shape (N, 3, H, W), but this graph has {tuple(sides[:8])}.", hint=_OTHER_HINT
            )
        if tensor.elem_type not in _TYPES:
            raise TopologyError("Expected an input of floating-point numbers.", hint=_OTHER_HINT)
        return inputs[0].name, (sides[2], sides[3]) if min(sides[2:]) > 0 else None

    def _next(self, value: str) -> list[onnx.NodeProto]:
        """Nodes that read a value, behind those that pass it on unchanged."""
        found: list[onnx.NodeProto] = []
        values = [value]
        while values:
            for node in self._readers.get(values.pop(), []):
                self._visits += 1
                if self._visits > _VISITS_PER_NODE * len(self._graph.node):
                    raise TopologyError("The graph has a cycle.", hint=_DECODE_HINT)
                if self._is_transparent(node):
                    values += node.output[:1]
                else:
                    found.append(node)
        return found

    def _is_transparent(self, node: onnx.NodeProto) -> bool:
        if _kind(node) == "Cast" and _attribute(node, "to", 0) not in _TYPES:
            return False  # integers and truth values lose what follows the point
        if _kind(node) == "Dropout" and len(node.input) > 2 and node.input[2]:
            tensor = self._tensors.get(node.input[2])
            return tensor is not None and not _decoded(tensor).any()  # otherwise it may drop values
        return _kind(node) in _TRANSPARENT

    def _output(self, value: str) -> str:
        """Name of the graph's output that is a value, or the same behind nodes that pass it on."""
        if self._next(value):
            raise self._unexpected(self._next(value), "no node after the embedding layer")
        outputs, values = {output.name for output in self._graph.output}, [value]
        while values:
            found = values.pop()
            if found in outputs:
                return found
            values += [node.output[0] for node in self._readers.get(found, [])]
        raise TopologyError(
            f"Expected the embedding {value!r:.80} among the outputs of the graph, which are "
            f"{', '.join(f'{name!r:.80}' for name in sorted(outputs)[:3]) or 'none'}.",
            hint="export the network with its embedding as the output",
        )

    def _source_graph(self, output: str) -> SourceGraph:
        """Graph of the nodes that lead to the output.

        A flattening keeps the order of its values whatever shape it computes, so that all of them are written alike.
        """
        made = {name: place for place, node in enumerate(self._graph.node) for name in node.output if name}
        nodes: dict[int, onnx.NodeProto] = {}
        values = [output]
        while values:
            place = made.get(values.pop())
            if place is None or place in nodes:
                continue
            nodes[place] = _plain(self._graph.node[place])
            values += nodes[place].input
        graph = onnx.GraphProto(name="network", node=[nodes[place] for place in sorted(nodes)])
        read = {name for node in graph.node for name in node.input}
        graph.initializer.extend(tensor for tensor in self._graph.initializer if tensor.name in read)
        graph.input.extend(value for value in self._graph.input if value.name in read)
        for value in graph.input:
            if value.name not in self._tensors:
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
        graph.output.append(onnx.ValueInfoProto(name=output))
        model = onnx.ModelProto(ir_version=self._model.ir_version, graph=graph)
        model.opset_import.extend(self._model.opset_import)
        return SourceGraph(model=model.SerializeToString(), is_half=self._is_half(graph))

    def _is_half(self, graph: onnx.GraphProto) -> bool:
        """Whether a value is cast to half precision, or a weight of half precision is not cast before it is used."""
        casts = [node for node in graph.node if node.op_type == "Cast"]
        used = {name for node in graph.node if node.op_type != "Cast" for name in node.input}
        types = [_attribute(node, "to", 0) for node in casts]
        types += [tensor.data_type for name, tensor in self._tensors.items() if name in used]
        return any(kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16) for kind in types)

    def _only(self, value: str, expected: tuple[str, ...]) -> onnx.NodeProto:
        readers = self._next(value)
        if len(readers) != 1 or _kind(readers[0]) not in expected:
            raise self._unexpected(readers, " or ".join(expected))
        return readers[0]

    def _unexpected(self, readers: list[onnx.NodeProto], expected: str) -> TopologyError:
        found = " and ".join(map(_named, readers[:3])) or "the end of the graph"
        return TopologyError(f"Expected {expected} in a SphereFace graph, but found {found}.", hint=_OTHER_HINT)

    def _pair(self, readers: list[onnx.NodeProto], first: str, second: str) -> str:
        convolution, addition = sorted(readers, key=lambda node: _kind(node) != "Conv")
        value = self._unit(convolution, first, stride=1)
        value = self._convolved(self._only(value, ("Conv",)), second, stride=1)
        adds_last = _kind(self._only(value, ("Add", *_ACTIVATIONS))) != "Add"
        self._set_shortcut("after_activation" if adds_last else "before_activation", addition)
        if adds_last:
            value = self._activated(value, second)
        last = self._only(value, ("Add",))
        if last is not addition:
            raise self._unexpected([last], "the addition of the pair's input")
        return last.output[0] if adds_last else self._activated(last.output[0], second)

    def _unit(self, node: onnx.NodeProto, layer: str, *, stride: int) -> str:
        return self._activated(self._convolved(node, layer, stride=stride), layer)

    def _convolved(self, node: onnx.NodeProto, layer: str, *, stride: int) -> str:
        usual = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "kernel_shape": [3, 3]}
        wanted = {**usual, "strides": [stride, stride], "pads": [1, 1, 1, 1]}
        for name, values in wanted.items():
            found = _attribute(node, name, usual[name])
            if found != values:
                raise TopologyError(
                    f"Expected convolution {layer} with {name} {values}, but {node.name!r:.80} has {found!s:.80}.",
                    hint=_OTHER_HINT,
                )
        if _attribute(node, "group", 1) != 1 or _attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
            raise TopologyError(f"The convolution {node.name!r:.80} is grouped or pads by itself.", hint=_OTHER_HINT)
        self._keep(node, 1, f"conv{layer}.weight")
        if len(node.input) > 2 and node.input[2]:
            self._keep(node, 2, f"conv{layer}.bias")
        return self._normalized(node.output[0], layer)

    def _normalized(self, value: str, layer: str) -> str:
        readers = self._next(value)
        if [_kind(node) for node in readers] != ["BatchNormalization"]:
            return value
        node = readers[0]
        if _attribute(node, "training_mode", 0) != 0:
            raise TopologyError(
                f"The batch normalization {node.name!r:.80} normalizes by the statistics of its input.",
                hint="export the network in evaluation mode: network.eval()",
            )
        epsilon = _attribute(node, "epsilon", BATCH_NORMALIZATION_EPSILON)
        if not epsilon >= 0:
            raise TopologyError(
                f"The batch normalization {node.name!r:.80} adds {epsilon:g} to the variance.", hint=_OTHER_HINT
            )
        if self._epsilon not in (None, epsilon):
            raise TopologyError(
                f"The batch normalizations add {self._epsilon:g} and {epsilon:g} to the variance.", hint=_OTHER_HINT
            )
        self._epsilon = epsilon
        for place, moment in enumerate(MOMENTS, start=1):
            self._keep(node, place, f"bn{layer}.{moment}")
        return str(node.output[0])

    def _activated(self, value: str, layer: str) -> str:
        node = self._only(value, tuple(_ACTIVATIONS))
        kind = _ACTIVATIONS[_kind(node)]
        if self._activation not in (None, kind):
            raise TopologyError(
                f"Expected the same activation in all layers, but layer {layer} has {_named(node)}.",
                hint="a network with PReLU must have it after every convolution; export it again",
            )
        self._activation = kind
        if kind == "prelu":
            slope, weight = self._array(node, 1), self._parameters[f"conv{layer}.weight"]
            if slope.size != 1 and (slope.ndim < 3 or slope.shape[-2:] != (1, 1)):
                raise TopologyError(
                    f"Expected one slope per channel, of shape (C, 1, 1), but {node.name!r:.80} has {slope.shape}.",
                    hint=_OTHER_HINT,
                )
            self._parameters[f"relu{layer}.w"] = _one_per_row(slope, weight)
        return str(node.output[0])

    def _set_shortcut(self, shortcut: Shortcut, addition: onnx.NodeProto) -> None:
        if self._shortcut not in (None, shortcut):
            raise TopologyError(
                f"Some residual pairs add before the activation and some after it: {addition.name!r:.80}.",
                hint=_OTHER_HINT,
            )
        self._shortcut = shortcut

    def _embed(self, flattening: onnx.NodeProto) -> str:
        if _kind(flattening) == "Flatten" and _attribute(flattening, "axis", 1) not in (1, -3):
            raise TopologyError(f"{_named(flattening)} flattens the batch as well.", hint=_OTHER_HINT)
        layer = self._only(flattening.output[0], ("Gemm", "MatMul"))
        weight = self._array(layer, 1)
        if weight.ndim != 2 or not weight.size:
            raise TopologyError(
                f"Expected a matrix as the weight of {_named(layer)}, but it has shape {weight.shape}.",
                hint=_OTHER_HINT,
            )
        output = layer.output[0]
        if _kind(layer) == "MatMul":
            weight, addition = weight.T, self._next(output)
            bias = np.zeros(1, weight.dtype)
            if [_kind(node) for node in addition] == ["Add"]:
                is_first = self._stored(addition[0].input[0])[0] is not None
                bias = self._array(addition[0], 0 if is_first else 1)
                output = addition[0].output[0]
        else:
            if _attribute(layer, "transA", 0) != 0 or any(
                _attribute(layer, name, 1.0) != 1.0 for name in ("alpha", "beta")
            ):
                raise TopologyError(f"The embedding layer {layer.name!r:.80} scales its input.", hint=_OTHER_HINT)
            weight = weight.T if _attribute(layer, "transB", 0) == 0 else weight
            has_bias = len(layer.input) > 2 and layer.input[2]
            bias = self._array(layer, 2) if has_bias else np.zeros(1, weight.dtype)
        self._parameters["fc5.weight"] = weight
        self._parameters["fc5.bias"] = _one_per_row(bias, weight)
        return self._normalized(output, "5")

    def _keep(self, node: onnx.NodeProto, place: int, name: str) -> None:
        self._parameters[name] = self._array(node, place)

    def _array(self, node: onnx.NodeProto, place: int) -> Array:
        tensor, between = self._stored(node.input[place] if place < len(node.input) else "")
        if tensor is None:
            raise TopologyError(
                f"Input {place} of {_named(node)} is no constant weight.",
                hint="export the network in evaluation mode, with constant folding",
            )
        _require_inside(tensor)
        if not _is_whole(tensor):
            raise CheckpointError(
                f"The weight {tensor.name!r:.80} of {_named(node)} is empty, damaged or of no floating-point type.",
                hint=_DECODE_HINT,
            )
        values = _decoded(tensor)
        for one in reversed(between):
            values = self._derive(one, values)
        return values

    def _stored(self, name: str) -> tuple[onnx.TensorProto | None, list[onnx.NodeProto]]:
        """Tensor that a value is derived from, None if it is computed, and the nodes between, last first."""
        between: list[onnx.NodeProto] = []
        while name in self._derived and self._derived[name].input and len(between) < _MAX_DERIVATIONS:
            between.append(self._derived[name])
            name = between[-1].input[0]
        return self._tensors.get(name), between

    def _derive(self, node: onnx.NodeProto, values: Array) -> Array:
        """Apply a node between a weight and its reader: a cast, or axes of length 1 behind a vector, as (C, 1, 1)."""
        if _kind(node) == "Identity":
            return values
        if _kind(node) == "Cast":
            kind = _attribute(node, "to", 0)
            if kind not in _TYPES:
                raise TopologyError(f"{_named(node)} makes a weight an integer.", hint=_OTHER_HINT)
            with np.errstate(over="ignore"):  # whoever reads the values refuses infinite ones
                return values.astype(helper.tensor_dtype_to_np_dtype(kind))
        axes: list[int] = _attribute(node, "axes", [])  # an attribute before opset 13, an input since
        if not axes and len(node.input) > 1 and node.input[1] in self._tensors:
            axes = _decoded(self._tensors[node.input[1]]).reshape(-1).tolist()
        if axes not in ([1, 2], [1]):
            raise TopologyError(f"{_named(node)} adds the axes {axes!s:.80}.", hint=_OTHER_HINT)
        return values.reshape((*values.shape, *[1] * len(axes)))


def _require_inside(tensor: onnx.TensorProto) -> None:
    """Require that a tensor is in the file itself: no other file is read because this one names it."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise CheckpointError(
            "The ONNX file has its weights in another file.",
            hint="join them: onnx.save(onnx.load(FILE), OTHER_FILE), beside the file of the weights",
        )


def _decoded(tensor: onnx.TensorProto) -> Array:
    _require_inside(tensor)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"The tensor {tensor.name!r:.80} is damaged: {shown(str(error))}.", hint=_DECODE_HINT
        ) from error


def _is_whole(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor of floating-point numbers has values, and as many as its shape says."""
    if tensor.data_type not in _TYPES or min(tensor.dims, default=1) < 1:
        return False
    raw = len(tensor.raw_data) / _TYPES[tensor.data_type]
    return math.prod(tensor.dims) in (raw, len(tensor.float_data), len(tensor.double_data), len(tensor.int32_data))


def _one_per_row(values: Array, weight: Array) -> Array:
    """Values of which there is one per row of a weight; a single one holds for all rows."""
    return np.repeat(values.reshape(-1), len(weight)) if values.size == 1 else values.reshape(-1)


def _plain(node: onnx.NodeProto) -> onnx.NodeProto:
    """A node without the inputs that its value does not depend on: the shape of a flattening, the rate of a dropout."""
    kinds = {"Dropout": "Identity", "Reshape": "Flatten"}
    return helper.make_node(kinds[node.op_type], node.input[:1], node.output[:1]) if node.op_type in kinds else node


def _kind(node: onnx.NodeProto) -> str:
    """Operator of a node, with its domain unless that is ONNX's own."""
    return str(node.op_type) if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"


def _named(node: onnx.NodeProto) -> str:
    """Operator and name of a node for a message."""
    return f"{shown(_kind(node))} {str(node.name)!r:.80}"


def _attribute(node: onnx.NodeProto, name: str, default: T) -> T:
    """Value of an attribute of a node; the default if it has none of the name."""
    found = next((found for found in node.attribute if found.name == name), None)
    if found is None:
        return default
    with suppress(ValueError):  # raised for an attribute without a type
        value = helper.get_attribute_value(found)
        if isinstance(value, type(default)):
            return value
    raise CheckpointError(f"The attribute {name} of {_named(node)} has no such type.", hint=_DECODE_HINT)
