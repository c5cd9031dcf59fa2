"""The command ``python -m export convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    cosine,
    detector_options,
    json_option,
    open_named_detector,
    pairs_options,
    read_named_pairs,
)
from edge_sphereface.cli.runner import Commands, Outcome, UsageError, note
from edge_sphereface.model.certificate import device_bounds
from edge_sphereface.model.spec import LAYOUT_IMAGE, LAYOUT_NCHW
from export import official, parity
from export.inspection import layers_text
from export.known_checkpoints import weights_file
from export.told_options import add_proof_options, add_told_options, told

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.model.origin import ColorOrder, Shortcut
    from edge_sphereface.model.spec import ModelSpec
    from export.checkpoint.entry import FileFormat
    from export.convert import Conversion
    from export.parity import ParityReport
    from export.presets import PresetName
    from export.source import SourceNetwork
    from export.topology import Activation


def add_convert(commands: Commands) -> None:
    """Add the command ``convert``."""
    parser = commands.add_parser(
        "convert",
        parents=[json_option(), pairs_options(), detector_options()],
        help="convert weights of any publisher to an ONNX file and prove that both are equal",
        description="Convert the weights of a SphereFace network. The format, the network and its publisher are "
        "recognized from the content of the file. The result is compared with a reference forward pass of the weights "
        "and written only if it is equal. The proof is stored beside it as a parity certificate.",
        epilog="example: python -m export convert sphereface.ckpt -o sphereface20.onnx --input-layout image",
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=weights_file,
        help="file of weights: .ckpt or .safetensors of MindSpore, .pth of PyTorch, .caffemodel, or .onnx of another "
        "exporter; or a name of `fetch`, such as uniface-20 (default: the official checkpoint, in the cache)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.onnx",
        help="default: name of the checkpoint with .onnx, in this folder",
    )
    parser.add_argument(
        "--input-layout",
        choices=(LAYOUT_NCHW, LAYOUT_IMAGE),
        default=LAYOUT_NCHW,
        help="nchw (default): normalized floats, as in the original; image: uint8 BGR crops, as from a camera",
    )
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument(
        "--threshold",
        type=cosine,
        metavar="COSINE",
        help=f"threshold to store in the model (default {official.LFW_THRESHOLD}, for the official checkpoint only)",
    )
    threshold.add_argument(
        "--threshold-from-pairs", action="store_true", help="measure the threshold on the labeled pairs"
    )
    parser.add_argument(
        "--threshold-source", default="chosen at conversion", metavar="TEXT", help="origin of the threshold"
    )
    add_told_options(parser)
    add_proof_options(parser)
    parser.set_defaults(run=convert)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What a file of weights holds.

    Attributes:
        format: format of the file.
        preset: publisher whose conventions determine how crops are made; None if options told them one by one.
        activation: ``prelu``, with one slope per channel, or ``relu``.
        shortcut: where a residual pair adds its input: ``after_activation`` or ``before_activation``.
        color_order: order of the colors of the crops in training; the ONNX file takes BGR.
        is_normalized: whether batch normalization was folded into the weights.
        normalization_epsilon: constant added to the variances of the batch normalizations; None without them. Of
            parameters alone, PyTorch's default, since they do not tell it.
        is_half: whether it is a graph that computes in half precision: what was read from it is compared with what it
            computes within the bounds of float16.
        known_as: what the file is, if its SHA-256 is known here; None otherwise.
        license: license of a known file, and what its training data allow.
        published_lfw_accuracy: accuracy of a known file on LFW as published, 0 to 1.
        accuracy_source: origin of that accuracy and its protocol, in words.
    """

    format: FileFormat
    preset: PresetName | None
    activation: Activation
    shortcut: Shortcut
    color_order: ColorOrder
    is_normalized: bool
    normalization_epsilon: float | None
    is_half: bool
    known_as: str | None
    license: str | None
    published_lfw_accuracy: float | None
    accuracy_source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertReport:
    """What ``convert`` wrote.

    Attributes:
        model: path of the ONNX file.
        certificate: path of its parity certificate.
        source: what the file of weights holds.
        spec: specification of the model.
        skipped_parameters: names of the parameters that only training needs: optimizer state, head, counters.
        parity: comparison with the checkpoint.
    """

    model: Path
    certificate: Path
    source: SourceReport
    spec: ModelSpec
    skipped_parameters: tuple[str, ...]
    parity: ParityReport


