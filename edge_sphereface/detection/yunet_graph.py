"""Rewrites a YuNet file into a network that takes batches of images of any size.

The published file takes one image of 640 x 640 pixels. Its layers depend on no size: only the declared shapes and the
reshaping of the outputs do. This module declares dynamic shapes, and joins the four branches that YuNet has at each of
three strides (class, object, box, landmarks), each a convolution of 1 x 1 and one of 3 x 3 per channel, into one branch
of 16 channels. The arithmetic is the same, with 2 instead of 8 convolutions and without transposing the outputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.inference.onnx_graph import (
    FLOAT,
    UINT8,
    Node,
    OnnxGraph,
    OnnxGraphError,
    Weight,
    declared,
    integer,
    integers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_sphereface.types import Float32Array

STRIDES = (8, 16, 32)
BRANCHES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Branches of each stride and their numbers of channels, in the order of the channels of a joined branch."""
CHANNELS = sum(BRANCHES.values())
INPUT, OUTPUT = "images", "cells"

_SCORES = ("cls", "obj")
_TO_FEATURES = ("Reshape", "Transpose", "Conv", "Conv")
"""Operators of a branch, from its output to its features."""


class _Branch(NamedTuple):
    """One branch: its features, its nodes from output to features, and the weights of its two convolutions."""

    features: str
    nodes: tuple[Node, ...]
    weights: tuple[Float32Array, ...]


def dynamic_network(content: bytes) -> bytes:
    """Rewrite the content of a YuNet file.

    Args:
        content: the content of the file.

    Returns:
        The content of an ONNX file with the input ``INPUT`` (N, 3, H, W) uint8 BGR, H and W multiples of 32, and the
        output ``OUTPUT`` (N x ``CHANNELS``, cells) float32: for each image the channels of ``BRANCHES``, class and
        object as logits, of the cells of each stride, row by row.

    Raises:
        OnnxGraphError: the file is not in protobuf's format, or its graph has other branches.
    """
    graph = OnnxGraph.read(content)
    inputs = [name for name in graph.inputs if name not in graph.weights]
    if len(inputs) != 1:
        raise OnnxGraphError(f"expected one input, got {len(inputs)}")
    producers = {name: node for node in graph.nodes for name in node.outputs}
    branches = {
        stride: [_branch(f"{kind}_{stride}", kind, producers, graph.weights) for kind in BRANCHES] for stride in STRIDES
    }
    replaced = {node.outputs for group in branches.values() for branch in group for node in branch.nodes}
    body = [node for node in graph.nodes if node.outputs not in replaced]
    nodes, weights = zip(*(_joined(stride, group) for stride, group in branches.items()), strict=True)
    cast = Node.make("Cast", (INPUT,), inputs[0], integer("to", FLOAT))
    return replace(
        graph,
        nodes=[cast, *body, *(node for head in nodes for node in head), *_listed()],
        weights={**graph.weights, **{weight.name: weight for head in weights for weight in head}},
        inputs={INPUT: declared(INPUT, UINT8, (None, 3, None, None))},
        outputs=[declared(OUTPUT, FLOAT, (None, None))],
    ).write()


def _listed() -> list[Node]:
    """Nodes that list the cells of all strides, so that they are searched at once."""
    rows = [f"{_joined_name(stride)}_rows" for stride in STRIDES]
    flat = [
        Node.make("Flatten", (_joined_name(stride),), row, integer("axis", 2))
        for stride, row in zip(STRIDES, rows, strict=True)
    ]
    return [*flat, Node.make("Concat", tuple(rows), OUTPUT, integer("axis", 1))]


def _joined_name(stride: int) -> str:
    """Name of the joined branch of a stride."""
    return f"branches_{stride}"


def _branch(output: str, kind: str, producers: Mapping[str, Node], weights: Mapping[str, Weight]) -> _Branch:
    """Follow a branch from its output to its features."""
    value, nodes = output, list[Node]()
    for operator in ("Sigmoid", *_TO_FEATURES) if kind in _SCORES else _TO_FEATURES:
        node = producers.get(value)
        if node is None or node.operator != operator or not node.inputs:
            raise OnnxGraphError(f"expected the output {output} behind {operator}, got {node and node.operator}")
        nodes.append(node)
        value = node.inputs[0]
    size = BRANCHES[kind]
    shapes = ((size, None, 1, 1), (size,), (size, 1, 3, 3), (size,))
    names = (*nodes[-1].inputs[1:], *nodes[-2].inputs[1:])
    found = [weights[name].values if name in weights else None for name in names]
    if len(found) != len(shapes) or not all(map(_has_shape, found, shapes)):
        raise OnnxGraphError(f"expected convolutions of 1 x 1 and 3 x 3 with {size} channels before {output}")
    return _Branch(value, tuple(nodes), tuple(values for values in found if values is not None))


def _has_shape(values: Float32Array | None, shape: tuple[int | None, ...]) -> bool:
    return (
        values is not None
        and values.ndim == len(shape)
        and all(expected in (None, size) for size, expected in zip(values.shape, shape, strict=True))
    )


def _joined(stride: int, branches: Sequence[_Branch]) -> tuple[list[Node], list[Weight]]:
    """Join the branches of a stride into one."""
    features = {branch.features for branch in branches}
    depths = {branch.weights[0].shape[1] for branch in branches}
    if len(features) != 1 or len(depths) != 1:
        raise OnnxGraphError(f"expected the outputs of stride {stride} to share their features, got {len(features)}")
    output = _joined_name(stride)
    middle = f"{output}_1x1"
    names = [f"{output}_{name}" for name in ("weight1", "bias1", "weight2", "bias2")]
    joined = [np.concatenate(values) for values in zip(*(branch.weights for branch in branches), strict=True)]
    per_channel = integers("kernel_shape", 3, 3) + integers("pads", 1, 1, 1, 1) + integer("group", CHANNELS)
    nodes = [
        Node.make("Conv", (*features, *names[:2]), middle, integers("kernel_shape", 1, 1)),
        Node.make("Conv", (middle, *names[2:]), output, per_channel),
    ]
    return nodes, [Weight.make(name, values) for name, values in zip(names, joined, strict=True)]
