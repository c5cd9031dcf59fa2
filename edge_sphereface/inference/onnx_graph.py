"""Reads, changes and writes ONNX graphs without the package onnx, which a camera need not have.

Only what a rewrite names is decoded; everything else is copied as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.storage.protobuf_wire import BYTES, VARINT, WireError, bytes_field, read_fields, varint_field

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from edge_sphereface.types import Float32Array

FLOAT, UINT8 = 1, 2
"""Types of elements. Source: onnx.proto, TensorProto.DataType."""

# Field numbers. Source: onnx.proto.
_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _INT, _INTS, _ATTRIBUTE_TYPE, _TYPE_INT, _TYPE_INTS = 1, 3, 8, 20, 2, 7
_DIMS, _DATA_TYPE, _FLOAT_DATA, _TENSOR_NAME, _RAW_DATA = 1, 2, 4, 8, 9
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _ELEMENT, _SHAPE, _DIMENSION, _DIMENSION_SIZE = 1, 2, 1, 1, 2, 1, 1


class OnnxGraphError(ValueError):
    """The file is not in protobuf's format, or its graph is not the expected one."""


class Node(NamedTuple):
    """One operation, and its message."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    message: bytes

    @classmethod
    def make(cls, operator: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> Node:
        """Make an operation with one output; ``attributes`` from :func:`integer` and :func:`integers`."""
        named = b"".join(bytes_field(_NODE_INPUT, name) for name in inputs)
        message = named + bytes_field(_NODE_OUTPUT, output) + bytes_field(_OPERATOR, operator) + attributes
        return cls(operator, tuple(inputs), (output,), message)


class Weight(NamedTuple):
    """One tensor, its values if they are float32, and its message."""

    name: str
    values: Float32Array | None
    message: bytes

    @classmethod
    def make(cls, name: str, values: Float32Array) -> Weight:
        """Make a tensor."""
        message = (
            b"".join(varint_field(_DIMS, size) for size in values.shape)
            + varint_field(_DATA_TYPE, FLOAT)
            + bytes_field(_TENSOR_NAME, name)
            + bytes_field(_RAW_DATA, values.astype("<f4").tobytes())
        )
        return cls(name, values, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """The graph of an ONNX model.

    Attributes:
        nodes: operations, in order of execution.
        weights: tensors by name.
        inputs: names and messages of the inputs.
        outputs: messages of the outputs.
        model_fields: the model's other fields.
        graph_fields: the graph's other fields, without the shapes of inner values.
    """

    nodes: Sequence[Node]
    weights: Mapping[str, Weight]
    inputs: Mapping[str, bytes]
    outputs: Sequence[bytes]
    model_fields: bytes
    graph_fields: bytes

    @classmethod
    def read(cls, content: bytes) -> OnnxGraph:
        """Read the content of an ONNX file.

        Raises:
            OnnxGraphError: it is not one.
        """
        try:
            return cls._read(content)
        except (WireError, UnicodeDecodeError) as error:
            raise OnnxGraphError(str(error)) from error

    @classmethod
    def _read(cls, content: bytes) -> OnnxGraph:
        model_fields, model = _divide(content, {_GRAPH})
        if len(model[_GRAPH]) != 1:
            raise OnnxGraphError(f"expected one graph, got {len(model[_GRAPH])}")
        graph_fields, parts = _divide(model[_GRAPH][0], {_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO})
        return cls(
            nodes=tuple(map(_read_node, parts[_NODE])),
            weights={weight.name: weight for weight in map(_read_weight, parts[_INITIALIZER])},
            inputs={_name_of_value(message): message for message in parts[_INPUT]},
            outputs=tuple(parts[_OUTPUT]),
            model_fields=model_fields,
            graph_fields=graph_fields,
        )

    def write(self) -> bytes:
        """Content of an ONNX file with this graph and the weights that its nodes use."""
        used = {name for node in self.nodes for name in node.inputs}
        fields = (
            self.graph_fields,
            *(bytes_field(_NODE, node.message) for node in self.nodes),
            *(bytes_field(_INITIALIZER, weight.message) for name, weight in self.weights.items() if name in used),
            *(bytes_field(_INPUT, message) for message in self.inputs.values()),
            *(bytes_field(_OUTPUT, message) for message in self.outputs),
        )
        return self.model_fields + bytes_field(_GRAPH, b"".join(fields))


def integer(name: str, value: int) -> bytes:
    """An attribute of a node that holds an integer."""
    kind = varint_field(_ATTRIBUTE_TYPE, _TYPE_INT)
    return bytes_field(_ATTRIBUTE, bytes_field(_ATTRIBUTE_NAME, name) + varint_field(_INT, value) + kind)


def integers(name: str, *values: int) -> bytes:
    """An attribute of a node that holds integers."""
    kind = varint_field(_ATTRIBUTE_TYPE, _TYPE_INTS)
    listed = b"".join(varint_field(_INTS, value) for value in values)
    return bytes_field(_ATTRIBUTE, bytes_field(_ATTRIBUTE_NAME, name) + listed + kind)


def declared(name: str, element: int, shape: Sequence[int | None]) -> bytes:
    """Declare an input or output; a size of None is dynamic."""
    sizes = b"".join(
        bytes_field(_DIMENSION, b"" if size is None else varint_field(_DIMENSION_SIZE, size)) for size in shape
    )
    tensor = varint_field(_ELEMENT, element) + bytes_field(_SHAPE, sizes)
    return bytes_field(_VALUE_NAME, name) + bytes_field(_VALUE_TYPE, bytes_field(_TENSOR_TYPE, tensor))


def _divide(data: bytes, wanted: Collection[int]) -> tuple[bytes, dict[int, list[bytes]]]:
    """Divide a message into all other fields as they are, and the contents of the wanted fields."""
    others = bytearray()
    parts: dict[int, list[bytes]] = {number: [] for number in wanted}
    for field in read_fields(data, 0, len(data)):
        if field.kind == BYTES and field.number in parts:
            parts[field.number].append(data[field.start : field.end])
        elif field.kind == BYTES:
            others += bytes_field(field.number, data[field.start : field.end])
        elif field.kind == VARINT:
            others += varint_field(field.number, field.value)
        else:
            raise OnnxGraphError(f"expected no number of fixed size, got field {field.number}")
    return bytes(others), parts


def _read_node(message: bytes) -> Node:
    _, parts = _divide(message, {_NODE_INPUT, _NODE_OUTPUT, _OPERATOR})
    inputs, outputs, operator = (
        tuple(part.decode() for part in parts[number]) for number in (_NODE_INPUT, _NODE_OUTPUT, _OPERATOR)
    )
    return Node("".join(operator), inputs, outputs, message)


def _read_weight(message: bytes) -> Weight:
    name, shape, element, raw = "", list[int](), 0, b""
    for field in read_fields(message, 0, len(message)):
        if field.number == _TENSOR_NAME:
            name = message[field.start : field.end].decode()
        elif field.number in (_RAW_DATA, _FLOAT_DATA) and field.kind == BYTES:
            raw = message[field.start : field.end]
        elif field.number == _DATA_TYPE:
            element = field.value
        elif field.number == _DIMS and field.kind == VARINT:
            shape.append(field.value)
    is_whole = element == FLOAT and len(raw) == 4 * math.prod(shape)
    return Weight(name, np.frombuffer(raw, "<f4").reshape(shape) if is_whole else None, message)


def _name_of_value(message: bytes) -> str:
    _, parts = _divide(message, {_VALUE_NAME})
    return b"".join(parts[_VALUE_NAME]).decode()
