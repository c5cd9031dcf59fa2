"""The command ``python -m benchmarks quantization``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.recorded import read_records
from benchmarks.result_file import keep_result, load_result
from edge_sphereface.cli.arguments import json_option, pairs_options, positive, read_named_pairs, thread_count
from edge_sphereface.cli.runner import Outcome, Progress, note
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.json_output import INLINE
from edge_sphereface.storage.files import ensure_folder

if TYPE_CHECKING:
    import argparse

    from benchmarks.emulation.compare import EmulatedRow
    from benchmarks.environment import TimedEnvironment
    from benchmarks.quantization.measure import Figures
    from benchmarks.target import Target
    from edge_sphereface.cli.runner import Commands

FOLDER = Path("build/quantization")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationResult:
    """What ``quantization`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        figures: what the quantization promises, measured.
        emulated: rows of a recorded result of ``emulate``; empty without one.
        targets: targets, and whether they are reached.
    """

    environment: TimedEnvironment
    figures: Figures = field(metadata=INLINE)
    emulated: tuple[EmulatedRow, ...]
    targets: tuple[Target, ...]


def add_command(commands: Commands) -> None:
    """Add the command ``quantization``."""
    parser = commands.add_parser(
        "quantization",
        parents=[json_option(), pairs_options()],
        help="measure rewritten and quantized forms: latency, size, drift, accuracy, gate; peers OpenVINO and NNCF",
        description="Make every form of a float model, time them interleaved, compare them with float, pass harmful "
        "models through the gate, and print the targets with the measured values. The exit code is 1 if a target is "
        "missed.",
        epilog="example: python -m benchmarks quantization full.onnx --trained trained.onnx --calibration photos "
        "--lfw lfw --emulated emulated.json -o quantization.json",
    )
    parser.add_argument("model", type=Path, help="float ONNX file that `export convert` made, for the latency")
    parser.add_argument(
        "--trained", type=Path, metavar="FILE.onnx", help="model for drift and accuracy (default: MODEL)"
    )
    parser.add_argument("--calibration", type=Path, required=True, metavar="FOLDER", help="photographs of faces")
    parser.add_argument("--emulated", type=Path, metavar="FILE", help="result of `python -m benchmarks emulate`")
    parser.add_argument("--threads", nargs="+", type=thread_count, metavar="N", help="default: 1 to all processors")
    parser.add_argument("--rounds", type=positive, default=100, metavar="N", help="samples of each (default 100)")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help=f"folder for the files that are made (default {FOLDER})"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    parser.set_defaults(run=run_quantization)


def run_quantization(arguments: argparse.Namespace) -> Outcome:
    """Measure everything, and compare with the targets."""
    from benchmarks import latency
    from benchmarks.emulation.compare import EmulatedRow
    from benchmarks.quantization.measure import Setup, measure
    from benchmarks.quantization.targets import targets
    from benchmarks.target import text

    emulated = []
    if arguments.emulated is not None:
        emulated = read_records(EmulatedRow, load_result(arguments.emulated).get("emulated"))
    setup = Setup(
        plain=arguments.model,
        trained=arguments.trained or arguments.model,
        folder=ensure_folder(arguments.folder),
        photographs=arguments.calibration,
        labeled=read_named_pairs(arguments),
        proof_options=tuple(_proof_options(arguments)),
        threads=tuple(arguments.threads or range(1, usable_cpus() + 1)),
        rounds=arguments.rounds,
    )
    timed = environment.TimedRun()
    figures = measure(setup, reporter=Progress, note=note)
    lines = targets(figures, emulated)
    result = QuantizationResult(
        environment=timed.describe(), figures=figures, emulated=tuple(emulated), targets=tuple(lines)
    )
    keep_result(result, arguments.output)
    refusals = [f"gate, {row.what}: exit code {row.exit_code}; {row.reason}" for row in figures.gate]
    page = "\n\n".join([latency.text([row.row for row in figures.rows]), "\n".join(refusals), text(lines)])
    return Outcome(result, page, passed=all(line.verdict != "MISSED" for line in lines))


def _proof_options(arguments: argparse.Namespace) -> list[str]:
    """Options of `export verify` for the labeled pairs or, without them, for the calibration's photographs."""
    if arguments.lfw is not None:
        return ["--lfw", str(arguments.lfw.absolute())]
    if arguments.pairs is not None:
        words = ["--pairs", str(arguments.pairs.absolute()), "--images", str(arguments.images.absolute())]
        return words if arguments.landmarks is None else [*words, "--landmarks", str(arguments.landmarks.absolute())]
    return []
