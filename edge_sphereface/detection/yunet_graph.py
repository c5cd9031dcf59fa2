"""Rewrites a YuNet file into a network that takes batches of images of any size.

The published file takes one image of 640 x 640 pixels. Its layers depend on no size: only the declared shapes and the
reshaping of the outputs do. This module declares dynamic shapes, and joins the four branches that YuNet has at each of
three strides (class, object, box, landmarks), each a convolution of 1 x 1 and one of 3 x 3 per channel, into one branch
of 16 channels. The arithmetic is the same, with 2 instead of 8 convolutions and without transposing the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.storage.protobuf_wire import BYTES, VARINT, WireError, bytes_field, read_fields, varint_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_sphereface.types import Float32Array

STRIDES = (8, 16, 32)
BRANCHES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Branches of each stride and their numbers of channels, in the order of the channels of a joined branch."""
CHANNELS = sum(BRANCHES.values())
INPUT = "images"

_SCORES = ("cls", "obj")
_TO_BRANCH = ("Reshape", "Transpose", "Conv", "Conv")
"""Operators of a branch, from its output to its features."""

# Field numbers. Source: onnx.proto.
_GRAPH = 7
_NODE, _INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _OP_TYPE, _ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _INT, _INTS, _ATTRIBUTE_TYPE, _TYPE_INT, _TYPE_INTS = 1, 3, 8, 20, 2, 7
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW_DATA = 1, 2, 8, 9
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _ELEMENT, _SHAPE, _DIMENSION, _DIMENSION_SIZE = 1, 2, 1, 1, 2, 1, 1
_FLOAT, _UINT8 = 1, 2


class YuNetGraphError(ValueError):
    """The file has another graph than YuNet."""


