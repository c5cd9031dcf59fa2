"""Layers as units of quantization: a convolution with its PReLU and residual addition, or the embedding layer."""

from __future__ import annotations

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
