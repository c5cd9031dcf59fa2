"""The command ``python -m export rewrite``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import above_zero, json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, UsageError, note
from edge_sphereface.json_output import INLINE
from edge_sphereface.model.certificate import certificate_path
from export import parity
from export.speed import AFTER, BEFORE

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.evaluation.latency import Ratio
    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.model.spec import ModelSpec
    from export.parity import ParityReport
    from export.rewrite.fast import Rewritten
    from export.speed import Race


def add_rewrite(commands: Commands) -> None:
    """Add the command ``rewrite``."""
    parser = commands.add_parser(
        "rewrite",
        parents=[json_option()],
        help="rewrite a float model in operators that onnxruntime runs faster on a CPU",
        description="Replace every PRelu by operators that onnxruntime's CPU kernels run faster and, with --stages, "
        "convolutions by Winograd's filtering. The result is proven equal to its source, timed against it on this "
        "machine, and written only if it is equal and measurably faster (the 95 % interval of the ratio lies below "
        "--max-latency). `tune` finds the stages. For a form that another machine is to run, give --max-latency none: "
        "it is written if it is equal.",
        epilog="examples: python -m export rewrite sphereface20.onnx -o sphereface20.fast.onnx; "
        "python -m export rewrite sphereface20.onnx --stages 4x4 4x4w 2x3w direct --max-latency none -o "
        "sphereface20.winograd.onnx",
    )
    parser.add_argument("model", type=Path, help="float ONNX file that `convert` made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--stages",
        nargs="+",
        default=[],
        metavar="TILE",
        help="for each stage `direct` (convolutions) or the outputs of a tile, such as 4x4: Winograd's filtering of "
        "all layers but the first. Letters after the size, in this order: w (weights as the left factor of products) "
        "or p (one product for each matrix of weights), then s (rows and columns transformed one after the other), as "
        "in 2x3w, 4x3ps. A form before + is that of the first layer, as in 4x4s+4x3ps or 4x4+direct",
    )
    parser.add_argument(
        "--threads", type=thread_count, metavar="N", help="threads of the timed inferences (default: all)"
    )
    parser.add_argument(
        "--max-latency",
        type=_latency_bound,
        default=1.0,
        metavar="R",
        help="largest latency divided by the source's (default 1); none does not judge it, for another machine",
    )
    parser.add_argument(
        "--rounds", type=positive, default=100, metavar="N", help="latency samples of each model (default 100)"
    )
    parser.set_defaults(run=rewrite)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """Latency of the rewritten model and of its source.

    Attributes:
        before: latency of the source.
        after: latency of the rewritten model.
        ratio: latency of the rewritten model over that of the source.
        load: other work on the machine meanwhile.
    """

    before: LatencySummary
    after: LatencySummary
    ratio: Ratio = field(metadata=INLINE)
    load: MachineLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteReport:
    """What ``rewrite`` did.

    Attributes:
        model: path of the rewritten model; None, with exit code 1, if it is not faster.
        certificate: path of its parity certificate; None if it is not faster.
        spec: specification of the rewritten model.
        parity: comparison with the source.
        latency: latency of both models; None if it was not measured.
    """

    model: Path | None
    certificate: Path | None
    spec: ModelSpec
    parity: ParityReport
    latency: LatencyReport | None


def rewrite(arguments: argparse.Namespace) -> Outcome:
    """Rewrite a float model, prove it, time it, and write it if it is faster."""
    from edge_sphereface.evaluation.latency import Plan
    from edge_sphereface.evaluation.model_selection import Setting
    from export.rewrite.fast import rewrite as rewrite_model
    from export.rewrite.tile import read_stages

    try:
        forms = read_stages(arguments.stages)
    except ValueError as error:
        raise UsageError(f"--stages: {error}", hint="give direct, 4x4, 2x3w, 4x4+4x3ps, … for each stage") from error
    made = rewrite_model(
        arguments.model,
        arguments.output,
        forms=forms,
        setting=Setting(threads=arguments.threads) if arguments.threads else None,
        max_ratio=arguments.max_latency,
        plan=Plan.of(arguments.rounds),
        note=note,
    )
    report = RewriteReport(
        model=arguments.output if made.written else None,
        certificate=certificate_path(arguments.output) if made.written else None,
        spec=made.spec,
        parity=parity.report(made.proof),
        latency=None if made.race is None else _latency(made.race),
    )
    return Outcome(report, _rewrite_text(arguments, made), passed=made.written)


def _rewrite_text(arguments: argparse.Namespace, made: Rewritten) -> str:
    lines = [parity.text(made.proof)]
    if made.race is not None:
        after, before = (made.race.latency[name].median_ms for name in (AFTER, BEFORE))
        lines.append(f"latency {after:.2f} ms, the source's {before:.2f} ms: ratio {made.race.ratios[BEFORE]}")
        lines.append(str(made.race.load))
    if made.written:
        lines += [
            f"{arguments.output}: {arguments.output.stat().st_size / (1 << 20):.2f} MiB",
            f"{certificate_path(arguments.output)}: certificate",
        ]
    else:
        lines.append(
            f"refused: not measurably below {arguments.max_latency:g} times the source's latency; nothing was written. "
            "For another machine than this, give --max-latency none"
        )
    return "\n".join(lines)


def _latency_bound(text: str) -> float | None:
    return None if text == "none" else above_zero(text)


def _latency(race: Race) -> LatencyReport:
    return LatencyReport(
        before=race.latency[BEFORE], after=race.latency[AFTER], ratio=race.ratios[BEFORE], load=race.load
    )
