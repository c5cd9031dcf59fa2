"""Nodes of an ONNX graph: what they are called, and what their attributes say."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from onnx import helper

from edge_sphereface.storage.bounded_json import shown
from export.errors import CheckpointError, TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

DECODE_HINT = "the file is damaged, truncated or of a different kind; compare its SHA-256 with its source"
OTHER_HINT = "only the SphereFace family is converted: 3 x 3 convolutions, PReLU or ReLU, residual pairs, one embedding"

_DOMAINS = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""

T = TypeVar("T")


def require_sound(model: onnx.ModelProto) -> None:
    """Require what a reader relies on: names are text, nodes have outputs, and a value is defined once.

    Raises:
        CheckpointError: the file is damaged.
        TopologyError: the graph redefines an operator.
    """
    graph = model.graph
    if not all(isinstance(text, str) for text in _texts(graph)):  # protobuf gives bytes for what is no UTF-8
        raise CheckpointError("This is not an intact ONNX file: a name is not UTF-8 text.", hint=DECODE_HINT)
    if any(function.domain in _DOMAINS for function in model.functions):
        raise TopologyError("The graph redefines an operator of ONNX.", hint=OTHER_HINT)
    for node in graph.node:
        if not node.output or not node.output[0]:
            raise CheckpointError(f"The node {named(node)} has no output.", hint=DECODE_HINT)
    weights = [tensor.name for tensor in graph.initializer]
    defined = [*weights, *(value.name for value in graph.input if value.name not in set(weights))]
    defined += [name for node in graph.node for name in node.output if name]
    if len(set(defined)) < len(defined):
        twice = next(name for place, name in enumerate(defined) if name in set(defined[:place]))
        raise CheckpointError(f"The graph defines the value {twice!r:.80} twice.", hint=DECODE_HINT)


def _texts(graph: onnx.GraphProto) -> Iterator[Any]:
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output))
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def kind(node: onnx.NodeProto) -> str:
    """Operator of a node, with its domain unless that is ONNX's own."""
    return str(node.op_type) if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"


def named(node: onnx.NodeProto) -> str:
    """Operator and name of a node for a message."""
    return f"{shown(kind(node))} {str(node.name)!r:.80}"


def attribute(node: onnx.NodeProto, name: str, default: T) -> T:
    """Value of an attribute of a node; the default if it has none of the name."""
    found = next((found for found in node.attribute if found.name == name), None)
    if found is None:
        return default
    with suppress(ValueError):  # raised for an attribute without a type
        value = helper.get_attribute_value(found)
        if isinstance(value, type(default)):
            return value
    raise CheckpointError(f"The attribute {name} of {named(node)} has no such type.", hint=DECODE_HINT)
