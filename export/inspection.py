"""Describe the contents of a checkpoint or an ONNX file."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from edge_sphereface.errors import ModelError, ModelFormatError
from edge_sphereface.inference.session import MODEL_FILE
from edge_sphereface.json_output import INLINE
from edge_sphereface.model.spec import ModelSpec
from edge_sphereface.storage.bounded_json import shown
from edge_sphereface.storage.files import sha256_of
from export.checkpoint import format_of, open_checkpoint
from export.errors import CheckpointError, TopologyError
from export.known_checkpoints import known_checkpoint
from export.naming import training_reasons
from export.official import OFFICIAL
from export.presets import PRESETS
from export.source import likely_preset
from export.topology import Structure, infer_topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from export.checkpoint.entry import FileFormat
    from export.presets import PresetName
    from export.topology import Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterReport:
    """A parameter of a checkpoint.

    Attributes:
        name: name in the checkpoint.
        dtype: data type of the values.
        shape: shape of the values; empty for a single one.
        bytes: size of the parameter.
        role: ``network``, ``optimizer``, ``training head`` or ``training state``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """The network that the parameters of a checkpoint make.

    Attributes:
        architecture: such as ``SphereFace-20``.
        widths: numbers of channels of the four stages.
        embedding_size: number of components of an embedding.
        input: height and width of the crop, in pixels.
        network_parameters: number of values in the parameters of the network.
        activation: ``prelu``, with one slope per channel, or ``relu``.
        normalization_epsilon: constant added to the variances of the batch normalizations; None without them. Of
            parameters alone, PyTorch's default, since they do not tell it.
    """

    architecture: str
    widths: tuple[int, ...]
    embedding_size: int
    input: tuple[int, int]
    network_parameters: int
    activation: Activation
    normalization_epsilon: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """Contents of a checkpoint.

    Attributes:
        kind: kind of the file: ``checkpoint``.
        path: path of the file.
        bytes: size of the file.
        sha256: SHA-256 of the file, in hexadecimal.
        format: format of the file.
        preset: publisher that the names of the parameters tell; None if several fit, or if they make no network.
        is_official: whether it is the checkpoint that MindSpore Hub published.
        published_lfw_accuracy: accuracy on LFW as published, 0 to 1; None unless the file is known.
        known_as: what the file is, if its SHA-256 is known here; None otherwise.
        problem: why the parameters make no SphereFace, with exit code 1; None if they make one.
        network: what they make; left out where they make none.
        parameters: parameters in the order of the file.
    """

    kind: Literal["checkpoint"] = "checkpoint"
    path: Path
    bytes: int
    sha256: str
    format: FileFormat
    preset: PresetName | None
    is_official: bool
    published_lfw_accuracy: float | None
    known_as: str | None
    problem: str | None
    network: NetworkReport | None = field(metadata=INLINE)
    parameters: tuple[ParameterReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueReport:
    """An input or output of an ONNX graph.

    Attributes:
        name: name in the graph.
        dtype: data type of the values.
        shape: shape of the values; a name stands for a size that is chosen when the model runs.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxReport:
    """Contents of an ONNX file.

    Attributes:
        kind: kind of the file: ``onnx``.
        path: path of the file.
        bytes: size of the file.
        sha256: SHA-256 of the file, in hexadecimal.
        opset: versions of the operator sets, by domain.
        ir_version: version of the ONNX format.
        producer: program that wrote the file, and its version.
        inputs: inputs of the graph.
        outputs: outputs of the graph.
        nodes: number of nodes of the graph, by operator.
        weights: number of values in the weights.
        spec: specification of the model; None for a model without the metadata of this package.
        problem: why there is no ``spec``, and why the graph cannot be converted, with exit code 1; None if there is a
            ``spec``.
    """

    kind: Literal["onnx"] = "onnx"
    path: Path
    bytes: int
    sha256: str
    opset: Mapping[str, int]
    ir_version: int
    producer: str
    inputs: tuple[ValueReport, ...]
    outputs: tuple[ValueReport, ...]
    nodes: Mapping[str, int]
    weights: int
    spec: ModelSpec | None
    problem: str | None


def inspect(path: Path) -> CheckpointReport | OnnxReport:
    """Describe a file by its content: a checkpoint, such as a graph that can be converted, else a model.

    Raises:
        CheckpointError: the file is not a readable checkpoint.
        ModelError: its name ends in ``.onnx``, and it is not a readable ONNX file.
    """
    try:
        return _inspect_checkpoint(path)
    except (CheckpointError, TopologyError) as error:
        if path.suffix.lower() != ".onnx" and format_of(path) != "ONNX graph":
            raise
        obstacle = error.message if isinstance(error, TopologyError) else ""
    return _inspect_onnx(path, obstacle)


def _inspect_checkpoint(path: Path) -> CheckpointReport:
    with open_checkpoint(path) as checkpoint:
        network, problem = None, None
        try:
            topology = infer_topology(
                checkpoint.entries,
                input_size=checkpoint.input_size,
                structure=checkpoint.structure or Structure(),
            )
        except TopologyError as error:
            problem = error.message
        else:
            network = NetworkReport(
                architecture=topology.name,
                widths=tuple(topology.widths),
                embedding_size=topology.embedding_size,
                input=(topology.input_height, topology.input_width),
                network_parameters=sum(
                    math.prod(checkpoint.entries[stored].shape) for stored in topology.parameters.values()
                ),
                activation=topology.activation,
                normalization_epsilon=topology.normalization_epsilon,
            )
        reasons = training_reasons(checkpoint.entries)
        known = known_checkpoint(checkpoint.sha256)
        return CheckpointReport(
            path=path,
            bytes=path.stat().st_size,
            sha256=checkpoint.sha256,
            format=checkpoint.format,
            preset=None if network is None else likely_preset(checkpoint),
            is_official=checkpoint.sha256 == OFFICIAL.sha256,
            published_lfw_accuracy=None if known is None else known.lfw_accuracy,
            known_as=None if known is None else known.title,
            problem=problem,
            network=network,
            parameters=tuple(
                ParameterReport(
                    name=name,
                    dtype=info.dtype,
                    shape=tuple(info.shape),
                    bytes=info.nbytes if info.spans else info.expected_nbytes,  # a graph may store them otherwise
                    role=reasons.get(name) or "network",
                )
                for name, info in checkpoint.entries.items()
            ),
        )


def _inspect_onnx(path: Path, obstacle: str) -> OnnxReport:
    """Describe a graph; ``obstacle`` is why it holds no network that can be converted, if it is known."""
    model = _load(path)
    spec, problem = None, None
    try:
        spec = ModelSpec.from_metadata({entry.key: entry.value for entry in model.metadata_props})
    except ModelError as error:
        problem = f"{error.message} {obstacle}".rstrip()
    nodes = Counter(node.op_type for node in model.graph.node)
    return OnnxReport(
        path=path,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=tuple(_value(value) for value in model.graph.input),
        outputs=tuple(_value(value) for value in model.graph.output),
        nodes=dict(sorted(nodes.items())),
        weights=sum(math.prod(weight.dims) for weight in model.graph.initializer),
        spec=spec,
        problem=problem,
    )


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(MODEL_FILE.read(path))
    except DecodeError as error:
        raise ModelFormatError(
            f"{path} is not an ONNX file: {error}.", hint="it is damaged or of another kind"
        ) from error
    if not model.graph.node:
        raise ModelFormatError(f"{path} has no graph.", hint="it is damaged or of another kind")
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf gives bytes for what is no UTF-8
        raise ModelFormatError(f"{path} is not an ONNX file: a name is not UTF-8 text.", hint="it is damaged")
    return model


def _texts(model: Any) -> Iterator[Any]:
    yield from (model.producer_name, model.producer_version)
    yield from (entry.domain for entry in model.opset_import)
    yield from (node.op_type for node in model.graph.node)
    for value in (*model.graph.input, *model.graph.output):
        yield value.name
        yield from (dimension.dim_param for dimension in value.type.tensor_type.shape.dim)


def _value(value: Any) -> ValueReport:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    shape = tuple(dimension.dim_param or dimension.dim_value for dimension in tensor.shape.dim)
    known = tensor.elem_type in TensorProto.DataType.values()
    dtype = TensorProto.DataType.Name(tensor.elem_type).lower() if known else f"unknown {tensor.elem_type}"
    return ValueReport(name=value.name, dtype=dtype, shape=shape)


def text(report: CheckpointReport | OnnxReport) -> str:
    """Format the description as text."""
    lines = _onnx_lines(report) if isinstance(report, OnnxReport) else _checkpoint_lines(report)
    return "\n".join([f"{report.path}: {report.bytes / (1 << 20):.2f} MiB, SHA-256 {report.sha256}", *lines])


def _checkpoint_lines(report: CheckpointReport) -> list[str]:
    lines = [f"{report.format}; {report.known_as or 'not a published file that is known here'}"]
    if report.preset is not None:
        lines.append(f"names of {PRESETS[report.preset].title}")
    if report.problem is not None:
        lines.append(report.problem)
    if report.network is not None:
        network = report.network
        height, width = network.input
        lines.append(
            f"{network.architecture}, widths {', '.join(map(str, network.widths))}, {network.embedding_size}-d, "
            f"input {height} x {width}, {network.network_parameters:,} parameters in the network"
        )
        lines.append(layers_text(network.activation, network.normalization_epsilon, report.format))
    lines += ["", f"{'parameter':<42} {'type':<9} {'shape':<20} {'bytes':>12}  role"]
    lines += [
        f"{shown(row.name):<42} {shown(row.dtype):<9} {_shape(row.shape):<20} {row.bytes:>12,}  {row.role}"
        for row in report.parameters
    ]
    totals: Counter[str] = Counter()
    for row in report.parameters:
        totals[row.role] += row.bytes
    lines += ["", *(f"{role:<42} {size / (1 << 20):>42.2f} MiB" for role, size in totals.items())]
    return lines


def layers_text(activation: Activation, epsilon: float | None, file_format: FileFormat) -> str:
    """Say what follows the convolutions, with the constant of batch normalizations and where it comes from."""
    name = "PReLU" if activation == "prelu" else "ReLU"
    if epsilon is None:
        return name
    origin = "" if file_format == "ONNX graph" else ", PyTorch's default, which the file does not tell"
    return f"{name}; batch normalization (eps {epsilon:g}{origin})"


def _onnx_lines(report: OnnxReport) -> list[str]:
    opsets = ", ".join(f"{shown(domain)} {version}" for domain, version in report.opset.items())
    lines = [f"opset {opsets}, IR version {report.ir_version}, made by {shown(report.producer) or 'unknown'}"]
    for title, values in (("input", report.inputs), ("output", report.outputs)):
        lines += [
            f"{title:<8} {shown(value.name)} {value.dtype} ({', '.join(shown(str(side)) for side in value.shape)})"
            for value in values
        ]
    lines.append(f"{report.weights:,} weights; " + ", ".join(f"{n} {shown(kind)}" for kind, n in report.nodes.items()))
    if report.spec is None:
        return [*lines, report.problem or ""]
    return [*lines, "", *(f"{item.name:<20} {getattr(report.spec, item.name)}" for item in fields(report.spec))]


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
