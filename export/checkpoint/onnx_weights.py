"""Weights of an ONNX graph: initializers or constants, perhaps behind nodes that exporters put before their reader."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.storage.bounded_json import shown
from export.checkpoint.onnx_node import DECODE_HINT, OTHER_HINT, attribute, kind, named
from export.errors import CheckpointError, TopologyError

if TYPE_CHECKING:
    import onnx

    Array = np.ndarray[Any, Any]

FLOAT_TYPES: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.DOUBLE: 8,
    TensorProto.FLOAT16: 2,
    TensorProto.BFLOAT16: 2,
}
"""Types of weights, with the bytes of a value."""
_DERIVING = ("Identity", "Unsqueeze", "Cast")
"""Nodes between a weight and the node that reads it: exporters store equal weights once, slopes as (C,), and weights as
float16."""
_MAX_DERIVATIONS = 4


class GraphWeights:
    """Weights of a graph.

    Attributes:
        tensors: stored tensors by the name of their value.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._derived: dict[str, onnx.NodeProto] = {}
        for node in graph.node:
            if kind(node) == "Constant":
                self.tensors[node.output[0]] = attribute(node, "value", TensorProto())
            if kind(node) in _DERIVING:
                self._derived[node.output[0]] = node

    def array(self, node: onnx.NodeProto, place: int) -> Array:
        """Read the weight at one input of a node.

        Raises:
            TopologyError: the input is no weight.
            CheckpointError: the weight is damaged, or in another file.
        """
        tensor, between = self.stored(node.input[place] if place < len(node.input) else "")
        if tensor is None:
            raise TopologyError(
                f"Input {place} of {named(node)} is no constant weight.",
                hint="export the network in evaluation mode, with constant folding",
            )
        _require_inside(tensor)
        if not _is_whole(tensor):
            raise CheckpointError(
                f"The weight {tensor.name!r:.80} of {named(node)} is empty, damaged or of no floating-point type.",
                hint=DECODE_HINT,
            )
        values = decoded(tensor)
        for one in reversed(between):
            values = self._derive(one, values)
        return values

    def stored(self, name: str) -> tuple[onnx.TensorProto | None, list[onnx.NodeProto]]:
        """Tensor that a value is derived from, None if it is computed, and the nodes between, last first."""
        between: list[onnx.NodeProto] = []
        while name in self._derived and self._derived[name].input and len(between) < _MAX_DERIVATIONS:
            between.append(self._derived[name])
            name = between[-1].input[0]
        return self.tensors.get(name), between

    def _derive(self, node: onnx.NodeProto, values: Array) -> Array:
        """Apply a node between a weight and its reader: a cast, or axes of length 1 behind a vector, as (C, 1, 1)."""
        if kind(node) == "Identity":
            return values
        if kind(node) == "Cast":
            wanted = attribute(node, "to", 0)
            if wanted not in FLOAT_TYPES:
                raise TopologyError(f"{named(node)} makes a weight an integer.", hint=OTHER_HINT)
            with np.errstate(over="ignore"):  # whoever reads the values refuses infinite ones
                return values.astype(helper.tensor_dtype_to_np_dtype(wanted))
        axes: list[int] = attribute(node, "axes", [])  # an attribute before opset 13, an input since
        if not axes and len(node.input) > 1 and node.input[1] in self.tensors:
            axes = decoded(self.tensors[node.input[1]]).reshape(-1).tolist()
        if axes not in ([1, 2], [1]):
            raise TopologyError(f"{named(node)} adds the axes {axes!s:.80}.", hint=OTHER_HINT)
        return values.reshape((*values.shape, *[1] * len(axes)))


def _require_inside(tensor: onnx.TensorProto) -> None:
    """Require that a tensor is in the file itself: no other file is read because this one names it."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise CheckpointError(
            "The ONNX file has its weights in another file.",
            hint="join them: onnx.save(onnx.load(FILE), OTHER_FILE), beside the file of the weights",
        )


def decoded(tensor: onnx.TensorProto) -> Array:
    """Values of a tensor.

    Raises:
        CheckpointError: the tensor is damaged, or in another file.
    """
    _require_inside(tensor)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"The tensor {tensor.name!r:.80} is damaged: {shown(str(error))}.", hint=DECODE_HINT
        ) from error


def _is_whole(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor of floating-point numbers has values, and as many as its shape says."""
    if tensor.data_type not in FLOAT_TYPES or min(tensor.dims, default=1) < 1:
        return False
    raw = len(tensor.raw_data) / FLOAT_TYPES[tensor.data_type]
    return math.prod(tensor.dims) in (raw, len(tensor.float_data), len(tensor.double_data), len(tensor.int32_data))
