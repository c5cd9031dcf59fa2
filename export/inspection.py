"""What is in a checkpoint or an ONNX file."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from edge_sphereface.errors import ModelError, ModelFormatError
from edge_sphereface.inference.session import MODEL_FILE
from edge_sphereface.model.spec import ModelSpec
from edge_sphereface.storage.files import sha256_of
from export.checkpoint import open_checkpoint
from export.errors import TopologyError
from export.official import LFW_ACCURACY, OFFICIAL
from export.topology import infer_topology, training_reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_sphereface.types import JsonObject


def inspect(path: Path) -> JsonObject:
    """Describe a file by its suffix: ``.onnx``, else a checkpoint.

    Raises:
        CheckpointError: no readable checkpoint.
        ModelError: no readable ONNX file.
    """
    return _inspect_onnx(path) if path.suffix.lower() == ".onnx" else _inspect_checkpoint(path)


def _inspect_checkpoint(path: Path) -> JsonObject:
    with open_checkpoint(path) as checkpoint:
        parameters = [
            {
                "name": name,
                "dtype": info.dtype,
                "shape": list(info.shape),
                "bytes": info.nbytes,
                "role": training_reason(name, info) or "network",
            }
            for name, info in checkpoint.entries.items()
        ]
        network: JsonObject = {}
        problem = None
        try:
            topology = infer_topology(checkpoint.entries)
        except TopologyError as error:
            problem = error.message
        else:
            network = {
                "architecture": topology.name,
                "widths": list(topology.widths),
                "embedding_size": topology.embedding_size,
                "input": [topology.input_height, topology.input_width],
                "network_parameters": sum(
                    math.prod(checkpoint.entries[stored].shape) for stored in topology.parameters.values()
                ),
            }
        is_official = checkpoint.sha256 == OFFICIAL.sha256
        return {
            "kind": "checkpoint",
            "path": str(path),
            "bytes": path.stat().st_size,
            "sha256": checkpoint.sha256,
            "is_official": is_official,
            "published_lfw_accuracy": LFW_ACCURACY if is_official else None,
            "problem": problem,
            **network,
            "parameters": parameters,
        }


def _inspect_onnx(path: Path) -> JsonObject:
    model = _load(path)
    spec, problem = None, None
    try:
        spec = ModelSpec.from_metadata({entry.key: entry.value for entry in model.metadata_props}).as_json()
    except ModelError as error:
        problem = error.message
    nodes = Counter(node.op_type for node in model.graph.node)
    return {
        "kind": "onnx",
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": [_value(value) for value in model.graph.input],
        "outputs": [_value(value) for value in model.graph.output],
        "nodes": dict(sorted(nodes.items())),
        "weights": sum(math.prod(weight.dims) for weight in model.graph.initializer),
        "spec": spec,
        "problem": problem,
    }


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(MODEL_FILE.read(path))
    except DecodeError as error:
        raise ModelFormatError(f"{path} is no ONNX file: {error}.", hint="it is damaged or of another kind") from error
    if not model.graph.node:
        raise ModelFormatError(f"{path} holds no graph.", hint="it is damaged or of another kind")
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf gives bytes for what is no UTF-8
        raise ModelFormatError(f"{path} is no ONNX file: a name is not text in UTF-8.", hint="it is damaged")
    return model


def _texts(model: Any) -> Iterator[Any]:
    yield from (model.producer_name, model.producer_version)
    yield from (entry.domain for entry in model.opset_import)
    yield from (node.op_type for node in model.graph.node)
    for value in (*model.graph.input, *model.graph.output):
        yield value.name
        yield from (dimension.dim_param for dimension in value.type.tensor_type.shape.dim)


def _value(value: Any) -> JsonObject:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    shape = [dimension.dim_param or dimension.dim_value for dimension in tensor.shape.dim]
    known = tensor.elem_type in TensorProto.DataType.values()
    dtype = TensorProto.DataType.Name(tensor.elem_type).lower() if known else f"unknown {tensor.elem_type}"
    return {"name": value.name, "dtype": dtype, "shape": shape}


def text(report: JsonObject) -> str:
    """The description for people."""
    head = [f"{report['path']}: {report['bytes'] / (1 << 20):.2f} MiB, SHA-256 {report['sha256']}"]
    if report["kind"] == "onnx":
        return "\n".join(head + _onnx_lines(report))
    return "\n".join(head + _checkpoint_lines(report))


def _checkpoint_lines(report: JsonObject) -> list[str]:
    lines = ["the OFFICIAL checkpoint of MindSpore Hub" if report["is_official"] else "not the official checkpoint"]
    if report["problem"]:
        lines.append(report["problem"])
    else:
        height, width = report["input"]
        lines.append(
            f"{report['architecture']}, widths {', '.join(map(str, report['widths']))}, {report['embedding_size']}-d, "
            f"input {height} x {width}, {report['network_parameters']:,} parameters in the network"
        )
    lines += ["", f"{'parameter':<42} {'type':<9} {'shape':<20} {'bytes':>12}  role"]
    lines += [
        f"{row['name']:<42} {row['dtype']:<9} {_shape(row['shape']):<20} {row['bytes']:>12,}  {row['role']}"
        for row in report["parameters"]
    ]
    totals: Counter[str] = Counter()
    for row in report["parameters"]:
        totals[row["role"]] += row["bytes"]
    lines += ["", *(f"{role:<42} {size / (1 << 20):>42.2f} MiB" for role, size in totals.items())]
    return lines


def _onnx_lines(report: JsonObject) -> list[str]:
    opsets = ", ".join(f"{domain} {version}" for domain, version in report["opset"].items())
    lines = [f"opset {opsets}, IR version {report['ir_version']}, made by {report['producer'] or 'unknown'}"]
    for title in ("inputs", "outputs"):
        lines += [
            f"{title[:-1]:<8} {v['name']} {v['dtype']} ({', '.join(map(str, v['shape']))})" for v in report[title]
        ]
    lines.append(f"{report['weights']:,} weights; " + ", ".join(f"{n} {kind}" for kind, n in report["nodes"].items()))
    if report["spec"] is None:
        return [*lines, report["problem"]]
    return [*lines, "", *(f"{name:<20} {value}" for name, value in report["spec"].items())]


def _shape(shape: list[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
