"""Convert to float16 for Arm processors with float16 arithmetic: Winograd's filtering, with products in float16.

There, onnxruntime has fast float16 kernels of MatMul, Conv and of operators that only move data. Add, Mul and a Gemm
with transposed weights compute one value at a time, and PRelu has no kernel. Between casts, these remain in float32.
The long sums of the embedding layer lose too many digits in float16: its weights have 8 bits and its sums float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.quantization.embedding_weights import with_embedding_weights_in_8_bits
from export.rewrite import to_winograd
from export.rewrite.tile import read_stages
from export.rewrite.weights import read_weights, rebuild

if TYPE_CHECKING:
    from export.rewrite.weights import Weights

_STAGES = ("4x4s", "2x2s+4x4s", "2x2s+4x4s", "2x2s+3x3s")
"""Forms of the stages that take the fewest instructions on an emulated Cortex-A76, of those that were counted."""
_MOVES = ("Concat", "Flatten", "Gather", "Pad", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Transpose")
_PRODUCTS = ("Conv", "MatMul")
_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def to_float16_for_arm(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a float32 network. Inputs and outputs keep their types.

    Args:
        model: model that :func:`export.graph.build_graph` made; it is not modified.
    """
    filtered = to_winograd(model, read_stages(_STAGES))
    return with_products_in_float16(with_embedding_weights_in_8_bits(filtered))


def with_products_in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute products in float16 and move data in float16, and compute everything else in float32.

    Args:
        model: float32 model in any form; it is not modified.
    """
    weights = read_weights(model)
    writer = _Writer(model, weights)
    for node in model.graph.node:
        writer.add(node)
    return rebuild(model, writer.nodes, weights)


class _Writer:
    """Copies nodes with their inputs in the type that they compute in, and casts each tensor at most once."""

    def __init__(self, model: onnx.ModelProto, weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._weights = weights
        self._types: dict[str, int] = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        self._cast: dict[tuple[str, int], str] = {}

    def add(self, node: onnx.NodeProto) -> None:
        kind: int = _FLOAT
        if node.op_type in _PRODUCTS or (node.op_type in _MOVES and self._is_float(node.input[0])):
            kind = _HALF
        made = onnx.NodeProto()
        made.CopyFrom(node)
        del made.input[:]
        made.input.extend(self._read(name, kind) for name in node.input)
        self.nodes.append(made)
        if node.op_type != "Cast" and not self._is_float(node.input[0]):
            kind = self._types[node.input[0]]
        self._types.update(dict.fromkeys(node.output, kind))

    def _is_float(self, name: str) -> bool:
        return self._type_of(name) in (_FLOAT, _HALF)

    def _type_of(self, name: str) -> int:
        if name in self._weights:
            return int(helper.np_dtype_to_tensor_dtype(self._weights[name].dtype))
        return self._types[name]

    def _read(self, name: str, kind: int) -> str:
        """Name of a tensor in a type; tensors of integers keep theirs."""
        if not name or not self._is_float(name) or self._type_of(name) == kind:
            return name
        if (name, kind) not in self._cast:
            made = f"{name}.{'half' if kind == _HALF else 'float'}"
            if name in self._weights:
                self._weights[made] = self._weights[name].astype(np.float16)
            else:
                self.nodes.append(helper.make_node("Cast", [name], [made], name=made, to=kind))
                self._types[made] = kind
            self._cast[name, kind] = made
        return self._cast[name, kind]
