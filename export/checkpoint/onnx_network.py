"""Read the parameters of a SphereFace network from an ONNX graph of any exporter, by structure instead of names.

The graph is followed from its input. Each stage begins with a convolution of stride 2; a value that a convolution and
an addition read begins a residual pair. Batch normalizations may follow the convolutions and the embedding layer.
Weights are initializers or constants. Every other node is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, numpy_helper

from edge_sphereface.model.spec import METADATA_KEY
from export.checkpoint.entry import DTYPES, TensorInfo
from export.errors import CheckpointError, TopologyError
from export.naming import MOMENTS
from export.topology import BATCH_NORMALIZATION_EPSILON, STAGES, Structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

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


_TRANSPARENT = ("Identity", "Cast", "Dropout")
"""Nodes that pass a value on; casts lead to and from float16."""
_DERIVING = ("Identity", "Unsqueeze")
"""Nodes between a weight and the node that reads it: exporters store equal weights once, and slopes as (C,)."""
_MAX_DERIVATIONS = 4
_VISITS_PER_NODE = 10
"""A graph without cycles is followed with fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNetwork:
    """A network that a graph computes.

    Attributes:
        parameters: arrays by name in the network, see :mod:`export.naming`.
        structure: activation, place of the addition, constant of the batch normalizations.
        input_size: height and width of the input in pixels; None if the graph leaves them open.
    """

    parameters: Mapping[str, Array]
    structure: Structure
    input_size: tuple[int, int] | None

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
        raise CheckpointError(f"This is not an intact ONNX file: {error}.", hint=_DECODE_HINT) from error
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        raise CheckpointError(
            "Expected a graph of another exporter, but this ONNX file was made by this package.",
            hint="it is ready for use; `python -m export verify` proves it, `tune` and `quantize` make other forms",
        )
    return _Walk(model.graph).network()


