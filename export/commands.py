"""The commands of ``python -m export``."""

from __future__ import annotations

import json
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
from edge_sphereface.cli.model_commands import FetchReport
from edge_sphereface.cli.runner import Commands, Outcome, Parser, Progress, UsageError, note
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.spec import LAYOUT_IMAGE, LAYOUT_NCHW
from edge_sphereface.storage.download import fetch as download
from edge_sphereface.storage.download import install
from edge_sphereface.storage.files import SHARED, atomic_write
from export import inspection, official, parity
from export.errors import ParityError
from export.known_checkpoints import download_target, published_files
from export.pretrained import PRETRAINED
from export.quantization.commands import add_float_options, add_quantize, verify_against_float
from export.quantization.crops import require_photographs
from export.reference import REFERENCE_NAMES
from export.rewrite.commands import add_rewrite
from export.told_options import add_told_options, told
from export.tuning.commands import add_tune

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.origin import ColorOrder, Shortcut
    from edge_sphereface.model.spec import ModelSpec
    from export.checkpoint.entry import FileFormat
    from export.convert import Conversion
    from export.parity import ParityReport
    from export.presets import PresetName
    from export.source import SourceNetwork
    from export.topology import Activation


def build_parser() -> Parser:
    """Build the parser of all commands."""
    parser = Parser(
        prog="python -m export",
        description="Convert weights of SphereFace (MindSpore, PyTorch, Caffe, ONNX) to ONNX with a proof of parity, "
        "without the framework that wrote them.",
        epilog="Each command has --help with an example, and --json for machines.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_fetch(commands)
    _add_inspect(commands)
    _add_convert(commands)
    add_rewrite(commands)
    add_tune(commands)
    add_quantize(commands)
    _add_verify(commands)
    _add_model(commands)
    _add_demo(commands)
    return parser


def _add_fetch(commands: Commands) -> None:
    offered = "; ".join(f"{name}: {file.name} ({file.license})" for name, file in published_files().items())
    parser = commands.add_parser(
        "fetch",
        parents=[json_option()],
        help="download published weights into the cache, the official checkpoint (225 MB) by default",
        description="Download a file of weights, continue an interrupted download, and verify the SHA-256. "
        f"Files: {offered}.",
        epilog="examples: python -m export fetch uniface-20; without network: python -m export fetch --from "
        "/media/usb/sphereface.ckpt",
    )
    parser.add_argument(
        "weights",
        nargs="?",
        choices=list(published_files()),
        default="mindspore",
        help="which file (default: mindspore)",
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="copy this file instead of downloading"
    )
    parser.set_defaults(run=fetch)


def fetch(arguments: argparse.Namespace) -> Outcome:
    """Run ``fetch``: download or copy published weights."""
    file = published_files()[arguments.weights]
    target = download_target(file)
    if arguments.source is not None:
        path = install(file, arguments.source, target)
    else:
        note(f"{file.url}, {file.license}")
        path = download(file, target, progress=Progress("downloading", "MiB"))
    return Outcome(FetchReport(path=path, sha256=file.sha256), f"{path} (SHA-256 as pinned)\nlicense: {file.license}")


def _add_inspect(commands: Commands) -> None:
    parser = commands.add_parser(
        "inspect",
        parents=[json_option()],
        help="describe the contents of a checkpoint or an ONNX file",
        description="Describe a file without converting it: the parameters of a checkpoint and their network, or the "
        "inputs, nodes and specification of an ONNX model. The exit code is 1 if it is not a SphereFace network.",
        epilog="example: python -m export inspect sphereface.ckpt",
    )
    parser.add_argument("file", type=Path, help="weights (.ckpt, .safetensors, .pth, .caffemodel) or model (.onnx)")
    parser.set_defaults(run=lambda arguments: _inspected(inspection.inspect(arguments.file)))


def _inspected(report: inspection.CheckpointReport | inspection.OnnxReport) -> Outcome:
    return Outcome(report, inspection.text(report), passed=report.problem is None)


def _add_proof_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("proof")
    group.add_argument(
        "--reference",
        choices=REFERENCE_NAMES,
        default="auto",
        help="auto (default): MindSpore if installed, else numpy",
    )
    group.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="photographs for the proof (default: the built-in one)"
    )


