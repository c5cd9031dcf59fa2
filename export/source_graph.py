"""Prove that a network was read from an ONNX graph as the graph computes it.

A graph may hold what its reader does not know. onnxruntime runs the graph itself, so that a wrong reading is refused
instead of converted: the proof of a conversion cannot find it, because its reference has the parameters that were read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.metrics import agreement
from edge_sphereface.model.certificate import CONVERSION_BOUNDS, device_bounds
from edge_sphereface.storage.bounded_json import shown
from export.errors import TopologyError

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array
    from export.checkpoint.onnx_source import SourceGraph
    from export.reference import NumpyReference
    from export.topology import Topology

_CROPS = 2
_SEED = 20
_LOG_FATAL = 4
_HINT = "export the network in evaluation mode, in float32, without further outputs or operators"


def require_as_computed(graph: SourceGraph, reference: NumpyReference, topology: Topology) -> None:
    """Require that the parameters of a graph, as they were read, give the embeddings that onnxruntime computes.

    Args:
        graph: the graph.
        reference: forward pass with the parameters that were read.
        topology: the network that was recognized.

    Raises:
        TopologyError: the embeddings differ, or onnxruntime refuses the graph.
    """
    shape = (_CROPS, 3, topology.input_height, topology.input_width)
    batch = np.random.RandomState(_SEED).uniform(-1, 1, shape).astype(np.float32)
    computed, read = _run(graph, batch), reference.forward(batch)
    if computed.shape != read.shape:
        raise TopologyError(
            f"The graph gives embeddings of shape {computed.shape}, but as it was read, {read.shape}.", hint=_HINT
        )
    found = agreement(computed, read)
    bounds = device_bounds("float16") if graph.is_half else CONVERSION_BOUNDS
    if not bounds.holds(found):
        raise TopologyError(
            f"The graph computes other embeddings in onnxruntime than the network that was read from it: max abs "
            f"error {found.max_abs_error:.2e} of the largest component (at most {bounds.max_abs_error:g}), min cosine "
            f"{found.min_cosine:.9f} (at least {bounds.min_cosine:g}).",
            hint=_HINT,
        )


def _run(graph: SourceGraph, batch: Float32Array) -> Float32Array:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL  # errors are raised
    try:
        session = ort.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        values = batch.astype(np.float16) if source.type == "tensor(float16)" else batch
        return np.asarray(session.run(None, {source.name: values})[0], dtype=np.float32)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise TopologyError(f"onnxruntime refuses the graph: {shown(str(error))}.", hint=_HINT) from error
