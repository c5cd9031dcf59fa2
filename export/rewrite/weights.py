"""A model taken apart into nodes and weights, and put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Weights = dict[str, np.ndarray[Any, Any]]


def read_weights(model: onnx.ModelProto) -> Weights:
    """Every initializer by name; the arrays are read-only."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def rebuild(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], weights: Mapping[str, np.ndarray[Any, Any]]
) -> onnx.ModelProto:
    """A new model with other nodes and weights, and everything else of an old one: inputs, outputs, metadata, opset.

    Args:
        model: gives what stays; it is left as it is.
        nodes: in topological order.
        weights: by name; those that no node reads are left out.

    Returns:
        A model that ``onnx.checker`` accepts.
    """
    made = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name not in ("graph", "metadata_props", "opset_import"):
            setattr(made, field.name, value)
    made.opset_import.extend(model.opset_import)
    made.metadata_props.extend(model.metadata_props)
    made.graph.name = model.graph.name
    made.graph.input.extend(model.graph.input)
    made.graph.output.extend(model.graph.output)
    made.graph.node.extend(nodes)
    read = dict.fromkeys(name for node in made.graph.node for name in node.input)
    made.graph.initializer.extend(
        # asarray, not ascontiguousarray: the latter turns a scalar into a vector
        numpy_helper.from_array(np.asarray(weights[name]), name)
        for name in read
        if name in weights
    )
    onnx.checker.check_model(made)
    return made
