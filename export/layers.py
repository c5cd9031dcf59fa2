"""Layers as quantization counts them: a convolution with its PReLU and the addition after it, or the embedding."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_NUMBERED = re.compile(r"(?:conv|relu|add)(\d+_\d+)")
EMBEDDING = "fc5"
_EMBEDDING_NAMES = ("flatten", EMBEDDING)


def layer_of(name: str) -> str | None:
    """The layer of a node or of the tensor that it writes: ``conv1_2``, ``fc5``; None for normalization and inputs."""
    if name in _EMBEDDING_NAMES:
        return EMBEDDING
    found = _NUMBERED.match(name)
    return f"conv{found[1]}" if found else None


def layers_of(model: onnx.ModelProto) -> list[str]:
    """Every layer, in the order of computation."""
    return list(dict.fromkeys(layer for node in model.graph.node if (layer := layer_of(node.name)) is not None))
