"""The commands of ``python -m export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    detector_options,
    json_option,
    pairs_options,
    read_named_pairs,
)
from edge_sphereface.cli.model_commands import FetchReport
from edge_sphereface.cli.runner import Commands, Outcome, Parser, Progress, UsageError, note
from edge_sphereface.storage.download import fetch as download
from edge_sphereface.storage.download import install
from export import inspection, official
from export.convert_command import add_convert
from export.kit.commands import add_kit
from export.known_checkpoints import download_target, published_files, weights_file
from export.liveness.commands import add_liveness
from export.liveness.published import PUBLISHED as LIVENESS_FILES
from export.ncnn_command import add_ncnn
from export.pretrained import PRETRAINED
from export.quantization.commands import add_quantize
from export.quantization.crops import require_photographs
from export.reference import REFERENCE_NAMES
from export.rewrite.commands import add_rewrite
from export.told_options import add_told_options, told
from export.tuning.commands import add_tune
from export.verify_command import add_verify

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.storage.download import PinnedFile


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
    add_convert(commands)
    add_rewrite(commands)
    add_tune(commands)
    add_quantize(commands)
    add_ncnn(commands)
    add_liveness(commands)
    add_verify(commands)
    _add_model(commands)
    add_kit(commands)
    _add_demo(commands)
    return parser


def _add_fetch(commands: Commands) -> None:
    offered = "; ".join(f"{name}: {file.name} ({file.license})" for name, file in _fetched_files().items())
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
        choices=list(_fetched_files()),
        default="mindspore",
        help="which file (default: mindspore)",
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="copy this file instead of downloading"
    )
    parser.set_defaults(run=fetch)


def fetch(arguments: argparse.Namespace) -> Outcome:
    """Run ``fetch``: download or copy published weights."""
    file = _fetched_files()[arguments.weights]
    target = download_target(file)
    if arguments.source is not None:
        path = install(file, arguments.source, target)
    else:
        note(f"{file.url}, {file.license}")
        path = download(file, target, progress=Progress("downloading", "MiB"))
    command = "liveness" if arguments.weights in LIVENESS_FILES else "convert"
    lines = [
        f"{path} (SHA-256 as pinned)",
        f"license: {file.license}",
        f"next: python -m export {command} {arguments.weights}",
    ]
    return Outcome(FetchReport(path=path, sha256=file.sha256), "\n".join(lines))


def _fetched_files() -> dict[str, PinnedFile]:
    """Every file that can be downloaded, by its name."""
    return published_files() | {name: network.file for name, network in LIVENESS_FILES.items()}


def _add_inspect(commands: Commands) -> None:
    parser = commands.add_parser(
        "inspect",
        parents=[json_option()],
        help="describe the contents of a checkpoint or an ONNX file",
        description="Describe a file without converting it: the parameters of a checkpoint and their network, or the "
        "inputs, nodes and specification of an ONNX model. The exit code is 1 if it is not a SphereFace network.",
        epilog="example: python -m export inspect sphereface.ckpt",
    )
    parser.add_argument(
        "file",
        type=weights_file,
        help="weights (.ckpt, .safetensors, .pth, .caffemodel, or a name of `fetch`) or model (.onnx)",
    )
    parser.set_defaults(run=lambda arguments: _inspected(inspection.inspect(arguments.file)))


def _inspected(report: inspection.CheckpointReport | inspection.OnnxReport) -> Outcome:
    return Outcome(report, inspection.text(report), passed=report.problem is None)


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
        "checkpoint",
        nargs="?",
        type=weights_file,
        help="file of weights, or a name of `fetch` (default: the official one, downloaded into the cache if need be)",
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
        "--ncnn", action="store_true", help="make the forms for ncnn, too (needs the packages ncnn and pnnx)"
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
        FormOptions(ncnn=arguments.ncnn, reference=arguments.reference, told=told(arguments)),
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
