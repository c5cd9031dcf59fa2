"""Read the weights of a model, and rebuild a model from nodes and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Weights = dict[str, np.ndarray[Any, Any]]


def read_weights(model: onnx.ModelProto) -> Weights:
    """Return all initializers by name as read-only arrays."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def rebuild(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    weights: Mapping[str, np.ndarray[Any, Any]],
    *,
    inputs: Iterable[onnx.ValueInfoProto] | None = None,
    check: bool = True,
) -> onnx.ModelProto:
    """Build a model with new nodes and weights that keeps the inputs, outputs, metadata and opset of another model.

    Args:
        model: model whose other properties are kept; it is not modified.
        nodes: nodes in topological order.
        weights: arrays by name; those that no node reads are dropped.
        inputs: inputs of the new model; None keeps those of ``model``.
        check: whether ``onnx.checker`` checks the new model, which takes as long as building it.
    """
    made = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name not in ("graph", "metadata_props", "opset_import"):
            setattr(made, field.name, value)
    made.opset_import.extend(model.opset_import)
    made.metadata_props.extend(model.metadata_props)
    made.graph.name = model.graph.name
    made.graph.input.extend(model.graph.input if inputs is None else inputs)
    made.graph.output.extend(model.graph.output)
    made.graph.node.extend(nodes)
    read = dict.fromkeys(name for node in made.graph.node for name in node.input)
    made.graph.initializer.extend(
        # asarray, not ascontiguousarray: the latter turns a scalar into a vector
        numpy_helper.from_array(np.asarray(weights[name]), name)
        for name in read
        if name in weights
    )
    if check:
        onnx.checker.check_model(made)
    return made