class _Node(NamedTuple):
    """One operation, and its message."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    message: bytes


class _Weight(NamedTuple):
    """One tensor of the file, its message, and its values if they are float32."""

    name: str
    values: Float32Array | None
    message: bytes


class _Branch(NamedTuple):
    """One branch: its features, its nodes from output to features, and the weights of its two convolutions."""

    features: str
    nodes: tuple[_Node, ...]
    weights: tuple[Float32Array, Float32Array, Float32Array, Float32Array]


def dynamic_network(content: bytes) -> bytes:
    """Rewrite the content of a YuNet file.

    Args:
        content: the content of the file.

    Returns:
        The content of an ONNX file with the input ``INPUT`` (N, H, W, 3) uint8 BGR, H and W multiples of 32, and for
        each stride an output (N, ``CHANNELS``, H / stride, W / stride) float32: the channels of ``BRANCHES``, class and
        object as logits.

    Raises:
        YuNetGraphError: the file is not in protobuf's format, or its graph has other branches.
    """
    try:
        return _rewrite(content)
    except (WireError, UnicodeDecodeError) as error:
        raise YuNetGraphError(str(error)) from error


def _rewrite(content: bytes) -> bytes:
    outside, graph = _divide(content, {_GRAPH})
    if len(graph[_GRAPH]) != 1:
        raise YuNetGraphError(f"expected one graph, got {len(graph[_GRAPH])}")
    kept, parts = _divide(graph[_GRAPH][0], {_NODE, _INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _VALUE_INFO})
    nodes = [_node(message) for message in parts[_NODE]]
    weights = {weight.name: weight for weight in map(_weight, parts[_INITIALIZER])}
    producers = {name: node for node in nodes for name in node.outputs}
    inputs = [name for name in map(_name_of_value, parts[_GRAPH_INPUT]) if name not in weights]
    if len(inputs) != 1:
        raise YuNetGraphError(f"expected one input, got {len(inputs)}")
    branches = {
        stride: [_branch(f"{kind}_{stride}", kind, producers, weights) for kind in BRANCHES] for stride in STRIDES
    }
    replaced = {node for group in branches.values() for branch in group for node in branch.nodes}
    body = [node for node in nodes if node not in replaced]
    heads = [_joined(stride, group) for stride, group in branches.items()]
    used = {name for node in body for name in node.inputs}
    messages = [
        *(bytes_field(_NODE, message) for message in _pixels_to_planes(inputs[0])),
        *(bytes_field(_NODE, node.message) for node in body),
        *(part for head in heads for part in head),
        *(bytes_field(_INITIALIZER, weight.message) for name, weight in weights.items() if name in used),
        bytes_field(_GRAPH_INPUT, _value(INPUT, _UINT8, (None, None, None, 3))),
        *(bytes_field(_GRAPH_OUTPUT, _value(output_name(s), _FLOAT, (None, CHANNELS, None, None))) for s in STRIDES),
    ]
    return outside + bytes_field(_GRAPH, kept + b"".join(messages))


def output_name(stride: int) -> str:
    """Name of the joined branch of a stride."""
    return f"branches_{stride}"


def _divide(data: bytes, wanted: set[int]) -> tuple[bytes, dict[int, list[bytes]]]:
    """Divide a message into the contents of the wanted fields, and all other fields as they are."""
    others = bytearray()
    parts: dict[int, list[bytes]] = {number: [] for number in wanted}
    for field in read_fields(data, 0, len(data)):
        if field.kind == BYTES and field.number in wanted:
            parts[field.number].append(data[field.start : field.end])
        elif field.kind == BYTES:
            others += bytes_field(field.number, data[field.start : field.end])
        elif field.kind == VARINT:
            others += varint_field(field.number, field.value)
        else:
            raise YuNetGraphError(f"expected no number of fixed size, got field {field.number}")
    return bytes(others), parts


def _node(message: bytes) -> _Node:
    _, parts = _divide(message, {_NODE_INPUT, _NODE_OUTPUT, _OP_TYPE})
    inputs, outputs, operator = (
        tuple(part.decode() for part in parts[n]) for n in (_NODE_INPUT, _NODE_OUTPUT, _OP_TYPE)
    )
    return _Node("".join(operator), inputs, outputs, message)


def _weight(message: bytes) -> _Weight:
    name, shape, element, raw = "", list[int](), 0, b""
    for field in read_fields(message, 0, len(message)):
        if field.number == _TENSOR_NAME:
            name = message[field.start : field.end].decode()
        elif field.number == _RAW_DATA:
            raw = message[field.start : field.end]
        elif field.number == _DATA_TYPE:
            element = field.value
        elif field.number == _DIMS and field.kind == VARINT:
            shape.append(field.value)
    is_whole = element == _FLOAT and len(raw) == 4 * _product(shape)
    return _Weight(name, np.frombuffer(raw, "<f4").reshape(shape) if is_whole else None, message)


def _product(shape: Iterable[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _name_of_value(message: bytes) -> str:
    _, parts = _divide(message, {_VALUE_NAME})
    return b"".join(parts[_VALUE_NAME]).decode()


def _branch(output: str, kind: str, producers: dict[str, _Node], weights: dict[str, _Weight]) -> _Branch:
    """Follow a branch from its output to its features."""
    value, nodes = output, list[_Node]()
    for operator in ("Sigmoid", *_TO_BRANCH) if kind in _SCORES else _TO_BRANCH:
        node = producers.get(value)
        if node is None or node.operator != operator or not node.inputs:
            raise YuNetGraphError(f"expected the output {output} behind {operator}, got {node and node.operator}")
        nodes.append(node)
        value = node.inputs[0]
    size = BRANCHES[kind]
    shapes = ((size, None, 1, 1), (size,), (size, 1, 3, 3), (size,))
    names = (*nodes[-1].inputs[1:], *nodes[-2].inputs[1:])
    found = tuple(weights[name].values if name in weights else None for name in names)
    if len(found) != len(shapes) or not all(map(_has_shape, found, shapes)):
        raise YuNetGraphError(f"expected convolutions of 1 x 1 and 3 x 3 with {size} channels before {output}")
    return _Branch(value, tuple(nodes), found)  # type: ignore[arg-type] # four arrays, as checked


def _has_shape(values: Float32Array | None, shape: tuple[int | None, ...]) -> bool:
    return (
        values is not None
        and values.ndim == len(shape)
        and all(expected in (None, size) for size, expected in zip(values.shape, shape, strict=True))
    )


def _joined(stride: int, branches: Sequence[_Branch]) -> tuple[bytes, ...]:
    """Join the branches of a stride into one; returns fields of the graph."""
    features = {branch.features for branch in branches}
    depths = {branch.weights[0].shape[1] for branch in branches}
    if len(features) != 1 or len(depths) != 1:
        raise YuNetGraphError(f"expected the outputs of stride {stride} to share their features, got {len(features)}")
    output = output_name(stride)
    names = [f"{output}_{name}" for name in ("weight1", "bias1", "weight2", "bias2")]
    joined = [np.concatenate(values) for values in zip(*(branch.weights for branch in branches), strict=True)]
    middle = f"{output}_1x1"
    return (
        *(bytes_field(_INITIALIZER, _tensor(name, values)) for name, values in zip(names, joined, strict=True)),
        bytes_field(_NODE, _operation("Conv", (*features, *names[:2]), middle, _ints("kernel_shape", 1, 1))),
        bytes_field(
            _NODE,
            _operation(
                "Conv",
                (middle, *names[2:]),
                output,
                _ints("kernel_shape", 3, 3) + _ints("pads", 1, 1, 1, 1) + _int("group", CHANNELS),
            ),
        ),
    )


def _pixels_to_planes(planes: str) -> tuple[bytes, bytes]:
    """Nodes that turn pixels, (N, H, W, 3) uint8, into planes, (N, 3, H, W) float32."""
    transposed = f"{INPUT}_planes"
    return (
        _operation("Transpose", (INPUT,), transposed, _ints("perm", 0, 3, 1, 2)),
        _operation("Cast", (transposed,), planes, _int("to", _FLOAT)),
    )


def _operation(operator: str, inputs: Sequence[str], output: str, attributes: bytes) -> bytes:
    return (
        b"".join(bytes_field(_NODE_INPUT, name) for name in inputs)
        + bytes_field(_NODE_OUTPUT, output)
        + bytes_field(_OP_TYPE, operator)
        + attributes
    )


def _int(name: str, value: int) -> bytes:
    kind = varint_field(_ATTRIBUTE_TYPE, _TYPE_INT)
    return bytes_field(_ATTRIBUTE, bytes_field(_ATTRIBUTE_NAME, name) + varint_field(_INT, value) + kind)


def _ints(name: str, *values: int) -> bytes:
    kind = varint_field(_ATTRIBUTE_TYPE, _TYPE_INTS)
    integers = b"".join(varint_field(_INTS, value) for value in values)
    return bytes_field(_ATTRIBUTE, bytes_field(_ATTRIBUTE_NAME, name) + integers + kind)


def _tensor(name: str, values: Float32Array) -> bytes:
    return (
        b"".join(varint_field(_DIMS, size) for size in values.shape)
        + varint_field(_DATA_TYPE, _FLOAT)
        + bytes_field(_TENSOR_NAME, name)
        + bytes_field(_RAW_DATA, values.astype("<f4").tobytes())
    )


def _value(name: str, element: int, shape: Sequence[int | None]) -> bytes:
    """Declare an input or output; a size of None is dynamic."""
    sizes = b"".join(
        bytes_field(_DIMENSION, b"" if size is None else varint_field(_DIMENSION_SIZE, size)) for size in shape
    )
    tensor = varint_field(_ELEMENT, element) + bytes_field(_SHAPE, sizes)
    return bytes_field(_VALUE_NAME, name) + bytes_field(_VALUE_TYPE, bytes_field(_TENSOR_TYPE, tensor))