def _add_convert(commands: Commands) -> None:
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
        type=Path,
        help="file of weights: .ckpt or .safetensors of MindSpore, .pth of PyTorch, .caffemodel, or .onnx of another "
        "exporter (default: the official checkpoint, in the cache)",
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
    _add_proof_options(parser)
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
        "PReLU" if topology.activation == "prelu" else "ReLU",
        *(["batch normalization folded"] if topology.is_normalized else []),
        f"identity added {topology.shortcut.replace('_', ' the ')}",
        f"{len(topology.skipped)} training parameters left out",
    ]
    lines = [f"source {network.checkpoint.path.name}: {'; '.join(parts)}"]
    lines.append(
        f"crops {topology.input_height} x {topology.input_width}, {preprocessing.color_order} in the source, "
        f"(x - {preprocessing.pixel_mean:g}) / {1 / preprocessing.pixel_scale:g}"
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


def _add_verify(commands: Commands) -> None:
    parser = commands.add_parser(
        "verify",
        parents=[json_option(), pairs_options(), detector_options()],
        help="prove an ONNX file against its checkpoint, or a model of reduced precision against its float model",
        description="The proof against a checkpoint is that of a conversion and writes the certificate. In the proof "
        "against a float model (--float), drift, accuracy and latency must meet the policy of `quantize`.",
        epilog="example: python -m export verify sphereface20.onnx --checkpoint sphereface.ckpt; "
        "python -m export verify sphereface20.int8.onnx --float sphereface20.onnx --lfw lfw",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="source of the model (default: the official one, in the cache)"
    )
    add_told_options(parser, size=False)
    _add_proof_options(parser)
    add_float_options(parser)
    parser.set_defaults(run=verify)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What ``verify`` found.

    Attributes:
        certificate: path of the parity certificate that was written; None, with exit code 1, if the proof does not
            hold.
        parity: comparison with the checkpoint.
    """

    certificate: Path | None
    parity: ParityReport


def verify(arguments: argparse.Namespace) -> Outcome:
    """Run ``verify``: prove a model, and write the certificate if it equals its checkpoint.

    Raises:
        ParityError: the model was made from another checkpoint, or is of reduced precision.
    """
    from edge_sphereface.inference.embedder import Embedder
    from export.checkpoint import open_checkpoint
    from export.reference import open_reference
    from export.source import recognize, told_by

    if arguments.original is not None:
        return verify_against_float(arguments)
    embedder = Embedder(arguments.model, provider="cpu")
    spec = embedder.spec
    if spec.precision != "float32":
        raise ParityError(
            f"{arguments.model} has the precision {spec.precision} and cannot equal its checkpoint.",
            hint="compare it with its float model: --float FILE.onnx",
        )
    source = arguments.checkpoint or official.official_path()
    with open_checkpoint(source) as checkpoint:
        if checkpoint.sha256 != spec.source_sha256:
            raise ParityError(
                f"{arguments.model} was made from {spec.source_file} (SHA-256 {spec.source_sha256}), but "
                f"{source} has SHA-256 {checkpoint.sha256}.",
                hint="use the checkpoint that it was made from",
            )
        network = recognize(checkpoint, told_by(spec, told(arguments)))
        _require_crops(network, embedder)
        reference = open_reference(arguments.reference, checkpoint, network.topology)
        proof = parity.prove(embedder, reference, network.origin, photos=arguments.photos, note=note)
        target = certificate_path(arguments.model)
        if proof.passed:
            record = parity.certificate(proof, embedder, model_name=arguments.model.name)
            with atomic_write(target, mode=SHARED) as stream:
                stream.write(json.dumps(record.as_json(), indent=1).encode())
    lines = [parity.text(proof), f"{target}: parity certificate" if proof.passed else "no certificate was written"]
    report = VerifyReport(certificate=target if proof.passed else None, parity=parity.report(proof))
    return Outcome(report, "\n".join(lines), passed=proof.passed)


def _require_crops(network: SourceNetwork, embedder: Embedder) -> None:
    """Require that a model takes crops as the options say, which its specification may contradict."""
    wanted, spec = network.preprocessing, embedder.spec
    differing = [
        f"{words} {expected}, not {found}"
        for words, found, expected in (
            ("pixel mean", spec.pixel_mean, wanted.pixel_mean),
            ("pixel scale", spec.pixel_scale, wanted.pixel_scale),
            ("kind of fit", spec.alignment_fit, wanted.alignment_fit),
        )
        if found != expected
    ]
    if differing:
        raise ParityError(
            f"{embedder.path} was made with other crops than told: expected {'; '.join(differing)}.",
            hint="leave out what the model says itself, or convert the weights again",
        )


def _add_model(commands: Commands) -> None:
    parser = commands.add_parser(
        "model",
        parents=[json_option(), pairs_options(), detector_options()],
        help="every form of a network in one folder, with figures and a README.txt for the device",
        description="Convert a checkpoint; make the float form that is fastest on this machine, an INT8 and an FP16 "
        "form; prove each one; time them. The folder then holds the models, their certificates, the measured figures "
        "and a README.txt that says what to copy to a device and what to run there. A reduced precision that misses a "
        "bound is left out, with the reason. Takes some minutes for the official network.",
        epilog="examples: python -m export model; python -m export model --pretrained -o build/small; "
        "python -m export model my.ckpt --calibration photos --lfw lfw",
    )
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, help="default: the official one, downloaded into the cache if need be"
    )
    parser.add_argument("--pretrained", action="store_true", help="the small trained network of the project")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build/model"), metavar="FOLDER", help="default: build/model"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER",
        help="photographs as your cameras take them (default: the gray ORL faces, which come with the demo)",
    )
    parser.add_argument(
        "--reference", choices=REFERENCE_NAMES, default="auto", help="MindSpore if installed (default), else numpy"
    )
    add_told_options(parser)
    parser.set_defaults(run=model)


def model(arguments: argparse.Namespace) -> Outcome:
    """Make the folder.

    Raises:
        UsageError: two checkpoints were named, or labeled pairs without photographs for the calibration.
        CalibrationError: the folder for the calibration holds no photograph.
    """
    from export.bundle import make_bundle, readme
    from export.forms import FormOptions, Photographs

    if arguments.pretrained and arguments.checkpoint is not None:
        raise UsageError("Two checkpoints were named.", hint="leave out --pretrained or the file")
    labeled = read_named_pairs(arguments)
    if labeled is not None and arguments.calibration is None:
        raise UsageError("Labeled pairs need photographs for the calibration.", hint="add --calibration FOLDER")
    if arguments.calibration is not None:
        require_photographs(arguments.calibration)  # before the conversion, which takes long
    made = make_bundle(
        _checkpoint_for_model(arguments),
        arguments.output,
        FormOptions(reference=arguments.reference, told=told(arguments)),
        photographs=None
        if arguments.calibration is None
        else Photographs(calibration=arguments.calibration, labeled=labeled),
        note=note,
        reporter=Progress,
    )
    return Outcome(made, readme(made))


def _checkpoint_for_model(arguments: argparse.Namespace) -> Path:
    if arguments.pretrained:
        return PRETRAINED
    if arguments.checkpoint is not None:
        return Path(arguments.checkpoint)
    if official.OFFICIAL.matches(official.official_path()):
        return official.official_path()
    note(f"{official.OFFICIAL.url}, {official.OFFICIAL.license}")
    return download(official.OFFICIAL, download_target(official.OFFICIAL), progress=Progress("downloading", "MiB"))


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser(
        "demo",
        parents=[json_option()],
        help="run all steps on real people: convert, prove, quantize, enroll 30 people, identify 310 photographs",
        description="Convert the official checkpoint if it is in the cache, else the trained network of the "
        "project. Prove, rewrite and quantize it. Enroll 30 people of the ORL faces from 3 photographs each, and "
        "identify 310 other photographs. The output folder contains the models, a gallery, the photographs and a "
        "contact sheet of all answers.",
        epilog="example: python -m export demo -o build/demo",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build/demo"), metavar="FOLDER", help="default: build/demo"
    )
    parser.set_defaults(run=demo)


def demo(arguments: argparse.Namespace) -> Outcome:
    """Run ``demo``, see :mod:`export.demo`."""
    from export.demo import demo_report, page, run_demo

    made = run_demo(arguments.output, note=note, reporter=Progress)
    return Outcome(demo_report(made), page.text(made))
