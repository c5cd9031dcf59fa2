"""What the first layers of a quantized network computed, so that the rest runs without them.

The search changes one layer after the other, and the layers before it compute the same again. Tensors between layers
are whole numbers, so that a network which begins with them gives the same bits as the complete one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx import helper

from export.layers import layer_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    import onnx


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first layers of a quantized network, and what they computed for some crops.

    Attributes:
        layers: names of the layers.
        tensors: what later layers read, (N, C, H, W): uint8, or float32 if a float layer wrote it.
    """

    layers: frozenset[str] = frozenset()
    tensors: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """Inputs of the network without these layers."""
        return [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), ["N", *values.shape[1:]])
            for name, values in self.tensors.items()
        ]

    def rows(self, start: int, stop: int) -> dict[str, np.ndarray[Any, Any]]:
        """Rows of all tensors, by name."""
        return {name: values[start:stop] for name, values in self.tensors.items()}


EMPTY = Prefix()


def quantized_name(name: str) -> str:
    """Name of the quantized form of a float tensor."""
    return f"{name}.q"


def tensors_after(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """Names of the tensors of a quantized network that its first layers write and later ones read.

    Later layers dequantize what they read themselves.

    Args:
        model: quantized network, complete or made for a prefix.
        layers: names of the first layers.
    """
    read = {value.name for value in model.graph.output}
    names = []
    for node in reversed(model.graph.node):
        if not read.isdisjoint(node.output):
            if layer_of(node.name) in layers and node.op_type != "DequantizeLinear":
                names += node.output
            else:
                read.update(node.input)
    return [value.name for value in model.graph.input if value.name in read] + names
