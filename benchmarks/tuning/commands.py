"""The command ``python -m benchmarks tuning``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, Progress
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.json_output import INLINE
from edge_sphereface.storage.files import ensure_folder

if TYPE_CHECKING:
    import argparse

    from benchmarks.environment import TimedEnvironment
    from benchmarks.target import Target
    from benchmarks.tuning.measure import Figures
    from edge_sphereface.cli.runner import Commands

FOLDER = Path("build/tuning")
_PEERS = ("ncnn", "openvino", "mnn", "opencv_dnn")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningReport:
    """What ``tuning`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        figures: what the tuning promises, measured.
        targets: targets, and whether they are reached.
    """

    environment: TimedEnvironment
    figures: Figures = field(metadata=INLINE)
    targets: tuple[Target, ...]


def add_command(commands: Commands) -> None:
    """Add the command ``tuning``."""
    parser = commands.add_parser(
        "tuning",
        parents=[json_option()],
        help="compare tuned float models with the plain export, peers and the limit of direct convolution",
        description="Time tuned models, the plain export on onnxruntime with its defaults, and peers, in turn. Compare "
        "the tuned graphs with the plain one on photographs. Print the targets with the measured values. The exit code "
        "is 1 if a target is missed.",
        epilog="example: python -m benchmarks tuning full.onnx --tuned one.onnx two.onnx --int8 full.int8.onnx "
        "--trained trained.onnx --photos photos -o tuning.json",
    )
    parser.add_argument("model", type=Path, help="plain float ONNX file with layout nchw")
    parser.add_argument(
        "--tuned", nargs="+", type=Path, required=True, metavar="FILE.onnx", help="models that `export tune` made"
    )
    parser.add_argument(
        "--int8",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE.onnx",
        help="quantized forms, of different targets, compared with OpenVINO's; one of target openvino runs on that "
        "provider, and the plain model as well",
    )
    parser.add_argument("--trained", type=Path, metavar="FILE.onnx", help="plain model for exactness (default: MODEL)")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="photographs of faces, or crops")
    parser.add_argument("--count", type=positive, default=2000, metavar="N", help="crops for exactness (default 2000)")
    parser.add_argument("--peers", nargs="*", choices=_PEERS, default=list(_PEERS), help="default: all")
    parser.add_argument("--threads", nargs="+", type=thread_count, metavar="N", help="default: 1 to all processors")
    parser.add_argument("--rounds", type=positive, default=100, metavar="N", help="samples of each (default 100)")
    parser.add_argument(
        "--restarts", type=positive, default=10, metavar="N", help="starts of each process (default 10)"
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help=f"folder for the files that are made (default {FOLDER})"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    parser.set_defaults(run=run_tuning)


def run_tuning(arguments: argparse.Namespace) -> Outcome:
    """Measure everything, and compare with the targets."""
    from benchmarks import latency
    from benchmarks.target import text
    from benchmarks.tuning.measure import Setup, measure
    from benchmarks.tuning.targets import targets

    setup = Setup(
        plain=arguments.model,
        tuned=tuple(arguments.tuned),
        int8=tuple(arguments.int8),
        trained=arguments.trained or arguments.model,
        photographs=arguments.photos,
        crops=arguments.count,
        peers=tuple(arguments.peers),
        threads=tuple(arguments.threads or range(1, usable_cpus() + 1)),
        rounds=arguments.rounds,
        restarts=min(arguments.restarts, arguments.rounds),
        folder=ensure_folder(arguments.folder),
    )
    timed = environment.TimedRun()
    figures = measure(setup, reporter=Progress)
    lines = targets(figures)
    result = TuningReport(environment=timed.describe(), figures=figures, targets=tuple(lines))
    keep_result(result, arguments.output)
    page = "\n\n".join([latency.text([row.row for row in figures.rows]), text(lines)])
    return Outcome(result, page, passed=all(line.verdict != "MISSED" for line in lines))
