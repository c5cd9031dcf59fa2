"""Judge half precision in ncnn's large tiles on labeled pairs, by the model of ncnn's arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import json_option, pairs_options, read_named_pairs
from edge_sphereface.cli.runner import Outcome, Progress, UsageError
from edge_sphereface.detection import open_detector
from edge_sphereface.model.ncnn_network import LARGE_TILES
from edge_sphereface.model.spec import LAYOUT_NCHW

if TYPE_CHECKING:
    import argparse

    from benchmarks.environment import TimedEnvironment
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from export.quantization.proof import Proof, ProofReport
    from export.quantization.search import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfPrecisionRow:
    """A network in half precision beside its float model.

    Attributes:
        model: file name of the float model.
        network: architecture and widths of the network.
        modelled_by: packages that computed the half precision, with their versions.
        proof: comparison with the float model, by the bounds of ``float16-large-tiles``.
    """

    model: str
    network: str
    modelled_by: str
    proof: ProofReport


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfPrecisionReport:
    """What ``half-precision`` found.

    Attributes:
        environment: machine, versions and load by other programs.
        half_precision: one row for each model.
    """

    environment: TimedEnvironment
    half_precision: tuple[HalfPrecisionRow, ...]


def add_command(commands: Commands) -> None:
    """Add the command ``half-precision``."""
    parser = commands.add_parser(
        "half-precision",
        parents=[json_option(), pairs_options()],
        help="judge half precision in ncnn's large tiles on labeled pairs, by a model of ncnn's arithmetic",
        description="Embed the photographs of labeled pairs by float models and by a model of ncnn's half precision in "
        "large tiles, and judge the latter by the bounds of `export ncnn --precision float16-large-tiles`. numba makes "
        "it several times as fast. The exit code is 1 if a bound is missed.",
        epilog="example: python -m benchmarks half-precision trained.onnx --lfw lfw -o half-precision.json",
    )
    parser.add_argument("model", nargs="+", type=Path, help="float ONNX files that `export convert` made")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_half_precision)


def run_half_precision(arguments: argparse.Namespace) -> Outcome:
    """Judge every model.

    Raises:
        UsageError: no pairs were named.
    """
    from export.quantization.report import proof_text

    labeled = read_named_pairs(arguments)
    if labeled is None:
        raise UsageError("No pairs were named.", hint="give --lfw FOLDER, or --pairs FILE with --images FOLDER")
    timed = environment.TimedRun()
    rows, parts = [], []
    for path in arguments.model:
        row, proof = judge(path, labeled, reporter=Progress)
        rows.append(row)
        parts.append(f"{path.name}, {row.network}, modelled by {row.modelled_by}: {proof_text(proof)}")
    result = HalfPrecisionReport(environment=timed.describe(), half_precision=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, "\n\n".join(parts), passed=all(row.proof.passed for row in rows))


def judge(path: Path, labeled: LabeledPairs, *, reporter: Reporter) -> tuple[HalfPrecisionRow, Proof]:
    """Compare the half precision of a network with its float model.

    Args:
        path: path of the float model.
        labeled: labeled pairs.
        reporter: returns a progress function for a named step.

    Raises:
        ModelFormatError: the file is not a plain float32 model of this project.
    """
    from export.graph import change_layout
    from export.half_precision import HalfPrecisionEmbedder
    from export.ncnn_form import NcnnOptions, judge_half
    from export.plain import open_plain

    original, plain = open_plain(path, "cpu")
    spec = replace(original.spec, input_layout=LAYOUT_NCHW)
    half = HalfPrecisionEmbedder(change_layout(plain, spec, batch=1), spec)
    options = NcnnOptions(precision=LARGE_TILES, labeled=labeled)
    proof = judge_half(original, half, options, open_detector(), reporter)
    row = HalfPrecisionRow(
        model=path.name,
        network=f"{spec.architecture}, channels {', '.join(map(str, spec.widths))}",
        modelled_by=half.versions,
        proof=proof.report(),
    )
    return row, proof