class _Walk:
    """Follows a graph from its input to its output, and collects the parameters."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self._derived: dict[str, onnx.NodeProto] = {}
        self._visits = 0
        self._parameters: dict[str, Array] = {}
        self._activation: Activation | None = None
        self._shortcut: Shortcut | None = None
        self._epsilon: float | None = None
        for node in graph.node:
            if node.op_type == "Constant":
                self._tensors |= {name: _attribute(node, "value").t for name in node.output}
            if node.op_type in _DERIVING:
                self._derived |= dict.fromkeys(node.output, node)
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)

    def network(self) -> OnnxNetwork:
        value, size = self._input()
        stage, number = 0, 1
        while True:
            readers = self._next(value)
            kinds = sorted(node.op_type for node in readers)
            if kinds == ["Add", "Conv"]:
                number += 2
                value = self._pair(readers, f"{stage}_{number - 1}", f"{stage}_{number}")
            elif kinds == ["Conv"]:
                stage, number = stage + 1, 1
                value = self._activated(self._convolved(readers[0], f"{stage}_1", stride=2), f"{stage}_1")
            elif kinds in (["Flatten"], ["Reshape"]) and stage == STAGES:
                self._embed(readers[0])
                break
            else:
                raise self._unexpected(readers, "a convolution, a residual pair or, after four stages, the flattening")
        structure = Structure(
            activation=self._activation,
            shortcut=self._shortcut or "after_activation",
            epsilon=BATCH_NORMALIZATION_EPSILON if self._epsilon is None else self._epsilon,
        )
        return OnnxNetwork(parameters=self._parameters, structure=structure, input_size=size)

    def _input(self) -> tuple[str, tuple[int, int] | None]:
        inputs = [value for value in self._graph.input if value.name not in self._tensors]
        if len(inputs) != 1:
            raise TopologyError(f"Expected a graph with one input, but this one has {len(inputs)}.", hint=_OTHER_HINT)
        sides = [dimension.dim_value for dimension in inputs[0].type.tensor_type.shape.dim]
        if len(sides) != 4 or sides[1] not in (0, 3):
            raise TopologyError(
                f"Expected an input of shape (N, 3, H, W), but this graph has {tuple(sides)}.", hint=_OTHER_HINT
            )
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
                if node.op_type in _TRANSPARENT:
                    values += node.output[:1]
                else:
                    found.append(node)
        return found

    def _only(self, value: str, expected: tuple[str, ...]) -> onnx.NodeProto:
        readers = self._next(value)
        if len(readers) != 1 or readers[0].op_type not in expected:
            raise self._unexpected(readers, " or ".join(expected))
        return readers[0]

    def _unexpected(self, readers: list[onnx.NodeProto], expected: str) -> TopologyError:
        found = " and ".join(f"{node.op_type} {str(node.name)!r:.80}" for node in readers[:3]) or "the end of the graph"
        return TopologyError(f"Expected {expected} in a SphereFace graph, but found {found}.", hint=_OTHER_HINT)

    def _pair(self, readers: list[onnx.NodeProto], first: str, second: str) -> str:
        convolution, addition = sorted(readers, key=lambda node: node.op_type != "Conv")
        value = self._activated(self._convolved(convolution, first, stride=1), first)
        value = self._convolved(self._only(value, ("Conv",)), second, stride=1)
        adds_last = self._only(value, ("Add", *_ACTIVATIONS)).op_type != "Add"
        self._set_shortcut("after_activation" if adds_last else "before_activation", addition)
        if adds_last:
            value = self._activated(value, second)
        last = self._only(value, ("Add",))
        if last is not addition:
            raise self._unexpected([last], "the addition of the pair's input")
        return last.output[0] if adds_last else self._activated(last.output[0], second)

    def _convolved(self, node: onnx.NodeProto, layer: str, *, stride: int) -> str:
        wanted = {"strides": [stride, stride], "pads": [1, 1, 1, 1], "dilations": [1, 1], "kernel_shape": [3, 3]}
        for name, values in wanted.items():
            found = list(_attribute(node, name).ints) or ([1, 1] if name in ("strides", "dilations") else values)
            if found != values:
                raise TopologyError(
                    f"Expected convolution {layer} with {name} {values}, but {node.name!r:.80} has {found}.",
                    hint=_OTHER_HINT,
                )
        if _attribute(node, "group").i > 1 or _attribute(node, "auto_pad").s not in (b"", b"NOTSET"):
            raise TopologyError(f"The convolution {node.name!r:.80} is grouped or pads by itself.", hint=_OTHER_HINT)
        self._keep(node, 1, f"conv{layer}.weight")
        if len(node.input) > 2 and node.input[2]:
            self._keep(node, 2, f"conv{layer}.bias")
        return self._normalized(node.output[0], layer)

    def _normalized(self, value: str, layer: str) -> str:
        readers = self._next(value)
        if [node.op_type for node in readers] != ["BatchNormalization"]:
            return value
        node = readers[0]
        epsilon = _attribute(node, "epsilon").f or BATCH_NORMALIZATION_EPSILON
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
        kind = _ACTIVATIONS[node.op_type]
        if self._activation not in (None, kind):
            raise TopologyError(
                f"Expected the same activation in all layers, but layer {layer} has {node.op_type} {node.name!r:.80}.",
                hint="a network with PReLU must have it after every convolution; export it again",
            )
        self._activation = kind
        if kind == "prelu":
            slope = self._array(node, 1)
            if slope.ndim < 3 or slope.shape[-2:] != (1, 1):
                raise TopologyError(
                    f"Expected one slope per channel, of shape (C, 1, 1), but {node.name!r:.80} has {slope.shape}.",
                    hint=_OTHER_HINT,
                )
            self._parameters[f"relu{layer}.w"] = slope.reshape(-1)
        return str(node.output[0])

    def _set_shortcut(self, shortcut: Shortcut, addition: onnx.NodeProto) -> None:
        if self._shortcut not in (None, shortcut):
            raise TopologyError(
                f"Some residual pairs add before the activation and some after it: {addition.name!r:.80}.",
                hint=_OTHER_HINT,
            )
        self._shortcut = shortcut

    def _embed(self, flattening: onnx.NodeProto) -> None:
        layer = self._only(flattening.output[0], ("Gemm", "MatMul"))
        weight = self._array(layer, 1)
        if layer.op_type == "MatMul":
            addition = self._only(layer.output[0], ("Add",))
            place = 1 if addition.input[1] in self._tensors else 0
            self._keep(addition, place, "fc5.bias")
            output, weight = addition.output[0], weight.T
        else:
            if _attribute(layer, "transA").i or {_attribute(layer, name).f or 1 for name in ("alpha", "beta")} != {1}:
                raise TopologyError(f"The embedding layer {layer.name!r:.80} scales its input.", hint=_OTHER_HINT)
            self._keep(layer, 2, "fc5.bias")
            output, weight = layer.output[0], weight if _attribute(layer, "transB").i else weight.T
        self._parameters["fc5.weight"] = weight
        output = self._normalized(output, "5")
        if self._next(output):
            raise self._unexpected(self._next(output), "no node after the embedding layer")

    def _keep(self, node: onnx.NodeProto, place: int, name: str) -> None:
        self._parameters[name] = self._array(node, place)

    def _array(self, node: onnx.NodeProto, place: int) -> Array:
        name = node.input[place] if place < len(node.input) else ""
        ones = 0
        for _ in range(_MAX_DERIVATIONS):
            between = self._derived.get(name)
            if between is None or not between.input:
                break
            ones += self._added_axes(between)
            name = between.input[0]
        tensor = self._tensors.get(name)
        if tensor is None:
            raise TopologyError(
                f"Input {place} of {node.op_type} {node.name!r:.80} is no constant weight.",
                hint="export the network in evaluation mode, with constant folding",
            )
        if tensor.data_location == TensorProto.EXTERNAL:
            raise CheckpointError(
                "The ONNX file has its weights in another file.",
                hint="join them: onnx.save(onnx.load(FILE), OTHER_FILE), beside the file of the weights",
            )
        if not _is_whole(tensor):
            raise CheckpointError(
                f"The weight {tensor.name!r:.80} of {node.op_type} {node.name!r:.80} is damaged or of no "
                "floating-point type.",
                hint=_DECODE_HINT,
            )
        values = _decoded(tensor)
        return values.reshape(*values.shape, *[1] * ones)

    def _added_axes(self, node: onnx.NodeProto) -> int:
        """Number of axes of length 1 that a node appends to a vector: (C,) to (C, 1, 1)."""
        if node.op_type == "Identity":
            return 0
        axes = list(_attribute(node, "axes").ints)  # an attribute before opset 13, an input since
        if not axes and len(node.input) > 1 and node.input[1] in self._tensors:
            axes = list(_decoded(self._tensors[node.input[1]]).reshape(-1))
        if axes not in ([1, 2], [1]):
            raise TopologyError(f"{node.op_type} {node.name!r:.80} adds the axes {axes[:8]}.", hint=_OTHER_HINT)
        return len(axes)


def _decoded(tensor: onnx.TensorProto) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"The tensor {tensor.name!r:.80} is damaged: {error}.", hint=_DECODE_HINT) from error


def _is_whole(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor of floating-point numbers has as many values as its shape says."""
    if tensor.data_type not in _TYPES or min(tensor.dims, default=0) < 0:
        return False
    raw = len(tensor.raw_data) / _TYPES[tensor.data_type]
    return math.prod(tensor.dims) in (raw, len(tensor.float_data), len(tensor.double_data), len(tensor.int32_data))


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    """Attribute of a node; an empty one if it has none of the name."""
    return next((found for found in node.attribute if found.name == name), onnx.AttributeProto())
