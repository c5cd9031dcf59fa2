"""Layers as units of quantization: a convolution with its PReLU and residual addition, or the embedding layer."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_NUMBERED = re.compile(r"(?:conv|relu|add)(\d+_\d+)")
EMBEDDING = "fc5"
_EMBEDDING_NAMES = ("flatten", EMBEDDING)


def layer_of(name: str) -> str | None:
    """Layer of a node or of its output tensor, such as ``conv1_2`` or ``fc5``; None for normalization and inputs."""
    if name in _EMBEDDING_NAMES:
        return EMBEDDING
    found = _NUMBERED.match(name)
    return f"conv{found[1]}" if found else None


def layers_of(model: onnx.ModelProto) -> list[str]:
    """Names of all layers in the order of computation."""
    return list(dict.fromkeys(layer for node in model.graph.node if (layer := layer_of(node.name)) is not None))


def weight_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Number of weights of every layer."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    counts = dict.fromkeys(layers_of(model), 0)
    for node in model.graph.node:
        layer = layer_of(node.name)
        if layer is not None:
            counts[layer] += sum(sizes.get(name, 0) for name in node.input)
    return counts