def convert(arguments: argparse.Namespace) -> Outcome:
    """Run ``convert``: convert a checkpoint, and describe the model."""
    from export.convert import ConversionOptions
    from export.convert import convert as convert_checkpoint

    labeled = read_named_pairs(arguments)
    if (labeled is not None) != arguments.threshold_from_pairs:
        raise UsageError(
            "--threshold-from-pairs and labeled pairs require each other.",
            hint="give --threshold-from-pairs with --lfw, or with --pairs and --images",
        )
    source = arguments.checkpoint or official.official_path()
    output = arguments.output or Path(f"{source.stem}.onnx")
    made = convert_checkpoint(
        source,
        output,
        ConversionOptions(
            input_layout=arguments.input_layout,
            threshold=arguments.threshold,
            threshold_source=arguments.threshold_source,
            threshold_pairs=labeled,
            told=told(arguments),
            reference=arguments.reference,
            photos=arguments.photos,
        ),
        detector=None if labeled is None else open_named_detector(arguments),
        note=note,
    )
    report = ConvertReport(
        model=made.model,
        certificate=made.certificate,
        source=_source_report(made.source),
        spec=made.spec,
        skipped_parameters=tuple(made.topology.skipped),
        parity=parity.report(made.proof),
    )
    return Outcome(report, _describe(made))


def _source_report(network: SourceNetwork) -> SourceReport:
    topology, known = network.topology, network.known
    return SourceReport(
        format=network.checkpoint.format,
        preset=None if network.preset is None else network.preset.name,
        activation=topology.activation,
        shortcut=topology.shortcut,
        color_order=network.preprocessing.color_order,
        is_normalized=topology.is_normalized,
        normalization_epsilon=topology.normalization_epsilon,
        is_half=_is_half(network),
        known_as=None if known is None else known.title,
        license=None if known is None else known.license,
        published_lfw_accuracy=None if known is None else known.lfw_accuracy,
        accuracy_source=None if known is None else known.accuracy_source,
    )


def _describe(made: Conversion) -> str:
    spec = made.spec
    widths = ", ".join(map(str, spec.widths))
    lines = [f"{made.model}: {spec.architecture}, widths {widths}, {made.model.stat().st_size / (1 << 20):.1f} MiB"]
    lines.append(f"{made.certificate}: parity certificate")
    lines += _source_lines(made.source)
    lines.append(f"threshold {spec.threshold:g}: {spec.threshold_source}")
    if spec.threshold_source == official.THRESHOLD_SOURCE_OTHER:
        lines.append(
            "  measure your own: edge-sphereface calibrate-threshold, then --threshold; or --threshold-from-pairs here"
        )
    lines.append(parity.text(made.proof))
    return "\n".join(lines)


def _source_lines(network: SourceNetwork) -> list[str]:
    topology, known, preprocessing = network.topology, network.known, network.preprocessing
    parts = [
        f"{network.checkpoint.format}, conventions {_whose(network)}",
        layers_text(topology.activation, topology.normalization_epsilon, network.checkpoint.format),
        *(["folded into the weights"] if topology.is_normalized else []),
        f"identity added {topology.shortcut.replace('_', ' the ')}",
        f"{len(topology.skipped)} training parameters left out",
    ]
    lines = [f"source {network.checkpoint.path.name}: {'; '.join(parts)}"]
    lines.append(
        f"crops {topology.input_height} x {topology.input_width}, {preprocessing.color_order} in the source, "
        f"(x - {preprocessing.pixel_mean:g}) / {1 / preprocessing.pixel_scale:g}"
    )
    if _is_half(network):
        bounds = device_bounds("float16")
        lines.append(
            "the graph computes in half precision: what was read from it gives the embeddings that it computes within "
            f"max abs error {bounds.max_abs_error:g}, min cosine {bounds.min_cosine:g}"
        )
    if known is None:
        return [*lines, "not a published file that is known here: no license and no accuracy are stated"]
    return [
        *lines,
        f"known as {known.title}; license: {known.license}",
        f"LFW {known.lfw_accuracy:.2%}: {known.accuracy_source}",
    ]


def _whose(network: SourceNetwork) -> str:
    if network.preset is None:
        return "as told"
    is_usual = network.preset.preprocessing == network.preprocessing
    return f"of {network.preset.title}{'' if is_usual else ' with changes'}"


def _is_half(network: SourceNetwork) -> bool:
    return network.checkpoint.graph is not None and network.checkpoint.graph.is_half
