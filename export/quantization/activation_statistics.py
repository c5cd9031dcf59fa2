"""Statistics of the inner tensors of a model, and embeddings of models in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from edge_sphereface.inference.embedder import preprocess
from edge_sphereface.inference.session import CPU
from edge_sphereface.inference.telemetry import import_onnxruntime
from export.graph import INPUT_NAME, OUTPUT_NAME
from export.quantization.prefix import EMPTY, Prefix, tensors_after
from export.quantization.ranges import BINS, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array

    ProgressFunction = Callable[[int, int], None]

_BATCH = 4
"""Number of crops in one inference. All inner tensors of a full-width network take 14 MiB per crop."""
_ERRORS_ONLY = 3


def inner_tensors(model: onnx.ModelProto, *, fused: Collection[str] = ("Relu",)) -> list[str]:
    """Return the tensors that quantization rounds: outputs of Conv, PRelu, Add and Relu.

    Args:
        model: any float form of the network.
        fused: operators that round what a Conv before them writes.
    """
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    return [
        node.output[0]
        for node in model.graph.node
        if node.op_type in ("Conv", "PRelu", "Add", "Relu")
        and not (len(read := readers.get(node.output[0], [])) == 1 and read[0] in fused)
    ]


def observe(
    model: onnx.ModelProto,
    names: Sequence[str],
    crops: UInt8Array,
    spec: ModelSpec,
    *,
    prefix: Prefix = EMPTY,
    progress: ProgressFunction | None = None,
) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Run a model on crops in small batches, and yield inner tensors.

    Args:
        model: any form of the network.
        names: names of the tensors.
        crops: (N, H, W, 3) uint8 BGR.
        spec: specification of the model.
        prefix: first layers that the model was made without, and what they computed for these crops.
        progress: called with the number of crops done and their total.

    Yields:
        Arrays by name, (batch, ...).
    """
    session = _session(model, names)
    for start in range(0, len(crops), _BATCH):
        stop = start + _BATCH
        batch = prefix.rows(start, stop) or {INPUT_NAME[spec.input_layout]: preprocess(crops[start:stop], spec)}
        yield dict(zip(names, session.run(list(names), batch), strict=True))
        if progress is not None:
            progress(min(start + _BATCH, len(crops)), len(crops))


def embed_all(model: onnx.ModelProto, crops: UInt8Array, spec: ModelSpec, *, prefix: Prefix = EMPTY) -> Float32Array:
    """Compute embeddings, (N, D) float32, not normalized."""
    return np.concatenate([seen[OUTPUT_NAME] for seen in observe(model, [OUTPUT_NAME], crops, spec, prefix=prefix)])


def extended(prefix: Prefix, layer: str, model: onnx.ModelProto, crops: UInt8Array, spec: ModelSpec) -> Prefix:
    """Compute one more layer.

    Args:
        prefix: the layers before it.
        layer: name of the layer.
        model: quantized network without the layers of ``prefix``.
        crops: (N, H, W, 3) uint8 BGR, those of ``prefix``.
        spec: specification of the model.
    """
    layers = prefix.layers | {layer}
    names = tensors_after(model, layers)
    new = [name for name in names if name not in prefix.tensors]
    seen = list(observe(model, new, crops, spec, prefix=prefix))
    computed = {name: np.concatenate([batch[name] for batch in seen]) for name in new}
    return Prefix(layers, {name: computed[name] if name in computed else prefix.tensors[name] for name in names})


def channel_maxima(
    model: onnx.ModelProto, crops: UInt8Array, spec: ModelSpec, *, progress: ProgressFunction | None = None
) -> dict[str, Float32Array]:
    """Return the largest absolute value of each channel, (C,), of every inner tensor."""
    maxima: dict[str, Float32Array] = {}
    for seen in observe(model, inner_tensors(model), crops, spec, progress=progress):
        for name, values in seen.items():
            largest = np.abs(values).max(axis=(0, 2, 3))
            maxima[name] = np.maximum(maxima[name], largest) if name in maxima else largest
    return maxima


def histograms(
    model: onnx.ModelProto,
    crops: UInt8Array,
    spec: ModelSpec,
    *,
    fused: Collection[str] = ("Relu",),
    progress: ProgressFunction | None = None,
) -> dict[str, Histogram]:
    """Return the histogram of every inner tensor. One pass finds the limits, another one counts.

    Args:
        model: any float form of the network.
        crops: (N, H, W, 3) uint8 BGR.
        spec: specification of the model.
        fused: see :func:`inner_tensors`.
        progress: called with the number of crops done and their total, both times two.
    """
    names = inner_tensors(model, fused=fused)
    total = 2 * len(crops)
    ends: dict[str, tuple[float, float]] = {}
    for seen in observe(model, names, crops, spec, progress=_part(progress, 0, total)):
        for name, values in seen.items():
            low, high = ends.get(name, (np.inf, -np.inf))
            ends[name] = (min(low, float(values.min())), max(high, float(values.max())))
    counts = {name: np.zeros(BINS) for name in names}
    for seen in observe(model, names, crops, spec, progress=_part(progress, len(crops), total)):
        for name, values in seen.items():
            low, high = ends[name]
            width = max(high - low, 1e-30) / BINS  # a tensor may be all zeros
            index = ((values.reshape(-1) - low) * np.float32(1 / width)).astype(np.int32)
            counts[name] += np.bincount(np.minimum(index, BINS - 1, out=index), minlength=BINS)
    return {name: Histogram(*ends[name], counts[name]) for name in names}


def channel_means(
    model: onnx.ModelProto,
    names: Sequence[str],
    crops: UInt8Array,
    spec: ModelSpec,
    *,
    prefix: Prefix = EMPTY,
) -> dict[str, Float64Array]:
    """Return the mean of each channel, (C,), of the named tensors."""
    totals: dict[str, Any] = dict.fromkeys(names, 0.0)
    for seen in observe(model, names, crops, spec, prefix=prefix):
        for name, values in seen.items():
            spatial = tuple(range(2, values.ndim))
            totals[name] = totals[name] + values.mean(axis=spatial, dtype=np.float64).sum(axis=0)
    return {name: total / len(crops) for name, total in totals.items()}


def _part(progress: ProgressFunction | None, before: int, total: int) -> ProgressFunction | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


def _session(model: onnx.ModelProto, names: Sequence[str]) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # hundreds of short runs in a search
    return ort.InferenceSession(_with_outputs(model, names).SerializeToString(), options, providers=[CPU])


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that computes these tensors, so that reading an early one is cheap."""
    needed = set(names)
    nodes = []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            nodes.append(node)
    known = {value.name: value for value in model.graph.output}
    graph = onnx.GraphProto(
        name=model.graph.name,
        node=reversed(nodes),
        input=model.graph.input,
        output=[known.get(name, helper.make_empty_tensor_value_info(name)) for name in names],
        initializer=[tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    return onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
