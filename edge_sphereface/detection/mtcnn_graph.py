"""Rewrites MTCNN's networks into operators that onnxruntime runs faster."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.inference.onnx_graph import Node, OnnxGraph, Weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import Float32Array


def without_prelu(content: bytes) -> bytes:
    """Replace each PRelu by Relu, products and a sum: slope x + (1 - slope) relu(x).

    onnxruntime's CPU kernel of PRelu is scalar and takes a third of O-Net's time. Where a convolution gives x, it gives
    x' = (1 - slope) x instead, which saves one product: relu(x') + slope / (1 - slope) x'. The result is equal up to
    rounding. A PRelu whose slopes are computed is left.

    Args:
        content: the content of an ONNX file.

    Raises:
        OnnxGraphError: it is not one.
    """
    graph = OnnxGraph.read(content)
    weights = dict(graph.weights)
    producers = {name: node for node in graph.nodes for name in node.outputs}
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    nodes = list[Node]()
    for node in graph.nodes:
        slope = weights[node.inputs[1]].values if node.operator == "PRelu" and node.inputs[1] in weights else None
        if slope is None:
            nodes.append(node)
            continue
        scaled = _scaled(producers.get(node.inputs[0]), 1 - slope, weights) if uses[node.inputs[0]] == 1 else []
        if scaled and all(uses[weight.name] == 1 for weight in scaled):
            weights.update({weight.name: weight for weight in scaled})
            nodes += _bent(node, slope / (1 - slope), None, weights)
        else:
            nodes += _bent(node, slope, 1 - slope, weights)
    return replace(graph, nodes=nodes, weights=weights).write()


def _scaled(node: Node | None, factors: Float32Array, weights: dict[str, Weight]) -> Sequence[Weight]:
    """Weights of a convolution with a bias that multiply each of its channels by a positive factor; empty if not so."""
    if node is None or node.operator != "Conv" or not (factors > 0).all():
        return []
    found = [weights[name] for name in node.inputs[1:] if name in weights]
    per_channel = factors.ravel()
    values = [weight.values for weight in found if weight.values is not None and len(weight.values) == len(per_channel)]
    if len(values) != 2:
        return []
    return [
        Weight.make(weight.name, value * per_channel.reshape(-1, *[1] * (value.ndim - 1)))
        for weight, value in zip(found, values, strict=True)
    ]


def _bent(node: Node, slope: Float32Array, rest: Float32Array | None, weights: dict[str, Weight]) -> list[Node]:
    """Nodes for slope x + rest relu(x) with the input and output of a PRelu; the rest is 1 if there is none."""
    x, output = node.inputs[0], node.outputs[0]
    names = {part: f"{output}/{part}" for part in ("slope", "rest", "positive", "linear", "bend")}
    weights[names["slope"]] = Weight.make(names["slope"], np.asarray(slope, np.float32))
    nodes = [Node.make("Relu", (x,), names["positive"]), Node.make("Mul", (x, names["slope"]), names["linear"])]
    bend = names["positive"]
    if rest is not None:
        bend = names["bend"]
        weights[names["rest"]] = Weight.make(names["rest"], np.asarray(rest, np.float32))
        nodes.append(Node.make("Mul", (names["positive"], names["rest"]), bend))
    return [*nodes, Node.make("Add", (names["linear"], bend), output)]
