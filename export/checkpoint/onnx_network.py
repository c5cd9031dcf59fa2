"""Read the parameters of a SphereFace network from an ONNX graph of any exporter, by structure instead of names.

The graph is followed from its input. Each stage begins with a convolution of stride 2; a value that a convolution and
an addition read begins a residual pair. Batch normalizations may follow the convolutions and the embedding layer.
Weights are initializers or constants. Every other node is refused. What was understood is compared with what
onnxruntime computes, see :mod:`export.source_graph`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edge_sphereface.model.spec import METADATA_KEY
from edge_sphereface.storage.bounded_json import shown
from export.checkpoint.entry import DTYPES, TensorInfo
from export.checkpoint.onnx_node import DECODE_HINT, OTHER_HINT, attribute, kind, named, require_sound
from export.checkpoint.onnx_source import SourceGraph, cut_out
from export.checkpoint.onnx_weights import FLOAT_TYPES, GraphWeights, decoded
from export.errors import CheckpointError, TopologyError
from export.naming import MOMENTS
from export.topology import BATCH_NORMALIZATION_EPSILON, STAGES, Structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sphereface.model.origin import Shortcut
    from export.topology import Activation

    Array = np.ndarray[Any, Any]

_ACTIVATIONS: dict[str, Activation] = {"PRelu": "prelu", "Relu": "relu"}
_TRANSPARENT = ("Identity", "Cast", "Dropout")
"""Nodes that pass a value on; casts lead to and from float16."""
_VISITS_PER_NODE = 10
"""A graph without cycles is followed with fewer."""
_SHOWN_KINDS = 4


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
        raise CheckpointError(f"This is not an intact ONNX file: {shown(str(error))}.", hint=DECODE_HINT) from error
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        raise CheckpointError(
            "Expected a graph of another exporter, but this ONNX file was made by this package.",
            hint="it is ready for use; `python -m export verify` proves it, `tune` and `quantize` make other forms",
        )
    require_sound(model)
    return _Walk(model).network()


class _Walk:
    """Follows a graph from its input to its output, and collects the parameters."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._model, self._graph = model, graph
        self._weights = GraphWeights(graph)
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self._visits = 0
        self._parameters: dict[str, Array] = {}
        self._activation: Activation | None = None
        self._shortcut: Shortcut | None = None
        self._epsilon: float | None = None
        for node in graph.node:
            for name in dict.fromkeys(filter(None, node.input)):
                self._readers.setdefault(name, []).append(node)

    def network(self) -> OnnxNetwork:
        value, size = self._input()
        try:
            embedding = self._follow(value)
        except TopologyError as error:
            if sum(name.endswith(".weight") for name in self._parameters) > 1:
                raise
            raise self._other_architecture(error) from error
        structure = Structure(
            activation=self._activation,
            shortcut=self._shortcut or "after_activation",
            epsilon=BATCH_NORMALIZATION_EPSILON if self._epsilon is None else self._epsilon,
        )
        graph = cut_out(self._model, self._weights, self._output(embedding))
        return OnnxNetwork(parameters=self._parameters, structure=structure, input_size=size, graph=graph)

    def _follow(self, value: str) -> str:
        """Follow the graph from its input; returns the name of the embedding."""
        stage, number = 0, 1
        while True:
            readers = self._next(value)
            kinds = sorted(map(kind, readers))
            if kinds == ["Add", "Conv"]:
                number += 2
                value = self._pair(readers, f"{stage}_{number - 1}", f"{stage}_{number}")
            elif kinds == ["Conv"]:
                stage, number = stage + 1, 1
                value = self._unit(readers[0], f"{stage}_1", stride=2)
            elif kinds in (["Flatten"], ["Reshape"]) and stage == STAGES:
                return self._embed(readers[0])
            else:
                raise self._unexpected(readers, "a convolution, a residual pair or, after four stages, the flattening")

    def _other_architecture(self, error: TopologyError) -> TopologyError:
        """Say of a graph whose first layers are not those of SphereFace what it is made of."""
        kinds = [kind(node) for node in self._graph.node if node.op_type not in ("Identity", "Constant")]
        counts = Counter(kinds).most_common(_SHOWN_KINDS)
        nodes = ", ".join(f"{count} {shown(name)}" for name, count in counts)
        return TopologyError(
            f"The graph is of another architecture than SphereFace. {error.message} Its nodes: {nodes}"
            f"{', …' if len(counts) == _SHOWN_KINDS else '.'}",
            hint=error.hint,
        )

    def _input(self) -> tuple[str, tuple[int, int] | None]:
        inputs = [value for value in self._graph.input if value.name not in self._weights.tensors]
        if len(inputs) != 1:
            raise TopologyError(f"Expected a graph with one input, but this one has {len(inputs)}.", hint=OTHER_HINT)
        tensor = inputs[0].type.tensor_type
        sides = [dimension.dim_value for dimension in tensor.shape.dim]
        if len(sides) != 4 or sides[1] not in (0, 3):
            raise TopologyError(
                f"Expected an input of shape (N, 3, H, W), but this graph has {tuple(sides[:8])}.", hint=OTHER_HINT
            )
        if tensor.elem_type not in FLOAT_TYPES:
            raise TopologyError("Expected an input of floating-point numbers.", hint=OTHER_HINT)
        return inputs[0].name, (sides[2], sides[3]) if min(sides[2:]) > 0 else None

    def _next(self, value: str) -> list[onnx.NodeProto]:
        """Nodes that read a value, behind those that pass it on unchanged."""
        found: list[onnx.NodeProto] = []
        values = [value]
        while values:
            for node in self._readers.get(values.pop(), []):
                self._visits += 1
                if self._visits > _VISITS_PER_NODE * len(self._graph.node):
                    raise TopologyError("The graph has a cycle.", hint=DECODE_HINT)
                if self._is_transparent(node):
                    values += node.output[:1]
                else:
                    found.append(node)
        return found

    def _is_transparent(self, node: onnx.NodeProto) -> bool:
        if kind(node) == "Cast" and attribute(node, "to", 0) not in FLOAT_TYPES:
            return False  # integers and truth values lose what follows the point
        if kind(node) == "Dropout" and len(node.input) > 2 and node.input[2]:
            tensor = self._weights.tensors.get(node.input[2])
            return tensor is not None and not decoded(tensor).any()  # otherwise it may drop values
        return kind(node) in _TRANSPARENT

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

    def _only(self, value: str, expected: tuple[str, ...]) -> onnx.NodeProto:
        readers = self._next(value)
        if len(readers) != 1 or kind(readers[0]) not in expected:
            raise self._unexpected(readers, " or ".join(expected))
        return readers[0]

    def _unexpected(self, readers: list[onnx.NodeProto], expected: str) -> TopologyError:
        found = " and ".join(map(named, readers[:3])) or "the end of the graph"
        return TopologyError(f"Expected {expected} in a SphereFace graph, but found {found}.", hint=OTHER_HINT)

    def _pair(self, readers: list[onnx.NodeProto], first: str, second: str) -> str:
        convolution, addition = sorted(readers, key=lambda node: kind(node) != "Conv")
        value = self._unit(convolution, first, stride=1)
        value = self._convolved(self._only(value, ("Conv",)), second, stride=1)
        adds_last = kind(self._only(value, ("Add", *_ACTIVATIONS))) != "Add"
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
            found = attribute(node, name, usual[name])
            if found != values:
                raise TopologyError(
                    f"Expected convolution {layer} with {name} {values}, but {node.name!r:.80} has {found!s:.80}.",
                    hint=OTHER_HINT,
                )
        if attribute(node, "group", 1) != 1 or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
            raise TopologyError(f"The convolution {node.name!r:.80} is grouped or pads by itself.", hint=OTHER_HINT)
        self._keep(node, 1, f"conv{layer}.weight")
        if len(node.input) > 2 and node.input[2]:
            self._keep(node, 2, f"conv{layer}.bias")
        return self._normalized(node.output[0], layer)

    def _normalized(self, value: str, layer: str) -> str:
        readers = self._next(value)
        if [kind(node) for node in readers] != ["BatchNormalization"]:
            return value
        node = readers[0]
        if attribute(node, "training_mode", 0) != 0:
            raise TopologyError(
                f"The batch normalization {node.name!r:.80} normalizes by the statistics of its input.",
                hint="export the network in evaluation mode: network.eval()",
            )
        epsilon = attribute(node, "epsilon", BATCH_NORMALIZATION_EPSILON)
        if not epsilon >= 0:
            raise TopologyError(
                f"The batch normalization {node.name!r:.80} adds {epsilon:g} to the variance.", hint=OTHER_HINT
            )
        if self._epsilon not in (None, epsilon):
            raise TopologyError(
                f"The batch normalizations add {self._epsilon:g} and {epsilon:g} to the variance.", hint=OTHER_HINT
            )
        self._epsilon = epsilon
        for place, moment in enumerate(MOMENTS, start=1):
            self._keep(node, place, f"bn{layer}.{moment}")
        return str(node.output[0])

    def _activated(self, value: str, layer: str) -> str:
        node = self._only(value, tuple(_ACTIVATIONS))
        activation = _ACTIVATIONS[kind(node)]
        if self._activation not in (None, activation):
            raise TopologyError(
                f"Expected the same activation in all layers, but layer {layer} has {named(node)}.",
                hint="a network with PReLU must have it after every convolution; export it again",
            )
        self._activation = activation
        if activation == "prelu":
            slope, weight = self._weights.array(node, 1), self._parameters[f"conv{layer}.weight"]
            if slope.size != 1 and (slope.ndim < 3 or slope.shape[-2:] != (1, 1)):
                raise TopologyError(
                    f"Expected one slope per channel, of shape (C, 1, 1), but {node.name!r:.80} has {slope.shape}.",
                    hint=OTHER_HINT,
                )
            self._parameters[f"relu{layer}.w"] = _one_per_row(slope, weight)
        return str(node.output[0])

    def _set_shortcut(self, shortcut: Shortcut, addition: onnx.NodeProto) -> None:
        if self._shortcut not in (None, shortcut):
            raise TopologyError(
                f"Some residual pairs add before the activation and some after it: {addition.name!r:.80}.",
                hint=OTHER_HINT,
            )
        self._shortcut = shortcut

    def _embed(self, flattening: onnx.NodeProto) -> str:
        if kind(flattening) == "Flatten" and attribute(flattening, "axis", 1) not in (1, -3):
            raise TopologyError(f"{named(flattening)} flattens the batch as well.", hint=OTHER_HINT)
        layer = self._only(flattening.output[0], ("Gemm", "MatMul"))
        weight = self._weights.array(layer, 1)
        if weight.ndim != 2 or not weight.size:
            raise TopologyError(
                f"Expected a matrix as the weight of {named(layer)}, but it has shape {weight.shape}.",
                hint=OTHER_HINT,
            )
        output = layer.output[0]
        if kind(layer) == "MatMul":
            weight, addition = weight.T, self._next(output)
            bias = np.zeros(1, weight.dtype)
            if [kind(node) for node in addition] == ["Add"]:
                is_first = self._weights.stored(addition[0].input[0])[0] is not None
                bias = self._weights.array(addition[0], 0 if is_first else 1)
                output = addition[0].output[0]
        else:
            if attribute(layer, "transA", 0) != 0 or any(
                attribute(layer, name, 1.0) != 1.0 for name in ("alpha", "beta")
            ):
                raise TopologyError(f"The embedding layer {layer.name!r:.80} scales its input.", hint=OTHER_HINT)
            weight = weight.T if attribute(layer, "transB", 0) == 0 else weight
            has_bias = len(layer.input) > 2 and layer.input[2]
            bias = self._weights.array(layer, 2) if has_bias else np.zeros(1, weight.dtype)
        self._parameters["fc5.weight"] = weight
        self._parameters["fc5.bias"] = _one_per_row(bias, weight)
        return self._normalized(output, "5")

    def _keep(self, node: onnx.NodeProto, place: int, name: str) -> None:
        self._parameters[name] = self._weights.array(node, place)


def _one_per_row(values: Array, weight: Array) -> Array:
    """Values of which there is one per row of a weight; a single one holds for all rows."""
    return np.repeat(values.reshape(-1), len(weight)) if values.size == 1 else values.reshape(-1)
